// Append path, steps 1 to 4: one thread's writer on its own stripe. From the user's input to a
// published entry, and from the durable LSN back to the promises that wait for it.
//
// It must never resolve a promise before the durable LSN covers it, and never give LSNs in another
// order than the calls came in.

import {
  BELL_LAZY,
  BELL_NONE,
  CTL_ENTRY_SEED,
  CTL_RING_BYTES,
  CTL_STATE,
  CTL_WAKE,
  ENTRY_HEADER_BYTES,
  KIND_DATA,
  LOG_CLOSED,
  LOG_CLOSING,
  LOG_OPEN,
  LOG_POISONED,
  RING_EXHAUSTED,
  RING_FULL,
  RING_NOT_OPEN,
} from "../assembly/layout.js";
import { headIndex, type Core } from "./core.js";
import { detach, PayloadTarget, prepare, type Prepared } from "./entry.js";
import { CorewalError, mistake, outOfRange } from "./errors.js";
import { readFault } from "./fault.js";
import type { Durability, Input, Wait, Writer, WriterOptions } from "./types.js";
import { KeepAlive, wordChange } from "./wait.js";
import { WaiterQueue, type Waiter } from "./waiters.js";

/** How a writer in the thread of an inline flusher gets things going: by doing them. */
export interface LocalFlusher {
  /** One step; false if there was nothing to do. */
  pump(): boolean;
  writers: Set<StripeWriter>;
}

/** An append that waits for space in the ring. */
interface Queued {
  group: Prepared[];
  /** Bytes of the group's body. */
  bodyBytes: number;
  expiresAt: number;
  resolve: (firstLsn: number) => void;
  reject: (error: unknown) => void;
}

const STRICTNESS: Record<Durability, number> = { async: 0, group: 1, sync: 2 };
const BLOCK_SLICE_MS = 100;

const bodyBytesOf = (payloadBytes: number): number => ENTRY_HEADER_BYTES + ((payloadBytes + 7) & ~7);

export class StripeWriter implements Writer {
  readonly stripe: number;
  private readonly generation: number;
  private readonly target: PayloadTarget;
  private readonly waiters = new WaiterQueue();
  private readonly queue: Queued[] = [];
  private queuedBytes = 0;
  private readonly keepAlive = new KeepAlive();
  private last = 0;
  private armed = false;
  private spaceArmed = false;
  private demandGroup = 0;
  private demandSync = 0;
  private demandScheduled = false;
  private closing: Promise<void> | undefined;
  private ended = false;
  private whenClosed: Promise<void> | undefined;
  private closedNow: (() => void) | undefined;

  constructor(
    readonly core: Core,
    private readonly owner: number,
    private readonly options: WriterOptions,
    private readonly local: LocalFlusher | undefined,
    private readonly release: () => void,
  ) {
    this.target = new PayloadTarget(core.bytes);
    if (core.x.log_state() !== LOG_OPEN) throw new CorewalError("COREWAL_STALE_HANDLE", "the log of this handle is closed: open it again and pass on the new handle");
    this.stripe = core.x.ring_claim(owner);
    if (this.stripe < 0) throw new CorewalError("COREWAL_NO_STRIPE", "every stripe has an owner: close a writer, or open the log with more stripes");
    this.generation = core.x.ring_generation(this.stripe);
    local?.writers.add(this);
  }

  get lastLsn(): number {
    return this.last;
  }
  get durableLsn(): number {
    return this.core.x.log_durable_lsn();
  }

  // --- appending --------------------------------------------------------------------------------

  write(input: Input): number {
    if (this.queue.length > 0) this.drainQueueBlocking();
    // Plain bytes are the common case, and should cost nothing but the copy.
    if (input instanceof Uint8Array && !this.ended) {
      const { x } = this.core;
      const { length } = input;
      if (length > 0 && length <= this.options.maxEntryBytes) {
        const at = x.ring_reserve_entry(this.stripe, this.generation, length, 0, KIND_DATA);
        if (at > 0) {
          this.target.put(input, at);
          const lsn = x.ring_publish_entry(this.stripe, this.generation, at, BELL_LAZY);
          if (lsn > 0) return (this.last = lsn);
        }
      }
    }
    return this.putBlocking([prepare(input, this.options.maxEntryBytes)], BELL_LAZY);
  }

