// Names, header, footer and mark: what was written is read back, and each flipped bit is noticed.

import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { codeOf } from "../src/errors.js";
import { markContinued, readFooter, readFooterAt, seal } from "../src/footer.js";
import {
  addFrame,
  emptySummary,
  encodeSegmentHeader,
  firstFrameOffset,
  INDEX_STRIDE_BYTES,
  isOurName,
  isUnfinished,
  parseSegmentName,
  parseSpareName,
  readSegmentHeader,
  segmentName,
  spareName,
  type SegmentHeader,
  type SegmentSummary,
} from "../src/segment.js";
import type { Marks } from "../src/marks.js";
import { crc } from "./support/independent-reader.js";
import { MemoryStorage } from "./support/memory-storage.js";

const PLAIN = { noNullPrototype: true };
const safe = fc.maxSafeNat();
const long = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const time = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
const marks: fc.Arbitrary<Marks> = fc.record(
  {
    epoch: safe,
    complete: safe,
    chains: fc.uniqueArray(fc.nat(255)).map((list) => list.sort((a, b) => a - b)),
  },
  PLAIN,
);
const headers: fc.Arbitrary<SegmentHeader> = fc.record(
  {
    logId: fc.uint8Array({ minLength: 16, maxLength: 16 }),
    salt: long,
    topology: fc.constantFrom("striped" as const, "per-core" as const),
    chain: fc.nat(255),
    number: safe,
    parentNumber: safe,
    parentSalt: long,
    parentEnd: safe,
    parentLastLsn: safe,
    term: safe,
    epoch: safe,
    createdNs: time,
    frameAlign: fc.constantFrom(64, 128, 4096, 65536),
    segmentBytes: safe,
    provenEnd: safe,
    provenLsn: safe,
    cutsParent: fc.boolean(),
    marks,
    floor: safe,
    needsCheckpoint: fc.boolean(),
    origin: fc.option(
      fc.uint8Array({ minLength: 16, maxLength: 16 }).filter((id) => id.some((byte) => byte !== 0)),
      { nil: undefined },
    ),
  },
  PLAIN,
);
const summaries: fc.Arbitrary<SegmentSummary> = fc.record(
  {
    firstLsn: safe,
    lastLsn: safe,
    frames: safe,
    entries: safe,
    payloadBytes: safe,
    voidLsns: safe,
    minTerm: safe,
    maxTerm: safe,
    minEpoch: safe,
    maxEpoch: safe,
    minTimeNs: time,
    maxTimeNs: time,
    marks,
    index: fc.array(fc.tuple(safe, safe), { maxLength: 20 }),
  },
  PLAIN,
);

function fileOf(bytes: Uint8Array): ReturnType<MemoryStorage["open"]> {
  return MemoryStorage.of("/d", new Map([["f", bytes]])).open("/d/f");
}

function bytesOf(file: ReturnType<MemoryStorage["open"]>): Uint8Array {
  const bytes = new Uint8Array(file.size());
  file.read(bytes, 0);
  return bytes;
}

const codeFrom = (run: () => unknown): string | undefined => {
  try {
    run();
    return undefined;
  } catch (error) {
    return codeOf(error);
  }
};

const ONE: SegmentHeader = fc.sample(headers, { seed: 1, numRuns: 1 })[0]!;

