// One file of a chain. FORMAT.md, "Segment file".
//
//   | preamble, header 256 | frames … | index | trailer 192 | mark 64 |
//                                       `------- footer.ts, once sealed'

import { placedChecksum } from "./core.js";
import { CorewalError } from "./errors.js";
import { alignUp, exactU64 } from "./frame.js";
import { CHAINS_MAX, decodeMarks, encodeMarks, NO_MARKS, type Marks } from "./marks.js";
import { readAll, type StorageFile } from "./storage.js";
import type { Topology } from "./types.js";

const FILE_MAGIC = "corewal\0";
const FORMAT_VERSION = 1;
export const HEADER_BYTES = 256;
const PREAMBLE_BYTES = 32;
const KIND_SEGMENT = 1;
/** Each at its number in headers. */
export const TOPOLOGIES: readonly Topology[] = ["striped", "per-core"];
const MARKS_AT = 168;
const FLOOR_AT = 224;
const ORIGIN_AT = 232;
const FRAME_ALIGN_MIN = 64;
const FRAME_ALIGN_MAX = 65536;
const FLAG_CUTS_PARENT = 1;
const FLAG_NEEDS_CHECKPOINT = 2;

/** At most one index entry for so many bytes of frames. */
export const INDEX_STRIDE_BYTES = 65536;

export interface SegmentHeader {
  logId: Uint8Array;
  salt: bigint;
  topology: Topology;
  /** 0 in a striped log, else the core. */
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
  /** The parent was cut to make room for this one: a footer or mark of the parent that says otherwise does not count. */
  cutsParent: boolean;
  /** When it was made. */
  marks: Marks;
  /** Segments of the chain with lower numbers are not part of the log any more; 0: none was dropped. */
  floor: number;
  /** What was dropped is held by a checkpoint only: without one the log is not whole. */
  needsCheckpoint: boolean;
  /** Log id of the log that this one was restored from; undefined: it was not. */
  origin: Uint8Array | undefined;
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
  /** Of its last epoch entry. */
  marks: Marks;
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
    marks: NO_MARKS,
  };
}

export interface FrameFacts {
  offset: number;
  /** Control entries included. */
  entries: number;
  firstLsn: number;
  lsns: number;
  userEntries: number;
  payloadBytes: number;
  voidLsns: number;
  term: number;
  epoch: number;
  timeNs: bigint;
  /** Of its last epoch entry, if it has one. */
  marks?: Marks | undefined;
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
  if (f.marks !== undefined) s.marks = f.marks;
  const last = s.index.at(-1);
  if (f.lsns > 0 && (last === undefined || f.offset - last[1] >= INDEX_STRIDE_BYTES)) s.index.push([f.firstLsn, f.offset]);
}

// --- names --------------------------------------------------------------------------------------

export function segmentName(chain: number, number: number): string {
  return `${String(chain).padStart(3, "0")}-${String(number).padStart(10, "0")}.wal`;
}

/** The highest number that a name can hold. */
export const SEGMENT_NUMBER_MAX = 9_999_999_999;

/** A file under construction has this behind its name; recovery does not look at it. */
export const NEW_SUFFIX = ".new";
/** What a repair took out of the log has this and a number behind its name; nothing looks at it. */
export const REMOVED_SUFFIX = ".removed-";

/** As long as it is there, a restore is under way, or was interrupted: the directory is no log. */
export const RESTORING_NAME = "corewal.restoring";

export function parseSegmentName(name: string): { chain: number; number: number } | undefined {
  const match = /^(\d{3})-(\d{10})\.wal$/.exec(name);
  return match === null ? undefined : { chain: Number(match[1]), number: Number(match[2]) };
}

/** A file of zeros, of which a segment will be made. */
export function spareName(number: number): string {
  return `spare-${String(number).padStart(10, "0")}`;
}

export function parseSpareName(name: string): number | undefined {
  const number = /^spare-(\d{10})$/.exec(name)?.[1];
  return number === undefined ? undefined : Number(number);
}

