// npm run bench:core -- [--seconds N] [--rounds N] [--only NAME …] [--json]
//
// Microbenchmarks of the WASM core on this runtime and on all of scripts/runtimes.mjs, one after the other, round by
// round, so that a busy moment hits every one. One table of medians. `--only this` needs nothing installed.

import { spawnSync } from "node:child_process";
import { cpus, release } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { root } from "./install.mjs";
import { installRuntimes, runtimes } from "./runtimes.mjs";

const script = join(root, "build/js/bench/core-round.js");
const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "90" },
    rounds: { type: "string", default: "5" },
    only: { type: "string", multiple: true },
    json: { type: "boolean", default: false },
  },
});
const [seconds, rounds] = ["seconds", "rounds"].map((name) => {
  const value = Number(values[name]);
  if (!(value > 0)) throw new RangeError(`--${name} is ${values[name]}: it must be a number above 0`);
  return value;
});
const all = [{ name: "this", command: process.execPath, args: [] }, ...runtimes];
const unknown = (values.only ?? []).find((name) => !all.some((r) => r.name === name));
if (unknown !== undefined) throw new RangeError(`--only ${unknown}: it must be one of ${all.map((r) => r.name).join(", ")}`);

let chosen = all.filter(({ name }) => values.only?.includes(name) ?? true);
if (chosen.some(({ name }) => name !== "this")) {
  try {
    installRuntimes();
  } catch (error) {
    if (values.only !== undefined) throw error;
    process.stderr.write(`${error.message}\nOnly this runtime is measured.\n`);
    chosen = all.slice(0, 1);
  }
}

/** Name and version, as the runtime itself says it → name and unit of each figure → one value of each round. */
const columns = new Map();
for (let round = 0; round < rounds; round++) {
  for (const { name, command, args } of [...chosen]) {
    if (process.stderr.isTTY) process.stderr.write(`\r\x1b[Kround ${round + 1} of ${rounds}: ${name}`);
    const ms = (seconds * 1000) / rounds / chosen.length;
    const { status, stdout, stderr, error } = spawnSync(command, [...args, script, String(ms)], { encoding: "utf8" });
    if (status !== 0) throw new Error(`${name} failed: ${error?.message ?? stderr}`);
    const { runtime, figures } = JSON.parse(stdout);
    if (round === 0 && columns.has(runtime)) {
      // This Node is one of the installed ones.
      chosen = chosen.filter((r) => r.name !== name);
      continue;
    }
    const column = columns.get(runtime) ?? figures.map((f) => ({ ...f, values: [] }));
    columns.set(runtime, column);
    for (const [i, { value }] of figures.entries()) column[i].values.push(value);
  }
}
if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");

const median = (list) => [...list].sort((a, b) => a - b)[list.length >> 1];
const machine = { cpu: cpus()[0]?.model ?? "unknown", cores: cpus().length, os: `${process.platform} ${release()}` };
const names = [...columns.keys()];
const rows = columns.get(names[0]).map(({ name, unit }, i) => ({
  name,
  unit,
  medians: Object.fromEntries(names.map((runtime) => [runtime, median(columns.get(runtime)[i].values)])),
}));
if (values.json) {
  console.log(JSON.stringify({ machine, rounds, seconds, rows }, null, 2));
} else {
  const cell = (value) => (value === undefined ? "-" : value.toFixed(value < 100 ? 2 : 0)).padStart(14);
  console.log(`${machine.cpu}, ${machine.cores} cores, ${machine.os}; medians of ${rounds} rounds\n`);
  console.log("".padEnd(40) + names.map((name) => name.padStart(14)).join(""));
  for (const { name, unit, medians } of rows)
    console.log(`${name.padEnd(34)}${unit.padEnd(6)}${names.map((runtime) => cell(medians[runtime])).join("")}`);
}
