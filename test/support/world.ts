// One simulated machine: a disk, a clock, a lock, chance, and at most one process that has the log open.
// Everything follows from the seed.

import { CTL_SLEEP, SLEEP_AWAKE } from "../../assembly/layout.js";
import { codeOf } from "../../src/errors.js";
import { ABANDON, openLogWith, PUMP, type Environment } from "../../src/log.js";
import type { LogOptions } from "../../src/options.js";
import type { Storage } from "../../src/storage.js";
import type { ArchiveFunction, CheckpointState, Entry, Log } from "../../src/types.js";
import type { Upkeep } from "../../src/upkeep.js";
import { countKind, type Counts } from "./counts.js";
import { mortalCore } from "./dead-thread.js";
import { insidesOf } from "./insides.js";
import { inChain, LogOracle } from "./log-oracle.js";
import { Violation, type Oracle, type Settled } from "./oracle.js";
import type { OutsideFollower } from "./follower.js";
import { CheckpointOracle } from "./checkpoint-oracle.js";
import { ArchivedByFunction } from "./archived.js";
import { Random } from "./random.js";
import { Restores } from "./restores.js";
import { SimulatedDisk, NO_FAULTS, type Faults, type Operation } from "./simulated-disk.js";

export const DIRECTORY = "/disk/log";
export const ARCHIVE = "/disk/archive";
/** A log that nothing disturbs comes to rest within so many steps. */
const STEPS_MAX = 2000;
const LOOK_MS = 0.001;
const LOOK_WHILE_BLOCKED_MS = 0.5;
/** … and settles every promise within so much simulated time. */
const PATIENCE_MS = 5000;

/** What differs from run to run. */
export interface Config {
  options: LogOptions;
  writers: number;
  /** By so much the clocks of two threads may differ. */
  clockSkewMs?: number;
  /** The opener's appendSync flushes for itself while the flusher rests. */
  guest: boolean;
  /** The flusher sleeps as a worker's does: nothing but the doorbell and its timer wakes it. */
  sleeps: boolean;
  /** How likely another thread does something while the flusher is in an operation of the disk. */
  interleave: number;
  /** Sizes of values: a fixed one makes frames of later terms fall exactly onto stale ones. */
  size: (random: Random) => number;
  faults: Partial<Faults>;
  batches: boolean;
  /** How many steps a process lives, at most. */
  steps: number;
  /** How many operations of the disk pass before a planned crash, at most. */
  crashWithin: number;
  /** Checkpoints are made, and the beginning is dropped. */
  upkeep: boolean;
  /** The end is cut off. */
  cuts: boolean;
  /** It is restored to another place. */
  restores: boolean;
}

/** What the tests' back door adds to a log. */
export interface DrivenLog extends Log {
  [PUMP](): boolean;
  [ABANDON](): void;
  readonly upkeep: Upkeep;
}

export class World {
  /** What decides now: the stream of this run, of a life, or of one step. */
  random: Random;
  /** Of all chains. */
  readonly whole: LogOracle;
  readonly checkpoints = new CheckpointOracle();
  readonly restores = new Restores(this);
  readonly archived = new ArchivedByFunction();
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
  /** Calls that have no answer and go on with the event loop: of advanceEpoch … */
  barriers = 0;
  /** … and such that make checkpoints or drop the beginning. */
  upkeep = 0;
  /** Where sealed segments go if the archive is a function. */
  archiving: ArchiveFunction | undefined;
  /** The state of checkpoints that are made by themselves. */
  automatic: CheckpointState | undefined;
  /** Nobody comes in between while an append is held at one of its steps. */
  alone = false;
  /** The log is being closed. */
  closing = false;
  /** What the other threads do while the flusher is in an operation of the disk. */
  meanwhile: ((operation: Operation) => void) | undefined;
  readonly trace: (text: string) => void;
  /** What the log calls random: never the same twice, whatever is decided. */
  private readonly chance = new Random(1);
  /** Time as sleepers measure it: it only passes, whatever the clock says. */
  private passedMs = 0;
  private asleepUntil: number | undefined;
  private flushing = false;
  /** The flusher is at work, or somebody in its place, who has to stop if the disk fails. */
  protected working = 0;
  /** Failures of the disk that met nobody but readers and upkeep: the log goes on. */
  private excused = 0;
  /** Of processes: what one still does after its end comes to nothing. */
  life = 0;
  /** How much time passes while somebody looks at the clock, and how often that may happen before it is an endless loop. */
  private lookMs = LOOK_MS;
  private looksLeft = Infinity;
  private locked = false;
  private nextId = 1;
  /** Threads of a log that ends keep its memory: the one that takes its place has another. */
  otherCore = false;

