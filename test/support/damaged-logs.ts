// Logs damaged by hand, and what recovery must say about each: the table of recover.test.ts.

import { ABANDON, PUMP } from "../../src/log.js";
import { appendEach, Fixed, type FixedLog } from "./fixed-log.js";
import { pattern, type Files } from "./golden-cases.js";
import { crc, readLog, type ReadLog } from "./independent-reader.js";

export const name = (number: number, chain = 0): string => `${String(chain).padStart(3, "0")}-${String(number).padStart(10, "0")}.wal`;

/** Files and the hands that damage them. `good` is what was there before. */
export class Damage {
  readonly good: ReadLog;
  constructor(
    readonly files: Files,
    /** The same log in an earlier state. */
    readonly before: Files,
  ) {
    this.good = readLog(files);
  }
  /** Offset of a frame of the last segment, or of another one. */
  frame(index: number, segment = this.good.segments.length): number {
    return this.good.segments[segment - 1]!.frames[index]!.offset;
  }
  bytes(number: number): Uint8Array {
    return this.files.get(name(number))!;
  }
  /** From the end of the file. */
  end(number: number, back: number): number {
    return this.bytes(number).length - back;
  }
  flip(number: number, at: number): void {
    this.bytes(number)[at]! ^= 4;
  }
  zero(number: number, from: number, to?: number): void {
    this.bytes(number).fill(0, from, to);
  }
  garbage(number: number, at: number): void {
    this.bytes(number).set(pattern(300, 99), at);
  }
  resize(number: number, size: number): void {
    const bytes = new Uint8Array(size);
    bytes.set(this.bytes(number).subarray(0, size));
    this.files.set(name(number), bytes);
  }
  /** Changes a header and makes its checksum right again. */
  header(number: number, edit: (v: DataView) => void): void {
    const bytes = this.bytes(number);
    const v = new DataView(bytes.buffer);
    edit(v);
    v.setUint32(252, crc(bytes.slice(48, 56), new Uint8Array(8), bytes.subarray(0, 252)), true);
  }
  version(number: number, version: number): void {
    const bytes = this.bytes(number);
    const v = new DataView(bytes.buffer);
    v.setUint32(8, version, true);
    v.setUint32(28, crc(new Uint8Array(16), bytes.subarray(0, 28)), true);
  }
}

// --- what is damaged ------------------------------------------------------------------------------------

const INPUTS = [pattern(100, 1), pattern(900, 2), pattern(10, 3), pattern(200, 4)];

async function fourFrames(end: (log: FixedLog) => Promise<void> | void): Promise<Files> {
  const fixed = new Fixed();
  const log = await fixed.open();
  await appendEach(fixed, log, INPUTS);
  await end(log);
  return fixed.files;
}

/** Four frames of one entry each; the last one is valid, but nothing proves it. */
export const killed = (): Promise<Files> => fourFrames((log) => log[ABANDON]());
/** The same, and an empty frame that proves the last one. */
const idle = (): Promise<Files> =>
  fourFrames((log) => {
    log[PUMP]();
    log[ABANDON]();
  });
/** The same, properly closed. */
const closed = (): Promise<Files> => fourFrames((log) => log.close());

/** Three segments, LSNs 1 to 6, properly closed each time. */
async function chain(): Promise<Files> {
  const fixed = new Fixed();
  for (let open = 0; open < 3; open++) {
    const log = await fixed.open();
    await appendEach(fixed, log, [`a ${open}`, `b ${open}`]);
    await log.close();
  }
  return fixed.files;
}

/** Killed with an unproven frame, opened again and killed: the second segment begins with a copied frame. */
async function copied(): Promise<Files> {
  const fixed = new Fixed(await killed());
  (await fixed.open())[ABANDON]();
  return fixed.files;
}

// --- what is expected -------------------------------------------------------------------------------------

export interface Expected {
  code?: string;
  file?: string;
  offset?: number;
  lsn?: number;
  /** Last LSN and verdict if it opens. */
  lastLsn?: number;
  clean?: boolean;
  /** Bytes were cut off. */
  cut?: boolean;
  /** Frames that were copied forward. */
  copied?: number;
  /** It opens, but reading this LSN is COREWAL_CORRUPT. */
  unreadable?: number;
}

type Expect = (d: Damage) => Expected;

const clean =
  (lastLsn: number): Expect =>
  () => ({ lastLsn, clean: true, copied: 0, cut: false });
