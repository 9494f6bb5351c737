// corewal/core: entries as they stand on disk (FORMAT.md, "Entry"), in any memory. Everything is done by entry.ts; here
// are the checks of what a caller gives, and the way into the module's memory and out of it.

import { FRAME_HEADER_BYTES, WINDOW } from "../assembly/layout.js";
import { borrowWindow, checksumCore, entrySeed, returnWindow, type Core } from "./core.js";
import { bodyBytesOf, decodeEntries as decodeFrame, encodeGroup, PayloadTarget, prepare, verifyEntries } from "./entry.js";
import { mistake, outOfRange } from "./errors.js";
import type { Entry, Input } from "./types.js";

/**
 * What the checksum of an entry binds it to, besides its own bytes.
 *
 * @example
 * const place: EntryPlace = { firstLsn: 1 };
 * console.log(decodeEntries(encodeEntries(["one"], place), place).length); // 1
 */
export interface EntryPlace {
  /** 16 bytes that name the log. Zeros by default. */
  logId?: Uint8Array;
  /** From 0 to 2^53 - 1. Default 0. */
  term?: number;
  /** LSN of the first entry, from 1 to 2^53 - 2^31. */
  firstLsn: number;
}

/**
 * Where `encodeEntries` puts entries.
 *
 * @example
 * const place: EncodePlace = { firstLsn: 1, core: 3 };
 * const bytes = encodeEntries(["one"], place);
 */
export interface EncodePlace extends EntryPlace {
  /** The stripe that writes, 0 to 255: `entry.core`. Default 0. */
  core?: number;
}

/**
 * What `decodeEntries` checks entries against, and gives them.
 *
 * @example
 * const place: DecodePlace = { firstLsn: 1, timestampMs: Date.now() };
 * const [entry] = decodeEntries(encodeEntries(["one"], { firstLsn: 1 }), place);
 */
export interface DecodePlace extends EntryPlace {
  /** The frame's epoch, which its entries do not hold: given to each of them. Default 0. */
  epoch?: number;
  /** The frame's time, Unix, in milliseconds: likewise. Default 0. */
  timestampMs?: number;
}

export const LOG_ID_BYTES = 16;
/** The module gives out no LSN beyond it, so that a whole batch stays exact in a number. */
export const FIRST_LSN_MAX = 2 ** 53 - 2 ** 31;
const ENTRY_BYTES_MAX = 2 ** 30;
const NO_ID = new Uint8Array(LOG_ID_BYTES);

/** The memories that this thread has rings in: entries there are encoded and decoded where they are. */
const bound = new WeakMap<ArrayBufferLike, Core>();
const targets = new WeakMap<Core, PayloadTarget>();

function targetOf(core: Core): PayloadTarget {
  let target = targets.get(core);
  if (target === undefined) targets.set(core, (target = new PayloadTarget(core.bytes)));
  return target;
}

/** @internal */
export function bindMemory(core: Core): void {
  bound.set(core.memory.buffer, core);
}

function whole(what: string, value: unknown, min: number, max: number): number {
  if (typeof value !== "number") throw mistake("COREWAL_INVALID_INPUT", `${what} is a number, not ${typeof value}`);
  if (!Number.isInteger(value) || value < min || value > max)
    throw outOfRange("COREWAL_INVALID_INPUT", `${what} is ${value}: it must be a whole number from ${min} to ${max}`);
  return value;
}

/** Checks a place; the checksum register that its entries start with, and the rest of it, complete. */
function resolvePlace(place: EntryPlace): { seed: number; firstLsn: number; term: number } {
  if (typeof place !== "object" || place === null)
    throw mistake("COREWAL_INVALID_INPUT", "a place is an object: { logId, term, firstLsn }");
  const { logId = NO_ID } = place;
  if (!(logId instanceof Uint8Array) || logId.length !== LOG_ID_BYTES)
    throw mistake("COREWAL_INVALID_INPUT", `a log id is a Uint8Array of ${LOG_ID_BYTES} bytes`);
  const term = whole("term", place.term ?? 0, 0, Number.MAX_SAFE_INTEGER);
  return { seed: entrySeed(checksumCore(), logId, term), firstLsn: whole("firstLsn", place.firstLsn, 1, FIRST_LSN_MAX), term };
}

/** Calls `use` with an instance and an address in its memory: that of `bytes` themselves, or of a window for a copy. */
function within<T>(bytes: Uint8Array, use: (core: Core, at: number, copied: boolean) => T): T {
  const own = bound.get(bytes.buffer);
  if (own !== undefined) return use(own, bytes.byteOffset, false);
  // Few sizes, so that windows are used again.
  const window = borrowWindow(2 ** Math.max(16, Math.ceil(Math.log2(bytes.length))));
  try {
    return use(window, WINDOW, true);
  } finally {
    returnWindow(window);
  }
}

