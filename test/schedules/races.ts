// Which accesses of shared memory are ordered, by vector clocks: a thread's atomic write orders what it did before in
// front of what another thread does after reading it. Two accesses of a word that are not ordered, one of them a write
// and one of them plain, are a race: on real hardware either may see a torn or an old value.

const WORD_SHIFT = 2;
const SEVERAL = 255;
/** Kinds of access, each with a clock for every word and thread. */
const PLAIN_READ = 0;
const PLAIN_WRITE = 1;
const ATOMIC_READ = 2;
const ATOMIC_WRITE = 3;
const KINDS = 4;
const KIND_NAMES = ["plain read", "plain write", "atomic read", "atomic write"];
/** What each kind of access must be ordered with. */
const CONFLICTS = [
  [PLAIN_WRITE, ATOMIC_WRITE],
  [PLAIN_READ, PLAIN_WRITE, ATOMIC_READ, ATOMIC_WRITE],
  [PLAIN_WRITE],
  [PLAIN_READ, PLAIN_WRITE],
];

export interface Race {
  /** Byte address of the word. */
  at: number;
  /** The other thread, and what it did before. */
  other: number;
  before: string;
  now: string;
}

export class Races {
  /** What each thread knows of the others: clocks[thread * threads + other]. */
  private readonly clocks: Int32Array;
  /** What an atomic write of a word hands on: released[word * threads + thread]. */
  private readonly released: Int32Array;
  /** When a thread last accessed a word: seen[(word * KINDS + kind) * threads + thread]. */
  private readonly seen: Int32Array;
  /** Who has accessed a word so far: 0 nobody, a thread's index + 1, or SEVERAL. */
  private readonly whose: Uint8Array;
  /** The words that somebody has accessed. */
  touched: number[] = [];

  constructor(
    private readonly threads: number,
    memoryBytes: number,
  ) {
    const words = memoryBytes >> WORD_SHIFT;
    this.clocks = new Int32Array(threads * threads);
    this.released = new Int32Array(words * threads);
    this.seen = new Int32Array(words * KINDS * threads);
    this.whose = new Uint8Array(words);
  }

  /** Nothing has happened yet. */
  reset(): void {
    const { threads } = this;
    for (const word of this.touched) {
      this.released.fill(0, word * threads, (word + 1) * threads);
      this.seen.fill(0, word * KINDS * threads, (word + 1) * KINDS * threads);
      this.whose[word] = 0;
    }
    this.touched = [];
    this.clocks.fill(0);
    for (let t = 0; t < threads; t++) this.clocks[t * threads + t] = 1;
  }

  /** A plain access of `bytes` bytes. */
  plain(thread: number, at: number, bytes: number, write: boolean): Race | undefined {
    return this.access(thread, at, bytes, write ? PLAIN_WRITE : PLAIN_READ);
  }

  /** An atomic access that has just happened: `read` what others handed on, `wrote` hands on. */
  atomic(thread: number, at: number, bytes: number, read: boolean, wrote: boolean): Race | undefined {
    const { threads, clocks, released } = this;
    const own = thread * threads;
    const handed = (at >> WORD_SHIFT) * threads;
    if (read) {
      for (let t = 0; t < threads; t++) if (released[handed + t]! > clocks[own + t]!) clocks[own + t] = released[handed + t]!;
    }
    const race = this.access(thread, at, bytes, wrote ? ATOMIC_WRITE : ATOMIC_READ);
    if (wrote) {
      for (let t = 0; t < threads; t++) released[handed + t] = clocks[own + t]!;
      clocks[own + thread]!++;
    }
    return race;
  }

  /** `thread` has seen the end of `ended`. */
  joined(thread: number, ended: number): void {
    const { threads, clocks } = this;
    for (let t = 0; t < threads; t++) clocks[thread * threads + t] = Math.max(clocks[thread * threads + t]!, clocks[ended * threads + t]!);
  }

  private access(thread: number, at: number, bytes: number, kind: number): Race | undefined {
    const { threads, clocks, seen, whose } = this;
    const own = thread * threads;
    const end = at + bytes;
    for (let word = at >> WORD_SHIFT; word << WORD_SHIFT < end; word++) {
      const base = word * KINDS * threads;
      const before = whose[word]!;
      if (before === 0) {
        whose[word] = thread + 1;
        this.touched.push(word);
      } else if (before !== thread + 1) {
        whose[word] = SEVERAL;
        const conflicts = CONFLICTS[kind]!;
        for (let i = 0; i < conflicts.length; i++) {
          const from = base + conflicts[i]! * threads;
          for (let t = 0; t < threads; t++) {
            if (t !== thread && seen[from + t]! > clocks[own + t]!)
              return { at: word << WORD_SHIFT, other: t, before: KIND_NAMES[conflicts[i]!]!, now: KIND_NAMES[kind]! };
          }
        }
      }
      seen[base + kind * threads + thread] = clocks[own + thread]!;
    }
    return undefined;
  }
}
