// A writer that stops at a chosen step between reserve and publish, for ever or until it is let go.
// Needs the test build of the module (points); worker-death.test.ts.

import { parentPort, threadId, workerData } from "node:worker_threads";
import { bindCore } from "../../src/core.js";
import { codeOf } from "../../src/errors.js";
import type { LogHandle } from "../../src/types.js";
import { StripeWriter } from "../../src/writer.js";

export interface ArmedTask {
  handle: LogHandle;
  /** 1 to 5, see assembly/ring.ts. */
  step: number;
  /** Entries to append before; then this many in one batch at which it stops. */
  before: number;
  batch: number;
  /** Word 0: 1 lets it go on. */
  gate: SharedArrayBuffer;
}

export type ArmedMessage = { at: number; before: number[] } | { result: string; afterwards: string };

/** A thread that is older than the log gets its task later. */
const { handle, step, before, batch, gate } = (workerData ??
  (await new Promise((resolve) => parentPort!.once("message", resolve)))) as ArmedTask;
const word = new Int32Array(gate);
let armed = false;
const lsns: number[] = [];

const core = bindCore(handle.module as WebAssembly.Module, handle.memory as WebAssembly.Memory, (at) => {
  if (!armed || at !== step) return;
  armed = false;
  parentPort!.postMessage({ at, before: lsns } satisfies ArmedMessage);
  Atomics.wait(word, 0, 0);
});
const writer = new StripeWriter(
  core,
  threadId + 1,
  handle.options,
  undefined,
  () => {},
  () => 0,
);

async function outcome(run: () => Promise<unknown>): Promise<string> {
  try {
    return String(await run());
  } catch (error) {
    return codeOf(error) ?? String(error);
  }
}

for (let i = 0; i < before; i++) lsns.push(await writer.append(`before ${i}`));
armed = true;
const result = await outcome(async () => {
  if (batch === 1) return writer.write("at the step");
  return (await writer.appendBatch(Array.from({ length: batch }, (_, i) => `batch ${i}`))).last;
});
const afterwards = await outcome(() => writer.append("afterwards"));
writer.end();
parentPort!.postMessage({ result, afterwards } satisfies ArmedMessage);
