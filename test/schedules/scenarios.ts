// What the threads do: a few small scenarios that are explored exhaustively, and any number made from a seed.

import { BELL_LAZY, BELL_NONE } from "../../assembly/layout.js";
import type { Random } from "../support/random.js";
import { Ledger } from "./ledger.js";
import type { Choose, Instances, Machine, Program, Setup } from "./machine.js";
import { advancer, pump, supervisor, writer, type FlusherPlan, type Place, type WriterPlan } from "./programs.js";

export interface Scenario extends Setup {
  name: string;
  flusher: FlusherPlan;
  writers: WriterPlan[];
  /** The first writer's thread is ended at some moment. */
  death?: boolean;
  /** A thread of its own advances the epoch. */
  advances?: boolean;
  /** Has many more schedules than others: all of them, with one preemption less. */
  wide?: boolean;
}

/** A group of one entry with 8 bytes takes 48 bytes: a ring of 128 wraps at the third. */
const SMALL: WriterPlan = { publications: [1, 1], payloadBytes: 8, bell: BELL_LAZY };
const FLUSHER: FlusherPlan = { revoke: "late", capacityBytes: 2048 };
const SETUP = { banks: 1, pumps: 1, stripes: 2, ringBytes: 128, start: 0, epoch: 0, flusher: FLUSHER } as const;
/** A bank for each core. */
const CORES = { ...SETUP, banks: 2, stripes: 1 } as const;
/** Groups are stamped with the epoch's lowest byte: here it goes from 255 to 0. */
const EPOCH = 255;
const TELLS: WriterPlan = { ...SMALL, tells: true };
/** Clocks that stand still, one of them far behind. */
const AHEAD = { clockNs: 1000 };
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
  {
    ...CORES,
    name: "cores",
    pumps: 2,
    writers: [
      { ...SMALL, ...AHEAD, looks: true },
      { ...SMALL, looks: true },
    ],
  },
  {
    ...CORES,
    name: "cores, one pump",
    writers: [
      { ...SMALL, ...AHEAD, looks: true },
      { ...SMALL, looks: true },
    ],
  },
  {
    ...CORES,
    name: "cores durable",
    writers: [
      { ...SMALL, ...AHEAD, bell: BELL_NONE, publications: [1], demand: 0 },
      { ...SMALL, bell: BELL_NONE, publications: [1], demand: 1, demandOthers: true },
    ],
  },
  { ...SETUP, name: "epoch", epoch: EPOCH, writers: [SMALL, { ...SMALL, advancesAt: 1 }] },
  { ...CORES, name: "epoch of cores", epoch: EPOCH, writers: [SMALL, { ...SMALL, ...AHEAD, advancesAt: 1 }] },
  { ...CORES, name: "epoch, two pumps", wide: true, epoch: EPOCH, pumps: 2, writers: [SMALL, { ...SMALL, ...AHEAD, advancesAt: 1 }] },
  {
    ...SETUP,
    name: "epoch twice",
    wide: true,
    epoch: EPOCH,
    writers: [
      { ...SMALL, advancesAt: 1 },
      { ...SMALL, advancesAt: 1 },
    ],
  },
  {
    ...SETUP,
    name: "epoch, death",
    wide: true,
    epoch: EPOCH,
    death: true,
    writers: [
      { ...SMALL, publications: [1], advancesAt: 0 },
      { ...SMALL, advancesAt: 1 },
    ],
  },
  { ...SETUP, name: "told", wide: true, epoch: EPOCH, advances: true, writers: [TELLS, TELLS] },
  { ...CORES, name: "told by cores", wide: true, epoch: EPOCH, advances: true, writers: [TELLS, { ...TELLS, ...AHEAD }] },
];

/** One that must fail: with it the search itself is tested, and the line that replays what it found. */
export const PLANTED: Scenario = { ...SETUP, name: "planted bug", flusher: { ...FLUSHER, hasty: true }, writers: [SMALL, SMALL] };

/** Up to three writers, of any kind. */
export function randomScenario(seed: number, random: Random): Scenario {
  const cores = random.chance(0.4);
  const count = random.between(1, 3);
  const pumps = cores && count < 3 ? random.between(1, 2) : 1;
  const ringBytes = random.pick([128, 256]);
  const death = random.chance(0.3);
  const payloadBytes = random.pick([4, 8, 16]);
  // A group must fit into half a ring.
  const entryBytes = 16 + Math.ceil((payloadBytes + (cores ? 8 : 0)) / 8) * 8;
  const batchMax = Math.floor((ringBytes / 2 - 16) / entryBytes);
  // More writers than cores: one waits for another's.
  const release = death || (cores && count > 2) || random.chance(0.5);
  const lessStripes = !cores && release && !death && count > 1 && random.chance(0.5);
  // Somebody must have claimed the first bank, which speaks for the log, as the opener has.
  const epochs = random.chance(0.5) && !(death && (cores || count < 2));
  const advances = epochs && count + pumps < 4 && random.chance(0.5);
  const writers = Array.from({ length: count }, (): WriterPlan => {
    const demand = random.pick([undefined, 0, 1] as const);
    const publications = Array.from({ length: random.between(1, 6) }, () => random.between(1, batchMax));
    return {
      publications,
      payloadBytes,
      // Who rings no bell demands something.
      bell: demand === undefined ? BELL_LAZY : random.pick([BELL_NONE, BELL_LAZY]),
      demand,
      demandOthers: cores && random.chance(0.3),
      clockNs: random.pick([0, 0, 1000]),
      looks: cores && random.chance(0.5),
      tells: advances,
      advancesAt: epochs && random.chance(0.5) ? random.below(publications.length) : undefined,
      release,
    };
  });
  return {
    name: `seed ${seed}`,
    banks: cores ? 2 : 1,
    pumps,
    stripes: cores ? 1 : count - (lessStripes ? 1 : 0),
    ringBytes,
    start: random.pick([0, 2 ** 32 - 16 * random.between(1, 8)]),
    epoch: random.pick([0, EPOCH]),
    flusher: { revoke: random.chance(0.3) ? "at once" : "late", capacityBytes: random.pick([ringBytes / 2, ringBytes, 2048]) },
    death,
    advances,
    writers,
  };
}

/** One schedule of a scenario. Returns what went wrong, if anything did. */
export function runSchedule(machine: Machine, scenario: Scenario, choose: Choose, trace?: (text: string) => void): string | undefined {
  const ledger = new Ledger(machine, scenario);
  const at = (program: (place: Place) => Program) => (instances: Instances) =>
    program({ instances, machine, ledger, deadly: scenario.death === true });
  const names = scenario.writers.map((_, i) => `writer ${i}`);
  const threads = scenario.writers.map((plan, i): [string, (instances: Instances) => Program] => [
    names[i]!,
    at((place) => writer(place, names[i]!, i + 1, plan)),
  ]);
  if (scenario.advances) threads.push(["advancer", at((place) => advancer(place, names))]);
  for (let n = 0; n < scenario.pumps; n++)
    threads.push([n === 0 ? "flusher" : `flusher ${n}`, at((place) => pump(place, scenario.flusher, n))]);
  if (scenario.death) threads.push(["supervisor", at((place) => supervisor(place, 0, 1))]);
  const holes = scenario.death === true || scenario.flusher.revoke === "at once";
  return machine.run(scenario, threads, choose, () => ledger.check(holes), trace);
}
