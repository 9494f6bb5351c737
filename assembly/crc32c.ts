// CRC32C (Castagnoli), reflected polynomial 0x82F63B78, by sixteen tables: each step takes 16 bytes.
// Source of the method: M. E. Kounavis, F. L. Berry, "A Systematic Approach to Building High
// Performance Software-Based CRC Generators" (2005). Test vectors: RFC 3720, appendix B.4.
//
// Functions here work on the raw register. A checksum is ~update(~0, bytes).
// The tables live in shared memory because a data segment would rewrite it at each instantiation.

import { CRC_TABLES } from "./layout";

const POLYNOMIAL: u32 = 0x82f63b78;

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
export function crc_step16(crc: u32, at: usize): u32 {
  return four(12, crc ^ load<u32>(at)) ^ four(8, load<u32>(at, 4)) ^ four(4, load<u32>(at, 8)) ^ four(0, load<u32>(at, 12));
}

/** Register after `bytes` bytes at `at`. */
export function crc32c_update(crc: u32, at: usize, bytes: u32): u32 {
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
