// The microbenchmarks run, tiny, so that they do not rot. No figure is judged here: the machine is not quiet.

import { execFileSync } from "node:child_process";
import { dirname, join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { coreRound } from "../bench/core.js";
import { runtimeName } from "../bench/rounds.js";

const FIGURES = 34;

test("a round checks and times everything that it names", () => {
  const { runtime, figures } = coreRound(1);
  assert.is(runtime, runtimeName());
  assert.is(figures.length, FIGURES);
  for (const { name, value } of figures)
    assert.ok(name.includes("zlib") ? value === undefined || value > 0 : value! > 0 && Number.isFinite(value), `${name}: ${value}`);
});

// The script starts rounds as a plain Node does; other runtimes are what it measures.
if (runtimeName().startsWith("Node"))
  test("the script makes one table of this runtime alone, with nothing installed", () => {
    const script = join(dirname(process.argv[1]!), "../../../scripts/bench-core.mjs");
    const run = (...more: string[]): string =>
      execFileSync(process.execPath, [script, "--only", "this", "--rounds", "1", "--seconds", "0.01", ...more], { encoding: "utf8" });
    const { rows } = JSON.parse(run("--json")) as { rows: { name: string; medians: Record<string, number> }[] };
    assert.is(rows.length, FIGURES);
    for (const { name, medians } of rows) assert.ok(name.includes("zlib") || medians[runtimeName()]! > 0, name);
    const lines = run().trimEnd().split("\n");
    assert.is(lines.length, FIGURES + 3);
    assert.ok(lines[2]!.trim() === runtimeName());
  });

test.run();
