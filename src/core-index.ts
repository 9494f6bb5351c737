// The public interface of corewal/core: the parts below the log, for microbenchmarks and for other stores. It has no
// files, no flusher and no promise of durability. Everything here goes through the same code as the log: the module by
// way of core.ts, rings by way of producer.ts and fill.ts, entries by way of entry.ts.

export { crc32c } from "./checksum.js";
export { decodeEntries, encodeEntries, type DecodePlace, type EncodePlace, type EntryPlace } from "./encoding.js";
export { CorewalError, type ErrorCode } from "./errors.js";
export { attachRings, createRings, type Drained, type Rings, type RingsHandle, type RingsOptions, type Stripe } from "./rings.js";
export type { SharedMemory } from "./core.js";
export type { Bytes, Entry, Input, Kind } from "./types.js";