/** Does the name belong to corewal, in whatever state? */
export function isOurName(name: string): boolean {
  return (
    /^\d{3}-\d{10}\.wal(\.new|\.removed-\d+)?$/.test(name) ||
    /^checkpoint-\d{10}\.ckp(\.new)?$/.test(name) ||
    /^spare-\d{10}(\.new)?$/.test(name) ||
    /^corewal\.archive(\.new)?$/.test(name) ||
    /^corewal\.lock(\.|$)/.test(name) ||
    name === RESTORING_NAME
  );
}

/** Of a file under construction, whatever it was to become. */
export function isUnfinished(name: string): boolean {
  return name.endsWith(NEW_SUFFIX) && isOurName(name);
}

// --- header -------------------------------------------------------------------------------------

export const ascii = (text: string): Uint8Array => Buffer.from(text, "latin1");

export function startsWith(bytes: Uint8Array, text: string): boolean {
  for (let i = 0; i < text.length; i++) if (bytes[i] !== text.charCodeAt(i)) return false;
  return true;
}

export const viewOf = (b: Uint8Array): DataView => new DataView(b.buffer, b.byteOffset, b.byteLength);

/** A header of zeros behind the preamble, which is the same in all versions. */
export function encodePreamble(kind: number): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES);
  const v = viewOf(bytes);
  bytes.set(ascii(FILE_MAGIC), 0);
  v.setUint32(8, FORMAT_VERSION, true);
  v.setUint32(12, HEADER_BYTES, true);
  v.setUint32(16, kind, true);
  v.setUint32(28, placedChecksum(0n, 0, bytes.subarray(0, 28)), true);
  return bytes;
}

/** Throws if the preamble is damaged, or of a version that this corewal does not know. */
export function requirePreamble(bytes: Uint8Array, path: string, what: string): void {
  const v = viewOf(bytes);
  if (!startsWith(bytes, FILE_MAGIC) || v.getUint32(28, true) !== placedChecksum(0n, 0, bytes.subarray(0, 28)))
    throw corrupt(`the ${what}'s preamble is damaged`, path, 0);
  const version = v.getUint32(8, true);
  if (version !== FORMAT_VERSION) {
    throw new CorewalError(
      "COREWAL_UNKNOWN_VERSION",
      `${path} has format version ${version}, this corewal reads ${FORMAT_VERSION}: open it with a newer corewal`,
      { file: path, offset: 8 },
    );
  }
}

export function encodeSegmentHeader(h: SegmentHeader): Uint8Array {
  const bytes = encodePreamble(KIND_SEGMENT);
  const v = viewOf(bytes);
  bytes.set(h.logId, 32);
  v.setBigUint64(48, h.salt, true);
  v.setUint32(56, TOPOLOGIES.indexOf(h.topology), true);
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
  v.setUint32(160, (h.cutsParent ? FLAG_CUTS_PARENT : 0) | (h.needsCheckpoint ? FLAG_NEEDS_CHECKPOINT : 0), true);
  encodeMarks(h.marks, bytes, MARKS_AT);
  v.setBigUint64(FLOOR_AT, BigInt(h.floor), true);
  if (h.origin !== undefined) bytes.set(h.origin, ORIGIN_AT);
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
  readAll(file, bytes, 0);
  return decodeSegmentHeader(bytes, file);
}

