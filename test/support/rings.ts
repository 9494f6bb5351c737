// The rings without a log around them: what a writer does step by step, and a merge whose frames are
// checked in every respect against a checksum of its own.

import * as assert from "uvu/assert";
import * as L from "../../assembly/layout.js";
import { initLog, logGeometry } from "../../src/banks.js";
import { bindCore, coreModule, makeMemory, type Core } from "../../src/core.js";
import { crc } from "./independent-reader.js";

const FRAME_BYTES = 65536;
const SEED_BYTES = Uint8Array.of(1, 2, 3, 4);
export const up = (n: number, multiple: number): number => Math.ceil(n / multiple) * multiple;

export interface Setup {
  stripes?: number;
  ringBytes?: number;
  nextLsn?: number;
  /** Tail and head of every ring begin here. */
  start?: number;
  generation?: number;
}

/** Memories are used again: making one costs more than a run. */
const memories = new Map<number, WebAssembly.Memory>();

export class Rings {
  readonly core: Core;
  readonly frame: number;
  readonly seed: number;
  readonly ringBytes: number;
  generations: number[] = [];

  constructor({ stripes = 3, ringBytes = 4096, nextLsn = 1, start = 0, generation }: Setup = {}) {
    const geometry = logGeometry(stripes, ringBytes, FRAME_BYTES);
    const { frame, totalBytes } = geometry;
    const memory = memories.get(totalBytes) ?? makeMemory(totalBytes);
    memories.set(totalBytes, memory);
    this.core = bindCore(coreModule(), memory);
    this.core.bytes.fill(0);
    this.frame = frame;
    this.ringBytes = ringBytes;
    const { x, view } = this.core;
    x.crc32c_init();
    this.core.bytes.set(SEED_BYTES, L.WINDOW - 16);
    this.seed = x.crc32c_update(-1, L.WINDOW - 16, 4);
    initLog(this.core, geometry, { ringBytes, entrySeed: this.seed, nextLsn: () => nextLsn });
    for (let s = 0; s < stripes; s++) {
      const block = L.STRIPE_BLOCKS + s * L.STRIPE_BYTES;
      if (generation !== undefined) view.setUint32(block + L.STRIPE_STATE + 4, generation * 2, true);
      view.setUint32(block + L.STRIPE_STATE, start, true);
      view.setUint32(block + L.STRIPE_HEAD, start, true);
      assert.is(x.ring_claim(s + 1), s);
      this.generations.push(x.ring_generation(s));
    }
  }

  /** Reserves and fills a group; returns its first entry's address, or a RING_* code. */
  fill(stripe: number, payloads: Uint8Array[], generation = this.generations[stripe]!): number {
    const { x, bytes } = this.core;
    const body = payloads.reduce((sum, p) => sum + 16 + up(p.length, 8), 0);
    const first = x.ring_reserve(stripe, generation, body, payloads.length, 0);
    if (first <= 0) return first;
    let at = first;
    for (const payload of payloads) {
      bytes.set(payload, x.entry_begin(at, payload.length, 0, L.KIND_DATA, stripe));
      at = x.entry_end(this.seed, at);
    }
    assert.is(at, first + body);
    return first;
  }

  /** Steps 1 to 3; the first LSN, or a RING_* code. */
  publish(stripe: number, payloads: Uint8Array[], generation = this.generations[stripe]!): number {
    const first = this.fill(stripe, payloads, generation);
    return first <= 0 ? first : this.core.x.ring_publish(stripe, generation, first, L.BELL_NONE);
  }

  private state(stripe: number): [BigUint64Array, number] {
    return [new BigUint64Array(this.core.memory.buffer), (L.STRIPE_BLOCKS + stripe * L.STRIPE_BYTES + L.STRIPE_STATE) >> 3];
  }

  /** What a thread leaves that dies between taking its LSNs and publishing them. */
  stall(stripe: number, lsns: number): void {
    const [words, at] = this.state(stripe);
    words[at]! |= 1n << 32n;
    Atomics.add(new BigInt64Array(this.core.memory.buffer), L.CTL_NEXT_LSN >> 3, BigInt(lsns));
  }

  tail(stripe: number): number {
    const [words, at] = this.state(stripe);
    return Number(words[at]! & 0xffffffffn);
  }

  /** Drains into one frame and checks it in every respect; the entries that it took. */
  drain(capacity = FRAME_BYTES - 64): {
    entries: [lsn: number, payload: string][];
    first: number;
    next: number;
    pending: boolean;
    more: boolean;
    bytes: number;
  } {
    const { x, view, bytes } = this.core;
    const body = this.frame + 64;
    const used = x.merge_fill(body, capacity);
    assert.ok(used <= capacity);
    const first = Number(view.getBigInt64(L.MERGE_FIRST_LSN, true));
    const next = Number(view.getBigInt64(L.MERGE_NEXT_LSN, true));
    const count = view.getUint32(L.MERGE_ENTRIES, true);
    const headersCrc = view.getUint32(L.MERGE_HEADERS_CRC, true);
    assert.is(x.frame_verify(body, used, count, headersCrc, this.seed, first, next - first, 0), L.FRAME_OK);
    const entries: [number, string][] = [];
    const headers: Uint8Array[] = [];
    let lsn = first;
    let voids = 0;
    let payloadBytes = 0;
    for (let at = body; at < body + used;) {
      const size = view.getUint32(at + L.ENTRY_PAYLOAD_BYTES, true);
      const payload = bytes.slice(at + 16, at + 16 + size);
      const suffix = Buffer.alloc(8);
      suffix.writeBigUInt64LE(BigInt(lsn));
      headers.push(bytes.slice(at, at + 16));
      assert.is(view.getUint32(at, true), crc(SEED_BYTES, bytes.slice(at + 4, at + 16), payload, suffix), `checksum of LSN ${lsn}`);
      if (view.getUint8(at + L.ENTRY_KIND) === L.KIND_VOID) {
        const lost = Number(view.getBigUint64(at + 16, true));
        entries.push([lsn, `void ${lost}`]);
        voids += lost;
        lsn += lost;
      } else {
        entries.push([lsn++, Buffer.from(payload).toString("hex")]);
        payloadBytes += size;
      }
      at += 16 + up(size, 8);
    }
    assert.is(lsn, next);
    assert.is(entries.length, count);
    if (count > 0) assert.is(headersCrc, crc(...headers));
    assert.is(Number(view.getBigInt64(L.MERGE_VOID_LSNS, true)), voids);
    assert.is(Number(view.getBigUint64(L.MERGE_PAYLOAD_BYTES, true)), payloadBytes);
    return {
      entries,
      first,
      next,
      pending: view.getInt32(L.MERGE_PENDING, true) !== 0,
      more: view.getInt32(L.MERGE_MORE, true) !== 0,
      bytes: used,
    };
  }
}

export const payload = (size: number, tag: number): Uint8Array =>
  Uint8Array.from({ length: size }, (_, i) => (tag * 37 + i * 11 + 1) & 255);
export const hex = (b: Uint8Array): string => Buffer.from(b).toString("hex");