  constructor(
    random: Random,
    private readonly counts: Counts,
    trace?: (text: string) => void,
  ) {
    this.trace = trace ?? (() => undefined);
    this.random = random;
    this.config = configure(random);
    this.whole = new LogOracle(this.config.options.topology);
    const { frameAlign = 64 } = this.config.options;
    const sectorBytes = random.pick([512, 4096] as const);
    const options = {
      sectorBytes,
      fsyncAlso: random.pick(["nothing", "own name", "all names"] as const),
      orderedNames: random.chance(0.5),
      garbage: frameAlign >= sectorBytes && random.chance(0.7),
      garbageInUnused: random.chance(0.5),
      eachFile: random.chance(0.5),
      overwriteWhenFull: random.chance(0.7),
    };
    this.disk = new SimulatedDisk(random.fork(), options, (kind) => this.count(kind));
    this.disk.meanwhile = (operation) => this.interleave(operation);
    this.excuseUpkeep();
    if (trace !== undefined) this.disk.onOperation = (text) => trace(`    ${text}`);
    this.trace(JSON.stringify({ config: { ...this.config, size: undefined }, disk: this.disk.options }));
  }

  /** A failure of the disk that meets readers and upkeep only is a reason for nothing else. */
  protected excuseUpkeep(): void {
    this.disk.onFailure = (path) => {
      // What only recovery has written is sealed by close() itself.
      if (this.log !== undefined && this.working === 0 && !(this.closing && path.endsWith(".wal"))) this.excused++;
    };
  }

  /** Of the first chain. */
  get oracle(): Oracle {
    return this.whole.of(0);
  }

  count(kind: string): void {
    countKind(this.counts, kind);
  }

  /** Time goes by. */
  pass(ms: number): void {
    this.clockMs += ms;
    this.passedMs += ms;
  }

  /** Somebody sets the clock. */
  setClock(byMs: number, when = ""): void {
    this.clockMs = Math.max(0, this.clockMs + byMs);
    this.count(`clock ${byMs < 0 ? "set back" : "jumped ahead"}${when}`);
    this.trace(`the clock is set by ${byMs} ms`);
  }

  /** Runs something that the flusher, or a blocked thread in its place, does while others go on. */
  letOthersIn<T>(run: () => T): T {
    const { flushing } = this;
    this.flushing = true;
    this.working++;
    try {
      return run();
    } finally {
      this.flushing = flushing;
      this.working--;
    }
  }

  /** Runs a call that may block its thread until time has passed: the steps until then would only be the same again. */
  block<T>(run: () => T): T {
    this.lookMs = LOOK_WHILE_BLOCKED_MS;
    this.looksLeft = (2 * PATIENCE_MS) / LOOK_WHILE_BLOCKED_MS;
    try {
      return this.letOthersIn(run);
    } finally {
      this.lookMs = LOOK_MS;
      this.looksLeft = Infinity;
    }
  }

  private readClock(): number {
    // The flusher takes it for a failure, which ends the loop; nothing explains that failure.
    if (this.looksLeft-- <= 0) throw new Violation("a call blocks its thread for ever");
    return (this.clockMs += this.lookMs);
  }

  private interleave(operation: Operation): void {
    const { meanwhile, config } = this;
    if (!this.flushing || meanwhile === undefined || !this.random.chance(config.interleave)) return;
    this.flushing = false;
    try {
      meanwhile(operation);
    } catch (error) {
      // Here it would be taken for a failure of the disk.
      this.violation ??= error as Error;
    } finally {
      this.flushing = true;
    }
  }

  /** Time as the log's threads measure it: for each of them a little different, and set whenever the clock is. */
  private threadClock(): () => number {
    const opened = this.clockMs;
    const skewMs = this.config.clockSkewMs ?? 0;
    return () => Math.round((this.clockMs - opened + (this.chance.below(3) - 1) * skewMs) * 1e6);
  }

  newId(): number {
    return this.nextId++;
  }

  /** The disk as one process has it. */
  private storage(): Storage {
    const { disk, life } = this;
    const check = (): SimulatedDisk => {
      if (this.life !== life) throw new Crashed();
      return disk;
    };
    return {
      list: (directory) => check().list(directory),
      open: (path, access) => check().open(path, access),
      create: (path) => check().create(path),
      rename: (from, to) => check().rename(from, to),
      remove: (path) => check().remove(path),
      syncDirectory: (path) => check().syncDirectory(path),
      makeDirectory: (path) => check().makeDirectory(path),
    };
  }

