// Wires the parts together: lock, recovery, shared memory, flusher, writer, reader. No logic of its own
// beyond the order in which they come and go.

import { randomBytes } from "node:crypto";
import { threadId } from "node:worker_threads";
import {
  COMMAND_CLOSE,
  CTL_COMMAND,
  CTL_STATE,
  LOG_CLOSED,
  LOG_CLOSING,
  LOG_OPEN,
  LOG_POISONED,
  STAT_ENTRIES,
  STAT_FRAMES,
  STAT_FSYNCS,
  STAT_FSYNC_BUCKETS,
  STAT_FSYNC_BUCKET_COUNT,
  STAT_FSYNC_MS_MAX,
  STAT_FSYNC_MS_TOTAL,
  STAT_PAYLOAD_BYTES,
  STAT_REVOKED,
  STAT_SEGMENTS,
  STAT_SEGMENT_NUMBER,
  STAT_SEGMENT_OFFSET,
  STAT_VOID_LSNS,
  STAT_WRITTEN_BYTES,
  STRIPE_BLOCKS,
  STRIPE_BYTES,
  STRIPE_OWNER,
} from "../assembly/layout.js";
import type { ChainIdentity } from "./chain.js";
import {
  bindCore,
  clearControl,
  coreModule,
  entrySeed,
  logGeometry,
  makeMemory,
  type CompiledModule,
  type Core,
  type SharedMemory,
} from "./core.js";
import { directoryPath, surveyDirectory } from "./directory.js";
import { InlineDrive, startWorker } from "./drive.js";
import { CorewalError, fromSystem, mistake } from "./errors.js";
import { Flusher, randomSalt, toNs, type Chance, type FlusherStart } from "./flusher.js";
import { Guest } from "./guest.js";
import { takeLock } from "./lock.js";
import { frameBytesMax, resolveOptions, writerOptions, type LogOptions, type ResolvedOptions } from "./options.js";
import { threadEnd, uncaught, workerStart, type StartedWorker } from "./process-hooks.js";
import { ChainReader } from "./read.js";
import { openReadOnly, PUMP, type ReadOnlyEnvironment } from "./read-only.js";
import { recoverChain, reportOf, type Recovered } from "./recover.js";
import { requireDurableNames, requireRuntime, warnOfWeakness } from "./runtime.js";
import type { Storage } from "./storage.js";
import { nodeStorage } from "./storage/node.js";
import type { Entry, Log, LogHandle, LogStats, ReadOptions, RecoveryReport, Writer, WriterOptions } from "./types.js";
import { KeepAlive, wordChange } from "./wait.js";
import { StripeWriter } from "./writer.js";

/** Everything outside the log that a test may put in place of the real thing. */
export interface Environment extends Chance, ReadOnlyEnvironment {
  lock: (directory: string) => { release(): void };
  /** A memory to use again; made new by default. */
  memory?: SharedMemory;
  /** Another build of the module, and its hook. */
  module?: CompiledModule;
  point?: (step: number) => void;
  /** The inline flusher is pumped by the caller only, and so is a follower … */
  manual?: boolean;
  /** … and the opener is its guest, as it is a worker's, so that the simulator sees that way of flushing, too. */
  guest?: boolean;
}

const realEnvironment: Environment = {
  storage: nodeStorage,
  lock: takeLock,
  now: () => performance.timeOrigin + performance.now(),
  randomBytes,
};

export { PUMP };
/** Forgets the log as if the process had been killed. For tests. */
export const ABANDON = Symbol("corewal.abandon");

/** Inline flushers of this thread, so that writers attached here pump instead of blocking for ever. */
const localLogs = new Map<string, { drive: InlineDrive; core: Core }>();

