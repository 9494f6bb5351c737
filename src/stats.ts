// What stats() tells: read from shared memory, summed up over the banks.

import {
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
} from "../assembly/layout.js";
import { bankAddress, banksClaimed, ownedStripes, ringBytesUsed } from "./banks.js";
import type { Core } from "./core.js";
import type { LogStats } from "./types.js";

const STATES: Record<number, LogStats["state"]> = {
  [LOG_OPEN]: "open",
  [LOG_CLOSING]: "closing",
  [LOG_CLOSED]: "closed",
  [LOG_POISONED]: "poisoned",
};

/** `core` is of the opener's bank, the first. */
export function logStats(core: Core, stripes: number): Omit<LogStats, "upkeep"> {
  const { x, log } = core;
  const banks = Array.from({ length: banksClaimed(core) }, (_, bank) => bankAddress(core, bank));
  const each = (word: number): number[] => banks.map((bank) => log.f64[(bank + word) >> 3]!);
  const sum = (word: number): number => each(word).reduce((a, b) => a + b, 0);
  const fsyncs = sum(STAT_FSYNCS);
  const max = Math.max(0, ...each(STAT_FSYNC_MS_MAX));
  const percentile = (part: number): number => {
    let left = part * fsyncs;
    for (let b = 0; b < STAT_FSYNC_BUCKET_COUNT; b++) {
      for (const bank of banks) left -= log.i32[((bank + STAT_FSYNC_BUCKETS) >> 2) + b]!;
      if (left <= 0) return fsyncs === 0 ? 0 : Math.min(2 ** (b / 3) / 1000, max);
    }
    return max;
  };
  return {
    lastLsn: x.log_last_lsn(),
    durableLsn: x.log_durable_lsn(),
    frames: sum(STAT_FRAMES),
    fsyncs,
    entries: sum(STAT_ENTRIES),
    payloadBytes: sum(STAT_PAYLOAD_BYTES),
    writtenBytes: sum(STAT_WRITTEN_BYTES),
    voidLsns: sum(STAT_VOID_LSNS),
    revokedWriters: sum(STAT_REVOKED),
    segmentsBegun: sum(STAT_SEGMENTS),
    segment: { number: core.f64[STAT_SEGMENT_NUMBER >> 3]!, offset: core.f64[STAT_SEGMENT_OFFSET >> 3]! },
    fsyncMs: { mean: fsyncs === 0 ? 0 : sum(STAT_FSYNC_MS_TOTAL) / fsyncs, max, p50: percentile(0.5), p99: percentile(0.99) },
    stripes: { total: stripes, used: [...ownedStripes(core)].length },
    ringBytesUsed: ringBytesUsed(core),
    state: STATES[x.log_state()]!,
  };
}
