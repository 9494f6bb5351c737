// corewal/core: the checksum of everything that corewal stores.

import { registerAfter } from "./core.js";
import { mistake, outOfRange } from "./errors.js";
import type { Bytes } from "./types.js";

/**
 * CRC32C (Castagnoli, RFC 3720) of bytes in any memory, a string as UTF-8.
 *
 * @param bytes any number of bytes, also none
 * @param seed the checksum of what comes before these bytes; 0, which is the checksum of nothing, by default
 * @returns the checksum of both, a whole number from 0 to 2^32 - 1
 * @throws TypeError or RangeError COREWAL_INVALID_INPUT
 * @example
 * crc32c("123456789"); // 0xe3069283
 * crc32c("56789", crc32c("1234")); // the same
 */
export function crc32c(bytes: Bytes, seed = 0): number {
  if (typeof bytes === "string") bytes = Buffer.from(bytes);
  else if (!(bytes instanceof Uint8Array)) throw mistake("COREWAL_INVALID_INPUT", "crc32c takes a Uint8Array or a string");
  if (typeof seed !== "number") throw mistake("COREWAL_INVALID_INPUT", `crc32c's seed is a number, not ${typeof seed}`);
  if (seed >>> 0 !== seed)
    throw outOfRange("COREWAL_INVALID_INPUT", `crc32c's seed is ${seed}: it must be an earlier result, from 0 to 2^32 - 1`);
  return ~registerAfter(~seed, bytes) >>> 0;
}
