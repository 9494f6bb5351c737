// Entries are encoded in the ring exactly as they will stand on disk, except that the checksum still
// lacks its last step: the LSN, which the flusher folds in (see merge.ts).
//
//    0        4                8          12     13      14    16
//    | crc u32 | payload bytes | key bytes | kind | stripe | 0 | key, value, zeros to 8 |

import {
  ENTRY_CRC,
  ENTRY_HEADER_BYTES,
  ENTRY_KEY_BYTES,
  ENTRY_KIND,
  ENTRY_PAYLOAD_BYTES,
  ENTRY_RESERVED,
  ENTRY_STRIPE,
} from "./layout";
import { crc32c_update, crc_step4, crc_step8 } from "./crc32c";

/** Bytes that an entry takes with its header and its padding. */
// @ts-ignore: decorator
@inline
export function entry_bytes(payloadBytes: u32): u32 {
  return ENTRY_HEADER_BYTES + ((payloadBytes + 7) & ~7);
}

/** Writes the header without checksum, and the padding. Returns where the payload goes. */
export function entry_begin(at: usize, payloadBytes: u32, keyBytes: u32, kind: u32, stripe: u32): usize {
  store<u32>(at, payloadBytes, ENTRY_PAYLOAD_BYTES);
  store<u32>(at, keyBytes, ENTRY_KEY_BYTES);
  store<u8>(at, kind, ENTRY_KIND);
  store<u8>(at, stripe, ENTRY_STRIPE);
  store<u16>(at, 0, ENTRY_RESERVED);
  // The last word holds the padding; the payload will overwrite the rest of it.
  if (payloadBytes & 7) store<u64>(at + ENTRY_HEADER_BYTES + (payloadBytes & ~7), 0);
  return at + ENTRY_HEADER_BYTES;
}

/** CRC register over header and payload, LSN still missing. */
// @ts-ignore: decorator
@inline
export function entry_register(seed: u32, at: usize): u32 {
  let crc = crc_step8(seed, load<u32>(at, ENTRY_PAYLOAD_BYTES), load<u32>(at, ENTRY_KEY_BYTES));
  crc = crc_step4(crc, load<u32>(at, ENTRY_KIND));
  return crc32c_update(crc, at + ENTRY_HEADER_BYTES, load<u32>(at, ENTRY_PAYLOAD_BYTES));
}

/** Folds the LSN in and ends the checksum. */
// @ts-ignore: decorator
@inline
export function entry_checksum(register: u32, lsn: u64): u32 {
  return ~crc_step8(register, <u32>lsn, <u32>(lsn >>> 32));
}

/** After the payload was copied: stores the register, returns where the next entry begins. */
export function entry_end(seed: u32, at: usize): usize {
  store<u32>(at, entry_register(seed, at), ENTRY_CRC);
  return at + entry_bytes(load<u32>(at, ENTRY_PAYLOAD_BYTES));
}

/** The last step of a checksum that entry_end began. Returns where the next entry begins. */
export function entry_seal(at: usize, lsn: f64): usize {
  store<u32>(at, entry_checksum(load<u32>(at, ENTRY_CRC), <u64>lsn), ENTRY_CRC);
  return at + entry_bytes(load<u32>(at, ENTRY_PAYLOAD_BYTES));
}