/**
 * Opens a log for appending and reading, and recovers it first. Makes missing directories. Nothing but the lock is
 * written until the first append, unless recovery has to.
 *
 * @param directory a directory of its own; a path or a file: URL
 * @param options see {@link LogOptions}; the defaults suit most
 * @returns the log, ready for appends of this thread
 * @throws As a rejection. CorewalError COREWAL_LOCKED if it is open for writing elsewhere, COREWAL_CORRUPT if something
 *   durable is damaged, COREWAL_UNKNOWN_VERSION, COREWAL_NOT_A_LOG if the directory holds other files, or for `readOnly`
 *   no log, COREWAL_NO_PERMISSION, COREWAL_DISK_FULL, COREWAL_IO, COREWAL_UNSUPPORTED; TypeError or RangeError
 *   COREWAL_INVALID_OPTION
 * @example
 * const log = await openLog("./data");
 * const lsn = await log.append("hello"); // durable now
 * for await (const entry of log.read()) console.log(entry.lsn, entry.value);
 * await log.close();
 */
export function openLog(directory: string | URL, options?: LogOptions): Promise<Log> {
  return openLogWith(directory, options, realEnvironment);
}

/** openLog on another storage, clock or module. @internal */
export async function openLogWith(directory: string | URL, options: LogOptions | undefined, environment: Environment): Promise<Log> {
  const resolved = resolveOptions(options);
  const path = directoryPath(directory);
  requireRuntime();
  if (resolved.readOnly) return openReadOnly(path, environment);
  requireDurableNames();
  warnOfWeakness();
  const { storage } = environment;
  if (surveyDirectory(storage, path) === "missing") {
    if (!resolved.createIfMissing)
      throw new CorewalError("COREWAL_NOT_A_LOG", `there is no directory ${path}, and createIfMissing is false`, { file: path });
    guard("making the directory", path, () => storage.makeDirectory(path));
  }
  const lock = environment.lock(path);
  try {
    return await openLocked(path, resolved, environment, lock);
  } catch (error) {
    lock.release();
    throw fromSystem(error, "opening the log", path);
  }
}

function guard<T>(doing: string, file: string, run: () => T): T {
  try {
    return run();
  } catch (error) {
    throw fromSystem(error, doing, file);
  }
}

async function openLocked(directory: string, options: ResolvedOptions, environment: Environment, lock: { release(): void }): Promise<Log> {
  const since = performance.now();
  const { storage } = environment;
  const nowNs = toNs(environment.now());
  const { frameAlign, segmentBytes } = options;
  const identify = (found: Recovered): ChainIdentity => ({
    directory,
    logId: found.segments.at(-1)?.header.logId ?? environment.randomBytes(16),
    chain: 0,
    term: found.term + 1,
    epoch: found.epoch,
    frameAlign,
    segmentBytes,
  });
  // Decided once: what recovery copies forward already belongs to this term.
  let decided: ChainIdentity | undefined;
  const found = recoverChain(storage, directory, "write", (f) => ({
    identity: (decided = identify(f)),
    salt: randomSalt(environment),
    nowNs,
  }));
  const identity = decided ?? identify(found);

  const frameBytes = frameBytesMax(options) + frameAlign;
  const { rings, frame, totalBytes } = logGeometry(options.stripes, options.ringBytes, frameBytes);
  const core = bindCore(environment.module ?? coreModule(), environment.memory ?? makeMemory(totalBytes), environment.point);
  if (environment.memory === undefined) core.x.crc32c_init();
  else clearControl(core, options.stripes);
  core.x.log_init(options.stripes, rings, options.ringBytes, entrySeed(core, identity.logId, identity.term), found.lastLsn + 1);
  const tail = found.segments.at(-1);
  core.f64[STAT_SEGMENT_NUMBER >> 3] = tail?.header.number ?? 0;
  core.f64[STAT_SEGMENT_OFFSET >> 3] = tail?.endOffset ?? 0;

  const start: FlusherStart = { identity, tail, tailIsOurs: found.copied !== undefined, timeNs: found.timeNs, frame, frameBytes, options };
  const report = reportOf(found, identity, performance.now() - since);
  const id = Buffer.from(environment.randomBytes(8)).toString("hex");
  let drive: InlineDrive | undefined;
  let worker: Awaited<ReturnType<typeof startWorker>> | undefined;
  if (options.flusher === "inline") {
    drive = new InlineDrive(core, new Flusher(core, storage, start, environment), environment.manual === true, environment.guest === true);
    localLogs.set(id, { drive, core });
  } else {
    worker = await startWorker(core, start);
  }
  const guest = worker === undefined && environment.guest !== true ? undefined : new Guest(core, storage, start, environment);
  return new OpenLog({ core, options, id, drive, worker, storage, directory, found, report, lock, guest });
}

