// A log that is open for writing: the opener's own writer, readers, and how it ends.

import { threadId, type Worker } from "node:worker_threads";
import { COMMAND_CLOSE, CTL_COMMAND, CTL_STATE, LOG_CLOSED, LOG_OPEN, LOG_POISONED, RING_NOT_OPEN } from "../assembly/layout.js";
import { bankAddress, banksOf, durableOf, isClaimed, ownedStripes, positionsOf, ringDoorbells, ringDoorbellsAlways } from "./banks.js";
import { segmentPath, type ChainIdentity } from "./chain.js";
import type { ClockStart } from "./clock.js";
import type { Core } from "./core.js";
import { cutLog, requireCut } from "./cut.js";
import type { InlineDrive } from "./drive.js";
import { attempt, CorewalError, fromSystem } from "./errors.js";
import type { Chance } from "./chance.js";
import { seal } from "./footer.js";
import type { Guest } from "./guest.js";
import type { ResolvedOptions } from "./options.js";
import { lsnVector } from "./positions.js";
import { threadEnd, uncaught, workerStart, type StartedWorker } from "./process-hooks.js";
import type { Clock } from "./producer.js";
import { ChainReader } from "./read.js";
import { PUMP, recoverForReading } from "./read-only.js";
import { LogReading, type Chain } from "./reading.js";
import { chainOf, type RecoveredLog } from "./recover.js";
import { chainBytes, segmentStats } from "./segment-stats.js";
import { logStats } from "./stats.js";
import type { Storage } from "./storage.js";
import { Upkeep, type UpkeepOwner } from "./upkeep.js";
import type {
  Checkpoint,
  CheckpointInfo,
  CheckpointState,
  DropReport,
  Entry,
  Log,
  LogCore,
  LogHandle,
  LogStats,
  Position,
  ReadOptions,
  RecoveryReport,
  SegmentStats,
  Topology,
  WriterOptions,
} from "./types.js";
import { KeepAlive, wordChange } from "./wait.js";
import { StripeWriter } from "./writer.js";

/** Forgets the log as if the process had been killed. For tests. */
export const ABANDON = Symbol("corewal.abandon");

/** Inline flushers of this thread, so that writers attached here pump instead of blocking for ever. */
export const localLogs = new Map<string, { drive: InlineDrive; core: Core; clock: Clock }>();

interface Parts {
  core: Core;
  topology: Topology;
  options: ResolvedOptions;
  writerOptions: WriterOptions;
  id: string;
  drive: InlineDrive | undefined;
  workers: Worker[];
  storage: Storage;
  directory: string;
  found: RecoveredLog;
  identity: (chain: number) => ChainIdentity;
  chance: Chance;
  report: RecoveryReport;
  lock: { release(): void };
  /** The same log once more, under the same lock, after everything of this one has ended. */
  reopen: () => Promise<Log>;
  guest: Guest | undefined;
  opened: ClockStart;
  clock: Clock;
}

const ending = (): CorewalError => new CorewalError("COREWAL_CLOSED", "the log is being closed or cut already: it ends");

export class OpenLog extends StripeWriter implements Log {
  readonly handle: LogHandle;
  readonly recovery: RecoveryReport;
  private readonly reading: LogReading;
  /** @internal */
  readonly upkeep: Upkeep;
  private shut: Promise<void> | undefined;
  private cutting = false;
  private readonly unhook: (() => void)[];

  constructor(private readonly parts: Parts) {
    super(parts.core, threadId + 1, parts.writerOptions, parts.drive, () => {}, parts.clock, parts.guest);
    this.recovery = parts.report;
    const { core, topology } = parts;
    const check = (): void => {
      if (core.x.log_state() === LOG_CLOSED) throw new CorewalError("COREWAL_CLOSED", "the log is closed: open it again");
    };
    const retired = parts.found.chains.map(({ chain }) => chain).filter((chain) => chain >= banksOf(core));
    const chains = [...Array.from({ length: banksOf(core) }, (_, bank) => bank), ...retired];
    this.reading = new LogReading(
      topology,
      chains.map((chain) => this.chainFor(chain, check)),
      check,
    );
    this.upkeep = new Upkeep(this.upkeepOwner());
    this.handle = {
      corewal: 1,
      memory: core.memory,
      module: core.module,
      id: parts.id,
      options: parts.writerOptions,
      opened: parts.opened,
    };
    this.unhook = [threadEnd.add(this.onExit), uncaught.add(this.onUncaught), workerStart.add(this.onWorker)];
  }

