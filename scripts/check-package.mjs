// What users and their tools see of the package: its manifest, its types under both ways of resolving them, its size.

import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { publint } from "publint";
import { formatMessage } from "publint/utils";
import { root } from "./install.mjs";
import { packedProject, typeConfigs } from "./pack.mjs";

const TARBALL_BYTES_MAX = 280_000;
const faults = [];
const { project, installed, tarball, manifest } = packedProject();

/** Runs a program of node_modules with this Node. */
function tool(what, file, ...args) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(root, "node_modules", file), ...args], {
    cwd: project,
    encoding: "utf8",
  });
  if (status !== 0) faults.push(`${what}: ${stdout}${stderr}`);
}

if (tarball.size > TARBALL_BYTES_MAX) faults.push(`the tarball has ${tarball.size} bytes, at most ${TARBALL_BYTES_MAX}`);
for (const { path } of tarball.files)
  if (!/^(dist\/|package\.json$|[A-Z]+(\.md)?$)/.test(path)) faults.push(`${path} is in the tarball: only dist and documents belong there`);
if (Object.keys(manifest.dependencies ?? {}).length > 0) faults.push("it has runtime dependencies");
for (const [name, entry] of Object.entries(manifest.exports))
  if (typeof entry === "object" && Object.keys(entry)[0] !== "types") faults.push(`exports["${name}"] must name its types first`);

const { messages } = await publint({ pkgDir: installed, strict: true });
faults.push(...messages.map((message) => `publint: ${formatMessage(message, manifest)}`));
tool("attw", "@arethetypeswrong/cli/dist/index.js", tarball.path, "--profile", "esm-only", "--format", "ascii");

writeFileSync(join(project, "types.ts"), readFileSync(join(root, "test/support/package-types.ts.txt")));
for (const { name, path } of typeConfigs(project, "types.ts")) tool(`types, ${name}`, "typescript/bin/tsc", "-p", path);

if (faults.length > 0) {
  console.log(faults.join("\n"));
  process.exitCode = 1;
}
