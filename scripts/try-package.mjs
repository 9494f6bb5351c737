// Packs the package as npm would publish it, installs the tarball into an empty project, and uses it there as users do:
// on every runtime that is installed, in bundles, and in a single binary.

import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as esbuild from "esbuild";
import { npm, pack } from "./pack.mjs";
import { installRuntimes, runtimes } from "./runtimes.mjs";

const project = mkdtempSync(join(tmpdir(), "corewal-package-"));
const count = { passed: 0, failed: 0 };

/** A step that throws fails; the others go on. */
function step(what, run) {
  try {
    run();
    count.passed++;
    console.log(`ok   ${what}`);
  } catch (error) {
    count.failed++;
    console.log(`FAIL ${what}: ${error.message}`);
  }
}

/** Runs a program in a folder; gives what it prints, or throws with all that it said. */
function run(folder, command, ...args) {
  const { status, signal, stdout, stderr, error } = spawnSync(command, args, { cwd: folder, encoding: "utf8", timeout: 120_000 });
  if (status !== 0) throw new Error(`${error?.message ?? ""} exit ${signal ?? status}: ${stdout}${stderr}`);
  return stdout.trim();
}

function expect(found, wanted) {
  if (found !== wanted) throw new Error(`it prints ${JSON.stringify(found)}, not ${JSON.stringify(wanted)}`);
}

/** Appends from the main thread and from a worker, reads, prints what it read; and an entry through a ring without a log. */
const MAIN = `import { openLog, attachLog } from "corewal";
import { createRings, decodeEntries } from "corewal/core";
import { Worker, isMainThread, workerData } from "node:worker_threads";
if (isMainThread) {
  const log = await openLog("data-" + Math.random().toString(36).slice(2));
  const worker = new Worker(new URL(import.meta.url), { workerData: log.handle });
  const done = new Promise((resolve, reject) => worker.once("exit", resolve).once("error", reject));
  await log.append("from the main thread");
  await done;
  const values = [];
  for await (const entry of log.read()) values.push(Buffer.from(entry.value).toString());
  await log.close();
  const rings = createRings({ stripes: 1, ringBytes: 4096 });
  rings.claim().push("through a ring");
  const drained = rings.drain();
  const [entry] = decodeEntries(drained.bytes, drained);
  console.log([...values.sort(), Buffer.from(entry.value).toString()].join("; "));
} else {
  const writer = await attachLog(workerData);
  await writer.append("from a worker");
  await writer.close();
}
`;
const MAIN_SAYS = "from a worker; from the main thread; through a ring";
/** What runs where a file of its own for threads does not exist: only the flusher's thread. */
const ALONE = `import { openLog } from "corewal";
const log = await openLog("alone");
const before = log.recovery.lastLsn;
await Promise.all(Array.from({ length: 100 }, (_, i) => log.append("entry " + i)));
let n = 0;
for await (const entry of log.read({ from: before + 1 })) n += Number(Buffer.from(entry.value).toString() === "entry " + n);
await log.close();
console.log(n, log.stats().state);
`;
const ALONE_SAYS = "100 closed";
const REQUIRE = `const { openLog } = require("corewal");
openLog("required").then(async (log) => console.log(await log.append("x") > 0, await log.close()));
`;

