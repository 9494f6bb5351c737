// One writer thread of soak-victim.ts. It ends as it was told: it closes its writer, forgets it, or exits.

import { parentPort, workerData } from "node:worker_threads";
import { attachLog, type LogHandle } from "../../src/index.js";
import { Random } from "../support/random.js";
import { load, reportInto } from "../support/soak-load.js";
import type { WriterTask } from "../support/soak-run.js";

const { handle, stop, report, id, depth, bytesPerSecond, asyncLog, seed, ending } = workerData as WriterTask & {
  handle: LogHandle;
  /** 1 when it is to end. */
  stop: Int32Array;
};
parentPort!.postMessage("loaded");
const say = reportInto(report);
const random = new Random(seed);
try {
  const writer = await attachLog(handle);
  const stopped = (): boolean => Atomics.load(stop, 0) === 1;
  await load({ writer, id, depth, bytesPerSecond, asyncLog, random, stopped, say });
  if (ending === "close") await writer.close();
  if (ending === "exit") process.exit();
} catch (error) {
  // A log that is closed while its threads begin or end refuses them, and says so.
  const { code } = error as { code?: string };
  if (code !== "COREWAL_STALE_HANDLE" && code !== "COREWAL_CLOSED")
    say(`e writer ${id}: ${String((error as Error).stack).replaceAll("\n", " ")}`);
}
