// One life of a process, from a state that is given: what it does is written down in a script, what happens to it in
// a path of decisions. Where it ends is a state again.

import { codeOf } from "../../src/errors.js";
import { ABANDON, attachLog, openLogWith } from "../../src/log.js";
import { restoreLogOn } from "../../src/restore.js";
import { NEW_SUFFIX, RESTORING_NAME } from "../../src/segment.js";
import type { CheckpointInfo, Entry, Log, Writer } from "../../src/types.js";
import { verifyLogOn } from "../../src/verify.js";
import { checkPoisoned, checkStart, IO_CODES, isSealed, lastOf } from "../support/checks.js";
import { newCounts } from "../support/counts.js";
import { judgeCut } from "../support/cut-end.js";
import { inputOf, makeItem } from "../support/items.js";
import { mortalCore } from "../support/dead-thread.js";
import { inChain, LogOracle } from "../support/log-oracle.js";
import { Violation, type Operation, type Oracle } from "../support/oracle.js";
import { Random } from "../support/random.js";
import { SimulatedDisk, type DiskOptions, type Faults } from "../support/simulated-disk.js";
import { ARCHIVE, Crashed, DIRECTORY, settle, World, type Config, type DrivenLog } from "../support/world.js";
import { aside, copyOf, lookAt, namesOf, OUT } from "./aside.js";
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
  /** The last one that was acknowledged, and must be found. */
  checkpoint: number;
  restored: Restored | undefined;
  /** Somebody wanted it to be cut. */
  cut: boolean;
}

/** What was to be restored. */
export interface Restored {
  toLsn: number | number[];
  /** What the new log must hold. */
  entries: string[];
  /** Somebody was told that it does. */
  done: boolean;
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
  /** Sealed segments are archived before they may be dropped. */
  archive?: true;
}

/** What a process does. */
export type Life = (machine: Machine) => Promise<void>;

/** More than the first pause of an archive that failed. */
const RETRY_MS = 300;

/** Faults of operations that change nothing. */
const READING = /^(read|list)/;

