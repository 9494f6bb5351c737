// A log opened for reading only: always possible, takes no lock, changes nothing. While another process
// writes, it shows what that one has promised; otherwise everything valid up to the tear. Whoever follows it is shown
// what is promised later (tail-watch.ts).

import { threadId } from "node:worker_threads";
import { CheckpointReading, listCheckpoints } from "./checkpoints.js";
import { surveyDirectory } from "./directory.js";
import { codeOf, CorewalError, fromSystem } from "./errors.js";
import { inspectLock } from "./lock.js";
import { vectorOf } from "./positions.js";
import { ChainReader, type Growth } from "./read.js";
import { LogReading, type Chain } from "./reading.js";
import { recoverLog, reportOf, requireTopology, type RecoveredLog } from "./recover.js";
import { chainNumbers, segmentNumbers } from "./recover-chain.js";
import { chainBytes, segmentStats } from "./segment-stats.js";
import { neverWrites, type Storage } from "./storage.js";
import { TailWatch } from "./tail-watch.js";
import { NOTHING_DONE } from "./upkeep.js";
import { nodeStorage } from "./storage/node.js";
import type {
  Checkpoint,
  CheckpointInfo,
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
} from "./types.js";

/** One step of an inline flusher, or one look of a follower; true if it did something. For tests. */
export const PUMP = Symbol("corewal.pump");

/** May somebody be writing? A simulated disk has no lock files, so nobody. */
export function isLive(storage: Storage, directory: string): boolean {
  if (storage !== nodeStorage) return false;
  const { liveness } = inspectLock(directory);
  return liveness === "held" || liveness === "unknown";
}

/** Recovers without changing anything; a live log may be rotated, dropped from or cut meanwhile, then it looks again. */
export function recoverForReading(
  storage: Storage,
  directory: string,
  mayBeLive: () => boolean = () => isLive(storage, directory),
): { found: RecoveredLog; live: boolean } {
  for (let attempt = 0; ; attempt++) {
    let live = false;
    let before = "";
    try {
      live = mayBeLive();
      before = ends(storage, directory);
      return { found: recoverLog(storage, directory, live ? "live" : "read", neverWrites), live };
    } catch (error) {
      const mayBeMoved = ["COREWAL_CORRUPT", "ENOENT"].includes(codeOf(error) ?? "");
      const moved = mayBeMoved && (mayBeLive() !== live || ends(storage, directory) !== before);
      if (!moved || attempt >= 10) throw fromSystem(error, "reading the log", directory);
    }
  }
}

/** The last segment of each chain. */
function ends(storage: Storage, directory: string): string {
  return chainNumbers(storage, directory)
    .map((chain) => `${chain}:${segmentNumbers(storage, directory, chain)[0]}`)
    .join(" ");
}

/** The directory has a log, or COREWAL_NOT_A_LOG. */
export function requireLog(storage: Storage, directory: string): void {
  const survey = surveyDirectory(storage, directory);
  if (survey !== "log")
    throw new CorewalError(
      "COREWAL_NOT_A_LOG",
      survey === "missing" ? `there is no directory ${directory}` : `there is no log in ${directory}`,
      { file: directory },
    );
}

export interface ReadOnlyEnvironment {
  storage: Storage;
  /** A follower looks for more only when it is pumped. */
  manual?: boolean;
  /** Somebody may be writing; otherwise the lock tells. */
  live?: boolean;
}

export function openReadOnly(directory: string, { storage, manual = false, live }: ReadOnlyEnvironment, topology?: Topology): Log {
  const since = performance.now();
  requireLog(storage, directory);
  const recovered = recoverForReading(storage, directory, live === undefined ? undefined : () => live);
  requireTopology(recovered.found, topology, directory);
  return new ReadOnlyLog(storage, directory, recovered, performance.now() - since, manual);
}

class ReadOnlyLog implements Log {
  readonly lastLsn = 0;
  readonly recovery: RecoveryReport;
  readonly closed: Promise<void>;
  private readonly reading: LogReading;
  private readonly checkpointing: CheckpointReading;
  /** How far each chain may be read, and grows while somebody follows it. */
  private readonly tails: TailWatch[] = [];
  private ended = false;
  private end!: () => void;

