// A thread of `corewal bench`: writes as told, together with the others.

import { parentPort } from "node:worker_threads";
import { errorToText } from "../errors.js";
import { attachLog } from "../index.js";
import type { LogHandle } from "../types.js";

export interface Seat {
  handle: LogHandle;
  entryBytes: number;
  /** One word of shared memory: how many threads have come to the start. */
  start: SharedArrayBuffer;
}

/** Write so many entries, or for so long, when so many threads have come. */
export type Task = { threads: number; entries: number } | { threads: number; ms: number; entriesMax: number } | { end: true };

/** Milliseconds since 1970, as all threads of a process tell them. */
export interface Lap {
  begin: number;
  /** When the last entry was in the ring. */
  written: number;
  /** When all were durable. */
  durable: number;
  entries: number;
}

export type FromBench = { ready: true } | { lap: Lap } | { ended: true } | { error: string };

/** Entries between two looks at the clock. */
const STRIDE = 256;

export async function work({ handle, entryBytes, start }: Seat): Promise<void> {
  const port = parentPort!;
  const say = (message: FromBench) => port.postMessage(message);
  const fail = (error: unknown) => say({ error: errorToText(error) });
  try {
    const writer = await attachLog(handle);
    const entry = new Uint8Array(entryBytes).fill(7);
    const word = new Int32Array(start);
    const take = async (task: Task) => {
      if ("end" in task) {
        await writer.close();
        return say({ ended: true });
      }
      together(word, task.threads);
      const begin = wallMs();
      let entries = 0;
      if ("entries" in task) {
        for (; entries < task.entries; entries++) writer.write(entry);
      } else {
        for (const end = begin + task.ms; wallMs() < end && entries < task.entriesMax; entries += STRIDE)
          for (let i = 0; i < STRIDE; i++) writer.write(entry);
      }
      const written = wallMs();
      await writer.sync();
      say({ lap: { begin, written, durable: wallMs(), entries } });
    };
    port.on("message", (task: Task) => void take(task).catch(fail));
    say({ ready: true });
  } catch (error) {
    fail(error);
  }
}

const wallMs = (): number => performance.timeOrigin + performance.now();

/** Holds the thread until `threads` of them are here. The word goes on counting: each start has so many more. */
function together(word: Int32Array, threads: number): void {
  const mine = Atomics.add(word, 0, 1) + 1;
  const all = Math.ceil(mine / threads) * threads;
  if (mine === all) Atomics.notify(word, 0);
  for (let here = mine; (here = Atomics.load(word, 0)) < all;) Atomics.wait(word, 0, here, 1000);
}
