// A thread with a core of its own. It does what it is told, or passes a token on to the next one, or appends as it can.

import { parentPort, workerData } from "node:worker_threads";
import { attachLog, type LogHandle } from "../../src/index.js";

export interface CoreTask {
  handle: LogHandle;
  index: number;
  threads: number;
  /** Word 0: whose turn it is; word 1: how many threads have a core. */
  shared: SharedArrayBuffer;
  /** `token`: each appends in turn, and waits for the disk; `load`: all append as they can; `epochs`: that, and advance epochs. */
  what: "token" | "load" | "epochs";
  rounds: number;
}

export interface CoreResult {
  core: number;
  /** Epochs that advanceEpoch() has given, each with how many entries this thread had appended before the call. */
  epochs: [epoch: number, appended: number][];
  appended: number;
}

const { handle, index, threads, shared, what, rounds } = workerData as CoreTask;
const words = new Int32Array(shared);
const writer = await attachLog(handle);
const result: CoreResult = { core: writer.ownCore, epochs: [], appended: 0 };
// Nobody may be through before all have begun: his core would be taken by another one.
Atomics.add(words, 1, 1);
Atomics.notify(words, 1);
for (let there: number; (there = Atomics.load(words, 1)) < threads;) Atomics.wait(words, 1, there);
for (let round = 0; round < rounds; round++) {
  if (what === "token") {
    const turn = round * threads + index;
    for (let now: number; (now = Atomics.load(words, 0)) !== turn;) Atomics.wait(words, 0, now);
    // Both ways of knowing that it is durable.
    if (turn % 2 === 0) writer.appendSync(`turn ${turn}`);
    else await writer.append(`turn ${turn}`);
    Atomics.add(words, 0, 1);
    Atomics.notify(words, 0);
  } else {
    writer.write(`thread ${index} ${round} epoch ${writer.epoch}`);
    result.appended++;
    if (what === "epochs" && round % 50 === 49) result.epochs.push([await writer.advanceEpoch(), result.appended]);
  }
}
await writer.close();
parentPort!.postMessage(result);