  append(input: Input, wait?: Wait): Promise<number> {
    try {
      const prepared = prepare(input, this.options.maxEntryBytes);
      return this.appendGroup([prepared], bodyBytesOf(prepared.payloadBytes), wait);
    } catch (error) {
      return Promise.reject(error as Error);
    }
  }

  async appendBatch(inputs: Input[], wait?: Wait): Promise<{ first: number; last: number }> {
    if (!Array.isArray(inputs)) throw mistake("COREWAL_INVALID_INPUT", "a batch is an array of inputs");
    if (inputs.length === 0) throw outOfRange("COREWAL_EMPTY", "a batch has at least one entry");
    const group = inputs.map((input) => prepare(input, this.options.maxEntryBytes));
    const bodyBytes = group.reduce((sum, p) => sum + bodyBytesOf(p.payloadBytes), 0);
    if (bodyBytes > this.options.maxBatchBytes) {
      throw outOfRange("COREWAL_ENTRY_TOO_LARGE", `a batch of ${bodyBytes} bytes with its headers is larger than maxBatchBytes (${this.options.maxBatchBytes}): split it, or open the log with a larger ringBytes`);
    }
    const last = await this.appendGroup(group, bodyBytes, wait);
    return { first: last - group.length + 1, last };
  }

  appendSync(input: Input, wait?: Wait): number {
    checkWait(wait);
    const prepared = prepare(input, this.options.maxEntryBytes);
    if (this.queue.length > 0) this.drainQueueBlocking();
    const lsn = this.putBlocking([prepared], BELL_NONE);
    this.blockUntilDurable(lsn, wait?.timeoutMs ?? Infinity);
    return lsn;
  }

  /** Resolves with the group's last LSN. */
  private appendGroup(group: Prepared[], bodyBytes: number, wait: Wait | undefined): Promise<number> {
    if (wait !== undefined) checkWait(wait);
    if (this.queue.length === 0) {
      const first = this.put(group, bodyBytes, this.strictest(wait) === "async" ? BELL_LAZY : BELL_NONE);
      if (first > 0) return this.acknowledge(first + group.length - 1, wait);
      if (first !== RING_FULL) return Promise.reject(this.refusal(first));
    }
    return this.enqueue(group, bodyBytes, wait).then((first) => this.acknowledge(first + group.length - 1, wait));
  }

  /** Reserves, copies, publishes. Returns the first LSN or a RING_* code. */
  private put(group: Prepared[], bodyBytes: number, bell: number): number {
    const { x } = this.core;
    if (this.ended) return RING_NOT_OPEN;
    let lsn: number;
    if (group.length === 1) {
      const p = group[0]!;
      const at = x.ring_reserve_entry(this.stripe, this.generation, p.payloadBytes, p.keyBytes, p.kind);
      if (at <= 0) return at;
      this.copyPayload(p, at);
      lsn = x.ring_publish_entry(this.stripe, this.generation, at, bell);
    } else {
      const first = x.ring_reserve(this.stripe, this.generation, bodyBytes, group.length);
      if (first <= 0) return first;
      const seed = this.core.view.getInt32(CTL_ENTRY_SEED, true);
      let at = first;
      for (const p of group) {
        this.copyPayload(p, x.entry_begin(at, p.payloadBytes, p.keyBytes, p.kind, this.stripe));
        at = x.entry_end(seed, at);
      }
      lsn = x.ring_publish(this.stripe, this.generation, first, bell);
    }
    if (lsn > 0) this.last = lsn + group.length - 1;
    return lsn;
  }

  private copyPayload(p: Prepared, at: number): void {
    if (p.keyBytes > 0) this.target.put(p.key, at);
    if (p.payloadBytes > p.keyBytes) this.target.put(p.value, at + p.keyBytes);
  }

