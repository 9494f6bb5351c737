// Runs every test file in a process of its own, two at a time, and counts. Zero tests are a failure:
// uvu ends with 0 on an empty folder, an unmatched pattern or a forgotten run().
//
//   node scripts/test.mjs [--runtime NAME] [PATTERN …]     only files whose names contain one of the patterns
//
// With --runtime on one of scripts/runtimes.mjs, which must be installed, instead of this Node. Files named *.slow.test.ts belong to .ci/run: COREWAL_SLOW=1 runs them too.

import { spawn } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { root } from "./install.mjs";
import { installedRuntimes, runtimeNamed } from "./runtimes.mjs";

const { values, positionals: patterns } = parseArgs({ options: { runtime: { type: "string" } }, allowPositionals: true });
const { command, args } =
  values.runtime === undefined ? { command: process.execPath, args: ["--enable-source-maps"] } : runtimeNamed(values.runtime);
const folder = join(root, "build/js/test");
const slow = process.env.COREWAL_SLOW === "1";
const files = readdirSync(folder)
  .filter((name) => name.endsWith(".test.js") && (slow || !name.endsWith(".slow.test.js")))
  .filter((name) => patterns.length === 0 || patterns.some((p) => name.includes(p)))
  .sort();

/** For tests that need more than one runtime. */
const env = { ...process.env, COREWAL_RUNTIMES: JSON.stringify(installedRuntimes()) };
const sum = { passed: 0, failed: 0, skipped: 0 };
/** Far more than any file needs: a busy machine is no failure. */
const FILE_TIMEOUT_MS = slow ? 20 * 60_000 : 300_000;

function runFile(name) {
  return new Promise((resolve) => {
    const started = performance.now();
    const child = spawn(command, [...args, join(folder, name)], { cwd: root, env, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    const keep = (chunk) => (output += chunk);
    child.stdout.on("data", keep);
    child.stderr.on("data", keep);
    const timer = setTimeout(() => {
      output += `\ntimed out after ${FILE_TIMEOUT_MS / 1000} s\n`;
      child.kill("SIGKILL");
    }, FILE_TIMEOUT_MS);
    child.on("close", (code) => {
      clearTimeout(timer);

      const plain = output.replace(/\x1b\[[0-9;]*m/g, "");
      const all = (label) => [...plain.matchAll(new RegExp(`^ *${label}: *(\\d+)`, "gm"))].reduce((n, m) => n + Number(m[1]), 0);
      const [total, passed, skipped] = [all("Total"), all("Passed"), all("Skipped")];
      const failed = Math.max(total - passed - skipped, code === 0 && total > 0 ? 0 : 1);
      sum.passed += passed;
      sum.skipped += skipped;
      sum.failed += failed;
      const seconds = ((performance.now() - started) / 1000).toFixed(1);
      console.log(
        `${failed > 0 ? "FAIL" : "ok  "} ${name.replace(".js", "").padEnd(34)} ${String(passed).padStart(4)} passed  ${seconds.padStart(5)} s`,
      );
      // What a test printed about seeds and counts is worth seeing also when it passes.
      for (const [, line] of plain.matchAll(/^(?:[•✘] )*# (.*)$/gm)) console.log(`       ${line}`);
      if (failed > 0) console.log(total === 0 ? `${plain}\n(no test ran)` : plain);
      resolve();
    });
  });
}

const queue = [...files];
await Promise.all(
  Array.from({ length: 2 }, async () => {
    for (let name = queue.shift(); name !== undefined; name = queue.shift()) await runFile(name);
  }),
);
if (files.length === 0) console.log("no test files match");
console.log(`\n${sum.passed} passed, ${sum.failed} failed, ${sum.skipped} skipped`);
process.exitCode = sum.failed > 0 || sum.passed === 0 ? 1 : 0;
