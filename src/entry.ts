// Entries on the host's side: from the user's input to bytes in a ring, and from a frame to Entry objects.
// The layout of an entry stands above assembly/entry.ts.

import {
  ENTRY_HEADER_BYTES,
  ENTRY_KEY_BYTES,
  ENTRY_KIND,
  ENTRY_PAYLOAD_BYTES,
  ENTRY_STRIPE,
  FRAME_BAD_ENTRY,
  FRAME_HEADER_BYTES,
  KIND_COMMIT,
  KIND_DATA,
  KIND_DELETE,
  KIND_EPOCH,
  KIND_LOST,
  KIND_PUT,
  KIND_VOID,
  TIME_BYTES,
} from "../assembly/layout.js";
import type { Core } from "./core.js";
import { mistake, outOfRange, CorewalError } from "./errors.js";
import type { FrameHeader } from "./frame.js";
import type { Bytes, Entry, Input, Kind, LostRange } from "./types.js";

/** An input, checked and measured, its bytes still the caller's. */
export interface Prepared {
  kind: number;
  key: Bytes;
  value: Bytes;
  keyBytes: number;
  payloadBytes: number;
}

const NAMES: Record<number, Kind> = {
  [KIND_DATA]: "data",
  [KIND_PUT]: "put",
  [KIND_DELETE]: "delete",
  [KIND_COMMIT]: "commit",
  [KIND_VOID]: "void",
  [KIND_LOST]: "lost",
  [KIND_EPOCH]: "epoch",
};
const NOTHING = new Uint8Array(0);

const isBytes = (value: unknown): value is Bytes => typeof value === "string" || value instanceof Uint8Array;

/** Bytes of an entry with its header and its padding. */
export const bodyBytesOf = (payloadBytes: number): number => ENTRY_HEADER_BYTES + ((payloadBytes + 7) & ~7);

function bytesIn(value: Bytes): number {
  return typeof value === "string" ? Buffer.byteLength(value) : value.length;
}

/** Checks an input. Throws a TypeError or RangeError with a code; nothing has happened then. */
export function prepare(input: Input, maxEntryBytes: number): Prepared {
  let kind = KIND_DATA;
  let key: Bytes = NOTHING;
  let value: Bytes = NOTHING;
  if (isBytes(input)) {
    value = input;
  } else if (typeof input !== "object" || input === null) {
    throw mistake(
      "COREWAL_INVALID_INPUT",
      `an entry is a Uint8Array, a string, or an object with a kind, not ${input === null ? "null" : typeof input}`,
    );
  } else if (input.kind === "put") {
    kind = KIND_PUT;
    ({ key, value } = input);
  } else if (input.kind === "delete") {
    kind = KIND_DELETE;
    ({ key } = input);
  } else if (input.kind === "commit") {
    kind = KIND_COMMIT;
    value = encodeCommit(input.offsets, input.watermark);
  } else {
    throw mistake(
      "COREWAL_INVALID_INPUT",
      `an entry's kind is put, delete or commit, not ${String((input as { kind?: unknown }).kind)}; plain bytes are a Uint8Array or a string`,
    );
  }
  if (!isBytes(key) || !isBytes(value)) throw mistake("COREWAL_INVALID_INPUT", "an entry's key and value are a Uint8Array or a string");
  const keyBytes = bytesIn(key);
  const payloadBytes = keyBytes + bytesIn(value);
  if (kind === KIND_DATA ? payloadBytes === 0 : kind !== KIND_COMMIT && keyBytes === 0) {
    throw outOfRange("COREWAL_EMPTY", kind === KIND_DATA ? "an entry has at least one byte" : "a key has at least one byte");
  }
  if (payloadBytes > maxEntryBytes) throw entryTooLarge(payloadBytes, maxEntryBytes);
  return { kind, key, value, keyBytes, payloadBytes };
}

