// Append path, step 5, first half: from the rings to a finished frame in the frame buffer. Whoever has the
// flusher's role calls it: the flusher, or the guest.

import {
  CTL_CORE,
  CTL_ENTRY_SEED,
  ENTRY_HEADER_BYTES,
  FRAME_HEADER_BYTES,
  KIND_EPOCH,
  MERGE_AHEAD,
  MERGE_ENTRIES,
  MERGE_EPOCH,
  MERGE_FIRST_LSN,
  MERGE_HEADERS_CRC,
  MERGE_MORE,
  MERGE_NEXT_LSN,
  MERGE_PAYLOAD_BYTES,
  MERGE_PENDING,
  MERGE_TIME_NS,
  MERGE_VOID_LSNS,
} from "../assembly/layout.js";
import type { ChainIdentity } from "./chain.js";
import { isTimed } from "./banks.js";
import type { Core } from "./core.js";
import { alignUp, encodeFrameHeader } from "./frame.js";
import { encodeMarks, MARKS_BYTES, type Marks } from "./marks.js";
import type { FrameFacts } from "./segment.js";

/** The frame buffer: where it is, how large, and for which chain. */
export interface FrameBuffer {
  frame: number;
  frameBytes: number;
  identity: ChainIdentity;
}

/** What was taken out of the rings and lies behind the frame's header now. */
export interface Fill {
  bodyBytes: number;
  firstLsn: number;
  lsns: number;
  /** Control entries included. */
  entries: number;
  payloadBytes: number;
  voidLsns: number;
  /** If it is an epoch entry. */
  marks?: Marks;
}

export const EMPTY_FILL = { bodyBytes: 0, lsns: 0, entries: 0, payloadBytes: 0, voidLsns: 0 };

/** The epoch of the frames that are written now. */
export const epochOf = (core: Core): number => Number(core.i64[MERGE_EPOCH >> 3]!);

/** Time of a frame, which never goes back: of its newest entry where entries have one, else of now. */
export function frameTime(core: Core, chance: { now: () => number }, before: bigint): bigint {
  const time = isTimed(core) ? core.i64[MERGE_TIME_NS >> 3]! : BigInt(Math.round(chance.now() * 1e6));
  return time > before ? time : before;
}

/** The next LSN that has to come out of the rings. */
export function nextToDrain(core: Core): number {
  return Number(core.view.getBigInt64(MERGE_NEXT_LSN, true));
}

/** After a fill: a stripe was between taking an LSN and publishing it; more is waiting than fitted. */
export const wasPending = (core: Core): boolean => core.i32[MERGE_PENDING >> 2] !== 0;
/** After a fill: the next entry is of a later epoch. */
export const wasAhead = (core: Core): boolean => core.i32[MERGE_AHEAD >> 2] !== 0;
export const wasFull = (core: Core): boolean => core.i32[MERGE_MORE >> 2] !== 0;

/** Takes what is ready, up to `bytesMax` bytes of frame; undefined if nothing is. */
export function fill(core: Core, buffer: FrameBuffer, bytesMax = buffer.frameBytes): Fill | undefined {
  const capacity = Math.min(bytesMax, buffer.frameBytes) - FRAME_HEADER_BYTES - buffer.identity.frameAlign;
  return capacity <= 0 ? undefined : drainInto(core, buffer.frame + FRAME_HEADER_BYTES, capacity);
}

/** Takes entries out of the rings, in LSN order, into at most `capacityBytes` bytes at `body`; undefined if none is ready. */
export function drainInto(core: Core, body: number, capacityBytes: number): Fill | undefined {
  const { view, x } = core;
  const bodyBytes = x.merge_fill(body, capacityBytes);
  if (bodyBytes === 0) return undefined;
  const firstLsn = Number(view.getBigInt64(MERGE_FIRST_LSN, true));
  return {
    bodyBytes,
    firstLsn,
    lsns: nextToDrain(core) - firstLsn,
    entries: view.getUint32(MERGE_ENTRIES, true),
    payloadBytes: Number(view.getBigUint64(MERGE_PAYLOAD_BYTES, true)),
    voidLsns: Number(view.getBigInt64(MERGE_VOID_LSNS, true)),
  };
}

/** Bytes that a frame takes in its segment. */
export function frameBytesOf(fill: Fill, buffer: FrameBuffer): number {
  return alignUp(FRAME_HEADER_BYTES + fill.bodyBytes, buffer.identity.frameAlign);
}

/** Puts header and padding around the fill: the frame may be written to `offset` then. Its epoch is not durable yet where one begins. */
export function finish(
  core: Core,
  buffer: FrameBuffer,
  fill: Fill,
  salt: bigint,
  offset: number,
  timeNs: bigint,
  { epoch, durableEpoch } = { epoch: epochOf(core), durableEpoch: epochOf(core) },
): { bytes: Uint8Array; facts: FrameFacts; promise: number } {
  const { frame, identity } = buffer;
  const { term } = identity;
  const { firstLsn, lsns, entries, payloadBytes, voidLsns } = fill;
  const bytes = FRAME_HEADER_BYTES + fill.bodyBytes;
  const end = frame + frameBytesOf(fill, buffer);
  const promise = core.x.log_durable_lsn();
  const headersCrc = entries === 0 ? 0 : core.view.getUint32(MERGE_HEADERS_CRC, true);
  const header = { bytes, entries, firstLsn, durableLsn: promise, term, epoch, durableEpoch, timeNs, headersCrc, lsns };
  encodeFrameHeader(core, frame, header, salt, offset);
  core.bytes.fill(0, frame + bytes, end);
  const facts: FrameFacts = {
    offset,
    entries,
    firstLsn,
    lsns,
    userEntries: lsns - voidLsns,
    payloadBytes,
    voidLsns,
    term,
    epoch,
    timeNs,
    marks: fill.marks,
  };
  return { bytes: core.bytes.subarray(frame, end), facts, promise };
}

/** An epoch entry, which takes no LSN, as a fill of its own. */
export function fillMarks(core: Core, buffer: FrameBuffer, marks: Marks): Fill {
  const { x, view, bytes } = core;
  const at = buffer.frame + FRAME_HEADER_BYTES;
  const firstLsn = nextToDrain(core);
  const payload = x.entry_begin(at, MARKS_BYTES, 0, KIND_EPOCH, core.i32[CTL_CORE >> 2]!);
  bytes.fill(0, payload, payload + MARKS_BYTES);
  encodeMarks(marks, bytes, payload);
  x.entry_end(view.getInt32(CTL_ENTRY_SEED, true), at);
  const end = x.entry_seal(at, firstLsn);
  view.setUint32(MERGE_HEADERS_CRC, ~x.crc32c_update(-1, at, ENTRY_HEADER_BYTES), true);
  return { bodyBytes: end - at, firstLsn, lsns: 0, entries: 1, payloadBytes: 0, voidLsns: 0, marks };
}
