// What a log looks like from outside: segments, ranges, lock. Changes nothing, works on a live log.

import { segmentPath } from "./chain.js";
import { directoryPath } from "./directory.js";
import type { Liveness } from "./lock-owner.js";
import { inspectLock } from "./lock.js";
import { recoverForReading, requireLog } from "./read-only.js";
import { withFile } from "./recover.js";
import { nodeStorage } from "./storage/node.js";

export interface StatReport {
  directory: string;
  /** The last segment was sealed by a proper close. */
  clean: boolean;
  /** Another process is writing, or may be. */
  live: boolean;
  lock: { held: boolean; owner?: { pid: number; host: string; since: string }; liveness: Liveness };
  topology: "striped";
  term: number;
  epoch: number;
  firstLsn: number;
  lastLsn: number;
  /** Of all segment files. */
  bytes: number;
  checkpoints: number;
  torn?: { file: string; offset: number; bytes: number };
  segments: {
    number: number;
    file: string;
    bytes: number;
    /** Frames end here. */
    endOffset: number;
    firstLsn: number;
    lastLsn: number;
    sealed: boolean;
    continued: boolean;
    entries: number;
    minTimeMs: number;
    maxTimeMs: number;
  }[];
}

/**
 * Describes a log without reading sealed segments.
 *
 * @throws CorewalError COREWAL_NOT_A_LOG, COREWAL_CORRUPT, COREWAL_UNKNOWN_VERSION, COREWAL_IO
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
