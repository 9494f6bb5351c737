// Segment files in figures.

import { segmentPath } from "./chain.js";
import type { RecoveredLog } from "./recover.js";
import { segmentNumbers } from "./recover-chain.js";
import { sizeOf, type Storage } from "./storage.js";
import type { SegmentStats } from "./types.js";

/** The segments of a log that was looked at. */
export function segmentStats(storage: Storage, directory: string, found: RecoveredLog): SegmentStats[] {
  return found.chains
    .flatMap((chain) => chain.segments)
    .map(({ header, endOffset, summary, footer }) => ({
      core: header.chain,
      number: header.number,
      path: segmentPath(directory, header),
      bytes: sizeOf(storage, segmentPath(directory, header)),
      endOffset,
      firstLsn: summary.firstLsn,
      lastLsn: summary.lastLsn,
      sealed: footer !== undefined,
      continued: footer?.continued !== undefined,
      entries: summary.entries,
      minEpoch: summary.minEpoch,
      maxEpoch: summary.maxEpoch,
      minTimeMs: Number(summary.minTimeNs) / 1e6,
      maxTimeMs: Number(summary.maxTimeNs) / 1e6,
    }));
}

/** Bytes of a chain's files. */
export function chainBytes(storage: Storage, directory: string, chain: number): number {
  const paths = segmentNumbers(storage, directory, chain).map((number) => segmentPath(directory, { chain, number }));
  return paths.reduce((sum, path) => sum + sizeOf(storage, path), 0);
}