function entryTooLarge(bytes: number, max: number): RangeError {
  return outOfRange(
    "COREWAL_ENTRY_TOO_LARGE",
    `an entry of ${bytes} bytes is larger than maxEntryBytes (${max}): split it, or open the log with a larger maxEntryBytes and ringBytes`,
  );
}

/** A copy that no longer needs the caller's memory. */
export function detach(p: Prepared): Prepared {
  const copy = (b: Bytes): Bytes => (typeof b === "string" ? b : b.slice());
  return { ...p, key: copy(p.key), value: copy(p.value) };
}

/** Where payloads are copied to: the shared memory, as bytes and as a Buffer for strings. */
export class PayloadTarget {
  private readonly buffer: Buffer;
  private scratch = new Uint8Array(4096);

  constructor(private readonly bytes: Uint8Array) {
    this.buffer = Buffer.from(bytes.buffer, bytes.byteOffset);
  }

  put(value: Bytes, at: number): void {
    if (typeof value === "string") {
      this.buffer.write(value, at);
    } else if (value.length > 256 && ((value.byteOffset ^ at) & 7) !== 0) {
      // V8 copies byte by byte into shared memory when the two addresses differ modulo 8: align first.
      if (this.scratch.length < value.length) this.scratch = new Uint8Array(value.length * 2);
      this.scratch.set(value);
      this.bytes.set(this.scratch.subarray(0, value.length), at);
    } else {
      this.bytes.set(value, at);
    }
  }

  /** Key and value. */
  putPayload(p: Prepared, at: number): void {
    if (p.keyBytes > 0) this.put(p.key, at);
    if (p.payloadBytes > p.keyBytes) this.put(p.value, at + p.keyBytes);
  }
}

/** Writes entries one behind the other into reserved space from `at` on, their checksums without the LSN. */
export function encodeGroup(core: Core, target: PayloadTarget, group: Prepared[], at: number, seed: number, stripe: number): void {
  const { x } = core;
  for (const p of group) {
    target.putPayload(p, x.ring_entry(stripe, at, p.payloadBytes, p.keyBytes, p.kind));
    at = x.entry_end(seed, at);
  }
}

// --- commit entries -------------------------------------------------------------------------------
//
//   | flags u32 (1: has watermark) | count u32 | watermark i64 | count × { offset i64 | name bytes u32 | name UTF-8 } |

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const I64_MIN = -(2n ** 63n);
const I64_MAX = 2n ** 63n - 1n;

function encodeCommit(offsets: unknown, watermark: unknown): Uint8Array {
  if (typeof offsets !== "object" || offsets === null)
    throw mistake("COREWAL_INVALID_INPUT", "a commit's offsets are an object of names and bigints");
  const check = (what: string, value: unknown): bigint => {
    if (typeof value !== "bigint") throw mistake("COREWAL_INVALID_INPUT", `${what} is a bigint, not ${typeof value}`);
    if (value < I64_MIN || value > I64_MAX) throw outOfRange("COREWAL_INVALID_INPUT", `${what} is ${value}: it must fit 64 bits with sign`);
    return value;
  };
  const names = Object.entries(offsets).map(([name, offset]) => {
    // Two of them would become one in UTF-8.
    if (/\p{Surrogate}/u.test(name))
      throw outOfRange("COREWAL_INVALID_INPUT", "a name in a commit's offsets has half a surrogate pair, which UTF-8 cannot hold");
    return { name: Buffer.from(name), offset: check(`offset ${name}`, offset) };
  });
  const bytes = new Uint8Array(16 + names.reduce((sum, n) => sum + 12 + n.name.length, 0));
  const v = new DataView(bytes.buffer);
  v.setUint32(0, watermark === undefined ? 0 : 1, true);
  v.setUint32(4, names.length, true);
  v.setBigInt64(8, watermark === undefined ? 0n : check("the watermark", watermark), true);
  let at = 16;
  for (const { name, offset } of names) {
    v.setBigInt64(at, offset, true);
    v.setUint32(at + 8, name.length, true);
    bytes.set(name, at + 12);
    at += 12 + name.length;
  }
  return bytes;
}

