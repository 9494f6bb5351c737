// The public shapes. LSNs are numbers, exact to 2^53; sizes are bytes; times are milliseconds.

import type { ClockStart } from "./clock.js";
import type { RepairReport } from "./rebuild.js";

/**
 * Bytes to store: a string goes in as UTF-8. Both come back as a `Uint8Array`.
 *
 * @example
 * const id: Bytes = "user/7";
 * const picture: Bytes = new Uint8Array([1, 2, 3]);
 * await log.append({ kind: "put", key: id, value: picture });
 */
export type Bytes = Uint8Array | string;

/**
 * What can be appended.
 * - plain bytes, at least one: a `data` entry
 * - `put`: a key of at least one byte, and a value, which may be empty
 * - `delete`: a key of at least one byte
 * - `commit`: a consumer's offsets, 64-bit signed, and a watermark; {@link decodeCommit} reads it
 *
 * Key and value together have at most `maxEntryBytes`. corewal stores the kind and does not act on it.
 *
 * @example
 * const inputs: Input[] = [
 *   "plain bytes",
 *   { kind: "put", key: "user/7", value: "Ada" },
 *   { kind: "delete", key: "user/6" },
 *   { kind: "commit", offsets: { orders: 41n }, watermark: 40n },
 * ];
 * for (const input of inputs) await log.append(input);
 */
export type Input =
  | Bytes
  | {
      /** A key gets a value. */
      kind: "put";
      /** At least one byte. */
      key: Bytes;
      /** May be empty. */
      value: Bytes;
    }
  | {
      /** A key goes. */
      kind: "delete";
      /** At least one byte. */
      key: Bytes;
    }
  | {
      /** How far a consumer has come. */
      kind: "commit";
      /** Position for each name, -2^63 to 2^63 - 1. */
      offsets: Record<string, bigint>;
      /** One more number, -2^63 to 2^63 - 1. Default: none. */
      watermark?: bigint;
    };

/**
 * Kinds of entries. `data`, `put`, `delete`, `commit` are the user's; `void` (LSNs that were lost with their writer)
 * and `lost` (what a repair could not keep, see {@link decodeLost}) are the log's own, shown only by {@link ReadOptions.internal}.
 *
 * @example
 * const counts = new Map<Kind, number>();
 * for await (const { kind } of log.read()) counts.set(kind, (counts.get(kind) ?? 0) + 1);
 */
export type Kind = "data" | "put" | "delete" | "commit" | "void" | "lost" | "epoch";

/**
 * LSNs whose entries are gone.
 *
 * @example
 * const { lost } = await verifyLog("./data");
 * const show = ({ first, last }: LostRange): string => `LSN ${first} to ${last ?? "nobody knows which"}`;
 * console.log(lost.map(show));
 */
export interface LostRange {
  /** The first of them. */
  first: number;
  /** The last of them; missing if the end of the chain is gone and nobody knows how far it went. */
  last?: number;
  /** In a per-core log: core whose chain they are of. */
  core?: number;
}

/**
 * How threads, flushers and files relate.
 * - `striped`: all threads share one chain of files, in LSN order
 * - `per-core`: each thread has a chain of its own; the log is their merge
 *
 * @example
 * const topology: Topology = "striped";
 * const log = await openLog("./data", { topology });
 * await log.close();
 */
export type Topology = "striped" | "per-core";

/**
 * When an append counts as done.
 * - `group`: its frame is fsynced; may wait up to `maxDelayMs` for company (default 0)
 * - `sync`: its frame is fsynced; never waits for `maxDelayMs`
 * - `async`: it is in the ring; written and fsynced at least every `flushIntervalMs`
 *
 * @example
 * const durability: Durability = "sync";
 * await log.append("payment 7", { durability });
 */
export type Durability = "sync" | "group" | "async";

/**
 * How to wait. Bad ones are refused with COREWAL_INVALID_OPTION.
 *
 * @example
 * try {
 *   await log.append("order 1", { durability: "sync", timeoutMs: 1000, signal: AbortSignal.timeout(5000) });
 * } catch (error) {
 *   // With an lsn the entry is in the log and may become durable; without, it was not written.
 *   if (error instanceof CorewalError) console.error(error.code, error.lsn);
 * }
 */
export interface Wait {
  /** May ask for more than the log's own durability, never for less. Default: the log's own. */
  durability?: Durability;
  /** Ends the wait with COREWAL_ABORTED, not the entry once it has an LSN. Default: none. */
  signal?: AbortSignal;
  /** Ends the wait with COREWAL_TIMEOUT after this many milliseconds, 0 or more, not the entry once it has an LSN. Default: no limit. */
  timeoutMs?: number;
}

/**
 * One entry as read back. The bytes are plain memory, safe to keep.
 *
 * @example
 * for await (const { lsn, kind, key, value, timestampMs } of log.read()) {
 *   console.log(lsn, kind, key && Buffer.from(key).toString(), value.length, new Date(timestampMs));
 * }
 */