  environment(readOnly = false): Environment {
    const { config } = this;
    const core = (): Environment["core"] => mortalCore(config.options, this.otherCore);
    return {
      storage: readOnly ? this.disk : this.storage(),
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
      now: () => this.readClock(),
      clock: () => this.threadClock(),
      randomBytes: (n) => this.chance.fill(new Uint8Array(n)),
      // Asked for again if the log is opened once more after a cut.
      get core() {
        return readOnly ? undefined : core();
      },
      manual: true,
      guest: this.config.guest,
    };
  }

  get isLocked(): boolean {
    return this.locked;
  }

  async open(): Promise<DrivenLog> {
    return this.adopt((await openLogWith(DIRECTORY, this.config.options, this.environment())) as DrivenLog);
  }

  /** From now on this log is the one that is open. */
  adopt(log: DrivenLog): DrivenLog {
    this.asleepUntil = undefined;
    this.excused = 0;
    this.failuresAtOpen = this.disk.failures;
    this.log = log;
    this.closing = false;
    // Upkeep pumps, too.
    const { drive } = insidesOf(log);
    const pump = drive.pump.bind(drive);
    drive.pump = () => {
      if (this.upkeep > 0 && !this.alone) return this.letOthersIn(pump);
      this.working++;
      try {
        return pump();
      } finally {
        this.working--;
      }
    };
    return log;
  }

  /** Lets the flusher work until it has nothing to do. */
  async pump(steps = STEPS_MAX): Promise<void> {
    const { log } = this;
    if (log === undefined) return;
    for (let i = 0; i < steps; i++) {
      const worked = this.turn(log);
      await settle();
      // Whoever advances the epoch looks again at the next turn of the event loop.
      if (this.barriers > 0 || this.upkeep > 0) await new Promise(setImmediate);
      this.check();
      if (!worked) return;
    }
    if (steps === STEPS_MAX) throw new Violation(`the flusher does not come to rest in ${STEPS_MAX} steps`);
  }

  /** One turn of the flusher, unless it sleeps. Returns whether there was something to do. */
  private turn(log: DrivenLog): boolean {
    const {
      core: { i32 },
      drive: { crew, writers },
    } = insidesOf(log);
    const awake = (): boolean => Atomics.load(i32, CTL_SLEEP >> 2) === SLEEP_AWAKE;
    if (this.asleepUntil !== undefined) {
      if (!awake() && this.passedMs < this.asleepUntil) {
        // Whoever waits for the disk is woken by the durable LSN, which the guest publishes as well.
        for (const writer of writers) writer.settle();
        return awake();
      }
      this.count(`flusher woken by ${awake() ? "the doorbell" : "its timer"}`);
      Atomics.store(i32, CTL_SLEEP >> 2, SLEEP_AWAKE);
      this.asleepUntil = undefined;
    }
    const worked = this.letOthersIn(() => log[PUMP]());
    if (worked || !this.config.sleeps || crew.done) return worked;
    const rest = crew.rest();
    if (rest.ms === 0 || !crew.lieDown(rest)) return true;
    this.asleepUntil = this.passedMs + rest.ms;
    return false;
  }

  /** Lets what only waits for its turn come to rest, so that nothing happens in between what comes now. */
  async still(): Promise<void> {
    if (this.upkeep > 0) await new Promise(setImmediate);
  }

