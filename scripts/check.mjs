// Formatter, linter, types, documents, and what the build promises about the module: in seconds.

import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { buildWasm } from "./build.mjs";
import { root } from "./install.mjs";

const bin = (name) => join(root, "node_modules", name);
let failed = 0;

for (const [what, file, ...args] of [
  ["format", bin("prettier/bin/prettier.cjs"), "--check", "--log-level", "warn", "."],
  ["types", bin("typescript/bin/tsc"), "-p", "."],
  ["lint", bin("eslint/bin/eslint.js"), "--max-warnings", "0", "src", "test", "bench", "scripts"],
  ["docs", join(root, "scripts/docs.mjs"), "--check"],
]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [file, ...args], { cwd: root, encoding: "utf8" });
  console.log(`${status === 0 ? "ok  " : "FAIL"} ${what}`);
  if (status !== 0) {
    failed++;
    console.log(stdout + stderr);
  }
}
try {
  buildWasm("release");
  console.log("ok   module: no data segments, start function or globals");
} catch (error) {
  failed++;
  console.log(`FAIL module: ${error.message}`);
}
process.exitCode = failed > 0 ? 1 : 0;