export interface Entry {
  /** Log sequence number: from 1, without gaps over all threads. */
  lsn: number;
  /** Which writable open wrote it: (term, lsn) names an entry for ever. */
  term: number;
  /** Counts barriers across all writers, see {@link Writer.advanceEpoch}. */
  epoch: number;
  /** The stripe that wrote it, from 0. */
  core: number;
  /** What was appended. */
  kind: Kind;
  /** Unix time of its flush in milliseconds, fractional, never going back. */
  timestampMs: number;
  /** Of `put` and `delete` only. */
  key?: Uint8Array;
  /** Empty for `delete`. Of a `void` entry: how many LSNs were lost, 64 bits, little-endian; `lsn` is the first. */
  value: Uint8Array;
}

/**
 * What was found of one chain when the log was opened.
 *
 * @example
 * const [first]: CoreRecovery[] = log.recovery.cores;
 * console.log(first?.core, first?.lastLsn, first?.clean);
 */
export interface CoreRecovery {
  /** Which chain: the core that writes it; 0 in a striped log. */
  core: number;
  /** Segments in the chain. */
  segments: number;
  /** First LSN in the chain; 1 more than lastLsn while it is empty. */
  firstLsn: number;
  /** Last LSN that was recovered; 0 if none. */
  lastLsn: number;
  /** Bytes of unsealed segments that had to be read. */
  scannedBytes: number;
  /** True if the chain was closed properly. */
  clean: boolean;
  /** Valid frames that nothing proved to be durable, and that were therefore written again and fsynced (by a read-only open: fsynced). */
  copied:
    | {
        /** Frames written again. */
        frames: number;
        /** User entries in them. */
        entries: number;
        /** Bytes of these frames. */
        bytes: number;
        /** First LSN in them. */
        firstLsn: number;
        /** Last LSN in them; 1 less than firstLsn if they record an epoch only. */
        lastLsn: number;
      }
    | undefined;
  /** What was cut off at the end: never acknowledged. */
  torn:
    | {
        /** Path of the segment file. */
        file: string;
        /** Byte offset at which it was cut. */
        offset: number;
        /** How much was cut off. */
        bytes: number;
      }
    | undefined;
}

/**
 * What was found when the log was opened.
 *
 * @example
 * const { clean, lastLsn, torn, durationMs } = log.recovery;
 * console.log(`${lastLsn} entries, opened in ${durationMs} ms`);
 * if (!clean && torn) console.warn(`${torn.bytes} bytes of an interrupted write were cut off`);
 */
export interface RecoveryReport {
  /** How threads and files relate. */
  topology: Topology;
  /** True if the log was closed properly, or is new. */
  clean: boolean;
  /** True if there was no log here before. */
  created: boolean;
  /** Segments in all chains. */
  segments: number;
  /** First LSN in the log, of core 0 in a per-core one, see `cores`; 1 more than lastLsn while it is empty. */
  firstLsn: number;
  /** Last LSN that was recovered, of core 0 in a per-core log, see `cores`; 0 if none. */
  lastLsn: number;
  /** Term of this open, one higher than any found; of a read-only open, the highest found. */
  term: number;
  /** Epoch of this open: in a striped log the highest found, in a per-core log one higher; of a read-only open, the highest found. */
  epoch: number;
  /**
   * The highest complete epoch, of which every chain had all entries on the disk; -1 if none. Entries up to its end are
   * whole over all chains: nothing is missing that was appended before something in there.
   */
  completeEpoch: number;
  /** Bytes of unsealed segments that had to be read, of all chains. */
  scannedBytes: number;
  /** What was written again in the first chain for which that was needed. */
  copied: CoreRecovery["copied"];
  /** What was cut off at the end of the first chain that was torn. */
  torn: CoreRecovery["torn"];
  /** Each chain that there was, ascending; in a striped log always one, of core 0. */
  cores: CoreRecovery[];
  /** What was repaired first, as `onCorruption` says. */
  repaired: RepairReport | undefined;
  /** Log id, in hexadecimal, of the log from which this one was restored; undefined if it was not. */
  restoredFrom: string | undefined;
  /** How long recovery took, milliseconds. */
  durationMs: number;
}

/**
 * Figures since the log was opened. A read-only log shows its LSNs and segment, the rest is 0.
 *
 * @example
 * await log.append("x");
 * const { entries, fsyncs, fsyncMs } = log.stats();
 * console.log(`${entries / fsyncs} entries an fsync, p99 ${fsyncMs.p99} ms`);
 */
