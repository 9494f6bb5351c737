// CRC32C (Castagnoli), reflected polynomial 0x82F63B78. Test vectors: RFC 3720, appendix B.4.
//
// Short inputs by sixteen tables: each step takes 16 bytes. Source of the method: M. E. Kounavis, F. L. Berry,
// "A Systematic Approach to Building High Performance Software-Based CRC Generators" (2005).
// Long inputs by vectors, in registers only: see crc_vectors.
//
// Functions here work on the raw register. A checksum is ~update(~0, bytes).
// The tables live in shared memory because a data segment would rewrite it at each instantiation.

import { CRC_TABLES } from "./layout";

const POLYNOMIAL: u32 = 0x82f63b78;
/** From here on vectors win: measured, 2.6 against 2.2 GB/s on V8; about even on JavaScriptCore, whose shuffles are slow. */
const VECTOR_BYTES_MIN: u32 = 256;
/** Bytes of the vectors that a new one is made from: the longest lag, 122, rounded up. */
const HISTORY_BYTES: u32 = 128;

/** Fills the tables. Called once by whoever makes the memory, before anyone else sees it. */
export function crc32c_init(): void {
  for (let i: u32 = 0; i < 256; i++) {
    let c = i;
    for (let bit = 0; bit < 8; bit++) c = c & 1 ? (c >>> 1) ^ POLYNOMIAL : c >>> 1;
    store<u32>(CRC_TABLES + (i << 2), c);
  }
  for (let t: u32 = 1; t < 16; t++) {
    for (let i: u32 = 0; i < 256; i++) {
      const before = table(t - 1, i);
      store<u32>(CRC_TABLES + (t << 10) + (i << 2), (before >>> 8) ^ table(0, before & 255));
    }
  }
}

// @ts-ignore: decorator
@inline
function table(t: u32, byte: u32): u32 {
  return load<u32>(CRC_TABLES + (t << 10) + (byte << 2));
}

// @ts-ignore: decorator
@inline
function four(t: u32, word: u32): u32 {
  return table(t + 3, word & 255) ^ table(t + 2, (word >>> 8) & 255) ^ table(t + 1, (word >>> 16) & 255) ^ table(t, word >>> 24);
}

// @ts-ignore: decorator
@inline
export function crc_step4(crc: u32, word: u32): u32 {
  return four(0, crc ^ word);
}

// @ts-ignore: decorator
@inline
export function crc_step8(crc: u32, low: u32, high: u32): u32 {
  return four(4, crc ^ low) ^ four(0, high);
}

// @ts-ignore: decorator
@inline
function sixteen(a: u32, b: u32, c: u32, d: u32): u32 {
  return four(12, a) ^ four(8, b) ^ four(4, c) ^ four(0, d);
}

// @ts-ignore: decorator
@inline
export function crc_step16(crc: u32, at: usize): u32 {
  return sixteen(crc ^ load<u32>(at), load<u32>(at, 4), load<u32>(at, 8), load<u32>(at, 12));
}

// @ts-ignore: decorator
@inline
function crc_step_vector(crc: u32, v: v128): u32 {
  return sixteen(
    crc ^ i32x4.extract_lane(v, 0),
    i32x4.extract_lane(v, 1),
    i32x4.extract_lane(v, 2),
    i32x4.extract_lane(v, 3),
  );
}

// Vectors. A checksum is a remainder modulo the generator P of the message read as a polynomial over GF(2), the
// first bit being the highest power. So what is a multiple of P may be added anywhere without changing it.
//
// Let Q = x^n + the sum of x^(n - l) over a few lags l, n the largest, be such a multiple. Then a bit may be removed
// from the message if those that come l bits later are flipped, for each lag. Squaring is linear over GF(2), so
// Q(x)^8 = Q(x^8), which is a multiple too: the same lags hold for bytes. A byte may be removed if it is added (xor)
// to those that come l bytes later. Done from the first byte on, this moves everything into the last bytes:
//
//     v[i] = m[i] ^ v[i - 18] ^ v[i - 34] ^ v[i - 50] ^ v[i - 53] ^ v[i - 101] ^ v[i - 105] ^ v[i - 122]
//
// for all i but the last 128, where the removed v only are added; the tables take these 128. No lag is below 16, so
// that sixteen neighbours are one vector, made from the eight before it. That many fit into registers: no scratch
// memory, hence no sharing of one between threads.
//
// The lags are the result of a search of our own over all multiples of degree up to 128 with seven lags of at least
// 16: test/support/crc-lags.ts. They were chosen for having few remainders modulo 16, since moving bytes across
// vectors is what costs: 18, 34, 50 share one shuffle, 53 and 101 another.