test("names: what is made is parsed, and nothing else", () => {
  fc.assert(
    fc.property(fc.nat(999), fc.integer({ min: 1, max: 9_999_999_999 }), (chain, number) =>
      assert.equal(parseSegmentName(segmentName(chain, number)), { chain, number }),
    ),
  );
  for (const name of [
    "000-0000000001.wal.new",
    "000-000000001.wal",
    "0000-0000000001.wal",
    "000-0000000001.wal~",
    "x000-0000000001.wal",
    "000-00000000a1.wal",
    "",
  ])
    assert.is(parseSegmentName(name), undefined, name);
  const unfinished = ["000-0000000001.wal.new", "checkpoint-0000000001.ckp.new", "spare-0000000001.new", "corewal.archive.new"];
  const finished = ["000-0000000001.wal", "corewal.lock", "corewal.lock.0000000001", "spare-0000000001", "corewal.archive"];
  const others = [
    "data.txt",
    "000-0000000001.wal.old",
    "corewal.locked",
    "my000-0000000001.wal",
    "spare-1",
    "spare-0000000001.wal",
    "a.new",
  ];
  for (const name of [...finished, ...unfinished]) assert.ok(isOurName(name), name);
  for (const name of others) assert.not(isOurName(name), name);
  for (const name of [...finished, ...unfinished, ...others]) assert.is(isUnfinished(name), unfinished.includes(name), name);
  assert.is(spareName(7), "spare-0000000007");
  assert.is(parseSpareName(spareName(7)), 7);
  for (const name of [...unfinished, ...others, "000-0000000001.wal"]) assert.is(parseSpareName(name), undefined, name);
});

test("header: round trip", () => {
  // A parent comes before its child, and nothing begins behind its end.
  const valid = headers.map((h) => ({ ...h, floor: h.floor % (h.number + 1) })).filter((h) => h.parentNumber < h.number);
  fc.assert(fc.property(valid, (h) => assert.equal(readSegmentHeader(fileOf(encodeSegmentHeader(h))), h)));
});

test("header: each flipped bit and each truncation is corruption", () => {
  const good = encodeSegmentHeader(ONE);
  for (let bit = 0; bit < good.length * 8; bit++) {
    const bytes = good.slice();
    bytes[bit >> 3]! ^= 1 << (bit & 7);
    assert.is(
      codeFrom(() => readSegmentHeader(fileOf(bytes))),
      "COREWAL_CORRUPT",
      `bit ${bit}`,
    );
  }
  for (let size = 0; size < good.length; size++)
    assert.is(
      codeFrom(() => readSegmentHeader(fileOf(good.subarray(0, size)))),
      "COREWAL_CORRUPT",
      `${size} bytes`,
    );
});

test("invariant 4: another version is an answer of its own, whatever follows the preamble", () => {
  for (const version of [0, 2, 3, 0xffffffff]) {
    const bytes = new Uint8Array(256).fill(0x5a);
    bytes.set(encodeSegmentHeader(ONE).subarray(0, 32));
    const v = new DataView(bytes.buffer);
    v.setUint32(8, version, true);
    v.setUint32(28, crc(new Uint8Array(16), bytes.subarray(0, 28)), true);
    assert.is(
      codeFrom(() => readSegmentHeader(fileOf(bytes))),
      "COREWAL_UNKNOWN_VERSION",
    );
  }
});

function sealed(
  h: SegmentHeader,
  s: SegmentSummary,
  end: number,
  next?: { number: number; salt: bigint },
): ReturnType<MemoryStorage["open"]> {
  // Longer than the footer: sealing cuts what was written ahead.
  const file = fileOf(new Uint8Array(end + 4096).fill(0x77));
  seal(file, h, end, s, next);
  return file;
}

test("footer: round trip, with and without mark, and marked later", () => {
  fc.assert(
    fc.property(
      headers,
      summaries,
      fc.integer({ min: 4, max: 50 }),
      fc.option(fc.record({ number: safe, salt: long }, PLAIN), { nil: undefined }),
      (h, s, units, next) => {
        const end = units * 64;
        const file = sealed(h, s, end, next);
        const footer = readFooter(file, h)!;
        assert.equal(footer, { ...s, endOffset: end, fileBytes: file.size(), continued: next });
        assert.is(file.size() % 64, 0);
        const later = { number: 5, salt: 6n };
        markContinued(file, h, footer, later);
        assert.equal(readFooter(file, h), { ...footer, continued: later });
      },
    ),
  );
});

