// All options, in one place: default, unit, limits. Validated once, at open; the error names option and value.

import { STRIPES_MAX, TIME_BYTES } from "../assembly/layout.js";
import type { Archive } from "./archive.js";
import { directoryPath } from "./directory.js";
import { mistake, outOfRange } from "./errors.js";
import { TOPOLOGIES } from "./segment.js";
import type { ArchiveDirectory, ArchiveFunction, CheckpointState, Durability, Topology, WriterOptions } from "./types.js";

/**
 * Options of {@link openLog}. Each is checked once, at open; a wrong or unknown one is refused with COREWAL_INVALID_OPTION.
 *
 * @example
 * const options: LogOptions = { durability: "group", maxDelayMs: 2, segmentBytes: 256 * 1024 * 1024 };
 * const log = await openLog("./data", options);
 * await log.close();
 */
export interface LogOptions {
  /**
   * How threads, flushers and files relate, see {@link Topology}; decided when a log is made. Default: the log's own,
   * `striped` for a new one. Another one than the log's is refused with COREWAL_TOPOLOGY.
   */
  topology?: Topology;
  /** When an append counts as done. Default `group`. */
  durability?: Durability;
  /** Where the flusher runs: in a worker of its own, or in the opener's thread, where its I/O blocks. Default `worker`. */
  flusher?: "worker" | "inline";
  /**
   * Per-core only: workers that flush, each for every so-manieth core. More than one let the disk work for several chains
   * at once. Default 2; 1 to 16, and 1 with `flusher: "inline"`.
   */
  flusherThreads?: number;
  /** `group` only: let a frame wait this long for company, milliseconds. Default 0, up to 10,000. */
  maxDelayMs?: number;
  /** `group` only: with this many bytes in the rings it waits no longer. Default 1 MiB; 1 to 1 GiB. */
  maxBytes?: number;
  /** `async` entries and `write()` reach the disk at least this often, milliseconds. Default 100, 1 to 60,000. */
  flushIntervalMs?: number;
  /** Size at which the next segment file is begun, bytes. Default 64 MiB, or twice ringBytes if that is more; 16 KiB to 1 GiB, at least twice ringBytes. */
  segmentBytes?: number;
  /** Ring of one writer, bytes, a power of two. Default 4 MiB; 4 KiB to 256 MiB. */
  ringBytes?: number;
  /**
   * How many writers there can be at once, the opener included; in a per-core log the number of cores, which may be
   * another one at each open. Default 64; 1 to 256, times ringBytes at most 1,984 MiB; in a per-core log each takes as
   * much again for its frames, and 64 KiB.
   */
  stripes?: number;
  /**
   * Largest entry, key and value, bytes. Default 1 MiB, or ringBytes / 2 - 54 if that is less; 1 to ringBytes / 2 - 54. In
   * a per-core log at most ringBytes / 2 - 62.
   */
  maxEntryBytes?: number;
  /** Largest batch, bytes, with 16 and padding to 8 for each entry, in a per-core log 24. Default ringBytes / 2 - 54; 1 to ringBytes / 2 - 54. */
  maxBatchBytes?: number;
  /** A full ring: wait for space, or fail at once. Default `wait`. */
  onFull?: "wait" | "fail";
  /** How long to wait for space, milliseconds. Default 30,000; 1 to 3,600,000. */
  fullTimeoutMs?: number;
  /** Appends that wait for space are kept here, each writer its own, bytes. Default 4 MiB; 0 to 1 GiB. */
  queueBytes?: number;
  /** A writer that holds the others up for longer is taken for dead, milliseconds. Default 1,000; 1 to 60,000. */
  writerStallMs?: number;
  /** How long the exit of the process may wait for the last flush, milliseconds. Default 5,000; 0 to 600,000. */
  exitTimeoutMs?: number;
  /** Reads only: changes nothing, needs no lock, shows what is durable at open. The log must exist. Default false. */
  readOnly?: boolean;
  /**
   * What to do if opening finds damage: `fail` with COREWAL_CORRUPT and change nothing, or repair the log first, as
   * `repairLog` does with this policy; `recovery.repaired` says what is lost. Default `fail`; with `readOnly` nothing else.
   */
  onCorruption?: "fail" | "truncate" | "skip";
  /** Makes the directory if there is none; false: COREWAL_NOT_A_LOG. Default true. */
  createIfMissing?: boolean;
  /** How many checkpoints are kept, and when they are made without being asked for. Default: 2, and never. */
  checkpoints?: CheckpointOptions;
  /** When old segments are dropped without being asked for. Default: never. */
  retention?: RetentionOptions;
  /**
   * Where each segment goes once the next one was begun, before it may be dropped: it is copied into a directory, under its
   * name, or given to a function, which has archived it when it resolves. At least once, and in the order of each chain. What
   * fails is tried again, and the log grows until it succeeds; {@link LogStats.upkeep} tells. Default: none.
   */
  archive?: ArchiveDirectory | ArchiveFunction;
  /**
   * So many segment files that were dropped are kept, filled with zeros, and the next segments are written into them: that
   * costs an append less than a new file. Each takes segmentBytes on the disk. Default 2; 0 to 64, 0 removes all.
   */
  spareSegments?: number;
  /**
   * Frames begin at multiples of this many bytes, a power of two. The disk's sector size (4096) guards against neighbours
   * damaged by an interrupted overwrite. Default 64; 64 to 65,536, at most segmentBytes / 16.
   */
  frameAlign?: number;
}

