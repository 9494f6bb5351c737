// What the threads do: a few small scenarios that are explored exhaustively, and any number made from a seed.

import { BELL_LAZY, BELL_NONE } from "../../assembly/layout.js";
import type { Random } from "../support/random.js";
import { Ledger } from "./ledger.js";
import type { Choose, Exports, Machine, Program, Setup } from "./machine.js";
import { flusher, supervisor, writer, type FlusherPlan, type WriterPlan } from "./programs.js";

export interface Scenario extends Setup {
  name: string;
  flusher: FlusherPlan;
  writers: WriterPlan[];
  /** The first writer's thread is ended at some moment. */
  death?: boolean;
}

/** A group of one entry with 8 bytes takes 48 bytes: a ring of 128 wraps at the third. */
const SMALL: WriterPlan = { publications: [1, 1], payloadBytes: 8, bell: BELL_LAZY };
const FLUSHER: FlusherPlan = { revoke: "late", capacityBytes: 2048 };
const SETUP = { stripes: 2, ringBytes: 128, start: 0, flusher: FLUSHER };
/** Bytes of tail and head before they wrap. */
const BEFORE_WRAP = 2 ** 32 - 64;

/** Two writers with two entries each, or what comes closest to it, and the flusher. */
export const SCENARIOS: Scenario[] = [
  { ...SETUP, name: "doorbell", writers: [SMALL, SMALL] },
  {
    ...SETUP,
    name: "durable",
    writers: [
      { ...SMALL, bell: BELL_NONE, demand: 0 },
      { ...SMALL, bell: BELL_NONE, publications: [1], demand: 1 },
    ],
  },
  { ...SETUP, name: "batch", writers: [{ ...SMALL, publications: [2, 1] }, SMALL], ringBytes: 256 },
  { ...SETUP, name: "wrap", stripes: 1, start: BEFORE_WRAP, writers: [{ ...SMALL, publications: [1, 1, 1, 1] }] },
  {
    ...SETUP,
    name: "full",
    start: BEFORE_WRAP,
    writers: [
      { ...SMALL, publications: [1, 1, 1, 1] },
      { ...SMALL, publications: [1] },
    ],
  },
  { ...SETUP, name: "small frames", flusher: { ...FLUSHER, capacityBytes: 48 }, writers: [SMALL, SMALL] },
  { ...SETUP, name: "revoked", flusher: { ...FLUSHER, revoke: "at once" }, writers: [SMALL, SMALL] },
  {
    ...SETUP,
    name: "stripe reuse",
    stripes: 1,
    writers: [
      { ...SMALL, release: true },
      { ...SMALL, release: true },
    ],
  },
  {
    ...SETUP,
    name: "reuse durable",
    stripes: 1,
    writers: [
      { ...SMALL, publications: [1], bell: BELL_NONE, demand: 0, release: true },
      { ...SMALL, publications: [1], bell: BELL_NONE, demand: 0, release: true },
    ],
  },
  { ...SETUP, name: "death", stripes: 1, death: true, writers: [SMALL, SMALL] },
];

/** One that must fail: with it the search itself is tested, and the line that replays what it found. */
export const PLANTED: Scenario = { ...SETUP, name: "planted bug", flusher: { ...FLUSHER, hasty: true }, writers: [SMALL, SMALL] };

/** Up to three writers, of any kind. */
export function randomScenario(seed: number, random: Random): Scenario {
  const count = random.between(1, 3);
  const ringBytes = random.pick([128, 256]);
  const death = random.chance(0.3);
  const payloadBytes = random.pick([4, 8, 16]);
  // A group must fit into half a ring.
  const batchMax = Math.floor((ringBytes / 2 - 16) / (16 + Math.ceil(payloadBytes / 8) * 8));
  const release = death || random.chance(0.5);
  const lessStripes = release && !death && count > 1 && random.chance(0.5);
  return {
    name: `seed ${seed}`,
    stripes: count - (lessStripes ? 1 : 0),
    ringBytes,
    start: random.pick([0, 2 ** 32 - 16 * random.between(1, 8)]),
    flusher: { revoke: random.chance(0.3) ? "at once" : "late", capacityBytes: random.pick([ringBytes / 2, ringBytes, 2048]) },
    death,
    writers: Array.from({ length: count }, () => random.pick([undefined, 0, 1] as const)).map((demand) => ({
      publications: Array.from({ length: random.between(1, 6) }, () => random.between(1, batchMax)),
      payloadBytes,
      // Who rings no bell demands something.
      bell: demand === undefined ? BELL_LAZY : random.pick([BELL_NONE, BELL_LAZY]),
      demand,
      release,
    })),
  };
}

/** One schedule of a scenario. Returns what went wrong, if anything did. */
export function runSchedule(machine: Machine, scenario: Scenario, choose: Choose, trace?: (text: string) => void): string | undefined {
  const ledger = new Ledger(machine, scenario.stripes);
  const threads: [string, (x: Exports) => Program][] = scenario.writers.map((plan, i) => [
    `writer ${i}`,
    (x) => writer(x, machine, ledger, `writer ${i}`, i + 1, plan),
  ]);
  threads.push(["flusher", (x) => flusher(x, machine, ledger, scenario.flusher)]);
  if (scenario.death) threads.push(["supervisor", (x) => supervisor(x, ledger, 0, 1)]);
  const holes = scenario.death === true || scenario.flusher.revoke === "at once";
  return machine.run(scenario, threads, choose, () => ledger.check(holes), trace);
}
