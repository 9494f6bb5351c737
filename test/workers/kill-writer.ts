// One writer thread of kill-victim.ts.

import { workerData } from "node:worker_threads";
import { attachLog, type LogHandle } from "../../src/index.js";
import { appendForEver } from "../support/kill-writer.js";

const { handle, id, depth, report } = workerData as { handle: LogHandle; id: number; depth: number; report: string };
await appendForEver(await attachLog(handle), id, depth, report);
