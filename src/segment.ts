// One file of a chain. FORMAT.md, "Segment file".
//
//   | preamble, header 256 | frames … | index | trailer 192 | mark 64 |
//                                       `------- footer, once sealed --'

import { placedChecksum } from "./core.js";
import { CorewalError } from "./errors.js";
import { alignUp } from "./frame.js";
import { readAll, writeAll, type StorageFile } from "./storage.js";

const SEGMENT_MAGIC = "corewal\0";
const FORMAT_VERSION = 1;
const HEADER_BYTES = 256;
const PREAMBLE_BYTES = 32;
const KIND_SEGMENT = 1;

const FOOTER_MAGIC = "CWFOOTER";
const TRAILER_BYTES = 192;
const MARK_MAGIC = "CWCONTIN";
const MARK_BYTES = 64;
const INDEX_ENTRY_BYTES = 16;
/** Footers start at multiples of this. */
export const FOOTER_ALIGN = 64;
/** At most one index entry for so many bytes of frames. */
export const INDEX_STRIDE_BYTES = 65536;

export interface SegmentHeader {
  logId: Uint8Array;
  salt: bigint;
  chain: number;
  number: number;
  /** 0 if this is the first. */
  parentNumber: number;
  parentSalt: bigint;
  /** The parent's bytes from here on do not exist. */
  parentEnd: number;
  /** LSN before this segment's first. */
  parentLastLsn: number;
  term: number;
  epoch: number;
  createdNs: bigint;
  frameAlign: number;
  segmentBytes: number;
  /** Frames before this offset were fsynced before the file got its name. */
  provenEnd: number;
  /** Last LSN of those. */
  provenLsn: number;
}

/** What a segment holds; kept while it is written or scanned, stored in the footer. */
export interface SegmentSummary {
  firstLsn: number;
  lastLsn: number;
  frames: number;
  /** User entries. */
  entries: number;
  payloadBytes: number;
  voidLsns: number;
  minTerm: number;
  maxTerm: number;
  minEpoch: number;
  maxEpoch: number;
  minTimeNs: bigint;
  maxTimeNs: bigint;
  /** [first LSN, offset] of some frames, ascending. */
  index: [number, number][];
}

export interface Footer extends SegmentSummary {
  /** Where the frames end and the footer begins. */
  endOffset: number;
  /** Where the file ends. */
  fileBytes: number;
  /** The segment that follows, if the mark says so. */
  continued: { number: number; salt: bigint } | undefined;
}

export function emptySummary(firstLsn: number): SegmentSummary {
  return {
    firstLsn,
    lastLsn: firstLsn - 1,
    frames: 0,
    entries: 0,
    payloadBytes: 0,
    voidLsns: 0,
    minTerm: 0,
    maxTerm: 0,
    minEpoch: 0,
    maxEpoch: 0,
    minTimeNs: 0n,
    maxTimeNs: 0n,
    index: [],
  };
}

export interface FrameFacts {
  offset: number;
  firstLsn: number;
  lsns: number;
  userEntries: number;
  payloadBytes: number;
  voidLsns: number;
  term: number;
  epoch: number;
  timeNs: bigint;
}

export function addFrame(s: SegmentSummary, f: FrameFacts): void {
  const first = s.frames === 0;
  s.frames++;
  s.lastLsn = f.firstLsn + f.lsns - 1;
  s.entries += f.userEntries;
  s.payloadBytes += f.payloadBytes;
  s.voidLsns += f.voidLsns;
  s.minTerm = first ? f.term : Math.min(s.minTerm, f.term);
  s.maxTerm = Math.max(s.maxTerm, f.term);
  s.minEpoch = first ? f.epoch : Math.min(s.minEpoch, f.epoch);
  s.maxEpoch = Math.max(s.maxEpoch, f.epoch);
  s.minTimeNs = first || f.timeNs < s.minTimeNs ? f.timeNs : s.minTimeNs;
  s.maxTimeNs = first || f.timeNs > s.maxTimeNs ? f.timeNs : s.maxTimeNs;
  const last = s.index.at(-1);
  if (f.lsns > 0 && (last === undefined || f.offset - last[1] >= INDEX_STRIDE_BYTES)) s.index.push([f.firstLsn, f.offset]);
}

// --- names --------------------------------------------------------------------------------------

export function segmentName(chain: number, number: number): string {
  return `${String(chain).padStart(3, "0")}-${String(number).padStart(10, "0")}.wal`;
}

/** A file under construction has this behind its name; recovery does not look at it. */
export const NEW_SUFFIX = ".new";

export function parseSegmentName(name: string): { chain: number; number: number } | undefined {
  const match = /^(\d{3})-(\d{10})\.wal$/.exec(name);
  return match === null ? undefined : { chain: Number(match[1]), number: Number(match[2]) };
}

