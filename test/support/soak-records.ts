// What the soak appends: each operation follows from its writer and the counter it begins with, each record from its
// writer and counter, so that whoever reads one back can tell whether it is whole, and the right one.

import { decodeCommit } from "../../src/index.js";
import type { Durability, Entry, Input } from "../../src/types.js";
import { Random } from "./random.js";

const NOISE = new Random(12).fill(new Uint8Array(65536));
const HEAD_BYTES = 12;
/** Records and batches fit into a ring of 4 KiB; those of a writer whose id is odd need one of 64 KiB. */
const LARGE_BYTES = 20_000;

const writesLarge = (writer: number): boolean => writer % 2 === 1;

export interface Operation {
  /** Counter of the first record. */
  first: number;
  count: number;
  /** `lazy` is several write() without waiting for them, `durable` is several and one wait for the last. */
  way: "append" | "batch" | "appendSync" | "lazy" | "durable" | "sync";
  /** What the call asks for; undefined leaves it to the log. */
  durability: Durability | undefined;
  /** The call gives up after so long, by timeout or by signal. */
  timeoutMs: number | undefined;
  abortMs: number | undefined;
}

const mix = (writer: number, counter: number): Random => new Random(writer * 1_000_003 + counter);

/** The operation of this writer that begins with this counter. */
export function operationAt(writer: number, first: number): Operation {
  const random = mix(writer, ~first);
  const operation = (way: Operation["way"], count: number): Operation => ({
    first,
    count,
    way,
    durability: random.pick([undefined, undefined, "async", "group", "sync"]),
    timeoutMs: random.chance(0.06) ? random.below(4) : undefined,
    abortMs: random.chance(0.06) ? random.below(4) : undefined,
  });
  const roll = random.below(100);
  if (roll < 55) return operation("append", 1);
  if (roll < 75) return operation("batch", random.between(2, 6));
  if (roll < 80) return operation("appendSync", 1);
  if (roll < 90) return operation("lazy", random.between(1, 8));
  if (roll < 95) return operation("durable", random.between(1, 8));
  return operation("sync", random.between(1, 4));
}

/** | writer u32 | counter u32 | first of its operation u32 | noise … | */
export function recordOf(writer: number, counter: number, { first, way }: Operation): Input {
  const random = mix(writer, counter);
  const kind = random.pick(["data", "data", "put", "put", "delete", "commit"] as const);
  if (kind === "commit") return { kind, offsets: { counter: BigInt(counter), first: BigInt(first) }, watermark: BigInt(writer) };
  const large = way !== "batch" && random.chance(0.03);
  const size = random.below(large ? (writesLarge(writer) ? LARGE_BYTES : 1800) : 240);
  const bytes = new Uint8Array(HEAD_BYTES + size);
  const view = new DataView(bytes.buffer);
  [writer, counter, first].forEach((n, i) => view.setUint32(4 * i, n, true));
  const from = random.below(NOISE.length - size);
  bytes.set(NOISE.subarray(from, from + size), HEAD_BYTES);
  if (kind === "data") return bytes;
  if (kind === "delete") return { kind, key: bytes };
  return { kind, key: bytes.subarray(0, HEAD_BYTES), value: bytes.subarray(HEAD_BYTES) };
}

export const bytesOf = (input: Input): number => {
  if (input instanceof Uint8Array) return input.length;
  if (typeof input === "string" || input.kind === "commit") return 60;
  return input.key.length + (input.kind === "put" ? input.value.length : 0);
};

export interface Identified {
  writer: number;
  counter: number;
  operation: Operation;
}

/** Which record is this? Throws if a single byte is not what it must be. */
export function identify(entry: Entry): Identified {
  let numbers: number[];
  if (entry.kind === "commit") {
    const { offsets, watermark } = decodeCommit(entry);
    numbers = [watermark, offsets["counter"], offsets["first"]].map(Number);
  } else {
    const head = entry.key ?? entry.value;
    const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
    numbers = head.length < HEAD_BYTES ? [] : [0, 4, 8].map((at) => view.getUint32(at, true));
  }
  const [writer, counter, first] = numbers as [number, number, number];
  const operation = operationAt(writer, first);
  const expected = numbers.length === 3 && counter - first < operation.count ? recordOf(writer, counter, operation) : undefined;
  if (expected === undefined || !isRecord(entry, expected))
    throw new Error(`LSN ${entry.lsn} (${entry.kind}) is not as it was appended: writer ${writer}, counter ${counter}`);
  return { writer, counter, operation };
}

const same = (a: Uint8Array | undefined, b: Input | undefined): boolean =>
  a === undefined || b === undefined ? a === b : Buffer.compare(a, b as Uint8Array) === 0;

function isRecord({ kind, key, value }: Entry, expected: Input): boolean {
  if (expected instanceof Uint8Array) return kind === "data" && same(value, expected);
  if (typeof expected === "string" || kind !== expected.kind) return false;
  // A commit was decoded into the numbers that it is made from.
  if (expected.kind === "commit") return key === undefined;
  return same(key, expected.key) && (expected.kind === "put" ? same(value, expected.value) : value.length === 0);
}

/** How many LSNs a hole has. */
export const holeLsns = ({ value }: Entry): number =>
  Number(new DataView(value.buffer, value.byteOffset, value.byteLength).getBigUint64(0, true));

/** One number for everything up to some LSN, so that two who read the same log can compare without telling everything. */
export class Digest {
  lastLsn = 0;
  value = 0;

  /** @throws Error if the entry does not follow the one before */
  add(entry: Entry): Identified | undefined {
    if (entry.lsn !== this.lastLsn + 1) throw new Error(`LSN ${entry.lsn} follows ${this.lastLsn}`);
    const hole = entry.kind === "void";
    const record = hole ? undefined : identify(entry);
    const lsns = hole ? holeLsns(entry) : 1;
    for (const n of [entry.lsn, entry.term, record?.writer ?? -1, record?.counter ?? lsns]) {
      this.value = Math.imul(this.value ^ n, 0x9e3779b1);
      this.value = (this.value ^ (this.value >>> 15)) >>> 0;
    }
    this.lastLsn += lsns;
    return record;
  }
}
