// One frame: what one flush writes. Valid or invalid as a whole. FORMAT.md, "Frame".
//
//   0       4     8       12        15              16          24            32     40      48        56            60
//   | magic | crc | bytes | entries | durable epoch | first LSN | durable LSN | term | epoch | time ns | headers crc | LSNs | entries …

import {
  FRAME_BYTES,
  FRAME_CRC,
  FRAME_DURABLE_EPOCH,
  FRAME_DURABLE_LSN,
  FRAME_ENTRIES,
  FRAME_EPOCH,
  FRAME_FIRST_LSN,
  FRAME_HEADERS_CRC,
  FRAME_HEADER_BYTES,
  FRAME_LSNS,
  FRAME_MAGIC,
  FRAME_TERM,
  FRAME_TIME_NS,
} from "../assembly/layout.js";
import { placeRegister, type Core } from "./core.js";

/** Larger ones are never written, and could not be addressed: no memory is made for them. */
export const FRAME_BYTES_MAX = 2 ** 30;

/** As many as the header can say. */
export const FRAME_ENTRIES_MAX = 2 ** 24 - 1;

export interface FrameHeader {
  /** Header and entries, without the padding behind. */
  bytes: number;
  /** Control entries included. */
  entries: number;
  firstLsn: number;
  /** The promise: everything up to here was durable when this frame was written. */
  durableLsn: number;
  term: number;
  epoch: number;
  /** The promise for epochs: a frame of this one was durable when this one was written. At most 255 below `epoch`. */
  durableEpoch: number;
  timeNs: bigint;
  /** CRC32C of all entry headers, in order. */
  headersCrc: number;
  /** How many LSNs the entries take; a void entry takes many, another control entry none. */
  lsns: number;
}

function checksum(core: Core, at: number, salt: bigint, offset: number): number {
  return ~core.x.crc32c_update(placeRegister(core, salt, offset), at + FRAME_BYTES, FRAME_HEADER_BYTES - FRAME_BYTES) >>> 0;
}

/** Writes the header at `at`, for the file offset `offset` of the segment with this salt. */
export function encodeFrameHeader(core: Core, at: number, h: FrameHeader, salt: bigint, offset: number): void {
  const v = core.view;
  v.setUint32(at, FRAME_MAGIC, true);
  v.setUint32(at + FRAME_BYTES, h.bytes, true);
  v.setUint32(at + FRAME_ENTRIES, h.entries, true);
  v.setUint8(at + FRAME_DURABLE_EPOCH, h.durableEpoch);
  v.setBigUint64(at + FRAME_FIRST_LSN, BigInt(h.firstLsn), true);
  v.setBigUint64(at + FRAME_DURABLE_LSN, BigInt(h.durableLsn), true);
  v.setBigUint64(at + FRAME_TERM, BigInt(h.term), true);
  v.setBigUint64(at + FRAME_EPOCH, BigInt(h.epoch), true);
  v.setBigInt64(at + FRAME_TIME_NS, h.timeNs, true);
  v.setUint32(at + FRAME_HEADERS_CRC, h.headersCrc, true);
  v.setUint32(at + FRAME_LSNS, h.lsns, true);
  v.setUint32(at + FRAME_CRC, checksum(core, at, salt, offset), true);
}

/** The header at `at` if it is one for this salt and place. */
export function decodeFrameHeader(core: Core, at: number, salt: bigint, offset: number): FrameHeader | undefined {
  const v = core.view;
  if (v.getUint32(at, true) !== FRAME_MAGIC) return undefined;
  if (v.getUint32(at + FRAME_CRC, true) !== checksum(core, at, salt, offset)) return undefined;
  const firstLsn = exactU64(v, at + FRAME_FIRST_LSN);
  const durableLsn = exactU64(v, at + FRAME_DURABLE_LSN);
  const term = exactU64(v, at + FRAME_TERM);
  const epoch = exactU64(v, at + FRAME_EPOCH);
  const lsns = v.getUint32(at + FRAME_LSNS, true);
  if (firstLsn === undefined || durableLsn === undefined || term === undefined || epoch === undefined) return undefined;
  if (firstLsn + lsns > Number.MAX_SAFE_INTEGER) return undefined;
  return {
    bytes: v.getUint32(at + FRAME_BYTES, true),
    entries: v.getUint32(at + FRAME_ENTRIES, true) & FRAME_ENTRIES_MAX,
    firstLsn,
    durableLsn,
    term,
    epoch,
    durableEpoch: Math.max(0, epoch - ((epoch - v.getUint8(at + FRAME_DURABLE_EPOCH)) & 255)),
    timeNs: v.getBigInt64(at + FRAME_TIME_NS, true),
    headersCrc: v.getUint32(at + FRAME_HEADERS_CRC, true),
    lsns,
  };
}

/** A u64 that a number holds exactly; undefined for one above 2^53 - 1, which nobody writes. */
export function exactU64(v: DataView, at: number): number | undefined {
  const value = Number(v.getBigUint64(at, true));
  return Number.isSafeInteger(value) ? value : undefined;
}

export function alignUp(n: number, align: number): number {
  return Math.ceil(n / align) * align;
}