test("footer: each flipped bit is noticed; the mark's own bits lose the mark only", () => {
  const summary = {
    ...emptySummary(1),
    index: [
      [1, 256],
      [9, 70000],
    ] as [number, number][],
  };
  const good = bytesOf(sealed(ONE, summary, 512, { number: 2, salt: 3n }));
  const footer = readFooter(fileOf(good), ONE)!;
  const mark = good.length - 64;
  for (let bit = 512 * 8; bit < good.length * 8; bit++) {
    const bytes = good.slice();
    bytes[bit >> 3]! ^= 1 << (bit & 7);
    const found = readFooter(fileOf(bytes), ONE);
    if (bit < mark * 8) assert.is(found, undefined, `bit ${bit}`);
    else assert.equal({ ...found, continued: footer.continued }, footer);
    if (bit >= mark * 8) assert.is(found?.continued, undefined, `bit ${bit}`);
  }
  for (let size = 0; size < good.length; size++) assert.is(readFooter(fileOf(good.subarray(0, size)), ONE), undefined, `${size} bytes`);
});

test("invariant 5: a footer or mark of another segment or place is none", () => {
  const good = bytesOf(sealed(ONE, emptySummary(1), 512, { number: 2, salt: 3n }));
  assert.is(readFooter(fileOf(good), { ...ONE, salt: ONE.salt ^ 1n }), undefined);
  assert.is(readFooter(fileOf(good), { ...ONE, number: ONE.number + 1 }), undefined);
  const moved = Buffer.concat([new Uint8Array(64), good]);
  assert.is(readFooter(fileOf(moved), ONE), undefined);
  const other = bytesOf(sealed({ ...ONE, salt: ONE.salt ^ 1n }, emptySummary(1), 512, { number: 2, salt: 3n }));
  const mixed = good.slice();
  mixed.set(other.subarray(-64), mixed.length - 64);
  assert.is(readFooter(fileOf(mixed), ONE)!.continued, undefined);
});

test("footer: counts that point outside are refused before anything is read there", () => {
  const good = bytesOf(sealed(ONE, emptySummary(1), 512));
  const trailer = good.length - 256;
  fc.assert(
    fc.property(fc.nat(0xffffffff), long, (count, end) => {
      const bytes = good.slice();
      const v = new DataView(bytes.buffer);
      v.setUint32(trailer + 12, count, true);
      v.setBigUint64(trailer + 16, end, true);
      if (count === 0 && end === 512n) return;
      assert.is(readFooterAt(fileOf(bytes), ONE, trailer), undefined);
    }),
  );
  for (const at of [-1000, 0, 100, good.length, good.length + 1000, trailer + 64])
    assert.is(at < 0 ? undefined : readFooterAt(fileOf(good), ONE, at), undefined);
});

test("summary: an index entry at most once per stride, frames without LSNs in none, extremes kept", () => {
  const s = emptySummary(10);
  const frame = { entries: 1, firstLsn: 0, lsns: 1, userEntries: 1, payloadBytes: 5, voidLsns: 0, term: 0, epoch: 0, timeNs: 0n };
  addFrame(s, { ...frame, offset: 256, firstLsn: 10, lsns: 0, userEntries: 0, payloadBytes: 0, term: 4, epoch: 2, timeNs: 50n });
  addFrame(s, { ...frame, offset: 320, firstLsn: 10, lsns: 3, userEntries: 1, voidLsns: 2, term: 3, epoch: 5, timeNs: 70n });
  addFrame(s, {
    ...frame,
    offset: 448,
    firstLsn: 13,
    term: 4,
    epoch: 1,
    timeNs: 60n,
    marks: { epoch: 6, complete: 5, chains: [0] },
  });
  addFrame(s, { ...frame, offset: 320 + INDEX_STRIDE_BYTES, firstLsn: 14, term: 4, epoch: 3, timeNs: 60n });
  assert.equal(s, {
    firstLsn: 10,
    lastLsn: 14,
    frames: 4,
    entries: 3,
    payloadBytes: 15,
    voidLsns: 2,
    minTerm: 3,
    maxTerm: 4,
    minEpoch: 1,
    maxEpoch: 5,
    minTimeNs: 50n,
    maxTimeNs: 70n,
    marks: { epoch: 6, complete: 5, chains: [0] },
    index: [
      [10, 320],
      [14, 320 + INDEX_STRIDE_BYTES],
    ],
  });
  assert.equal([64, 4096, 65536].map(firstFrameOffset), [256, 4096, 65536]);
});

test.run();