/**
 * Offsets and watermark of a `commit` entry.
 *
 * @param entry an entry whose kind is `commit`
 * @returns what was appended; `offsets` has no prototype
 * @throws TypeError COREWAL_INVALID_INPUT if it is of another kind; CorewalError COREWAL_CORRUPT if its value is not what
 *   `commit` writes
 * @example
 * const lsn = await log.append({ kind: "commit", offsets: { orders: 41n }, watermark: 40n });
 * const entry = await log.get(lsn);
 * if (entry?.kind === "commit") console.log(decodeCommit(entry).offsets.orders); // 41n
 */
export function decodeCommit(entry: Entry): {
  /** Position for each name. */
  offsets: Record<string, bigint>;
  /** Missing if none was appended. */
  watermark?: bigint;
} {
  if (entry.kind !== "commit") throw mistake("COREWAL_INVALID_INPUT", `entry ${entry.lsn} is a ${entry.kind}, not a commit`);
  const { value } = entry;
  const v = new DataView(value.buffer, value.byteOffset, value.byteLength);
  try {
    const offsets: Record<string, bigint> = Object.create(null) as Record<string, bigint>;
    const count = v.getUint32(4, true);
    let at = 16;
    for (let i = 0; i < count; i++) {
      const nameBytes = v.getUint32(at + 8, true);
      if (at + 12 + nameBytes > value.length) throw new RangeError("name");
      const name = utf8.decode(value.subarray(at + 12, at + 12 + nameBytes));
      if (Object.hasOwn(offsets, name)) throw new RangeError("a name that occurs twice");
      offsets[name] = v.getBigInt64(at, true);
      at += 12 + nameBytes;
    }
    if (at !== value.length) throw new RangeError("bytes behind the last name");
    return v.getUint32(0, true) & 1 ? { offsets, watermark: v.getBigInt64(8, true) } : { offsets };
  } catch (cause) {
    throw new CorewalError("COREWAL_CORRUPT", `commit entry ${entry.lsn} cannot be decoded`, { lsn: entry.lsn, cause });
  }
}

// --- lost entries ---------------------------------------------------------------------------------
//
//   | first LSN u64 | last LSN u64, 0: not known | policy u32: 1 truncate, 2 skip | 0 u32 |

const LOST_BYTES = 24;

export function encodeLost({ first, last }: LostRange, policy: "truncate" | "skip"): Uint8Array {
  const bytes = new Uint8Array(LOST_BYTES);
  const v = new DataView(bytes.buffer);
  v.setBigUint64(0, BigInt(first), true);
  v.setBigUint64(8, BigInt(last ?? 0), true);
  v.setUint32(16, policy === "truncate" ? 1 : 2, true);
  return bytes;
}

/**
 * What a `lost` entry says: which entries a repair could not keep. `read({ internal: true })` gives such entries.
 *
 * @param entry an entry whose kind is `lost`
 * @returns the LSNs that are gone
 * @throws TypeError COREWAL_INVALID_INPUT if it is of another kind; CorewalError COREWAL_CORRUPT if its value is not what a
 *   repair writes
 * @example
 * for await (const entry of log.read({ internal: true }))
 *   if (entry.kind === "lost") console.error("lost for good:", decodeLost(entry));
 */
export function decodeLost(entry: Entry): LostRange {
  if (entry.kind !== "lost") throw mistake("COREWAL_INVALID_INPUT", `entry ${entry.lsn} is a ${entry.kind}, not a lost one`);
  const { value } = entry;
  if (value.length !== LOST_BYTES)
    throw new CorewalError("COREWAL_CORRUPT", `lost entry ${entry.lsn} cannot be decoded`, { lsn: entry.lsn });
  const v = new DataView(value.buffer, value.byteOffset, value.byteLength);
  const last = Number(v.getBigUint64(8, true));
  return { first: Number(v.getBigUint64(0, true)), ...(last === 0 ? {} : { last }) };
}

