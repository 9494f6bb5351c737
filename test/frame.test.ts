// A frame is valid or invalid as a whole: each flipped bit, each truncation, each other place rejects it,
// and no length in it leads the reader astray. (FORMAT.md, "A frame is valid".)

import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { decodeFrameHeader, encodeFrameHeader, FRAME_ENTRIES_MAX, type FrameHeader } from "../src/frame.js";
import { windowCore } from "../src/core.js";
import { WINDOW } from "../assembly/layout.js";
import { SegmentScanner, type StopReason } from "../src/scan.js";
import { readSegmentHeader, type SegmentHeader } from "../src/segment.js";
import { drive, Fixed } from "./support/fixed-log.js";
import { loseLsns } from "./support/golden-cases.js";
import { crc } from "./support/independent-reader.js";
import { MemoryStorage } from "./support/memory-storage.js";

const FIRST = 256;

/** One frame with an entry of every kind, LSNs 1 to 9, and the segment around it. */
async function sample(): Promise<{ bytes: Uint8Array; header: SegmentHeader; end: number }> {
  const fixed = new Fixed();
  const log = await fixed.open();
  const batch = log.appendBatch([
    { kind: "put", key: "k", value: "" },
    "data",
    { kind: "delete", key: "a longer key" },
    { kind: "commit", offsets: { a: 1n } },
  ]);
  loseLsns(log, 4);
  await drive(log, Promise.all([batch, log.append("x")]));
  const [name, bytes] = [...fixed.files][0]!;
  const header = readSegmentHeader(MemoryStorage.of("/d", new Map([[name, bytes]])).open(`/d/${name}`));
  return { bytes, header, end: FIRST + new DataView(bytes.buffer).getUint32(FIRST + 8, true) };
}

const { bytes: GOOD, header: HEADER, end: END } = await sample();

/** LSN after the first frame, or why there is none. */
function scan(bytes: Uint8Array, header = HEADER, limit = bytes.length, start?: { offset: number; nextLsn: number }): number | StopReason {
  const scanner = new SegmentScanner(MemoryStorage.of("/d", new Map([["f", bytes]])).open("/d/f"), header, limit, start);
  try {
    return scanner.next() === undefined ? scanner.reason : scanner.nextLsn;
  } finally {
    scanner.close();
  }
}

test("the sample is valid, all kinds in it", () => assert.is(scan(GOOD), 10));

test("invariant 4: each flipped bit of a frame rejects it, and a damaged length is never followed", () => {
  const headers = entryOffsets();
  for (let bit = FIRST * 8; bit < END * 8; bit++) {
    const bytes = GOOD.slice();
    const at = bit >> 3;
    bytes[at]! ^= 1 << (bit & 7);
    const reason = scan(bytes);
    assert.type(reason, "string", `bit ${bit & 7} of byte ${at}`);
    const inHeader = headers.some((header) => at >= header && at < header + 16);
    if (inHeader) assert.ok(reason === "bad layout" || reason === "bad entry headers", `byte ${at}: ${reason}`);
  }
});

test("invariant 3: each truncation rejects the whole frame, by the file's end and by the limit", () => {
  for (let size = FIRST; size < END; size++) {
    assert.type(scan(GOOD.subarray(0, size)), "string", `${size} bytes`);
    assert.type(scan(GOOD, HEADER, size), "string", `limit ${size}`);
    const zeroed = GOOD.slice().fill(0, size);
    if (GOOD.subarray(size, END).some((b) => b !== 0)) assert.type(scan(zeroed), "string", `zeros from ${size}`);
  }
  assert.is(scan(GOOD.subarray(0, END)), 10);
});

test("invariant 5: a frame of another segment, log, place or LSN is none", () => {
  assert.is(scan(GOOD, { ...HEADER, salt: HEADER.salt ^ 1n }), "no header");
  assert.is(scan(GOOD, { ...HEADER, logId: HEADER.logId.map((b) => b ^ 1) }), "bad entry");
  assert.is(scan(GOOD, { ...HEADER, parentLastLsn: 1 }), "wrong LSN");
  const moved = new Uint8Array(GOOD.length + 64);
  moved.set(GOOD.subarray(FIRST, END), FIRST + 64);
  assert.is(scan(moved, HEADER, moved.length, { offset: FIRST + 64, nextLsn: 1 }), "no header");
});

// --- a frame whose checksums are right, but whose lengths lie -----------------------------------------

const u64 = (n: bigint): Uint8Array => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(n);
  return bytes;
};

/** Makes header, entry headers and, if possible, entry checksums right again. */
function resign(bytes: Uint8Array, entries: number[]): void {
  const v = new DataView(bytes.buffer);
  v.setUint32(FIRST + 56, crc(...entries.map((at) => bytes.subarray(at, at + 16))), true);
  v.setUint32(FIRST + 4, crc(u64(HEADER.salt), u64(BigInt(FIRST)), bytes.subarray(FIRST + 8, FIRST + 64)), true);
}

/** Offsets of the entries of the sample. */
function entryOffsets(): number[] {
  const v = new DataView(GOOD.buffer);
  const offsets: number[] = [];
  for (let at = FIRST + 64; at < END; at += 16 + Math.ceil(v.getUint32(at + 4, true) / 8) * 8) offsets.push(at);
  return offsets;
}

