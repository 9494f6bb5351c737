// The beginning of a frame as a frame of its own: where a log is cut, and where a restored one ends.

import { ENTRY_HEADER_BYTES, ENTRY_PAYLOAD_BYTES, FRAME_HEADER_BYTES, KIND_LOST, KIND_VOID } from "../assembly/layout.js";
import { entrySeed, type Core } from "./core.js";
import { bodyBytesOf, eachEntry, headersChecksum } from "./entry.js";
import type { FrameHeader } from "./frame.js";
import type { SegmentHeader } from "./segment.js";

/**
 * What is kept of a whole frame at `at`: its entries up to the last one with an LSN that is not behind `lastLsn`. A void or
 * a lost entry of which a part is wanted is changed in its place. Returns the header; undefined if nothing is kept. In a
 * per-core log a frame has the time of the newest entry so far, so `timeNs` is that of the frame before.
 */
export function trimFrame(
  core: Core,
  at: number,
  h: FrameHeader,
  { logId, topology }: Pick<SegmentHeader, "logId" | "topology">,
  lastLsn: number,
  timeNs: bigint,
): FrameHeader | undefined {
  // A control entry behind the last LSN belongs to what follows.
  if (h.firstLsn + h.lsns - 1 < lastLsn) return h;
  const v = core.view;
  const seed = entrySeed(core, logId, h.term);
  let newest = timeNs;
  let entries = 0;
  let lsns = 0;
  let bytes = FRAME_HEADER_BYTES;
  eachEntry(core, at, h, (p, lsn, taken, kind) => {
    if (lsn > lastLsn) return false;
    const kept = Math.min(taken, lastLsn - lsn + 1);
    if (kept < taken) v.setBigUint64(p + ENTRY_HEADER_BYTES, BigInt(kept), true);
    if (kind === KIND_LOST) endLost(v, p, lastLsn);
    if (kept < taken || kind === KIND_LOST) {
      core.x.entry_end(seed, p);
      core.x.entry_seal(p, lsn);
    }
    if (kind < KIND_VOID) newest = v.getBigInt64(p + ENTRY_HEADER_BYTES, true);
    entries++;
    lsns += kept;
    bytes += bodyBytesOf(v.getUint32(p + ENTRY_PAYLOAD_BYTES, true));
    return true;
  });
  if (entries === 0) return undefined;
  const headersCrc = headersChecksum(core, at + FRAME_HEADER_BYTES, at + bytes);
  return { ...h, bytes, entries, lsns, headersCrc, timeNs: topology === "per-core" && entries < h.entries ? newest : h.timeNs };
}

/** LSNs behind the end are given again: they are not lost. */
function endLost(v: DataView, p: number, lastLsn: number): void {
  const at = p + ENTRY_HEADER_BYTES + 8;
  if (v.getBigUint64(at, true) > BigInt(lastLsn)) v.setBigUint64(at, BigInt(lastLsn), true);
}