export function emptyMachine(settings: Settings, choices: Choices): State {
  const { sectorBytes, garbage } = settings;
  const oracle = new LogOracle(optionsOf(settings).topology);
  const disk = new SimulatedDisk(choices, { sectorBytes, garbage });
  return { disk, oracle, closed: false, lives: 0, items: 0, checkpoint: 0, restored: undefined, cut: false };
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
  /** Of the newest checkpoint that there is: where it ends. */
  private checkpointEnd: number[] = [];
  /** The log was opened as it had been closed. */
  private wasClosed: boolean;
  private restored: Restored | undefined;
  private wasCut: boolean;
  private closed = false;
  /** Of each core that is taken; and of the one that appends. */
  private readonly writers: Writer[] = [];
  private writer!: Writer;
  /** Of each core: the entries that this process has appended, by LSN. */
  private readonly given: number[][] = [];

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
    this.wasClosed = state.closed;
    this.restored = state.restored;
    this.wasCut = state.cut;
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
      restored: this.restored,
      cut: this.wasCut,
    };
  }

  // --- what scripts do ------------------------------------------------------------------------------

  /** Opens the log and compares what came back with what must have. */
  async start(): Promise<Entry[]> {
    const { disk } = this;
    judgeFiles(disk.files(DIRECTORY));
    const log = await this.open().catch((error: unknown) => {
      if (disk.down) throw new Crashed();
      if (this.isLocked) throw new Violation("an open failed and left the lock behind");
      throw error;
    });
    const entries = await this.opened(log);
    const { restored } = this;
    if (restored !== undefined && !restored.done && (await this.lookAt(OUT, () => Promise.resolve(true))) === undefined)
      await this.restoreAgain(restored);
    return entries;
  }

  /** What came back is what must have, and this log is the one to append to. */
  private async opened(log: DrivenLog, closed = this.wasClosed): Promise<Entry[]> {
    const { whole } = this;
    whole.opened(log.recovery, closed);
    checkStart(this, log);
    const entries = await this.judge(log, (core) => lastOf(log.recovery, core), "recovered");
    await this.judgeCheckpoint(entries);
    whole.recoveredEpoch(log.recovery.epoch);
    this.writers.length = 0;
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

  /** A state that says itself where it stands, and which entry that was. */
  async checkpoint(): Promise<void> {
    const info = await this.upkeepOf(
      this.log!.checkpoint(async ({ positions, write }) => {
        await write("everything up to ");
        await write(this.placeOf(positions));
      }),
    );
    this.trace(`  checkpoint ${info.number} made, behind ${info.positions.join()}`);
    this.whole.prove(info.epoch);
    this.proveAll(info.endPositions, "checkpoint()");
    this.checkpointNumber = info.number;
    this.checkpointEnd = info.endPositions;
    await this.look();
  }

  /** Numbers are given again after a cut, entries are not. */
  private placeOf(positions: number[]): string {
    return positions.map((lsn, core) => `${lsn} (${this.given[core]?.[lsn] ?? this.whole.of(core).item(lsn)?.id ?? "nothing"})`).join();
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

  /** Cuts off what is behind this LSN of the core that appends, or of each; the log that takes this one's place goes on. */
  async cut(where: number | number[]): Promise<void> {
    const { whole, disk, checkpointNumber } = this;
    const log = this.log!;
    const wanted: number[] = Array.isArray(where) ? where : [];
    const core = whole.perCore ? this.writer.ownCore : 0;
    if (!Array.isArray(where)) wanted[core] = where;
    whole.allowEnd(wanted);
    if (this.checkpointEnd.some((lsn, chain) => lsn > (wanted[chain] ?? Infinity))) this.checkpointNumber = 0;
    this.wasClosed = false;
    this.wasCut = true;
    this.otherCore = !this.otherCore;
    let next: DrivenLog;
    try {
      next = (await this.drive(log.truncateAfter(Array.isArray(where) || !whole.perCore ? where : { core, lsn: where }))) as DrivenLog;
    } catch (error) {
      if (error instanceof Violation) throw error;
      if (disk.down) throw new Crashed();
      await settle();
      this.check();
      if (log.stats().state === "closed") {
        if (this.isLocked) throw new Violation("a cut failed and left the lock behind");
        throw error;
      }
      // As it was, unless it is poisoned.
      whole.allowEnd([]);
      this.checkpointNumber = checkpointNumber;
      await this.look();
      throw error;
    }
    await settle();
    this.check();
    await this.quiet();
    if (!this.isLocked) throw new Violation("the log was cut, is open again, and has no lock");
    judgeCut(log, next, wanted, true);
    this.trace(`  cut off behind ${JSON.stringify(where)}`);
    await this.opened(this.adopt(next), true);
  }

  /** Everything that is final is archived, unless the disk fails: then the log goes on. */
  async archive(): Promise<void> {
    const { disk } = this;
    const { upkeep } = this.log!;
    const { archiver, figures } = upkeep;
    // What failed is tried again after a while.
    if (figures.failures > 0) this.pass(RETRY_MS);
    const [failures, failed] = [disk.failures, figures.failures];
    await this.upkeepOf(upkeep.tick().then(() => archiver!.idle()));
    await this.look();
    this.trace(`  ${figures.archived} segments archived, ${figures.archiveBacklog} left`);
    // Without its cursor, what was archived before a cut is to be archived again, and is no longer the same.
    if (this.wasCut && figures.lastFailure?.includes("the archive has another")) return;
    if (disk.failures === failures && (figures.failures > failed || figures.archiveBacklog > 0))
      throw new Violation(`nothing failed, and ${figures.archiveBacklog} segments are not archived: ${figures.lastFailure}`);
  }

  /** What any process does by itself, sooner or later. */
  async due(): Promise<void> {
    if (this.config.options.archive !== undefined) await this.archive();
  }

  /** Restores what is up to there; the log that it comes from may be open, or not. */
  async restore(toLsn: number | number[]): Promise<void> {
    const last = (core: number): number => (Array.isArray(toLsn) ? (toLsn[core] ?? 0) : toLsn);
    const entries = (await this.lookAt(DIRECTORY, (log) => this.readAll(log), this.isLocked))!.filter(
      ({ core, lsn }) => lsn <= last(this.whole.perCore ? core : 0),
    );
    for (const entry of entries) if (entry.kind !== "epoch") this.whole.of(this.whole.perCore ? entry.core : 0).judgeOne(entry);
    await this.restoreAgain((this.restored = { toLsn, entries: namesOf(entries), done: false }));
  }

  /** All but the last step of a restore: nobody ends it. */
  async restoreHalf(toLsn: number): Promise<void> {
    const { storage, ...environment } = this.environment();
    const remove = (path: string): void => {
      if (path.endsWith(RESTORING_NAME)) throw new Crashed();
      storage.remove(path);
    };
    await restoreLogOn(DIRECTORY, { out: OUT, toLsn }, { ...environment, storage: { ...storage, remove } }).catch(() => undefined);
    if (!this.disk.names(OUT).includes(RESTORING_NAME)) throw new Error("the restore has come to its end");
  }

  private async restoreAgain({ toLsn, entries }: Restored): Promise<void> {
    const { disk } = this;
    const { failures } = disk;
    const { storage, now, randomBytes } = this.environment();
    let locks = 0;
    const lock = (): { release(): void } => {
      locks++;
      return { release: () => void locks-- };
    };
    try {
      await restoreLogOn(DIRECTORY, { out: OUT, toLsn }, { storage, now, randomBytes, lock, live: this.isLocked });
    } catch (error) {
      if (disk.down) throw new Crashed();
      if (disk.failures === failures) throw new Violation(`nothing failed, and yet nothing is restored: ${(error as Error).stack}`);
      throw error;
    } finally {
      if (locks !== 0) this.violation ??= new Violation("a restore is over and holds its lock");
    }
    this.trace(`  restored up to ${JSON.stringify(toLsn)}`);
    this.restored = { toLsn, entries, done: true };
    if (this.log !== undefined) await this.look();
  }

  /** On a copy of the disk, as another process that does not write. */
  private lookAt<T>(directory: string, look: (log: Log) => Promise<T>, live = false): Promise<T | undefined> {
    return lookAt(copyOf(this.disk), directory, this.config.options, look, live);
  }

  /** What was restored is a log of its own, and goes on; log and archive together hold everything that there ever was. */
  async judgeOthers(): Promise<void> {
    if (this.restored !== undefined) await this.judgeRestored(this.restored);
    const names = [...this.disk.files(DIRECTORY).keys()];
    if (this.config.options.archive !== undefined && names.some((name) => name.endsWith(".wal"))) await this.judgeArchive();
  }

  private async judgeRestored({ toLsn, entries, done }: Restored): Promise<void> {
    const compare = async (log: Log): Promise<Entry[]> => {
      const found = await this.readAll(log);
      const names = namesOf(found);
      const at = names.findIndex((name, i) => name !== entries[i]);
      if (at >= 0 || names.length < entries.length)
        throw new Violation(`restored is ${names.at(at) ?? "nothing"} where ${entries.at(at) ?? "nothing"} belongs`);
      const checkpoint = await this.judgeState(log, found);
      for (const core of this.whole.cores)
        if (log.core(core).firstLsn > (checkpoint?.positions[core] ?? 0) + 1)
          throw new Violation(`restored is what begins with LSN ${log.core(core).firstLsn} of core ${core}, and nothing before it`);
      return found;
    };
    const found = await this.lookAt(OUT, compare);
    if (found === undefined) throw new Violation(`restored was ${JSON.stringify(toLsn)}${done ? "" : " by somebody"}, and there is no log`);
    const disk = copyOf(this.disk);
    const judge = async (): Promise<void> => {
      const { faults } = await verifyLogOn(disk, OUT);
      if (faults.length > 0) throw new Violation(`verify says of what was restored: ${faults.map(({ message }) => message).join("; ")}`);
    };
    await judge();
    const core = mortalCore(this.config.options, !this.otherCore);
    const log = await openLogWith(OUT, this.config.options, aside(disk, { core }));
    const lsn = log.appendSync("on");
    await log.close();
    const wanted = (Array.isArray(toLsn) ? toLsn[0]! : toLsn) + 1;
    if (lsn !== wanted) throw new Violation(`what was restored goes on with LSN ${lsn}, not ${wanted}`);
    await judge();
    const count = await lookAt(disk, OUT, this.config.options, (again) => this.readAll(again));
    if (count?.filter(({ kind }) => kind !== "epoch").length !== entries.length + 1)
      throw new Violation(`what was restored, ${entries.length} entries, goes on, and then there are ${count?.length}`);
  }

  private async judgeArchive(): Promise<void> {
    const disk = copyOf(this.disk);
    const archive = disk.names(ARCHIVE).length > 0 ? ARCHIVE : undefined;
    await restoreLogOn(DIRECTORY, { out: OUT, archive }, aside(disk));
    const { recovery } = this.log!;
    await lookAt(disk, OUT, this.config.options, async (log) => {
      for (const { core, lastLsn } of recovery.cores) {
        const { firstLsn } = log.core(core);
        if (firstLsn > 1) throw new Violation(`what log and archive hold of core ${core} begins with LSN ${firstLsn}`);
        const entries = await this.readAll(this.whole.perCore ? log.core(core) : log);
        inChain(core, () => this.whole.of(core).judge(entries, lastLsn));
      }
    });
  }

  private async upkeepOf<T>(promise: Promise<T>): Promise<T> {
    this.upkeep++;
    const answered = (): void => void this.upkeep--;
    promise.then(answered, answered);
    return this.driven(promise);
  }

  /** The newest that was acknowledged, or a newer one; its state says where it stands, and what follows is replayed. */
  private async judgeCheckpoint(entries: Entry[]): Promise<void> {
    const found = await this.judgeState(this.log!, entries);
    if ((found?.number ?? 0) < this.checkpointNumber)
      throw new Violation(`checkpoint ${this.checkpointNumber} was acknowledged, now ${found?.number ?? "none"} is found`);
    this.checkpointEnd = found?.endPositions ?? [];
  }

  private async judgeState(log: Log, entries: Entry[]): Promise<CheckpointInfo | undefined> {
    const found = await log.readCheckpoint();
    if (found === undefined) return undefined;
    const pieces: Uint8Array[] = [];
    for await (const bytes of found.stream) pieces.push(bytes);
    const state = Buffer.concat(pieces).toString();
    if (state !== `everything up to ${this.placeOf(found.positions)}`)
      throw new Violation(`checkpoint ${found.number}, at ${this.placeOf(found.positions)}, says: ${state}`);
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
    return found;
  }

  async close(): Promise<void> {
    const log = this.log!;
    const positions = log.positions();
    await this.driven(log.close());
    await this.look();
    this.proveAll(positions, "close()");
    this.closed = isSealed(this, this.wasClosed) || this.wasClosed;
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

  private learn(operation: Operation, first: number, { ownCore } = this.writer): void {
    const core = this.whole.perCore ? ownCore : 0;
    const given = (this.given[core] ??= []);
    operation.items.forEach(({ id }, i) => (given[first + i] = id));
    this.whole.of(core).learn(operation, first, this.log!.epoch);
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
        this.learn(operation, first, writer);
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

function optionsOf({ frameAlign, cores, spares = 0, archive }: Settings): Config["options"] {
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
    archive: archive && { directory: ARCHIVE },
  };
}
