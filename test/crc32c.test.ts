// CRC32C against a reference that goes bit by bit. (RFC 3720's vectors are in format.test.ts.)

import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { WINDOW } from "../assembly/layout.js";
import { placedChecksum, windowCore } from "../src/core.js";
import { pattern } from "./support/golden-cases.js";
import { crc } from "./support/independent-reader.js";

const core = windowCore(65536);

function update(register: number, bytes: Uint8Array, offset: number): number {
  core.bytes.set(bytes, WINDOW + offset);
  return core.x.crc32c_update(register, WINDOW + offset, bytes.length);
}

test("every length from 0 to 200 at every offset from 0 to 15", () => {
  for (let length = 0; length <= 200; length++) {
    const bytes = pattern(length, length * 7 + 1);
    const expected = crc(bytes);
    for (let offset = 0; offset < 16; offset++) {
      // What lies around must not matter.
      core.bytes.fill(0xa5, WINDOW, WINDOW + 256);
      assert.is(~update(-1, bytes, offset) >>> 0, expected, `${length} bytes at ${offset}`);
    }
  }
});

test("in parts it is the same as at once", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 80 }), { maxLength: 8 }), fc.nat(15), (parts, offset) => {
      let register = -1;
      for (const part of parts) register = update(register, part, offset);
      assert.is(~register >>> 0, crc(...parts));
    }),
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
