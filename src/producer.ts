// Append path, steps 1 to 3: a thread's end of its ring. The log's writer and corewal/core put entries through it.

import { CTL_CORE, CTL_ENTRY_SEED, CTL_TIME_BYTES, RING_EPOCH, RING_FULL, STRIPE_OWNER } from "../assembly/layout.js";
import { bankAddress, banksOf, stripeWord } from "./banks.js";
import type { Core } from "./core.js";
import { encodeGroup, PayloadTarget, type Prepared } from "./entry.js";
import { CorewalError } from "./errors.js";

/** Nanoseconds since the log was opened. Asked in per-core logs only. */
export type Clock = () => number;

export class Producer {
  private readonly generation: number;
  private readonly target: PayloadTarget;
  /** What each entry's payload has in front, beside key and value. */
  readonly timeBytes: number;

  private constructor(
    /** Of the bank with the stripe. */
    readonly core: Core,
    readonly stripe: number,
    /** Thread id + 1. */
    private readonly owner: number,
    private readonly clock: Clock,
  ) {
    this.generation = core.x.ring_generation(stripe);
    this.target = new PayloadTarget(core.bytes);
    this.timeBytes = core.i32[CTL_TIME_BYTES >> 2]!;
  }

  /**
   * Takes the first free stripe.
   * @throws CorewalError COREWAL_NO_STRIPE
   */
  static claim(core: Core, owner: number, clock: Clock): Producer {
    for (let bank = 0; bank < banksOf(core); bank++) {
      // An instance for each bank that is taken would cost more than a look.
      if (banksOf(core) > 1 && Atomics.load(core.log.i32, stripeWord(core, bank, 0, STRIPE_OWNER)) !== 0) continue;
      const address = bankAddress(core, bank);
      const own = address === core.bank ? core : core.at(address);
      const stripe = own.x.ring_claim(owner);
      if (stripe >= 0) return new Producer(own, stripe, owner, clock);
    }
    throw new CorewalError("COREWAL_NO_STRIPE", "every stripe has an owner: close or release one, or open with more stripes");
  }

  /** What entries say of where they came from. */
  get number(): number {
    return this.core.i32[CTL_CORE >> 2]! + this.stripe;
  }

  private elapsedNs(): number {
    return this.timeBytes === 0 ? 0 : this.clock();
  }

  /** Plain bytes are the common case and should cost nothing but the copy. The LSN, or a RING_* code. */
  putBytes(bytes: Uint8Array, kind: number, bell: number): number {
    const { x } = this.core;
    for (;;) {
      const at = x.ring_reserve_entry(this.stripe, this.generation, bytes.length, 0, kind, this.elapsedNs());
      if (at <= RING_FULL) return at;
      this.target.put(bytes, at);
      const lsn = x.ring_publish_entry(this.stripe, this.generation, at, bell);
      if (lsn !== RING_EPOCH) return lsn;
    }
  }

  /** Reserves, copies, publishes, all or nothing. The first LSN, or a RING_* code. */
  put(group: Prepared[], bodyBytes: number, bell: number): number {
    for (;;) {
      const lsn = group.length === 1 ? this.putOne(group[0]!, bell) : this.putMany(group, bodyBytes, bell);
      if (lsn !== RING_EPOCH) return lsn;
    }
  }

  private putOne(p: Prepared, bell: number): number {
    const { x } = this.core;
    const at = x.ring_reserve_entry(this.stripe, this.generation, p.payloadBytes, p.keyBytes, p.kind, this.elapsedNs());
    if (at <= RING_FULL) return at;
    this.target.putPayload(p, at);
    return x.ring_publish_entry(this.stripe, this.generation, at, bell);
  }

  private putMany(group: Prepared[], bodyBytes: number, bell: number): number {
    const { x, view } = this.core;
    const first = x.ring_reserve(this.stripe, this.generation, bodyBytes, group.length, this.elapsedNs());
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
