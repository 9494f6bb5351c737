// Who turns the flusher's crank: a worker of its own, or the opener's thread.

import type { Worker } from "node:worker_threads";
import workerSource from "corewal:flusher-worker";
import { CTL_SLEEP, LOG_CLOSED } from "../assembly/layout.js";
import type { Core } from "./core.js";
import type { Crew } from "./crew.js";
import { CorewalError } from "./errors.js";
import { poisonLog } from "./fault.js";
import type { FlusherStart, Rest } from "./flusher.js";
import { startThread } from "./runtime.js";
import { wordChange } from "./wait.js";
import type { LocalFlusher, StripeWriter } from "./writer.js";

/** The opener's thread pumps, between its other work. */
export class InlineDrive implements LocalFlusher {
  readonly writers = new Set<StripeWriter>();

  constructor(
    private readonly crew: Crew,
    manual: boolean,
    /** Tests only: the thread that pumps is its own guest, too. */
    private readonly guest: boolean,
  ) {
    if (!manual) void this.run();
  }

  pump(): boolean {
    return this.turn().ms === 0;
  }

  private turn(): Rest {
    if (this.guest) this.crew.shutToGuest();
    const rest = this.crew.step();
    if (this.guest && rest.ms > 0) this.crew.openToGuest(rest);
    for (const writer of this.writers) writer.settle();
    return rest;
  }

  private async run(): Promise<void> {
    const { crew } = this;
    while (!crew.done) {
      const rest = this.turn();
      if (rest.ms === 0) await new Promise(setImmediate);
      else if (crew.lieDown(rest)) {
        await wordChange(crew.core.i32, CTL_SLEEP >> 2, rest.sleep, rest.ms);
        crew.wake();
      }
    }
    for (const writer of this.writers) writer.settle();
  }
}

/** A worker pumps, the one with this number. Resolves when it runs; its death at any later time poisons the log. */
export async function startWorker(core: Core, pump: number, starts: FlusherStart[]): Promise<Worker> {
  let worker: Worker;
  try {
    worker = startThread(workerSource, { corewalFlusher: { module: core.module, memory: core.memory, pump, starts } });
  } catch (error) {
    throw noThread("cannot be started", error);
  }
  const died = (why: string, cause?: unknown): CorewalError => new CorewalError("COREWAL_IO", `the flusher's thread ${why}`, { cause });
  await new Promise<void>((resolve, reject) => {
    worker.once("message", () => resolve());
    worker.once("error", (error) => {
      poisonLog(core, died(`failed: ${error.message}`, error));
      reject(noThread("failed before it ran", error));
    });
    worker.once("exit", () => {
      if (core.x.log_state() !== LOG_CLOSED) poisonLog(core, died("ended"));
      reject(noThread("ended before it ran"));
    });
  });
  // An idle log keeps nobody alive; writers that wait do (wait.ts).
  worker.unref();
  return worker;
}

/** No permission, no threads in this host, or a build step that took the worker's text out of the bundle. */
function noThread(what: string, cause?: unknown): CorewalError {
  const text = cause instanceof Error ? `: ${cause.message}` : "";
  return new CorewalError(
    "COREWAL_UNSUPPORTED",
    `the flusher's thread ${what}${text}. If threads are not allowed here (Node.js: --allow-worker), allow them or open the log with ` +
      '{ flusher: "inline" }; if a build step changed corewal\'s files, make corewal external to it',
    { cause },
  );
}
