// worker-death.test.ts: a log on the test build of the module, and threads that stop at a chosen step.

import type { Worker } from "node:worker_threads";
import wasmPoints from "corewal:wasm-points";
import type { LogOptions } from "../../src/options.js";
import type { Log } from "../../src/types.js";
import type { ArmedMessage, ArmedTask } from "../workers/armed-writer.js";
import { openInline } from "./environment.js";
import { within } from "./expect.js";
import { message, startThread } from "./script.js";

let compiled: WebAssembly.Module | undefined;

/** The flusher runs in this thread: its worker knows nothing of points. */
export function openWithPoints(directory: string, options: LogOptions): Promise<Log> {
  compiled ??= new WebAssembly.Module(Buffer.from(wasmPoints, "base64"));
  return openInline(directory, options, { module: compiled, point: () => {} });
}

export interface Stopped {
  worker: Worker;
  /** LSNs of what it appended before. */
  before: number[];
  /** Lets it go on; gives what became of its append, and of one after it. */
  letGo(): Promise<{ result: string; afterwards: string }>;
  /** Ends the thread where it stands, and waits until its end was seen here. */
  terminate(): Promise<void>;
}

/** A thread that stands at `step` for ever: a new one, or an `older` one that waits for its task. */
export async function stopAt(
  log: Log,
  step: number,
  { before = 1, batch = 1, older }: { before?: number; batch?: number; older?: Worker } = {},
): Promise<Stopped> {
  const gate = new SharedArrayBuffer(4);
  const task: ArmedTask = { handle: log.handle, step, before, batch, gate };
  const thread = older ?? startThread("armed-writer", task);
  older?.postMessage(task);
  const said = (await within(message<ArmedMessage>(thread), `the thread at step ${step}`)) as { at: number; before: number[] };
  if (said.at !== step) throw new Error(`stopped at step ${said.at} instead of ${step}`);
  return {
    worker: thread,
    before: said.before,
    async letGo() {
      const answer = message<ArmedMessage>(thread);
      Atomics.store(new Int32Array(gate), 0, 1);
      Atomics.notify(new Int32Array(gate), 0);
      return (await within(answer, "the thread that was let go")) as { result: string; afterwards: string };
    },
    async terminate() {
      await within(thread.terminate(), "terminate()");
    },
  };
}
