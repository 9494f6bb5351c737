// Point-in-time recovery: a new log that holds what another one held up to some place. The source is never changed.
//
//   1. Plan (restore-plan.ts): where each chain ends, and which checkpoint takes the place of what was dropped.
//   2. A file says that a restore is under way: with it, the directory is no log, whatever else stands there. fsync.
//   3. Segments and checkpoint are written as ….new (restore-write.ts), fsynced, renamed. fsync of the directory.
//   4. That file goes: the commit point.
//
// A crash before 4 leaves a directory that no open takes for a log; the same restore begins again there.

import { infoOf, warn } from "./checkpoints.js";
import { directoryPath, INDIFFERENT } from "./directory.js";
import { attempt, CorewalError, fromSystem, mistake, outOfRange } from "./errors.js";
import { realEnvironment, type Environment } from "./log.js";
import { checkNames, number, required } from "./options.js";
import { isLive, requireLog } from "./read-only.js";
import { planRestore, vector, type Plan, type RestorePlace, type Target } from "./restore-plan.js";
import { msOf, readSource, type Source } from "./restore-source.js";
import { writeRestored } from "./restore-write.js";
import { requireDurableNames, requireRuntime } from "./runtime.js";
import { isOurName, NEW_SUFFIX, RESTORING_NAME } from "./segment.js";
import { listIfThere, writeAll, type Storage } from "./storage.js";
import type { CheckpointInfo, Topology } from "./types.js";

export type { RestorePlace };

/**
 * Options of {@link restoreLog}: at most one of `toLsn`, `toTimeMs` and `toEpoch`; with none everything is restored.
 *
 * @example
 * const options: RestoreOptions = { out: "./restored", toLsn: 1, dryRun: true };
 * console.log(await restoreLog("./data", options));
 */
export interface RestoreOptions {
  /** Where the new log goes: a path or a file: URL of a directory that is missing or empty. */
  out: string | URL;
  /** The last LSN to keep; in a per-core log one for each core, and nothing of a core without one. */
  toLsn?: number | number[];
  /** Keep what was appended up to this time, Unix time in milliseconds: each chain up to its last entry that is not later. */
  toTimeMs?: number;
  /** Keep everything up to the end of this epoch, which must be complete. */
  toEpoch?: number;
  /** A directory with segment files of this log that were dropped from it, under their names: so far back it can be restored. */
  archive?: string | URL;
  /** Only says what the new log would contain; writes nothing. Default false. */
  dryRun?: boolean;
  /**
   * Called as it goes on.
   *
   * @param doneBytes how much was read
   * @param totalBytes how much there is to read
   */
  onProgress?: (doneBytes: number, totalBytes: number) => void;
}

/**
 * What a restored log contains, or, with `dryRun`, would contain.
 *
 * @example
 * const report: RestoreReport = await restoreLog("./data", { out: "./restored", dryRun: true });
 * console.log(`${report.entries} entries, ${report.bytes} bytes, of log ${report.sourceLogId}`);
 */
export interface RestoreReport {
  /** Nothing was written. */
  dryRun: boolean;
  /** Absolute path of the new log. */
  directory: string;
  /** Log id of the source, in hexadecimal; the new log has one of its own. */
  sourceLogId: string;
  /** Of both. */
  topology: Topology;
  /** User entries. */
  entries: number;
  /** Their keys and values. */
  bytes: number;
  /** The chains, ascending; one in a striped log. */
  cores: {
    /** The core that writes it; 0 in a striped log. */
    core: number;
    /** Its first LSN: more than 1 if what was before is gone, or in the checkpoint. */
    firstLsn: number;
    /** Its last LSN; 1 less than firstLsn if it is empty. */
    lastLsn: number;
  }[];
  /** Epoch of the last entries. */
  epoch: number;
  /** When the last entry was appended, Unix time in milliseconds; undefined if there is none. */
  lastTimeMs: number | undefined;
  /** The newest checkpoint that holds nothing behind the target; undefined if there is none. */
  checkpoint: CheckpointInfo | undefined;
  /** What could be restored. */
  window: {
    /** The earliest place. */
    first: RestorePlace;
    /** Where the log ends, or ended when it was looked at. */
    last: RestorePlace;
  };
}

