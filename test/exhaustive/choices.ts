// Decisions instead of chance. Whatever asks this Random gets the next decision of a path that somebody chose, and
// every decision is written down with its alternatives, so that all paths, or all within bounds, can be gone through.

import { Random } from "../support/random.js";

/** A probability of exactly this is a fault of the disk: a path has one at most. Everything else is free. */
export const FAULT = 0.25;
const ODDS = 0.5;

export class Choices extends Random {
  /** What was decided since begin(), and from how many alternatives. */
  made: number[] = [];
  counts: number[] = [];
  /** Which of these were faults. */
  faults: boolean[] = [];
  private path: readonly number[] = [];
  private rest: (index: number) => boolean = () => false;
  private noise = new Random(1);

  constructor() {
    super(0);
  }

  /** The next run decides as `path` says; behind it the first alternative, or where `rest` says so the last. */
  begin(path: readonly number[], rest: (index: number) => boolean = () => false): void {
    this.made = [];
    this.counts = [];
    this.faults = [];
    this.path = path;
    this.rest = rest;
    this.noise = new Random(1);
  }

  private decide(count: number, fault: boolean): number {
    const index = this.made.length;
    const value = this.path[index] ?? (fault || !this.rest(index) ? 0 : count - 1);
    if (value >= count) throw new Error(`decision ${index} of the path is ${value}, and there are ${count} alternatives`);
    this.made.push(value);
    this.counts.push(count);
    this.faults.push(fault);
    return value;
  }

  override chance(probability: number): boolean {
    if (probability <= 0 || probability >= 1) return probability >= 1;
    return this.decide(2, probability === FAULT) === 1;
  }

  override pick<T>(list: readonly T[]): T {
    // How likely things are to survive is drawn first: here each of them is decided for itself.
    if (list.every((item) => typeof item === "number" && item >= 0 && item <= 1)) return ODDS as T;
    return list[this.decide(list.length, false)]!;
  }

  /** Of many numbers those at which a write may end: nothing, a frame's header, half, all but the last bytes. */
  override below(count: number): number {
    const some =
      count <= 4 ? Array.from({ length: count }, (_, i) => i) : [...new Set([0, Math.min(64, count >> 1), count >> 1, count - 2])];
    return some[this.decide(some.length, false)]!;
  }

  override fraction(): number {
    return ODDS;
  }

  override bits(): number {
    return this.noise.bits();
  }
}

export interface Limits {
  /** Up to so many paths all of them are taken … */
  all: number;
  /** … otherwise those that change so many decisions of the path where nothing, or everything, arrives. */
  deviations: number;
}

/** What a search has left out. */
export interface Searched {
  paths: number;
  /** Searches that had too many paths. */
  bounded: number;
}

/** The first path alone. */
export function* once(choices: Choices): Generator<number[]> {
  choices.begin([]);
  yield choices.made;
}

/** Goes through the paths that begin with `prefix`. Whoever iterates runs the thing between two steps; given is what it decides. */
export function* search(choices: Choices, limits: Limits, searched: Searched, prefix: readonly number[] = []): Generator<number[]> {
  const run = function* (path: readonly number[], rest?: (index: number) => boolean): Generator<number[]> {
    choices.begin(path, rest);
    searched.paths++;
    yield choices.made;
  };
  yield* run(prefix, () => true);
  const most = product(choices, prefix.length);
  const { length } = choices.made;
  if (length === prefix.length) return;
  yield* run(prefix);
  if (Math.max(most, product(choices, prefix.length)) <= limits.all) {
    for (let n = 2; ; n++) {
      const next = successor(choices, prefix.length);
      if (next === undefined) return;
      if (n > limits.all) break;
      yield* run(next);
    }
  }
  searched.bounded++;
  // What came first arrived, or what came last.
  for (let i = prefix.length + 1; i < length; i++) {
    yield* run(prefix, (index) => index < i);
    yield* run(prefix, (index) => index >= i);
  }
  for (const all of [true, false]) {
    if (limits.deviations === 0) return;
    yield* run(prefix, () => all);
    yield* deviate(prefix, limits.deviations, all);
  }

  function* deviate(from: readonly number[], left: number, all: boolean): Generator<number[]> {
    const { made, counts, faults } = choices;
    for (let i = from.length; i < made.length; i++) {
      for (let value = 0; value < counts[i]! && !faults[i]; value++) {
        if (value === made[i]) continue;
        const path = [...made.slice(0, i), value];
        yield* run(path, () => all);
        if (left > 1) yield* deviate(path, left - 1, all);
      }
    }
  }
}

/** Goes through the paths with one fault, each place in turn, and through what can follow from it. */
export function* searchFaults(choices: Choices, limits: Limits, searched: Searched): Generator<number[]> {
  choices.begin([]);
  searched.paths++;
  yield choices.made;
  const { made, faults } = choices;
  for (let i = 0; i < made.length; i++) if (faults[i]) yield* search(choices, limits, searched, [...made.slice(0, i), 1]);
}

/** Paths there would be if no decision hung on another. */
function product({ counts, faults }: Choices, from: number): number {
  return counts.reduce((all, count, i) => (i < from || faults[i] ? all : all * count), 1);
}

/** The path after the last one, like counting up; undefined: that was the last. */
function successor({ made, counts, faults }: Choices, from: number): number[] | undefined {
  for (let i = made.length - 1; i >= from; i--) if (!faults[i] && made[i]! + 1 < counts[i]!) return [...made.slice(0, i), made[i]! + 1];
  return undefined;
}
