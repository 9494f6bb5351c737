// Waiting without blocking, giving up on it, and keeping the process alive meanwhile.

import { clearInterval, setInterval } from "node:timers";
import { CorewalError, mistake, outOfRange } from "./errors.js";
import type { Durability, Wait } from "./types.js";

type WaitAsync = (
  words: Int32Array,
  index: number,
  value: number,
  timeoutMs?: number,
) => { async: false; value: string } | { async: true; value: Promise<string> };
const waitAsync = (Atomics as unknown as { waitAsync?: WaitAsync }).waitAsync;

/** Resolves when the word is notified or the time is over; undefined if it has another value already. */
export function wordChange(words: Int32Array, index: number, value: number, timeoutMs = Infinity): Promise<string> | undefined {
  const result = waitAsync!(words, index, value, timeoutMs);
  return result.async ? result.value : undefined;
}

/**
 * Atomics.waitAsync does not keep a process alive, in any runtime: this does, while somebody holds it.
 * A timer that never fires is the one handle that can be held and let go everywhere, in every thread.
 */
export class KeepAlive {
  private timer: ReturnType<typeof setInterval> | undefined;
  private held = false;

  hold(on: boolean): void {
    if (on === this.held) return;
    this.held = on;
    this.timer ??= setInterval(() => {}, 0x7fffffff);
    if (on) this.timer.ref();
    else this.timer.unref();
  }

  close(): void {
    clearInterval(this.timer);
    this.timer = undefined;
    this.held = false;
  }
}

/** How much each durability asks for. */
export const STRICTNESS: Record<Durability, number> = { async: 0, group: 1, sync: 2 };

const TIMER_MS_MAX = 0x7fffffff;

/** Refuses a wait that makes no sense, or that is over before it began. */
export function checkWait(wait: Wait | undefined): void {
  if (wait === undefined) return;
  if (typeof wait !== "object" || wait === null)
    throw mistake("COREWAL_INVALID_OPTION", "how to wait is an object { durability, signal, timeoutMs }");
  const { durability, timeoutMs, signal } = wait;
  if (durability !== undefined && !Object.hasOwn(STRICTNESS, durability)) {
    throw mistake("COREWAL_INVALID_OPTION", `durability is ${String(durability)}: it must be sync, group or async`);
  }
  if (timeoutMs !== undefined && !(typeof timeoutMs === "number" && timeoutMs >= 0)) {
    throw outOfRange("COREWAL_INVALID_OPTION", `timeoutMs is ${String(timeoutMs)}: it must be a number of milliseconds, 0 or more`);
  }
  if (signal !== undefined && !(signal instanceof AbortSignal)) throw mistake("COREWAL_INVALID_OPTION", "signal must be an AbortSignal");
  if (signal?.aborted)
    throw new CorewalError("COREWAL_ABORTED", "the signal was aborted before: nothing was written", { cause: signal.reason });
}

export function timedOut(timeoutMs: number, lsn: number | undefined): CorewalError {
  return new CorewalError("COREWAL_TIMEOUT", `the wait took longer than ${timeoutMs} ms: ${fate(lsn)}`, { lsn });
}

/** What giving up means for the entry: once it has an LSN it stays. */
function fate(lsn: number | undefined): string {
  return lsn === undefined ? "the entry was not written" : `entry ${lsn} is written and may still become durable`;
}

/** Waits that end with each signal: many of them share one listener, which Node would otherwise warn of. */
const aborts = new WeakMap<AbortSignal, { waits: Set<() => void>; listener: () => void }>();

function onAbort(signal: AbortSignal, wait: () => void): () => void {
  let shared = aborts.get(signal);
  if (shared === undefined) {
    const waits = new Set<() => void>();
    shared = { waits, listener: () => [...waits].forEach((end) => end()) };
    aborts.set(signal, shared);
    signal.addEventListener("abort", shared.listener);
  }
  const { waits, listener } = shared;
  waits.add(wait);
  return () => {
    waits.delete(wait);
    if (waits.size > 0 || aborts.get(signal)?.waits !== waits) return;
    aborts.delete(signal);
    signal.removeEventListener("abort", listener);
  };
}

/** Calls `giveUp` once if the signal or the timeout ends the wait. The result must be called when the wait ends otherwise. */
export function limitWait(wait: Wait | undefined, lsn: number | undefined, giveUp: (error: CorewalError) => void): () => void {
  const { signal, timeoutMs = Infinity } = wait ?? {};
  if (signal === undefined && timeoutMs > TIMER_MS_MAX) return () => {};
  const end = (error: CorewalError): void => {
    done();
    giveUp(error);
  };
  const abort = (): void => end(new CorewalError("COREWAL_ABORTED", `the wait was aborted: ${fate(lsn)}`, { lsn, cause: signal?.reason }));
  const timer = timeoutMs > TIMER_MS_MAX ? undefined : setTimeout(() => end(timedOut(timeoutMs, lsn)), timeoutMs);
  const done = (): void => {
    clearTimeout(timer);
    unhook?.();
  };
  const unhook = signal && onAbort(signal, abort);
  return done;
}