// @ts-ignore: decorator
@inline
function xor3(a: v128, b: v128, c: v128): v128 {
  return v128.xor(v128.xor(a, b), c);
}

/** m and all that the lags add to it; h8 … h1 are the eight vectors before it, h1 the nearest. */
// @ts-ignore: decorator
@inline
function fold(m: v128, h8: v128, h7: v128, h6: v128, h5: v128, h4: v128, h3: v128, h2: v128, h1: v128): v128 {
  // 122 = 7 * 16 + 10: the last 10 bytes of h8 and the first 6 of h7. And so on.
  const by122 = v128.shuffle<u8>(h8, h7, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21);
  const by105 = v128.shuffle<u8>(h7, h6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22);
  // 101 and 53: both move by 5.
  const by5 = v128.shuffle<u8>(v128.xor(h7, h4), v128.xor(h6, h3), 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26);
  // 50, 34 and 18: all move by 2.
  const by2 = v128.shuffle<u8>(xor3(h4, h3, h2), xor3(h3, h2, h1), 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29);
  // The nearest vectors come in last: nothing else has to wait for them.
  return v128.xor(v128.xor(xor3(m, by122, by105), by5), by2);
}

/** Register after `bytes` bytes at `at`: a multiple of 16, above HISTORY_BYTES. */
function crc_vectors(crc: u32, at: usize, bytes: u32): u32 {
  const zero = i32x4(0, 0, 0, 0);
  let h8 = zero;
  let h7 = zero;
  let h6 = zero;
  let h5 = zero;
  let h4 = zero;
  let h3 = zero;
  let h2 = zero;
  // The register before counts as added to the first four bytes.
  let h1 = v128.xor(v128.load(at), i32x4.replace_lane(zero, 0, crc));
  at += 16;
  bytes -= 16;
  // Eight at a time take each other's places, so that nothing is moved.
  while (bytes >= HISTORY_BYTES + 128) {
    h8 = fold(v128.load(at), h8, h7, h6, h5, h4, h3, h2, h1);
    h7 = fold(v128.load(at, 16), h7, h6, h5, h4, h3, h2, h1, h8);
    h6 = fold(v128.load(at, 32), h6, h5, h4, h3, h2, h1, h8, h7);
    h5 = fold(v128.load(at, 48), h5, h4, h3, h2, h1, h8, h7, h6);
    h4 = fold(v128.load(at, 64), h4, h3, h2, h1, h8, h7, h6, h5);
    h3 = fold(v128.load(at, 80), h3, h2, h1, h8, h7, h6, h5, h4);
    h2 = fold(v128.load(at, 96), h2, h1, h8, h7, h6, h5, h4, h3);
    h1 = fold(v128.load(at, 112), h1, h8, h7, h6, h5, h4, h3, h2);
    at += 128;
    bytes -= 128;
  }
  crc = 0;
  while (bytes) {
    let v = fold(v128.load(at), h8, h7, h6, h5, h4, h3, h2, h1);
    if (bytes <= HISTORY_BYTES) {
      // Not removed any more: for what comes later it counts as zero.
      crc = crc_step_vector(crc, v);
      v = zero;
    }
    h8 = h7;
    h7 = h6;
    h6 = h5;
    h5 = h4;
    h4 = h3;
    h3 = h2;
    h2 = h1;
    h1 = v;
    at += 16;
    bytes -= 16;
  }
  return crc;
}

/** Register after `bytes` bytes at `at`. */
export function crc32c_update(crc: u32, at: usize, bytes: u32): u32 {
  // Without SIMD only where a tool cannot read it: wasm2c, for fuzzing.
  if (ASC_FEATURE_SIMD && bytes >= VECTOR_BYTES_MIN) {
    const whole = bytes & ~15;
    crc = crc_vectors(crc, at, whole);
    at += whole;
    bytes -= whole;
  }
  while (bytes >= 16) {
    crc = crc_step16(crc, at);
    at += 16;
    bytes -= 16;
  }
  if (bytes >= 8) {
    crc = crc_step8(crc, load<u32>(at), load<u32>(at, 4));
    at += 8;
    bytes -= 8;
  }
  if (bytes >= 4) {
    crc = crc_step4(crc, load<u32>(at));
    at += 4;
    bytes -= 4;
  }
  while (bytes) {
    crc = (crc >>> 8) ^ table(0, (crc ^ load<u8>(at)) & 255);
    at++;
    bytes--;
  }
  return crc;
}
