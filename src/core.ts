// The one typed seam to the WASM module: loading it, its exports, views on its memory.

import { instantiateSync } from "@assemblyscript/loader";
import wasmBase64 from "corewal:wasm";
import { requireRuntime } from "./runtime.js";
import { CTL_SCRATCH, STRIPE_BLOCKS, STRIPE_BYTES, STRIPE_HEAD, WINDOW } from "../assembly/layout.js";

/** Addresses, sizes and codes are i32, LSNs f64. See assembly/ for each function's contract. */
export interface CoreExports {
  crc32c_init(): void;
  crc32c_update(register: number, at: number, bytes: number): number;
  entry_begin(at: number, payloadBytes: number, keyBytes: number, kind: number, stripe: number): number;
  entry_end(seed: number, at: number): number;
  entry_seal(at: number, lsn: number): number;
  entry_verify(at: number, left: number, seed: number, lsn: number): number;
  doorbell_ring(): void;
  doorbell_ring_always(): void;
  ring_claim(owner: number): number;
  ring_release(stripe: number, owner: number): number;
  ring_revoke(stripe: number): number;
  ring_generation(stripe: number): number;
  ring_pending(stripe: number): number;
  ring_used(stripe: number): number;
  ring_reserve(stripe: number, generation: number, bodyBytes: number, entries: number, elapsedNs: number): number;
  ring_reserve_entry(stripe: number, generation: number, payloadBytes: number, keyBytes: number, kind: number, elapsedNs: number): number;
  ring_entry(stripe: number, at: number, payloadBytes: number, keyBytes: number, kind: number): number;
  ring_publish(stripe: number, generation: number, firstEntry: number, bell: number): number;
  ring_publish_entry(stripe: number, generation: number, payload: number, bell: number): number;
  ring_demand(stripe: number, lsn: number, immediate: number): void;
  ring_demand_other(lsn: number): void;
  ring_want_space(stripe: number): void;
  merge_fill(body: number, capacityBytes: number): number;
  merge_demand(immediate: number): number;
  merge_used(): number;
  merge_pressed(): number;
  frame_verify(
    body: number,
    bytes: number,
    entries: number,
    headersCrc: number,
    seed: number,
    firstLsn: number,
    lsns: number,
    timeBytes: number,
  ): number;
  frame_find(from: number, to: number, step: number, magic: number): number;
  log_last_lsn(): number;
  log_durable_lsn(): number;
  log_state(): number;
  log_publish_durable(lsn: number): void;
  log_close(): number;
  log_set_state(state: number): void;
  log_barrier_wake(): void;
  log_wake(): void;
}

// The global WebAssembly types are only in TypeScript's DOM library; declarations that users compile against
// must not need it.

/**
 * A WebAssembly.Memory that is shared: structurally, since the name is in TypeScript's DOM library only.
 *
 * @example
 * const memory: SharedMemory = createRings({ stripes: 1 }).memory;
 * console.log(memory.buffer.byteLength);
 */
export interface SharedMemory {
  /** All of its bytes. */
  readonly buffer: SharedArrayBuffer;
}
/** A WebAssembly.Module. */
export type CompiledModule = object;

/** Views on shared memory, from some address on. */
export interface Views {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly i32: Int32Array;
  readonly i64: BigInt64Array;
  readonly f64: Float64Array;
}

/** One instance of the module, and views on its bank of the memory that it shares with the others. */
export interface Core extends Views {
  readonly module: CompiledModule;
  readonly memory: SharedMemory;
  /** Address of the bank. */
  readonly bank: number;
  /** The whole memory: for the log's own words. */
  readonly log: Views;
  readonly x: CoreExports;
  /** An instance for the bank at another address. */
  at(bank: number): Core;
}

export const PAGE = 65536;

let compiled: CompiledModule | undefined;

/** The module, compiled once per thread. */
export function coreModule(): CompiledModule {
  if (compiled === undefined) {
    requireRuntime();
    compiled = new WebAssembly.Module(Buffer.from(wasmBase64, "base64"));
  }
  return compiled;
}

export function makeMemory(bytes: number): SharedMemory {
  const pages = Math.ceil(bytes / PAGE);
  return new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
}