/**
 * Encodes entries one behind the other, as they stand on disk in a frame: 16 bytes of header each, the key, the value,
 * zeros up to a multiple of 8. They get the LSNs from `place.firstLsn` on.
 *
 * @param inputs data, put, delete or commit, at least one byte each
 * @param place LSN of the first one, and what else the checksums bind them to
 * @param into where to write: plain or shared memory, at least as long as needed. New memory by default
 * @returns the part of `into` that was written
 * @throws TypeError or RangeError COREWAL_INVALID_INPUT, COREWAL_EMPTY; COREWAL_ENTRY_TOO_LARGE above 1 GiB in all. Nothing was
 * written then
 * @example
 * const bytes = encodeEntries(["one", { kind: "put", key: "k", value: "v" }], { firstLsn: 1 });
 * const [one, put] = decodeEntries(bytes, { firstLsn: 1 });
 */
export function encodeEntries(inputs: Input[], place: EncodePlace, into?: Uint8Array): Uint8Array {
  if (!Array.isArray(inputs)) throw mistake("COREWAL_INVALID_INPUT", "encodeEntries takes an array of inputs");
  const group = inputs.map((input) => prepare(input, ENTRY_BYTES_MAX));
  const size = group.reduce((sum, p) => sum + bodyBytesOf(p.payloadBytes), 0);
  if (size > ENTRY_BYTES_MAX)
    throw outOfRange("COREWAL_ENTRY_TOO_LARGE", `entries of ${size} bytes in all are more than ${ENTRY_BYTES_MAX}: encode them in parts`);
  if (into === undefined) into = new Uint8Array(size);
  else if (!(into instanceof Uint8Array)) throw mistake("COREWAL_INVALID_INPUT", "what entries are encoded into is a Uint8Array");
  if (into.length < size) throw outOfRange("COREWAL_INVALID_INPUT", `the entries take ${size} bytes, more than the ${into.length} given`);
  const target = into.subarray(0, size);
  const { seed, firstLsn } = resolvePlace(place);
  const stripe = whole("core", place.core ?? 0, 0, 255);
  return within(target, (core, at, copied) => {
    encodeGroup(core, targetOf(core), group, at, seed, stripe);
    let next = at;
    for (const i of group.keys()) next = core.x.entry_seal(next, firstLsn + i);
    if (copied) target.set(core.bytes.subarray(at, at + size));
    return target;
  });
}

/**
 * Decodes entries that stand one behind the other, each checked whole first. The bytes that come back are copies in
 * plain memory, safe to keep. Holes (`void` entries) come too; kinds that this version does not know are passed over.
 *
 * @param bytes whole entries and nothing else, in any memory. In the memory of rings, nobody else may write there meanwhile
 * @param place where they were encoded for; what `drain()` returned may be given as it is
 * @throws CorewalError COREWAL_CORRUPT with `lsn` and `offset` of the first entry that is not whole or of another place;
 * TypeError or RangeError COREWAL_INVALID_INPUT
 * @example
 * const rings = createRings({ stripes: 1 });
 * rings.claim().push("one");
 * const drained = rings.drain();
 * for (const entry of drained ? decodeEntries(drained.bytes, drained) : []) console.log(entry.lsn, entry.value);
 */
export function decodeEntries(bytes: Uint8Array, place: DecodePlace): Entry[] {
  if (!(bytes instanceof Uint8Array)) throw mistake("COREWAL_INVALID_INPUT", "decodeEntries takes a Uint8Array");
  if (bytes.length > ENTRY_BYTES_MAX)
    throw outOfRange("COREWAL_INVALID_INPUT", `${bytes.length} bytes are more than ${ENTRY_BYTES_MAX}: decode them in parts`);
  const { seed, firstLsn, term } = resolvePlace(place);
  const epoch = whole("epoch", place.epoch ?? 0, 0, Number.MAX_SAFE_INTEGER);
  const timestampMs = place.timestampMs ?? 0;
  if (!Number.isFinite(timestampMs * 1e6)) throw mistake("COREWAL_INVALID_INPUT", "timestampMs is a finite number");
  return within(bytes, (core, at, copied) => {
    if (copied) core.bytes.set(bytes, at);
    verifyEntries(core, at, at + bytes.length, seed, firstLsn);
    const entries: Entry[] = [];
    const header = { bytes: FRAME_HEADER_BYTES + bytes.length, firstLsn, term, epoch, timeNs: BigInt(Math.round(timestampMs * 1e6)) };
    decodeFrame(core, at - FRAME_HEADER_BYTES, header, 0, Infinity, true, entries);
    return entries;
  });
}