test("lengths that lie under a right checksum are refused without reading outside", () => {
  const huge = fc.oneof(fc.nat(0xffffffff), fc.constantFrom(0, 1, 15, 16, 63, 64, 65, 0x7fffffff, 0x80000000, 0xfffffff0, 0xffffffff));
  const entries = entryOffsets();
  assert.is(entries.length, 6);
  fc.assert(
    fc.property(fc.constantFrom(8, 12, 60, ...entries.flatMap((at) => [at - FIRST + 4, at - FIRST + 8])), huge, (field, value) => {
      const bytes = GOOD.slice();
      const v = new DataView(bytes.buffer);
      if (v.getUint32(FIRST + field, true) === value) return;
      v.setUint32(FIRST + field, value, true);
      resign(bytes, entries);
      assert.type(scan(bytes), "string", `field at ${field} = ${value}`);
    }),
    { numRuns: 2000 },
  );
});

test("a payload length that overflows 32 bits with its padding is refused", () => {
  const entries = entryOffsets();
  const last = entries.at(-1)!;
  for (let size = 0xfffffff0; size <= 0xffffffff; size++) {
    const bytes = GOOD.slice();
    const v = new DataView(bytes.buffer);
    v.setUint32(last + 4, size, true);
    v.setUint32(FIRST + 8, last + 16 - FIRST, true);
    resign(bytes, entries);
    assert.type(scan(bytes), "string", `${size} bytes`);
  }
});

test("a void that claims more, fewer or negative LSNs is refused; so is kind 0, and padding that is not zero", () => {
  const entries = entryOffsets();
  const hole = entries.at(-2)!;
  const v0 = new DataView(GOOD.buffer);
  assert.is(v0.getUint8(hole + 12), 16);
  const sign = (bytes: Uint8Array, at: number, lsn: bigint): void => {
    const v = new DataView(bytes.buffer);
    const size = v.getUint32(at + 4, true);
    v.setUint32(at, crc(HEADER.logId, u64(BigInt(HEADER.term)), bytes.subarray(at + 4, at + 16 + size), u64(lsn)), true);
  };
  const attempt = (edit: (bytes: Uint8Array, v: DataView) => void, at: number, lsn: bigint): number | StopReason => {
    const bytes = GOOD.slice();
    edit(bytes, new DataView(bytes.buffer));
    sign(bytes, at, lsn);
    resign(bytes, entries);
    return scan(bytes);
  };
  assert.is(
    attempt(() => undefined, hole, 5n),
    10,
    "signing is right",
  );
  for (const count of [0n, 3n, 5n, 9n, 10n, 2n ** 32n, 2n ** 63n, 2n ** 64n - 1n]) {
    assert.type(
      attempt((_, v) => v.setBigUint64(hole + 16, count, true), hole, 5n),
      "string",
      `${count} LSNs`,
    );
  }
  assert.type(
    attempt((_, v) => v.setUint8(entries[0]! + 12, 0), entries[0]!, 1n),
    "string",
    "kind 0",
  );
  assert.type(
    attempt((_, v) => v.setUint16(entries[0]! + 14, 1, true), entries[0]!, 1n),
    "string",
    "reserved bytes",
  );
  assert.type(
    attempt((_, v) => v.setUint32(entries[0]! + 8, 2, true), entries[0]!, 1n),
    "string",
    "key longer than the payload",
  );
  assert.type(
    attempt((_, v) => v.setUint8(entries[0]! + 16 + 1, 1), entries[0]!, 1n),
    "string",
    "padding",
  );
});

test("frame header: round trip at every place", () => {
  const core = windowCore(4096);
  const nat32 = fc.nat(0xffffffff);
  const time = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
  const safe = fc.maxSafeNat();
  const frames: fc.Arbitrary<FrameHeader> = fc.record(
    {
      bytes: nat32,
      entries: fc.nat(FRAME_ENTRIES_MAX),
      firstLsn: safe,
      durableLsn: safe,
      term: safe,
      epoch: safe,
      durableEpoch: fc.constant(0),
      timeNs: time,
      headersCrc: nat32,
      lsns: nat32,
    },
    { noNullPrototype: true },
  );
  const near = fc.tuple(frames, fc.nat(255)).map(([h, n]) => ({ ...h, durableEpoch: Math.max(0, h.epoch - n) }));
  const valid = near.filter((h) => h.firstLsn + h.lsns <= Number.MAX_SAFE_INTEGER);
  fc.assert(
    fc.property(
      valid,
      fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      fc.maxSafeNat().map((n) => Math.floor(n / 2)),
      fc.nat(100),
      (h, salt, offset, at) => {
        encodeFrameHeader(core, WINDOW + at * 8, h, salt, offset);
        assert.equal(decodeFrameHeader(core, WINDOW + at * 8, salt, offset), h);
        assert.is(decodeFrameHeader(core, WINDOW + at * 8, salt ^ 1n, offset), undefined);
        assert.is(decodeFrameHeader(core, WINDOW + at * 8, salt, offset + 64), undefined);
      },
    ),
  );
});

test("a scanner that is closed twice gives its window back once: the next two have one each", () => {
  const scan = (): SegmentScanner =>
    new SegmentScanner(MemoryStorage.of("/d", new Map([["f", new Uint8Array(4096)]])).open("/d/f"), HEADER, 4096);
  const first = scan();
  first.close();
  first.close();
  const [a, b] = [scan(), scan()];
  assert.is.not(a.window, b.window);
  a.close();
  b.close();
});

test.run();
