// The crash simulator as a test: some seconds of crashes at every operation, and its negative controls.
// Named after what it checks: acknowledged means durable (invariant 1), prefix (2), a batch is all or nothing
// (3), tear and corruption are two answers (4), stale bytes never come back (5), a failed write or fsync
// poisons (6), a full disk loses nothing (7), LSNs and terms survive (11), recovery can crash and be
// repeated (12).

import { spawnSync } from "node:child_process";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { newCounts } from "./support/counts.js";
import { simulate } from "./support/simulation.js";

const SECONDS = 2;
const FIXED_SEED = 1;

async function run(first: number, seconds: number): Promise<void> {
  const counts = newCounts();
  const until = performance.now() + seconds * 1000;
  for (let seed = first; performance.now() < until; seed++) {
    const failure = await simulate(seed, counts);
    assert.is(failure, undefined, `seed ${seed}: ${failure}\nreplay: npm run sim -- --seed ${seed} --runs 1 --trace`);
  }
  console.log(`# simulator: ${counts.cycles} crash and recover cycles, seeds ${first} to ${first + counts.seeds - 1}`);
  assert.ok(counts.cycles > 20, `only ${counts.cycles} cycles`);
  assert.ok(
    [...counts.kinds.keys()].some((kind) => kind.startsWith("power loss in recovery")),
    "recovery was never interrupted",
  );
}

test("crashes at any operation lose nothing that was acknowledged and invent nothing: the same seeds every time", () =>
  run(FIXED_SEED, SECONDS));

test("crashes at any operation lose nothing that was acknowledged and invent nothing: fresh seeds", () =>
  run(Date.now() % 2 ** 31, SECONDS));

test("a seed replays exactly", async () => {
  const life = async (seed: number): Promise<string> => {
    const lines: string[] = [];
    await simulate(seed, newCounts(), (line) => lines.push(line.replace(/"durationMs":[^}]*/, "")));
    return lines.join("\n");
  };
  for (const seed of [3, 4, 5]) assert.is(await life(seed), await life(seed));
});

test("negative control: the simulator finds planted bugs", () => {
  const only = ["no-fsync", "resolve-when-written", "ignored-short-write"];
  const { status, stdout, stderr } = spawnSync(process.execPath, ["test/support/mutate.mjs", "--only", only.join(), "--seconds", "20"], {
    encoding: "utf8",
  });
  assert.is(status, 0, stdout + stderr);
  assert.match(stdout, `all ${only.length} planted bugs were found`);
});

test.run();