export interface LogStats {
  /** Last LSN that any writer was given. */
  lastLsn: number;
  /** Everything up to here is durable. */
  durableLsn: number;
  /** Frames written, empty ones included. */
  frames: number;
  /** Fsyncs of segment files after a write; those that make a new segment's name durable are not counted. */
  fsyncs: number;
  /** Entries flushed. */
  entries: number;
  /** Their payload, in a per-core log with 8 bytes of time for each. */
  payloadBytes: number;
  /** Bytes written to segments, headers, padding and zero-fill included. */
  writtenBytes: number;
  /** LSNs that became holes, since their writers died or were revoked. */
  voidLsns: number;
  /** Writers that were revoked because they stalled for longer than writerStallMs. */
  revokedWriters: number;
  /** Segments begun since open, without one that recovery made. */
  segmentsBegun: number;
  /** Where the next frame goes. */
  segment: {
    /** Number of the segment, from 1; 0 while there is none. */
    number: number;
    /** Byte offset in its file. */
    offset: number;
  };
  /** How long an fsync took, milliseconds. Percentiles are rounded up, by at most 26 %. */
  fsyncMs: {
    /** Mean. */
    mean: number;
    /** The longest. */
    max: number;
    /** Half of them took no longer. */
    p50: number;
    /** 99 % of them took no longer. */
    p99: number;
  };
  /** Rings. */
  stripes: {
    /** The option `stripes`. */
    total: number;
    /** Those that a writer owns now, the log's own included. */
    used: number;
  };
  /** Bytes in rings, published and not yet written. */
  ringBytesUsed: number;
  /** Checkpoints, what was archived, and what was dropped. */
  upkeep: {
    /** Checkpoints that were made. */
    checkpoints: number;
    /** Segment files that were dropped. */
    droppedSegments: number;
    /** Bytes in them. */
    droppedBytes: number;
    /** Segments that the archive was given since the log was opened. */
    archived: number;
    /** Segments that are waiting for it, as of a moment ago: they stay until it has them. */
    archiveBacklog: number;
    /** What was due by itself, by the options `checkpoints`, `retention`, `archive` and `spareSegments`, and failed. */
    failures: number;
    /** Why, the last time; undefined if nothing failed. */
    lastFailure: string | undefined;
  };
  /** `poisoned`: a write or fsync failed, {@link Writer.closed} tells the cause. */
  state: "open" | "closing" | "closed" | "poisoned";
}

/**
 * Which entries to read. Bad ones are refused with COREWAL_INVALID_OPTION.
 *
 * @example
 * const last10: ReadOptions = { from: Math.max(1, log.durableLsn - 9) };
 * for await (const entry of log.read(last10)) console.log(entry.lsn);
 */
export interface ReadOptions {
  /**
   * First LSN, included; 1 or more. Default 1. In a per-core log a vector: element i is the first LSN of core i; where
   * one is missing, that core is read from its beginning.
   */
  from?: number | number[];
  /**
   * Last LSN, included; 1 or more. Default Infinity: all that is durable when the reading begins. In a per-core log a
   * vector: element i is the last LSN of core i, 0 for none of it; where one is missing, all of that core is read.
   */
  to?: number | number[];
  /** Last epoch, included; a whole number, 0 or more. Default Infinity. */
  toEpoch?: number;
  /** Last time, included: Unix, milliseconds, fractional, compared with {@link Entry.timestampMs}. Default Infinity. */
  toTimeMs?: number;
  /**
   * At the end, wait for what is appended next instead of ending. It ends behind `to`, by `break` or `return()`, and
   * when the log is closed; it rejects with COREWAL_ABORTED by `signal` and COREWAL_POISONED if the log stops after a
   * failure. While it waits it keeps the process alive. A per-core log as a whole cannot be followed, each core can.
   * Default false.
   * @example
   * for await (const entry of log.read({ from: 1, follow: true })) console.log(entry.lsn);
   */
  follow?: boolean;
  /** Also the log's own control entries: `void`, `lost`, `epoch`. Default false. */
  internal?: boolean;
  /** Ends the reading with COREWAL_ABORTED before its next batch. Default: none. */
  signal?: AbortSignal;
}

/**
 * Names an entry of a per-core log.
 *
 * @example
 * const position: Position = { core: 0, lsn: 1 };
 */
export interface Position {
  /** The core that wrote it, from 0. */
  core: number;
  /** Its LSN there, from 1. */
  lsn: number;
}

/**
 * What {@link Log.checkpoint} calls to get the state. It may be called again for the next checkpoint.
 *
 * @param checkpoint what is asked for, and where it goes
 * @example
 * const state: CheckpointState = async ({ write }) => {
 *   for (const line of ["a=1", "b=2"]) await write(`${line}\n`);
 * };
 * await log.checkpoint(state);
 */
export type CheckpointState = (checkpoint: StateWriter) => Promise<void> | void;

/**
 * Takes the state of a checkpoint, piece by piece, until the function that got it resolves.
 *
 * @example
 * await log.checkpoint(async ({ lsn, write }: StateWriter) => {
 *   await write(JSON.stringify({ lsn, count: 7 }));
 * });
 */
export interface StateWriter {
  /** Epoch that began with the checkpoint. */
  readonly epoch: number;
  /** The state must hold the effects of all entries up to this LSN, and may hold those of later ones. 0 in a per-core log. */
  readonly lsn: number;
  /** The same for each core: element i is core i's. In a striped log one element. */
  readonly positions: number[];
  /**
   * More of the state. The bytes are the caller's again when the promise resolves. It may be passed on by itself.
   *
   * @param bytes a piece of it, in order
   * @throws As a rejection. CorewalError COREWAL_DISK_FULL, COREWAL_IO and what else writing can end with: then let it end
   *   the function, too; COREWAL_CLOSED when the function has ended. TypeError COREWAL_INVALID_INPUT
   * @example
   * await log.checkpoint(async ({ write }) => {
   *   await write("first part");
   *   await write(new Uint8Array([1, 2, 3]));
   * });
   */
  readonly write: (bytes: Bytes) => Promise<void>;
}

/**
 * A checkpoint, without its state.
 *
 * @example
 * const made: CheckpointInfo = await log.checkpoint(({ write }) => write("state"));
 * console.log(made.number, made.lsn, made.bytes, new Date(made.timestampMs));
 */
