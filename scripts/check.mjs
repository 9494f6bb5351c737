// Formatter, linter, types, documents, unused code, the package as its users see it, and what the build promises about
// the module: in seconds.

import { spawn } from "node:child_process";
import { cpus } from "node:os";
import { join } from "node:path";
import { buildWasm } from "./build.mjs";
import { root } from "./install.mjs";

const bin = (name) => join(root, "node_modules", name);
/** The slow ones first: as many at a time as there are processors. */
const steps = [
  ["lint", bin("eslint/bin/eslint.js"), "--max-warnings", "0", "src", "test", "bench", "scripts"],
  ["package", join(root, "scripts/check-package.mjs")],
  ["types", bin("typescript/bin/tsc"), "-p", "."],
  ["format", bin("prettier/bin/prettier.cjs"), "--check", "--log-level", "warn", "."],
  ["docs", join(root, "scripts/docs.mjs"), "--check"],
  ["unused code", bin("knip/bin/knip.js")],
];
let failed = 0;

function report(what, fault) {
  console.log(`${fault === undefined ? "ok  " : "FAIL"} ${what}`);
  if (fault === undefined) return;
  failed++;
  console.log(fault);
}

function run([what, ...args]) {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, args, { cwd: root, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    const keep = (chunk) => (output += chunk);
    child.stdout.on("data", keep);
    child.stderr.on("data", keep);
    child.on("close", (code) => resolve(report(what, code === 0 ? undefined : output)));
  });
}

await Promise.all(
  cpus().map(async () => {
    for (let step = steps.shift(); step !== undefined; step = steps.shift()) await run(step);
  }),
);
try {
  buildWasm("release");
  report("module: no data segments, start function or globals");
} catch (error) {
  report("module", error.message);
}
process.exitCode = failed > 0 ? 1 : 0;
