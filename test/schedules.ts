// The schedule exploration's command line: node build/js/test/schedules.js [--seconds N] [--seed S] [--preemptions P]
// Every schedule of each scenario with up to P preemptions (P - 1 in wide ones), then random scenarios and schedules from seed S up until
// the time is over. The first that fails is printed with the command that replays it: --seed S --runs 1 --trace, or
// --scenario NAME --schedule TEXT --trace.

import { parseArgs } from "node:util";
import { Explorer, preemptionsOf, type Found } from "./schedules/explore.js";
import { PLANTED, SCENARIOS, type Scenario } from "./schedules/scenarios.js";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "10" },
    seed: { type: "string" },
    runs: { type: "string" },
    preemptions: { type: "string", default: "2" },
    scenario: { type: "string", multiple: true },
    schedule: { type: "string" },
    trace: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
  },
});

const explorer = new Explorer();
const trace = values.trace ? (text: string): void => console.error(`  ${text}`) : undefined;
const began = performance.now();
const elapsed = (): number => (performance.now() - began) / 1000;
const say = (text: string): void => void (values.json || console.log(text));
const named = values.scenario?.map((wanted) => known(wanted)) ?? SCENARIOS;
let passed = 0;

function known(wanted: string): Scenario {
  const all = [...SCENARIOS, PLANTED];
  const scenario = all.find(({ name }) => name === wanted);
  if (scenario === undefined) throw new Error(`there is no scenario ${wanted}; there are ${all.map(({ name }) => name).join(", ")}`);
  return scenario;
}

const replayOf = ({ scenario, schedule }: Found): string => `--scenario "${scenario}" --schedule "${schedule}" --trace`;

/** What failed, and the arguments that replay it. */
function find(): { found: Found; replay: string } | undefined {
  const first = values.seed === undefined ? Date.now() % 2 ** 31 : Number(values.seed);
  const runs = values.runs === undefined ? Infinity : Number(values.runs);
  if (values.schedule !== undefined) {
    const failure = explorer.replay(named[0]!, values.schedule, trace);
    explorer.schedules++;
    if (failure === undefined) return undefined;
    const found = { failure, scenario: named[0]!.name, schedule: values.schedule };
    return { found, replay: replayOf(found) };
  }
  if (values.runs === undefined) {
    // Few preemptions first: most bugs need one or two.
    const most = Number(values.preemptions);
    for (let preemptions = 0; preemptions <= most; preemptions++) {
      for (const scenario of named) {
        const { found, schedules, states } = explorer.exhaust(scenario, preemptions);
        if (found !== undefined) return { found, replay: replayOf(found) };
        if (preemptions < most) continue;
        passed++;
        say(
          `${scenario.name.padEnd(16)} ${String(schedules).padStart(9)} schedules, ${String(states).padStart(9)} states: all with up to ${preemptionsOf(scenario, most)} preemptions`,
        );
      }
    }
    say(`${explorer.schedules} schedules in ${elapsed().toFixed(1)} s`);
  }
  const before = explorer.schedules;
  for (let run = 0; run < runs && (runs < Infinity || elapsed() < Number(values.seconds)); run++) {
    const found = explorer.chance(first + run, trace);
    if (found !== undefined) return { found, replay: `--seed ${first + run} --runs 1 --trace` };
  }
  const random = explorer.schedules - before;
  if (random > 0) {
    passed++;
    say(`seeds ${first} to ${first + random - 1}: ${random} random schedules`);
  }
  return undefined;
}

const failed = find();
const seconds = elapsed();
const { schedules, machine } = explorer;
if (values.json) console.log(JSON.stringify({ failure: failed?.found.failure, replay: failed?.replay, seconds, schedules }));
say(`${schedules} schedules, ${machine.steps} steps in ${seconds.toFixed(1)} s, ${(schedules / seconds).toFixed(0)} schedules a second`);
if (failed !== undefined) say(`\n${failed.found.scenario}: ${failed.found.failure}\nreplay: npm run schedules -- ${failed.replay}`);
// Each scenario is a test, and all random schedules together are one.
say(`${passed} passed, ${failed === undefined ? 0 : 1} failed`);
process.exitCode = failed === undefined && schedules > 0 ? 0 : 1;