export interface CheckpointInfo {
  /** From 1 on, in the order in which they were made. */
  number: number;
  /** Epoch that began with it. */
  epoch: number;
  /** Last LSN before it: it is replayed from the next one on. 0 in a per-core log. */
  lsn: number;
  /** The same for each core: element i is core i's. In a striped log one element. */
  positions: number[];
  /** Last LSN of each core that had been given out when the state was complete: it holds nothing behind that. */
  endPositions: number[];
  /** Of the state. */
  bytes: number;
  /** When it was begun, Unix time in milliseconds. */
  timestampMs: number;
  /** Path of its file. */
  path: string;
}

/**
 * A checkpoint with its state.
 *
 * @example
 * const checkpoint: Checkpoint | undefined = await log.readCheckpoint();
 * if (checkpoint !== undefined) for await (const bytes of checkpoint.stream) console.log(bytes.length);
 */
export interface Checkpoint extends CheckpointInfo {
  /**
   * The state as it was written, in pieces that need not be those of the writing; can be read more than once. Fails with
   * COREWAL_CORRUPT if it has been damaged since it was chosen.
   */
  stream: AsyncIterable<Uint8Array>;
}

/**
 * What {@link Log.truncateBefore} has dropped.
 *
 * @example
 * const { segments, bytes, cores }: DropReport = await log.truncateBefore(1000);
 * console.log(`${segments} segments, ${bytes} bytes; the log begins with LSN ${cores[0]?.firstLsn}`);
 */
export interface DropReport {
  /** Segment files that are gone. */
  segments: number;
  /** Bytes in them. */
  bytes: number;
  /** Where each chain begins now; in a striped log one, core 0. */
  cores: {
    /** Core whose chain it is. */
    core: number;
    /** First LSN that is still there; the next one that will be given out, if none is. */
    firstLsn: number;
  }[];
}

/**
 * Passes a log to another thread: structured-cloneable, no transfer list, reusable. Good until the log is closed.
 *
 * @example
 * import { Worker, isMainThread, workerData } from "node:worker_threads";
 * import { attachLog, openLog, type LogHandle } from "corewal";
 *
 * if (isMainThread) {
 *   const log = await openLog("./data");
 *   const handle: LogHandle = log.handle;
 *   const worker = new Worker(new URL(import.meta.url), { workerData: handle });
 *   await new Promise((resolve) => worker.once("exit", resolve));
 *   await log.close();
 * } else {
 *   const writer = await attachLog(workerData);
 *   await writer.append("from a worker");
 *   await writer.close();
 * }
 */
export interface LogHandle {
  /** Version of the handle. */
  readonly corewal: 1;
  /** The WebAssembly.Memory. @internal */ readonly memory: unknown;
  /** The compiled WebAssembly.Module. @internal */ readonly module: unknown;
  /** @internal */ readonly id: string;
  /** @internal */ readonly options: WriterOptions;
  /** @internal */ readonly opened: ClockStart;
}

/** What a writer needs to know of the log's options. @internal */
export interface WriterOptions {
  durability: Durability;
  maxEntryBytes: number;
  maxBatchBytes: number;
  onFull: "wait" | "fail";
  fullTimeoutMs: number;
  queueBytes: number;
}

/**
 * Appends from one thread, through its own stripe. Appends of one writer get LSNs in the order of the calls; the
 * caller's bytes are his again when the call returns.
 *
 * After a failed write or fsync everything but reading is refused with COREWAL_POISONED, after close with COREWAL_CLOSED.
 *
 * @example
 * await using writer = await attachLog(log.handle);
 * writer.write("first"); // in the ring
 * const lsn = await writer.append("second"); // on the disk, and so is the first
 * console.log(lsn === writer.lastLsn, writer.durableLsn >= lsn);
 */