  /** Like put, but waits for space, blocking the thread. Returns the LSN of a single entry. */
  private putBlocking(group: Prepared[], bell: number): number {
    const { x, i32 } = this.core;
    const bodyBytes = group.reduce((sum, p) => sum + bodyBytesOf(p.payloadBytes), 0);
    let since = 0;
    for (;;) {
      const head = Atomics.load(i32, headIndex(this.stripe));
      if (since > 0) x.ring_want_space(this.stripe);
      const lsn = this.put(group, bodyBytes, bell);
      if (lsn > 0) return lsn;
      if (lsn !== RING_FULL) throw this.refusal(lsn);
      const now = performance.now();
      if (since === 0) since = now;
      else if (this.local !== undefined) {
        if (!this.local.pump()) throw this.full(now - since);
      } else {
        const left = this.options.fullTimeoutMs - (now - since);
        if (left <= 0) throw this.full(now - since);
        Atomics.wait(i32, headIndex(this.stripe), head, Math.min(left, BLOCK_SLICE_MS));
      }
      if (this.options.onFull === "fail") throw this.full(0);
    }
  }

  // --- the queue of appends that wait for space ----------------------------------------------------

  private enqueue(group: Prepared[], bodyBytes: number, wait: Wait | undefined): Promise<number> {
    if (this.options.onFull === "fail") return Promise.reject(this.full(0));
    if (this.queuedBytes + bodyBytes > this.options.queueBytes) {
      return Promise.reject(new CorewalError("COREWAL_FULL", `the ring of stripe ${this.stripe} is full and ${this.queuedBytes} bytes of appends wait for it already (queueBytes ${this.options.queueBytes}): await ready() before appending more`));
    }
    return new Promise((resolve, reject) => {
      const queued: Queued = { group: group.map(detach), bodyBytes, expiresAt: performance.now() + this.options.fullTimeoutMs, resolve, reject };
      this.queue.push(queued);
      this.queuedBytes += bodyBytes;
      // Until it has an LSN, giving up means that it was never written.
      this.limit(wait, () => {
        const at = this.queue.indexOf(queued);
        if (at < 0) return undefined;
        this.queue.splice(at, 1);
        this.queuedBytes -= bodyBytes;
        return reject;
      });
      this.awaitSpace();
    });
  }

  /** Moves queued appends into the ring as far as there is space. */
  private drainQueue(): void {
    while (this.queue.length > 0) {
      const next = this.queue[0]!;
      const first = this.put(next.group, next.bodyBytes, BELL_NONE);
      if (first === RING_FULL && performance.now() < next.expiresAt) return;
      this.queue.shift();
      this.queuedBytes -= next.bodyBytes;
      if (first > 0) {
        this.demand(this.last, true);
        next.resolve(first);
      } else {
        next.reject(first === RING_FULL ? this.full(this.options.fullTimeoutMs) : this.refusal(first));
      }
    }
  }

  /** Resolves when everything queued by now is in the ring, or was refused: its own promise tells. */
  protected flushQueue(): Promise<void> {
    const queued = this.queue.at(-1);
    if (queued === undefined) return Promise.resolve();
    return new Promise((done) => {
      const { resolve, reject } = queued;
      queued.resolve = (lsn) => (resolve(lsn), done());
      queued.reject = (error) => (reject(error), done());
    });
  }

  /** write() and appendSync() come after everything queued before them. */
  private drainQueueBlocking(): void {
    while (this.queue.length > 0) {
      const next = this.queue[0]!;
      this.putBlocking(next.group, BELL_NONE);
      this.queue.shift();
      this.queuedBytes -= next.bodyBytes;
      next.resolve(this.last - next.group.length + 1);
    }
  }