/**
 * Checkpoints: how many, and when. Those made by themselves need `state`, and one of `everyMs`, `everyBytes`, `everyEntries`:
 * whichever comes first. One is made only if something was appended since the last. If one fails, the log goes on:
 * {@link LogStats.upkeep} tells, and the next is tried when it is due.
 *
 * @example
 * const checkpoints: CheckpointOptions = { keep: 2, everyEntries: 100_000, state: ({ write }) => write("state") };
 * const log = await openLog("./data", { checkpoints });
 * await log.close();
 */
export interface CheckpointOptions {
  /** So many of them stay: if the newest is damaged, the one before counts. Default 2; 1 to 100. */
  keep?: number;
  /** Writes the state, see {@link Log.checkpoint}. Default: none, so that none is made by itself. */
  state?: CheckpointState;
  /** Milliseconds since the last one, or since the log was opened. Default: no limit; 1 to 2^31 - 1. */
  everyMs?: number;
  /** Payload bytes appended since then. Default: no limit; from 1 on. */
  everyBytes?: number;
  /** Entries appended since then. Default: no limit; from 1 on. */
  everyEntries?: number;
}

/**
 * What may be dropped from the beginning of a log, whole segments at a time. Never what a checkpoint that is kept needs to
 * be replayed, or what somebody is reading; and nothing as long as there is no checkpoint, unless that is allowed.
 *
 * @example
 * const retention: RetentionOptions = { bytes: 1024 ** 3, ageMs: 7 * 24 * 3600 * 1000 };
 * const log = await openLog("./data", { retention });
 * await log.close();
 */
export interface RetentionOptions {
  /** Segments go, the oldest first, until the log has no more than this. Default: no limit; 0 keeps only what is needed. */
  bytes?: number;
  /** Segments go whose entries are all older than this, milliseconds. Default: no limit. */
  ageMs?: number;
  /** Also while there is no checkpoint: what goes is gone. Default false. */
  withoutCheckpoint?: boolean;
}

/** A topology that was not asked for is the log's own. */
export type ResolvedOptions = Required<Omit<LogOptions, "topology" | "flusherThreads" | "checkpoints" | "retention" | "archive">> & {
  /** What fits the topology if it is not said. */
  flusherThreads: number | undefined;
  topology: Topology | undefined;
  checkpoints: Required<Omit<CheckpointOptions, "state">> & { state: CheckpointState | undefined };
  retention: Required<RetentionOptions> | undefined;
  archive: Archive | undefined;
};