export interface Writer extends AsyncDisposable {
  /**
   * Puts an entry in the ring. NOT durable yet: it reaches the disk within `flushIntervalMs`, or when something waits
   * for it. Blocks the thread while the ring is full.
   *
   * @param input bytes, or a put, delete or commit
   * @returns the entry's LSN
   * @throws CorewalError COREWAL_FULL after `fullTimeoutMs`, or at once with `onFull: "fail"`; COREWAL_CLOSED,
   *   COREWAL_POISONED, COREWAL_REVOKED, COREWAL_READ_ONLY, COREWAL_LSN_EXHAUSTED. TypeError or RangeError
   *   COREWAL_INVALID_INPUT; RangeError COREWAL_EMPTY, COREWAL_ENTRY_TOO_LARGE. Nothing was written then
   * @example
   * for (let i = 0; i < 1000; i++) writer.write(`measurement ${i}`);
   * await writer.durable(writer.lastLsn); // all of them
   */
  write(input: Input): number;
  /**
   * Appends an entry, and waits until it is as durable as asked. Never blocks the thread: while the ring is full it
   * queues, first in, first out, up to `queueBytes`.
   *
   * @param input bytes, or a put, delete or commit
   * @param wait more durability, a limit to the wait
   * @returns the entry's LSN
   * @throws As a rejection. CorewalError COREWAL_OUTCOME_UNKNOWN if a write or fsync failed meanwhile: the entry may or
   *   may not be durable; COREWAL_ABORTED, COREWAL_TIMEOUT: with `lsn` it may become durable, without it was not
   *   written; and what {@link Writer.write} throws, COREWAL_FULL also when `queueBytes` wait already. TypeError or
   *   RangeError COREWAL_INVALID_OPTION for a bad `wait`
   * @example
   * const lsn = await log.append("order 1"); // on the disk now
   * // A thousand at once share a few fsyncs.
   * await Promise.all(Array.from({ length: 1000 }, (_, i) => log.append(`event ${i}`)));
   */
  append(input: Input, wait?: Wait): Promise<number>;
  /**
   * Appends an entry, and blocks the thread until it is durable, whatever the log's own durability is.
   *
   * @param input bytes, or a put, delete or commit
   * @param wait `timeoutMs` limits the wait for the disk (`fullTimeoutMs` the wait for space); `signal` counts only
   *   before the call begins
   * @returns the entry's LSN
   * @throws CorewalError COREWAL_OUTCOME_UNKNOWN if the write or fsync failed; COREWAL_TIMEOUT with `lsn`: it may become
   *   durable; COREWAL_ABORTED; and what {@link Writer.write} throws. TypeError or RangeError COREWAL_INVALID_OPTION for
   *   a bad `wait`
   * @example
   * const lsn = log.appendSync({ kind: "put", key: "last order", value: "7" });
   */
  appendSync(input: Input, wait?: Wait): number;
  /**
   * Appends entries, all or nothing: after a crash either all of the batch is there or none. It takes one range of LSNs.
   *
   * @param inputs at least one; together at most `maxBatchBytes`, counting 16 bytes and padding to 8 for each
   * @param wait more durability, a limit to the wait
   * @returns the range of their LSNs
   * @throws As a rejection, what {@link Writer.append} does. RangeError COREWAL_EMPTY also for no inputs,
   *   COREWAL_ENTRY_TOO_LARGE also for a batch that is too large
   * @example
   * const { first, last } = await log.appendBatch(["debit 10", "credit 10"]);
   * console.log(last - first + 1); // 2
   */
  appendBatch(
    inputs: Input[],
    wait?: Wait,
  ): Promise<{
    /** LSN of the first one. */
    first: number;
    /** LSN of the last one. */
    last: number;
  }>;
  /**
   * Waits until everything up to an LSN is durable, whichever writer it came from.
   *
   * @param lsn at most the last one that was given out; in a per-core log a position, or one LSN for each core, by its number
   * @param wait `sync` does not wait for `maxDelayMs`; a limit to the wait
   * @throws As a rejection. CorewalError COREWAL_OUTCOME_UNKNOWN if a write or fsync failed meanwhile; COREWAL_ABORTED,
   *   COREWAL_TIMEOUT, COREWAL_CLOSED, COREWAL_POISONED, COREWAL_READ_ONLY. RangeError COREWAL_INVALID_INPUT for an LSN
   *   that nobody has; TypeError or RangeError COREWAL_INVALID_OPTION for a bad `wait`
   * @example
   * const lsn = log.write("one");
   * log.write("two");
   * await log.durable(lsn, { timeoutMs: 10_000 });
   */
  durable(lsn: number | Position | number[], wait?: Wait): Promise<void>;
  /**
   * Waits until everything that any writer has put into the log so far is durable, and what this writer has queued.
   *
   * @param wait a limit to the wait; it is always as strict as `sync`
   * @returns the durable LSN
   * @throws As a rejection, what {@link Writer.durable} does
   * @example
   * log.write("one");
   * log.write("two");
   * const durableLsn = await log.sync();
   */
  sync(wait?: Wait): Promise<number>;
  /**
   * Waits for space. Resolves at once while nothing is queued and half of the ring is free, else when everything so far
   * is durable.
   *
   * @throws As a rejection, what {@link Writer.sync} does
   * @example
   * for (let i = 0; i < 1000; i++) {
   *   await log.ready(); // instead of COREWAL_FULL
   *   log.write(`measurement ${i}`);
   * }
   */
  ready(): Promise<void>;
  /** LSN of this writer's last entry; 0 before the first. */
  readonly lastLsn: number;
  /** Everything up to here is durable: in the whole log if it is striped, in this writer's own chain if it is per-core. */
  readonly durableLsn: number;
  /** `core` of this writer's entries; in a per-core log also its chain. */
  readonly ownCore: number;
  /** The epoch of what is appended now. */
  readonly epoch: number;
  /**
   * Where the log is now: the last LSN that was given out in each chain.
   *
   * @returns index is the core; a striped log has one chain
   * @example
   * const before = log.positions();
   * await log.durable(before); // everything that any thread had appended until then
   */
  positions(): number[];
  /**
   * What is durable now.
   *
   * @returns index is the core: everything in its chain up to this LSN is durable
   * @example
   * const behind = log.positions().map((lsn, core) => lsn - log.durablePositions()[core]);
   */
  durablePositions(): number[];
  /**
   * A barrier over all writers: begins the next epoch. When it resolves, everything that any of them had appended before
   * the call is durable, and in an earlier epoch than everything that is appended from then on. It waits for nobody who
   * is idle or blocked; a writer that died while it appended is passed over after `writerStallMs`. In a per-core log this
   * is the one cut that is consistent over all chains; after a crash `recovery.completeEpoch` tells the last one.
   *
   * @param wait a limit to the wait, not to the barrier, which may still complete
   * @returns the epoch that has begun
   * @throws As a rejection. CorewalError COREWAL_CLOSED, COREWAL_POISONED, COREWAL_ABORTED, COREWAL_TIMEOUT,
   *   COREWAL_READ_ONLY; TypeError or RangeError COREWAL_INVALID_OPTION for a bad `wait`
   * @example
   * const epoch = await log.advanceEpoch();
   * for await (const entry of log.read({ toEpoch: epoch - 1 })) console.log(entry.core, entry.lsn);
   */
  advanceEpoch(wait?: Wait): Promise<number>;
  /**
   * Waits for what it accepted, then releases the stripe. A log's close also ends all its writers, seals the last
   * segment and releases the lock. Idempotent; `await using` calls it.
   *
   * @throws As a rejection. CorewalError COREWAL_POISONED or COREWAL_OUTCOME_UNKNOWN if a write or fsync failed; stripe
   *   and lock are released all the same
   * @example
   * const writer = await attachLog(log.handle);
   * writer.write("last words");
   * await writer.close(); // durable
   */
  close(): Promise<void>;
  /**
   * Resolves after close; rejects with COREWAL_POISONED, whose `cause` is the first failure, if the log is poisoned. Never
   * an unhandled rejection.
   */
  readonly closed: Promise<void>;
}

