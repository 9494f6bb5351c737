// Chance that is written down and can be played back: what a failing seed is shrunk as, and what a corpus of past
// failures consists of. Each stream of Random is a list of decisions, from 0 up, and its forks are lists inside it.
// Zero is always the least that can happen, so whatever is missing from a list counts as zero.

import { Random } from "./random.js";

/** `[3, 0, 1, [0, 2], []]`: a stream's decisions in order, and after them those of its forks. */
export type Decisions = (number | Decisions)[];

export interface Stream {
  draws: number[];
  forks: Stream[];
}

export class DecidingRandom extends Random {
  /** What was decided so far. */
  readonly taken: Stream = { draws: [], forks: [] };
  readonly #given: Stream | undefined;

  /** Decides as Random would, or as `given` says. */
  constructor(seed: number, given?: Stream) {
    super(seed);
    this.#given = given;
  }

  #decide(count: number, chance: () => number): number {
    const { draws } = this.taken;
    const value = this.#given === undefined ? chance() : (this.#given.draws[draws.length] ?? 0) % count;
    draws.push(value);
    return value;
  }

  override bits(): number {
    return this.#decide(2 ** 32, () => super.bits());
  }

  override fraction(): number {
    return this.bits() / 2 ** 32;
  }

  override below(count: number): number {
    return this.#decide(count, () => Math.floor((super.bits() / 2 ** 32) * count));
  }

  override chance(probability: number): boolean {
    if (probability <= 0 || probability >= 1) return probability > 0;
    return this.#decide(2, () => (super.bits() / 2 ** 32 < probability ? 1 : 0)) === 1;
  }

  override fork(): Random {
    const { forks } = this.taken;
    const given = this.#given === undefined ? undefined : (this.#given.forks[forks.length] ?? { draws: [], forks: [] });
    const fork = new DecidingRandom(given === undefined ? super.bits() : 0, given);
    forks.push(fork.taken);
    return fork;
  }
}

/** As text: JSON without the zeros and empty lists that stand at the end and say nothing. */
export function decisionsOf(stream: Stream): Decisions {
  const draws = stream.draws.slice(0, stream.draws.findLastIndex((value) => value !== 0) + 1);
  const forks = stream.forks.map(decisionsOf);
  return [...draws, ...forks.slice(0, forks.findLastIndex((list) => list.length > 0) + 1)];
}

export function streamOf(decisions: Decisions): Stream {
  const draws = decisions.filter((one) => typeof one === "number");
  return { draws, forks: decisions.filter((one) => typeof one !== "number").map(streamOf) };
}
