// Reading a per-core log: its chains, merged by epoch, time, core and LSN. Each chain is in that order already, so only
// the next entry of each is compared; what one chain has before the next entry of any other is given out in one run.
//
// In memory are a window for each chain, which holds one frame at a time, and one batch.

import { BATCH_ENTRIES, nextBatch, oneByOne, refuseAborted } from "./batches.js";
import { ChainWalk } from "./chain-walk.js";
import { CorewalError, mistake, outOfRange } from "./errors.js";
import type { ChainReader } from "./read.js";
import { checkCommon, lsnOption, type CheckedOptions } from "./read-options.js";
import type { Entry, Position, ReadOptions } from "./types.js";

/** The windows of all chains together, about, unless single frames are larger. */
const WINDOWS_BYTES = 4 * 1024 * 1024;
const WINDOW_BYTES_MIN = 64 * 1024;
const WINDOW_BYTES_MAX = 1024 * 1024;

/** How to read all chains. */
interface MergeOptions extends Omit<CheckedOptions, "from" | "to"> {
  from: number[];
  to: number[];
}

/** A per-core log as a whole: the same surface as a ChainReader, positions in the place of LSNs. */
export class MergedReader {
  constructor(
    /** One for each chain that there may be. */
    private readonly chains: readonly ChainReader[],
    /** Throws if the log is closed. */
    private readonly check: () => void,
  ) {}

  /**
   * All entries that are durable when the reading takes its first step, each chain up to its own durable LSN, which is
   * asked of all chains in one go. So what is read is a prefix of each chain, not of the merge: an entry of a chain whose
   * flusher was slower may be missing although a later one of another chain is there. Entries of complete epochs are
   * all there.
   */
  batches(options: ReadOptions = {}): AsyncIterable<Entry[]> {
    const checked = checkOptions(options);
    const { from } = options;
    if (Array.isArray(from)) for (const reader of this.chains) reader.requireKept(`from[${reader.chain}]`, from[reader.chain]);
    return { [Symbol.asyncIterator]: () => new MergeIterator(this.chains, this.check, checked) };
  }

  entries(options: ReadOptions = {}): AsyncIterable<Entry> {
    return oneByOne(this.batches(options));
  }

  async get(position: Position): Promise<Entry | undefined> {
    const { core, lsn } = checkPosition(position);
    this.check();
    return this.chains.find(({ chain }) => chain === core)?.get(lsn);
  }
}

class MergeIterator implements AsyncIterator<Entry[]> {
  /** Chains that have more, a binary heap: the one with the first entry is the root. Undefined before the first step. */
  private walks: ChainWalk[] | undefined;
  private done = false;
  /** What the next call fails with. */
  private failure: Error | undefined;

  constructor(
    private readonly chains: readonly ChainReader[],
    private readonly check: () => void,
    private readonly options: MergeOptions,
  ) {}

  next(): Promise<IteratorResult<Entry[]>> {
    return nextBatch(
      () => this.fill(),
      () => this.stop(),
    );
  }

  return(): Promise<IteratorResult<Entry[]>> {
    this.stop();
    return Promise.resolve({ done: true, value: undefined });
  }

  private fill(): Entry[] {
    const batch: Entry[] = [];
    if (this.done) return batch;
    if (this.failure !== undefined) throw this.failure;
    refuseAborted(this.options.signal);
    this.check();
    try {
      const walks = (this.walks ??= this.begin());
      while (batch.length < BATCH_ENTRIES && walks.length > 0) this.run(walks, batch);
    } catch (error) {
      // Behind damage nobody knows what comes next, in any chain. What was read before is good, and is given out first.
      if (batch.length === 0) throw error;
      this.failure = error as Error;
    }
    return batch;
  }

