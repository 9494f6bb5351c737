// The soak's command line: npm run soak -- [--minutes N | --seconds N] [--seed S] [--runtime NAME] [--plant WHAT] [--controls]
// Random load on real logs in real processes until the time is over; the seed repeats the choices, not the schedule.
// --plant makes it wrong with intent, --controls does so in each way that there is, and each must be reported.

import { cpSync, existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { here, type TestRuntime } from "./support/runtimes.js";
import { collectorArgs } from "./support/soak-measure.js";
import { PLANTS, soak, type Plant, type SoakResult } from "./support/soak-run.js";

const { values } = parseArgs({
  options: {
    minutes: { type: "string" },
    seconds: { type: "string", default: "40" },
    seed: { type: "string" },
    runtime: { type: "string" },
    plant: { type: "string" },
    controls: { type: "boolean", default: false },
  },
});

function numberOf(name: string, text: string): number {
  const n = Number(text);
  if (text.trim() === "" || !(n >= 0)) throw new Error(`--${name} takes a number, not ${JSON.stringify(text)}`);
  return n;
}

const seconds = values.minutes === undefined ? numberOf("seconds", values.seconds) : 60 * numberOf("minutes", values.minutes);
const seed = values.seed === undefined ? Date.now() % 2 ** 31 : numberOf("seed", values.seed);
if (values.plant !== undefined && !PLANTS.includes(values.plant as Plant))
  throw new Error(`there is no ${values.plant} to plant; there are ${PLANTS.join(", ")}`);

/** That of the victims and readers; the model is always in this process. */
async function runtimeNamed(name: string | undefined): Promise<TestRuntime> {
  if (name === undefined) return here;
  const list = pathToFileURL(join(dirname(process.argv[1]!), "../../../scripts/runtimes.mjs")).href;
  return ((await import(list)) as { runtimeNamed(name: string): TestRuntime }).runtimeNamed(name);
}

const runtime = await runtimeNamed(values.runtime);
const began = performance.now();
let shown = false;
function progress(text: string): void {
  if (!process.stderr.isTTY) return;
  shown = true;
  process.stderr.write(`\r\x1b[K${((performance.now() - began) / 1000).toFixed(0)} s of ${seconds}: ${text}`);
}
function say(text: string): void {
  if (shown) process.stderr.write("\r\x1b[K");
  console.log(text);
}

function report({ lives, logs, acknowledged, entries, holes, verdicts }: SoakResult): void {
  const ends = [...lives].map(([how, n]) => `${n} ${how}`).join(", ");
  say(`${logs} logs, lives ended by ${ends}; ${entries} entries, ${acknowledged} of which somebody was told, ${holes} holes`);
  const show = (what: string, n: number): string => (what.endsWith("Bytes") ? `${(n / 2 ** 20).toFixed(1)} MiB` : String(n));
  for (const { where, what, first, last, flat } of verdicts)
    say(
      `  ${where.padEnd(6)} ${what.padEnd(13)} ${show(what, first).padStart(10)} → ${show(what, last).padStart(10)}${flat ? "" : "  GREW"}`,
    );
}

/** Passed and failed: lives and series that were judged. */
function count({ lives, verdicts, failure }: SoakResult): [passed: number, failed: number] {
  const passed = [...lives.values()].reduce((a, b) => a + b, 0) + verdicts.filter(({ flat }) => flat).length;
  return [passed, failure === undefined ? 0 : Math.max(1, verdicts.filter(({ flat }) => !flat).length)];
}

const run = (plant: Plant | undefined, forSeconds: number): Promise<SoakResult> =>
  soak({ seconds: forSeconds, seed, runtime, runtimeArgs: collectorArgs(runtime.name), plant, progress });

/** A run ends at what it finds, mostly after some seconds: this is for machines that are busy. */
const CONTROL_SECONDS = 15;

let passed = 0;
let failed = 0;
if (values.controls) {
  const found: Record<Plant, RegExp> = {
    "leak-descriptor": /descriptors of the victim grew/,
    "leak-thread": /threads of the victim grew/,
    "leak-buffer": /externalBytes of the victim grew/,
    "leak-heap": /heapBytes of the victim grew/,
    "lose-record": /the log ends at LSN \d+, and \d+ was (durable|shown before)/,
    "double-record": /doubled or out of order/,
  };
  // Two at a time: most of it is waiting.
  const queue = [...PLANTS];
  const work = async (): Promise<void> => {
    for (let plant = queue.shift(); plant !== undefined; plant = queue.shift()) {
      const { failure } = await run(plant, CONTROL_SECONDS);
      const ok = failure !== undefined && found[plant].test(failure);
      say(`${plant.padEnd(16)} ${ok ? "found" : "NOT FOUND"}: ${failure?.split("\n")[0] ?? "nothing was reported"}`);
      if (ok) passed++;
      else failed++;
    }
  };
  await Promise.all([work(), work()]);
} else {
  console.log(`seed ${seed}, ${seconds} s on ${runtime.name}`);
  const result = await run(values.plant as Plant | undefined, seconds);
  report(result);
  [passed, failed] = count(result);
  if (result.failure !== undefined) {
    const [what, directory] = result.failure.split("\n");
    const kept = join(tmpdir(), `corewal-soak-${seed}`);
    // A log that had ended well before the series were judged is gone.
    const there = existsSync(directory!);
    if (there) cpSync(directory!, kept, { recursive: true });
    say(
      `\n${what}${there ? `\nthe log: ${kept}` : ""}\nagain: npm run soak -- --seconds ${seconds} --seed ${seed}${values.plant ? ` --plant ${values.plant}` : ""}`,
    );
  }
}
say(`\n${passed} passed, ${failed} failed, 0 skipped`);
process.exit(failed > 0 || passed === 0 ? 1 : 0);
