// What corewal hears from the process: that it ends, and that a worker was started. One listener each
// for all logs of a thread, and none while there is no log.

import { runtime } from "./runtime.js";

/** A worker of this thread, as `process.on("worker")` gives it. */
export interface StartedWorker {
  threadId: number;
  once(event: "exit", listener: () => void): unknown;
}

class Hook<T extends unknown[]> {
  private readonly listeners = new Set<(...args: T) => void>();
  private readonly listener = (...args: unknown[]): void => {
    for (const listener of [...this.listeners]) listener(...(args as T));
  };

  /** Without an event it never calls. */
  constructor(private readonly event: string | undefined) {}

  /** Returns what takes the listener away again. */
  add(listener: (...args: T) => void): () => void {
    const { event } = this;
    if (event === undefined) return () => {};
    if (this.listeners.size === 0) process.on(event, this.listener);
    this.listeners.add(listener);
    return () => {
      if (this.listeners.delete(listener) && this.listeners.size === 0) process.off(event, this.listener);
    };
  }
}

/** The thread ends, by itself or by process.exit(), not by terminate() or a signal. */
export const threadEnd = new Hook<[]>("exit");
/**
 * Deno only, which emits no `exit` after an error that nobody caught: such an error was thrown. Whether somebody still
 * handles it, and the process goes on, cannot be told.
 */
export const uncaught = new Hook<[]>(runtime.name === "Deno" ? "uncaughtExceptionMonitor" : undefined);
export const workerStart = new Hook<[StartedWorker]>("worker");