const FLUSHER_THREADS_MAX = 16;
const KiB = 1024;
const MiB = 1024 * KiB;
/** Memory addresses stay below 2^31. */
const MEMORY_BYTES_MAX = 2 ** 31 - 64 * MiB;

/** Header of a group and of an entry, and their padding: what an entry takes beyond its bytes. */
export const ENTRY_OVERHEAD_BYTES = 16 + 16 + 7 + 15;

function choice<T>(name: string, value: unknown, fallback: T, allowed: readonly T[]): T {
  return value === undefined ? fallback : required(name, value, allowed);
}

export function required<T>(name: string, value: unknown, allowed: readonly T[]): T {
  if (!allowed.includes(value as T)) {
    throw mistake(
      "COREWAL_INVALID_OPTION",
      `option ${name} is ${show(value)}: it must be one of ${allowed.map((a) => JSON.stringify(a)).join(", ")}`,
    );
  }
  return value as T;
}

export function number(
  name: string,
  value: unknown,
  fallback: number,
  min: number,
  max: number,
  form: "whole" | "power of two" | "any" = "whole",
): number {
  if (value === undefined) return fallback;
  if (typeof value !== "number" || Number.isNaN(value))
    throw mistake("COREWAL_INVALID_OPTION", `option ${name} is ${show(value)}: it must be a number`);
  if (form !== "any" && !Number.isInteger(value))
    throw outOfRange("COREWAL_INVALID_OPTION", `option ${name} is ${show(value)}: it must be a whole number`);
  if (value < min || value > max)
    throw outOfRange("COREWAL_INVALID_OPTION", `option ${name} is ${value}: it must be from ${min} to ${max}`);
  if (form === "power of two" && !isPowerOfTwo(value))
    throw outOfRange("COREWAL_INVALID_OPTION", `option ${name} is ${value}: it must be a power of two`);
  return value;
}

const isPowerOfTwo = (n: number): boolean => n > 0 && Math.log2(n) % 1 === 0;

function show(value: unknown): string {
  try {
    return typeof value === "bigint" ? `${value}n` : (JSON.stringify(value) ?? String(value));
  } catch {
    return String(value);
  }
}

const NAMES = new Set<string>([
  "topology",
  "durability",
  "flusher",
  "flusherThreads",
  "maxDelayMs",
  "maxBytes",
  "flushIntervalMs",
  "segmentBytes",
  "ringBytes",
  "stripes",
  "maxEntryBytes",
  "maxBatchBytes",
  "onFull",
  "fullTimeoutMs",
  "queueBytes",
  "writerStallMs",
  "exitTimeoutMs",
  "readOnly",
  "createIfMissing",
  "onCorruption",
  "checkpoints",
  "retention",
  "archive",
  "spareSegments",
  "frameAlign",
] satisfies (keyof LogOptions)[]);

/** Options are an object, and each of them exists. */
export function checkNames(options: object, names: Set<string>, prefix = ""): void {
  if (typeof options !== "object" || options === null)
    throw mistake(
      "COREWAL_INVALID_OPTION",
      `${prefix === "" ? "options are" : `option ${prefix.slice(0, -1)} is`} ${show(options)}: they must be an object`,
    );
  for (const name of Object.keys(options)) {
    if (!names.has(name))
      throw mistake("COREWAL_INVALID_OPTION", `option ${prefix}${name} does not exist; there are ${[...names].join(", ")}`);
  }
}

/** How many rings there are and how large each is. */
export function resolveRings(o: Pick<LogOptions, "stripes" | "ringBytes">): { stripes: number; ringBytes: number } {
  const ringBytes = number("ringBytes", o.ringBytes, 4 * MiB, 4 * KiB, 256 * MiB, "power of two");
  const stripes = number("stripes", o.stripes, 64, 1, STRIPES_MAX);
  if (stripes * ringBytes > MEMORY_BYTES_MAX) {
    throw outOfRange(
      "COREWAL_INVALID_OPTION",
      `options stripes (${stripes}) and ringBytes (${ringBytes}) need ${stripes * ringBytes} bytes of memory: at most ${MEMORY_BYTES_MAX} are possible`,
    );
  }
  return { stripes, ringBytes };
}

