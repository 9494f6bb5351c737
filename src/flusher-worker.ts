// The flusher's worker: blocking I/O, blocking sleep, everything else through shared memory. It is
// bundled into one module that needs only `node:` modules and started from its text (runtime.ts), which works
// the same unbundled, bundled and in single-file binaries.

import { randomBytes } from "node:crypto";
import { parentPort, workerData } from "node:worker_threads";
import { CTL_SLEEP, SLEEP_AWAKE } from "../assembly/layout.js";
import { bindCore } from "./core.js";
import { Flusher, lieDown, type FlusherStart } from "./flusher.js";
import { nodeStorage } from "./storage/node.js";

const { module, memory, start } = (
  workerData as { corewalFlusher: { module: WebAssembly.Module; memory: WebAssembly.Memory; start: FlusherStart } }
).corewalFlusher;
const core = bindCore(module, memory);
const flusher = new Flusher(core, nodeStorage, start, { now: () => performance.timeOrigin + performance.now(), randomBytes });
parentPort!.postMessage("running");

while (!flusher.done) {
  const rest = flusher.step();
  if (rest.ms === 0 || !lieDown(core, flusher, rest)) continue;
  flusher.openToGuest(rest);
  Atomics.wait(core.i32, CTL_SLEEP >> 2, rest.sleep, rest.ms);
  flusher.shutToGuest();
  Atomics.store(core.i32, CTL_SLEEP >> 2, SLEEP_AWAKE);
}
