// Packs the package, installs the tarball into an empty project, and uses it as a user would.

import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const TARBALL_BYTES_MAX = 200_000;
const npm = (args, cwd) => execFileSync("npm", [...args, "--loglevel=error"], { cwd, encoding: "utf8" });
const project = mkdtempSync(join(tmpdir(), "corewal-package-"));
let passed = 0;
function ok(condition, what) {
  if (!condition) throw new Error(`package: ${what}`);
  console.log(`ok   ${what}`);
  passed++;
}

try {
  const [packed] = JSON.parse(npm(["pack", "--json", "--pack-destination", project], root).replace(/^[^[]*/, ""));
  ok(packed.size < TARBALL_BYTES_MAX, `the tarball has ${packed.size} bytes, at most ${TARBALL_BYTES_MAX}`);
  ok(!packed.files.some((f) => /^(test|src|bench|assembly)\//.test(f.path)), "it holds only what users need");
  writeFileSync(join(project, "package.json"), JSON.stringify({ name: "user", version: "1.0.0", type: "module" }));
  npm(["install", join(project, packed.filename), "--no-audit", "--no-fund"], project);
  const installed = JSON.parse(readFileSync(join(project, "node_modules/corewal/package.json"), "utf8"));
  ok(Object.keys(installed.dependencies ?? {}).length === 0, "it has no runtime dependencies");
  writeFileSync(
    join(project, "main.js"),
    `import { openLog, attachLog } from "corewal";
import { Worker, isMainThread, workerData } from "node:worker_threads";
if (isMainThread) {
  const log = await openLog("data");
  const done = new Promise((resolve, reject) => new Worker(new URL(import.meta.url), { workerData: log.handle }).once("exit", resolve).once("error", reject));
  await log.append("from the main thread");
  await done;
  const values = [];
  for await (const entry of log.read()) values.push(Buffer.from(entry.value).toString());
  await log.close();
  console.log(values.sort().join("; "));
} else {
  const writer = await attachLog(workerData);
  await writer.append("from a worker");
  await writer.close();
}
`,
  );
  ok(
    execFileSync(process.execPath, ["main.js"], { cwd: project, encoding: "utf8" }).trim() === "from a worker; from the main thread",
    "import, append from two threads, read",
  );
  ok(JSON.parse(execFileSync("npx", ["corewal", "verify", "data", "--json"], { cwd: project, encoding: "utf8" })).ok, "npx corewal verify");

  writeFileSync(
    join(project, "core.js"),
    `import { crc32c, createRings, decodeEntries } from "corewal/core";
const rings = createRings({ stripes: 1, ringBytes: 4096 });
rings.claim().push("through a ring");
const drained = rings.drain();
const [entry] = decodeEntries(drained.bytes, drained);
console.log(crc32c("123456789").toString(16), Buffer.from(entry.value).toString());
`,
  );
  ok(
    execFileSync(process.execPath, ["core.js"], { cwd: project, encoding: "utf8" }).trim() === "e3069283 through a ring",
    "corewal/core: checksum, an entry through a ring",
  );

  // Types, as strict as a user may be: no DOM library, libraries checked.
  for (const name of ["@types", "undici-types"])
    symlinkSync(join(root, "node_modules", name), join(project, "node_modules", name), "junction");
  writeFileSync(
    join(project, "types.ts"),
    `import { attachLog, openLog, type Entry, type Log } from "corewal";
import { attachRings, crc32c, createRings, decodeEntries, encodeEntries, type Rings } from "corewal/core";
const log: Log = await openLog("data", { durability: "group" });
const lsn: number = await log.append("x", { durability: "sync", timeoutMs: 1000 });
for await (const entry of log.read({ from: lsn })) {
  const { value }: Entry = entry;
  console.log(value.length);
}
await using writer = await attachLog(log.handle);
// @ts-expect-error there is no such option
await openLog("data", { nope: writer.lastLsn });
const rings: Rings = attachRings(createRings({ stripes: 1 }).handle);
const sum: number = crc32c(encodeEntries(["x"], { firstLsn: rings.claim().push("y") }), 0);
const drained = rings.drain();
const entries: Entry[] = drained ? decodeEntries(drained.bytes, drained) : [];
console.log(sum, entries.length);
`,
  );
  const compilerOptions = { module: "nodenext", target: "es2022", lib: ["es2022"], strict: true, noEmit: true, types: ["node"] };
  writeFileSync(join(project, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["types.ts"] }));
  execFileSync(process.execPath, [join(root, "node_modules/typescript/bin/tsc"), "-p", project], {
    stdio: ["ignore", "inherit", "inherit"],
  });
  ok(true, "its types compile with lib es2022, without skipLibCheck");
} finally {
  rmSync(project, { recursive: true, force: true });
}
console.log(`\n${passed} passed, 0 failed, 0 skipped`);
