// The crash simulator as a test: some seconds of crashes at every operation, and its negative controls.
// Named after what it checks: acknowledged means durable (invariant 1), prefix (2), a batch is all or nothing
// (3), tear and corruption are two answers (4), stale bytes never come back (5), a failed write or fsync
// poisons (6), a full disk loses nothing (7), rings and queues stay within their bounds (8), LSNs and terms survive and
// clocks change no order (11), recovery can crash and be repeated (12). Of a log that is per-core all that holds for each
// chain; besides, all chains are merged in an order that follows what was acknowledged, and what was published before an
// epoch that is called complete ended is there in every one.

import { spawnSync } from "node:child_process";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { readFileSync } from "node:fs";
import { missingKinds, newCounts, tableOf } from "./support/counts.js";
import { DecidingRandom, decisionsOf, streamOf, type Decisions } from "./support/decisions.js";
import { Shrinker } from "./support/shrink.js";
import { SimulatedInode } from "./support/simulated-file.js";
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

test("what a simulated process leaves behind keeps no real one alive", async () => {
  // The first of them crashes in a follower's close, with a writer whose thread has died: its timer held this process.
  for (const seed of [254017305, 1, 2, 3]) await simulate(seed, newCounts());
  assert.not.ok(process.getActiveResourcesInfo().includes("Timeout"), String(process.getActiveResourcesInfo()));
});

test("a seed replays exactly", async () => {
  const life = async (seed: number): Promise<string> => {
    const lines: string[] = [];
    await simulate(seed, newCounts(), (line) => lines.push(line.replace(/"durationMs":[^}]*/, "")));
    return lines.join("\n");
  };
  for (const seed of [3, 4, 5]) assert.is(await life(seed), await life(seed));
});

interface Past {
  mutant: string;
  found: string;
  decisions: string;
}

const corpus = JSON.parse(readFileSync("test/corpus.json", "utf8")) as Past[];
const replay = (decisions: string): Promise<string | undefined> =>
  simulate(new DecidingRandom(0, streamOf(JSON.parse(decisions) as Decisions)), newCounts());

test("every run that once failed, or fails with a planted bug, passes", async () => {
  assert.ok(corpus.length > 30, `${corpus.length} runs`);
  for (const { mutant, decisions } of corpus) assert.is(await replay(decisions), undefined, mutant);
  console.log(`# simulator: ${corpus.length} runs of the corpus`);
});

test("a writer that is closed while it waits for other cores gets an answer: a run that once had none", async () => {
  const decisions = "[0,0,0,0,2,1,0,0,0,0,0,1,0,0,0,0,0,1,[],[1,0,0,0,0,0,0,0,0,0,5,[],[80],[1],[73,1],[84,1],[98]]]";
  assert.is(await replay(decisions), undefined);
});

test("written down, chance decides as it does from its seed, and again from its list", async () => {
  const life = async (random: number | DecidingRandom): Promise<string> => {
    const counts = newCounts();
    assert.is(await simulate(random, counts), undefined);
    return tableOf(counts);
  };
  for (const seed of [6, 7, 8]) {
    const random = new DecidingRandom(seed);
    const expected = await life(seed);
    assert.is(await life(random), expected);
    const text = JSON.stringify(decisionsOf(random.taken));
    assert.is(await life(new DecidingRandom(0, streamOf(JSON.parse(text) as Decisions))), expected);
  }
});

test("negative control: a failing run is shrunk to a short one that fails in the same way", async () => {
  const sync = Object.getOwnPropertyDescriptor(SimulatedInode.prototype, "sync")!;
  // A disk that lies: nothing that was synced is kept.
  SimulatedInode.prototype.sync = () => {};
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = 0;
  try {
    const trial = (random: DecidingRandom): Promise<string | undefined> => simulate(random, newCounts());
    let seed = 1;
    while ((await simulate(seed, newCounts())) === undefined) seed++;
    const random = new DecidingRandom(seed);
    await trial(random);
    const small = await Shrinker.ofSeed(seed, trial, 5);
    const before = JSON.stringify(decisionsOf(random.taken));
    const after = JSON.stringify(decisionsOf(small!.stream));
    console.log(`# shrinking: ${before.length} characters of decisions became ${after.length} in ${small!.trials} trials: ${after}`);
    assert.ok(after.length < before.length / 2, after);
    assert.is(await replay(after), small!.failure);
  } finally {
    Object.defineProperty(SimulatedInode.prototype, "sync", sync);
    Error.stackTraceLimit = limit;
  }
});

test("negative control: a kind of fault that never happens is named", () => {
  const missing = missingKinds(newCounts());
  assert.ok(missing.length > 60, missing.join(", "));
  const counts = newCounts();
  for (const kind of missing) counts.kinds.set(kind, 1);
  assert.equal(missingKinds(counts), []);
  counts.kinds.delete("write torn");
  assert.equal(missingKinds(counts), ["write torn"]);
});

test("negative control: the simulator finds planted bugs", () => {
  const only = ["no-fsync", "resolve-when-written", "ignored-short-write"];
  const { status, stdout, stderr } = spawnSync(process.execPath, ["test/support/mutate.mjs", "--only", only.join(), "--seconds", "20"], {
    encoding: "utf8",
  });
  assert.is(status, 0, stdout + stderr);
  assert.match(stdout, `${only.length} passed, 0 failed`);
});

test.run();
