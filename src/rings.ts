// corewal/core: the rings of a log without the log. Threads push entries, one thread drains them in LSN order, as the
// flusher does; what becomes of them then is the caller's.

import { threadId } from "node:worker_threads";
import {
  BELL_NONE,
  CTL_STRIPES,
  KIND_DATA,
  RING_EXHAUSTED,
  RING_FULL,
  STRIPE_BLOCKS,
  STRIPE_BYTES,
  STRIPE_OWNER,
} from "../assembly/layout.js";
import { clearControl, initLog, logGeometry } from "./banks.js";
import { bindCore, checksumCore, coreModule, entrySeed, makeMemory, type CompiledModule, type Core, type SharedMemory } from "./core.js";
import { bindMemory, FIRST_LSN_MAX, LOG_ID_BYTES, type EntryPlace } from "./encoding.js";
import { bodyBytesOf, prepare } from "./entry.js";
import { CorewalError, mistake, outOfRange } from "./errors.js";
import { drainInto, wasPending } from "./fill.js";
import { checkNames, ENTRY_OVERHEAD_BYTES, number, resolveRings } from "./options.js";
import { Producer } from "./producer.js";
import type { Input } from "./types.js";

/**
 * How `createRings` lays rings out.
 *
 * @example
 * const options: RingsOptions = { stripes: 2, ringBytes: 65536 };
 * const rings = createRings(options);
 */
export interface RingsOptions {
  /**
   * A shared `WebAssembly.Memory` to lay the rings out in; what it holds is lost, but for what lies behind the rings. A
   * new one of the right size by default.
   */
  memory?: SharedMemory;
  /** How many threads can push at once. Default 64; 1 to 256. */
  stripes?: number;
  /** Ring of one thread, bytes, a power of two. Default 4 MiB; 4 KiB to 256 MiB. */
  ringBytes?: number;
  /** The most that one `drain()` takes, bytes. Default `ringBytes`; `ringBytes` / 2 to 256 MiB. */
  drainBytes?: number;
  /** What the entries' checksums begin with: 16 bytes. Default zeros. */
  logId?: Uint8Array;
  /** What the entries' checksums go on with. Default 0. */
  term?: number;
  /** LSN of the first entry. Default 1. */
  firstLsn?: number;
}

/**
 * Passes rings to another thread: structured-cloneable, no transfer list, reusable.
 *
 * @example
 * const handle: RingsHandle = createRings({ stripes: 1 }).handle;
 * const there = attachRings(handle); // as another thread would
 */
export interface RingsHandle {
  /** Marks a handle of this version. */
  readonly corewalRings: 1;
  /** The WebAssembly.Memory. */
  readonly memory: SharedMemory;
  /** The compiled WebAssembly.Module. */
  readonly module: CompiledModule;
  /** Ring of one thread, bytes. */
  readonly ringBytes: number;
  /** Address where drained entries are put. */
  readonly drainAt: number;
  /** Space for them, bytes. */
  readonly drainBytes: number;
  /** What the entries' checksums begin with. */
  readonly logId: Uint8Array;
  /** What they go on with. */
  readonly term: number;
}

/**
 * What one `drain()` took out of the rings. It may be given to `decodeEntries` as the place of its bytes.
 *
 * @example
 * const rings = createRings({ stripes: 1 });
 * rings.claim().push("one");
 * const drained: Drained | undefined = rings.drain();
 * if (drained) console.log(drained.entries, decodeEntries(drained.bytes, drained));
 */
export interface Drained extends Required<EntryPlace> {
  /** The entries one behind the other, as they stand on disk. In shared memory, good until the next `drain()`. */
  readonly bytes: Uint8Array;
  /** How many entries there are, holes included. */
  readonly entries: number;
  /** How many LSNs they take. A hole takes all that were lost. */
  readonly lsns: number;
}

const NAMES = new Set<string>([
  "memory",
  "stripes",
  "ringBytes",
  "drainBytes",
  "logId",
  "term",
  "firstLsn",
] satisfies (keyof RingsOptions)[]);
/** Address space for rings ends at 1,984 MiB: so much of it is left. */
const DRAIN_BYTES_MAX = 2 ** 28;

/**
 * Makes rings in shared memory.
 *
 * @param options sizes, and the memory if it is given; all have defaults
 * @throws TypeError or RangeError COREWAL_INVALID_OPTION
 * @example
 * const rings = createRings({ stripes: 2, ringBytes: 65536 });
 * attachRings(rings.handle).claim().push("as from another thread, which gets the handle as workerData");
 * const stripe = rings.claim();
 * const lsn = stripe.push("one");
 * const drained = rings.drain();
 * if (drained) console.log(decodeEntries(drained.bytes, drained));
 */
