// One simulated machine: a disk, a clock, a lock, chance, and at most one process that has the log open.
// Everything follows from the seed.

import { ABANDON, openLogWith, PUMP, type Environment } from "../../src/log.js";
import { codeOf } from "../../src/errors.js";
import type { LogOptions } from "../../src/options.js";
import type { Entry, Log } from "../../src/types.js";
import { Oracle, Violation } from "./oracle.js";
import type { OutsideFollower } from "./follower.js";
import { Random } from "./random.js";
import { SimulatedDisk, NO_FAULTS, type Faults } from "./simulated-disk.js";

export const DIRECTORY = "/disk/log";
/** A log that nothing disturbs comes to rest within so many steps. */
const STEPS_MAX = 2000;
/** … and settles every promise within so much simulated time. */
const PATIENCE_MS = 5000;

/** What differs from run to run. */
export interface Config {
  options: LogOptions;
  writers: number;
  /** The opener's appendSync flushes for itself while the flusher rests. */
  guest: boolean;
  /** Sizes of values: a fixed one makes frames of later terms fall exactly onto stale ones. */
  size: (random: Random) => number;
  faults: Partial<Faults>;
  batches: boolean;
  /** How many steps a process lives, at most. */
  steps: number;
  /** How many operations of the disk pass before a planned crash, at most. */
  crashWithin: number;
}

/** What the tests' back door adds to a log. */
export interface DrivenLog extends Log {
  [PUMP](): boolean;
  [ABANDON](): void;
}

/** The memory of closed logs, by size: a new one for each open would cost more than everything else. */
const memories = new Map<number, WebAssembly.Memory>();

export class World {
  readonly random: Random;
  readonly oracle = new Oracle();
  readonly disk: SimulatedDisk;
  readonly config: Config;
  clockMs = 1_700_000_000_000;
  log: DrivenLog | undefined;
  /** Another process that follows the log, through all lives of the one that writes. */
  outside: OutsideFollower | undefined;
  /** Failures of the disk that the log has seen since it was opened. */
  failuresAtOpen = 0;
  /** Found in a callback; thrown at the next occasion. */
  violation: Error | undefined;
  readonly trace: (text: string) => void;
  private readonly chance: Random;
  private locked = false;
  private nextId = 1;

  constructor(seed: number, trace?: (text: string) => void) {
    this.trace = trace ?? (() => undefined);
    this.random = new Random(seed);
    this.chance = this.random.fork();
    this.config = configure(this.random);
    const { frameAlign = 64 } = this.config.options;
    const sectorBytes = this.random.pick([512, 4096] as const);
    this.disk = new SimulatedDisk(this.random.fork(), {
      sectorBytes,
      fsyncAlso: this.random.pick(["nothing", "own name", "all names"] as const),
      orderedNames: this.random.chance(0.5),
      garbage: frameAlign >= sectorBytes && this.random.chance(0.7),
      overwriteWhenFull: this.random.chance(0.7),
    });
    if (trace !== undefined) this.disk.onOperation = (text) => trace(`    ${text}`);
    this.trace(JSON.stringify({ config: { ...this.config, size: undefined }, disk: this.disk.options }));
  }

  newId(): number {
    return this.nextId++;
  }

  environment(readOnly = false): Environment {
    const { segmentBytes = 0 } = this.config.options;
    return {
      storage: this.disk,
      lock: () => {
        if (readOnly) throw new Violation("a read-only open takes the lock");
        if (this.locked) throw new Violation("the lock is taken while this process holds it already: it was not released");
        this.locked = true;
        return {
          release: () => {
            this.locked = false;
          },
        };
      },
      // Time passes while somebody looks at the clock: whoever loops until a deadline gets there.
      now: () => (this.clockMs += 0.001),
      randomBytes: (n) => this.chance.fill(new Uint8Array(n)),
      memory: readOnly ? undefined : memories.get(segmentBytes),
      manual: true,
      guest: this.config.guest,
    };
  }

  get isLocked(): boolean {
    return this.locked;
  }

  async open(): Promise<DrivenLog> {
    const log = (await openLogWith(DIRECTORY, this.config.options, this.environment())) as DrivenLog;
    memories.set(this.config.options.segmentBytes ?? 0, memoryOf(log));
    this.failuresAtOpen = this.disk.failures;
    this.log = log;
    return log;
  }

  /** Lets the flusher work until it has nothing to do. */
  async pump(steps = STEPS_MAX): Promise<void> {
    const { log } = this;
    if (log === undefined) return;
    for (let i = 0; i < steps; i++) {
      const worked = log[PUMP]();
      await settle();
      this.check();
      if (!worked) return;
    }
    if (steps === STEPS_MAX) throw new Violation(`the flusher does not come to rest in ${STEPS_MAX} steps`);
  }

