// The stripe protocol of the module as it ships, under every order of its threads' accesses that few preemptions make,
// and under random ones (schedules.ts; more of both in .ci/run).

import { test } from "uvu";
import * as assert from "uvu/assert";
import { Explorer } from "./schedules/explore.js";
import { SCENARIOS } from "./schedules/scenarios.js";

const RANDOM_SCHEDULES = 2000;

test("every schedule with one preemption: each entry once, whole and in order, no lost wake-up, no race", () => {
  const explorer = new Explorer();
  const counts = SCENARIOS.map((scenario) => {
    const { found, schedules } = explorer.exhaust(scenario, 1);
    assert.is(
      found,
      undefined,
      `${found?.failure}\nreplay: npm run schedules -- --scenario "${scenario.name}" --schedule "${found?.schedule}" --trace`,
    );
    return schedules;
  });
  console.log(`# ${counts.reduce((sum, n) => sum + n)} schedules`);
});

test("random schedules of random scenarios", () => {
  const explorer = new Explorer();
  for (let seed = 1; seed <= RANDOM_SCHEDULES; seed++) {
    const found = explorer.chance(seed);
    assert.is(found, undefined, `${found?.failure}\nreplay: npm run schedules -- --seed ${seed} --runs 1 --trace`);
  }
});

test.run();