  private awaitSpace(): void {
    if (this.queue.length === 0) {
      this.updateKeepAlive();
      return;
    }
    this.updateKeepAlive();
    if (this.spaceArmed) return;
    const { x, i32 } = this.core;
    const head = Atomics.load(i32, headIndex(this.stripe));
    x.ring_want_space(this.stripe);
    this.drainQueue();
    if (this.queue.length === 0) {
      this.updateKeepAlive();
      return;
    }
    if (this.local !== undefined) return; // settle() comes by after each flush
    this.spaceArmed = true;
    const again = (): void => {
      this.spaceArmed = false;
      this.drainQueue();
      this.awaitSpace();
    };
    const change = wordChange(i32, headIndex(this.stripe), head, BLOCK_SLICE_MS);
    if (change === undefined) queueMicrotask(again);
    else void change.then(again);
  }

  ready(): Promise<void> {
    const { x } = this.core;
    if (this.ended || x.log_state() !== LOG_OPEN) return Promise.reject(this.refusal(RING_NOT_OPEN));
    const half = this.core.view.getInt32(CTL_RING_BYTES, true) / 2;
    if (this.queue.length === 0 && x.ring_used(this.stripe) <= half) return Promise.resolve();
    // Half a ring is free at the latest when everything up to now is durable.
    return this.sync({ durability: "sync" }).then(() => undefined);
  }

  // --- waiting for the disk -----------------------------------------------------------------------

  private acknowledge(lsn: number, wait: Wait | undefined): Promise<number> {
    const asked = wait?.durability ?? this.options.durability;
    const durability = STRICTNESS[asked] > STRICTNESS[this.options.durability] ? asked : this.options.durability;
    if (durability === "async") {
      this.core.x.doorbell_ring();
        return Promise.resolve(lsn);
    }
    this.demand(lsn, durability === "group");
    return this.waitFor(lsn, lsn, wait);
  }

  /** A call may ask for more than the log's own durability. */
  private strictest(wait: Wait | undefined): Durability {
    const asked = wait?.durability ?? "async";
    return STRICTNESS[asked] > STRICTNESS[this.options.durability] ? asked : this.options.durability;
  }

  private waitFor<T>(lsn: number, value: T, wait: Wait | undefined): Promise<T> {
    return new Promise((resolve, reject) => {
      const waiter: Waiter = { lsn, resolve: () => resolve(value), reject };
      this.waiters.add(waiter);
      if (wait?.signal !== undefined || wait?.timeoutMs !== undefined) {
        const done = this.limit(wait, () => {
          this.waiters.remove(waiter);
          this.updateKeepAlive();
          return reject;
        }, lsn);
        const { resolve: settle, reject: fail } = waiter;
        waiter.resolve = () => (done(), settle());
        waiter.reject = (error) => (done(), fail(error));
      }
      this.arm();
    });
  }

