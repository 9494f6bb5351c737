// One life of a process, from a state that is given: what it does is written down in a script, what happens to it in
// a path of decisions. Where it ends is a state again.

import { codeOf } from "../../src/errors.js";
import { ABANDON, attachLog } from "../../src/log.js";
import { NEW_SUFFIX } from "../../src/segment.js";
import type { Entry, Writer } from "../../src/types.js";
import { checkPoisoned, checkStart, isSealed, lastOf } from "../support/checks.js";
import { newCounts } from "../support/counts.js";
import { inputOf, makeItem } from "../support/items.js";
import { LogOracle } from "../support/log-oracle.js";
import { Violation, type Operation, type Oracle } from "../support/oracle.js";
import { Random } from "../support/random.js";
import { SimulatedDisk, type DiskOptions, type Faults } from "../support/simulated-disk.js";
import { Crashed, DIRECTORY, settle, World, type Config } from "../support/world.js";
import { FAULT, type Choices } from "./choices.js";

/** What survives a process: the disk and its cache, and what is known of the log. */
export interface State {
  disk: SimulatedDisk;
  oracle: LogOracle;
  /** The last process closed the log. */
  closed: boolean;
  /** Processes that there were. */
  lives: number;
  /** Entries that were appended. */
  items: number;
  /** The last one that was acknowledged. */
  checkpoint: number;
}

export interface Settings {
  sectorBytes: DiskOptions["sectorBytes"];
  garbage: boolean;
  frameAlign: number;
  guest: boolean;
  /** Of a per-core log: how many there are. */
  cores?: number;
  /** Dropped segments that are kept as spares. Default 0. */
  spares?: number;
}

/** What a process does. */
export type Life = (machine: Machine) => Promise<void>;

const IO_CODES = ["COREWAL_IO", "COREWAL_DISK_FULL", "COREWAL_NO_PERMISSION"];

/** Faults of operations that change nothing. */
const READING = /^(read|list)/;

export function emptyMachine(settings: Settings, choices: Choices): State {
  const { sectorBytes, garbage } = settings;
  const oracle = new LogOracle(optionsOf(settings).topology);
  const disk = new SimulatedDisk(choices, { sectorBytes, garbage });
  return { disk, oracle, closed: false, lives: 0, items: 0, checkpoint: 0 };
}

/** The log failed as it must, or the disk did: nothing more is to be done in this life. */
class Failed extends Error {}

export class Machine extends World {
  /** Crashes before this operation of the disk are left to other scripts. */
  from = 1;
  /** What the disk was asked for. */
  readonly operations: string[] = [];
  private alive = true;
  private armFaults: () => void = () => undefined;
  private waiting = 0;
  private items: number;
  private checkpointNumber: number;
  private closed = false;
  /** Of each core that is taken; and of the one that appends. */
  private readonly writers: Writer[] = [];
  private writer!: Writer;

  constructor(
    private readonly state: State,
    settings: Settings,
    choices: Choices,
    trace?: (text: string) => void,
  ) {
    super(new Random(0), newCounts());
    const { lives } = state;
    const disk = state.disk.copy(choices);
    this.items = state.items;
    const config: Config = { ...this.config, options: optionsOf(settings), guest: settings.guest, sleeps: false, interleave: 0 };
    Object.assign(this, { disk, config, whole: state.oracle.copy(), chance: new Random(lives), trace: trace ?? this.trace });
    // The same for all processes that come as the n-th, so that what they leave is the same more often.
    this.clockMs += lives * 10_000;
    const renamedHere = new Set<string>();
    this.checkpointNumber = state.checkpoint;
    this.excuseUpkeep();
    disk.onOperation = (text) => {
      this.operations.push(text);
      this.armFaults();
      trace?.(`    ${String(this.operations.length).padStart(3)}  ${text}`);
      const renamed = /^rename .* to (.*)$/.exec(text)?.[1];
      if (renamed?.endsWith(NEW_SUFFIX)) renamedHere.add(renamed);
      // What this process has given such a name is known by the name before: spares are.
      if (text.startsWith("open ") && text.endsWith(NEW_SUFFIX) && !renamedHere.has(text.slice(text.lastIndexOf("/") + 1)))
        this.violation ??= new Violation(`${text}: nobody must look into that`);
    };
  }

