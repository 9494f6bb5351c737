// Every damage of a set of files: each bit flipped, each length, and each region (a sector, a frame, a footer) and
// each file zeroed, taken out, doubled, laid over another one, exchanged with another one.

import { name } from "./damaged-logs.js";
import type { Files } from "./golden-cases.js";
import { readLog } from "./independent-reader.js";

const SECTOR_BYTES = 512;

/** A way to damage. Bytes are copied before they are changed: `files` stays as it was. */
export interface DamageCase {
  what: string;
  kind: string;
  make(): Files;
}

/** How densely damages are tried. */
export interface Density {
  /** One of so many of the bytes that are not in the zeros behind a file's contents. */
  bytes: number;
  /** Bits of each of these bytes; 8 is all. */
  bits: number;
  /** One of so many of the bytes in these zeros, and of the lengths that end in them. */
  zeros: number;
  /** Bits of each of these zeros, another one at each byte. */
  zeroBits: number;
  /** One of so many of the other lengths. */
  lengths: number;
  /** Regions further apart than this are not paired. */
  pairs: number;
}

/** Of the zeros, which are most of the bytes and would take most of the time, one bit of each byte; all of everything else. */
export const EVERYTHING: Density = { bytes: 1, bits: 8, zeros: 1, zeroBits: 1, lengths: 1, pairs: Infinity };
/** A sample for every test run. */
export const SAMPLE: Density = { bytes: 5, bits: 1, zeros: 4096, zeroBits: 1, lengths: 64, pairs: 1 };
/** Enough for each planted bug. */
export const QUICK: Density = { bytes: 1, bits: 1, zeros: 1024, zeroBits: 1, lengths: 16, pairs: 2 };

interface Region {
  file: string;
  from: number;
  to: number;
}

export function* damageCases(files: Files, density: Density): Generator<DamageCase> {
  yield* flips(files, density);
  yield* lengths(files, density);
  yield* regions(files, "sector", sectors(files), density);
  yield* regions(files, "frame", frames(files), density);
  yield* wholeFiles(files);
  yield* wholeChains(files);
}

/** Where only zeros follow. */
function usedBytes(bytes: Uint8Array): number {
  let end = bytes.length;
  while (end > 0 && bytes[end - 1] === 0) end--;
  return end;
}

const changed = (files: Files, file: string, edit: (bytes: Uint8Array) => Uint8Array | void): Files => {
  const bytes = files.get(file)!.slice();
  return new Map(files).set(file, edit(bytes) ?? bytes);
};

function* flips(files: Files, density: Density): Generator<DamageCase> {
  for (const [file, bytes] of files) {
    const used = usedBytes(bytes);
    for (let at = 0; at < bytes.length; at += at < used ? density.bytes : density.zeros) {
      for (let n = 0; n < (at < used ? density.bits : density.zeroBits); n++) {
        const mask = 1 << ((at + n) & 7);
        yield {
          what: `bit ${mask} at offset ${at} of ${file} flipped`,
          kind: "bit flipped",
          make: () => changed(files, file, (b) => void (b[at]! ^= mask)),
        };
      }
    }
  }
}

function* lengths(files: Files, density: Density): Generator<DamageCase> {
  for (const [file, bytes] of files) {
    const used = usedBytes(bytes);
    for (let size = 0; size < bytes.length; size += size <= used ? density.lengths : Math.max(density.lengths, density.zeros))
      yield { what: `${file} cut to ${size} bytes`, kind: "cut", make: () => changed(files, file, (b) => b.slice(0, size)) };
  }
}

function sectors(files: Files): Region[] {
  const list: Region[] = [];
  for (const [file, bytes] of files) {
    for (let from = 0; from < bytes.length; from += SECTOR_BYTES) {
      list.push({ file, from, to: Math.min(from + SECTOR_BYTES, bytes.length) });
      // One sector of zeros is like the next.
      if (from >= usedBytes(bytes)) break;
    }
  }
  return list;
}

/** Frames, and what stands behind the last one: a footer, or the beginning of the zeros. */
function frames(files: Files): Region[] {
  const list: Region[] = [];
  for (const segment of readLog(files).segments) {
    const starts = segment.frames.map(({ offset }) => offset);
    for (const [i, from] of starts.entries()) list.push({ file: segment.file, from, to: starts[i + 1] ?? segment.end });
    const bytes = files.get(segment.file)!;
    if (segment.end < bytes.length)
      list.push({ file: segment.file, from: segment.end, to: Math.min(bytes.length, segment.end + SECTOR_BYTES) });
  }
  return list;
}

const joined = (...parts: Uint8Array[]): Uint8Array => Uint8Array.from(Buffer.concat(parts));