  private upkeepOwner(): UpkeepOwner {
    const { core, storage, directory, chance, topology, options, identity, found, drive } = this.parts;
    const { chains } = this.reading;
    const chainOfNumber = (number: number): Chain => chains.find(({ reader }) => reader.chain === number)!;
    const { logId, term } = identity(0);
    return {
      core,
      storage,
      directory,
      chance,
      topology,
      options,
      identity,
      logId,
      term,
      owner: threadId + 1,
      readers: chains.map(({ reader }) => reader),
      found: (chain) => chainOf(found, chain),
      durableLsn: (chain) => chainOfNumber(chain).durableLsn(),
      lastLsn: (chain) => chainOfNumber(chain).lastLsn(),
      check: () => {
        if (this.ended || core.x.log_state() !== LOG_OPEN) throw this.refusal(RING_NOT_OPEN);
      },
      pump:
        drive &&
        (async () => {
          drive.pump();
          await new Promise(setImmediate);
        }),
      advanceEpoch: () => this.advanceEpoch(),
      durable: (positions) => this.durable(topology === "striped" ? positions[0]! : positions),
    };
  }

  private chainFor(number: number, check: () => void): Chain {
    const { core, storage, directory, found, topology } = this.parts;
    const { segments, copied, lastLsn } = chainOf(found, number);
    const retired = number >= banksOf(core);
    const durableLsn = (): number => (retired ? lastLsn : durableOf(core, number));
    const reader = new ChainReader(
      storage,
      directory,
      number,
      segments,
      durableLsn,
      // The copied segment grows; anything else that was found does not.
      copied !== undefined && !retired,
      check,
      {
        ended: () => (core.x.log_state() === LOG_POISONED ? this.poison() : core.x.log_state() === LOG_CLOSED),
        watch: (lsn) => this.watch(number, lsn),
      },
      topology === "per-core",
    );
    return {
      reader,
      durableLsn,
      lastLsn: () => (retired ? lastLsn : positionsOf(core)[number]!),
      bytes: () => chainBytes(storage, directory, number),
    };
  }

  read(options?: ReadOptions): AsyncIterable<Entry> {
    return this.reading.entries(options);
  }
  readBatches(options?: ReadOptions): AsyncIterable<Entry[]> {
    return this.reading.batches(options);
  }
  get(where: number | Position): Promise<Entry | undefined> {
    return this.reading.get(where);
  }
  replay(options?: Omit<ReadOptions, "from">): AsyncIterable<Entry> {
    return this.reading.replay(options, () => this.upkeep.checkpoints.choose());
  }
  get firstLsn(): number {
    return this.reading.chains[0]!.reader.firstLsn;
  }
  checkpoint(state: CheckpointState): Promise<CheckpointInfo> {
    return this.upkeep.checkpoint(state);
  }
  readCheckpoint(): Promise<Checkpoint | undefined> {
    return this.upkeep.checkpoints.read();
  }
  async checkpoints(): Promise<CheckpointInfo[]> {
    return this.upkeep.list();
  }
  truncateBefore(where: number | Position | number[]): Promise<DropReport> {
    return this.upkeep.truncateBefore(where);
  }
  core(number: number): LogCore {
    return this.reading.core(number);
  }
  async segments(): Promise<SegmentStats[]> {
    const { storage, directory } = this.parts;
    return segmentStats(storage, directory, recoverForReading(storage, directory, () => true).found);
  }

  stats(): LogStats {
    return { ...logStats(this.parts.core, this.parts.options.stripes), upkeep: { ...this.upkeep.figures } };
  }

  /** Everything of this log ends, but for its lock; then it is cut, and opened again. */
  async truncateAfter(where: number | Position | number[]): Promise<Log> {
    const { storage, directory, chance, topology, lock, reopen } = this.parts;
    const { upkeep } = this;
    const wanted = lsnVector(where, topology, "truncateAfter", 0);
    const require = (): void => {
      if (this.shut !== undefined) throw ending();
      attempt("cutting the log", directory, () => {
        const needsCheckpoint = upkeep.needsCheckpoint();
        requireCut({ storage, directory, topology, needsCheckpoint }, upkeep.bounds(), wanted);
      });
    };
    if (this.cutting || this.shut !== undefined) throw ending();
    this.cutting = true;
    try {
      await this.sync();
      // Twice: what is refused should not cost a checkpoint that is being made.
      require();
      await upkeep.hold();
      require();
    } catch (error) {
      this.cutting = false;
      upkeep.goOn();
      throw error;
    }
    try {
      await (this.shut = this.closeAll(false));
      cutLog(storage, directory, wanted, chance);
      return await reopen();
    } catch (error) {
      lock.release();
      throw fromSystem(error, "cutting the log", directory);
    }
  }

