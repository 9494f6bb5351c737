// Append path, steps 1 to 4: one thread's writer, from the user's input to a published entry. Its ring is in
// producer.ts, waiting for the disk in durable-waits.ts, waiting for space in space-queue.ts.
//
// It must never give LSNs in another order than the calls came in.

import {
  BELL_LAZY,
  BELL_NONE,
  CTL_CORE,
  CTL_RING_BYTES,
  CTL_STATE,
  KIND_DATA,
  LOG_CLOSED,
  LOG_CLOSING,
  LOG_OPEN,
  LOG_POISONED,
  RING_EXHAUSTED,
  RING_FULL,
  RING_NOT_OPEN,
} from "../assembly/layout.js";
import { durableOf, isTimed, positionsOf } from "./banks.js";
import { headIndex, type Core } from "./core.js";
import { DurableWaits, type WaitsOwner } from "./durable-waits.js";
import { advanceEpoch, currentEpoch } from "./epochs.js";
import { bodyBytesOf, prepare, type Prepared } from "./entry.js";
import { CorewalError, mistake, outOfRange } from "./errors.js";
import { readFault } from "./fault.js";
import type { Guest } from "./guest.js";
import { vectorOf } from "./positions.js";
import { OtherCores } from "./other-cores.js";
import { Producer, type Clock } from "./producer.js";
import { SpaceQueue, type QueueOwner } from "./space-queue.js";
import type { Durability, Input, Position, Wait, Writer, WriterOptions } from "./types.js";
import { checkWait, KeepAlive, limitWait, STRICTNESS, wordChange } from "./wait.js";

/** How a writer in the thread of an inline flusher gets things going: by doing them. */
export interface LocalFlusher {
  /** One step; false if there was nothing to do. */
  pump(): boolean;
  writers: Set<StripeWriter>;
}

const BLOCK_SLICE_MS = 100;

export class StripeWriter implements Writer, WaitsOwner, QueueOwner {
  /** The bank with this thread's stripe. */
  readonly bank: Core;
  readonly stripe: number;
  readonly settledByFlusher: boolean;
  private readonly producer: Producer;
  private readonly others = new OtherCores(this);
  private readonly waits = new DurableWaits(this);
  private readonly queue: SpaceQueue;
  private readonly keepAlive = new KeepAlive();
  private last = 0;
  /** Epochs that this thread is advancing. */
  private barriers = 0;
  protected ended = false;
  private closing: Promise<void> | undefined;
  private whenClosed: Promise<void> | undefined;
  private closedNow: (() => void) | undefined;

  /** @throws CorewalError COREWAL_STALE_HANDLE, COREWAL_NO_STRIPE */
  constructor(
    core: Core,
    /** Thread id + 1. */
    owner: number,
    private readonly options: WriterOptions,
    private readonly local: LocalFlusher | undefined,
    private readonly release: () => void,
    clock: Clock,
    /** Of the opener's thread only. */
    private readonly guest?: Guest,
  ) {
    this.queue = new SpaceQueue(this, options.fullTimeoutMs);
    this.settledByFlusher = local !== undefined;
    this.bank = core;
    if (core.x.log_state() === LOG_POISONED) throw this.poison();
    if (core.x.log_state() !== LOG_OPEN) {
      throw new CorewalError("COREWAL_STALE_HANDLE", "the log of this handle is closed: open it again and pass on the new handle");
    }
    this.producer = Producer.claim(core, owner, clock);
    this.bank = this.producer.core;
    this.stripe = this.producer.stripe;
    local?.writers.add(this);
  }

  get ownCore(): number {
    return this.producer.number;
  }
  get lastLsn(): number {
    return this.last;
  }
  get durableLsn(): number {
    return this.bank.x.log_durable_lsn();
  }

  // --- appending --------------------------------------------------------------------------------

  write(input: Input): number {
    if (this.queue.length > 0) this.queue.drainBlocking();
    if (input instanceof Uint8Array) {
      const lsn = this.putBytes(input, BELL_LAZY);
      if (lsn > 0) return lsn;
    }
    const prepared = prepare(input, this.options.maxEntryBytes);
    return this.putBlocking([prepared], this.sizeOf(prepared), BELL_LAZY);
  }

