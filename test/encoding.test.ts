// corewal/core's entries: the bytes of FORMAT.md, in any memory and back, and nothing that was changed on the way.

import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { createRings, decodeEntries, encodeEntries, type Entry, type Input } from "../src/core-index.js";
import { refused } from "./support/expect.js";
import { pattern } from "./support/golden-cases.js";
import { crc } from "./support/independent-reader.js";

const PLACE = { logId: pattern(16, 3), term: 2 ** 40 + 5, firstLsn: 2 ** 35 + 1 };
const INPUTS: Input[] = ["a", pattern(8, 1), { kind: "put", key: "key", value: "value" }, { kind: "delete", key: "gone" }, pattern(700, 2)];

const u64 = (n: number): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(n));
  return bytes;
};
const facts = (entries: Entry[]): unknown[] =>
  entries.map((e) => [e.lsn, e.kind, e.key && Buffer.from(e.key).toString(), Buffer.from(e.value).toString("hex")]);

test("the bytes are those of FORMAT.md", () => {
  const bytes = encodeEntries([{ kind: "put", key: "k", value: "val" }], { ...PLACE, core: 9 });
  const header = Buffer.from([4, 0, 0, 0, 1, 0, 0, 0, 2, 9, 0, 0]);
  const expected = Buffer.alloc(24);
  header.copy(expected, 4);
  expected.write("kval", 16);
  expected.writeUInt32LE(crc(PLACE.logId, u64(PLACE.term), header, Buffer.from("kval"), u64(PLACE.firstLsn)));
  assert.equal(Buffer.from(bytes), expected);
});

test("every kind comes back as it was, in plain memory, with the frame's facts", () => {
  const commit: Input = { kind: "commit", offsets: { a: 1n }, watermark: -1n };
  const entries = decodeEntries(encodeEntries([...INPUTS, commit], { ...PLACE, core: 3 }), { ...PLACE, epoch: 7, timestampMs: 1234.5 });
  const hex = (b: string | Uint8Array): string => Buffer.from(b as Uint8Array).toString("hex");
  assert.equal(facts(entries).slice(0, -1), [
    [PLACE.firstLsn, "data", undefined, hex("a")],
    [PLACE.firstLsn + 1, "data", undefined, hex(pattern(8, 1))],
    [PLACE.firstLsn + 2, "put", "key", hex("value")],
    [PLACE.firstLsn + 3, "delete", "gone", ""],
    [PLACE.firstLsn + 4, "data", undefined, hex(pattern(700, 2))],
  ]);
  assert.is(entries.at(-1)!.kind, "commit");
  for (const e of entries) {
    assert.equal([e.core, e.epoch, e.timestampMs, e.term], [3, 7, 1234.5, PLACE.term]);
    assert.not(e.value.buffer instanceof SharedArrayBuffer);
  }
  assert.equal(encodeEntries([], PLACE).length, 0);
  assert.equal(decodeEntries(new Uint8Array(0), PLACE), []);
});

test("into given memory: plain, shared, or that of rings, at any place, and not a byte beside it", () => {
  const expected = encodeEntries(INPUTS, PLACE);
  const rings = createRings({ stripes: 1, ringBytes: 4096 });
  const end = rings.memory.buffer.byteLength;
  fc.assert(
    fc.property(fc.constantFrom("plain", "shared", "rings"), fc.nat(40), (kind, shift) => {
      const room = expected.length + 100;
      const all =
        kind === "rings"
          ? new Uint8Array(rings.memory.buffer, end - room)
          : new Uint8Array(kind === "plain" ? new ArrayBuffer(room) : new SharedArrayBuffer(room));
      all.fill(0xcc);
      const written = encodeEntries(INPUTS, PLACE, all.subarray(shift));
      assert.is(written.buffer, all.buffer);
      assert.is(written.byteOffset, all.byteOffset + shift);
      assert.equal(written, expected);
      assert.ok(all.subarray(0, shift).every((b) => b === 0xcc) && all.subarray(shift + expected.length).every((b) => b === 0xcc));
      assert.equal(facts(decodeEntries(written, PLACE)), facts(decodeEntries(expected, PLACE)));
    }),
  );
});

test("more bytes than a window has at first", () => {
  const inputs = Array.from({ length: 40 }, (_, i) => pattern(10_000 + i, i));
  assert.equal(
    facts(decodeEntries(encodeEntries(inputs, PLACE), PLACE)),
    inputs.map((b, i) => [PLACE.firstLsn + i, "data", undefined, Buffer.from(b).toString("hex")]),
  );
});