  /** Ends a wait by signal or timeout; `giveUp` takes the wait away and says whom to tell. */
  private limit(wait: Wait | undefined, giveUp: () => ((error: unknown) => void) | undefined, lsn?: number): () => void {
    if (wait?.signal === undefined && wait?.timeoutMs === undefined) return () => {};
    const { signal, timeoutMs } = wait;
    const what = lsn === undefined ? "the entry was not written" : `entry ${lsn} is written and may still become durable`;
    const onAbort = (): void => {
      done();
      giveUp()?.(new CorewalError("COREWAL_ABORTED", `the wait was aborted: ${what}`, { lsn, cause: signal?.reason }));
    };
    const timer = timeoutMs === undefined || timeoutMs === Infinity ? undefined : setTimeout(() => {
      done();
      giveUp()?.(new CorewalError("COREWAL_TIMEOUT", `the wait took longer than ${timeoutMs} ms: ${what}`, { lsn }));
    }, timeoutMs);
    const done = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
    };
    signal?.addEventListener("abort", onAbort);
    return done;
  }

  durable(lsn: number, wait?: Wait): Promise<void> {
    try {
      checkWait(wait);
      if (!Number.isInteger(lsn) || lsn < 0) throw outOfRange("COREWAL_INVALID_INPUT", `an LSN is a positive whole number, not ${String(lsn)}`);
      const { x } = this.core;
      if (lsn <= x.log_durable_lsn()) return Promise.resolve();
      if (lsn > x.log_last_lsn()) throw outOfRange("COREWAL_INVALID_INPUT", `no entry has LSN ${lsn} yet; the last is ${x.log_last_lsn()}`);
      if (this.ended || x.log_state() !== LOG_OPEN) throw this.refusal(RING_NOT_OPEN);
      this.demand(lsn, (wait?.durability ?? this.options.durability) !== "sync");
      return this.waitFor(lsn, undefined, wait);
    } catch (error) {
      return Promise.reject(error as Error);
    }
  }

  async sync(wait?: Wait): Promise<number> {
    checkWait(wait);
    await this.flushQueue();
    await this.durable(this.core.x.log_last_lsn(), { ...wait, durability: "sync" });
    return this.durableLsn;
  }

  /** Tells the flusher what is waited for: once for everything that this turn of the event loop appends. */
  private demand(lsn: number, group: boolean): void {
    if (group) {
      if (lsn > this.demandGroup) this.demandGroup = lsn;
    } else if (lsn > this.demandSync) this.demandSync = lsn;
    if (this.demandScheduled) return;
    this.demandScheduled = true;
    // Behind the continuations that are about to run, so that they share one frame.
    if (this.local !== undefined) queueMicrotask(this.sendDemand);
    else process.nextTick(this.sendDemand);
  }

  private readonly sendDemand = (): void => {
    this.demandScheduled = false;
    if (this.ended) return;
    const { x } = this.core;
    if (this.demandGroup > 0) x.ring_demand(this.stripe, this.demandGroup, 0);
    if (this.demandSync > 0) x.ring_demand(this.stripe, this.demandSync, 1);
    this.demandGroup = this.demandSync = 0;
  };

  private blockUntilDurable(lsn: number, timeoutMs: number): void {
    const { x, i32 } = this.core;
    x.ring_demand(this.stripe, lsn, 1);
    const since = performance.now();
    for (;;) {
      const seen = Atomics.load(i32, CTL_WAKE >> 2);
      if (x.log_durable_lsn() >= lsn) return;
      const state = x.log_state();
      if (state === LOG_POISONED) throw this.unknown(lsn);
      if (state === LOG_CLOSED) throw this.refusal(RING_NOT_OPEN);
      const left = timeoutMs - (performance.now() - since);
      if (left <= 0) throw new CorewalError("COREWAL_TIMEOUT", `the wait took longer than ${timeoutMs} ms: entry ${lsn} is written and may still become durable`, { lsn });
      if (this.local !== undefined) this.local.pump();
      else Atomics.wait(i32, CTL_WAKE >> 2, seen, Math.min(left, 2 ** 30));
    }
  }

  /** Resolves or rejects what the state of the log decides now. */
  settle(): void {
    const { x } = this.core;
    // State first: a durable LSN published before the log was poisoned is then seen.
    const state = x.log_state();
    if (this.waiters.size > 0) this.waiters.settle(x.log_durable_lsn());
    if (state === LOG_POISONED) this.waiters.fail(({ lsn }) => this.unknown(lsn));
    else if (state === LOG_CLOSED) this.waiters.fail(() => this.refusal(RING_NOT_OPEN));
    if (this.local !== undefined && this.queue.length > 0) {
      this.drainQueue();
      this.awaitSpace();
    }
    this.updateKeepAlive();
  }

  private arm(): void {
    this.updateKeepAlive();
    if (this.armed || this.local !== undefined) return;
    const { i32 } = this.core;
    for (;;) {
      const seen = Atomics.load(i32, CTL_WAKE >> 2);
      this.settle();
      if (this.waiters.size === 0) return;
      const change = wordChange(i32, CTL_WAKE >> 2, seen);
      if (change === undefined) continue;
      this.armed = true;
      void change.then(this.woken);
      return;
    }
  }

  private readonly woken = (): void => {
    this.armed = false;
    this.arm();
  };

  private updateKeepAlive(): void {
    this.keepAlive.hold(this.waiters.size > 0 || this.queue.length > 0);
  }

  // --- the end ------------------------------------------------------------------------------------

  get closed(): Promise<void> {
    if (this.whenClosed === undefined) {
      this.whenClosed = new Promise((resolve, reject) => {
        this.closedNow = resolve;
        const { i32, x } = this.core;
        const watch = (): void => {
          const state = x.log_state();
          if (state === LOG_POISONED) reject(this.poison());
          else if (this.ended || state === LOG_CLOSED) resolve();
          else void Promise.resolve(wordChange(i32, CTL_STATE >> 2, state)).then(watch);
        };
        watch();
      });
      this.whenClosed.catch(() => {});
    }
    return this.whenClosed;
  }

  close(): Promise<void> {
    return (this.closing ??= this.closeOnce());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  private async closeOnce(): Promise<void> {
    try {
      if (this.core.x.log_state() === LOG_OPEN && (this.queue.length > 0 || this.last > this.durableLsn)) await this.sync();
      if (this.core.x.log_state() === LOG_POISONED) throw this.poison();
    } finally {
      this.end();
    }
  }

  /** Lets the stripe go, at once. Idempotent. */
  end(): void {
    if (this.ended) return;
    this.ended = true;
    this.core.x.ring_release(this.stripe, this.owner);
    this.local?.writers.delete(this);
    this.keepAlive.close();
    this.release();
    if (this.core.x.log_state() !== LOG_POISONED) this.closedNow?.();
  }

  // --- refusals -------------------------------------------------------------------------------------

  private full(waitedMs: number): CorewalError {
    return new CorewalError("COREWAL_FULL", `the ring of stripe ${this.stripe} has no space, after waiting ${Math.round(waitedMs)} ms: the disk is slower than the writer; await ready(), or open the log with a larger ringBytes`);
  }

  private unknown(lsn: number): CorewalError {
    const cause = readFault(this.core);
    return new CorewalError("COREWAL_OUTCOME_UNKNOWN", `entry ${lsn} may or may not be durable: ${cause.message}. Reopen the log: recovery tells`, { lsn, cause });
  }

  private poison(): CorewalError {
    const cause = readFault(this.core);
    return new CorewalError("COREWAL_POISONED", `the log stopped after a failure: ${cause.message}. Close it and open it again`, { cause, lsn: this.durableLsn });
  }

  /** Why a RING_* code refused the entry: nothing was written. */
  refusal(code: number): Error {
    const state = this.core.x.log_state();
    if (state === LOG_POISONED) return this.poison();
    if (this.ended) return new CorewalError("COREWAL_CLOSED", "this writer is closed");
    if (state === LOG_CLOSING || state === LOG_CLOSED) return new CorewalError("COREWAL_CLOSED", "the log is closed: open it again");
    if (code === RING_EXHAUSTED) return new CorewalError("COREWAL_LSN_EXHAUSTED", "the log has given out every LSN that a number holds exactly (2^53): begin a new log");
    return new CorewalError("COREWAL_REVOKED", `this writer stalled for longer than writerStallMs and lost its stripe: the entry was not written; close the writer and attach again`);
  }
}

function checkWait(wait: Wait | undefined): void {
  if (wait === undefined) return;
  if (typeof wait !== "object" || wait === null) throw mistake("COREWAL_INVALID_OPTION", "how to wait is an object { durability, signal, timeoutMs }");
  const { durability, timeoutMs, signal } = wait;
  if (durability !== undefined && !(durability in STRICTNESS)) throw mistake("COREWAL_INVALID_OPTION", `durability is ${String(durability)}: it must be sync, group or async`);
  if (timeoutMs !== undefined && !(typeof timeoutMs === "number" && timeoutMs >= 0)) throw outOfRange("COREWAL_INVALID_OPTION", `timeoutMs is ${String(timeoutMs)}: it must be a number of milliseconds, 0 or more`);
  if (signal !== undefined && !(signal instanceof AbortSignal)) throw mistake("COREWAL_INVALID_OPTION", "signal must be an AbortSignal");
  if (signal?.aborted) throw new CorewalError("COREWAL_ABORTED", "the signal was aborted before: nothing was written", { cause: signal.reason });
}
