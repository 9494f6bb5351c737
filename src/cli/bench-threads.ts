// `corewal bench`, several threads at once: how fast entries go into the rings, and how fast they become durable.

import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Worker } from "node:worker_threads";
import { errorFromText } from "../errors.js";
import { openLog } from "../index.js";
import type { LogOptions } from "../options.js";
import type { Log, Topology } from "../types.js";
import type { FromBench, Lap, Seat, Task } from "./bench-worker.js";
import { Failure } from "./command.js";
import { startWorker } from "./roles.js";

export interface ThreadOptions {
  entry: string;
  dir: string;
  threads: number;
  entryBytes: number;
}

/** Entries a second. */
export interface ThreadRates {
  topology: Topology;
  threads: number;
  /** Into the rings, while they hold all that is written: no disk is waited for. */
  ring: number[];
  /** Durable, with rings that are kept full. */
  durable: number[];
  /** Read again, in batches. */
  read: number[];
}

/** Rings as large as this memory allows, and no larger than that: short runs would measure how threads start. */
const MEMORY_BYTES = 1024 * 1024 * 1024;
const RING_BYTES_MAX = 128 * 1024 * 1024;
/** What a group's and an entry's header and padding take in a ring, at most. */
const OVERHEAD_BYTES = 64;
/** The first bursts touch the rings' pages and compile the code. */
const WARM_BURSTS = 4;
const BURSTS = 8;
const DURABLE_MS = 700;
/** Fast disks need not be filled to be measured. */
const DURABLE_BYTES_MAX = 256 * 1024 * 1024;

/** One round of one topology, with one thread or several. */
export async function measureThreads(options: ThreadOptions, topology: Topology): Promise<ThreadRates> {
  const { threads } = options;
  // In a per-core log each ring has a frame buffer as large beside it.
  const ringBytes = Math.min(RING_BYTES_MAX, 2 ** Math.floor(Math.log2(MEMORY_BYTES / 2 / (threads + 1))));
  const ring = await inLog(options, { topology, ringBytes, flushIntervalMs: 60_000 }, async (crew) => {
    // From half a ring on the flusher goes to work.
    const entries = Math.floor(ringBytes / 2 / (options.entryBytes + OVERHEAD_BYTES));
    const rates: number[] = [];
    for (let n = 0; n < WARM_BURSTS + BURSTS; n++) {
      const laps = await crew.run({ threads, entries });
      if (n >= WARM_BURSTS) rates.push(rateOf(laps, "written"));
    }
    return rates;
  });
  const { durable, read } = await inLog(options, { topology }, async (crew, log) => {
    const entriesMax = DURABLE_BYTES_MAX / threads / options.entryBytes;
    await crew.run({ threads, entries: 1 }); // makes the segments
    const laps = await crew.run({ threads, ms: DURABLE_MS, entriesMax });
    return { durable: [rateOf(laps, "durable")], read: [await readingRate(log)] };
  });
  return { topology, threads, ring, durable, read };
}

/** From the first thread's begin to the last one's end. */
function rateOf(laps: Lap[], end: "written" | "durable"): number {
  const entries = laps.reduce((sum, lap) => sum + lap.entries, 0);
  return (entries / (Math.max(...laps.map((lap) => lap[end])) - Math.min(...laps.map((lap) => lap.begin)))) * 1000;
}

async function readingRate(log: Log): Promise<number> {
  const begin = performance.now();
  let entries = 0;
  for await (const batch of log.readBatches()) entries += batch.length;
  return (entries / (performance.now() - begin)) * 1000;
}

async function inLog<T>(
  { entry, dir, threads, entryBytes }: ThreadOptions,
  options: LogOptions,
  use: (crew: BenchCrew, log: Log) => Promise<T>,
): Promise<T> {
  const place = mkdtempSync(join(dir, "threads-"));
  const log = await openLog(place, { ...options, durability: "async", stripes: threads + 1 });
  const crew = new BenchCrew(entry, threads, { handle: log.handle, entryBytes, start: new SharedArrayBuffer(4) });
  try {
    await crew.ready();
    return await use(crew, log);
  } finally {
    await crew.end();
    await log.close();
    rmSync(place, { recursive: true, force: true });
  }
}

class BenchCrew {
  readonly #workers: Worker[];
  #answers: FromBench[] = [];
  #failure: Error | undefined;
  #changed: () => void = () => {};

  constructor(entry: string, threads: number, seat: Seat) {
    this.#workers = Array.from({ length: threads }, () => {
      const worker = startWorker(entry, "bench", seat);
      const fail = (error: Error): void => {
        this.#failure ??= error;
        this.#changed();
      };
      worker.on("message", (message: FromBench) => {
        if ("error" in message) return fail(errorFromText(message.error));
        this.#answers.push(message);
        this.#changed();
      });
      worker.on("error", fail);
      worker.on("exit", () => fail(new Failure("a thread of the bench ended before its work was done")));
      return worker;
    });
  }

  async ready(): Promise<void> {
    await this.#all();
  }

  async run(task: Task): Promise<Lap[]> {
    for (const worker of this.#workers) worker.postMessage(task);
    return (await this.#all()).flatMap((answer) => ("lap" in answer ? [answer.lap] : []));
  }

  async end(): Promise<void> {
    if (this.#failure === undefined) await this.run({ end: true }).catch(() => []);
    await Promise.all(this.#workers.map((worker) => worker.terminate()));
  }

  /** One answer of each thread. */
  async #all(): Promise<FromBench[]> {
    while (this.#failure === undefined && this.#answers.length < this.#workers.length)
      await new Promise<void>((resolve) => (this.#changed = resolve));
    if (this.#failure !== undefined) throw this.#failure;
    return this.#answers.splice(0);
  }
}
