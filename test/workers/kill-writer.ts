// One writer thread of kill-victim.ts.

import { workerData } from "node:worker_threads";
import { attachLog, type LogHandle } from "../../src/index.js";
import { appendForEver, type WriterTask } from "../support/kill-writer.js";

const { handle, id, ...writing } = workerData as WriterTask & { handle: LogHandle; id: number };
await appendForEver(await attachLog(handle), id, writing);
