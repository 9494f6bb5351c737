// Golden logs with fields changed and the checksums over them made right again: what a flipped bit never shows,
// since every reader stops at the checksum, is what it does with values that nobody writes.

import fc from "fast-check";
import { crc32c } from "../../src/checksum.js";
import type { Files } from "./golden-cases.js";
import { MemoryStorage } from "./memory-storage.js";
import { readLog, type ReadSegment } from "./independent-reader.js";
import type { StorageFile } from "../../src/storage.js";

type Part = "header" | "frame" | "entry" | "footer" | "index" | "mark";

/** Where the parts of a log stand: found once, in the undamaged log. */
interface Place {
  part: Part;
  file: string;
  at: number;
}

/** [offset, bytes] of the fields of each part but magics and checksums. */
const FIELDS: Record<Part, [number, 1 | 2 | 4 | 8][]> = {
  header: [
    [8, 4],
    [12, 4],
    [16, 4],
    [32, 8],
    [48, 8],
    [56, 4],
    [60, 4],
    [64, 8],
    [72, 8],
    [80, 8],
    [88, 8],
    [96, 8],
    [104, 8],
    [112, 8],
    [120, 8],
    [128, 4],
    [136, 8],
    [144, 8],
    [152, 8],
    [168, 8],
    [176, 8],
    [192, 8],
  ],
  frame: [
    [8, 4],
    [12, 4],
    [16, 8],
    [24, 8],
    [32, 8],
    [40, 8],
    [48, 8],
    [60, 4],
  ],
  entry: [
    [4, 4],
    [8, 4],
    [12, 1],
    [13, 1],
    [14, 2],
    [16, 8],
  ],
  footer: [[12, 4], ...Array.from({ length: 18 }, (_, i): [number, 8] => [16 + 8 * i, 8])],
  index: [
    [0, 8],
    [8, 8],
  ],
  mark: [
    [16, 8],
    [24, 8],
  ],
};

const word = (value: bigint): Uint8Array => new Uint8Array(BigUint64Array.of(BigInt.asUintN(64, value)).buffer);
const numberIn = (field: Uint8Array): bigint => Buffer.concat([field, Buffer.alloc(8 - field.length)]).readBigUInt64LE();
const viewOf = (b: Uint8Array): DataView => new DataView(b.buffer, b.byteOffset, b.byteLength);
const sum = (...parts: Uint8Array[]): number => crc32c(Buffer.concat(parts));

/** A log and where its parts stand. */
export class FuzzLog {
  readonly places: Place[] = [];
  readonly segments: ReadSegment[];

  constructor(
    readonly name: string,
    readonly files: Files,
  ) {
    this.segments = readLog(files).segments;
    for (const { file, frames, footer } of this.segments) {
      const bytes = files.get(file)!;
      this.places.push({ part: "header", file, at: 0 });
      for (const { offset } of frames) {
        this.places.push({ part: "frame", file, at: offset });
        for (const at of entriesOf(bytes, offset)) this.places.push({ part: "entry", file, at });
      }
      if (footer === undefined) continue;
      const trailer = bytes.length - 256;
      for (let i = 0; i < footer.index.length; i++) this.places.push({ part: "index", file, at: footer.endOffset + 16 * i });
      this.places.push({ part: "footer", file, at: trailer }, { part: "mark", file, at: trailer + 192 });
    }
  }

  /** Makes every checksum right, from the inside out, at the places where the parts stood. */
  mend(files: Files): void {
    for (const { part, file, at } of this.places) {
      const bytes = files.get(file);
      if (bytes === undefined || at + 256 > bytes.length + 192 || bytes.length < 256) continue;
      const v = viewOf(bytes);
      const salt = v.getBigUint64(48, true);
      if (part === "header") {
        v.setUint32(28, sum(word(0n), word(0n), bytes.subarray(0, 28)), true);
        v.setUint32(252, sum(word(salt), word(0n), bytes.subarray(0, 252)), true);
      } else if (part === "frame" && at + 64 <= bytes.length) {
        this.mendFrame(bytes, v, at, salt);
      } else if (part === "footer" && at + 192 <= bytes.length) {
        const end = Number(v.getBigUint64(at + 16, true));
        if (end > at) continue;
        v.setUint32(at + 8, 0, true);
        v.setUint32(at + 8, sum(word(salt), word(BigInt(end)), bytes.subarray(end, at + 192)), true);
      } else if (part === "mark" && at + 64 <= bytes.length) {
        v.setUint32(at + 8, sum(word(salt), word(BigInt(at)), bytes.subarray(at + 12, at + 64)), true);
      }
    }
  }

