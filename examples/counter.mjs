// A counter with several workers: each thread appends through a ring of its own, without a lock and without messages.
//
//   node examples/counter.mjs [DIRECTORY]

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isMainThread, Worker, workerData } from "node:worker_threads";
import { attachLog, openLog } from "corewal";

const WORKERS = 4;
const STEPS = 1000;

if (isMainThread) {
  const directory = process.argv[2] ?? mkdtempSync(join(tmpdir(), "corewal-counter-"));
  const log = await openLog(directory);
  const started = log.durableLsn;
  await Promise.all(
    Array.from({ length: WORKERS }, (_, i) => {
      // The handle can go to any number of threads.
      const worker = new Worker(new URL(import.meta.url), { workerData: { handle: log.handle, name: `worker ${i + 1}` } });
      return new Promise((resolve, reject) => worker.once("exit", resolve).once("error", reject));
    }),
  );

  const counters = new Map();
  for await (const { key, value } of log.read({ from: started + 1 })) {
    const name = Buffer.from(key).toString();
    const step = Number(Buffer.from(value).toString());
    // The steps of one thread come in its order, those of different threads in the order of their LSNs.
    if (step !== (counters.get(name) ?? 0) + 1) throw new Error(`${name} made step ${step} out of order`);
    counters.set(name, step);
  }
  for (const name of [...counters.keys()].sort()) console.log(`${name}: ${counters.get(name)}`);
  console.log(`together: ${[...counters.values()].reduce((sum, n) => sum + n, 0)}, LSN ${started + 1} to ${log.durableLsn}`);
  await log.close();
  if (process.argv[2] === undefined) rmSync(directory, { recursive: true });
} else {
  const writer = await attachLog(workerData.handle);
  const appends = [];
  for (let step = 1; step <= STEPS; step++) appends.push(writer.append({ kind: "put", key: workerData.name, value: String(step) }));
  await Promise.all(appends); // all durable, with a handful of fsyncs that all threads share
  await writer.close();
}