/**
 * How to read one chain: as {@link ReadOptions}, with LSNs of that chain.
 *
 * @example
 * const options: CoreReadOptions = { from: 10, to: 20 };
 * for await (const entry of log.core(0).read(options)) console.log(entry.lsn);
 */
export interface CoreReadOptions extends Omit<ReadOptions, "from" | "to"> {
  /** First LSN, included; 1 or more. Default 1. */
  from?: number;
  /** Last LSN, included; 1 or more. Default Infinity. */
  to?: number;
}

/**
 * One core's chain, not merged with the others.
 *
 * @example
 * const own: LogCore = log.core(log.ownCore);
 * console.log(own.lastLsn - own.durableLsn, "entries are on their way");
 */
export interface LogCore {
  /** Its number. */
  readonly core: number;
  /** The first LSN in it that is still there; 1 as long as nothing was dropped. */
  readonly firstLsn: number;
  /** Last LSN that was given out in it. */
  readonly lastLsn: number;
  /** Everything in it up to here is durable. */
  readonly durableLsn: number;
  /** Of its segment files, looked up now. */
  readonly bytes: number;
  /**
   * As {@link Log.read}, in LSN order; it can be followed.
   *
   * @param options from, to, and the others of {@link Log.read}
   * @example
   * for await (const { lsn, value } of log.core(0).read({ from: 100 })) console.log(lsn, value);
   */
  read(options?: CoreReadOptions): AsyncIterable<Entry>;
  /**
   * As {@link Log.readBatches}.
   *
   * @param options as those of `read`
   * @example
   * for await (const batch of log.core(0).readBatches()) console.log(batch.length, "entries of core 0");
   */
  readBatches(options?: CoreReadOptions): AsyncIterable<Entry[]>;
  /**
   * As {@link Log.get}, by the LSN alone.
   *
   * @param lsn its number in this chain, 1 or more
   * @example
   * const entry = await log.core(0).get(42); // undefined if that LSN holds none, or is not durable
   */
  get(lsn: number): Promise<Entry | undefined>;
}

/**
 * A directory of its own for a log's archive, see the option `archive` of {@link LogOptions}.
 *
 * @example
 * const archive: ArchiveDirectory = { directory: "./data-archive" };
 * const log = await openLog("./data", { archive });
 * await log.close();
 */
export interface ArchiveDirectory {
  /** A path or a file: URL; made if it is not there. Not the log's own, and not another log's archive. */
  directory: string | URL;
}

/**
 * Archives a segment, see the option `archive` of {@link LogOptions}. It is done when the promise resolves; if it rejects, or
 * the function throws, the same segment comes again. Nothing waits for it, and nothing is dropped before.
 *
 * @param segment which one
 * @example
 * const archive: ArchiveFunction = async ({ path, bytes }) => console.log(`${path} has ${bytes} bytes`);
 * const log = await openLog("./data", { archive });
 * await log.close();
 */
export type ArchiveFunction = (segment: SealedSegment) => Promise<void> | void;

/**
 * A segment that is written no more, as the function of the option `archive` gets it.
 *
 * @example
 * const archive = async ({ path, firstLsn, lastLsn }: SealedSegment): Promise<void> => {
 *   console.log(`LSN ${firstLsn} to ${lastLsn} are in ${path}`); // store it somewhere, and resolve when that is done
 * };
 * const log = await openLog("./data", { archive });
 * await log.close();
 */
export interface SealedSegment {
  /** Whose it is; 0 in a striped log. */
  core: number;
  /** Counts from 1 on in each chain, without gaps. */
  number: number;
  /** Of its file, which stays as it is until the function has resolved. */
  path: string;
  /** Its first LSN. */
  firstLsn: number;
  /** Its last LSN; firstLsn - 1 if it has none. */
  lastLsn: number;
  /** Size of the file. */
  bytes: number;
}

/**
 * One segment file.
 *
 * @example
 * const segments: SegmentStats[] = await log.segments();
 * console.log(segments.reduce((sum, { bytes }) => sum + bytes, 0), "bytes");
 */