export function createRings(options: RingsOptions = {}): Rings {
  checkNames(options, NAMES);
  const { stripes, ringBytes } = resolveRings(options);
  const drainBytes = number("drainBytes", options.drainBytes, ringBytes, ringBytes / 2, DRAIN_BYTES_MAX);
  const term = number("term", options.term, 0, 0, Number.MAX_SAFE_INTEGER);
  const firstLsn = number("firstLsn", options.firstLsn, 1, 1, FIRST_LSN_MAX);
  const { logId = new Uint8Array(LOG_ID_BYTES), memory: given } = options;
  if (!(logId instanceof Uint8Array) || logId.length !== LOG_ID_BYTES)
    throw mistake("COREWAL_INVALID_OPTION", `option logId must be a Uint8Array of ${LOG_ID_BYTES} bytes`);
  const geometry = logGeometry(stripes, ringBytes, drainBytes);
  const { frame, totalBytes } = geometry;
  if (given !== undefined) {
    if (!(given instanceof WebAssembly.Memory) || !(given.buffer instanceof SharedArrayBuffer))
      throw mistake("COREWAL_INVALID_OPTION", "option memory must be a shared WebAssembly.Memory");
    if (given.buffer.byteLength < totalBytes)
      throw outOfRange(
        "COREWAL_INVALID_OPTION",
        `option memory has ${given.buffer.byteLength} bytes: the rings need ${totalBytes}, which is ${Math.ceil(totalBytes / 65536)} pages`,
      );
  }
  const core = bindCore(coreModule(), given ?? makeMemory(totalBytes));
  if (given !== undefined) clearControl(core, geometry);
  core.x.crc32c_init();
  initLog(core, geometry, { ringBytes, entrySeed: entrySeed(checksumCore(), logId, term), nextLsn: () => firstLsn });
  const { memory, module } = core;
  return new Rings(core, { corewalRings: 1, memory, module, ringBytes, drainAt: frame, drainBytes, logId: logId.slice(), term });
}

/**
 * Rings that another thread made.
 *
 * @param handle `rings.handle`, passed on by workerData or postMessage
 * @throws TypeError COREWAL_INVALID_INPUT
 * @example
 * const rings = createRings({ stripes: 2 });
 * const stripe = attachRings(rings.handle).claim(); // in a worker: attachRings(workerData)
 */
export function attachRings(handle: RingsHandle): Rings {
  const { corewalRings, memory, module } = (handle ?? {}) as Partial<RingsHandle>;
  if (corewalRings !== 1 || !(memory?.buffer instanceof SharedArrayBuffer) || !(module instanceof WebAssembly.Module))
    throw mistake("COREWAL_INVALID_INPUT", "attachRings takes the handle of rings (rings.handle), passed on by workerData or postMessage");
  return new Rings(bindCore(handle.module, handle.memory), handle);
}

/**
 * Rings in shared memory: any number of threads push, each through a stripe of its own; one at a time drains.
 *
 * @example
 * const rings: Rings = createRings({ stripes: 4, ringBytes: 65536 });
 * console.log(rings.memory.buffer.byteLength);
 */
export class Rings {
  /** @internal */
  constructor(
    private readonly core: Core,
    /** For attachRings in any thread. */
    readonly handle: RingsHandle,
  ) {
    bindMemory(core);
  }

  /** The shared `WebAssembly.Memory`. */
  get memory(): SharedMemory {
    return this.handle.memory;
  }

  /**
   * Takes a free stripe for this thread.
   * @throws CorewalError COREWAL_NO_STRIPE
   * @example
   * const stripe = createRings({ stripes: 1 }).claim();
   */
  claim(): Stripe {
    return new Stripe(
      this.core,
      Producer.claim(this.core, threadId + 1, () => 0),
      this.handle.ringBytes / 2 - ENTRY_OVERHEAD_BYTES,
    );
  }

  /**
   * Takes what is ready out of all rings, in LSN order, and gives its space back. `undefined` if nothing is ready.
   * Only one thread at a time may call it.
   * @example
   * const rings = createRings({ stripes: 1 });
   * rings.claim().push("one");
   * for (let drained; (drained = rings.drain()) !== undefined;) console.log(drained.firstLsn, drained.bytes.length);
   */
  drain(): Drained | undefined {
    const { drainAt, drainBytes, logId, term } = this.handle;
    const fill = drainInto(this.core, drainAt, drainBytes);
    if (fill === undefined) return undefined;
    const { bodyBytes, firstLsn, lsns, entries } = fill;
    return { bytes: this.core.bytes.subarray(drainAt, drainAt + bodyBytes), firstLsn, lsns, entries, logId, term };
  }