/**
 * Makes a new log that holds what another one held up to a place: entries with their LSNs, epochs, times and holes, and the
 * newest checkpoint that fits. It is closed properly, has a log id of its own, and goes on where it ends when it is opened.
 * The source is not changed, and may be in use: then up to what its writer has promised. Needs as much space as is kept.
 *
 * An interrupted restore leaves a directory without a log; the same call begins again there.
 *
 * @param directory the log to restore from; a path or a file: URL
 * @param options where to, and up to where, see {@link RestoreOptions}
 * @returns what the new log contains
 * @throws As a rejection. CorewalError COREWAL_OUT_OF_WINDOW if the place cannot be reached: the message says what can;
 *   COREWAL_CORRUPT if something that is needed is damaged, COREWAL_UNKNOWN_VERSION, COREWAL_NOT_A_LOG, also if `out` holds
 *   other files, COREWAL_TOPOLOGY for a single LSN of a per-core log, COREWAL_LOCKED if `out` is being restored to,
 *   COREWAL_DISK_FULL, COREWAL_NO_PERMISSION, COREWAL_IO; RangeError COREWAL_INVALID_INPUT if `out` is not empty; TypeError
 *   or RangeError COREWAL_INVALID_OPTION
 * @example
 * const before = Date.now() - 3600 * 1000;
 * const { entries, window } = await restoreLog("./data", { out: "./restored", dryRun: true });
 * if (before >= (window.first.timeMs ?? Infinity)) await restoreLog("./data", { out: "./restored", toTimeMs: before });
 */
export function restoreLog(directory: string | URL, options: RestoreOptions): Promise<RestoreReport> {
  return restoreLogOn(directory, options, realEnvironment);
}

/** Of a log that changes while it is read. */
const TRIES_MAX = 10;

const NAMES = new Set<string>([
  "out",
  "toLsn",
  "toTimeMs",
  "toEpoch",
  "archive",
  "dryRun",
  "onProgress",
] satisfies (keyof RestoreOptions)[]);

type RestoreEnvironment = Pick<Environment, "storage" | "lock" | "now" | "randomBytes" | "live">;

/** @internal */
export async function restoreLogOn(
  directory: string | URL,
  options: RestoreOptions,
  environment: RestoreEnvironment,
): Promise<RestoreReport> {
  checkNames(options, NAMES);
  const dryRun = options.dryRun === undefined ? false : required<boolean>("dryRun", options.dryRun, [true, false]);
  const path = directoryPath(directory);
  const out = directoryPath(options.out);
  const archive = options.archive === undefined ? undefined : directoryPath(options.archive);
  const { storage } = environment;
  requireRuntime();
  if (!dryRun) requireDurableNames();
  requireLog(storage, path);
  const state = requireEmpty(storage, out);
  const mayBeLive = (): boolean => environment.live ?? isLive(storage, path);
  const look = (): Plan => {
    const source = readSource(storage, path, archive, mayBeLive);
    return planRestore(source, targetOf(options, source), warn);
  };
  let plan: Plan | undefined = await again(storage, path, mayBeLive, look);
  if (dryRun) return reportOf(plan, out, dryRun);
  if (state === "missing") attempt("making the directory", out, () => storage.makeDirectory(out));
  const lock = environment.lock(out);
  try {
    // Somebody may have been faster.
    requireEmpty(storage, out);
    return await again(storage, path, mayBeLive, async () => {
      const planned = plan ?? look();
      plan = undefined;
      await write(planned, out, environment, options.onProgress);
      return reportOf(planned, out, dryRun);
    });
  } finally {
    lock.release();
  }
}

/** Who writes the log may drop what is being read, or cut it off: then it is looked at once more. */
async function again<T>(storage: Storage, directory: string, mayBeLive: () => boolean, run: () => T | Promise<T>): Promise<T> {
  const now = (): string => attempt("restoring the log", directory, () => namesOf(storage, directory));
  for (let tries = 1; ; tries++) {
    const before = now();
    try {
      return await run();
    } catch (error) {
      if (tries > TRIES_MAX || !mayBeLive() || now() === before) throw fromSystem(error, "restoring the log", directory);
    }
  }
}

/** Segments and checkpoints. */
function namesOf(storage: Storage, directory: string): string {
  const names = storage.list(directory).filter((name) => /\.(wal|ckp)$/.test(name));
  return names.sort().join(" ");
}

function targetOf({ toLsn, toTimeMs, toEpoch }: RestoreOptions, { topology }: Source): Target {
  const given = Object.entries({ toLsn, toTimeMs, toEpoch }).filter(([, value]) => value !== undefined);
  if (given.length > 1)
    throw mistake(
      "COREWAL_INVALID_OPTION",
      `options ${given.map(([name]) => name).join(" and ")} exclude each other: a restore has one target`,
    );
  if (toEpoch !== undefined) return { epoch: number("toEpoch", toEpoch, 0, 0, Number.MAX_SAFE_INTEGER) };
  if (toTimeMs !== undefined) return { timeMs: number("toTimeMs", toTimeMs, 0, 0, Number.MAX_SAFE_INTEGER, "any") };
  if (toLsn === undefined) return undefined;
  if (topology === "per-core" && typeof toLsn === "number")
    throw new CorewalError(
      "COREWAL_TOPOLOGY",
      `option toLsn is ${toLsn}, but in a per-core log an LSN is one core's: give an array, element i for core i`,
    );
  if (topology === "striped" && Array.isArray(toLsn))
    throw new CorewalError("COREWAL_TOPOLOGY", "option toLsn is an array, but a striped log has one chain: give one LSN");
  const lsns = Array.isArray(toLsn) ? Array.from(toLsn) : [toLsn];
  return { lsns: lsns.map((lsn, core) => number(lsns === toLsn ? `toLsn[${core}]` : "toLsn", lsn, 0, 0, Number.MAX_SAFE_INTEGER)) };
}