  private mendFrame(bytes: Uint8Array, v: DataView, at: number, salt: bigint): void {
    const headers: Uint8Array[] = [];
    let lsn = v.getBigUint64(at + 16, true);
    for (const p of entriesOf(bytes, at)) {
      const payload = v.getUint32(p + 4, true);
      const kind = bytes[p + 12]!;
      v.setUint32(
        p,
        sum(bytes.subarray(32, 48), bytes.subarray(at + 32, at + 40), bytes.subarray(p + 4, p + 16 + payload), word(lsn)),
        true,
      );
      headers.push(bytes.subarray(p, p + 16));
      if (kind < 16) lsn++;
      else if (kind === 16 && payload >= 8) lsn += v.getBigUint64(p + 16, true);
    }
    v.setUint32(at + 56, sum(...headers), true);
    v.setUint32(at + 4, sum(word(salt), word(BigInt(at)), bytes.subarray(at + 8, at + 64)), true);
  }
}

/** Offsets of the entries of the frame at `at`, as far as their lengths lead. */
function entriesOf(bytes: Uint8Array, at: number): number[] {
  const v = viewOf(bytes);
  const places: number[] = [];
  const end = Math.min(at + v.getUint32(at + 8, true), bytes.length);
  for (let p = at + 64; p + 16 <= end;) {
    const next = p + 16 + Math.ceil(v.getUint32(p + 4, true) / 8) * 8;
    if (next > end) break;
    places.push(p);
    p = next;
  }
  return places;
}

// --- changes ------------------------------------------------------------------------------------------

/** Numbers at which something changes its meaning: sizes, aligns, signs, what a number holds exactly. */
const EDGES = [
  0n,
  1n,
  2n,
  3n,
  16n,
  63n,
  64n,
  255n,
  256n,
  4096n,
  65536n,
  2n ** 31n,
  2n ** 32n - 1n,
  2n ** 32n,
  2n ** 53n - 1n,
  2n ** 53n,
  2n ** 63n,
  2n ** 64n - 1n,
];
const values = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(...EDGES) },
  fc.bigInt({ min: 0n, max: 4096n }),
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
);

const field = fc.record({
  what: fc.constant("field" as const),
  // About as often as each has fields.
  // prettier-ignore
  part: fc.constantFrom<Part>("header", "header", "header", "header", "frame", "frame", "entry", "footer", "footer", "footer", "index", "mark"),
  place: fc.nat(),
  field: fc.nat(),
  /** Put in its place, or a small step added to what stands there. */
  value: fc.oneof(
    { weight: 3, arbitrary: values },
    fc.constantFrom(1n, -1n, 8n, -8n, 64n, -64n).map((step) => ({ step })),
  ),
});
const byte = fc.record({ what: fc.constant("byte" as const), file: fc.nat(), at: fc.nat(), value: fc.nat(255) });
const size = fc.record({ what: fc.constant("size" as const), file: fc.nat(), bytes: fc.nat(40_000) });
const move = fc.record({ what: fc.constantFrom("remove" as const, "copy" as const, "swap" as const), file: fc.nat(), to: fc.nat(5) });

/** A segment's header names another one, or its own, as the one that it continues, and has everything right about it. */
const adopt = fc.record({ what: fc.constant("adopt" as const), child: fc.nat(), parent: fc.nat() });

/**
 * One field of the first part of its kind in the log's last segment, at this offset in it, and the checksums right again.
 * Its value may be made from what stands there.
 */
