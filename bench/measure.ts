// Measures this machine's disk and corewal on it, in one run, round by round, so that a busy moment
// hits every contender. Ratios count; absolute figures are the machine's.

import { join } from "node:path";
import { windowCore } from "../src/core.js";
import { openLog, type LogOptions } from "../src/index.js";
import { WINDOW } from "../assembly/layout.js";
import { append, appendSync, checkedLog } from "./corewal.js";
import {
  inDirectory,
  machine,
  median,
  percentile,
  ratio,
  rawLoop,
  runRounds,
  type Contender,
  type Machine,
  type Result,
  type RoundOptions,
} from "./rounds.js";

export interface BenchOptions extends RoundOptions {
  /** Size of the log that is closed and opened again. */
  reopenBytes: number;
}

/** One figure: operations a second, and how long one took. */
export interface Figure extends Result {
  opsPerSecond: number;
  /** Against the raw loop of the same run. */
  ratio: number;
}

export interface BenchReport {
  machine: Machine;
  durable: Figure[];
  write: { bytes: number; medianNs: number; p99Ns: number }[];
  crc32c: { bytes: number; gigabytesPerSecond: number }[];
  onDisk: { payloadBytes: number; entries: number; bytesPerEntry: number };
  reopen: { bytes: number; medianMs: number };
}

export function bench(options: BenchOptions): Promise<BenchReport> {
  return inDirectory(options.directory, async (directory) => ({
    machine: machine(),
    durable: await benchDurable(directory, options),
    write: await benchWrite(directory, options),
    crc32c: benchCrc(options),
    onDisk: await measureOnDisk(directory),
    reopen: await benchReopen(directory, options),
  }));
}

async function benchDurable(directory: string, options: BenchOptions): Promise<Figure[]> {
  const open = (name: string, o?: LogOptions): ReturnType<typeof checkedLog> => checkedLog(join(directory, name), o);
  const inline: LogOptions = { flusher: "inline" };
  const contenders: Contender[] = [rawLoop(directory), appendSync(await open("sync"))];
  for (const count of [1, 16, 256, 4096]) contenders.push(append(await open(`append-${count}`), count));
  contenders.push(appendSync(await open("inline-sync", inline), ", inline"));
  for (const count of [1, 256, 4096]) contenders.push(append(await open(`inline-${count}`, inline), count, "append, inline"));
  const perCore: LogOptions = { topology: "per-core" };
  for (const count of [1, 256, 4096]) contenders.push(append(await open(`cores-${count}`, perCore), count, "append, per-core"));
  const results = await runRounds(contenders, options);
  return results.map((r) => ({ ...r, opsPerSecond: median(r.rates), ratio: ratio(r, results[0]!) }));
}

/** write() alone, in bursts that the ring holds, so that the disk does not count. */
async function benchWrite(directory: string, { rounds }: BenchOptions): Promise<BenchReport["write"]> {
  const results: BenchReport["write"] = [];
  for (const bytes of [16, 100, 1024, 4096]) {
    const log = await openLog(join(directory, `write-${bytes}`), { flushIntervalMs: 60_000 });
    const record = new Uint8Array(bytes).fill(7);
    const perSample = 50;
    const samples: number[] = [];
    const burst = Math.floor((1.5 * 1024 * 1024) / (bytes + 48) / perSample);
    for (let round = 0; round < 6 + 4 * rounds; round++) {
      for (let s = 0; s < burst; s++) {
        const before = performance.now();
        for (let i = 0; i < perSample; i++) log.write(record);
        const ns = ((performance.now() - before) * 1e6) / perSample;
        // The first rounds touch the ring's pages for the first time and compile the code.
        if (round >= 6) samples.push(ns);
      }
      await log.sync();
    }
    await log.close();
    results.push({ bytes, medianNs: median(samples), p99Ns: percentile(samples, 0.99) });
  }
  return results;
}

function benchCrc({ roundMs }: BenchOptions): BenchReport["crc32c"] {
  const core = windowCore(1024 * 1024);
  core.bytes.fill(0xa5, WINDOW);
  return [32, 64, 128, 512, 1024, 4096, 65536, 1048576].map((bytes) => {
    const calls = Math.max(1, Math.floor(262144 / bytes));
    const rates: number[] = [];
    const start = performance.now();
    for (let now = start; now - start < roundMs / 4 || rates.length < 5;) {
      for (let i = 0; i < calls; i++) core.x.crc32c_update(-1, WINDOW, bytes);
      const after = performance.now();
      rates.push((bytes * calls) / (after - now) / 1e6);
      now = after;
    }
    return { bytes, gigabytesPerSecond: median(rates) };
  });
}

/** What an entry of 8 + 100 bytes takes on disk in frames of 1,000. */
async function measureOnDisk(directory: string): Promise<BenchReport["onDisk"]> {
  const log = await openLog(join(directory, "on-disk"));
  const frames = 20;
  const key = new Uint8Array(8).fill(1);
  const value = new Uint8Array(100).fill(2);
  await log.append("the first makes the segment");
  const before = log.stats().segment.offset;
  for (let f = 0; f < frames; f++) await log.appendBatch(Array.from({ length: 1000 }, () => ({ kind: "put" as const, key, value })));
  const bytes = log.stats().segment.offset - before;
  await log.close();
  return { payloadBytes: 108, entries: frames * 1000, bytesPerEntry: bytes / (frames * 1000) };
}

/** openLog of a log that was closed properly, until it can be appended to. */
async function benchReopen(directory: string, { reopenBytes, rounds }: BenchOptions): Promise<BenchReport["reopen"]> {
  const path = join(directory, "reopen");
  const log = await openLog(path, { durability: "async" });
  const record = new Uint8Array(256 * 1024).fill(7);
  for (let bytes = 0; bytes < reopenBytes; bytes += record.length) log.write(record);
  await log.close();
  const times: number[] = [];
  for (let i = 0; i < rounds; i++) {
    const before = performance.now();
    const again = await openLog(path);
    times.push(performance.now() - before);
    await again.close();
  }
  return { bytes: reopenBytes, medianMs: median(times) };
}
