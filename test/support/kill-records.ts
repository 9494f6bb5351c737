// Records that say themselves what they must be: every byte follows from writer and counter, so that whoever
// reads one back can tell whether it is whole, and the right one.

import { Random } from "./random.js";

const NOISE = new Random(11).fill(new Uint8Array(65536));
const HEAD_BYTES = 16;

export interface Operation {
  /** Counter of the first record; a batch takes several. */
  first: number;
  count: number;
  /** How it is appended; `write` is several single entries and a sync(). */
  way: "append" | "batch" | "write" | "sync";
}

const mix = (writer: number, counter: number): number => new Random(writer * 1_000_003 + counter).bits();

/** The operation that begins with this counter. */
export function operationAt(writer: number, first: number): Operation {
  const roll = mix(writer, ~first) % 100;
  if (roll < 70) return { first, count: 1, way: "append" };
  if (roll < 90) return { first, count: 2 + (roll % 7), way: "batch" };
  if (roll < 95) return { first, count: 1 + (roll % 5), way: "write" };
  return { first, count: 1, way: "sync" };
}

/** | writer u32 | counter u32 | first of its operation u32 | way u8, count u8, 0 u16 | noise … | */
export function recordBytes(writer: number, counter: number, { first, count, way }: Operation): Uint8Array {
  const roll = mix(writer, counter);
  const size = roll % 50 === 0 ? (roll >>> 8) % 20_000 : (roll >>> 8) % 400;
  const bytes = new Uint8Array(HEAD_BYTES + size);
  const v = new DataView(bytes.buffer);
  v.setUint32(0, writer, true);
  v.setUint32(4, counter, true);
  v.setUint32(8, first, true);
  v.setUint8(12, way === "batch" ? 1 : 0);
  v.setUint8(13, count);
  const from = (roll >>> 4) % 40_000;
  bytes.set(NOISE.subarray(from, from + size), HEAD_BYTES);
  return bytes;
}

/** Which record is this? Throws if a single byte is not what it must be. */
export function identify(bytes: Uint8Array): { writer: number; counter: number; operation: Operation } {
  const v = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const writer = v.getUint32(0, true);
  const counter = v.getUint32(4, true);
  const operation = operationAt(writer, v.getUint32(8, true));
  if (Buffer.compare(bytes, recordBytes(writer, counter, operation)) !== 0)
    throw new Error(`record ${counter} of writer ${writer} has other bytes than were appended`);
  return { writer, counter, operation };
}
