// The stripe protocol and the epoch barrier over the module as it ships, under every order of its threads' accesses that few preemptions make,
// and under random ones (schedules.ts; more of both in .ci/run).

import { spawnSync } from "node:child_process";
import { dirname, join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Explorer } from "./schedules/explore.js";
import { PLANTED, SCENARIOS } from "./schedules/scenarios.js";
import { here } from "./support/runtimes.js";

const RANDOM_SCHEDULES = 1000;

test("every schedule with one preemption: each entry once, whole, in order and in its epoch, no lost wake-up, no race", () => {
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

test("a planted bug is found, and the line that its failure prints replays it", () => {
  assert.match(new Explorer().exhaust(PLANTED, 2).found!.failure, "lost doorbell");
  const script = join(dirname(process.argv[1]!), "schedules.js");
  const command = (args: string[]): { status: number | null; stdout: string; stderr: string } =>
    spawnSync(here.command, [...here.args, script, ...args], { encoding: "utf8" });
  const search = command(["--scenario", PLANTED.name, "--seconds", "0"]);
  assert.is(search.status, 1);
  const line = /replay: npm run schedules -- --scenario "(.*)" --schedule "(.*)" --trace/.exec(search.stdout)!;
  const replayed = command(["--scenario", line[1]!, "--schedule", line[2]!, "--trace"]);
  assert.is(replayed.status, 1);
  const failure = /^planted bug: .*$/m.exec(search.stdout)![0];
  assert.match(replayed.stdout, failure);
  assert.match(replayed.stderr, "flusher: waits on SLEEP");
  // Another schedule of the same scenario is fine.
  assert.is(new Explorer().replay(PLANTED, ""), undefined);
});

test.run();