  /** Lives until the script is over, the power goes or the disk fails. Throws what neither of them explains. */
  async live(life: Life): Promise<State> {
    try {
      await life(this);
    } catch (error) {
      if (error instanceof Violation || !(this.disk.down || this.disk.failures > 0)) throw error;
      if (!this.disk.down && !(error instanceof Failed) && !IO_CODES.includes(codeOf(error) ?? ""))
        throw new Violation(`the disk failed (${this.disk.lastFailure}), and the log says ${codeOf(error)}: ${(error as Error).message}`);
    }
    await settle();
    this.observe();
    this.check();
    this.alive = false;
    this.log?.[ABANDON]();
    await this.quiet();
    return {
      disk: this.disk,
      oracle: this.whole,
      closed: this.closed,
      lives: this.state.lives + 1,
      items: this.items,
      checkpoint: this.checkpointNumber,
    };
  }

  // --- what scripts do ------------------------------------------------------------------------------

  /** Opens the log and compares what came back with what must have. */
  async start(): Promise<Entry[]> {
    const { disk, whole } = this;
    judgeFiles(disk.files(DIRECTORY));
    const log = await this.open().catch((error: unknown) => {
      if (disk.down) throw new Crashed();
      if (this.isLocked) throw new Violation("an open failed and left the lock behind");
      throw error;
    });
    whole.opened(log.recovery, this.state.closed);
    checkStart(this, log);
    const entries = await this.judge(log, (core) => lastOf(log.recovery, core), "recovered");
    await this.judgeCheckpoint(entries);
    whole.recoveredEpoch(log.recovery.epoch);
    this.writer = this.writers[0] = log;
    await this.look();
    return entries;
  }

  /** From here on this core appends; all but the first are other threads'. */
  async on(core: number): Promise<void> {
    this.writer = this.writers[core] ??= await attachLog(this.log!.handle);
    if (this.writer.ownCore !== core) throw new Error(`core ${this.writer.ownCore} came before core ${core}`);
  }

  /** Does it for each core in turn. */
  async each(act: () => Promise<void>): Promise<void> {
    for (let core = 0; core < (this.whole.perCore ? this.config.options.stripes! : 1); core++) {
      await this.on(core);
      await act();
    }
  }

  /** Appends an entry for each size, one after the other, and waits for none. */
  async append(...sizes: number[]): Promise<void> {
    for (const size of sizes) {
      const operation = this.begin(size);
      const { lastLsn } = this.writer;
      this.track(operation, lastLsn, this.writer.append(inputOf(operation.items[0]!)));
    }
    await this.look();
  }

  async appendBatch(...sizes: number[]): Promise<void> {
    const operation = this.begin(...sizes);
    const { lastLsn } = this.writer;
    const promise = this.writer.appendBatch(operation.items.map(inputOf));
    this.track(
      operation,
      lastLsn,
      promise.then(({ first }) => first),
    );
    await this.look();
  }

  /** In the ring, and nobody waits for it. */
  async write(size: number): Promise<void> {
    const operation = this.begin(size);
    this.learn(operation, this.writer.write(inputOf(operation.items[0]!)));
    await this.look();
  }

  async appendSync(size: number): Promise<void> {
    const operation = this.begin(size);
    // The guest flushes in the flusher's place.
    this.working++;
    try {
      const lsn = this.writer.appendSync(inputOf(operation.items[0]!));
      this.learn(operation, lsn);
      this.chain.prove(lsn, "appendSync");
    } catch (error) {
      this.rejected(operation, error);
    } finally {
      this.working--;
    }
    await this.look();
  }

  /** Everything is flushed, and everybody has an answer. */
  async flush(): Promise<void> {
    await this.pump();
    if (this.waiting > 0 && this.whole.perCore) {
      // A new chain waits until the first one is there, and looks again soon.
      this.pass(1);
      await this.pump();
    }
    await this.look();
    if (this.waiting > 0) throw new Violation(`nothing failed, and ${this.waiting} appends have no answer`);
  }

  /** Nobody appends for a while: an empty frame proves the last one. */
  async idle(): Promise<void> {
    this.pass(20);
    await this.flush();
  }

  /** Begins the next epoch, and waits until everything before it is durable. */
  async advance(): Promise<void> {
    const log = this.log!;
    const { epoch } = log;
    const positions = log.positions();
    const promise = log.advanceEpoch();
    const answered = (): void => void this.barriers--;
    this.barriers++;
    promise.then(answered, answered);
    const began = await this.driven(promise);
    this.trace(`  epoch ${began} has begun`);
    if (began !== epoch + 1) throw new Violation(`advanceEpoch() gives ${began} in epoch ${epoch}`);
    this.whole.prove(began);
    this.proveAll(positions, "advanceEpoch()");
    await this.look();
  }