/** Does the name belong to corewal, in whatever state? */
export function isOurName(name: string): boolean {
  return /^\d{3}-\d{10}\.wal(\.new)?$/.test(name) || /^corewal\.lock(\.|$)/.test(name);
}

// --- header -------------------------------------------------------------------------------------

const ascii = (text: string): Uint8Array => Buffer.from(text, "latin1");

function startsWith(bytes: Uint8Array, text: string): boolean {
  for (let i = 0; i < text.length; i++) if (bytes[i] !== text.charCodeAt(i)) return false;
  return true;
}

const viewOf = (b: Uint8Array): DataView => new DataView(b.buffer, b.byteOffset, b.byteLength);

export function encodeSegmentHeader(h: SegmentHeader): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES);
  const v = viewOf(bytes);
  bytes.set(ascii(SEGMENT_MAGIC), 0);
  v.setUint32(8, FORMAT_VERSION, true);
  v.setUint32(12, HEADER_BYTES, true);
  v.setUint32(16, KIND_SEGMENT, true);
  v.setUint32(28, placedChecksum(0n, 0, bytes.subarray(0, 28)), true);
  bytes.set(h.logId, 32);
  v.setBigUint64(48, h.salt, true);
  v.setUint32(56, 0, true); // topology: striped
  v.setUint32(60, h.chain, true);
  v.setBigUint64(64, BigInt(h.number), true);
  v.setBigUint64(72, BigInt(h.parentNumber), true);
  v.setBigUint64(80, h.parentSalt, true);
  v.setBigUint64(88, BigInt(h.parentEnd), true);
  v.setBigUint64(96, BigInt(h.parentLastLsn), true);
  v.setBigUint64(104, BigInt(h.term), true);
  v.setBigUint64(112, BigInt(h.epoch), true);
  v.setBigInt64(120, h.createdNs, true);
  v.setUint32(128, h.frameAlign, true);
  v.setBigUint64(136, BigInt(h.segmentBytes), true);
  v.setBigUint64(144, BigInt(h.provenEnd), true);
  v.setBigUint64(152, BigInt(h.provenLsn), true);
  v.setUint32(252, placedChecksum(h.salt, 0, bytes.subarray(0, 252)), true);
  return bytes;
}

/** Damage to something that was durable. */
export function corrupt(message: string, file: string, offset: number, lsn?: number): CorewalError {
  return new CorewalError(
    "COREWAL_CORRUPT",
    `${message} (${file}, offset ${offset}): nothing was changed; keep the files and see the README`,
    { file, offset, lsn },
  );
}

/** Reads and checks preamble and header: a bad one under a final name is corruption, a newer version its own answer. */
export function readSegmentHeader(file: StorageFile): SegmentHeader {
  const bytes = new Uint8Array(HEADER_BYTES);
  const v = viewOf(bytes);
  const whole = readAll(file, bytes, 0);
  if (!whole || !startsWith(bytes, SEGMENT_MAGIC) || v.getUint32(28, true) !== placedChecksum(0n, 0, bytes.subarray(0, 28))) {
    throw corrupt("the segment's preamble is damaged", file.path, 0);
  }
  const version = v.getUint32(8, true);
  if (version !== FORMAT_VERSION) {
    throw new CorewalError(
      "COREWAL_UNKNOWN_VERSION",
      `${file.path} has format version ${version}, this corewal reads ${FORMAT_VERSION}: open it with a newer corewal`,
      { file: file.path, offset: 8 },
    );
  }
  const salt = v.getBigUint64(48, true);
  if (
    v.getUint32(12, true) !== HEADER_BYTES ||
    v.getUint32(16, true) !== KIND_SEGMENT ||
    v.getUint32(252, true) !== placedChecksum(salt, 0, bytes.subarray(0, 252))
  ) {
    throw corrupt("the segment's header is damaged", file.path, PREAMBLE_BYTES);
  }
  const u64 = (at: number): number => Number(v.getBigUint64(at, true));
  return {
    logId: bytes.slice(32, 48),
    salt,
    chain: v.getUint32(60, true),
    number: u64(64),
    parentNumber: u64(72),
    parentSalt: v.getBigUint64(80, true),
    parentEnd: u64(88),
    parentLastLsn: u64(96),
    term: u64(104),
    epoch: u64(112),
    createdNs: v.getBigInt64(120, true),
    frameAlign: v.getUint32(128, true),
    segmentBytes: u64(136),
    provenEnd: u64(144),
    provenLsn: u64(152),
  };
}

/** Where the first frame of a segment stands. */
export function firstFrameOffset(frameAlign: number): number {
  return alignUp(HEADER_BYTES, frameAlign);
}

// --- footer -------------------------------------------------------------------------------------

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
  };
}

/** First word of a trailer, for searching. */
export const FOOTER_MAGIC_WORD = viewOf(ascii(FOOTER_MAGIC)).getUint32(0, true);
