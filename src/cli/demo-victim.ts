// The demo's victim: a process whose threads append the records until it is killed. It never closes the log.

import { readFileSync } from "node:fs";
import type { Worker } from "node:worker_threads";
import { errorFromText } from "../errors.js";
import { openLog } from "../index.js";
import { TOPOLOGIES } from "../segment.js";
import { oneOf, parse, wholeNumber, type Command } from "./command.js";
import { Records } from "./demo-records.js";
import type { Share } from "./demo-worker.js";
import { startWorker } from "./roles.js";

const help = "Usage: corewal demo-victim DIR RECORDS THREADS IN_FLIGHT TOPOLOGY   (the demo starts this)\n";

async function run(argv: string[], { entry }: { entry: string }): Promise<number> {
  const [dir, file, threadsText, inFlightText, topologyText] = parse(argv, {}, ["DIR", "RECORDS", "THREADS", "IN_FLIGHT", "TOPOLOGY"]).args;
  const threads = wholeNumber("THREADS", threadsText)!;
  const inFlight = wholeNumber("IN_FLIGHT", inFlightText)!;
  const topology = oneOf("TOPOLOGY", topologyText, TOPOLOGIES)!;
  // Whoever should kill this process may be killed first: then this ends too.
  process.stdin
    .on("end", () => process.exit(1))
    .on("error", () => process.exit(1))
    .resume();

  const records = Records.of(readFileSync(file!));
  const log = await openLog(dir!, { stripes: threads + 1, topology });
  const pipe = new SharedArrayBuffer(4);
  const workers: Worker[] = [];
  try {
    await new Promise((_, reject) => {
      for (let thread = 0; thread < threads; thread++) {
        const worker = startWorker(entry, "demo", {
          handle: log.handle,
          records: records.shared,
          inFlight,
          thread,
          threads,
          pipe,
        } satisfies Share);
        workers.push(worker);
        worker.on("error", reject);
        worker.on("message", (message: { error?: string }) => {
          if (message.error !== undefined) reject(errorFromText(message.error));
        });
      }
    });
  } finally {
    // One thread has failed: nothing may keep this process, for the other side waits for its end.
    process.stdin.destroy();
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
  return 1;
}

export const command: Command = { help, run };
