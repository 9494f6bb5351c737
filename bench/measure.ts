// Measures this machine's disk and corewal on it, in one run, round by round, so that a busy moment
// hits every contender. Ratios count; absolute figures are the machine's.

import { closeSync, fdatasyncSync, mkdirSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { cpus, release, tmpdir } from "node:os";
import { join } from "node:path";
import { windowCore } from "../src/core.js";
import { openLog, type LogOptions } from "../src/index.js";
import type { Log } from "../src/types.js";
import { WINDOW } from "../assembly/layout.js";

export interface BenchOptions {
  /** Time for each figure in each round, milliseconds. */
  roundMs: number;
  rounds: number;
  /** Where the files go; a temporary directory by default. */
  directory?: string;
  /** Size of the log that is closed and opened again. */
  reopenBytes: number;
  onProgress?: (done: number, total: number, what: string) => void;
}

/** One figure: operations a second and, where each was timed, how long one took. */
export interface Figure {
  name: string;
  opsPerSecond: number;
  /** Against the raw loop of the same run. */
  ratio?: number;
  p50Us?: number;
  p99Us?: number;
  fsyncs?: number;
  entriesPerFsync?: number;
}

export interface BenchReport {
  machine: { cpu: string; cores: number; os: string; runtime: string };
  durable: Figure[];
  write: { bytes: number; medianNs: number; p99Ns: number }[];
  crc32c: { bytes: number; gigabytesPerSecond: number }[];
  onDisk: { payloadBytes: number; entries: number; bytesPerEntry: number };
  reopen: { bytes: number; medianMs: number };
}

const PAYLOAD = 100;
export const median = (values: number[]): number => percentile(values, 0.5);
function percentile(values: number[], p: number): number {
  const sorted = Float64Array.from(values).sort();
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p))] ?? 0;
}

/** A contender runs for some time and says how many operations it did. */
interface Contender {
  name: string;
  run(ms: number): Promise<{ ops: number; ms: number; latenciesUs: number[] }>;
  fsyncs?(): number;
  close(): Promise<void>;
}

/** One blocking operation after the other. */
function oneByOne(ms: number, operation: () => void): ReturnType<Contender["run"]> {
  const latenciesUs: number[] = [];
  const start = performance.now();
  let now = start;
  while (now - start < ms) {
    const before = now;
    operation();
    now = performance.now();
    latenciesUs.push((now - before) * 1000);
  }
  return Promise.resolve({ ops: latenciesUs.length, ms: now - start, latenciesUs });
}

function rawLoop(directory: string): Contender {
  const size = 64 * 1024 * 1024;
  const fd = openSync(join(directory, "raw"), "w+");
  const zeros = new Uint8Array(1024 * 1024);
  for (let at = 0; at < size; at += zeros.length) writeSync(fd, zeros, 0, zeros.length, at);
  fdatasyncSync(fd);
  const record = new Uint8Array(192).fill(7);
  let offset = 0;
  return {
    name: "raw write + fdatasync, preallocated",
    run: (ms) =>
      oneByOne(ms, () => {
        writeSync(fd, record, 0, record.length, offset);
        fdatasyncSync(fd);
        offset = (offset + record.length) % (size - record.length);
      }),
    close: () => Promise.resolve(closeSync(fd)),
  };
}

/** A log that was seen to keep what it is given, before anything is timed. */
async function checkedLog(directory: string, options?: LogOptions): Promise<Log> {
  const log = await openLog(directory, options);
  const record = Uint8Array.from({ length: PAYLOAD }, (_, i) => i);
  const lsns = [log.appendSync(record), await log.append(record)];
  for (const lsn of lsns) {
    const entry = await log.get(lsn);
    if (entry === undefined || Buffer.compare(entry.value, record) !== 0) throw new Error(`entry ${lsn} did not come back as it was`);
  }
  return log;
}

function appendSync(log: Log, where = ""): Contender {
  const record = new Uint8Array(PAYLOAD).fill(7);
  return {
    name: `appendSync${where}`,
    run: (ms) => oneByOne(ms, () => log.appendSync(record)),
    fsyncs: () => log.stats().fsyncs,
    close: () => log.close(),
  };
}