  constructor(
    private readonly storage: Storage,
    private readonly directory: string,
    { found, live }: { found: RecoveredLog; live: boolean },
    durationMs: number,
    manual: boolean,
  ) {
    this.closed = new Promise((resolve) => (this.end = resolve));
    this.recovery = reportOf(found, found, durationMs);
    const check = (): void => {
      if (this.ended) throw this.refuse();
    };
    const timed = found.topology === "per-core";
    const chains = found.chains.map(({ chain, segments, lastLsn }): Chain => {
      const growth: Growth = { ended: () => this.ended, watch: (lsn: number) => tail.watch(lsn) };
      const last = (): number => tail.lastLsn;
      const reader: ChainReader = new ChainReader(storage, directory, chain, segments, last, true, check, growth, timed);
      const tail: TailWatch = new TailWatch(storage, directory, reader, segments.at(-1)!.endOffset, lastLsn, manual);
      this.tails[chain] = tail;
      return { reader, lastLsn: last, durableLsn: last, bytes: () => chainBytes(storage, directory, chain) };
    });
    this.reading = new LogReading(this.recovery.topology, chains, check);
    this.checkpointing = new CheckpointReading({
      storage,
      directory,
      logId: found.logId,
      topology: this.recovery.topology,
      needsCheckpoint: () => found.chains.some(({ needsCheckpoint }) => needsCheckpoint),
      // While somebody writes, the log goes on behind what is promised.
      bounds: () =>
        chains.map(({ reader, lastLsn }) => ({
          chain: reader.chain,
          firstLsn: reader.firstLsn,
          lastLsn: live ? Infinity : lastLsn(),
        })),
    });
  }

  /** Of core 0; grows while somebody follows. */
  get durableLsn(): number {
    return this.tails[0]?.lastLsn ?? 0;
  }

  private refuse(): CorewalError {
    return this.ended
      ? new CorewalError("COREWAL_CLOSED", "the log is closed: open it again")
      : new CorewalError("COREWAL_READ_ONLY", `the log was opened with readOnly (thread ${threadId}): open it without to write`);
  }
  get handle(): LogHandle {
    throw this.refuse();
  }
  write(): number {
    throw this.refuse();
  }
  appendSync(): number {
    throw this.refuse();
  }
  append(): Promise<number> {
    return Promise.reject(this.refuse());
  }
  appendBatch(): Promise<{ first: number; last: number }> {
    return Promise.reject(this.refuse());
  }
  sync(): Promise<number> {
    return Promise.reject(this.refuse());
  }
  advanceEpoch(): Promise<number> {
    return Promise.reject(this.refuse());
  }
  ready(): Promise<void> {
    return Promise.reject(this.refuse());
  }
  readonly ownCore = 0;
  get epoch(): number {
    return this.recovery.epoch;
  }
  positions(): number[] {
    return Array.from(this.tails, (tail: TailWatch | undefined) => tail?.lastLsn ?? 0);
  }
  durablePositions(): number[] {
    return this.positions();
  }
  /** What is shown is durable already. */
  async durable(where: number | Position | number[]): Promise<void> {
    const now = this.positions();
    const vector = vectorOf(where, this.recovery.topology);
    if (!vector.every((lsn, core) => lsn <= (now[core] ?? 0))) throw this.refuse();
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
    return this.reading.replay(options, () => this.checkpointing.choose());
  }
  get firstLsn(): number {
    return this.reading.chains.find(({ reader }) => reader.chain === 0)?.reader.firstLsn ?? 1;
  }
  checkpoint(): Promise<CheckpointInfo> {
    return Promise.reject(this.refuse());
  }
  readCheckpoint(): Promise<Checkpoint | undefined> {
    return this.checkpointing.read();
  }
  async checkpoints(): Promise<CheckpointInfo[]> {
    return listCheckpoints(this.storage, this.directory);
  }
  truncateBefore(): Promise<DropReport> {
    return Promise.reject(this.refuse());
  }
  truncateAfter(): Promise<Log> {
    return Promise.reject(this.refuse());
  }
  core(number: number): LogCore {
    return this.reading.core(number);
  }
  async segments(): Promise<SegmentStats[]> {
    return segmentStats(this.storage, this.directory, recoverForReading(this.storage, this.directory).found);
  }

  stats(): LogStats {
    return {
      lastLsn: this.durableLsn,
      durableLsn: this.durableLsn,
      frames: 0,
      fsyncs: 0,
      entries: 0,
      payloadBytes: 0,
      writtenBytes: 0,
      voidLsns: 0,
      revokedWriters: 0,
      segmentsBegun: 0,
      segment: this.tails[0]?.place ?? { number: 0, offset: 0 },
      fsyncMs: { mean: 0, max: 0, p50: 0, p99: 0 },
      stripes: { total: 0, used: 0 },
      ringBytesUsed: 0,
      upkeep: NOTHING_DONE,
      state: this.ended ? "closed" : "open",
    };
  }

  close(): Promise<void> {
    this.ended = true;
    for (const tail of this.tails) tail?.close();
    this.end();
    return Promise.resolve();
  }
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  [PUMP](): boolean {
    const before = this.durableLsn;
    for (const tail of this.tails) tail?.look();
    return this.durableLsn > before;
  }
}
