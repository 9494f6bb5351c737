// CRC32C against a reference that goes bit by bit. (RFC 3720's vectors are in format.test.ts.)

import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { WINDOW } from "../assembly/layout.js";
import { placedChecksum, windowCore } from "../src/core.js";
import { pattern } from "./support/golden-cases.js";
import { isMultiple, searchLags, shuffles } from "./support/crc-lags.js";
import { crc } from "./support/independent-reader.js";

const core = windowCore(65536);

function update(register: number, bytes: Uint8Array, offset: number): number {
  core.bytes.set(bytes, WINDOW + offset);
  return core.x.crc32c_update(register, WINDOW + offset, bytes.length);
}

test("every length from 0 to 2048 at every offset from 0 to 16", () => {
  const bytes = pattern(2048, 7);
  for (let length = 0; length <= bytes.length; length++) {
    const part = bytes.subarray(bytes.length - length);
    const expected = crc(part);
    for (let offset = 0; offset <= 16; offset++) {
      // What lies around must not matter.
      core.bytes.fill(0xa5, WINDOW, WINDOW + offset);
      core.bytes.fill(0x5a, WINDOW + offset + length, WINDOW + offset + length + 32);
      if (~update(-1, part, offset) >>> 0 !== expected) assert.unreachable(`${length} bytes at ${offset}`);
    }
  }
});

test("any bytes of up to 64 KiB, also after other ones", () => {
  fc.assert(
    fc.property(fc.nat(65_000), fc.nat(255), fc.integer(), fc.nat(63), (length, tag, register, offset) => {
      const bytes = pattern(length, tag);
      // Bit by bit, as the definition says.
      let expected = register;
      for (const byte of bytes) {
        expected ^= byte;
        for (let bit = 0; bit < 8; bit++) expected = expected & 1 ? (expected >>> 1) ^ 0x82f63b78 : expected >>> 1;
      }
      assert.is(update(register, bytes, offset) >>> 0, expected >>> 0);
    }),
    { numRuns: 100 },
  );
});

test("cut in two at every place, on both sides of where vectors begin", () => {
  for (const length of [255, 256, 257, 271, 272, 400, 511, 512, 513, 640]) {
    const bytes = pattern(length, length);
    const expected = crc(bytes);
    core.bytes.set(bytes, WINDOW);
    for (let cut = 0; cut <= length; cut++) {
      const { x } = core;
      const register = x.crc32c_update(x.crc32c_update(-1, WINDOW, cut), WINDOW + cut, length - cut);
      if (~register >>> 0 !== expected) assert.unreachable(`${length} bytes cut at ${cut}`);
    }
  }
});

test("each single byte of a long input counts, and counts for itself", () => {
  const bytes = new Uint8Array(700);
  const seen = new Set<number>();
  for (let at = 0; at < bytes.length; at++) {
    bytes[at] = 0x80;
    seen.add(update(-1, bytes, 0));
    bytes[at] = 0;
  }
  assert.is(seen.size, bytes.length);
});

test("the lags are those of a multiple of the generator, and no other below degree 128 needs fewer shuffles", () => {
  const lags = [18, 34, 50, 53, 101, 105, 122];
  assert.ok(isMultiple(lags));
  for (const [i, lag] of lags.entries()) assert.not(isMultiple(lags.with(i, lag + 1)), "a wrong lag is told");
  const found = searchLags(128);
  assert.ok(found.every(isMultiple));
  assert.equal(found[0], lags);
  assert.ok(shuffles(found[1]!) > shuffles(lags));
});

test("in parts it is the same as at once", () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.oneof(
          fc.uint8Array({ maxLength: 80 }),
          fc.nat(700).map((n) => pattern(n, n)),
        ),
        { maxLength: 8 },
      ),
      fc.nat(15),
      (parts, offset) => {
        let register = -1;
        for (const part of parts) register = update(register, part, offset);
        assert.is(~register >>> 0, crc(...parts));
      },
    ),
  );
});

test("each single flipped bit changes it", () => {
  const bytes = pattern(67, 3);
  const good = crc(bytes);
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    bytes[bit >> 3]! ^= 1 << (bit & 7);
    assert.is.not(~update(-1, bytes, bit & 7) >>> 0, good);
    bytes[bit >> 3]! ^= 1 << (bit & 7);
  }
});

test("placedChecksum binds to salt and offset, also of bytes that need several windows", () => {
  const place = (salt: bigint, offset: bigint): Uint8Array => {
    const bytes = Buffer.alloc(16);
    bytes.writeBigUInt64LE(salt, 0);
    bytes.writeBigUInt64LE(offset, 8);
    return bytes;
  };
  for (const length of [0, 1, 192, 16383, 16384, 16385, 40001]) {
    const bytes = pattern(length, length);
    assert.is(placedChecksum(0xfedcba9876543210n, 2 ** 40 + 64, bytes), crc(place(0xfedcba9876543210n, 2n ** 40n + 64n), bytes));
  }
});

test.run();
