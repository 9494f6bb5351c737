// What a log looks like from outside: segments, ranges, lock. Changes nothing, works on a live log.

import { segmentPath } from "./chain.js";
import { directoryPath } from "./directory.js";
import type { Liveness } from "./lock-owner.js";
import { inspectLock } from "./lock.js";
import { recoverForReading, requireLog } from "./read-only.js";
import { withFile } from "./recover.js";
import { nodeStorage } from "./storage/node.js";

/**
 * What {@link statLog} found.
 *
 * @example
 * const { lock, segments, bytes }: StatReport = await statLog("./data");
 * console.log(`${segments.length} segments, ${bytes} bytes, ${lock.held ? `held by ${lock.owner?.pid}` : "free"}`);
 */
export interface StatReport {
  /** Absolute path. */
  directory: string;
  /** The last segment was sealed by a proper close. */
  clean: boolean;
  /** Another process is writing, or may be. */
  live: boolean;
  /** Who may write. */
  lock: {
    /** Its owner lives, or may live. */
    held: boolean;
    /** Who took it last; missing if it was released or cannot be read. */
    owner?: {
      /** Process id. */
      pid: number;
      /** Name of the machine. */
      host: string;
      /** When it was taken, ISO 8601. */
      since: string;
    };
    /** What is known of the owner. */
    liveness: Liveness;
  };
  /** How threads and files relate. */
  topology: "striped";
  /** Highest term: grows with each open that writes. */
  term: number;
  /** Highest epoch; 0 in this version. */
  epoch: number;
  /** First LSN of the log. */
  firstLsn: number;
  /** Last LSN; 0 if there is none. */
  lastLsn: number;
  /** Of all segment files. */
  bytes: number;
  /** Checkpoints; this version makes none. */
  checkpoints: number;
  /** The rest of an interrupted write, which opening would cut off: never acknowledged, no fault. */
  torn?: {
    /** Path of the segment file. */
    file: string;
    /** Byte offset of the cut. */
    offset: number;
    /** How much would be cut off. */
    bytes: number;
  };
  /** The chain, oldest first. */
  segments: {
    /** From 1. */
    number: number;
    /** Path of the file. */
    file: string;
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
    /** Unix time of its first flush, milliseconds; 0 if it is empty. */
    minTimeMs: number;
    /** Unix time of its last flush, milliseconds; 0 if it is empty. */
    maxTimeMs: number;
  }[];
}

/**
 * Describes a log, also one that is open elsewhere, without reading sealed segments. Changes nothing.
 *
 * @param directory a path or a file: URL
 * @returns the report
 * @throws As a rejection. CorewalError COREWAL_NOT_A_LOG, COREWAL_CORRUPT, COREWAL_UNKNOWN_VERSION,
 *   COREWAL_NO_PERMISSION, COREWAL_IO; TypeError COREWAL_INVALID_OPTION for a bad directory
 * @example
 * const { lastLsn, live } = await statLog("./data");
 * console.log(lastLsn, live ? "and growing" : "");
 */
export async function statLog(directory: string | URL): Promise<StatReport> {
  const path = directoryPath(directory);
  requireLog(nodeStorage, path);
  const { found, live } = recoverForReading(nodeStorage, path);
  const { liveness, owner } = inspectLock(path);
  const segments = found.segments.map(({ header, endOffset, summary, footer }) => ({
    number: header.number,
    file: segmentPath(path, header),
    bytes: withFile(nodeStorage, path, header.number, (file) => file.size()),
    endOffset,
    firstLsn: summary.firstLsn,
    lastLsn: summary.lastLsn,
    sealed: footer !== undefined,
    continued: footer?.continued !== undefined,
    entries: summary.entries,
    minTimeMs: Number(summary.minTimeNs) / 1e6,
    maxTimeMs: Number(summary.maxTimeNs) / 1e6,
  }));
  return {
    directory: path,
    clean: found.clean,
    live,
    lock: {
      held: liveness === "held" || liveness === "unknown",
      ...(owner === undefined ? {} : { owner: { pid: owner.pid, host: owner.host, since: owner.since } }),
      liveness,
    },
    topology: "striped",
    term: found.term,
    epoch: found.epoch,
    firstLsn: segments[0]?.firstLsn ?? 1,
    lastLsn: found.lastLsn,
    bytes: segments.reduce((sum, s) => sum + s.bytes, 0),
    checkpoints: 0,
    ...(found.torn === undefined ? {} : { torn: found.torn }),
    segments,
  };
}