const torn =
  (lastLsn: number, cut: boolean, copied = 1): Expect =>
  () => ({ lastLsn, clean: false, cut, copied });
const corrupt =
  (number: number, lsn: number, offset?: (d: Damage) => number): Expect =>
  (d) => ({ code: "COREWAL_CORRUPT", file: name(number), lsn: lsn === 0 ? undefined : lsn, offset: offset?.(d) });
const unknown =
  (number: number, offset = 8): Expect =>
  () => ({ code: "COREWAL_UNKNOWN_VERSION", file: name(number), offset });
const unreadable =
  (lastLsn: number, lsn: number): Expect =>
  () => ({ lastLsn, clean: true, unreadable: lsn });

export type Row = [what: string, make: () => Promise<Files>, corrupt: (d: Damage) => void, expect: Expect];

export const TABLE: Row[] = [
  ["nothing, after a clean close", closed, () => undefined, clean(4)],
  ["nothing, after a kill: the last frame is copied forward", killed, () => undefined, torn(4, false)],
  ["nothing, after a kill while idle: all is proven", idle, () => undefined, torn(4, false, 0)],

  // Tears.
  ["the last frame's second half never came", killed, (d) => d.zero(1, d.frame(3) + 100), torn(3, true)],
  ["the last frame's header never came", killed, (d) => d.zero(1, d.frame(3), d.frame(3) + 64), torn(3, true)],
  ["the last frame holds garbage", killed, (d) => d.garbage(1, d.frame(3)), torn(3, true)],
  ["the file ends within the last frame", killed, (d) => d.resize(1, d.frame(3) + 70), torn(3, true)],
  ["the file ends with the last frame's entries", killed, (d) => d.resize(1, d.frame(3) + 64 + 216), torn(4, false)],
  ["garbage behind the last frame", killed, (d) => d.garbage(1, d.frame(3) + 320), torn(4, true)],
  ["ancestor B: a zero-filled tail failed open", killed, (d) => d.resize(1, 16384), torn(4, false)],
  ["no frame at all, only the header", killed, (d) => d.resize(1, 256), torn(0, false, 0)],

  // Damage below a promise.
  ["ancestor B: one flipped bit cut the rest without a word", killed, (d) => d.flip(1, d.frame(1) + 500), corrupt(1, 2, (d) => d.frame(1))],
  ["ancestor B: a flipped length bit called a torn write", killed, (d) => d.flip(1, d.frame(1) + 8), corrupt(1, 2, (d) => d.frame(1))],
  ["ancestor A: zeros in the middle silently ended a segment", killed, (d) => d.zero(1, 512, 1024), corrupt(1, 2, (d) => d.frame(1))],
  ["the first frame is gone", killed, (d) => d.zero(1, 256, 320), corrupt(1, 1, () => 256)],
  ["all but the last frame is gone", killed, (d) => d.zero(1, 256, d.frame(3)), corrupt(1, 1, () => 256)],
  [
    "two frames damaged: the header of the second still promises",
    killed,
    (d) => (d.flip(1, d.frame(2) + 70), d.flip(1, d.frame(3) + 100)),
    corrupt(1, 3, (d) => d.frame(2)),
  ],
  ["the last frame, promised by an empty one", idle, (d) => d.flip(1, d.frame(3) + 80), corrupt(1, 4, (d) => d.frame(3))],
  ["the empty frame: the last one is copied instead", idle, (d) => d.flip(1, d.frame(4) + 24), torn(4, true)],
  ["a copied frame, before proven end", copied, (d) => d.flip(2, d.frame(0) + 80), corrupt(2, 4, () => 256)],
  ["a copied frame lost, with all behind the header", copied, (d) => d.resize(2, 256), corrupt(2, 4, () => 256)],

  // Footers.
  ["damaged footer of a clean log", closed, (d) => d.flip(1, d.end(1, 250)), torn(4, true)],
  ["damaged index of a clean log", closed, (d) => d.flip(1, d.end(1, 320)), torn(4, true)],
  ["footer of a clean log lost", closed, (d) => d.resize(1, d.good.segments[0]!.end), torn(4, false)],
  ["footer written, file not yet cut behind it", closed, (d) => d.resize(1, 8192), clean(4)],
  [
    "… and a frame before it damaged: the footer is a promise",
    closed,
    (d) => (d.resize(1, 8192), d.flip(1, d.frame(3) + 100)),
    corrupt(1, 4, (d) => d.frame(3)),
  ],
  ["invariant 4: the last frame of a cleanly closed log", closed, (d) => d.flip(1, d.frame(3) + 100), unreadable(4, 4)],
  ["a middle frame of a cleanly closed log", closed, (d) => d.flip(1, d.frame(1) + 100), unreadable(4, 2)],
  ["a frame in the middle of the chain", chain, (d) => d.flip(2, d.frame(1, 2) + 30), unreadable(6, 4)],

  // The chain.
  ["ancestor A: a missing segment went unnoticed", chain, (d) => d.files.delete(name(2)), corrupt(2, 4)],
  ["the first segment is missing", chain, (d) => d.files.delete(name(1)), corrupt(1, 2)],
  ["the successor of a continued segment is missing", chain, (d) => d.files.delete(name(3)), corrupt(2, 5, (d) => d.good.segments[1]!.end)],
  ["a parent with another salt", chain, (d) => d.header(2, (v) => v.setBigUint64(48, 99n, true)), corrupt(2, 4)],
  ["a parent of another log", chain, (d) => d.header(2, (v) => v.setUint8(40, 0xee)), corrupt(2, 4)],
  ["a parent that ends elsewhere", chain, (d) => d.header(3, (v) => v.setBigUint64(88, 256n, true)), corrupt(2, 4)],
  ["a parent with another last LSN", chain, (d) => d.header(3, (v) => v.setBigUint64(96, 3n, true)), corrupt(2, 0)],
  ["a file under another's name", chain, (d) => d.files.set(name(4), d.bytes(3)), corrupt(4, 0, () => 64)],
  ["a parent's footer: its frames are read instead", chain, (d) => d.flip(2, d.end(2, 250)), clean(6)],
  [
    "… and one of them is damaged as well",
    chain,
    (d) => (d.flip(2, d.end(2, 250)), d.flip(2, d.frame(1, 2) + 30)),
    corrupt(2, 4, (d) => d.frame(1, 2)),
  ],
  ["a parent's mark lost: recovery marks it again", chain, (d) => d.zero(2, d.end(2, 64)), clean(6)],
  // Behind the parent's end stand a frame and a promise that do not exist any more.
  ["a parent not yet sealed", copied, (d) => d.files.set(name(1), d.before.get(name(1))!), torn(4, false, 0)],

  // Headers.
  ["unknown version", chain, (d) => d.version(3, 2), unknown(3)],
  ["unknown version of a parent", chain, (d) => d.version(1, 2), unknown(1)],
  ["bad preamble under a final name", chain, (d) => d.flip(3, 3), corrupt(3, 0, () => 0)],
  ["bad header under a final name", chain, (d) => d.flip(3, 100), corrupt(3, 0, () => 32)],
  [
    "fuzzing: a segment that continues itself, for ever",
    chain,
    (d) => d.header(3, (v) => v.setBigUint64(72, 3n, true)),
    corrupt(3, 0, () => 72),
  ],
  ["fuzzing: a frame align of 0", chain, (d) => d.header(3, (v) => v.setUint32(128, 0, true)), corrupt(3, 0, () => 128)],
  [
    "fuzzing: a frame align that is no power of two",
    chain,
    (d) => d.header(1, (v) => v.setUint32(128, 96, true)),
    corrupt(1, 0, () => 128),
  ],
  ["fuzzing: another topology", chain, (d) => d.header(3, (v) => v.setUint32(56, 2, true)), unknown(3, 56)],
  [
    "fuzzing: a proven LSN beyond the end of a closed log",
    closed,
    (d) => d.header(1, (v) => v.setBigUint64(152, 5n, true)),
    corrupt(1, 5, (d) => d.good.segments[0]!.end),
  ],
  ["fuzzing: a segment of another chain", chain, (d) => d.header(3, (v) => v.setUint32(60, 1, true)), corrupt(3, 0, () => 64)],
  [
    "fuzzing: a term that no number holds",
    chain,
    (d) => d.header(3, (v) => v.setBigUint64(104, 2n ** 53n, true)),
    corrupt(3, 0, () => 104),
  ],
  ["an empty file under a final name", chain, (d) => d.files.set(name(4), new Uint8Array(0)), corrupt(4, 0, () => 0)],
  ["a leftover .new, whatever it holds", chain, (d) => d.files.set(`${name(4)}.new`, d.bytes(3).slice(0, 300)), clean(6)],
];
