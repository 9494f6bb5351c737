// The flusher's worker: blocking I/O, blocking sleep, everything else through shared memory. It is
// bundled into one module that needs only `node:` modules and started from its text (runtime.ts), which works
// the same unbundled, bundled and in single-file binaries.

import { randomBytes } from "node:crypto";
import { parentPort, workerData } from "node:worker_threads";
import { CTL_STATE, LOG_CLOSED, LOG_POISONED } from "../assembly/layout.js";
import { bankAddress } from "./banks.js";
import { bindCore } from "./core.js";
import { Crew } from "./crew.js";
import { Flusher, type FlusherStart } from "./flusher.js";
import { nodeStorage } from "./storage/node.js";

const { module, memory, pump, starts } = (
  workerData as {
    corewalFlusher: { module: WebAssembly.Module; memory: WebAssembly.Memory; pump: number; starts: FlusherStart[] };
  }
).corewalFlusher;
const whole = bindCore(module, memory);
const core = whole.at(bankAddress(whole, pump));
const chance = { now: () => performance.timeOrigin + performance.now(), randomBytes };
const crew = new Crew(core, pump, (bank) => new Flusher(core.at(bankAddress(core, bank)), nodeStorage, starts[bank]!, chance));
parentPort!.postMessage("running");

while (!crew.done) {
  const rest = crew.step();
  if (rest.ms > 0 && !crew.done && crew.lieDown(rest)) crew.sleep(rest);
}

// The other flushers' threads may not be through: who ends before the log does is taken for dead.
for (let state = core.x.log_state(); state !== LOG_CLOSED && state !== LOG_POISONED; state = core.x.log_state())
  Atomics.wait(core.log.i32, CTL_STATE >> 2, state);
