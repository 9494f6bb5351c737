// What follows the last frame of a sealed segment, so that nobody has to read the frames to know what they hold.
// FORMAT.md, "Footer".
//
//   | index: count × (LSN, offset) | trailer 192 | mark 64 |

import { placedChecksum } from "./core.js";
import { alignUp, exactU64 } from "./frame.js";
import { decodeMarks, encodeMarks } from "./marks.js";
import { ascii, HEADER_BYTES, startsWith, viewOf, type SegmentHeader, type SegmentSummary } from "./segment.js";
import { readAll, writeAll, type StorageFile } from "./storage.js";

const FOOTER_MAGIC = "CWFOOTER";
const TRAILER_BYTES = 192;
const MARKS_AT = 128;
const MARK_MAGIC = "CWCONTIN";
const MARK_BYTES = 64;
const INDEX_ENTRY_BYTES = 16;
/** Footers start at multiples of this. */
export const FOOTER_ALIGN = 64;

export interface Footer extends SegmentSummary {
  /** Where the frames end and the footer begins. */
  endOffset: number;
  /** Where the file ends. */
  fileBytes: number;
  /** The segment that follows, if the mark says so. */
  continued: { number: number; salt: bigint } | undefined;
}

/** Writes the footer at the end of the frames and cuts the file there. Durable when it returns. */
export function seal(
  file: StorageFile,
  header: SegmentHeader,
  endOffset: number,
  s: SegmentSummary,
  next?: { number: number; salt: bigint },
): void {
  const indexBytes = alignUp(s.index.length * INDEX_ENTRY_BYTES, FOOTER_ALIGN);
  const bytes = new Uint8Array(indexBytes + TRAILER_BYTES + MARK_BYTES);
  const v = viewOf(bytes);
  s.index.forEach(([lsn, offset], i) => {
    v.setBigUint64(i * INDEX_ENTRY_BYTES, BigInt(lsn), true);
    v.setBigUint64(i * INDEX_ENTRY_BYTES + 8, BigInt(offset), true);
  });
  const t = indexBytes;
  bytes.set(ascii(FOOTER_MAGIC), t);
  v.setUint32(t + 12, s.index.length, true);
  const words = [
    endOffset,
    header.number,
    s.firstLsn,
    s.lastLsn,
    s.frames,
    s.entries,
    s.payloadBytes,
    s.voidLsns,
    s.minTerm,
    s.maxTerm,
    s.minEpoch,
    s.maxEpoch,
  ];
  words.forEach((word, i) => v.setBigUint64(t + 16 + i * 8, BigInt(word), true));
  v.setBigInt64(t + 112, s.minTimeNs, true);
  v.setBigInt64(t + 120, s.maxTimeNs, true);
  encodeMarks(s.marks, bytes, t + MARKS_AT);
  v.setUint32(t + 8, footerChecksum(bytes.subarray(0, t + TRAILER_BYTES), header.salt, endOffset), true);
  if (next !== undefined) bytes.set(encodeMark(header.salt, endOffset + t + TRAILER_BYTES, next), t + TRAILER_BYTES);
  writeAll(file, bytes, endOffset);
  file.truncate(endOffset + bytes.length);
  file.sync();
}

/** Over index and trailer, the checksum's own word read as zero. */
function footerChecksum(bytes: Uint8Array, salt: bigint, endOffset: number): number {
  const copy = bytes.slice();
  viewOf(copy).setUint32(bytes.length - TRAILER_BYTES + 8, 0, true);
  return placedChecksum(salt, endOffset, copy);
}

function encodeMark(salt: bigint, offset: number, next: { number: number; salt: bigint }): Uint8Array {
  const bytes = new Uint8Array(MARK_BYTES);
  const v = viewOf(bytes);
  bytes.set(ascii(MARK_MAGIC), 0);
  v.setBigUint64(16, BigInt(next.number), true);
  v.setBigUint64(24, next.salt, true);
  v.setUint32(8, placedChecksum(salt, offset, bytes.subarray(12)), true);
  return bytes;
}

/** Says in a sealed segment that another one follows. Only after that one is committed. */
export function markContinued(file: StorageFile, header: SegmentHeader, footer: Footer, next: { number: number; salt: bigint }): void {
  const offset = footer.fileBytes - MARK_BYTES;
  writeAll(file, encodeMark(header.salt, offset, next), offset);
  // A crash may have come between the writing of the footer and the cut behind it.
  if (file.size() !== footer.fileBytes) file.truncate(footer.fileBytes);
  file.sync();
}

/** The footer, looked for at the end of the file. */
export function readFooter(file: StorageFile, header: SegmentHeader): Footer | undefined {
  const size = file.size();
  const trailer = size - MARK_BYTES - TRAILER_BYTES;
  return trailer < HEADER_BYTES ? undefined : readFooterAt(file, header, trailer);
}

/** The footer whose trailer stands at `trailer`, if there is a valid one for this segment. */
export function readFooterAt(file: StorageFile, header: SegmentHeader, trailer: number): Footer | undefined {
  const head = new Uint8Array(TRAILER_BYTES);
  if (!readAll(file, head, trailer) || !startsWith(head, FOOTER_MAGIC)) return undefined;
  const count = viewOf(head).getUint32(12, true);
  const endOffset = Number(viewOf(head).getBigUint64(16, true));
  const indexBytes = alignUp(count * INDEX_ENTRY_BYTES, FOOTER_ALIGN);
  if (endOffset < HEADER_BYTES || endOffset + indexBytes !== trailer) return undefined;
  const bytes = new Uint8Array(indexBytes + TRAILER_BYTES);
  if (!readAll(file, bytes, endOffset)) return undefined;
  const v = viewOf(bytes);
  const t = indexBytes;
  const u64 = (at: number): number => Number(v.getBigUint64(at, true));
  if (v.getUint32(t + 8, true) !== footerChecksum(bytes, header.salt, endOffset) || u64(t + 24) !== header.number) return undefined;
  for (let at = t + 16; at < t + 112; at += 8) if (exactU64(v, at) === undefined) return undefined;
  const marks = decodeMarks(bytes, t + MARKS_AT);
  if (marks === undefined) return undefined;
  const mark = new Uint8Array(MARK_BYTES);
  const markAt = trailer + TRAILER_BYTES;
  let continued: Footer["continued"];
  if (
    readAll(file, mark, markAt) &&
    startsWith(mark, MARK_MAGIC) &&
    viewOf(mark).getUint32(8, true) === placedChecksum(header.salt, markAt, mark.subarray(12))
  ) {
    continued = { number: Number(viewOf(mark).getBigUint64(16, true)), salt: viewOf(mark).getBigUint64(24, true) };
  }
  return {
    endOffset,
    fileBytes: markAt + MARK_BYTES,
    continued,
    firstLsn: u64(t + 32),
    lastLsn: u64(t + 40),
    frames: u64(t + 48),
    entries: u64(t + 56),
    payloadBytes: u64(t + 64),
    voidLsns: u64(t + 72),
    minTerm: u64(t + 80),
    maxTerm: u64(t + 88),
    minEpoch: u64(t + 96),
    maxEpoch: u64(t + 104),
    minTimeNs: v.getBigInt64(t + 112, true),
    maxTimeNs: v.getBigInt64(t + 120, true),
    index: Array.from({ length: count }, (_, i) => [u64(i * INDEX_ENTRY_BYTES), u64(i * INDEX_ENTRY_BYTES + 8)]),
    marks,
  };
}

/** First word of a trailer, for searching. */
export const FOOTER_MAGIC_WORD = viewOf(ascii(FOOTER_MAGIC)).getUint32(0, true);
