// Opening a log and attaching to one: lock, recovery, shared memory, flushers. No logic of its own beyond the order in
// which they come.

import { randomBytes } from "node:crypto";
import { threadId, type Worker } from "node:worker_threads";
import { STAT_SEGMENT_NUMBER, STAT_SEGMENT_OFFSET } from "../assembly/layout.js";
import { requireOwnArchive } from "./archive.js";
import { bankAddress, clearControl, initLog, logGeometry, type Geometry } from "./banks.js";
import { clockStart, threadClock, type ClockStart } from "./clock.js";
import { bindCore, coreModule, entrySeed, makeMemory, type CompiledModule, type Core, type SharedMemory } from "./core.js";
import { Crew } from "./crew.js";
import { directoryPath, surveyDirectory } from "./directory.js";
import { InlineDrive, startWorker } from "./drive.js";
import { removeLeftovers } from "./drop.js";
import { attempt, codeOf, CorewalError, fromSystem, mistake } from "./errors.js";
import { randomSalt, toNs, type Chance } from "./chance.js";
import { Flusher, type FlusherStart } from "./flusher.js";
import { Guest } from "./guest.js";
import { takeLock } from "./lock.js";
import { ABANDON, localLogs, OpenLog } from "./open-log.js";
import { frameBytesMax, requireMemory, resolveOptions, writerOptions, type LogOptions, type ResolvedOptions } from "./options.js";
import { threadEnd } from "./process-hooks.js";
import type { Clock } from "./producer.js";
import { openReadOnly, PUMP, type ReadOnlyEnvironment } from "./read-only.js";
import { rebuild, type RepairReport } from "./rebuild.js";
import { chainOf, identitiesAfter, recoverLog, reportOf, requireTopology, type Decision, type RecoveredLog } from "./recover.js";
import { requireDurableNames, requireRuntime, warnOfWeakness } from "./runtime.js";
import { removeUnfinished } from "./spares.js";
import { nodeStorage } from "./storage/node.js";
import type { Log, LogHandle, Topology, Writer, WriterOptions } from "./types.js";
import { StripeWriter } from "./writer.js";

/** Of a per-core log: while one waits for the disk the other one merges. */
const FLUSHER_THREADS = 2;

export { ABANDON, PUMP };

/** Everything outside the log that a test may put in place of the real thing. */
export interface Environment extends Chance, ReadOnlyEnvironment {
  lock: (directory: string) => { release(): void };
  /** An instance and a memory to use again, with tables; made new by default, which costs more than a recovery. */
  core?: Core;
  /** Nanoseconds since the log was opened; by default what the runtime's clock says. */
  clock?: () => Clock;
  /** Another build of the module, and its hook. */
  module?: CompiledModule;
  point?: (step: number) => void;
  /** The inline flusher is pumped by the caller only, and so is a follower … */
  manual?: boolean;
  /** … and the opener is its guest, as it is a worker's, so that the simulator sees that way of flushing, too. */
  guest?: boolean;
}

/** @internal */
export const realEnvironment: Environment = {
  storage: nodeStorage,
  lock: takeLock,
  now: () => performance.timeOrigin + performance.now(),
  randomBytes,
};

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
  if (typeof resolved.archive === "object" && resolved.archive.directory === path)
    throw mistake("COREWAL_INVALID_OPTION", `option archive.directory is the log's own: name another one`);
  requireRuntime();
  if (resolved.readOnly) return openReadOnly(path, environment, resolved.topology);
  requireDurableNames();
  warnOfWeakness();
  const { storage } = environment;
  if (surveyDirectory(storage, path) === "missing") {
    if (!resolved.createIfMissing)
      throw new CorewalError("COREWAL_NOT_A_LOG", `there is no directory ${path}, and createIfMissing is false`, { file: path });
    attempt("making the directory", path, () => storage.makeDirectory(path));
  }
  const lock = environment.lock(path);
  try {
    return await openLocked(path, resolved, environment, lock);
  } catch (error) {
    lock.release();
    throw fromSystem(error, "opening the log", path);
  }
}