interface Parts {
  core: Core;
  options: ResolvedOptions;
  id: string;
  drive: InlineDrive | undefined;
  worker: { terminate(): Promise<unknown> } | undefined;
  storage: Storage;
  directory: string;
  found: Recovered;
  report: RecoveryReport;
  lock: { release(): void };
  guest: Guest | undefined;
}

const STATES: Record<number, LogStats["state"]> = {
  [LOG_OPEN]: "open",
  [LOG_CLOSING]: "closing",
  [LOG_CLOSED]: "closed",
  [LOG_POISONED]: "poisoned",
};

class OpenLog extends StripeWriter implements Log {
  readonly handle: LogHandle;
  readonly recovery: RecoveryReport;
  private readonly reader: ChainReader;
  private shut: Promise<void> | undefined;
  private readonly unhook: (() => void)[];

  constructor(private readonly parts: Parts) {
    super(parts.core, threadId + 1, writerOptions(parts.options), parts.drive, () => {}, parts.guest);
    this.recovery = parts.report;
    const { core, storage, directory, found } = parts;
    this.reader = new ChainReader(
      storage,
      directory,
      found.segments,
      () => core.x.log_durable_lsn(),
      // The copied segment grows; anything else that was found does not.
      found.copied !== undefined,
      () => {
        if (core.x.log_state() === LOG_CLOSED) throw new CorewalError("COREWAL_CLOSED", "the log is closed: open it again");
      },
      {
        ended: () => (core.x.log_state() === LOG_POISONED ? this.poison() : core.x.log_state() === LOG_CLOSED),
        watch: (lsn) => this.watch(lsn),
      },
    );
    this.handle = { corewal: 1, memory: parts.core.memory, module: parts.core.module, id: parts.id, options: writerOptions(parts.options) };
    this.unhook = [threadEnd.add(this.onExit), uncaught.add(this.onUncaught), workerStart.add(this.onWorker)];
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
    // There are no checkpoints yet: a state is rebuilt from the beginning.
    return this.reader.entries(options);
  }

  stats(): LogStats {
    const { core, options } = this.parts;
    const { f64, i32, x } = core;
    const stat = (at: number): number => f64[at >> 3]!;
    const fsyncs = stat(STAT_FSYNCS);
    let used = 0;
    for (let s = 0; s < options.stripes; s++) if (Atomics.load(i32, (STRIPE_BLOCKS + s * STRIPE_BYTES + STRIPE_OWNER) >> 2) !== 0) used++;
    const percentile = (part: number): number => {
      let left = part * fsyncs;
      for (let b = 0; b < STAT_FSYNC_BUCKET_COUNT; b++) {
        left -= i32[(STAT_FSYNC_BUCKETS >> 2) + b]!;
        if (left <= 0) return fsyncs === 0 ? 0 : Math.min(2 ** (b / 3) / 1000, stat(STAT_FSYNC_MS_MAX));
      }
      return stat(STAT_FSYNC_MS_MAX);
    };
    return {
      lastLsn: x.log_last_lsn(),
      durableLsn: x.log_durable_lsn(),
      frames: stat(STAT_FRAMES),
      fsyncs,
      entries: stat(STAT_ENTRIES),
      payloadBytes: stat(STAT_PAYLOAD_BYTES),
      writtenBytes: stat(STAT_WRITTEN_BYTES),
      voidLsns: stat(STAT_VOID_LSNS),
      revokedWriters: stat(STAT_REVOKED),
      segmentsBegun: stat(STAT_SEGMENTS),
      segment: { number: stat(STAT_SEGMENT_NUMBER), offset: stat(STAT_SEGMENT_OFFSET) },
      fsyncMs: {
        mean: fsyncs === 0 ? 0 : stat(STAT_FSYNC_MS_TOTAL) / fsyncs,
        max: stat(STAT_FSYNC_MS_MAX),
        p50: percentile(0.5),
        p99: percentile(0.99),
      },
      stripes: { total: options.stripes, used },
      ringBytesUsed: x.merge_used(),
      state: STATES[x.log_state()]!,
    };
  }