installRuntimes();
const bun = runtimes.find((r) => r.name === "bun");
const deno = runtimes.find((r) => r.name === "deno");
try {
  writeFileSync(join(project, "package.json"), JSON.stringify({ name: "user", version: "1.0.0", type: "module" }));
  for (const [name, text] of Object.entries({ "main.js": MAIN, "alone.js": ALONE, "require.cjs": REQUIRE }))
    writeFileSync(join(project, name), text);
  const { path, size } = pack(project);
  step(`npm install of the tarball (${size} bytes) adds one package`, () =>
    expect(/added (\d+) package/.exec(npm(["install", path, "--no-audit", "--no-fund"], project))?.[1], "1"),
  );

  for (const { name, command, args } of runtimes) {
    step(`${name}: import, threads, corewal/core`, () => expect(run(project, command, ...args, "main.js"), MAIN_SAYS));
    step(`${name}: require()`, () => expect(run(project, command, ...args, "require.cjs"), "true undefined"));
    step(`${name}: the command line`, () => {
      const report = run(project, command, ...args, "node_modules/corewal/dist/cli.js", "verify", "required", "--json");
      expect(JSON.parse(report).ok, true);
    });
  }
  step("npx corewal verify", () => expect(JSON.parse(run(project, "npx", "corewal", "verify", "required", "--json")).ok, true));
  step("deno: no permission but to read and write the directory", () => {
    const place = join(project, "alone");
    mkdirSync(place);
    expect(run(project, deno.command, "run", "--no-prompt", `--allow-read=${place}`, `--allow-write=${place}`, "alone.js"), ALONE_SAYS);
  });

  // Bundles run in a folder without node_modules.
  const bare = mkdtempSync(join(tmpdir(), "corewal-bundles-"));
  try {
    for (const [name, options] of Object.entries({
      "esbuild.mjs": { format: "esm" },
      "esbuild-min.mjs": { format: "esm", minify: true },
      "esbuild.cjs": { format: "cjs", entry: "require.cjs" },
    })) {
      const { entry = "alone.js", ...rest } = options;
      esbuild.buildSync({
        entryPoints: [join(project, entry)],
        outfile: join(bare, name),
        bundle: true,
        platform: "node",
        target: "node20",
        ...rest,
      });
    }
    // A build step that takes the flusher's text out: said clearly, by every runtime.
    const whole = readFileSync(join(bare, "esbuild.mjs"), "utf8");
    const dropped = whole.replace(/(flusher_worker_default = )(['"`])(?:\\.|(?!\2)[^\\])*\2/s, '$1""');
    writeFileSync(join(bare, "dropped.mjs"), `${dropped}\n`);
    for (const { name, command, args } of runtimes) {
      step(`${name}: a bundle that dropped the flusher's thread is refused`, () => {
        const { status, stderr } = spawnSync(command, [...args, "dropped.mjs"], { cwd: bare, encoding: "utf8" });
        if (dropped === whole || status === 0 || !/the flusher's thread ended before it ran/.test(stderr)) throw new Error(stderr);
      });
    }
    run(project, bun.command, "build", "main.js", "--target=node", `--outfile=${join(bare, "bun-node.mjs")}`);
    run(project, bun.command, "build", "main.js", "--target=bun", "--minify", `--outfile=${join(bare, "bun-bun.mjs")}`);
    for (const { name, command, args } of runtimes) {
      for (const bundle of ["esbuild.mjs", "esbuild-min.mjs"])
        step(`${name}: ${bundle}`, () => expect(run(bare, command, ...args, bundle), ALONE_SAYS));
      step(`${name}: esbuild.cjs`, () => expect(run(bare, command, ...args, "esbuild.cjs"), "true undefined"));
      step(`${name}: bun build --target=node`, () => expect(run(bare, command, ...args, "bun-node.mjs"), MAIN_SAYS));
    }
    step("bun build --target=bun --minify", () => expect(run(bare, bun.command, "bun-bun.mjs"), MAIN_SAYS));
    step("bun build --compile: a single binary", () => {
      run(project, bun.command, "build", "alone.js", "--compile", `--outfile=${join(bare, "binary")}`);
      expect(run(bare, join(bare, "binary")), ALONE_SAYS);
    });
    step("bun build --compile --minify, with a thread of its own", () => {
      run(project, bun.command, "build", "main.js", "--compile", "--minify", `--outfile=${join(bare, "threads")}`);
      expect(run(bare, join(bare, "threads")), MAIN_SAYS);
    });
  } finally {
    rmSync(bare, { recursive: true, force: true });
  }
} finally {
  rmSync(project, { recursive: true, force: true });
}
console.log(`\n${count.passed} passed, ${count.failed} failed, 0 skipped`);
process.exitCode = count.failed > 0 ? 1 : 0;
