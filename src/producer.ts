// Append path, steps 1 to 3: a thread's end of its ring. The log's writer and corewal/core put entries through it.

import { CTL_ENTRY_SEED, RING_FULL } from "../assembly/layout.js";
import type { Core } from "./core.js";
import { encodeGroup, PayloadTarget, type Prepared } from "./entry.js";
import { CorewalError } from "./errors.js";

export class Producer {
  readonly stripe: number;
  private readonly generation: number;
  private readonly target: PayloadTarget;

  /**
   * Takes a free stripe.
   * @throws CorewalError COREWAL_NO_STRIPE
   */
  constructor(
    private readonly core: Core,
    /** Thread id + 1. */
    private readonly owner: number,
  ) {
    this.stripe = core.x.ring_claim(owner);
    if (this.stripe < 0)
      throw new CorewalError("COREWAL_NO_STRIPE", "every stripe has an owner: close or release one, or open with more stripes");
    this.generation = core.x.ring_generation(this.stripe);
    this.target = new PayloadTarget(core.bytes);
  }

  /** Plain bytes are the common case and should cost nothing but the copy. The LSN, or a RING_* code. */
  putBytes(bytes: Uint8Array, kind: number, bell: number): number {
    const { x } = this.core;
    const at = x.ring_reserve_entry(this.stripe, this.generation, bytes.length, 0, kind);
    if (at <= RING_FULL) return at;
    this.target.put(bytes, at);
    return x.ring_publish_entry(this.stripe, this.generation, at, bell);
  }

  /** Reserves, copies, publishes, all or nothing. The first LSN, or a RING_* code. */
  put(group: Prepared[], bodyBytes: number, bell: number): number {
    const { x, view } = this.core;
    if (group.length === 1) {
      const p = group[0]!;
      const at = x.ring_reserve_entry(this.stripe, this.generation, p.payloadBytes, p.keyBytes, p.kind);
      if (at <= RING_FULL) return at;
      this.target.putPayload(p, at);
      return x.ring_publish_entry(this.stripe, this.generation, at, bell);
    }
    const first = x.ring_reserve(this.stripe, this.generation, bodyBytes, group.length);
    if (first <= RING_FULL) return first;
    encodeGroup(this.core, this.target, group, first, view.getInt32(CTL_ENTRY_SEED, true), this.stripe);
    return x.ring_publish(this.stripe, this.generation, first, bell);
  }

  /** It was taken away; somebody else may have it by now. */
  get revoked(): boolean {
    return this.core.x.ring_generation(this.stripe) !== this.generation;
  }

  /** Gives the stripe back. What was published stays in the ring and is drained as before. */
  release(): void {
    this.core.x.ring_release(this.stripe, this.owner);
  }
}
