// Counters in shared memory, kept by whoever flushes, read by stats().

import {
  STAT_ENTRIES,
  STAT_FRAMES,
  STAT_FSYNCS,
  STAT_FSYNC_BUCKETS,
  STAT_FSYNC_BUCKET_COUNT,
  STAT_FSYNC_MS_LAST,
  STAT_FSYNC_MS_MAX,
  STAT_FSYNC_MS_TOTAL,
  STAT_PAYLOAD_BYTES,
  STAT_SEGMENT_OFFSET,
  STAT_VOID_LSNS,
  STAT_WRITTEN_BYTES,
} from "../assembly/layout.js";
import type { Core } from "./core.js";
import type { Fill } from "./fill.js";
import type { StorageFile } from "./storage.js";

export function count(core: Core, stat: number, by: number): void {
  core.f64[stat >> 3]! += by;
}

/** Fsyncs, and notes how long it took. */
export function timedSync(core: Core, file: StorageFile): void {
  const before = performance.now();
  file.sync();
  const ms = performance.now() - before;
  count(core, STAT_FSYNCS, 1);
  count(core, STAT_FSYNC_MS_TOTAL, ms);
  const { f64, i32 } = core;
  f64[STAT_FSYNC_MS_LAST >> 3] = ms;
  if (ms > f64[STAT_FSYNC_MS_MAX >> 3]!) f64[STAT_FSYNC_MS_MAX >> 3] = ms;
  const bucket = Math.min(STAT_FSYNC_BUCKET_COUNT - 1, Math.max(0, Math.ceil(3 * Math.log2(ms * 1000))));
  i32[(STAT_FSYNC_BUCKETS >> 2) + bucket]!++;
}

/** A frame was written. */
export function countFrame(core: Core, offset: number, bytes: number): void {
  count(core, STAT_FRAMES, 1);
  count(core, STAT_WRITTEN_BYTES, bytes);
  core.f64[STAT_SEGMENT_OFFSET >> 3] = offset + bytes;
}

/** … and is durable. */
export function countFill(core: Core, fill: Fill): void {
  count(core, STAT_ENTRIES, fill.lsns - fill.voidLsns);
  count(core, STAT_PAYLOAD_BYTES, fill.payloadBytes);
  count(core, STAT_VOID_LSNS, fill.voidLsns);
}