// --- reading ----------------------------------------------------------------------------------------

/** How many LSNs the entry at `at`, which is whole, takes. */
export function lsnsOf(core: Core, at: number): number {
  const kind = core.view.getUint8(at + ENTRY_KIND);
  if (kind === KIND_VOID) return Number(core.view.getBigUint64(at + ENTRY_HEADER_BYTES, true));
  return kind < KIND_VOID ? 1 : 0;
}

/** Each entry of a whole frame until `see` returns false: its address, its LSN, how many it takes, its kind. */
export function eachEntry(
  core: Core,
  at: number,
  { bytes, firstLsn }: Pick<FrameHeader, "bytes" | "firstLsn">,
  see: (p: number, lsn: number, lsns: number, kind: number) => boolean,
): void {
  let lsn = firstLsn;
  for (let p = at + FRAME_HEADER_BYTES; p < at + bytes;) {
    const next = p + bodyBytesOf(core.view.getUint32(p + ENTRY_PAYLOAD_BYTES, true));
    const lsns = lsnsOf(core, p);
    if (!see(p, lsn, lsns, core.view.getUint8(p + ENTRY_KIND))) return;
    lsn += lsns;
    p = next;
  }
}

/** CRC32C of the headers of the entries that stand one behind the other in [from, to). */
export function headersChecksum(core: Core, from: number, to: number): number {
  let register = -1;
  for (let p = from; p < to; p += bodyBytesOf(core.view.getUint32(p + ENTRY_PAYLOAD_BYTES, true)))
    register = core.x.crc32c_update(register, p, ENTRY_HEADER_BYTES);
  return ~register >>> 0;
}

/**
 * Checks entries that stand one behind the other in [at, end), outside of any frame.
 * @throws CorewalError COREWAL_CORRUPT with the LSN and the offset of the first that is not whole
 */
export function verifyEntries(core: Core, at: number, end: number, seed: number, firstLsn: number): void {
  let lsn = firstLsn;
  for (let p = at; p < end;) {
    const size = core.x.entry_verify(p, end - p, seed, lsn);
    if (size <= 0) {
      const what =
        -size === FRAME_BAD_ENTRY ? "has another checksum: wrong bytes, LSN, log id or term" : "is cut short or has an impossible header";
      throw new CorewalError("COREWAL_CORRUPT", `the entry at byte ${p - at}, LSN ${lsn}, ${what}`, { lsn, offset: p - at });
    }
    lsn += lsnsOf(core, p);
    if (lsn > Number.MAX_SAFE_INTEGER)
      throw new CorewalError("COREWAL_CORRUPT", `the entry at byte ${p - at} takes LSNs beyond 2^53, which nobody writes`, {
        offset: p - at,
      });
    p += size;
  }
}

/** Entries of one reading share copies of about this size, so that keeping one keeps no more than that. */
const COPY_BYTES = 65536;
const WORD = 2 ** 32;

/** What to give out of the frames of a chain. */
export interface Wanted {
  /** First and last LSN. */
  from: number;
  to: number;
  /** The last time, Unix, in milliseconds. */
  toTimeMs: number;
  /** Control entries too. */
  internal: boolean;
}

type DecodedHeader = Pick<FrameHeader, "bytes" | "firstLsn" | "term" | "epoch" | "timeNs">;

/**
 * The entries of verified frames of one chain, one frame after the other, given out in runs. It stands before the next
 * entry that is wanted, and knows what that is merged by: `epoch` and its time, in nanoseconds as two words, since
 * doubles are too coarse and reading BigInts takes longer than all the rest.
 *
 * In a `timed` chain, of a per-core log, each of the user's entries has a time of its own, and a control entry that of the
 * entry before it; if that was not seen, that of the next one in its frame, or else the frame's. So times never go
 * back. In another chain all entries have the frame's time.
 */