  /** A state that says itself where it stands. */
  async checkpoint(): Promise<void> {
    const info = await this.upkeepOf(
      this.log!.checkpoint(async ({ positions, write }) => {
        await write("everything up to ");
        await write(positions.join());
      }),
    );
    this.trace(`  checkpoint ${info.number} made, behind ${info.positions.join()}`);
    this.whole.prove(info.epoch);
    this.proveAll(info.endPositions, "checkpoint()");
    this.checkpointNumber = info.number;
    await this.look();
  }

  /** Drops what is before this LSN of the core that appends. */
  async drop(lsn: number): Promise<void> {
    const core = this.whole.perCore ? this.writer.ownCore : 0;
    this.whole.of(core).allowBegin(lsn);
    const log = this.log!;
    await this.upkeepOf(log.truncateBefore(this.whole.perCore ? { core, lsn } : lsn));
    this.trace(`  core ${core} begins with LSN ${log.core(core).firstLsn}`);
    this.whole.of(core).begins(log.core(core).firstLsn, true);
    // Spares are filled with zeros meanwhile.
    for (let turns = 0; turns < 5; turns++) await new Promise(setImmediate);
    await this.look();
  }

  private async upkeepOf<T>(promise: Promise<T>): Promise<T> {
    this.upkeep++;
    const answered = (): void => void this.upkeep--;
    promise.then(answered, answered);
    return this.driven(promise);
  }

  /** The newest that was acknowledged, or a newer one; its state says where it stands, and what follows is replayed. */
  private async judgeCheckpoint(entries: Entry[]): Promise<void> {
    const log = this.log!;
    const found = await log.readCheckpoint();
    if ((found?.number ?? 0) < this.checkpointNumber)
      throw new Violation(`checkpoint ${this.checkpointNumber} was acknowledged, now ${found?.number ?? "none"} is found`);
    if (found === undefined) return;
    const pieces: Uint8Array[] = [];
    for await (const bytes of found.stream) pieces.push(bytes);
    const state = Buffer.concat(pieces).toString();
    if (state !== `everything up to ${found.positions.join()}`) throw new Violation(`checkpoint ${found.number} says: ${state}`);
    const replayed: string[] = [];
    const name = ({ core, lsn }: Entry): string => `${this.whole.perCore ? core : 0}:${lsn}`;
    for await (const entry of log.replay()) replayed.push(name(entry));
    const expected = entries.filter(
      ({ kind, core, lsn }) => kind === "data" && lsn > (found.positions[this.whole.perCore ? core : 0] ?? 0),
    );
    if (replayed.join() !== expected.map(name).join())
      throw new Violation(
        `behind checkpoint ${found.number}, at ${found.positions.join()}, ${replayed.join()} is replayed, not ${expected.map(name).join()}`,
      );
  }

  async close(): Promise<void> {
    const log = this.log!;
    const positions = log.positions();
    await this.driven(log.close());
    await this.look();
    this.proveAll(positions, "close()");
    this.closed = isSealed(this, this.state.closed) || this.state.closed;
    if (this.isLocked) throw new Violation("the log is closed and still holds its lock");
  }

  private async driven<T>(promise: Promise<T>): Promise<T> {
    return this.drive(promise).catch(async (error: unknown) => {
      await this.look();
      throw error;
    });
  }

  private proveAll(positions: number[], by: string): void {
    for (const [core, lsn] of positions.entries()) this.whole.of(core).prove(lsn, by);
  }

  /** From an operation on each may fail if the path says so; reads only with `reading`. */
  failFrom(operation: number, reading: boolean): void {
    this.armFaults = () => {
      if (this.operations.length !== operation) return;
      const { faults } = this.disk;
      for (const name of Object.keys(faults) as (keyof Faults)[]) faults[name] = reading || !READING.test(name) ? FAULT : 0;
    };
  }

  /** From here on the power may go. */
  mark(): void {
    this.from = this.disk.operations + 1;
  }

  // --- what is seen of it ---------------------------------------------------------------------------

