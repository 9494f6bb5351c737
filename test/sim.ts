// The crash simulator's command line:
//
//   node build/js/test/sim.js [--seconds N | --cycles N | --runs N] [--seed S] [--all] [--every-kind] [--trace]
//                             [--shrink SECONDS] [--json]
//   node build/js/test/sim.js --replay FILE|DECISIONS [--trace]
//
// Counts seeds up from S until the time, the cycles or the runs are over. The first one that fails is made as small
// as it gets, and printed with the command that replays it. With --all it goes on and lists every seed that fails. With
// --every-kind it is a failure if something that can happen never did: for long runs, and for fixed seeds, since of the
// rarest kinds there is one in some thousand cycles.

import { existsSync, readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { missingKinds, newCounts, tableOf } from "./support/counts.js";
import { DecidingRandom, decisionsOf, streamOf, type Decisions } from "./support/decisions.js";
import { Shrinker, type Shrunk } from "./support/shrink.js";
import { simulate } from "./support/simulation.js";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "10" },
    cycles: { type: "string" },
    runs: { type: "string" },
    seed: { type: "string" },
    replay: { type: "string" },
    shrink: { type: "string", default: "20" },
    trace: { type: "boolean", default: false },
    all: { type: "boolean", default: false },
    "every-kind": { type: "boolean", default: false },
    json: { type: "boolean", default: false },
  },
});

const print = (text: string): void => console.error(`  ${text}`);
const trace = values.trace ? print : undefined;
const counts = newCounts();
const began = performance.now();
const elapsed = (): number => (performance.now() - began) / 1000;

/** A seed that failed may have left anything behind, also what would keep this process alive. */
function end(failed: boolean): never {
  process.exit(failed ? 1 : 0);
}

/** Decisions as a file holds them, or as they were printed. */
function given(text: string): Decisions {
  return JSON.parse(existsSync(text) ? readFileSync(text, "utf8") : text) as Decisions;
}

if (values.replay !== undefined) {
  Error.stackTraceLimit = 30;
  const failure = await simulate(new DecidingRandom(0, streamOf(given(values.replay))), counts, trace);
  if (values.json) console.log(JSON.stringify({ failure, seconds: elapsed(), cycles: counts.cycles }));
  else console.log(failure ?? `${counts.cycles} crash and recover cycles, and nothing was wrong`);
  end(failure !== undefined);
}

const first = values.seed === undefined ? Date.now() % 2 ** 31 : Number(values.seed);
const runs = values.runs === undefined ? Infinity : Number(values.runs);
const cycles = values.cycles === undefined ? Infinity : Number(values.cycles);
const seconds = runs < Infinity || cycles < Infinity ? Infinity : Number(values.seconds);
// Most errors here are simulated ones that nobody looks at; their stacks would take a tenth of the time.
if (runs > 1) Error.stackTraceLimit = 0;

let failure: string | undefined;
let seed = first;
for (; counts.seeds < runs && counts.cycles < cycles && elapsed() < seconds; seed++) {
  failure = await simulate(seed, counts, trace);
  if (failure !== undefined && !values.all) break;
  if (failure !== undefined) console.log(`seed ${seed}: ${failure.split("\n")[0]}`);
}
const took = elapsed();
const { user, system } = process.cpuUsage();
let small: Shrunk | undefined;
if (failure !== undefined && !values.all)
  small = await Shrinker.ofSeed(seed, (random) => simulate(random, newCounts()), Number(values.shrink));
const missing = failure === undefined && values["every-kind"] ? missingKinds(counts) : [];
const decisions = small && JSON.stringify(decisionsOf(small.stream));

if (values.json) {
  const found = failure === undefined ? {} : { failure, seed, decisions, shrunkFailure: small?.failure };
  console.log(JSON.stringify({ ...found, missing, seconds: took, seeds: counts.seeds, cycles: counts.cycles }));
} else {
  console.log(tableOf(counts));
  const rate = (time: number): string => `${(counts.cycles / time).toFixed(0)}`;
  console.log(
    `\nseeds ${first} to ${first + counts.seeds - 1}: ${counts.cycles} crash and recover cycles in ${took.toFixed(1)} s, ` +
      `${rate(took)} a second, ${rate((user + system) / 1e6)} a second of processor time`,
  );
  for (const kind of missing) console.log(`NEVER HAPPENED: ${kind}`);
  if (failure !== undefined) console.log(`\nseed ${seed}: ${failure}\nreplay: npm run sim -- --seed ${seed} --runs 1 --trace`);
  if (failure !== undefined && !values.all && small === undefined)
    console.log("this seed fails only after others: something is left over from one run to the next");
  if (small !== undefined) {
    console.log(`\nthe same, shrunk in ${small.trials} trials: ${small.failure}`);
    await simulate(new DecidingRandom(0, small.stream), newCounts(), print);
    console.log(`replay: npm run sim -- --trace --replay '${decisions}'`);
  }
}
end(failure !== undefined || missing.length > 0);
