// A sample of the exhaustive exploration (exhaustive.ts; all of it in .ci/run): seven histories, with second crashes in
// one of them, and its negative controls. Acknowledged means durable (invariant 1), prefix (2), a batch is all or
// nothing (3), tear and corruption are two answers (4), a failed write or fsync poisons (6), recovery can crash and
// be repeated (12).

import { spawnSync } from "node:child_process";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Choices, FAULT, search, searchFaults } from "./exhaustive/choices.js";
import { BOUNDS, Explorer, type Bounds } from "./exhaustive/explore.js";
import { HISTORIES } from "./exhaustive/histories.js";
import { describePath, parsePath, type Step } from "./exhaustive/path.js";

const FIRST_CRASH: Bounds = { ...BOUNDS, comeBack: [] };

async function explore(name: string, bounds: Bounds): Promise<void> {
  const explorer = new Explorer(
    HISTORIES.find((history) => history.name === name)!,
    bounds,
  );
  const found = await explorer.explore();
  assert.is(found, undefined, `${found?.failure}\nreplay: npm run exhaustive -- --history "${name}" --choices "${found?.path}" --trace`);
  const states = explorer.levels.map((level) => level.states);
  console.log(`# ${name}: ${states.join(" and ")} states`);
  assert.ok(states.every((count) => count > 20));
}

test("nothing that was acknowledged is lost and nothing invented, wherever the power goes, and wherever it goes again", () =>
  explore("closed before", BOUNDS));

test("the same with one crash: groups and batches, a full segment; two chains, an epoch that begins, a close", async () => {
  for (const name of ["groups", "rotation", "cores, first open", "cores closed"]) await explore(name, FIRST_CRASH);
});

test("the end is cut off or not, and no checkpoint holds more; a log is restored or not", async () => {
  for (const name of ["cut before a checkpoint", "restored into a batch"]) await explore(name, FIRST_CRASH);
});

/** All paths through something that decides, as text. */
function paths(run: (choices: Choices) => void, all: number, deviations: number, faults = false): string[] {
  const choices = new Choices();
  const taken: string[] = [];
  const searched = { paths: 0, bounded: 0 };
  for (const made of (faults ? searchFaults : search)(choices, { all, deviations }, searched)) {
    run(choices);
    taken.push(made.join(""));
  }
  assert.is(taken.length, searched.paths);
  return taken.sort();
}

const coins =
  (count: number) =>
  (choices: Choices): void => {
    for (let i = 0; i < count; i++) choices.chance(0.5);
  };

test("a search takes every path, also where one decision hangs on another", () => {
  assert.equal(new Set(paths(coins(5), 32, 0)).size, 32);
  const tree = (choices: Choices): void => {
    if (choices.chance(0.9)) choices.pick(["a", "b", "c"]);
    choices.chance(1);
  };
  assert.equal([...new Set(paths(tree, 100, 0))], ["0", "10", "11", "12"]);
});

test("where there are too many, it takes all, none, each beginning, each end, and each one or two that differ", () => {
  const taken = new Set(paths(coins(6), 63, 2));
  const ones = (path: string): number => [...path].filter((digit) => digit === "1").length;
  for (const path of paths(coins(6), 64, 0)) {
    const near = ones(path) <= 2 || ones(path) >= 4 || /^(0+1+|1+0+)$/.test(path);
    assert.is(taken.has(path), near, path);
  }
});

test("one fault at a time, at every place, with all that can follow", () => {
  const run = (choices: Choices): void => {
    if (choices.chance(FAULT)) coins(2)(choices);
    choices.chance(FAULT);
  };
  assert.equal([...new Set(paths(run, 100, 0, true))], ["00", "01", "1000", "1010", "1100", "1110"]);
});

test("a path is the same after it was written down", () => {
  const path: Step[] = [
    { at: 12, run: [0, 1, 20], end: "power", loss: [1, 0, 1] },
    { at: "failure", run: [], end: "exit", loss: [] },
    { at: "end", run: [1], end: undefined, loss: [] },
  ];
  assert.is(describePath(path), "12.01k.p101,failure..e,end.1.");
  assert.equal(parsePath(describePath(path)), path);
  assert.throws(() => parsePath("12"), /no step of a path/);
});

test("negative control: planted bugs are found, and what is printed replays them", () => {
  const only = ["no-fsync", "segment-not-fsynced-before-rename"];
  const run = (...args: string[]) => spawnSync(process.execPath, args, { encoding: "utf8" });
  const { status, stdout, stderr } = run("test/support/mutate.mjs", "--exhaustive", "--only", only.join(), "--seconds", "30");
  assert.is(status, 0, stdout + stderr);
  const bundle = `build/mutants/exhaustive/${only[1]}/exhaustive.js`;
  const found = run(bundle);
  assert.is(found.status, 1);
  const [, history, path] = /replay: .* --history "(.*)" --choices "(.*)" --trace/.exec(found.stdout)!;
  const again = run(bundle, "--history", history!, "--choices", path!, "--trace");
  assert.is(again.status, 1);
  assert.ok(found.stdout.includes(again.stdout.trim()), again.stdout);
  assert.match(again.stderr, /rename .*\.wal/);
  // The same way without the bug.
  assert.is(run("build/js/test/exhaustive.js", "--history", history!, "--choices", path!).status, 0);
});

test.run();
