// What a log looks like from outside: segments, ranges, lock. Changes nothing, works on a live log.

import { listCheckpoints } from "./checkpoints.js";
import { directoryPath } from "./directory.js";
import type { Liveness } from "./lock-owner.js";
import { inspectLock } from "./lock.js";
import { recoverForReading, requireLog } from "./read-only.js";
import { reportOf } from "./recover.js";
import { segmentStats } from "./segment-stats.js";
import { nodeStorage } from "./storage/node.js";
import type { CheckpointInfo, SegmentStats, Topology } from "./types.js";

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
  /** Every chain was sealed by a proper close. */
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
  topology: Topology;
  /** Highest term: grows with each open that writes. */
  term: number;
  /** Highest epoch. */
  epoch: number;
  /** Highest complete epoch, of which every chain has all entries; -1 if none. */
  completeEpoch: number;
  /** First LSN of the log, of core 0 in a per-core one, see `cores`. */
  firstLsn: number;
  /** Last LSN, of core 0 in a per-core log, see `cores`; 0 if there is none. */
  lastLsn: number;
  /** Of all segment files. */
  bytes: number;
  /** Checkpoints, newest first, as they say of themselves. */
  checkpoints: CheckpointInfo[];
  /** Log id, in hexadecimal, of the log from which this one was restored; missing if it was not. */
  restoredFrom?: string;
  /** The rest of an interrupted write, which opening would cut off, in the first chain that has one: never acknowledged, no fault. */
  torn?: {
    /** Path of the segment file. */
    file: string;
    /** Byte offset of the cut. */
    offset: number;
    /** How much would be cut off. */
    bytes: number;
  };
  /** The chains, ascending; one in a striped log. */
  cores: {
    /** The core that writes it; 0 in a striped log. */
    core: number;
    /** First LSN of the chain. */
    firstLsn: number;
    /** Last LSN of the chain; 1 less than firstLsn if it is empty. */
    lastLsn: number;
    /** Segments in the chain. */
    segments: number;
    /** Of its segment files. */
    bytes: number;
    /** Its last segment was sealed by a proper close. */
    clean: boolean;
  }[];
  /** Of all chains, chain by chain, oldest first. */
  segments: SegmentStats[];
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
  const { topology, completeEpoch, firstLsn, lastLsn, torn, cores, restoredFrom } = reportOf(found, found, 0);
  const segments = segmentStats(nodeStorage, path, found);
  const sizeOf = (files: typeof segments): number => files.reduce((sum, file) => sum + file.bytes, 0);
  return {
    directory: path,
    clean: found.clean,
    live,
    lock: {
      held: liveness === "held" || liveness === "unknown",
      ...(owner === undefined ? {} : { owner: { pid: owner.pid, host: owner.host, since: owner.since } }),
      liveness,
    },
    topology,
    term: found.term,
    epoch: found.epoch,
    completeEpoch,
    firstLsn,
    lastLsn,
    bytes: sizeOf(segments),
    checkpoints: listCheckpoints(nodeStorage, path),
    ...(restoredFrom === undefined ? {} : { restoredFrom }),
    ...(torn === undefined ? {} : { torn }),
    cores: cores.map((c) => ({
      core: c.core,
      firstLsn: c.firstLsn,
      lastLsn: c.lastLsn,
      segments: c.segments,
      bytes: sizeOf(segments.filter((segment) => segment.core === c.core)),
      clean: c.clean,
    })),
    segments,
  };
}