  override close(): Promise<void> {
    return (this.shut ??= this.closeAll());
  }

  private async closeAll(unlock = true): Promise<void> {
    this.upkeep.stop();
    const { core, workers } = this.parts;
    const { x, log } = core;
    const awake = new KeepAlive();
    awake.hold(true);
    try {
      if (x.log_state() === LOG_OPEN) await this.drained();
      this.command();
      for (let state = x.log_state(); state !== LOG_CLOSED && state !== LOG_POISONED; state = x.log_state()) {
        if (this.parts.drive !== undefined) this.parts.drive.pump();
        else await wordChange(log.i32, CTL_STATE >> 2, state);
      }
      this.settle();
      await Promise.all(workers.map((worker) => worker.terminate()));
      if (x.log_state() === LOG_POISONED) throw this.refusal(0);
      this.sealRetired();
    } finally {
      awake.close();
      this.letGo(unlock);
    }
  }

  /** Chains that this open has not written end with what was copied for them. Last: sealed, they say that the others are. */
  private sealRetired(): void {
    const { core, found, storage, directory } = this.parts;
    for (const { chain, segments, copied } of found.chains) {
      if (isClaimed(core, chain) || copied === undefined) continue;
      const { header, endOffset, summary } = segments.at(-1)!;
      const path = segmentPath(directory, header);
      try {
        const file = storage.open(path, "write");
        try {
          seal(file, header, endOffset, summary);
        } finally {
          file.close();
        }
      } catch (error) {
        throw fromSystem(error, "closing the log", path);
      }
    }
  }

  /** Asks the flusher to fence the writers, write what is left, seal, and stop. */
  private command(): void {
    Atomics.store(this.parts.core.log.i32, CTL_COMMAND >> 2, COMMAND_CLOSE);
    ringDoorbells(this.parts.core);
  }

  /** Everything in this thread that belongs to the log. */
  private letGo(unlock = true): void {
    for (const off of this.unhook) off();
    localLogs.delete(this.parts.id);
    this.end();
    this.upkeep.end();
    this.parts.guest?.close();
    if (unlock) this.parts.lock.release();
  }

  /** The process ends without close(): what was accepted is flushed, as long as it may take. */
  private readonly onExit = (): void => {
    const { core, options, drive } = this.parts;
    const until = performance.now() + options.exitTimeoutMs;
    this.command();
    for (let state = core.x.log_state(); state !== LOG_CLOSED && state !== LOG_POISONED; state = core.x.log_state()) {
      const left = until - performance.now();
      if (left <= 0) return; // still locked: the death of the process tells that
      if (drive !== undefined) drive.pump();
      else Atomics.wait(core.log.i32, CTL_STATE >> 2, state, left);
    }
    this.parts.lock.release();
  };

  /** Perhaps the end: what was accepted is flushed, and the log goes on in case it is not. */
  private readonly onUncaught = (): void => {
    try {
      this.flushBlocking(this.parts.options.exitTimeoutMs);
    } catch {
      // Poisoned or too slow: those who wait are told.
    }
  };

  /** A worker of this thread ends, however: its stripes are free again, and nobody waits for it. */
  private readonly onWorker = (worker: StartedWorker): void => {
    const owner = worker.threadId + 1;
    worker.once("exit", () => {
      const { core } = this.parts;
      for (const { bank, stripe } of ownedStripes(core, owner)) {
        const { x } = core.at(bankAddress(core, bank));
        x.ring_revoke(stripe);
        x.ring_release(stripe, owner);
      }
      ringDoorbellsAlways(core);
    });
  };

  [PUMP](): boolean {
    return this.parts.drive?.pump() ?? false;
  }

  [ABANDON](): void {
    for (const writer of this.parts.drive?.writers ?? []) writer.end();
    this.upkeep.abandon();
    this.letGo();
  }
}
