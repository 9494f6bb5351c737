// The crash simulator's command line: node build/js/test/sim.js [--seconds N] [--seed S] [--runs N] [--trace] [--all]
// Counts seeds up from S until the time or the runs are over; the first that fails is printed with the
// command that replays it. With --all it goes on and lists every seed that fails.

import { parseArgs } from "node:util";
import { newCounts } from "./support/counts.js";
import { simulate } from "./support/simulation.js";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "10" },
    seed: { type: "string" },
    runs: { type: "string" },
    trace: { type: "boolean", default: false },
    all: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
  },
});

const first = values.seed === undefined ? Date.now() % 2 ** 31 : Number(values.seed);
const runs = values.runs === undefined ? Infinity : Number(values.runs);
// Most errors here are simulated ones that nobody looks at; their stacks would take a tenth of the time.
if (runs > 1) Error.stackTraceLimit = 0;
const counts = newCounts();
const began = performance.now();
const elapsed = (): number => (performance.now() - began) / 1000;
let failure: string | undefined;
let seed = first;

for (let run = 0; run < runs && (runs < Infinity || elapsed() < Number(values.seconds)); run++, seed++) {
  failure = await simulate(seed, counts, values.trace ? (text) => console.error(`  ${text}`) : undefined);
  if (failure !== undefined && !values.all) break;
  if (failure !== undefined) console.log(`seed ${seed}: ${failure.split("\n")[0]}`);
}

const seconds = elapsed();
if (values.json) {
  console.log(
    JSON.stringify({ failure, seed: failure === undefined ? undefined : seed, seconds, seeds: counts.seeds, cycles: counts.cycles }),
  );
} else {
  console.log(
    `seeds ${first} to ${first + counts.seeds - 1}: ${counts.cycles} crash and recover cycles in ${seconds.toFixed(1)} s, ${(counts.cycles / seconds).toFixed(0)} a second`,
  );
  const kinds = [...counts.kinds].sort((a, b) => b[1] - a[1]);
  for (const [kind, n] of kinds) console.log(`${String(n).padStart(9)}  ${kind}`);
  if (failure !== undefined) console.log(`\nseed ${seed}: ${failure}\nreplay: npm run sim -- --seed ${seed} --runs 1 --trace`);
}
// A seed that failed may have left anything behind, also what would keep this process alive.
process.exit(failure === undefined ? 0 : 1);
