// One time for all threads of a log: nanoseconds since it was opened, whatever becomes of the system's clock meanwhile.

import { runtime } from "./runtime.js";

/** When a log was opened, as any thread of the process can tell. Structured-cloneable. */
export interface ClockStart {
  /** process.hrtime(), nanoseconds: one clock for all threads in Node.js, another one for each elsewhere. */
  hrtimeNs: bigint;
  /** Unix time at which the opener's performance.now() was 0, and what it was, milliseconds. */
  originMs: number;
  nowMs: number;
}

export const clockStart = (): ClockStart => ({
  hrtimeNs: process.hrtime.bigint(),
  originMs: performance.timeOrigin,
  nowMs: performance.now(),
});

/**
 * This thread's clock. In Node.js it agrees with the others' to the reading of a clock. Deno and Bun have nothing that
 * all threads count from but the system's clock when each of them began: if that is set in between, two threads'
 * clocks differ by as much, for as long as they run.
 */
export function threadClock({ hrtimeNs, originMs, nowMs }: ClockStart): () => number {
  const now = performance.now();
  const sinceMs =
    runtime.name === "Node.js" ? Number(process.hrtime.bigint() - hrtimeNs) / 1e6 : performance.timeOrigin - originMs + (now - nowMs);
  const before = now - sinceMs;
  return () => (performance.now() - before) * 1e6;
}