  private begin(): ChainWalk[] {
    const { from, to, ...common } = this.options;
    const limits = (chain: number): CheckedOptions => ({ ...common, from: from[chain] ?? 1, to: to[chain] ?? Infinity });
    const wanted = this.chains.filter(({ chain }) => to[chain] !== 0);
    const walks = wanted.map((reader) => new ChainWalk(reader, limits(reader.chain)));
    // All ends first, as near to one moment as can be.
    for (const walk of walks) walk.look();
    const share = WINDOWS_BYTES / Math.max(1, walks.filter((walk) => walk.hasMore).length);
    // Few sizes, so that windows are used again.
    const windowBytes = Math.min(WINDOW_BYTES_MAX, Math.max(WINDOW_BYTES_MIN, 2 ** Math.floor(Math.log2(share))));
    for (const walk of walks) walk.windowBytes = windowBytes;
    const heap: ChainWalk[] = [];
    try {
      for (const walk of walks) if (advanced(walk)) heap.push(walk);
    } catch (error) {
      for (const walk of walks) walk.close();
      throw error;
    }
    for (let i = (heap.length >> 1) - 1; i >= 0; i--) sink(heap, i);
    return heap;
  }

  /** What the first chain has before the next entry of any other one. */
  private run(walks: ChainWalk[], batch: Entry[]): void {
    const first = walks[0]!;
    const [, left, right] = walks;
    const other = right !== undefined && right.entries.before(left!.entries) ? right : left;
    first.entries.take(batch, BATCH_ENTRIES, other?.entries);
    if (first.entries.done && !advanced(first)) {
      const last = walks.pop()!;
      if (walks.length === 0) return;
      walks[0] = last;
    }
    sink(walks, 0);
  }

  private stop(): void {
    this.done = true;
    for (const walk of this.walks ?? []) walk.close();
  }
}

/** Goes on to its next frame; at the end of the chain its file is closed. */
function advanced(walk: ChainWalk): boolean {
  if (walk.advance()) return true;
  walk.close();
  return false;
}

/** Puts the walk at `i` to its place below there. */
function sink(heap: ChainWalk[], i: number): void {
  const walk = heap[i]!;
  for (;;) {
    let child = 2 * i + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && heap[child + 1]!.entries.before(heap[child]!.entries)) child++;
    if (!heap[child]!.entries.before(walk.entries)) break;
    heap[i] = heap[child]!;
    i = child;
  }
  heap[i] = walk;
}

const inTopology = (message: string): CorewalError => new CorewalError("COREWAL_TOPOLOGY", message);

function checkOptions(o: ReadOptions): MergeOptions {
  const common = checkCommon(o);
  if (common.follow) throw inTopology("a per-core log cannot be followed as a whole: follow each core, log.core(i).read({ follow: true })");
  return { ...common, from: checkVector("from", o.from, 1), to: checkVector("to", o.to, 0) };
}

function checkVector(name: "from" | "to", value: unknown, min: number): number[] {
  if (value === undefined) return [];
  if (typeof value === "number")
    throw inTopology(
      `option ${name} is ${value}, but in a per-core log an LSN is one core's: give a vector, element i for core i, or read log.core(i)`,
    );
  if (!Array.isArray(value)) throw mistake("COREWAL_INVALID_OPTION", `option ${name} is a vector of LSNs, an array, not ${typeof value}`);
  const fallback = min === 0 ? Infinity : 1;
  return Array.from(value, (lsn: unknown, core) => lsnOption(`${name}[${core}]`, lsn, min) ?? fallback);
}

function checkPosition(position: unknown): Position {
  if (typeof position === "number")
    throw inTopology(`in a per-core log LSN ${position} is one core's: give { core, lsn: ${position} }, or ask log.core(i)`);
  if (typeof position !== "object" || position === null)
    throw mistake("COREWAL_INVALID_INPUT", `a position is an object { core, lsn }, not ${position === null ? "null" : typeof position}`);
  const { core, lsn } = position as Partial<Position>;
  for (const [name, value, min] of [
    ["core", core, 0],
    ["lsn", lsn, 1],
  ] as const) {
    if (typeof value !== "number") throw mistake("COREWAL_INVALID_INPUT", `${name} of a position is a number, not ${typeof value}`);
    if (!Number.isInteger(value) || value < min)
      throw outOfRange("COREWAL_INVALID_INPUT", `${name} of a position is ${value}: it must be a whole number from ${min} on`);
  }
  return position as Position;
}