/** Fills in the defaults and checks everything, also how the options fit together. */
export function resolveOptions(options: LogOptions = {}): ResolvedOptions {
  checkNames(options, NAMES);
  const o = options;
  const { ringBytes, stripes } = resolveRings(o);
  const segmentBytes = number("segmentBytes", o.segmentBytes, Math.max(64 * MiB, 2 * ringBytes), 16 * KiB, 1024 * MiB);
  const half = ringBytes / 2;
  const resolved: ResolvedOptions = {
    topology: choice("topology", o.topology, undefined, TOPOLOGIES),
    durability: choice("durability", o.durability, "group", ["sync", "group", "async"]),
    flusher: choice("flusher", o.flusher, "worker", ["worker", "inline"]),
    flusherThreads: o.flusherThreads === undefined ? undefined : number("flusherThreads", o.flusherThreads, 1, 1, FLUSHER_THREADS_MAX),
    maxDelayMs: number("maxDelayMs", o.maxDelayMs, 0, 0, 10_000, "any"),
    maxBytes: number("maxBytes", o.maxBytes, MiB, 1, 1024 * MiB),
    flushIntervalMs: number("flushIntervalMs", o.flushIntervalMs, 100, 1, 60_000, "any"),
    segmentBytes,
    ringBytes,
    stripes,
    maxEntryBytes: number("maxEntryBytes", o.maxEntryBytes, Math.min(MiB, half - ENTRY_OVERHEAD_BYTES), 1, half - ENTRY_OVERHEAD_BYTES),
    maxBatchBytes: number("maxBatchBytes", o.maxBatchBytes, half - ENTRY_OVERHEAD_BYTES, 1, half - ENTRY_OVERHEAD_BYTES),
    onFull: choice("onFull", o.onFull, "wait", ["wait", "fail"]),
    fullTimeoutMs: number("fullTimeoutMs", o.fullTimeoutMs, 30_000, 1, 3_600_000, "any"),
    queueBytes: number("queueBytes", o.queueBytes, 4 * MiB, 0, 1024 * MiB),
    writerStallMs: number("writerStallMs", o.writerStallMs, 1000, 1, 60_000, "any"),
    exitTimeoutMs: number("exitTimeoutMs", o.exitTimeoutMs, 5000, 0, 600_000, "any"),
    readOnly: choice("readOnly", o.readOnly, false, [true, false]),
    onCorruption: choice("onCorruption", o.onCorruption, "fail", ["fail", "truncate", "skip"]),
    createIfMissing: choice("createIfMissing", o.createIfMissing, true, [true, false]),
    checkpoints: resolveCheckpoints(o.checkpoints),
    retention: resolveRetention(o.retention),
    archive: resolveArchive(o.archive),
    spareSegments: number("spareSegments", o.spareSegments, 2, 0, 64),
    frameAlign: number("frameAlign", o.frameAlign, 64, 64, 65_536, "power of two"),
  };
  if (resolved.readOnly && resolved.onCorruption !== "fail")
    throw mistake(
      "COREWAL_INVALID_OPTION",
      `option onCorruption is ${show(resolved.onCorruption)}, and readOnly changes nothing: open without readOnly`,
    );
  if (resolved.flusher === "inline" && (resolved.flusherThreads ?? 1) > 1)
    throw mistake(
      "COREWAL_INVALID_OPTION",
      `option flusherThreads is ${resolved.flusherThreads}: an inline flusher has one thread, the opener's`,
    );
  if (ringBytes > segmentBytes / 2) {
    throw outOfRange(
      "COREWAL_INVALID_OPTION",
      `option ringBytes is ${ringBytes}: it must be at most half of segmentBytes (${segmentBytes})`,
    );
  }
  if (resolved.frameAlign > segmentBytes / 16) {
    throw outOfRange(
      "COREWAL_INVALID_OPTION",
      `option frameAlign is ${resolved.frameAlign}: it must be at most a sixteenth of segmentBytes (${segmentBytes})`,
    );
  }
  return resolved;
}

