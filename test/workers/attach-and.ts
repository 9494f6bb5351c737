// A thread that attaches to a log, appends one entry, and ends in the way it is told.

import { parentPort, workerData } from "node:worker_threads";
import { attachLog, type LogHandle } from "../../src/index.js";

export interface AttachTask {
  handle: LogHandle;
  then: "throw" | "end" | "exit" | "wait";
}

const { handle, then } = workerData as AttachTask;
const writer = await attachLog(handle);
parentPort!.postMessage(await writer.append("from a thread"));
if (then === "throw") throw new Error("made up by a test");
if (then === "exit") process.exit(0);
if (then === "wait") await new Promise(() => setInterval(() => {}, 1000));