async function openLocked(directory: string, options: ResolvedOptions, environment: Environment, lock: { release(): void }): Promise<Log> {
  const since = performance.now();
  const { storage } = environment;
  const nowNs = toNs(environment.now());
  const { archive, frameAlign, segmentBytes, spareSegments, stripes } = options;
  let topology!: Topology;
  let geometry!: Geometry;
  let identify!: Decision["identity"];
  const frameBytes = frameBytesMax(options) + frameAlign;
  // Decided once, before recovery changes anything: what it copies forward already belongs to this term.
  const decide = (found: RecoveredLog): Decision => {
    topology = topologyOf(directory, options, found);
    geometry =
      topology === "striped" ? logGeometry(stripes, options.ringBytes, frameBytes) : logGeometry(1, options.ringBytes, frameBytes, stripes);
    requireMemory(options, geometry.totalBytes);
    const logId = found.logId ?? environment.randomBytes(16);
    identify = identitiesAfter(found, { directory, logId, topology, frameAlign, segmentBytes, spares: spareSegments > 0 });
    if (archive !== undefined && typeof archive !== "function") requireOwnArchive(storage, archive.directory, found.logId);
    removeUnfinished(storage, directory, spareSegments);
    return { identity: identify, salt: () => randomSalt(environment), nowNs };
  };
  const recover = (): RecoveredLog => recoverLog(storage, directory, "write", decide);
  let repaired: RepairReport | undefined;
  let found: RecoveredLog;
  try {
    found = recover();
  } catch (error) {
    if (codeOf(error) !== "COREWAL_CORRUPT" || options.onCorruption === "fail") throw error;
    repaired = rebuild(storage, directory, options.onCorruption, false, environment);
    found = recover();
  }

  for (const chain of found.chains) removeLeftovers(storage, directory, chain);

  const { frame, banks, totalBytes } = geometry;
  const core = environment.core ?? bindCore(environment.module ?? coreModule(), makeMemory(totalBytes), environment.point);
  if (environment.core === undefined) core.x.crc32c_init();
  else clearControl(core, geometry);
  const identity = identify(0);
  const mayOverlap = topology === "per-core" && options.flusher === "worker";
  const pumps = Math.min(options.flusherThreads ?? (mayOverlap ? FLUSHER_THREADS : 1), banks);
  initLog(core, geometry, {
    ringBytes: options.ringBytes,
    entrySeed: entrySeed(core, identity.logId, identity.term),
    nextLsn: (bank) => chainOf(found, bank).lastLsn + 1,
    timed: topology === "per-core",
    anchorNs: nowNs > found.timeNs ? nowNs : found.timeNs + 1n,
    pumps,
    epoch: identity.epoch,
    complete: identity.marks.complete,
    chains: identity.marks.chains,
  });
  const starts = Array.from({ length: banks }, (_, bank): FlusherStart => {
    const { segments, copied, timeNs } = chainOf(found, bank);
    const { maxDelayMs, maxBytes, flushIntervalMs, writerStallMs } = options;
    return {
      identity: identify(bank),
      tail: segments.at(-1),
      tailIsOurs: copied !== undefined,
      timeNs,
      frame,
      frameBytes,
      options: { maxDelayMs, maxBytes, flushIntervalMs, writerStallMs },
    };
  });
  const { tail } = starts[0]!;
  core.f64[STAT_SEGMENT_NUMBER >> 3] = tail?.header.number ?? 0;
  core.f64[STAT_SEGMENT_OFFSET >> 3] = tail?.endOffset ?? 0;

  const report = reportOf(found, identity, performance.now() - since, repaired);
  const id = Buffer.from(environment.randomBytes(8)).toString("hex");
  const opened = clockStart();
  const clock = environment.clock?.() ?? threadClock(opened);
  let drive: InlineDrive | undefined;
  let workers: Worker[] = [];
  if (options.flusher === "inline") {
    const flusher = (bank: number): Flusher => new Flusher(core.at(bankAddress(core, bank)), storage, starts[bank]!, environment);
    drive = new InlineDrive(new Crew(core, 0, flusher), environment.manual === true, environment.guest === true);
    localLogs.set(id, { drive, core, clock });
  } else {
    workers = await Promise.all(Array.from({ length: pumps }, (_, pump) => startWorker(core, pump, starts)));
  }
  const guest = drive !== undefined && environment.guest !== true ? undefined : new Guest(core, storage, starts[0]!, environment);
  const log = new OpenLog({
    core,
    topology,
    options,
    writerOptions: writerOptions(options, topology),
    id,
    drive,
    workers,
    storage,
    directory,
    found,
    identity: identify,
    chance: environment,
    report,
    lock,
    reopen: () => openLocked(directory, options, environment, lock),
    guest,
    opened,
    clock,
  });
  if (environment.manual !== true) log.upkeep.start();
  return log;
}

/** The log's own, or what it is made with. */
function topologyOf(directory: string, options: ResolvedOptions, found: RecoveredLog): Topology {
  requireTopology(found, options.topology, directory);
  const asked = options.topology ?? found.topology ?? "striped";
  if (asked === "striped" && (options.flusherThreads ?? 1) > 1)
    throw mistake("COREWAL_INVALID_OPTION", `option flusherThreads is ${options.flusherThreads}: a striped log has one flusher`);
  return asked;
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
  const { memory, module, id, options, opened, corewal } = (handle ?? {}) as {
    memory?: SharedMemory;
    module?: CompiledModule;
    id?: string;
    options?: WriterOptions;
    opened?: ClockStart;
    corewal?: number;
  };
  if (
    corewal !== 1 ||
    !(memory?.buffer instanceof SharedArrayBuffer) ||
    module === undefined ||
    id === undefined ||
    options === undefined ||
    opened === undefined
  ) {
    throw mistake(
      "COREWAL_INVALID_INPUT",
      "attachLog takes the handle of an open log (log.handle), passed on by workerData or postMessage",
    );
  }
  const local = localLogs.get(id);
  const core = local?.core ?? bindCore(module, memory);
  let unhook = (): void => {};
  const writer = new StripeWriter(core, threadId + 1, options, local?.drive, () => unhook(), local?.clock ?? threadClock(opened));
  // A worker that ends by itself gives its stripe back, also where nobody sees it end.
  unhook = threadEnd.add(() => writer.end());
  return writer;
}
