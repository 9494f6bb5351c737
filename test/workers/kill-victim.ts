// The process that kill.test.ts kills: a log, writer threads, and the opener itself appending too.

import { openLog } from "../../src/index.js";
import { appendForEver } from "../support/kill-writer.js";
import type { VictimTask } from "../support/kill.js";
import { startThread, task } from "../support/script.js";

const { directory, options, threads, firstId, ...writing } = task<VictimTask>();
const log = await openLog(directory, options);
for (let i = 1; i <= threads; i++) startThread("kill-writer", { ...writing, handle: log.handle, id: firstId + i });
await appendForEver(log, firstId, writing);
