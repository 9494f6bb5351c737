// A thread that opens a log and says what came of it.

import { parentPort, workerData } from "node:worker_threads";
import { codeOf } from "../../src/errors.js";
import { openLog } from "../../src/index.js";

const { directory } = workerData as { directory: string };
try {
  const log = await openLog(directory);
  await log.append("from a thread");
  await log.close();
  parentPort!.postMessage("opened");
} catch (error) {
  parentPort!.postMessage(codeOf(error));
}
