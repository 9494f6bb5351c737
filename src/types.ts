// The public shapes. LSNs are numbers, exact to 2^53; sizes are bytes; times are milliseconds.

/** Bytes to store: a string goes in as UTF-8. */
export type Bytes = Uint8Array | string;

/**
 * What can be appended.
 * - plain bytes: a `data` entry
 * - `put`: a key (not empty) and a value
 * - `delete`: a key
 * - `commit`: a consumer's offsets, 64-bit signed, and a watermark
 */
export type Input =
  | Bytes
  | { kind: "put"; key: Bytes; value: Bytes }
  | { kind: "delete"; key: Bytes }
  | { kind: "commit"; offsets: Record<string, bigint>; watermark?: bigint };

/** `data`, `put`, `delete`, `commit` are the user's; `void` (LSNs that were lost with their writer) is the log's own. */
export type Kind = "data" | "put" | "delete" | "commit" | "void";

/** When an append counts as done: see the README's durability table. */
export type Durability = "sync" | "group" | "async";

export interface Wait {
  /** May ask for more than the log's own durability, never for less. */
  durability?: Durability;
  /** Ends the wait, not the entry once it has an LSN. */
  signal?: AbortSignal;
  /** Ends the wait after this many milliseconds, not the entry once it has an LSN. */
  timeoutMs?: number;
}

/** One entry as read back. The bytes are plain memory, safe to keep. */
export interface Entry {
  lsn: number;
  /** Which writable open wrote it: (term, lsn) names an entry for ever. */
  term: number;
  epoch: number;
  /** The stripe that wrote it. */
  core: number;
  kind: Kind;
  /** Unix time of its flush in milliseconds, fractional, never going back. */
  timestampMs: number;
  key?: Uint8Array;
  value: Uint8Array;
}

/** What was found when the log was opened. */
export interface RecoveryReport {
  /** True if the log was closed properly, or is new. */
  clean: boolean;
  /** True if there was no log here before. */
  created: boolean;
  /** Segments in the chain. */
  segments: number;
  /** First LSN in the log; 1 more than lastLsn while it is empty. */
  firstLsn: number;
  /** Last LSN that was recovered; 0 if none. */
  lastLsn: number;
  /** Term of this open. */
  term: number;
  epoch: number;
  /** Bytes of unsealed segments that had to be read. */
  scannedBytes: number;
  /** Valid frames that nothing proved to be durable, and that were therefore written again and fsynced. */
  copied: { frames: number; entries: number; bytes: number; firstLsn: number; lastLsn: number } | undefined;
  /** What was cut off at the end: never acknowledged. */
  torn: { file: string; offset: number; bytes: number } | undefined;
  durationMs: number;
}

/** Figures since the log was opened. */
export interface LogStats {
  lastLsn: number;
  durableLsn: number;
  /** Frames written, empty ones included. */
  frames: number;
  fsyncs: number;
  /** Entries flushed. */
  entries: number;
  /** Their payload. */
  payloadBytes: number;
  /** Bytes written to segments, headers, padding and zero-fill included. */
  writtenBytes: number;
  /** LSNs that became holes, since their writers died or were revoked. */
  voidLsns: number;
  /** Writers that were revoked because they stalled for longer than writerStallMs. */
  revokedWriters: number;
  /** Segments begun since open. */
  segmentsBegun: number;
  segment: { number: number; offset: number };
  fsyncMs: { mean: number; max: number; p50: number; p99: number };
  stripes: { total: number; used: number };
  /** Bytes in rings, published and not yet written. */
  ringBytesUsed: number;
  state: "open" | "closing" | "closed" | "poisoned";
}

/** Which entries to read: from and to are LSNs, both included. */
export interface ReadOptions {
  from?: number;
  to?: number;
  /**
   * At the end, wait for what is appended next instead of ending. It ends behind `to`, by `break` or `return()`, and
   * when the log is closed; it rejects with COREWAL_ABORTED by `signal` and COREWAL_POISONED if the log stops after a
   * failure. While it waits it keeps the process alive. Default false.
   * @example
   * for await (const entry of log.read({ from: 1, follow: true })) console.log(entry.lsn);
   */
  follow?: boolean;
  /** Also the log's own control entries. */
  internal?: boolean;
  signal?: AbortSignal;
}

/** Passes a log to another thread: structured-cloneable, no transfer list, reusable. */
export interface LogHandle {
  readonly corewal: 1;
  /** The WebAssembly.Memory. @internal */ readonly memory: unknown;
  /** The compiled WebAssembly.Module. @internal */ readonly module: unknown;
  /** @internal */ readonly id: string;
  /** @internal */ readonly options: WriterOptions;
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

/** Appends from one thread, through its own stripe. */
export interface Writer extends AsyncDisposable {
  /** Puts an entry in the ring and returns its LSN. NOT durable yet. Blocks the thread while the ring is full. */
  write(input: Input): number;
  /** Resolves with the LSN when the entry is as durable as asked. Never blocks the thread. */
  append(input: Input, wait?: Wait): Promise<number>;
  /** Blocks the thread until the entry is durable; returns its LSN. */
  appendSync(input: Input, wait?: Wait): number;
  /** All or nothing: after a crash either all of the batch is there or none. */
  appendBatch(inputs: Input[], wait?: Wait): Promise<{ first: number; last: number }>;
  /** Resolves when everything up to `lsn` is durable. */
  durable(lsn: number, wait?: Wait): Promise<void>;
  /** Resolves when everything that any writer has put into the log so far is durable; gives the durable LSN. */
  sync(wait?: Wait): Promise<number>;
  /** Resolves when there is space in the ring again. */
  ready(): Promise<void>;
  /** LSN of this writer's last entry; 0 before the first. */
  readonly lastLsn: number;
  /** Everything up to here is durable, in the whole log. */
  readonly durableLsn: number;
  /** Idempotent. Waits for what it accepted, then releases the stripe. A log's close also closes all writers and files. */
  close(): Promise<void>;
  /** Resolves after close; rejects with the first cause if the log is poisoned. Never an unhandled rejection. */
  readonly closed: Promise<void>;
}

/** An open log: also the opener's own writer. */
export interface Log extends Writer {
  /** For attachLog in any worker. */
  readonly handle: LogHandle;
  /** Entries in LSN order up to the LSN that is durable now; with `follow` also those that become durable later. */
  read(options?: ReadOptions): AsyncIterable<Entry>;
  /** The same, many at a time: the fast way. */
  readBatches(options?: ReadOptions): AsyncIterable<Entry[]>;
  /** The entry with this LSN; undefined if it is not durable yet, or a hole. */
  get(lsn: number): Promise<Entry | undefined>;
  /** Everything that a state has to be rebuilt from. */
  replay(options?: Omit<ReadOptions, "from">): AsyncIterable<Entry>;
  readonly recovery: RecoveryReport;
  stats(): LogStats;
}