const CHECKPOINT_NAMES = new Set(["keep", "state", "everyMs", "everyBytes", "everyEntries"]);
const ARCHIVE_NAMES = new Set(["directory"]);
const RETENTION_NAMES = new Set(["bytes", "ageMs", "withoutCheckpoint"]);

function resolveCheckpoints(o: CheckpointOptions = {}): ResolvedOptions["checkpoints"] {
  checkNames(o, CHECKPOINT_NAMES, "checkpoints.");
  const { state } = o;
  if (state !== undefined && typeof state !== "function")
    throw mistake("COREWAL_INVALID_OPTION", `option checkpoints.state is ${show(state)}: it must be a function that writes the state`);
  const resolved = {
    keep: number("checkpoints.keep", o.keep, 2, 1, 100),
    state,
    everyMs: number("checkpoints.everyMs", o.everyMs, Infinity, 1, 2 ** 31 - 1, "any"),
    everyBytes: number("checkpoints.everyBytes", o.everyBytes, Infinity, 1, Number.MAX_SAFE_INTEGER),
    everyEntries: number("checkpoints.everyEntries", o.everyEntries, Infinity, 1, Number.MAX_SAFE_INTEGER),
  };
  const never = Math.min(resolved.everyMs, resolved.everyBytes, resolved.everyEntries) === Infinity;
  if ((state === undefined) !== never)
    throw mistake(
      "COREWAL_INVALID_OPTION",
      state === undefined
        ? "option checkpoints says when one is made by itself, but not what: give checkpoints.state"
        : "option checkpoints.state is given, but not when: give checkpoints.everyMs, everyBytes or everyEntries",
    );
  return resolved;
}

function resolveRetention(o: RetentionOptions | undefined): ResolvedOptions["retention"] {
  if (o === undefined) return undefined;
  checkNames(o, RETENTION_NAMES, "retention.");
  if (o.bytes === undefined && o.ageMs === undefined)
    throw mistake("COREWAL_INVALID_OPTION", "option retention says neither bytes nor ageMs: give one of them, or leave it out");
  return {
    bytes: number("retention.bytes", o.bytes, Infinity, 0, Number.MAX_SAFE_INTEGER),
    ageMs: number("retention.ageMs", o.ageMs, Infinity, 0, Number.MAX_SAFE_INTEGER, "any"),
    withoutCheckpoint: choice("retention.withoutCheckpoint", o.withoutCheckpoint, false, [true, false]),
  };
}

function resolveArchive(o: LogOptions["archive"]): Archive | undefined {
  if (o === undefined || typeof o === "function") return o;
  checkNames(o, ARCHIVE_NAMES, "archive.");
  return { directory: directoryPath(o.directory, "option archive.directory") };
}

/** Throws if a log would need more memory than can be addressed. */
export function requireMemory({ stripes, ringBytes }: ResolvedOptions, bytes: number): void {
  if (bytes > MEMORY_BYTES_MAX)
    throw outOfRange(
      "COREWAL_INVALID_OPTION",
      `options stripes (${stripes}) and ringBytes (${ringBytes}) need ${bytes} bytes of memory in a per-core log: at most ${MEMORY_BYTES_MAX} are possible`,
    );
}

/** What goes into a handle. */
export function writerOptions(o: ResolvedOptions, topology: Topology): WriterOptions {
  return {
    durability: o.durability,
    maxEntryBytes:
      topology === "striped" ? o.maxEntryBytes : Math.min(o.maxEntryBytes, o.ringBytes / 2 - ENTRY_OVERHEAD_BYTES - TIME_BYTES),
    maxBatchBytes: o.maxBatchBytes,
    onFull: o.onFull,
    fullTimeoutMs: o.fullTimeoutMs,
    queueBytes: o.queueBytes,
  };
}

/** Largest frame that this log writes, header included: takes the largest batch, fits into half a segment. */
export function frameBytesMax(o: ResolvedOptions): number {
  return Math.min(Math.floor(o.segmentBytes / 2) - 1024, Math.max(o.ringBytes, MiB));
}