function reportOf({ source, chains, checkpoint, epoch, window }: Plan, out: string, dryRun: boolean): RestoreReport {
  const timeNs = chains.reduce((newest, chain) => (chain.timeNs > newest ? chain.timeNs : newest), 0n);
  const ends = vector(source.chains, ({ chain }) => chains.find(({ from }) => from.chain === chain)!.lastLsn);
  return {
    dryRun,
    directory: out,
    sourceLogId: Buffer.from(source.logId).toString("hex"),
    topology: source.topology,
    entries: chains.reduce((sum, { entries }) => sum + entries, 0),
    bytes: chains.reduce((sum, { bytes }) => sum + bytes, 0),
    cores: chains.map(({ from }) => ({ core: from.chain, firstLsn: from.firstLsn, lastLsn: ends[from.chain]! })),
    epoch,
    lastTimeMs: timeNs === 0n ? undefined : msOf(timeNs),
    checkpoint: checkpoint === undefined ? undefined : infoOf(checkpoint, out),
    window,
  };
}

// --- the new directory ------------------------------------------------------------------------------

/** Bytes that are read before others have their turn. */
const TURN_BYTES = 1024 * 1024;

async function write(
  plan: Plan,
  out: string,
  { storage, now, randomBytes }: RestoreEnvironment,
  onProgress: RestoreOptions["onProgress"],
): Promise<void> {
  const total = plan.chains.reduce((sum, { readBytes }) => sum + readBytes, plan.checkpoint?.bytes ?? 0);
  let done = 0;
  let told = 0;
  const progress = async (bytes: number): Promise<void> => {
    done += bytes;
    if (done - told < TURN_BYTES) return;
    told = done;
    onProgress?.(done, total);
    await new Promise(setImmediate);
  };
  try {
    clear(storage, out);
    begin(storage, out);
    const { commit } = await writeRestored(plan, { storage, out, chance: { now, randomBytes }, progress });
    commit();
  } catch (error) {
    try {
      clear(storage, out);
      end(storage, out);
    } catch {
      // The disk is as it is: the first cause counts, and the next restore begins with clearing up.
    }
    throw fromSystem(error, "restoring the log to", out);
  }
  attempt("restoring the log to", out, () => end(storage, out));
  onProgress?.(total, total);
}

function begin(storage: Storage, out: string): void {
  const file = storage.create(`${out}/${RESTORING_NAME}`);
  try {
    writeAll(file, Buffer.from("A restore is under way, or was interrupted: run it again, or remove this directory.\n"), 0);
    file.sync();
  } finally {
    file.close();
  }
  storage.syncDirectory(out);
}

/** Names first, then the word that they do not count. */
function end(storage: Storage, out: string): void {
  if (!storage.list(out).includes(RESTORING_NAME)) return;
  storage.syncDirectory(out);
  storage.remove(`${out}/${RESTORING_NAME}`);
  storage.syncDirectory(out);
}

/** What an interrupted restore has left. */
function clear(storage: Storage, out: string): void {
  const names = storage.list(out);
  const restoring = names.includes(RESTORING_NAME);
  for (const name of names)
    if (isOurName(name) && (name.endsWith(NEW_SUFFIX) || (restoring && /\.(wal|ckp)$/.test(name)))) storage.remove(`${out}/${name}`);
}

/** Missing, or with nothing in it but what corewal may write over. Throws COREWAL_INVALID_INPUT, COREWAL_NOT_A_LOG. */
function requireEmpty(storage: Storage, out: string): "missing" | "empty" {
  const names = attempt("looking for room for the restored log", out, () => listIfThere(storage, out));
  if (names === undefined) return "missing";
  const restoring = names.includes(RESTORING_NAME);
  const foreign = names.filter((name) => !isOurName(name) && !INDIFFERENT.test(name));
  if (foreign.length > 0)
    throw new CorewalError("COREWAL_NOT_A_LOG", `${out} holds other files (${foreign[0]}): name a directory that is missing or empty`, {
      file: out,
    });
  if (!restoring && names.some((name) => /\.(wal|ckp)$|\.removed-/.test(name)))
    throw outOfRange("COREWAL_INVALID_INPUT", `${out} holds a log already: name a directory that is missing or empty`);
  return "empty";
}
