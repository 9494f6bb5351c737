// A log opened for reading only: always possible, takes no lock, changes nothing. While another process
// writes, it shows what that one has promised; otherwise everything valid up to the tear. Whoever follows it is shown
// what is promised later (tail-watch.ts).

import { threadId } from "node:worker_threads";
import { surveyDirectory } from "./directory.js";
import { codeOf, CorewalError, fromSystem } from "./errors.js";
import { inspectLock } from "./lock.js";
import { ChainReader } from "./read.js";
import { recoverChain, reportOf, segmentNumbers, type Recovered } from "./recover.js";
import type { Storage } from "./storage.js";
import { TailWatch } from "./tail-watch.js";
import { nodeStorage } from "./storage/node.js";
import type { Entry, Log, LogHandle, LogStats, ReadOptions, RecoveryReport } from "./types.js";

/** One step of an inline flusher, or one look of a follower; true if it did something. For tests. */
export const PUMP = Symbol("corewal.pump");

/** May somebody be writing? A simulated disk has no lock files, so nobody. */
function isLive(storage: Storage, directory: string): boolean {
  if (storage !== nodeStorage) return false;
  const { liveness } = inspectLock(directory);
  return liveness === "held" || liveness === "unknown";
}

function neverWrites(): never {
  throw new Error("reading never writes");
}

/** Recovers without changing anything; a live log may be rotated meanwhile, then it looks again. */
export function recoverForReading(
  storage: Storage,
  directory: string,
  mayBeLive: () => boolean = () => isLive(storage, directory),
): { found: Recovered; live: boolean } {
  for (let attempt = 0; ; attempt++) {
    let live = false;
    let before = 0;
    try {
      live = mayBeLive();
      before = segmentNumbers(storage, directory)[0] ?? 0;
      return { found: recoverChain(storage, directory, live ? "live" : "read", neverWrites), live };
    } catch (error) {
      const moved = codeOf(error) === "COREWAL_CORRUPT" && (mayBeLive() !== live || segmentNumbers(storage, directory)[0] !== before);
      if (!moved || attempt >= 10) throw fromSystem(error, "reading the log", directory);
    }
  }
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

export function openReadOnly(directory: string, { storage, manual = false, live }: ReadOnlyEnvironment): Log {
  const since = performance.now();
  requireLog(storage, directory);
  const { found } = recoverForReading(storage, directory, live === undefined ? undefined : () => live);
  return new ReadOnlyLog(storage, directory, found, performance.now() - since, manual);
}

class ReadOnlyLog implements Log {
  readonly lastLsn = 0;
  readonly recovery: RecoveryReport;
  readonly closed: Promise<void>;
  private readonly reader: ChainReader;
  private readonly tail: TailWatch;
  private ended = false;
  private end!: () => void;

  constructor(storage: Storage, directory: string, found: Recovered, durationMs: number, manual: boolean) {
    this.closed = new Promise((resolve) => (this.end = resolve));
    this.recovery = reportOf(found, found, durationMs);
    this.reader = new ChainReader(
      storage,
      directory,
      found.segments,
      () => this.durableLsn,
      true,
      () => {
        if (this.ended) throw this.refuse();
      },
      { ended: () => this.ended, watch: (lsn) => this.tail.watch(lsn) },
    );
    const { endOffset } = found.segments.at(-1)!;
    this.tail = new TailWatch(storage, directory, this.reader, endOffset, found.lastLsn, manual);
  }

  /** Grows while somebody follows. */
  get durableLsn(): number {
    return this.tail.lastLsn;
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
  ready(): Promise<void> {
    return Promise.reject(this.refuse());
  }
  /** What is shown is durable already. */
  durable(lsn: number): Promise<void> {
    return lsn <= this.durableLsn ? Promise.resolve() : Promise.reject(this.refuse());
  }

  read(options?: ReadOptions): AsyncIterable<Entry> {
    return this.reader.entries(options);
  }
  readBatches(options?: ReadOptions): AsyncIterable<Entry[]> {
    return this.reader.batches(options);
  }
  get(lsn: number): Promise<Entry | undefined> {
    return this.reader.get(lsn);
  }
  replay(options?: Omit<ReadOptions, "from">): AsyncIterable<Entry> {
    return this.reader.entries(options);
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
      segment: this.tail.place,
      fsyncMs: { mean: 0, max: 0, p50: 0, p99: 0 },
      stripes: { total: 0, used: 0 },
      ringBytesUsed: 0,
      state: this.ended ? "closed" : "open",
    };
  }

  close(): Promise<void> {
    this.ended = true;
    this.tail.close();
    this.end();
    return Promise.resolve();
  }
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  [PUMP](): boolean {
    const before = this.durableLsn;
    this.tail.look();
    return this.durableLsn > before;
  }
}