  /** All calls that go on with the event loop have an answer, which they have soon when the log has ended. */
  async quiet(): Promise<void> {
    for (let turns = 0; this.barriers > 0 || this.upkeep > 0; turns++) {
      // In a process that is dead, nobody says anything to whoever waits for the disk.
      if (turns > 5 && this.log === undefined && this.barriers === 0) {
        this.life++;
        this.upkeep = 0;
        return;
      }
      if (turns > 50) throw new Violation(`the log has ended, and ${this.barriers > 0 ? "advanceEpoch" : "upkeep"}() does not say so`);
      await new Promise(setImmediate);
      await settle();
    }
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
      this.pass(1);
    }
    if (!settled) throw new Crashed();
    return promise;
  }

  /** Everything that the log, or one core of it, shows, control entries included. */
  async readAll(log: Pick<Log, "readBatches">): Promise<Entry[]> {
    const entries: Entry[] = [];
    for await (const batch of log.readBatches({ internal: true })) entries.push(...batch);
    return entries;
  }

  /** Reads each chain up to where `endOf` says that it ends, and judges that; then all of them, merged. Gives the latter. */
  async judge(log: Log, endOf: (core: number) => number, how: "judge" | "recovered" = "judge"): Promise<Entry[]> {
    const { whole } = this;
    const beginOf = (core: number): number => log.core(core).firstLsn;
    const judged = (core: number, entries: Entry[]): Settled[] => {
      const begin = beginOf(core);
      whole.of(core).begins(begin, log === this.log);
      return whole.of(core)[how](entries, endOf(core), begin);
    };
    const merged = await this.readAll(log);
    if (!whole.perCore) {
      judged(0, merged);
      return merged;
    }
    const lists = new Map<number, Settled[]>();
    for (const core of this.coresOf(log)) {
      const entries = await this.readAll(log.core(core));
      lists.set(
        core,
        inChain(core, () => judged(core, entries)),
      );
    }
    // What was in flight for a chain that did not come into being is lost.
    if (how === "recovered") for (const core of whole.cores) if (!lists.has(core)) whole.of(core).recovered([], 0);
    whole.judgeMerge(merged, lists, beginOf);
    return merged;
  }

  /** The chains that a log can have. */
  coresOf(log: Log): number[] {
    const banks = log === this.log ? Array.from(log.positions(), (_, core) => core) : [];
    return [...new Set([...banks, ...log.recovery.cores.map(({ core }) => core)])];
  }

  /** Opens without writing, as another process would, and judges what is shown. `live`: it sees that somebody writes. */
  async readOnly(live: boolean): Promise<void> {
    await this.still();
    const { disk, whole } = this;
    const { mutations, faults } = disk;
    disk.faults = { ...NO_FAULTS };
    try {
      this.count(`read by another process, ${live ? "somebody" : "nobody"} writing`);
      const log = await openLogWith(DIRECTORY, { ...this.config.options, readOnly: true }, { ...this.environment(true), live });
      const { cores, epoch, completeEpoch } = log.recovery;
      await this.judge(log, (core) => cores.find((other) => other.core === core)!.lastLsn);
      if (this.config.upkeep) await this.checkpoints.judge(this, log, live);
      whole.judgeComplete(cores, epoch, completeEpoch);
      // What somebody was shown must stay, whoever showed it; only nobody who may not write can see through a
      // cache that lies after a failed sync.
      if (!disk.lies) {
        for (const { core, lastLsn } of cores) whole.of(core).prove(lastLsn, "shown by a read-only open");
        if (completeEpoch < epoch) whole.tellComplete(completeEpoch);
      }
      await log.close();
    } catch (error) {
      if (disk.down) throw new Crashed();
      if (whole.exists || codeOf(error) !== "COREWAL_NOT_A_LOG") throw error;
    } finally {
      disk.faults = faults;
    }
    if (disk.mutations !== mutations) throw new Violation("a read-only open changed the disk");
  }

  /** The process dies. With `power` the machine loses its cache as well. */
  die(power: boolean): void {
    this.life++;
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
    if (!reading) Object.assign(this.disk.faults, { readError: 0, listError: 0 });
  }

  disarm(): void {
    this.disk.faults = { ...NO_FAULTS };
  }

  /** … or met somebody else only. */
  get hadFailures(): boolean {
    return this.config.upkeep && this.excused > 0;
  }

  /** What has failed so far is a reason for nothing: whoever met it has said so, and the log goes on. */
  forgive(): void {
    this.failuresAtOpen = this.disk.failures - this.excused;
  }

  /** Something failed since the log was opened, so that it has a reason to be poisoned. */
  get failed(): boolean {
    const { disk, config, log } = this;
    // What the guest wrote is fsynced: that it cannot close its file is a reason for nothing.
    const failures = disk.failures - this.excused;
    if (failures > this.failuresAtOpen && config.guest && disk.lastFailure === "EIO in close" && log?.stats().state !== "poisoned")
      this.failuresAtOpen = failures;
    return failures > this.failuresAtOpen;
  }

  check(): void {
    const { violation } = this;
    this.violation = undefined;
    if (this.disk.misuse !== undefined) throw new Violation(this.disk.misuse);
    if (violation !== undefined) throw violation;
  }
}

/** The process that was simulated no longer exists. */
export class Crashed extends Error {}

/** Lets everything happen that only waits for its turn. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 12; i++) await Promise.resolve();
}

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
  const topology = random.chance(0.4) ? "per-core" : "striped";
  return {
    options: {
      flusher: "inline",
      topology,
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
    clockSkewMs: random.pick([0, 0, 1, 3_600_000]),
    guest: random.chance(0.5),
    sleeps: random.chance(0.5),
    interleave: random.pick([0, 0, 0.05, 0.3]),
    size: sizes,
    faults,
    batches: random.chance(0.6),
    steps: random.pick([4, 15, 40]),
    crashWithin: random.pick([8, 30, 100]),
    upkeep: false,
    cuts: false,
    restores: false,
  };
}

/** Nothing, one kind of failure that comes often, or some of every kind. */
function chooseFaults(random: Random): Partial<Faults> {
  const names = [
    "writeError",
    "noSpace",
    "syncError",
    "directorySyncError",
    "readError",
    "nameError",
    "openError",
    "closeError",
    "listError",
  ] as const;
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
