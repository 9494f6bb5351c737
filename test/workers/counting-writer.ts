// Appends records of growing counters until somebody ends the thread, and says which are acknowledged.

import { parentPort, workerData } from "node:worker_threads";
import { attachLog, type LogHandle } from "../../src/index.js";

export interface CountingTask {
  handle: LogHandle;
  id: number;
  /** Word 0: the last counter acknowledged + 1. */
  acknowledged: SharedArrayBuffer;
  /** Say when this many are acknowledged. */
  tellAt: number;
  way: "append" | "appendSync" | "write";
}

const { handle, id, acknowledged, tellAt, way } = workerData as CountingTask;
const word = new Int32Array(acknowledged);
const writer = await attachLog(handle);
const filling = "x".repeat(100);

let told = false;

function done(counter: number): void {
  Atomics.store(word, 0, counter + 1);
  if (told || counter + 1 < tellAt) return;
  told = true;
  parentPort!.postMessage("under way");
}

for (let counter = 0; ; counter++) {
  const record = `${id} ${counter} ${filling}`;
  if (way === "appendSync") {
    writer.appendSync(record);
    done(counter);
  } else if (way === "write") {
    // Never waits for anything but space: the ring is full most of the time.
    const lsn = writer.write(record);
    if (counter % 64 === 0) await writer.durable(lsn).then(() => done(counter));
  } else {
    const appended = writer.append(record).then(() => done(counter));
    if (counter % 8 === 0) await appended;
  }
}