  override close(): Promise<void> {
    return (this.shut ??= this.closeAll());
  }

  private async closeAll(): Promise<void> {
    const { core, worker } = this.parts;
    const { x, i32 } = core;
    const awake = new KeepAlive();
    awake.hold(true);
    try {
      if (x.log_state() === LOG_OPEN) await this.drained();
      this.command();
      for (let state = x.log_state(); state !== LOG_CLOSED && state !== LOG_POISONED; state = x.log_state()) {
        if (this.parts.drive !== undefined) this.parts.drive.pump();
        else await wordChange(i32, CTL_STATE >> 2, state);
      }
      this.settle();
      await worker?.terminate();
      if (x.log_state() === LOG_POISONED) throw this.refusal(0);
    } finally {
      awake.close();
      this.letGo();
    }
  }

  /** Asks the flusher to fence the writers, write what is left, seal, and stop. */
  private command(): void {
    Atomics.store(this.parts.core.i32, CTL_COMMAND >> 2, COMMAND_CLOSE);
    this.parts.core.x.doorbell_ring();
  }

  /** Everything in this thread that belongs to the log. */
  private letGo(): void {
    for (const off of this.unhook) off();
    localLogs.delete(this.parts.id);
    this.end();
    this.parts.guest?.close();
    this.parts.lock.release();
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
      else Atomics.wait(core.i32, CTL_STATE >> 2, state, left);
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
      const { core, options } = this.parts;
      for (let s = 0; s < options.stripes; s++) {
        if (Atomics.load(core.i32, (STRIPE_BLOCKS + s * STRIPE_BYTES + STRIPE_OWNER) >> 2) !== owner) continue;
        core.x.ring_revoke(s);
        core.x.ring_release(s, owner);
      }
      core.x.doorbell_ring_always();
    });
  };

  [PUMP](): boolean {
    return this.parts.drive?.pump() ?? false;
  }

  [ABANDON](): void {
    for (const writer of this.parts.drive?.writers ?? []) writer.end();
    this.letGo();
  }
}

/**
 * Attaches this thread to a log that another one has opened. Each call takes a stripe of its own.
 *
 * @param handle `log.handle`, passed by workerData or postMessage
 * @returns a writer for this thread
 * @throws As a rejection. CorewalError COREWAL_STALE_HANDLE if the log was closed, COREWAL_POISONED if it stopped after a
 *   failure, COREWAL_NO_STRIPE if all stripes have owners; TypeError COREWAL_INVALID_INPUT if it is no handle
 * @example
 * // In a worker: attachLog(workerData), if that is what `new Worker(file, { workerData: log.handle })` passed.
 * const writer = await attachLog(log.handle);
 * await writer.append("from a worker");
 * await writer.close();
 */
export async function attachLog(handle: LogHandle): Promise<Writer> {
  const { memory, module, id, options, corewal } = (handle ?? {}) as {
    memory?: SharedMemory;
    module?: CompiledModule;
    id?: string;
    options?: WriterOptions;
    corewal?: number;
  };
  if (
    corewal !== 1 ||
    !(memory?.buffer instanceof SharedArrayBuffer) ||
    module === undefined ||
    id === undefined ||
    options === undefined
  ) {
    throw mistake(
      "COREWAL_INVALID_INPUT",
      "attachLog takes the handle of an open log (log.handle), passed on by workerData or postMessage",
    );
  }
  const local = localLogs.get(id);
  const core = local?.core ?? bindCore(module, memory);
  let unhook = (): void => {};
  const writer = new StripeWriter(core, threadId + 1, options, local?.drive, () => unhook());
  // A worker that ends by itself gives its stripe back, also where nobody sees it end.
  unhook = threadEnd.add(() => writer.end());
  return writer;
}