  append(input: Input, wait?: Wait): Promise<number> {
    if (input instanceof Uint8Array && wait === undefined && this.queue.length === 0) {
      const { durability } = this.options;
      const lsn = this.putBytes(input, durability === "async" ? BELL_LAZY : BELL_NONE);
      if (lsn > 0) return this.acknowledge(lsn, durability, undefined);
    }
    try {
      const prepared = prepare(input, this.options.maxEntryBytes);
      return this.appendGroup([prepared], this.sizeOf(prepared), wait);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** What it takes in the ring, with its header and, in a per-core log, its time. */
  private sizeOf({ payloadBytes }: Prepared): number {
    return bodyBytesOf(payloadBytes + this.producer.timeBytes);
  }

  /** Plain bytes without detours. 0 or less: the long way tells why. */
  private putBytes(input: Uint8Array, bell: number): number {
    const { length } = input;
    if (length === 0 || length > this.options.maxEntryBytes || this.ended) return RING_FULL;
    const lsn = this.producer.putBytes(input, KIND_DATA, bell);
    if (lsn > 0) this.last = lsn;
    return lsn;
  }

  async appendBatch(inputs: Input[], wait?: Wait): Promise<{ first: number; last: number }> {
    if (!Array.isArray(inputs)) throw mistake("COREWAL_INVALID_INPUT", "a batch is an array of inputs");
    if (inputs.length === 0) throw outOfRange("COREWAL_EMPTY", "a batch has at least one entry");
    const group = inputs.map((input) => prepare(input, this.options.maxEntryBytes));
    const bodyBytes = group.reduce((sum, p) => sum + this.sizeOf(p), 0);
    if (bodyBytes > this.options.maxBatchBytes) {
      throw outOfRange(
        "COREWAL_ENTRY_TOO_LARGE",
        `a batch of ${bodyBytes} bytes with its headers is larger than maxBatchBytes (${this.options.maxBatchBytes}): split it, or open the log with a larger ringBytes`,
      );
    }
    const last = await this.appendGroup(group, bodyBytes, wait);
    return { first: last - group.length + 1, last };
  }

  appendSync(input: Input, wait?: Wait): number {
    checkWait(wait);
    const prepared = prepare(input, this.options.maxEntryBytes);
    if (this.queue.length > 0) this.queue.drainBlocking();
    const lsn = this.putBlocking([prepared], this.sizeOf(prepared), BELL_NONE);
    // The opener's thread blocks anyway: if the flusher sleeps, it does the write itself.
    this.guest?.flush();
    if (this.durableLsn >= lsn) return lsn;
    this.block(lsn, wait?.timeoutMs ?? Infinity);
    return lsn;
  }

  private block(lsn: number, timeoutMs: number): void {
    this.waits.block(lsn, timeoutMs, this.local && (() => this.local!.pump()));
  }

  /** Blocks the thread until everything in the rings is durable. @throws CorewalError when poisoned, closed or too slow */
  protected flushBlocking(timeoutMs: number): void {
    const until = performance.now() + timeoutMs;
    positionsOf(this.bank).forEach((lsn, core) => {
      const left = Math.max(0, until - performance.now());
      if (core === this.chain) this.block(lsn, left);
      else this.others.block(core, lsn, left, this.local && (() => this.local!.pump()));
    });
  }

  /** The chain that this thread's entries are in. */
  private get chain(): number {
    return this.bank.i32[CTL_CORE >> 2]!;
  }

  /** Resolves with the group's last LSN. */
  private appendGroup(group: Prepared[], bodyBytes: number, wait: Wait | undefined): Promise<number> {
    checkWait(wait);
    const durability = this.strictest(wait);
    const last = group.length - 1;
    if (this.queue.length === 0) {
      const first = this.put(group, bodyBytes, durability === "async" ? BELL_LAZY : BELL_NONE);
      if (first > 0) return this.acknowledge(first + last, durability, wait);
      if (first !== RING_FULL) return Promise.reject(this.refusal(first));
    }
    if (this.options.onFull === "fail") return Promise.reject(this.full(0));
    if (this.queue.bytes + bodyBytes > this.options.queueBytes) return Promise.reject(this.queueFull());
    const since = performance.now();
    return this.queue.add(group, bodyBytes, wait).then((first) => {
      const left = wait?.timeoutMs === undefined ? undefined : Math.max(0, wait.timeoutMs - (performance.now() - since));
      return this.acknowledge(first + last, durability, wait && { ...wait, timeoutMs: left });
    });
  }

  /** Reserves, copies, publishes. Returns the first LSN or a RING_* code. */
  put(group: Prepared[], bodyBytes: number, bell: number): number {
    if (this.ended) return RING_NOT_OPEN;
    const lsn = this.producer.put(group, bodyBytes, bell);
    if (lsn > 0) this.last = lsn + group.length - 1;
    return lsn;
  }

  /** Like put, but waits for space, blocking the thread. Returns the first LSN. */
  putBlocking(group: Prepared[], bodyBytes: number, bell: number): number {
    const { x, i32 } = this.bank;
    const { onFull, fullTimeoutMs } = this.options;
    const since = performance.now();
    for (let asked = false; ; asked = true) {
      const head = Atomics.load(i32, headIndex(this.stripe));
      if (asked) x.ring_want_space(this.stripe);
      const lsn = this.put(group, bodyBytes, bell);
      if (lsn > 0) return lsn;
      if (lsn !== RING_FULL) throw this.refusal(lsn);
      const waitedMs = performance.now() - since;
      if (onFull === "fail" || waitedMs >= fullTimeoutMs) throw this.full(waitedMs);
      // Only after asking for a wake-up may one wait for it.
      if (!asked) continue;
      if (this.local === undefined) Atomics.wait(i32, headIndex(this.stripe), head, Math.min(fullTimeoutMs - waitedMs, BLOCK_SLICE_MS));
      else if (!this.local.pump()) throw this.full(waitedMs);
    }
  }

  ready(): Promise<void> {
    const { x } = this.bank;
    if (this.ended || x.log_state() !== LOG_OPEN) return Promise.reject(this.refusal(RING_NOT_OPEN));
    const half = this.bank.view.getInt32(CTL_RING_BYTES, true) / 2;
    if (this.queue.length === 0 && x.ring_used(this.stripe) <= half) return Promise.resolve();
    // Half a ring is free at the latest when everything up to now is durable.
    return this.sync({ durability: "sync" }).then(() => undefined);
  }

  // --- waiting for the disk -----------------------------------------------------------------------

  private acknowledge(lsn: number, durability: Durability, wait: Wait | undefined): Promise<number> {
    if (durability === "async") return Promise.resolve(lsn);
    this.waits.demand(lsn, durability === "sync");
    return this.waits.waitFor(lsn, lsn, wait);
  }

  /** A call may ask for more than the log's own durability. */
  private strictest(wait: Wait | undefined): Durability {
    const asked = wait?.durability ?? "async";
    return STRICTNESS[asked] > STRICTNESS[this.options.durability] ? asked : this.options.durability;
  }

  durable(where: number | Position | number[], wait?: Wait): Promise<void> {
    try {
      checkWait(wait);
      const vector = vectorOf(where, isTimed(this.bank) ? "per-core" : "striped");
      const now = positionsOf(this.bank);
      vector.forEach((lsn, core) => {
        if (!Number.isInteger(lsn) || lsn < 0)
          throw outOfRange("COREWAL_INVALID_INPUT", `an LSN is a positive whole number, not ${String(lsn)}`);
        if (lsn > (now[core] ?? 0))
          throw outOfRange(
            "COREWAL_INVALID_INPUT",
            `no entry ${isTimed(this.bank) ? `of core ${core} ` : ""}has LSN ${lsn} yet; the last is ${now[core] ?? 0}`,
          );
      });
      return this.allDurable(vector, wait);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** Until each chain is durable up to where the vector, whose LSNs were given out, says. */
  private async allDurable(vector: number[], wait: Wait | undefined): Promise<void> {
    const missing: [number, number][] = [];
    vector.forEach((lsn, core) => {
      if (lsn > durableOf(this.bank, core)) missing.push([core, lsn]);
    });
    if (missing.length === 0) return;
    if (this.ended || this.bank.x.log_state() !== LOG_OPEN) throw this.refusal(RING_NOT_OPEN);
    const immediate = this.strictest(wait) === "sync";
    await Promise.all(
      missing.map(([core, lsn]) => {
        if (core !== this.chain) return this.others.durable(core, lsn, wait);
        this.waits.demand(lsn, immediate);
        return this.waits.waitFor<void>(lsn, undefined, wait);
      }),
    );
  }

  async sync(wait?: Wait): Promise<number> {
    checkWait(wait);
    if (this.ended || this.bank.x.log_state() !== LOG_OPEN) throw this.refusal(RING_NOT_OPEN);
    await this.queue.drained(wait);
    await this.allDurable(positionsOf(this.bank), { ...wait, durability: "sync" });
    return this.durableLsn;
  }

  positions(): number[] {
    return positionsOf(this.bank);
  }
  durablePositions(): number[] {
    return positionsOf(this.bank).map((_, core) => durableOf(this.bank, core));
  }

  get epoch(): number {
    return currentEpoch(this.bank);
  }

  async advanceEpoch(wait?: Wait): Promise<number> {
    checkWait(wait);
    let given: CorewalError | undefined;
    const done = limitWait(wait, undefined, (error) => (given = error));
    this.barriers++;
    this.changed();
    try {
      return await advanceEpoch({
        core: this.bank,
        check: () => {
          if (given !== undefined) throw given;
          if (this.ended || this.bank.x.log_state() !== LOG_OPEN) throw this.refusal(RING_NOT_OPEN);
        },
        pump:
          this.local &&
          (async () => {
            this.local!.pump();
            await new Promise(setImmediate);
          }),
      });
    } finally {
      this.barriers--;
      this.changed();
      done();
    }
  }

  /** Resolves or rejects what the state of the log decides now; an inline flusher calls it after each step. */
  settle(): void {
    this.waits.settle();
    this.others.settle();
    if (this.queue.length > 0) this.queue.arm();
  }

  ask(lsn: number, immediate: boolean): void {
    this.bank.x.ring_demand(this.stripe, lsn, immediate ? 1 : 0);
  }

  changed(): void {
    this.keepAlive.hold(!this.ended && (this.waits.size > 0 || this.others.size > 0 || this.queue.length > 0 || this.barriers > 0));
  }

  /** For those who follow the log in this thread; see Growth in read.ts. */
  protected watch(chain: number, lsn: number): { more: Promise<void>; cancel: () => void } {
    return chain === this.chain ? this.waits.watch(lsn) : this.others.of(chain).waits.watch(lsn);
  }

  // --- the end ------------------------------------------------------------------------------------

  get closed(): Promise<void> {
    if (this.whenClosed === undefined) {
      this.whenClosed = new Promise((resolve, reject) => {
        this.closedNow = resolve;
        const { log, x } = this.bank;
        const watch = (): void => {
          const state = x.log_state();
          if (state === LOG_POISONED) reject(this.poison());
          else if (this.ended || state === LOG_CLOSED) resolve();
          else void Promise.resolve(wordChange(log.i32, CTL_STATE >> 2, state)).then(watch);
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
      const waiting = this.queue.length > 0 || this.waits.size > 0 || this.others.size > 0;
      if (this.bank.x.log_state() === LOG_OPEN && (waiting || this.last > this.durableLsn)) await this.sync();
      // What was durable at once has woken nobody.
      this.waits.settle();
      this.others.settle();
      if (this.bank.x.log_state() === LOG_POISONED) throw this.poison();
    } finally {
      this.end();
    }
  }

  /** Resolves when nothing waits for space any more. */
  protected drained(): Promise<void> {
    return this.queue.drained();
  }

  /** Lets the stripe go, at once. Idempotent. */
  end(): void {
    if (this.ended) return;
    this.ended = true;
    this.producer.release();
    this.local?.writers.delete(this);
    this.keepAlive.close();
    this.release();
    if (this.bank.x.log_state() !== LOG_POISONED) this.closedNow?.();
  }

  // --- refusals -------------------------------------------------------------------------------------

  full(waitedMs: number): CorewalError {
    return new CorewalError(
      "COREWAL_FULL",
      `the ring of stripe ${this.stripe} has no space, after waiting ${Math.round(waitedMs)} ms: the disk is slower than the writer; await ready(), or open the log with a larger ringBytes`,
    );
  }

  private queueFull(): CorewalError {
    const { queueBytes } = this.options;
    return new CorewalError(
      "COREWAL_FULL",
      `the ring of stripe ${this.stripe} is full and ${this.queue.bytes} bytes of appends wait for it already (queueBytes ${queueBytes}): await ready() before appending more`,
    );
  }

  closedError(): Error {
    return this.refusal(RING_NOT_OPEN);
  }

  unknown(lsn: number): CorewalError {
    const cause = readFault(this.bank);
    return new CorewalError(
      "COREWAL_OUTCOME_UNKNOWN",
      `entry ${lsn} may or may not be durable: ${cause.message}. Reopen the log: recovery tells`,
      { lsn, cause },
    );
  }

  protected poison(): CorewalError {
    const cause = readFault(this.bank);
    return new CorewalError("COREWAL_POISONED", `the log stopped after a failure (${cause.message}): close it and open it again`, {
      cause,
      lsn: this.durableLsn,
    });
  }

  /** Why a RING_* code refused the entry: nothing was written. */
  refusal(code: number): Error {
    const state = this.bank.x.log_state();
    if (state === LOG_POISONED) return this.poison();
    if (this.ended) return new CorewalError("COREWAL_CLOSED", "this writer is closed");
    if (state === LOG_CLOSING || state === LOG_CLOSED) return new CorewalError("COREWAL_CLOSED", "the log is closed: open it again");
    if (code === RING_EXHAUSTED)
      return new CorewalError(
        "COREWAL_LSN_EXHAUSTED",
        "the log has given out every LSN that a number holds exactly (2^53): begin a new log",
      );
    return new CorewalError(
      "COREWAL_REVOKED",
      `this writer stalled for longer than writerStallMs and lost its stripe: the entry was not written; close the writer and attach again`,
    );
  }
}