export interface SegmentStats {
  /** The core that writes its chain; 0 in a striped log. */
  core: number;
  /** From 1. */
  number: number;
  /** Of the file. */
  path: string;
  /** Size of the file. */
  bytes: number;
  /** Frames end here. */
  endOffset: number;
  /** First LSN in it. */
  firstLsn: number;
  /** Last LSN in it; 1 less than firstLsn if it is empty. */
  lastLsn: number;
  /** It has a footer. */
  sealed: boolean;
  /** Its footer says that another one follows. */
  continued: boolean;
  /** User entries in it. */
  entries: number;
  /** Lowest epoch in it; 0 if it is empty. */
  minEpoch: number;
  /** Highest epoch in it; 0 if it is empty. */
  maxEpoch: number;
  /** Unix time of its first flush, milliseconds; 0 if it is empty. */
  minTimeMs: number;
  /** Unix time of its last flush, milliseconds; 0 if it is empty. */
  maxTimeMs: number;
}

/**
 * An open log: also the opener's own writer. An idle one does not keep the process alive; waits do.
 *
 * @example
 * await using log = await openLog("./data"); // closed at the end of the block
 * await log.append("hello");
 * for await (const entry of log.read()) console.log(entry.lsn, Buffer.from(entry.value).toString());
 */
