// npm run test:runtimes [-- NAME …]: every test, the slow ones too, and the crash simulator with fresh seeds on Node 20
// and 26, Deno and Bun, then what several of them do with one log. Needs the tests as built by setup.mjs.

import { spawn } from "node:child_process";
import { join } from "node:path";
import { root } from "./install.mjs";
import { installRuntimes, runtimeNamed } from "./runtimes.mjs";

const SIMULATOR_SECONDS = 20;
const names = process.argv.length > 2 ? process.argv.slice(2) : ["node20", "node26", "deno", "bun"];

/** Runs it, shows what it prints, gives its output and exit code. */
function show(command, args, env = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: root, env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "inherit"] });
    let out = "";
    child.stdout.on("data", (chunk) => {
      process.stdout.write(chunk);
      out += chunk;
    });
    child.on("close", (code) => resolve({ out, code }));
  });
}

const sum = { passed: 0, failed: 0, skipped: 0 };
function count({ out, code }) {
  const [, ...n] = /^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$/m.exec(out) ?? ["", "0", "1", "0"];
  const [passed, failed, skipped] = n.map((x) => Number(x ?? 0));
  sum.passed += passed;
  sum.failed += failed === 0 && code !== 0 ? 1 : failed;
  sum.skipped += skipped;
  return `${passed} passed, ${failed} failed, ${skipped} skipped`;
}

installRuntimes();
const table = [];
for (const name of names) {
  const started = performance.now();
  const { command, args } = runtimeNamed(name);
  console.log(`\n--- ${name}`);
  const tests = count(await show(process.execPath, ["scripts/test.mjs", "--runtime", name], { COREWAL_SLOW: "1" }));
  const simulator = await show(command, [...args, join(root, "build/js/test/sim.js"), "--seconds", String(SIMULATOR_SECONDS)]);
  sum[simulator.code === 0 ? "passed" : "failed"]++;
  const seconds = ((performance.now() - started) / 1000).toFixed(0);
  table.push(`${name.padEnd(8)} ${tests}; simulator ${simulator.code === 0 ? "passed" : "FAILED"}; ${seconds} s`);
}
console.log(`\n${table.join("\n")}`);
console.log(`\n${sum.passed} passed, ${sum.failed} failed, ${sum.skipped} skipped`);
process.exitCode = sum.failed > 0 || sum.passed === 0 ? 1 : 0;
