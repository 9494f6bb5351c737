// Waiting without blocking, and keeping the process alive meanwhile.

import { clearInterval, setInterval } from "node:timers";

type WaitAsync = (words: Int32Array, index: number, value: number, timeoutMs?: number) => { async: false; value: string } | { async: true; value: Promise<string> };
const waitAsync = (Atomics as unknown as { waitAsync?: WaitAsync }).waitAsync;

export const canWaitAsync = typeof waitAsync === "function";

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
