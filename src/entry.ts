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
  KIND_PUT,
  KIND_VOID,
} from "../assembly/layout.js";
import type { Core } from "./core.js";
import { mistake, outOfRange, CorewalError } from "./errors.js";
import type { FrameHeader } from "./frame.js";
import type { Bytes, Entry, Input, Kind } from "./types.js";

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
    this.buffer = Buffer.from(bytes.buffer);
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

/** Writes entries one behind the other from `at` on, their checksums without the LSN. */
export function encodeGroup(core: Core, target: PayloadTarget, group: Prepared[], at: number, seed: number, stripe: number): void {
  const { x } = core;
  for (const p of group) {
    target.putPayload(p, x.entry_begin(at, p.payloadBytes, p.keyBytes, p.kind, stripe));
    at = x.entry_end(seed, at);
  }
}

// --- commit entries -------------------------------------------------------------------------------
//
//   | flags u32 (1: has watermark) | count u32 | watermark i64 | count × { offset i64 | name bytes u32 | name UTF-8 } |

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
      offsets[Buffer.from(value.buffer, value.byteOffset + at + 12, nameBytes).toString()] = v.getBigInt64(at, true);
      at += 12 + nameBytes;
    }
    return v.getUint32(0, true) & 1 ? { offsets, watermark: v.getBigInt64(8, true) } : { offsets };
  } catch (cause) {
    throw new CorewalError("COREWAL_CORRUPT", `commit entry ${entry.lsn} cannot be decoded`, { lsn: entry.lsn, cause });
  }
}

// --- reading ----------------------------------------------------------------------------------------

/** How many LSNs the entry at `at` takes. */
function lsnsOf(core: Core, at: number): number {
  const kind = core.view.getUint8(at + ENTRY_KIND);
  if (kind === KIND_VOID) return Number(core.view.getBigUint64(at + ENTRY_HEADER_BYTES, true));
  return kind < KIND_VOID ? 1 : 0;
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
    p += size;
  }
}

/** Entries of one reading share copies of about this size, so that keeping one keeps no more than that. */
const COPY_BYTES = 65536;

/**
 * Appends the entries of a verified frame at `at` to `out`: those with from ≤ LSN ≤ to, control entries
 * only if `internal`. The bytes are copied out of the window.
 */
export function decodeEntries(
  core: Core,
  at: number,
  header: Pick<FrameHeader, "bytes" | "firstLsn" | "term" | "epoch" | "timeNs">,
  from: number,
  to: number,
  internal: boolean,
  out: Entry[],
): void {
  const v = core.view;
  const timestampMs = Number(header.timeNs) / 1e6;
  const end = at + header.bytes;
  let lsn = header.firstLsn;
  let copy: ArrayBuffer | undefined;
  let copyAt = 0;
  let copyEnd = 0;
  for (let p = at + FRAME_HEADER_BYTES; p < end;) {
    const payloadBytes = v.getUint32(p + ENTRY_PAYLOAD_BYTES, true);
    const kind = v.getUint8(p + ENTRY_KIND);
    const payload = p + ENTRY_HEADER_BYTES;
    const next = p + bodyBytesOf(payloadBytes);
    const lsns = lsnsOf(core, p);
    const last = lsn + Math.max(lsns, 1) - 1;
    const name = NAMES[kind];
    // A kind that this version does not know takes its LSNs and is passed over.
    if (name !== undefined && last >= from && lsn <= to && (kind < KIND_VOID || internal)) {
      if (next > copyEnd) {
        copyAt = p;
        copyEnd = Math.min(end, Math.max(p + COPY_BYTES, next));
        copy = new ArrayBuffer(copyEnd - copyAt);
        new Uint8Array(copy).set(core.bytes.subarray(copyAt, copyEnd));
      }
      const keyBytes = v.getUint32(p + ENTRY_KEY_BYTES, true);
      const offset = payload - copyAt;
      const entry: Entry = {
        lsn,
        term: header.term,
        epoch: header.epoch,
        core: v.getUint8(p + ENTRY_STRIPE),
        kind: name,
        timestampMs,
        value: new Uint8Array(copy!, offset + keyBytes, payloadBytes - keyBytes),
      };
      if (keyBytes > 0) entry.key = new Uint8Array(copy!, offset, keyBytes);
      out.push(entry);
    }
    lsn += lsns;
    p = next;
  }
}