function decodeSegmentHeader(bytes: Uint8Array, file: StorageFile): SegmentHeader {
  const v = viewOf(bytes);
  requirePreamble(bytes, file.path, "segment");
  const salt = v.getBigUint64(48, true);
  if (v.getUint32(12, true) !== HEADER_BYTES || v.getUint32(16, true) !== KIND_SEGMENT || headerSyndrome(bytes) !== 0) {
    throw corrupt("the segment's header is damaged", file.path, PREAMBLE_BYTES);
  }
  const topology = TOPOLOGIES[v.getUint32(56, true)];
  if (topology === undefined) {
    throw new CorewalError(
      "COREWAL_UNKNOWN_VERSION",
      `${file.path} is of a log with topology ${v.getUint32(56, true)}, this corewal reads ${TOPOLOGIES.map((name, i) => `${i} (${name})`).join(" and ")}: open it with a newer corewal`,
      { file: file.path, offset: 56 },
    );
  }
  const u64 = (at: number): number => {
    const value = exactU64(v, at);
    if (value === undefined) throw corrupt("the segment's header has a number that is too large", file.path, at);
    return value;
  };
  const frameAlign = v.getUint32(128, true);
  if (frameAlign < FRAME_ALIGN_MIN || frameAlign > FRAME_ALIGN_MAX || (frameAlign & (frameAlign - 1)) !== 0)
    throw corrupt(`the segment's frame align is ${frameAlign}`, file.path, 128);
  const chain = v.getUint32(60, true);
  if (chain >= CHAINS_MAX) throw corrupt(`there is no chain ${chain}`, file.path, 60);
  const marks = decodeMarks(bytes, MARKS_AT);
  if (marks === undefined) throw corrupt("the segment's marks have a number that is too large", file.path, MARKS_AT);
  // Whoever follows parents must come to an end.
  if (u64(72) >= u64(64)) throw corrupt(`segment ${u64(64)} continues segment ${u64(72)}`, file.path, 72);
  if (u64(FLOOR_AT) > u64(64))
    throw corrupt(`segment ${u64(64)} says that the log begins with segment ${u64(FLOOR_AT)}`, file.path, FLOOR_AT);
  const origin = bytes.slice(ORIGIN_AT, ORIGIN_AT + 16);
  return {
    logId: bytes.slice(32, 48),
    salt,
    topology,
    chain,
    number: u64(64),
    parentNumber: u64(72),
    parentSalt: v.getBigUint64(80, true),
    parentEnd: u64(88),
    parentLastLsn: u64(96),
    term: u64(104),
    epoch: u64(112),
    createdNs: v.getBigInt64(120, true),
    frameAlign,
    segmentBytes: u64(136),
    provenEnd: u64(144),
    provenLsn: u64(152),
    cutsParent: (v.getUint32(160, true) & FLAG_CUTS_PARENT) !== 0,
    marks,
    floor: u64(FLOOR_AT),
    needsCheckpoint: (v.getUint32(160, true) & FLAG_NEEDS_CHECKPOINT) !== 0,
    origin: origin.every((byte) => byte === 0) ? undefined : origin,
  };
}

/** What the header's checksum is off by; 0 if it is right. */
function headerSyndrome(bytes: Uint8Array): number {
  const v = viewOf(bytes);
  return (v.getUint32(252, true) ^ placedChecksum(v.getBigUint64(48, true), 0, bytes.subarray(0, 252))) >>> 0;
}

let flips: Map<number, number> | undefined;

/**
 * A damaged header whose only fault is one flipped bit, put right; undefined if it is another fault. A checksum is
 * linear, so each bit shifts it by an amount of its own; at this length CRC32C tells apart all pairs of bits
 * (Koopman, "32-bit cyclic redundancy codes for internet applications", DSN 2002).
 */
export function mendSegmentHeader(file: StorageFile): SegmentHeader | undefined {
  const bytes = new Uint8Array(HEADER_BYTES);
  if (!readAll(file, bytes, 0)) return undefined;
  const flip = (bit: number): Uint8Array => ((bytes[bit >> 3]! ^= 1 << (bit & 7)), bytes);
  const syndrome = headerSyndrome(bytes);
  if (flips === undefined) {
    flips = new Map();
    for (let bit = 0; bit < HEADER_BYTES * 8; bit++) {
      flips.set((headerSyndrome(flip(bit)) ^ syndrome) >>> 0, bit);
      flip(bit);
    }
  }
  const wrong = flips.get(syndrome);
  if (wrong === undefined) return undefined;
  try {
    return decodeSegmentHeader(flip(wrong), file);
  } catch {
    return undefined;
  }
}

/** Where the first frame of a segment stands. */
export function firstFrameOffset(frameAlign: number): number {
  return alignUp(HEADER_BYTES, frameAlign);
}
