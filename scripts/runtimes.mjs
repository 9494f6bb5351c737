// The runtimes that everything is tested on, beside the Node that runs this. They come from a lock file of their own
// (scripts/runtimes), since in the root they would shadow `node`.

import { existsSync, statSync } from "node:fs";
import { spawnSync } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const folder = join(dirname(fileURLToPath(import.meta.url)), "runtimes");
const modules = join(folder, "node_modules");
const node = (major) => ({ name: `node${major}`, command: join(modules, `node${major}/bin/node`), args: ["--enable-source-maps"] });

/** Name, program, and what stands before a script's path. */
export const runtimes = [
  node(20),
  node(22),
  node(24),
  node(26),
  { name: "deno", command: join(modules, ".bin/deno"), args: ["run", "--allow-all"] },
  { name: "bun", command: join(modules, ".bin/bun"), args: [] },
];

export const installedRuntimes = () => runtimes.filter(({ command }) => existsSync(command));

export function runtimeNamed(name) {
  const found = runtimes.find((r) => r.name === name);
  if (found === undefined) throw new Error(`there is no runtime ${name}: there are ${runtimes.map((r) => r.name).join(", ")}`);
  if (!existsSync(found.command)) throw new Error(`${name} is not installed: npm ci --prefix scripts/runtimes`);
  return found;
}

/** Installs what is missing; says so. */
export function installRuntimes() {
  const changed = (path) => statSync(join(folder, path), { throwIfNoEntry: false })?.mtimeMs ?? 0;
  if (changed("node_modules/.package-lock.json") >= changed("package-lock.json")) return;
  process.stderr.write("setup: npm ci in scripts/runtimes (about 1 GB) …\n");
  const flags = ["ci", "--no-audit", "--no-fund", "--loglevel=error"];
  const { status, error } = spawnSync("npm", flags, { cwd: folder, stdio: ["ignore", "inherit", "inherit"] });
  if (status !== 0) throw new Error(`npm ci in scripts/runtimes failed${error === undefined ? "" : `: ${error.message}`}`);
}
