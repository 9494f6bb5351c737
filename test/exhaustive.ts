// The exhaustive exploration's command line: node build/js/test/exhaustive.js [--history NAME] [--deep] [--seconds N]
// Goes through every history of histories.ts and prints what was tried. The first state that is not as it must be is
// printed with the command that replays it: --history NAME --choices PATH --trace. --deep: the process that recovers
// appends as well, and may die of that. What is not done when the time is over is skipped.

import { parseArgs } from "node:util";
import { BOUNDS, DEEP, Explorer, type LevelCounts } from "./exhaustive/explore.js";
import { HISTORIES, type History } from "./exhaustive/histories.js";
import { parsePath } from "./exhaustive/path.js";

const { values } = parseArgs({
  options: {
    history: { type: "string" },
    choices: { type: "string" },
    deep: { type: "boolean", default: false },
    seconds: { type: "string", default: "Infinity" },
    trace: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
  },
});

const bounds = values.deep ? DEEP : BOUNDS;
const began = performance.now();
const elapsed = (): number => (performance.now() - began) / 1000;
const say = (text: string): void => void (values.json || console.log(text));
const named = HISTORIES.filter(({ name }) => values.history === undefined || name === values.history);
if (named.length === 0) throw new Error(`there is no history ${values.history}; there are ${HISTORIES.map(({ name }) => name).join(", ")}`);
if (values.choices !== undefined && values.history === undefined) throw new Error("--choices goes with --history");
// Most errors here are simulated ones that nobody looks at; their stacks would take a tenth of the time.
if (values.choices === undefined) Error.stackTraceLimit = 0;

function describe({ operations, crashes, failures, paths, states, bounded }: LevelCounts): string {
  return (
    `${operations} operations, ${crashes} crash points and ${failures} failures, after which the power went in ${paths} ways: ${states} new states` +
    (bounded === 0 ? "" : ` (${bounded} times only some of the ways)`)
  );
}

function report({ name }: History, { levels, opens }: Explorer, seconds: number): void {
  say(`${name}: ${opens} logs opened in ${seconds.toFixed(1)} s`);
  levels.forEach((counts, level) => say(`  ${level === 0 ? "" : `${counts.begun} recoveries, crashed in as well: `}${describe(counts)}`));
}

async function replay(history: History, choices: string): Promise<void> {
  const trace = values.trace ? (text: string): void => console.error(`  ${text}`) : (): void => undefined;
  const failure = await new Explorer(history, bounds).replay(parsePath(choices), trace);
  say(failure ?? "nothing is wrong");
  if (values.json) console.log(JSON.stringify({ failure, seconds: elapsed() }));
  process.exit(failure === undefined ? 0 : 1);
}

async function explore(): Promise<void> {
  const sum = { crashes: 0, failures: 0, states: 0, opens: 0 };
  const results = { passed: 0, failed: 0, skipped: 0 };
  let failed: { failure: string; replay: string } | undefined;
  // Once with one crash only: most bugs need no second one, and are found within seconds.
  for (const comeBack of [[], bounds.comeBack]) {
    for (const history of failed === undefined ? named : []) {
      const since = elapsed();
      const explorer = new Explorer(history, { ...bounds, comeBack }, () => elapsed() > Number(values.seconds));
      const found = await explorer.explore();
      if (found === undefined && comeBack.length === 0) continue;
      report(history, explorer, elapsed() - since);
      for (const { crashes, failures, states } of explorer.levels) {
        sum.crashes += crashes;
        sum.failures += failures;
        sum.states += states;
      }
      sum.opens += explorer.opens;
      results[found !== undefined ? "failed" : explorer.cut ? "skipped" : "passed"]++;
      if (found === undefined) continue;
      const deep = values.deep ? " --deep" : "";
      failed = {
        failure: `${history.name}: ${found.failure}`,
        replay: `--history "${history.name}"${deep} --choices "${found.path}" --trace`,
      };
      break;
    }
  }
  say(`${sum.crashes} crash points, ${sum.failures} failures, ${sum.states} states, ${sum.opens} logs opened in ${elapsed().toFixed(1)} s`);
  if (failed !== undefined) say(`\n${failed.failure}\nreplay: npm run exhaustive -- ${failed.replay}`);
  say(`${results.passed} passed, ${results.failed} failed, ${results.skipped} skipped`);
  if (values.json) console.log(JSON.stringify({ ...failed, seconds: elapsed(), states: sum.states }));
  process.exit(results.failed === 0 && results.passed > 0 ? 0 : 1);
}

if (values.choices === undefined) await explore();
else await replay(named[0]!, values.choices);