  /** Pumps and lets time pass until a promise is settled. */
  async drive<T>(promise: Promise<T>): Promise<T> {
    let settled = false;
    const done = (): void => {
      settled = true;
    };
    promise.then(done, done);
    await settle();
    for (let waited = 0; !settled && !this.disk.down; waited += 1) {
      await this.pump();
      if (settled || this.disk.down) break;
      if (waited > PATIENCE_MS) throw new Violation(`a promise was not settled after ${PATIENCE_MS} ms without a fault that explains it`);
      this.clockMs += 1;
    }
    if (!settled) throw new Crashed();
    return promise;
  }

  /** Everything that the log shows, control entries included. */
  async readAll(log: Log): Promise<Entry[]> {
    const entries: Entry[] = [];
    for await (const batch of log.readBatches({ internal: true })) entries.push(...batch);
    return entries;
  }

  /** Opens without writing, as another process would, and judges what is shown. */
  async readOnly(): Promise<void> {
    const { disk, oracle } = this;
    const { mutations, faults } = disk;
    disk.faults = { ...NO_FAULTS };
    try {
      const log = await openLogWith(DIRECTORY, { ...this.config.options, readOnly: true }, this.environment(true));
      const entries = await this.readAll(log);
      const last = log.recovery.lastLsn;
      oracle.judge(entries, last);
      // What somebody was shown must stay, whoever showed it; only nobody who may not write can see through a
      // cache that lies after a failed sync.
      if (!disk.lies) oracle.prove(last, "shown by a read-only open");
      await log.close();
    } catch (error) {
      if (disk.down) throw new Crashed();
      if (oracle.proven > 0 || codeOf(error) !== "COREWAL_NOT_A_LOG") throw error;
    } finally {
      disk.faults = faults;
    }
    if (disk.mutations !== mutations) throw new Violation("a read-only open changed the disk");
  }

  /** The process dies. With `power` the machine loses its cache as well. */
  die(power: boolean): void {
    this.log?.[ABANDON]();
    this.log = undefined;
    this.locked = false;
    if (power) this.outside = void this.outside?.stop();
    if (power) this.disk.reboot();
    else this.disk.restart();
    this.trace(power ? "power lost" : "process killed");
  }

  /** From now on the disk fails now and then, as this run's configuration says. */
  arm(reading: boolean): void {
    this.disk.faults = { ...NO_FAULTS, ...this.config.faults };
    if (!reading) this.disk.faults.readError = 0;
  }

  disarm(): void {
    this.disk.faults = { ...NO_FAULTS };
  }

  /** Something failed since the log was opened, so that it has a reason to be poisoned. */
  get failed(): boolean {
    return this.disk.failures > this.failuresAtOpen;
  }

  check(): void {
    const { violation } = this;
    this.violation = undefined;
    if (violation !== undefined) throw violation;
  }
}

/** The process that was simulated no longer exists. */
export class Crashed extends Error {}

/** Lets everything happen that only waits for its turn. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 12; i++) await Promise.resolve();
}

export const memoryOf = (log: Log): WebAssembly.Memory => log.handle.memory as WebAssembly.Memory;

function configure(random: Random): Config {
  const [frameAlign, segmentBytes] = random.pick([
    [64, 16384],
    [64, 16384],
    [512, 16384],
    [64, 32768],
    [512, 32768],
    [4096, 65536],
  ] as const);
  const fixed = random.pick([12, 48, 112, 400, 1000]);
  const sizes = random.pick<(random: Random) => number>([
    () => fixed,
    () => fixed,
    (r) => r.between(4, 200),
    (r) => (r.chance(0.8) ? r.between(4, 120) : r.between(120, 1500)),
  ]);
  const faults = chooseFaults(random);
  return {
    options: {
      flusher: "inline",
      topology: "striped",
      stripes: 4,
      ringBytes: 4096,
      segmentBytes,
      frameAlign,
      writerStallMs: 20,
      durability: random.pick(["group", "group", "sync", "async"] as const),
      maxDelayMs: random.pick([0, 0, 3]),
      flushIntervalMs: random.pick([1, 10]),
      queueBytes: random.pick([0, 2048, 65536]),
      onFull: random.pick(["wait", "wait", "fail"] as const),
    },
    writers: random.between(1, 4),
    guest: random.chance(0.5),
    size: sizes,
    faults,
    batches: random.chance(0.6),
    steps: random.pick([4, 15, 40]),
    crashWithin: random.pick([8, 30, 100]),
  };
}

/** Nothing, one kind of failure that comes often, or some of every kind. */
function chooseFaults(random: Random): Partial<Faults> {
  const names = ["writeError", "noSpace", "syncError", "directorySyncError", "readError", "nameError"] as const;
  const faults: Partial<Faults> = {};
  if (random.chance(0.4)) faults.shortWrite = random.pick([0.05, 0.3]);
  const roll = random.below(4);
  if (roll === 0) {
    faults[random.chance(0.5) ? "syncError" : random.pick(names)] = 0.2;
  } else if (roll === 1) {
    const rate = random.pick([0.01, 0.03, 0.1]);
    for (const name of names) if (random.chance(0.5)) faults[name] = rate;
  }
  return faults;
}