  /** What a look at the log tells; ends this life if there is nothing more to do. */
  private async look(): Promise<void> {
    await settle();
    this.observe();
    this.check();
    if (this.disk.down) throw new Crashed();
    if (!this.failed) return;
    // What failed was the end of a chain that only recovery has written to: nothing is lost.
    if (this.log!.stats().state === "closed" && this.log!.recovery.cores.some(({ core, copied }) => core > 0 && copied !== undefined))
      throw new Failed();
    if (this.log!.stats().state === "open") await this.pump();
    await settle();
    this.check();
    if (this.waiting > 0) throw new Violation(`the disk failed (${this.disk.lastFailure}), and ${this.waiting} appends have no answer`);
    await checkPoisoned(this, this.log!, this.writers);
    throw new Failed();
  }

  private observe(): void {
    if (!this.alive || this.log === undefined) return;
    const { recovery } = this.log;
    for (const [core, lsn] of this.log.durablePositions().entries()) {
      this.whole.of(core).prove(lsn, "durableLsn");
      // The segment's header says so, too.
      if (lsn > lastOf(recovery, core)) this.whole.tellComplete(recovery.completeEpoch);
    }
  }

  /** Of the core that appends. */
  private get chain(): Oracle {
    return this.whole.of(this.whole.perCore ? this.writer.ownCore : 0);
  }

  private learn(operation: Operation, first: number): void {
    this.chain.learn(operation, first, this.log!.epoch);
  }

  private begin(...sizes: number[]): Operation {
    const items = sizes.map((size) => makeItem(this.random, ++this.items, size, "data"));
    this.trace(`  appends ${items.map(({ id }) => id).join(" ")}, ${sizes.join(" ")} bytes`);
    if (this.whole.perCore) this.whole.stamp(items, this.log!);
    return this.chain.begin(this.state.lives, items, this.log!.epoch);
  }

  /** `before`: the writer's last LSN when it was called. */
  private track(operation: Operation, before: number, promise: Promise<number>): void {
    const { writer, chain } = this;
    const { length } = operation.items;
    // Unless it waits for space, it is in the ring by now.
    if (writer.lastLsn > before) this.learn(operation, writer.lastLsn - length + 1);
    this.waiting++;
    const judged =
      <T>(judge: (value: T) => void) =>
      (value: T): void => {
        if (!this.alive) return;
        this.waiting--;
        try {
          judge(value);
        } catch (error) {
          this.violation ??= error as Error;
        }
      };
    promise.then(
      judged((first) => {
        const last = first + length - 1;
        this.trace(`  ${first} to ${last} of core ${writer.ownCore} acknowledged`);
        chain.learn(operation, first, this.log!.epoch);
        if (writer.durableLsn < last) throw new Violation(`LSN ${last} is acknowledged, but durableLsn is ${writer.durableLsn}`);
        chain.prove(last, "append");
      }),
      judged((error: unknown) => this.rejected(operation, error)),
    );
  }

  private rejected(operation: Operation, error: unknown): void {
    const code = codeOf(error);
    if (!this.disk.down && !this.failed) throw new Violation(`nothing failed, and yet: ${(error as Error).stack}`);
    if (code === "COREWAL_POISONED") {
      if (operation.first !== 0) throw new Violation(`LSN ${operation.first} is in the log, and refused: its outcome is unknown`);
      operation.refused = true;
    } else if (code !== "COREWAL_OUTCOME_UNKNOWN") throw error;
  }
}

/** What names promise, also those that nobody looks at: a spare holds zeros, a segment's name leads to that segment. */
function judgeFiles(files: Map<string, Uint8Array>): void {
  for (const [name, bytes] of files) {
    if (/^spare-\d+$/.test(name) && bytes.some((byte) => byte !== 0)) throw new Violation(`${name} holds more than zeros`);
    const [, number] = /^\d{3}-(\d{10})\.wal$/.exec(name) ?? [];
    if (number === undefined) continue;
    const says = Buffer.from(bytes.subarray(64, 72)).readBigUInt64LE();
    if (says !== BigInt(number)) throw new Violation(`${name} says that it is segment ${says}`);
  }
}

function optionsOf({ frameAlign, cores, spares = 0 }: Settings): Config["options"] {
  const topology = cores === undefined ? "striped" : "per-core";
  return {
    flusher: "inline",
    topology,
    stripes: cores ?? 2,
    ringBytes: 4096,
    segmentBytes: 16384,
    frameAlign,
    flushIntervalMs: 10,
    writerStallMs: 20,
    spareSegments: spares,
    checkpoints: { keep: 1 },
  };
}
