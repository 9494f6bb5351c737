// A bar with rate and time left on stderr while a command works, only when stderr is a terminal.

import { createRequire } from "node:module";
import { duration, size, thousands } from "./format.js";

export interface Progress {
  /** How far in all, in the unit of the total. Cheap: call it often. */
  update(done: number): void;
  /** Wipes the bar away. Idempotent. */
  stop(): void;
}

/** How often the figures change; more is a flicker. */
const REFRESH_MS = 100;

/** Starts a bar, or one without an end if the total is not known. Off a terminal it does nothing. */
export async function startProgress(label: string, total: number | undefined, unit: "bytes" | "entries" | "steps"): Promise<Progress> {
  if (process.stderr.isTTY !== true) return { update() {}, stop() {} };
  // cli-progress is CommonJS. Bundled into an ES module, its `require("readline")` looks for a global: here it is.
  (globalThis as { require?: unknown }).require ??= createRequire(import.meta.url);
  const { SingleBar } = (await import("cli-progress")).default;
  const amount = unit === "bytes" ? size : (n: number) => `${thousands(n)} ${unit}`;
  const bar = new SingleBar({
    stream: process.stderr,
    format: total === undefined ? `${label}  {amount}  {rate}` : `${label}  {bar} {percentage} %  {rate}  {left} left`,
    clearOnComplete: true,
    barsize: 24,
    barCompleteChar: "█",
    barIncompleteChar: "░",
    // Otherwise it switches the terminal's line wrapping off, and Ctrl-C would leave it so.
    linewrap: true,
  });
  const begin = performance.now();
  let shown = -Infinity;
  const figures = (done: number) => {
    const seconds = (performance.now() - begin) / 1000;
    const rate = seconds > 0 ? done / seconds : 0;
    return {
      amount: amount(done),
      rate: `${unit === "bytes" ? size(rate) : thousands(rate)}/s`,
      left: total !== undefined && rate > 0 ? duration(Math.max(0, (total - done) / rate) * 1000) : "?",
    };
  };
  bar.start(total ?? 1, 0, figures(0));
  return {
    update(done) {
      const now = performance.now();
      if (now - shown < REFRESH_MS) return;
      shown = now;
      bar.update(total === undefined ? 0 : Math.min(done, total), figures(done));
    },
    stop: () => bar.stop(),
  };
}
