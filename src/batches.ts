// What callers hold who read: batches of entries, or entries one by one, up to what is durable or following it.

import { ChainWalk } from "./chain-walk.js";
import { CorewalError, fromSystem } from "./errors.js";
import type { ChainReader, Growth } from "./read.js";
import type { CheckedOptions } from "./read-options.js";
import type { Entry } from "./types.js";
import { limitWait } from "./wait.js";

/** Entries in one batch, about. */
export const BATCH_ENTRIES = 1024;

/** Of one chain. */
export class BatchIterator implements AsyncIterator<Entry[]> {
  private readonly walk: ChainWalk;
  private done = false;
  /** What the next call fails with. */
  private failure: Error | undefined;
  /** Following only: the call of next() before this one; whether it gave out a batch without waiting; ends its wait. */
  private turn: Promise<unknown> = Promise.resolve();
  private busy = false;
  private wake: (() => void) | undefined;

  constructor(
    private readonly reader: ChainReader,
    private readonly options: CheckedOptions,
  ) {
    this.walk = new ChainWalk(reader, options);
  }

  next(): Promise<IteratorResult<Entry[]>> {
    if (this.options.follow) {
      const mine = this.turn.then(() => this.follow());
      this.turn = mine.catch(() => {});
      return mine;
    }
    return nextBatch(
      () => this.fill(),
      () => this.stop(),
    );
  }

  return(): Promise<IteratorResult<Entry[]>> {
    this.stop();
    this.wake?.();
    return Promise.resolve({ done: true, value: undefined });
  }

  /** The next batch, as soon as there is one. */
  private async follow(): Promise<IteratorResult<Entry[]>> {
    const { growth } = this.reader;
    try {
      // A log that grows as fast as it is read may not keep this thread from everything else.
      if (this.busy) await new Promise(setImmediate);
      while (!this.done) {
        // Asked first: what became durable before the end is still given out.
        const ended = growth.ended();
        const value = this.fill();
        this.busy = value.length > 0;
        if (this.busy) return { done: false, value };
        if (ended instanceof Error) throw ended;
        if (ended || this.walk.ended) break;
        await this.more(growth);
      }
      this.stop();
      return { done: true, value: undefined };
    } catch (error) {
      this.stop();
      throw fromSystem(error, "following the log");
    }
  }

  /** Waits for entries behind those that were given out, for the end of the log, an abort or return(). */
  private async more(growth: Growth): Promise<void> {
    const { signal } = this.options;
    const stopped = new Promise<void>((resolve) => (this.wake = resolve));
    const done = limitWait({ signal }, undefined, () => this.wake?.());
    const { more, cancel } = growth.watch(this.walk.at);
    try {
      await Promise.race([more, stopped]);
    } finally {
      this.wake = undefined;
      cancel();
      done();
    }
  }

  private fill(): Entry[] {
    const batch: Entry[] = [];
    if (this.done) return batch;
    if (this.failure !== undefined) throw this.failure;
    const { signal, follow } = this.options;
    const { walk } = this;
    refuseAborted(signal);
    // The first call decides how far this reading goes, unless it follows; then it also outlives the log's close.
    if (!walk.begun || !follow) this.reader.check();
    if (!walk.begun || follow) walk.look();
    try {
      // A large frame is given out in several batches: what lives long costs the collector more than all the rest.
      while (batch.length < BATCH_ENTRIES && (!walk.entries.done || walk.advance())) walk.entries.take(batch, BATCH_ENTRIES);
    } catch (error) {
      // What was read before damage is good, and is given out first.
      if (batch.length === 0) throw error;
      this.failure = error as Error;
    }
    return batch;
  }

  private stop(): void {
    this.done = true;
    this.walk.close();
  }
}

/** What an iterator answers: the batch that `fill` gives, or the end if that is empty; at the end, and when it fails, `stop`. */
export function nextBatch(fill: () => Entry[], stop: () => void): Promise<IteratorResult<Entry[]>> {
  try {
    const batch = fill();
    if (batch.length > 0) return Promise.resolve({ done: false, value: batch });
    stop();
    return Promise.resolve({ done: true, value: undefined });
  } catch (error) {
    stop();
    return Promise.reject(fromSystem(error, "reading the log"));
  }
}

/** Entries one by one: a loop over batches, without the cost of an async generator for each. */
export function oneByOne(batches: AsyncIterable<Entry[]>): AsyncIterable<Entry> {
  return {
    [Symbol.asyncIterator]() {
      const source = batches[Symbol.asyncIterator]();
      let batch: Entry[] = [];
      let at = 0;
      /** Of several calls that wait for a batch, the last one: each takes its turn. */
      let turn: Promise<unknown> | undefined;
      const end: IteratorResult<Entry> = { done: true, value: undefined };
      const take = async (): Promise<IteratorResult<Entry>> => {
        if (at === batch.length) {
          const result = await source.next();
          if (result.done) return end;
          batch = result.value;
          at = 0;
        }
        return { done: false, value: batch[at++]! };
      };
      return {
        next(): Promise<IteratorResult<Entry>> {
          if (turn === undefined && at < batch.length) return Promise.resolve({ done: false, value: batch[at++]! });
          const mine = turn === undefined ? take() : turn.then(take, take);
          const over = (): void => void (turn === mine && (turn = undefined));
          turn = mine;
          mine.then(over, over);
          return mine;
        },
        async return(): Promise<IteratorResult<Entry>> {
          batch = [];
          at = 0;
          await source.return?.();
          return end;
        },
      };
    },
  };
}

export function refuseAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new CorewalError("COREWAL_ABORTED", "reading was aborted", { cause: signal.reason });
}