export class FrameEntries {
  epoch = 0;
  timeHigh = 0;
  timeLow = 0;
  /** No entry of this frame is left. */
  done = true;
  /** It ended at an entry behind `toTimeMs`: nothing that is wanted follows. */
  beyond = false;
  private timeKnown = false;
  private core!: Core;
  private term = 0;
  private at = 0;
  private end = 0;
  /** Of the entry at `at`, and of the one behind it. */
  private lsn = 0;
  private nextLsn = 0;
  private kind: Kind = "data";
  /** Bytes [copyAt, copyEnd) of the window. */
  private copy: ArrayBuffer | undefined;
  private copyAt = 0;
  private copyEnd = 0;

  constructor(
    private readonly timed: boolean,
    /** Decides between entries of the same epoch and time. */
    private readonly chain: number,
    readonly wanted: Wanted,
  ) {}

  /** Goes to the frame whose header and entries stand at `at`. The window must stay as it is until its entries are taken. */
  enter(core: Core, at: number, header: DecodedHeader): void {
    this.core = core;
    this.term = header.term;
    this.epoch = header.epoch;
    this.at = at + FRAME_HEADER_BYTES;
    this.end = at + header.bytes;
    this.nextLsn = header.firstLsn;
    this.copyEnd = 0;
    if (!this.timed || !this.timeKnown) this.learnTime(header);
    this.settle();
  }

  /** Passes a frame over. */
  skip(header: DecodedHeader): void {
    this.setTime(header.timeNs);
    this.timeKnown = true;
  }

  private learnTime(header: DecodedHeader): void {
    this.setTime(header.timeNs);
    if (!this.timed) return;
    this.timeKnown = true;
    const v = this.core.view;
    for (let p = this.at; p < this.end; p += bodyBytesOf(v.getUint32(p + ENTRY_PAYLOAD_BYTES, true))) {
      if (v.getUint8(p + ENTRY_KIND) < KIND_VOID) return this.readTime(p, header.firstLsn);
    }
  }

  private readTime(at: number, lsn: number): void {
    const v = this.core.view;
    // Checksums are right, so it is not damage that says so; whoever wrote it, it must not lead outside.
    if (v.getUint32(at + ENTRY_PAYLOAD_BYTES, true) - v.getUint32(at + ENTRY_KEY_BYTES, true) < TIME_BYTES)
      throw new CorewalError("COREWAL_CORRUPT", `entry ${lsn} has no room for its time`, { lsn });
    this.timeLow = v.getUint32(at + ENTRY_HEADER_BYTES, true);
    this.timeHigh = v.getInt32(at + ENTRY_HEADER_BYTES + 4, true);
  }

  private setTime(timeNs: bigint): void {
    this.timeHigh = Number(timeNs >> 32n);
    this.timeLow = Number(BigInt.asUintN(32, timeNs));
  }

  /** Does its next entry come before the other's? */
  before(other: FrameEntries): boolean {
    if (this.epoch !== other.epoch) return this.epoch < other.epoch;
    if (this.timeHigh !== other.timeHigh) return this.timeHigh < other.timeHigh;
    if (this.timeLow !== other.timeLow) return this.timeLow < other.timeLow;
    return this.chain < other.chain;
  }

