// Makes a failing run as small as it gets: fewer lives, steps and decisions, and of each the least, as long as it
// fails in the same way. What is tried is a list of decisions, so that each candidate is a run that could have
// happened. After Hypothesis and minithesis (David MacIver).

import { DecidingRandom, type Stream } from "./decisions.js";

/** Runs once; what was wrong, or undefined. */
export type Trial = (random: DecidingRandom) => Promise<string | undefined>;

export interface Shrunk {
  stream: Stream;
  failure: string;
  trials: number;
}

/** The same bug has the same words; numbers and what stands behind the first lines differ. */
const kindOf = (failure: string): string =>
  failure
    .replace(/^cycle \d+: /, "")
    .replace(/[0-9]+/g, "#")
    .slice(0, 40);

/** How much there is of it, and how large its decisions are. */
function sizeOf(stream: Stream): [number, number] {
  let count = 1 + stream.draws.length;
  let sum = 0;
  for (const value of stream.draws) sum += Math.min(value, 2 ** 20);
  for (const fork of stream.forks) {
    const [n, s] = sizeOf(fork);
    count += n;
    sum += s;
  }
  return [count, sum];
}

function trimmed(stream: Stream): Stream {
  const draws = stream.draws.slice(0, stream.draws.findLastIndex((value) => value !== 0) + 1);
  const forks = stream.forks.map(trimmed);
  return { draws, forks: forks.slice(0, forks.findLastIndex((f) => f.draws.length + f.forks.length > 0) + 1) };
}

export class Shrinker {
  private best: Stream;
  private trials = 0;
  private readonly until: number;
  private readonly kind: string;

  private constructor(
    stream: Stream,
    private failure: string,
    private readonly trial: Trial,
    seconds: number,
  ) {
    this.best = trimmed(stream);
    this.kind = kindOf(failure);
    this.until = performance.now() + seconds * 1000;
  }

  /** Takes the seed's own decisions and makes them fewer, for so many seconds. Undefined if the seed alone does not fail. */
  static async ofSeed(seed: number, trial: Trial, seconds: number): Promise<Shrunk | undefined> {
    const random = new DecidingRandom(seed);
    const failure = await trial(random);
    if (failure === undefined) return undefined;
    const shrinker = new Shrinker(random.taken, failure, trial, seconds);
    await shrinker.run();
    return { stream: shrinker.best, failure: shrinker.failure, trials: shrinker.trials };
  }

  private get over(): boolean {
    return performance.now() > this.until;
  }

  private async run(): Promise<void> {
    for (let before = -1; before !== this.measure() && !this.over;) {
      before = this.measure();
      await this.lists((stream) => stream.forks);
      await this.lists((stream) => stream.draws);
      await this.values();
    }
  }

  private measure(): number {
    const [count, sum] = sizeOf(this.best);
    return count * 2 ** 30 + sum;
  }

  /** Is a changed copy of the best a run that still fails? Then it is the best, as far as it was used. */
  private async attempt(path: number[], change: (stream: Stream) => void): Promise<boolean> {
    if (this.over) return false;
    const candidate = structuredClone(this.best);
    change(at(candidate, path)!);
    const random = new DecidingRandom(0, candidate);
    this.trials++;
    const failure = await this.trial(random);
    if (failure === undefined || kindOf(failure) !== this.kind) return false;
    const used = trimmed(random.taken);
    const [[count, sum], [countBest, sumBest]] = [sizeOf(used), sizeOf(this.best)];
    if (count > countBest || (count === countBest && sum >= sumBest)) return false;
    this.best = used;
    this.failure = failure;
    return true;
  }

  /** Deletes parts of each list, large ones first, from the end; what cannot go is emptied. */
  private async lists(listOf: (stream: Stream) => unknown[]): Promise<void> {
    for (const path of paths(this.best)) {
      const list = (): unknown[] => {
        const stream = at(this.best, path);
        return stream === undefined ? [] : listOf(stream);
      };
      for (let size = list().length; size >= 1; size = size >> 1) {
        for (let from = list().length - size; from >= 0; from -= size) {
          if (await this.attempt(path, (stream) => listOf(stream).splice(from, size))) continue;
          await this.attempt(path, (stream) => {
            for (let i = from; i < from + size && i < listOf(stream).length; i++) {
              if (listOf(stream) === stream.draws) stream.draws[i] = 0;
              else stream.forks[i] = { draws: [], forks: [] };
            }
          });
        }
      }
    }
  }

  /** Lowers each decision. */
  private async values(): Promise<void> {
    for (const path of paths(this.best)) {
      for (let i = (at(this.best, path)?.draws.length ?? 0) - 1; i >= 0; i--) {
        for (let step = 2 ** 31; step >= 1;) {
          const now = at(this.best, path)?.draws[i] ?? 0;
          if (now < step || !(await this.attempt(path, (stream) => (stream.draws[i] = now - step))))
            step = Math.floor(Math.min(step, now) / 2);
        }
      }
    }
  }
}

function at(stream: Stream | undefined, path: number[]): Stream | undefined {
  for (const fork of path) stream = stream?.forks[fork];
  return stream;
}

/** Every stream, the ones that come last first: what fails stands at the end. */
function paths(stream: Stream, path: number[] = []): number[][] {
  return [path, ...stream.forks.flatMap((fork, i) => paths(fork, [...path, i])).reverse()];
}
