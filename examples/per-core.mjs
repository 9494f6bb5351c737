// A log with a chain for each thread: sensors that write without sharing anything, read as one log in the order of time.
// An epoch is the one cut through all chains at once.
//
//   node examples/per-core.mjs [DIRECTORY]

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isMainThread, Worker, workerData } from "node:worker_threads";
import { attachLog, openLog } from "corewal";

const SENSORS = 3;
const READINGS = 1000;

if (isMainThread) {
  const directory = process.argv[2] ?? mkdtempSync(join(tmpdir(), "corewal-per-core-"));
  // The main thread has a core of its own, the first.
  const log = await openLog(directory, { topology: "per-core", stripes: SENSORS + 1 });
  const before = log.durablePositions();
  await Promise.all(
    Array.from({ length: SENSORS }, (_, i) => {
      const worker = new Worker(new URL(import.meta.url), { workerData: { handle: log.handle, name: `sensor ${i + 1}` } });
      return new Promise((resolve, reject) => worker.once("exit", resolve).once("error", reject));
    }),
  );
  // Everything up to here is durable, in an epoch that has ended; what comes now sorts behind it, in every chain.
  const epoch = await log.advanceEpoch();
  await log.append({ kind: "put", key: "main", value: "the day is over" });

  const counts = new Map();
  let timeMs = 0;
  for await (const { core, key, timestampMs } of log.read({ from: before.map((lsn) => lsn + 1), toEpoch: epoch - 1 })) {
    if (timestampMs < timeMs) throw new Error("time went back");
    timeMs = timestampMs;
    const name = Buffer.from(key).toString();
    counts.set(name, (counts.get(name) ?? 0) + 1);
    if (core === log.ownCore) throw new Error("the main thread's entry is of the next epoch");
  }
  for (const name of [...counts.keys()].sort()) console.log(`${name}: ${counts.get(name)} readings`);
  const written = log.durablePositions().reduce((sum, lsn, core) => sum + lsn - before[core], 0);
  console.log(`in all chains: ${written} entries; epochs below ${epoch} are complete`);
  await log.close();
  if (process.argv[2] === undefined) rmSync(directory, { recursive: true });
} else {
  const writer = await attachLog(workerData.handle);
  for (let i = 0; i < READINGS; i++) writer.write({ kind: "put", key: workerData.name, value: String(20 + (i % 10)) });
  await writer.sync();
  await writer.close();
}
