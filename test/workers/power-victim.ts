// Appends on a recorded disk and notes there what was acknowledged, as the last thing before the next append. Ends by
// SIGKILL in full flight, or by closing the log. With `lie` the storage only says that it syncs: the tests' control.

import { openSync, writeSync } from "node:fs";
import { openLogWith } from "../../src/log.js";
import { nodeStorage } from "../../src/storage/node.js";
import type { Storage, StorageFile } from "../../src/storage.js";
import { environment } from "../support/environment.js";
import { readAll } from "../support/expect.js";
import { POWER_OPTIONS, recordsOf } from "../support/power-records.js";
import { task } from "../support/script.js";

export interface PowerTask {
  directory: string;
  /** The recorded disk's. */
  control: string;
  /** Number of this process. */
  life: number;
  appends: number;
  /** How many appends wait at a time. */
  depth: number;
  flusher: "inline" | "worker";
  end: "kill" | "close";
  lie: boolean;
}

const { directory, control, life, appends, depth, flusher, end, lie } = task<PowerTask>();

function lying(): Storage {
  const dumb = (file: StorageFile): StorageFile => Object.assign(file, { sync: () => {} });
  return { ...nodeStorage, open: (path, access) => dumb(nodeStorage.open(path, access)), create: (path) => dumb(nodeStorage.create(path)) };
}

const notes = openSync(control, "r+");
const note = (text: string): void => void writeSync(notes, text);

// A storage of the test's own works inline only.
const options = { ...POWER_OPTIONS, flusher: lie ? "inline" : flusher };
const log = await openLogWith(directory, options, environment(lie ? { storage: lying() } : {}));
note(`open ${life} ${(await readAll(log)).length}`);

let next = 1;
let acknowledged = 0;
async function writer(): Promise<void> {
  while (next <= appends) {
    const { last } = await log.appendBatch(recordsOf(life, next++));
    note(`ack ${life} ${last}`);
    if (++acknowledged === appends - depth && end === "kill") process.kill(process.pid, "SIGKILL");
  }
}
await Promise.all(Array.from({ length: depth }, writer));
await log.close();
note(`closed ${life}`);
