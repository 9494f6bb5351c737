// corewal/core's crc32c: every kind of memory, any cut, and what it refuses.

import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { crc32c } from "../src/core-index.js";
import { refused } from "./support/expect.js";
import { pattern } from "./support/golden-cases.js";
import { crc } from "./support/independent-reader.js";

test("the vectors of RFC 3720, B.4, and of nothing", () => {
  const counted = Uint8Array.from({ length: 32 }, (_, i) => i);
  assert.is(crc32c("123456789"), 0xe3069283);
  assert.is(crc32c(new Uint8Array(32)), 0x8a9136aa);
  assert.is(crc32c(new Uint8Array(32).fill(0xff)), 0x62a8ab43);
  assert.is(crc32c(counted), 0x46dd794e);
  assert.is(crc32c(counted.toReversed()), 0x113fdb5c);
  assert.is(crc32c(""), 0);
  assert.is(crc32c(new Uint8Array(0), 77), 77);
});

test("plain, shared and pooled memory at any alignment, and strings as UTF-8", () => {
  fc.assert(
    fc.property(fc.nat(40_000), fc.nat(15), fc.constantFrom("plain", "shared", "pool"), (length, shift, kind) => {
      const bytes = pattern(length, length);
      const expected = crc(bytes);
      if (kind === "pool") return assert.is(crc32c(Buffer.from(bytes)), expected);
      const around = new Uint8Array(kind === "shared" ? new SharedArrayBuffer(length + 32) : new ArrayBuffer(length + 32)).fill(0xcc);
      around.set(bytes, shift);
      assert.is(crc32c(around.subarray(shift, shift + length)), expected);
      assert.equal(around.subarray(shift, shift + length), bytes, "nothing is written");
    }),
    { numRuns: 60 },
  );
  for (const text of ["🐟", "\ud83d", "ü".repeat(20_000)]) assert.is(crc32c(text), crc(Buffer.from(text)));
});

test("in parts it is the same as at once, cut around the window and around where vectors begin", () => {
  const bytes = pattern(33_000, 9);
  const expected = crc(bytes);
  for (const cut of [0, 1, 127, 255, 256, 257, 16_383, 16_384, 16_385, 32_744, 32_745, 33_000])
    assert.is(crc32c(bytes.subarray(cut), crc32c(bytes.subarray(0, cut))), expected, `cut at ${cut}`);
});

test("what is no bytes and no checksum is refused", async () => {
  for (const wrong of [undefined, null, 5, [1, 2], new Uint16Array(4), new ArrayBuffer(4), new DataView(new ArrayBuffer(4))])
    assert.instance(await refused(() => crc32c(wrong as never), "COREWAL_INVALID_INPUT"), TypeError);
  for (const seed of ["1", null, 1n, {}])
    assert.instance(await refused(() => crc32c("x", seed as never), "COREWAL_INVALID_INPUT", /seed/), TypeError);
  for (const seed of [-1, 1.5, 2 ** 32, NaN, Infinity])
    assert.instance(await refused(() => crc32c("x", seed), "COREWAL_INVALID_INPUT", /seed/), RangeError);
});

test.run();