  /** From `at` on looks for an entry that is wanted. */
  private settle(): void {
    const { end, timed } = this;
    const { from, to, toTimeMs, internal } = this.wanted;
    const v = this.core.view;
    let p = this.at;
    let lsn = this.nextLsn;
    let next = lsn;
    for (; p < end; p += bodyBytesOf(v.getUint32(p + ENTRY_PAYLOAD_BYTES, true)), lsn = next) {
      const kind = v.getUint8(p + ENTRY_KIND);
      if (kind < KIND_VOID) {
        next = lsn + 1;
        if (timed) this.readTime(p, lsn);
      } else {
        next = lsn + lsnsOf(this.core, p);
        if (!internal) continue;
      }
      if (lsn > to) break;
      if (toTimeMs !== Infinity && this.timestampMs() > toTimeMs) {
        this.beyond = true;
        break;
      }
      const name = NAMES[kind];
      // A kind that this version does not know takes its LSNs and is passed over.
      if (name === undefined || (next > lsn ? next - 1 : lsn) < from) continue;
      this.kind = name;
      this.at = p;
      this.lsn = lsn;
      this.nextLsn = next;
      this.done = false;
      return;
    }
    this.at = end;
    this.done = true;
  }

  private timestampMs(): number {
    return (this.timeHigh * WORD + this.timeLow) / 1e6;
  }

  /**
   * Appends entries to `out`, up to `max` there, as long as they come before the next one of `other`. The bytes are
   * copied out of the window.
   */
  take(out: Entry[], max = Infinity, other?: FrameEntries): void {
    let limitHigh = Infinity;
    let limitLow = 0;
    if (other !== undefined && other.epoch <= this.epoch) {
      limitHigh = other.epoch < this.epoch ? -Infinity : other.timeHigh;
      limitLow = this.chain < other.chain ? other.timeLow + 1 : other.timeLow;
    }
    const { core, timed, term, epoch } = this;
    const v = core.view;
    while (!this.done && out.length < max) {
      const { at, kind, timeHigh, timeLow, lsn } = this;
      if (timeHigh >= limitHigh && (timeHigh > limitHigh || timeLow >= limitLow)) return;
      const payloadBytes = v.getUint32(at + ENTRY_PAYLOAD_BYTES, true);
      const keyBytes = v.getUint32(at + ENTRY_KEY_BYTES, true);
      const next = at + bodyBytesOf(payloadBytes);
      if (next > this.copyEnd) this.copyOut(at, next);
      const copy = this.copy!;
      const timeBytes = timed && v.getUint8(at + ENTRY_KIND) < KIND_VOID ? TIME_BYTES : 0;
      const payload = at + ENTRY_HEADER_BYTES + timeBytes - this.copyAt;
      const value = new Uint8Array(copy, payload + keyBytes, payloadBytes - timeBytes - keyBytes);
      const stripe = v.getUint8(at + ENTRY_STRIPE);
      const timestampMs = (timeHigh * WORD + timeLow) / 1e6;
      // Two literals: a property that is added later costs a third more.
      out.push(
        keyBytes > 0
          ? { lsn, term, epoch, core: stripe, kind, timestampMs, key: new Uint8Array(copy, payload, keyBytes), value }
          : { lsn, term, epoch, core: stripe, kind, timestampMs, value },
      );
      this.at = next;
      this.settle();
    }
  }

  /** Copies [at, next) and some of what follows. */
  private copyOut(at: number, next: number): void {
    this.copyAt = at;
    this.copyEnd = Math.min(this.end, Math.max(at + COPY_BYTES, next));
    // Not zeroed first, which would take as long as copying.
    const bytes = Buffer.allocUnsafeSlow(this.copyEnd - at);
    bytes.set(this.core.bytes.subarray(at, this.copyEnd));
    this.copy = bytes.buffer;
  }
}

/**
 * Appends the entries of a verified frame at `at` to `out`: those with from ≤ LSN ≤ to, control entries
 * only if `internal`. The bytes are copied out of the window. In a `timed` frame, of a per-core log, each of the user's
 * entries has a time of its own.
 */
export function decodeEntries(
  core: Core,
  at: number,
  header: DecodedHeader,
  from: number,
  to: number,
  internal: boolean,
  out: Entry[],
  timed = false,
): void {
  const entries = new FrameEntries(timed, 0, { from, to, toTimeMs: Infinity, internal });
  entries.enter(core, at, header);
  entries.take(out);
}
