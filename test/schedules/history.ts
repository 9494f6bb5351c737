// What has happened so far, as a number: two schedules with the same number have come to the same state, and whatever
// follows is the same.
//
// A thread's state follows from what it has read, and what it read from whoever wrote it. So each thread carries a hash
// of its accesses, each word the hash of the write that it holds, and a read mixes the word's hash into the thread's.
// Accesses that do not conflict may come in any order: the hashes are the same. Since they say which write was read and
// not only its value, the order that the race detector knows is the same, too. (M. Musuvathi, S. Qadeer, "Partial-Order
// Reduction for Context-Bounded State Exploration", 2007: happens-before caching.)
//
// Two lanes of 32 bits: with 10 million states, the chance that two different ones share a number is about 3 in a million.

/** One step of a hash; each lane has its own multiplier. */
function mix(hash: number, value: number, factor: number): number {
  const h = Math.imul(hash ^ value, factor);
  return Math.imul(h ^ (h >>> 15), 0x2c1b3c6d) ^ (h >>> 13);
}

/** 64 bits, as two halves. */
export type StateNumber = [low: number, high: number];

class Lane {
  readonly threads: Int32Array;
  private readonly words: Int32Array;
  private memory = 0;

  constructor(
    threads: number,
    words: number,
    private readonly factor: number,
  ) {
    this.threads = new Int32Array(threads);
    this.words = new Int32Array(words);
  }

  reset(touched: number[]): void {
    this.threads.fill(0);
    for (const word of touched) this.words[word] = 0;
    this.memory = 0;
  }

  note(thread: number, what: number): void {
    this.threads[thread] = mix(this.threads[thread]!, what, this.factor);
  }

  access(thread: number, site: number, word: number, read: boolean, wrote: boolean): void {
    const { threads, words, factor } = this;
    let own = mix(threads[thread]!, site + 1, factor);
    if (read) own = mix(own, words[word]!, factor);
    threads[thread] = own;
    if (!wrote) return;
    // The sum over all words does not depend on the order in which they were written.
    if (words[word] !== 0) this.memory = (this.memory - mix(words[word]!, word, factor)) | 0;
    words[word] = own;
    this.memory = (this.memory + mix(own, word, factor)) | 0;
  }

  number(states: Uint8Array, count: number, running: number): number {
    const { threads, factor } = this;
    let hash = mix(this.memory, running + 2, factor);
    for (let t = 0; t < count; t++) hash = mix(mix(hash, threads[t]!, factor), states[t]!, factor);
    return hash;
  }
}

export class History {
  private readonly low: Lane;
  private readonly high: Lane;
  private readonly marked: Uint8Array;
  private touched: number[] = [];

  constructor(threads: number, words: number) {
    this.low = new Lane(threads, words, 0x9e3779b1);
    this.high = new Lane(threads, words, 0x85ebca6b);
    this.marked = new Uint8Array(words);
  }

  /** Nothing has happened yet. */
  reset(): void {
    this.low.reset(this.touched);
    this.high.reset(this.touched);
    for (const word of this.touched) this.marked[word] = 0;
    this.touched = [];
  }

  /** A thread has learned something that no word told it. */
  note(thread: number, what: number): void {
    this.low.note(thread, what);
    this.high.note(thread, what);
  }

  /** An atomic access. Plain ones need no note: what they read follows from these, or it is a race. */
  access(thread: number, site: number, word: number, read: boolean, wrote: boolean): void {
    if (wrote && this.marked[word] === 0) {
      this.marked[word] = 1;
      this.touched.push(word);
    }
    this.low.access(thread, site, word, read, wrote);
    this.high.access(thread, site, word, read, wrote);
  }

  /** `thread` has seen where `other` ended. */
  join(thread: number, other: number): void {
    this.low.note(thread, this.low.threads[other]!);
    this.high.note(thread, this.high.threads[other]!);
  }

  /** With what the threads are up to and who runs (-1: nobody), the number of the state. */
  number(states: Uint8Array, count: number, running: number): StateNumber {
    return [this.low.number(states, count, running), this.high.number(states, count, running)];
  }
}

/** The states that were reached, each with the preemptions that were left there. Grows as it fills. */
export class Reached {
  private slots = new Int32Array(2 << 16);
  private left = new Uint8Array(1 << 16);
  private mask = (1 << 16) - 1;
  count = 0;

  /** False if this state was reached before with as many preemptions left: all that follows is known. */
  add([low, high]: StateNumber, left: number): boolean {
    // A left of 0 marks a slot as free.
    left++;
    for (let slot = low & this.mask; ; slot = (slot + 1) & this.mask) {
      if (this.left[slot] === 0) {
        this.slots[2 * slot] = low;
        this.slots[2 * slot + 1] = high;
        this.left[slot] = left;
        if (++this.count > this.mask * 0.6) this.grow();
        return true;
      }
      if (this.slots[2 * slot] !== low || this.slots[2 * slot + 1] !== high) continue;
      if (this.left[slot]! >= left) return false;
      this.left[slot] = left;
      return true;
    }
  }

  clear(): void {
    this.left.fill(0);
    this.count = 0;
  }

  private grow(): void {
    const { slots, left } = this;
    const size = 2 * left.length;
    this.slots = new Int32Array(2 * size);
    this.left = new Uint8Array(size);
    this.mask = size - 1;
    this.count = 0;
    left.forEach((n, slot) => n > 0 && this.add([slots[2 * slot]!, slots[2 * slot + 1]!], n - 1));
  }
}