export function forge(log: FuzzLog, part: Part, offset: number, value: bigint | ((before: bigint) => bigint)): Files {
  const files: Files = new Map([...log.files].map(([name, bytes]) => [name, bytes.slice()]));
  const last = log.segments.at(-1)!.file;
  const { at } = log.places.find((place) => place.part === part && place.file === last)!;
  const [, width] = FIELDS[part].find(([start]) => start === offset)!;
  const target = files.get(last)!.subarray(at + offset, at + offset + width);
  target.set(word(typeof value === "bigint" ? value : value(numberIn(target))).subarray(0, width));
  log.mend(files);
  return files;
}

/** Changes of a log, most of them of one field. */
export const changes = fc.record({
  mended: fc.constantFrom(true, true, true, false),
  list: fc.array(fc.oneof({ weight: 12, arbitrary: field }, byte, size, move, adopt), { minLength: 1, maxLength: 5 }),
});
type Changes = typeof changes extends fc.Arbitrary<infer T> ? T : never;

const segment = (number: number): string => `000-${String(number).padStart(10, "0")}.wal`;

export function change(log: FuzzLog, { mended, list }: Changes): Files {
  const files: Files = new Map([...log.files].map(([name, bytes]) => [name, bytes.slice()]));
  for (const c of list) {
    const names = [...files.keys()];
    if (c.what === "field") {
      const places = log.places.filter(({ part }) => part === c.part);
      if (places.length === 0) continue;
      const { file, at } = places[c.place % places.length]!;
      const fields = FIELDS[c.part];
      const [offset, width] = fields[c.field % fields.length]!;
      const bytes = files.get(file);
      if (bytes === undefined || at + offset + width > bytes.length) continue;
      const target = bytes.subarray(at + offset, at + offset + width);
      target.set(word(typeof c.value === "bigint" ? c.value : numberIn(target) + c.value.step).subarray(0, width));
      continue;
    }
    if (c.what === "adopt") {
      const { file, number, end, lastLsn } = log.segments[c.parent % log.segments.length]!;
      const child = files.get(log.segments[c.child % log.segments.length]!.file);
      const salt = log.files.get(file)!.subarray(48, 56);
      if (child !== undefined && child.length >= 256)
        child.set(Buffer.concat([word(BigInt(number)), salt, word(BigInt(end)), word(BigInt(lastLsn))]), 72);
      continue;
    }
    const name = names[c.file % Math.max(names.length, 1)];
    if (name === undefined) continue;
    const bytes = files.get(name)!;
    if (c.what === "byte") {
      if (bytes.length > 0) bytes[c.at % bytes.length] = c.value;
    } else if (c.what === "size") {
      const other = new Uint8Array(c.bytes);
      other.set(bytes.subarray(0, c.bytes));
      files.set(name, other);
    } else if (c.what === "remove") {
      files.delete(name);
    } else {
      const to = segment(c.to);
      const old = files.get(to);
      files.set(to, bytes.slice());
      if (c.what === "swap" && old !== undefined) files.set(name, old);
    }
  }
  if (mended) log.mend(files);
  return files;
}

// --- a disk that ends what never ends -------------------------------------------------------------------

/** No reading of these small logs needs as many calls; a reader that goes round in circles does. */
const CALLS_MAX = 20_000;

/** Counts openings and reads, and refuses beyond CALLS_MAX: what hangs fails instead. */
export class CountingStorage extends MemoryStorage {
  private calls = 0;

  static holding(directory: string, files: Files): CountingStorage {
    const storage = new CountingStorage();
    storage.put(directory, files);
    return storage;
  }

  private count(): void {
    if (++this.calls > CALLS_MAX) throw new Error(`it goes round in circles: ${CALLS_MAX} reads`);
  }

  override open(path: string): StorageFile {
    this.count();
    const file = super.open(path);
    const read = file.read.bind(file);
    file.read = (into, offset) => {
      this.count();
      if (!Number.isSafeInteger(offset) || offset < 0) throw new Error(`a read at offset ${offset}`);
      return read(into, offset);
    };
    return file;
  }
}