function append(log: Log, inFlight: number, where = ""): Contender {
  const record = new Uint8Array(PAYLOAD).fill(7);
  return {
    name: `append, ${inFlight} in flight${where}`,
    async run(ms) {
      const latenciesUs: number[] = [];
      const start = performance.now();
      let ops = 0;
      const one = async (): Promise<void> => {
        for (;;) {
          const before = performance.now();
          await log.append(record);
          const now = performance.now();
          ops++;
          // Each 16th is enough for percentiles, and a clock is not free.
          if ((ops & 15) === 0 || inFlight === 1) latenciesUs.push((now - before) * 1000);
          if (now - start >= ms) return;
        }
      };
      await Promise.all(Array.from({ length: inFlight }, one));
      return { ops, ms: performance.now() - start, latenciesUs };
    },
    fsyncs: () => log.stats().fsyncs,
    close: () => log.close(),
  };
}

export async function bench(options: BenchOptions): Promise<BenchReport> {
  const base = options.directory ?? tmpdir();
  mkdirSync(base, { recursive: true });
  const directory = mkdtempSync(join(base, "corewal-bench-"));
  try {
    const durable = await benchDurable(directory, options);
    return {
      machine: { cpu: cpus()[0]?.model ?? "unknown", cores: cpus().length, os: `${process.platform} ${release()}`, runtime: runtimeName() },
      durable,
      write: await benchWrite(directory, options),
      crc32c: benchCrc(options),
      onDisk: await measureOnDisk(directory),
      reopen: await benchReopen(directory, options),
    };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

export function runtimeName(): string {
  const { versions } = process;
  return versions.bun ? `Bun ${versions.bun}` : versions["deno"] ? `Deno ${versions["deno"]}` : `Node ${versions.node}`;
}

async function benchDurable(directory: string, { roundMs, rounds, onProgress }: BenchOptions): Promise<Figure[]> {
  const contenders: Contender[] = [rawLoop(directory), appendSync(await checkedLog(join(directory, "sync")))];
  for (const inFlight of [1, 16, 256, 4096]) contenders.push(append(await checkedLog(join(directory, `append-${inFlight}`)), inFlight));
  const inline: LogOptions = { flusher: "inline" };
  contenders.push(appendSync(await checkedLog(join(directory, "inline-sync"), inline), ", inline"));
  for (const inFlight of [1, 256, 4096])
    contenders.push(append(await checkedLog(join(directory, `inline-${inFlight}`), inline), inFlight, ", inline"));
  const results = contenders.map(() => ({ rates: [] as number[], ratios: [] as number[], latenciesUs: [] as number[], ops: 0, fsyncs: 0 }));
  for (const c of contenders) await c.run(roundMs / 5); // warm
  for (let round = 0; round < rounds; round++) {
    let rawRate = 0;
    for (const [i, c] of contenders.entries()) {
      onProgress?.(round * contenders.length + i, rounds * contenders.length, c.name);
      const fsyncs = c.fsyncs?.() ?? 0;
      const { ops, ms, latenciesUs } = await c.run(roundMs);
      const rate = (ops / ms) * 1000;
      if (i === 0) rawRate = rate;
      const r = results[i]!;
      r.rates.push(rate);
      r.ratios.push(rate / rawRate);
      r.latenciesUs = r.latenciesUs.concat(latenciesUs);
      r.ops += ops;
      r.fsyncs += c.fsyncs === undefined ? ops : c.fsyncs() - fsyncs;
    }
  }
  const figures = results.map((r, i) => ({
    name: contenders[i]!.name,
    opsPerSecond: median(r.rates),
    ratio: median(r.ratios),
    p50Us: percentile(r.latenciesUs, 0.5),
    p99Us: percentile(r.latenciesUs, 0.99),
    fsyncs: r.fsyncs,
    entriesPerFsync: r.ops / r.fsyncs,
  }));
  for (const c of contenders) await c.close();
  return figures;
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
