// Seeded random numbers, the same on every machine: a simulator's failure must replay from its seed alone.
// The mixing function is splitmix32 (a Weyl sequence through a 32-bit avalanche): small, fast, and
// neighbouring seeds give unrelated streams, so that seeds can simply be counted up.

export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 0;
    // Seeds beyond 32 bits differ as well.
    if (seed > 0xffffffff) this.#state ^= Math.imul(Math.floor(seed / 2 ** 32), 0x85ebca6b);
  }

  /** 32 random bits, from 0 to 2^32 - 1. */
  bits(): number {
    this.#state = (this.#state + 0x9e3779b9) | 0;
    let z = this.#state;
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return (z ^ (z >>> 15)) >>> 0;
  }

  /** From 0 up to, but not including, 1. */
  fraction(): number {
    return this.bits() / 2 ** 32;
  }

  /** A whole number from 0 to count - 1. */
  below(count: number): number {
    return Math.floor(this.fraction() * count);
  }

  /** A whole number from low to high, both included. */
  between(low: number, high: number): number {
    return low + this.below(high - low + 1);
  }

  chance(probability: number): boolean {
    return probability >= 1 || (probability > 0 && this.fraction() < probability);
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }

  /** An independent stream, so that one consumer drawing more does not move the other. */
  fork(): Random {
    return new Random(this.bits());
  }

  /** Noise: one decision, however long. */
  fill(into: Uint8Array): Uint8Array {
    const noise = new Random(this.bits());
    for (let i = 0; i < into.length; i++) into[i] = noise.bits() >>> 24;
    return into;
  }
}