function* regions(files: Files, noun: string, list: Region[], density: Density): Generator<DamageCase> {
  const show = ({ file, from, to }: Region): string => `${noun} ${from} to ${to} of ${file}`;
  for (const [i, a] of list.entries()) {
    const edit = (how: string, change: (b: Uint8Array) => Uint8Array | void): DamageCase => ({
      what: `${show(a)} ${how}`,
      kind: `${noun} ${how}`,
      make: () => changed(files, a.file, change),
    });
    yield edit("zeroed", (b) => void b.fill(0, a.from, a.to));
    yield edit("deleted", (b) => joined(b.subarray(0, a.from), b.subarray(a.to)));
    yield edit("doubled", (b) => joined(b.subarray(0, a.to), b.subarray(a.from)));
    for (const [j, b] of list.entries()) {
      if (i === j || Math.abs(i - j) > density.pairs) continue;
      const source = files.get(b.file)!.subarray(b.from, b.to);
      yield {
        what: `${show(a)} overwritten with ${show(b)}`,
        kind: `${noun} overwritten`,
        make: () =>
          changed(files, a.file, (bytes) => void bytes.set(source.subarray(0, Math.min(source.length, bytes.length - a.from)), a.from)),
      };
      if (i < j) yield { what: `${show(a)} swapped with ${show(b)}`, kind: `${noun} swapped`, make: () => swapped(files, a, b) };
    }
  }
}

/** `a` stands before `b` if both are in one file. */
function swapped(files: Files, a: Region, b: Region): Files {
  const x = files.get(a.file)!;
  const y = files.get(b.file)!;
  const [mine, other] = [x.subarray(a.from, a.to), y.subarray(b.from, b.to)];
  if (a.file === b.file)
    return new Map(files).set(a.file, joined(x.subarray(0, a.from), other, x.subarray(a.to, b.from), mine, x.subarray(b.to)));
  return new Map(files)
    .set(a.file, joined(x.subarray(0, a.from), other, x.subarray(a.to)))
    .set(b.file, joined(y.subarray(0, b.from), mine, y.subarray(b.to)));
}

/** Something that happens to whole files. */
const moved =
  (files: Files, noun: string) =>
  (what: string, how: string, change: (copy: Files) => void): DamageCase => ({
    what: `${what} ${how}`,
    kind: `${noun} ${how.split(" ")[0]!}`,
    make: () => {
      const copy = new Map(files);
      change(copy);
      return copy;
    },
  });

const chainOf = (file: string): number => Number(file.slice(0, 3));

/** Of a log that has several. */
function* wholeChains(files: Files): Generator<DamageCase> {
  const chains = [...new Set([...files.keys()].map(chainOf))];
  const one = moved(files, "chain");
  const as = (chain: number, file: string): string => name(Number(file.slice(4, 14)), chain);
  const of = (chain: number): [string, Uint8Array][] => [...files].filter(([file]) => chainOf(file) === chain);
  for (const a of chains.length > 1 ? chains : []) {
    yield one(`chain ${a}`, "deleted", (copy) => of(a).forEach(([file]) => copy.delete(file)));
    yield one(`chain ${a}`, "doubled as another one", (copy) => of(a).forEach(([file, bytes]) => copy.set(as(chains.length, file), bytes)));
    for (const b of chains.filter((other) => other > a))
      yield one(`chain ${a}`, `swapped with chain ${b}`, (copy) => {
        for (const [file] of [...of(a), ...of(b)]) copy.delete(file);
        for (const [file, bytes] of of(a)) copy.set(as(b, file), bytes);
        for (const [file, bytes] of of(b)) copy.set(as(a, file), bytes);
      });
  }
}

function* wholeFiles(files: Files): Generator<DamageCase> {
  const names = [...files.keys()];
  const one = moved(files, "file");
  for (const [i, a] of names.entries()) {
    const bytes = files.get(a)!;
    yield one(a, "deleted", (copy) => copy.delete(a));
    yield one(a, "zeroed", (copy) => copy.set(a, new Uint8Array(bytes.length)));
    const segments = names.filter((other) => chainOf(other) === chainOf(a)).length;
    yield one(a, "doubled as the next one", (copy) => copy.set(name(segments + 1, chainOf(a)), bytes));
    for (const [j, b] of names.entries()) {
      if (i === j) continue;
      yield one(a, `overwritten with ${b}`, (copy) => copy.set(a, files.get(b)!));
      if (i < j) yield one(a, `swapped with ${b}`, (copy) => copy.set(a, files.get(b)!).set(b, bytes));
    }
  }
}