export interface Log extends Writer {
  /** For {@link attachLog} in any worker. A log opened with `readOnly` has none: COREWAL_READ_ONLY. */
  readonly handle: LogHandle;
  /**
   * Entries in LSN order, up to what is durable when the reading begins, which is at the first step of the loop;
   * with `follow` also those that become durable later.
   *
   * @param options which entries; default all of the user's
   * @returns what `for await` takes; each loop over it reads anew
   * @throws TypeError or RangeError COREWAL_INVALID_OPTION, at once. In the loop CorewalError COREWAL_CORRUPT if what is
   *   stored is damaged, COREWAL_UNKNOWN_VERSION, COREWAL_ABORTED, COREWAL_CLOSED, COREWAL_NO_PERMISSION, COREWAL_IO
   * @example
   * for await (const entry of log.read({ from: 1, to: 100 })) console.log(entry.lsn, entry.value);
   */
  read(options?: ReadOptions): AsyncIterable<Entry>;
  /**
   * The same, many at a time: the fast way. A batch has 1 to 1,024 entries.
   *
   * @param options which entries; default all of the user's
   * @returns what `for await` takes; each loop over it reads anew
   * @throws What {@link Log.read} does
   * @example
   * let bytes = 0;
   * for await (const batch of log.readBatches()) for (const entry of batch) bytes += entry.value.length;
   */
  readBatches(options?: ReadOptions): AsyncIterable<Entry[]>;
  /**
   * One entry.
   *
   * @param where its LSN, 1 or more; in a per-core log core and LSN
   * @returns undefined if it is not durable yet, or a hole
   * @throws As a rejection, what {@link Log.read} does
   * @example
   * const lsn = await log.append("order 1");
   * const entry = await log.get(lsn);
   * console.log(entry && Buffer.from(entry.value).toString()); // order 1
   */
  get(where: number | Position): Promise<Entry | undefined>;
  /**
   * What has to be applied to the state of the latest checkpoint, which {@link Log.readCheckpoint} gives: the entries behind
   * its place. All entries, if there is no checkpoint.
   *
   * @param options where to end; default everything that is durable
   * @returns what `for await` takes; each loop over it reads anew
   * @throws What {@link Log.read} does
   * @example
   * const state = new Map<string, Uint8Array>(); // filled from readCheckpoint() first, if there is one
   * for await (const { kind, key, value } of log.replay()) {
   *   const name = Buffer.from(key ?? []).toString();
   *   if (kind === "put") state.set(name, value);
   *   else if (kind === "delete") state.delete(name);
   * }
   */
  replay(options?: Omit<ReadOptions, "from">): AsyncIterable<Entry>;
  /**
   * One chain by itself: of a core that this open has a stripe for, or that has ever written to the log. A striped log has
   * core 0 only, which is the whole log.
   *
   * @param number from 0
   * @throws RangeError COREWAL_INVALID_INPUT if there is no such core
   * @example
   * const { lastLsn, durableLsn, bytes } = log.core(0);
   * for await (const entry of log.core(0).read({ from: 1 })) console.log(entry.lsn);
   */
  core(number: number): LogCore;
  /**
   * All segment files as they are now. Costs what opening the log would: what is not sealed is read.
   *
   * @returns chain by chain, oldest first
   * @throws As a rejection. CorewalError COREWAL_CORRUPT, COREWAL_NO_PERMISSION, COREWAL_IO
   * @example
   * for (const { core, path, bytes, entries } of await log.segments()) console.log(core, path, bytes, entries);
   */
  segments(): Promise<SegmentStats[]>;
  /** The first LSN that is still there; 1 as long as nothing was dropped. In a per-core log of core 0, see {@link LogCore}. */
  readonly firstLsn: number;
  /**
   * Makes a checkpoint: a durable copy of the user's state, so that what was appended before need not be replayed, and may
   * be dropped. It begins with a barrier, as {@link Writer.advanceEpoch} does; then `state` is called, and writes. The state
   * must hold the effects of everything up to the place that it is told, and may hold those of later entries: unless the
   * caller freezes it, replaying must come to the same end also where an entry was applied before. The checkpoint counts
   * once all that it may hold is durable; if `state` fails, nothing is left of it. Several calls take their turns.
   *
   * @param state writes the state
   * @returns the checkpoint that was made
   * @throws As a rejection. What `state` throws; CorewalError COREWAL_DISK_FULL, COREWAL_IO, COREWAL_NO_PERMISSION: the
   *   log goes on, without this checkpoint; COREWAL_CLOSED, COREWAL_POISONED, COREWAL_READ_ONLY; TypeError
   *   COREWAL_INVALID_INPUT
   * @example
   * const balances = new Map([["ada", 7]]);
   * const { number, lsn } = await log.checkpoint(async ({ write }) => {
   *   for (const [name, balance] of balances) await write(`${name} ${balance}\n`);
   * });
   * console.log(`checkpoint ${number} holds everything up to LSN ${lsn}`);
   */
  checkpoint(state: CheckpointState): Promise<CheckpointInfo>;
  /**
   * The latest checkpoint. One that is damaged is passed over, with a warning of the process, for the one before.
   *
   * @returns undefined if there is none, so that the state is rebuilt from the log alone
   * @throws As a rejection. CorewalError COREWAL_CORRUPT if the beginning of the log was dropped and no checkpoint that
   *   holds it can be read; COREWAL_UNKNOWN_VERSION, COREWAL_NO_PERMISSION, COREWAL_IO
   * @example
   * const checkpoint = await log.readCheckpoint();
   * const pieces: Uint8Array[] = [];
   * if (checkpoint !== undefined) for await (const bytes of checkpoint.stream) pieces.push(bytes);
   * console.log(Buffer.concat(pieces).toString()); // then apply log.replay()
   */
  readCheckpoint(): Promise<Checkpoint | undefined>;
  /**
   * All checkpoints, newest first, as they say of themselves; their states are not read.
   *
   * @returns none, if there are none
   * @throws As a rejection. CorewalError COREWAL_NO_PERMISSION, COREWAL_IO
   * @example
   * for (const { number, lsn, bytes } of await log.checkpoints()) console.log(number, lsn, bytes);
   */
  checkpoints(): Promise<CheckpointInfo[]>;
  /**
   * Drops the beginning of the log: segments in which nothing is from these places on. Never what a checkpoint that is kept
   * needs to be replayed, or what a reading under way still has before it. Afterwards the log begins with a later LSN, and
   * asking for an earlier one fails with COREWAL_OUT_OF_WINDOW.
   *
   * @param where the first LSN to keep; in a per-core log core and LSN, or an LSN for each core
   * @returns what was dropped: nothing, if no whole segment could go
   * @throws As a rejection. CorewalError COREWAL_TOPOLOGY, COREWAL_CLOSED, COREWAL_POISONED, COREWAL_READ_ONLY, COREWAL_IO;
   *   TypeError or RangeError COREWAL_INVALID_INPUT
   * @example
   * const { lsn } = await log.checkpoint(({ write }) => write("state"));
   * const { segments } = await log.truncateBefore(lsn + 1);
   * console.log(`${segments} segments dropped; the log begins with LSN ${log.firstLsn}`);
   */
  truncateBefore(where: number | Position | number[]): Promise<DropReport>;
  /**
   * Cuts the end off, as a follower in Raft does with entries that its leader does not have. Everything that was accepted is
   * written, this log and all its writers are closed, whatever is behind these places ceases to exist, and the log is opened
   * again, with the same options, under a new term: with the log that it resolves with one goes on. Writers in other threads
   * have ended with COREWAL_CLOSED, and attach anew by the new handle; a checkpoint that is being made has, too. Checkpoints
   * that hold something of what is cut are removed; readers in other processes that were behind the cut are told by
   * COREWAL_READER_CUT. Afterwards those LSNs are given again, with a higher term. In a per-core log chains are cut one
   * after the other: after a crash in between, call it again.
   *
   * @param where the last LSN to keep, 0 for none; in a per-core log core and LSN, or an LSN for each core: those that are not named stay
   * @returns the log, open again
   * @throws As a rejection. RangeError COREWAL_INVALID_INPUT if the log does not go so far, CorewalError
   *   COREWAL_OUT_OF_WINDOW if it begins later, or if no checkpoint would be left of a log that needs one; COREWAL_TOPOLOGY,
   *   COREWAL_CLOSED, COREWAL_POISONED, COREWAL_READ_ONLY: then nothing was changed. COREWAL_IO, or COREWAL_CORRUPT if
   *   what is to stay cannot be read just before the cut, and nothing was changed: the log is closed, open it again
   * @example
   * await log.appendBatch(["kept", "not agreed upon"]);
   * const agreed = await log.truncateAfter(log.lastLsn - 1);
   * await agreed.append("what the leader says");
   * await agreed.close();
   */
  truncateAfter(where: number | Position | number[]): Promise<Log>;
  /** What was found when the log was opened. */
  readonly recovery: RecoveryReport;
  /**
   * Figures since the log was opened. Costs a few reads of shared memory; never throws.
   *
   * @returns a snapshot
   * @example
   * const { lastLsn, durableLsn, ringBytesUsed } = log.stats();
   * console.log(`${lastLsn - durableLsn} entries, ${ringBytesUsed} bytes are on their way`);
   */
  stats(): LogStats;
}