test("each flipped bit, each cut and each wrong place is told, with LSN and offset of the entry", async () => {
  const bytes = encodeEntries(INPUTS, PLACE);
  const offsets = [0, 24, 48, 72, 96, 96 + 16 + 704];
  const entryAt = (byte: number): number => offsets.findLastIndex((o) => o <= byte);
  for (let bit = 0; bit < bytes.length * 8; bit += bit < 96 * 8 ? 1 : 37) {
    const flipped = bytes.slice();
    flipped[bit >> 3]! ^= 1 << (bit & 7);
    const error = await refused(() => decodeEntries(flipped, PLACE), "COREWAL_CORRUPT");
    const entry = entryAt(bit >> 3);
    if (error.lsn !== PLACE.firstLsn + entry || error.offset !== offsets[entry]) assert.unreachable(`bit ${bit}: ${error.message}`);
  }
  for (let size = 1; size < bytes.length; size++) {
    if (offsets.includes(size)) assert.is(decodeEntries(bytes.subarray(0, size), PLACE).length, offsets.indexOf(size));
    else await refused(() => decodeEntries(bytes.subarray(0, size), PLACE), "COREWAL_CORRUPT");
  }
  for (const wrong of [{ logId: pattern(16, 4) }, { term: PLACE.term + 1 }, { firstLsn: PLACE.firstLsn + 1 }])
    await refused(() => decodeEntries(bytes, { ...PLACE, ...wrong }), "COREWAL_CORRUPT", /LSN/);
});

test("wrong input is refused, and nothing was written", async () => {
  const into = new Uint8Array(64);
  const wrong: [() => unknown, "COREWAL_INVALID_INPUT" | "COREWAL_EMPTY", new () => Error][] = [
    [() => encodeEntries("a" as never, PLACE, into), "COREWAL_INVALID_INPUT", TypeError],
    [() => encodeEntries([5 as never], PLACE, into), "COREWAL_INVALID_INPUT", TypeError],
    [() => encodeEntries(["a", ""], PLACE, into), "COREWAL_EMPTY", RangeError],
    [() => encodeEntries([pattern(49, 1)], PLACE, into), "COREWAL_INVALID_INPUT", RangeError],
    [() => encodeEntries(["a"], PLACE, [] as never), "COREWAL_INVALID_INPUT", TypeError],
    [() => encodeEntries(["a"], null as never, into), "COREWAL_INVALID_INPUT", TypeError],
    [() => encodeEntries(["a"], {} as never, into), "COREWAL_INVALID_INPUT", TypeError],
    [() => encodeEntries(["a"], { firstLsn: 0 }, into), "COREWAL_INVALID_INPUT", RangeError],
    [() => encodeEntries(["a"], { firstLsn: 2 ** 53 - 2 ** 31 + 1 }, into), "COREWAL_INVALID_INPUT", RangeError],
    [() => encodeEntries(["a"], { ...PLACE, term: 1.5 }, into), "COREWAL_INVALID_INPUT", RangeError],
    [() => encodeEntries(["a"], { ...PLACE, core: 256 }, into), "COREWAL_INVALID_INPUT", RangeError],
    [() => encodeEntries(["a"], { ...PLACE, logId: pattern(15, 1) }, into), "COREWAL_INVALID_INPUT", TypeError],
    [() => decodeEntries("a" as never, PLACE), "COREWAL_INVALID_INPUT", TypeError],
    [() => decodeEntries(into, { ...PLACE, epoch: -1 }), "COREWAL_INVALID_INPUT", RangeError],
    [() => decodeEntries(into, { ...PLACE, timestampMs: NaN }), "COREWAL_INVALID_INPUT", TypeError],
    [() => decodeEntries(into, { ...PLACE, timestampMs: Number.MAX_VALUE }), "COREWAL_INVALID_INPUT", TypeError],
  ];
  for (const [run, code, kind] of wrong) assert.instance(await refused(run, code), kind);
  assert.ok(into.every((b) => b === 0));
});

test("fuzzing: holes that lead beyond what a number holds exactly are corrupt", async () => {
  const firstLsn = 2 ** 53 - 2 ** 31;
  const hole = (lsns: number): Buffer => {
    const bytes = Buffer.concat([encodeEntries([new Uint8Array(8)], { firstLsn })]);
    bytes[12] = 16;
    bytes.set(u64(lsns), 16);
    bytes.writeUInt32LE(crc(new Uint8Array(24), bytes.subarray(4), u64(firstLsn)));
    return bytes;
  };
  assert.is(decodeEntries(hole(2 ** 31 - 1), { firstLsn })[0]!.kind, "void");
  await refused(() => decodeEntries(hole(2 ** 31), { firstLsn }), "COREWAL_CORRUPT", /beyond 2\^53/);
});

test.run();