  /**
   * True if a stripe had taken an LSN and not published it yet when `drain()` looked last: it takes nothing behind that
   * LSN. That passes within a moment, unless the thread has ended: then `revoke` its stripe.
   */
  get pending(): boolean {
    return wasPending(this.core);
  }

  /**
   * Takes a stripe away from a thread that has ended without `release()`. What it published is drained as before; an LSN
   * that it had only taken becomes a hole.
   * @param stripe its number, `stripe.number`
   * @throws RangeError COREWAL_INVALID_INPUT
   * @example
   * const rings = createRings({ stripes: 1 });
   * const { number } = rings.claim();
   * rings.revoke(number); // its thread has ended
   * const next = rings.claim();
   */
  revoke(stripe: number): void {
    const { x, i32, view } = this.core;
    if (!Number.isInteger(stripe) || stripe < 0 || stripe >= view.getInt32(CTL_STRIPES, true))
      throw outOfRange("COREWAL_INVALID_INPUT", `there is no stripe ${stripe}`);
    x.ring_revoke(stripe);
    x.ring_release(stripe, Atomics.load(i32, (STRIPE_BLOCKS + stripe * STRIPE_BYTES + STRIPE_OWNER) >> 2));
  }
}

/**
 * One thread's end of its ring. To be used by the thread that claimed it.
 *
 * @example
 * const stripe: Stripe = createRings({ stripes: 1 }).claim();
 * console.log(stripe.number, stripe.maxEntryBytes);
 */
export class Stripe {
  private released = false;

  /** @internal */
  constructor(
    private readonly core: Core,
    private readonly producer: Producer,
    /** Largest entry, key and value, bytes. */
    readonly maxEntryBytes: number,
  ) {}

  /** From 0 on. */
  get number(): number {
    return this.producer.stripe;
  }

  /** Bytes in the ring, published and not yet drained. */
  get usedBytes(): number {
    return this.core.x.ring_used(this.number);
  }

  /**
   * Copies an entry into the ring, with its checksum, and publishes it. The caller's bytes are his again.
   * @param input data, put, delete or commit
   * @returns its LSN
   * @throws CorewalError COREWAL_FULL: nothing was written, drain and push again; COREWAL_CLOSED, COREWAL_REVOKED,
   * COREWAL_LSN_EXHAUSTED. TypeError or RangeError COREWAL_INVALID_INPUT, COREWAL_EMPTY, COREWAL_ENTRY_TOO_LARGE
   * @example
   * const stripe = createRings({ stripes: 1 }).claim();
   * console.log(stripe.push({ kind: "put", key: "user/7", value: "Ada" })); // 1
   */
  push(input: Input): number {
    const lsn = this.tryPush(input);
    if (lsn === 0) throw new CorewalError("COREWAL_FULL", `the ring of stripe ${this.number} is full: drain it, then push again`);
    return lsn;
  }

  /**
   * Like `push`, but gives 0 if the ring is full.
   * @param input data, put, delete or commit
   * @example
   * const rings = createRings({ stripes: 1, ringBytes: 4096 });
   * const stripe = rings.claim();
   * while (stripe.tryPush("again and again") > 0);
   * console.log(stripe.usedBytes, "bytes fill the ring");
   */
  tryPush(input: Input): number {
    if (this.released) throw new CorewalError("COREWAL_CLOSED", "this stripe was released: claim another one");
    let lsn: number;
    if (input instanceof Uint8Array && input.length > 0 && input.length <= this.maxEntryBytes) {
      lsn = this.producer.putBytes(input, KIND_DATA, BELL_NONE);
    } else {
      const prepared = prepare(input, Infinity);
      if (prepared.payloadBytes > this.maxEntryBytes)
        throw outOfRange(
          "COREWAL_ENTRY_TOO_LARGE",
          `an entry of ${prepared.payloadBytes} bytes is larger than ${this.maxEntryBytes}, which half a ring holds: make the rings with larger ringBytes`,
        );
      lsn = this.producer.put([prepared], bodyBytesOf(prepared.payloadBytes), BELL_NONE);
    }
    if (lsn >= RING_FULL) return lsn;
    if (lsn === RING_EXHAUSTED)
      throw new CorewalError("COREWAL_LSN_EXHAUSTED", "every LSN that a number holds exactly (2^53) was given out: make new rings");
    throw new CorewalError("COREWAL_REVOKED", `stripe ${this.number} was taken away: nothing was written; claim another one`);
  }

  /**
   * Gives the stripe back, at once. What was pushed is drained as before. Idempotent.
   * @example
   * const stripe = createRings({ stripes: 1 }).claim();
   * stripe.push("one");
   * stripe.release();
   */
  release(): void {
    // A stripe that was revoked may have its next owner already.
    if (!this.released && !this.producer.revoked) this.producer.release();
    this.released = true;
  }
}