function viewsFrom({ buffer }: SharedMemory, at: number): Views {
  return {
    bytes: new Uint8Array(buffer, at),
    view: new DataView(buffer, at),
    i32: new Int32Array(buffer, at),
    i64: new BigInt64Array(buffer, at),
    f64: new Float64Array(buffer, at),
  };
}

/** An instance for the bank at `bank` of `memory`. `point` is called by the test build of the module only. */
export function bindCore(module: CompiledModule, memory: SharedMemory, point?: (step: number) => void, bank = 0): Core {
  const imports = { env: { memory, bank, ...(point === undefined ? {} : { point }) } };
  // The loader's own exports object wraps every function and costs four times the call: take the raw one.
  const { instance } = instantiateSync(module, imports as Parameters<typeof instantiateSync>[1]) as unknown as {
    instance: { exports: CoreExports };
  };
  const log = viewsFrom(memory, 0);
  const core: Core = {
    module,
    memory,
    bank,
    log,
    x: instance.exports,
    ...(bank === 0 ? log : viewsFrom(memory, bank)),
    at: (other) => (other === bank ? core : bindCore(module, memory, point, other)),
  };
  return core;
}

/** A private instance whose memory holds the checksum tables and a window of `bytes` bytes at WINDOW. */
export function windowCore(bytes: number): Core {
  const core = bindCore(coreModule(), makeMemory(WINDOW + bytes));
  core.x.crc32c_init();
  return core;
}

const WINDOW_BYTES_KEPT = 16 * 1024 * 1024;
const WINDOWS_KEPT = 4;
const idleWindows = new Map<number, Core[]>();

/** A windowCore that nobody uses now: making one costs more than most uses. */
export function borrowWindow(bytes: number): Core {
  return idleWindows.get(bytes)?.pop() ?? windowCore(bytes);
}

export function returnWindow(core: Core): void {
  const bytes = core.bytes.length - WINDOW;
  const list = idleWindows.get(bytes) ?? [];
  if (list.length < WINDOWS_KEPT && bytes <= WINDOW_BYTES_KEPT) idleWindows.set(bytes, [...list, core]);
}

/** Index into `i32` of the word on which a stripe's owner waits for space. */
export function headIndex(stripe: number): number {
  return (STRIPE_BLOCKS + stripe * STRIPE_BYTES + STRIPE_HEAD) >> 2;
}

/** Fits into the processor's first cache beside the tables. */
const CHECKSUM_WINDOW = 16384;
let checksums: Core | undefined;

/** This thread's own instance for checksums of bytes in any memory. */
export const checksumCore = (): Core => (checksums ??= windowCore(CHECKSUM_WINDOW + 8));

/** CRC32C register after `bytes`, wherever they lie. */
export function registerAfter(register: number, bytes: Uint8Array): number {
  const core = checksumCore();
  // V8 copies byte by byte into shared memory when the two addresses differ modulo 8.
  const window = WINDOW + (bytes.byteOffset & 7);
  for (let at = 0; at < bytes.length; at += CHECKSUM_WINDOW) {
    const part = bytes.length <= CHECKSUM_WINDOW ? bytes : bytes.subarray(at, at + CHECKSUM_WINDOW);
    core.bytes.set(part, window);
    register = core.x.crc32c_update(register, window, part.length);
  }
  return register;
}

/** CRC32C of a prefix that binds to a place (segment salt, offset) and then of `bytes`. */
export function placedChecksum(salt: bigint, offset: number, bytes: Uint8Array): number {
  return ~registerAfter(placeRegister(checksumCore(), salt, offset), bytes) >>> 0;
}

/** CRC32C register after salt and offset: what binds a checksum to its segment and place. */
export function placeRegister(core: Core, salt: bigint, offset: number): number {
  core.view.setBigUint64(CTL_SCRATCH, salt, true);
  core.view.setBigUint64(CTL_SCRATCH + 8, BigInt(offset), true);
  return core.x.crc32c_update(-1, CTL_SCRATCH, 16);
}

/** CRC32C register after log id and term: where the checksum of each entry starts. */
export function entrySeed(core: Core, logId: Uint8Array, term: number): number {
  core.bytes.set(logId, CTL_SCRATCH);
  core.view.setBigUint64(CTL_SCRATCH + 16, BigInt(term), true);
  return core.x.crc32c_update(-1, CTL_SCRATCH, 24);
}
