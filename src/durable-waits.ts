// From the durable LSN back to the promises that wait for it: one thread's waits, and what it tells the
// flusher about them.
//
// It must never resolve a promise before the durable LSN covers it.

import { CTL_WAKE, LOG_CLOSED, LOG_POISONED, STAT_FSYNC_MS_LAST } from "../assembly/layout.js";
import type { Core } from "./core.js";
import type { Wait } from "./types.js";
import { limitWait, timedOut, wordChange } from "./wait.js";
import { WaiterQueue, type Waiter } from "./waiters.js";

/** What the waits need of the writer that they belong to. */
export interface WaitsOwner {
  /** Of the chain whose LSNs are waited for. */
  readonly bank: Core;
  /** Tells the flusher that this LSN is waited for. */
  ask(lsn: number, immediate: boolean): void;
  /** An inline flusher in this thread settles after each step, so nothing has to be woken. */
  readonly settledByFlusher: boolean;
  /** The log was poisoned while the entry was on its way. */
  unknown(lsn: number): Error;
  /** The log was closed. */
  closedError(): Error;
  /** Waits came or went. */
  changed(): void;
}

/** The clock is not free: a long turn looks at it once in so many appends. */
const CLOCK_APPENDS = 64;

/** The ends of the promise that was made last: one function for all of them saves a closure for each append. */
let resolve: (value: unknown) => void;
let reject: (error: unknown) => void;
const takeEnds = (res: (value: never) => void, rej: (error: unknown) => void): void => {
  resolve = res as (value: unknown) => void;
  reject = rej;
};

export class DurableWaits {
  private readonly waiters = new WaiterQueue();
  private armed = false;
  private demandGroup = 0;
  private demandSync = 0;
  private demandScheduled = false;
  /** Since the first of them that was not sent yet. */
  private demands = 0;
  private demandsSince = 0;

  constructor(private readonly owner: WaitsOwner) {}

  get size(): number {
    return this.waiters.size;
  }

  /**
   * Tells the flusher what is waited for: once for everything that this turn of the event loop appends. A turn
   * that goes on for as long as an fsync takes does so in between, so that it and the disk work side by side; a
   * shorter one would only be split into two frames, the second of which waits for both fsyncs.
   */
  demand(lsn: number, immediate: boolean): void {
    if (immediate) this.demandSync = Math.max(this.demandSync, lsn);
    else this.demandGroup = Math.max(this.demandGroup, lsn);
    if (this.demandScheduled) {
      if (++this.demands % CLOCK_APPENDS === 0 && !this.owner.settledByFlusher && this.longTurn()) this.sendDemand();
      return;
    }
    this.demandScheduled = true;
    this.demands = 1;
    // Behind the continuations that are about to run, so that what they append shares the frame.
    if (this.owner.settledByFlusher) {
      queueMicrotask(this.sendDemand);
    } else {
      this.demandsSince = performance.now();
      process.nextTick(this.sendDemand);
    }
  }

  private longTurn(): boolean {
    return performance.now() - this.demandsSince > this.owner.bank.f64[STAT_FSYNC_MS_LAST >> 3]!;
  }

  private readonly sendDemand = (): void => {
    this.demandScheduled = false;
    if (this.demandGroup > 0) this.owner.ask(this.demandGroup, false);
    if (this.demandSync > 0) this.owner.ask(this.demandSync, true);
    this.demandGroup = this.demandSync = 0;
    // Only now: the flusher is at work meanwhile.
    this.arm();
  };

  /** Resolves with `value` when `lsn` is durable, which must have been demanded. */
  waitFor<T>(lsn: number, value: T, wait: Wait | undefined): Promise<T> {
    const promise = new Promise<T>(takeEnds);
    const waiter: Waiter = { lsn, value, resolve, reject };
    this.waiters.add(waiter);
    if (wait !== undefined) this.limit(waiter, wait);
    return promise;
  }

  private limit(waiter: Waiter, wait: Wait): void {
    const { lsn, resolve: settle, reject: fail } = waiter;
    const done = limitWait(wait, lsn, (error) => {
      this.waiters.remove(waiter);
      this.owner.changed();
      fail(error);
    });
    waiter.resolve = (v) => (done(), settle(v));
    waiter.reject = (error) => (done(), fail(error));
  }

  /** For a reader: `more` resolves when `lsn` is durable, or will never be; `cancel` takes the wish back. Asks nothing of the flusher. */
  watch(lsn: number): { more: Promise<void>; cancel: () => void } {
    let waiter!: Waiter;
    const more = new Promise<void>((resolve) => {
      const done = (): void => resolve();
      waiter = { lsn, value: undefined, resolve: done, reject: done };
    });
    this.waiters.add(waiter);
    this.arm();
    return {
      more,
      cancel: () => {
        this.waiters.remove(waiter);
        this.owner.changed();
      },
    };
  }

  /** Blocks the thread until `lsn` is durable. */
  block(lsn: number, timeoutMs: number, pump: (() => void) | undefined): void {
    const { x, i32 } = this.owner.bank;
    this.owner.ask(lsn, true);
    const since = performance.now();
    for (;;) {
      const seen = Atomics.load(i32, CTL_WAKE >> 2);
      const state = x.log_state();
      if (x.log_durable_lsn() >= lsn) return;
      if (state === LOG_POISONED) throw this.owner.unknown(lsn);
      if (state === LOG_CLOSED) throw this.owner.closedError();
      const left = timeoutMs - (performance.now() - since);
      if (left <= 0) throw timedOut(timeoutMs, lsn);
      if (pump === undefined) Atomics.wait(i32, CTL_WAKE >> 2, seen, left);
      else pump();
    }
  }

  /** Resolves or rejects what the state of the log decides now. */
  settle(): void {
    const { bank: core } = this.owner;
    // State first: a durable LSN that was published before the log was poisoned is then seen.
    const state = core.x.log_state();
    if (this.waiters.size > 0) this.waiters.settle(core.x.log_durable_lsn());
    if (state === LOG_POISONED) this.waiters.fail(({ lsn }) => this.owner.unknown(lsn));
    else if (state === LOG_CLOSED) this.waiters.fail(() => this.owner.closedError());
    this.owner.changed();
  }

  /** Sees to it that settle() runs at the next wake-up, as long as somebody waits. */
  private arm(): void {
    this.owner.changed();
    if (this.armed || this.owner.settledByFlusher) return;
    const { i32 } = this.owner.bank;
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
}
