// The machinery of the benches: contenders that take turns in one run, round by round, so that a busy
// moment hits each of them. Ratios count; absolute figures are the machine's.

import { closeSync, fdatasyncSync, mkdirSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { cpus, release, tmpdir } from "node:os";
import { join } from "node:path";

export interface RoundOptions {
  /** Time for each figure in each round, milliseconds. */
  roundMs: number;
  rounds: number;
  /** Where the files go; a temporary directory by default. */
  directory?: string;
  onProgress?: (done: number, total: number, what: string) => void;
}

export interface Machine {
  cpu: string;
  cores: number;
  os: string;
  runtime: string;
}

/** A contender runs for some time and says how many operations it did. */
export interface Contender {
  name: string;
  run(ms: number): Promise<Run>;
  /** Entries that it holds, read back: they must grow by the operations that were counted. */
  entries?(): Promise<number>;
  /** Fsyncs so far, where they are known. */
  fsyncs?(): number;
  close(): Promise<void>;
}

export interface Run {
  ops: number;
  ms: number;
  latenciesUs: number[];
}

/** What the rounds of one contender gave. */
export interface Result {
  name: string;
  /** Operations a second, one for each round. */
  rates: number[];
  p50Us: number;
  p99Us: number;
  fsyncs?: number;
  opsPerFsync?: number;
}

export const PAYLOAD = 100;
export const record = (): Uint8Array => new Uint8Array(PAYLOAD).fill(7);

export const median = (values: number[]): number => percentile(values, 0.5);
export function percentile(values: number[], p: number): number {
  const sorted = Float64Array.from(values).sort();
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p))] ?? 0;
}

/** How many times as fast, round against round: the median. */
export function ratio(result: Result, against: Result): number {
  return median(result.rates.map((rate, round) => rate / against.rates[round]!));
}

/** One blocking operation after the other. */
export function oneByOne(ms: number, operation: () => void): Promise<Run> {
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

/** `inFlight` operations at a time, each begun again when it is done. */
export async function inFlight(count: number, ms: number, operation: () => PromiseLike<unknown>): Promise<Run> {
  const latenciesUs: number[] = [];
  const start = performance.now();
  let ops = 0;
  const one = async (): Promise<void> => {
    for (;;) {
      const before = performance.now();
      await operation();
      const now = performance.now();
      ops++;
      // Each 16th is enough for percentiles.
      if ((ops & 15) === 0 || count === 1) latenciesUs.push((now - before) * 1000);
      if (now - start >= ms) return;
    }
  };
  await Promise.all(Array.from({ length: count }, one));
  return { ops, ms: performance.now() - start, latenciesUs };
}

/** What the disk gives one thread that writes and waits, into bytes that were written before. */
export function rawLoop(directory: string): Contender {
  const size = 64 * 1024 * 1024;
  const fd = openSync(join(directory, "raw"), "w+");
  const zeros = new Uint8Array(1024 * 1024);
  for (let at = 0; at < size; at += zeros.length) writeSync(fd, zeros, 0, zeros.length, at);
  fdatasyncSync(fd);
  const bytes = new Uint8Array(192).fill(7);
  let offset = 0;
  let fsyncs = 0;
  return {
    name: "raw write + fdatasync, preallocated",
    run: (ms) =>
      oneByOne(ms, () => {
        writeSync(fd, bytes, 0, bytes.length, offset);
        fdatasyncSync(fd);
        fsyncs++;
        offset = (offset + bytes.length) % (size - bytes.length);
      }),
    fsyncs: () => fsyncs,
    close: () => Promise.resolve(closeSync(fd)),
  };
}

/** Lets them take turns, compares what each holds then with what was counted, and closes them. */
export async function runRounds(contenders: Contender[], options: RoundOptions): Promise<Result[]> {
  try {
    const sums = await takeTurns(contenders, options);
    const results: Result[] = [];
    for (const [i, c] of contenders.entries()) results.push(await judge(c, sums[i]!));
    return results;
  } finally {
    for (const c of contenders) await c.close();
  }
}

interface Sum {
  rates: number[];
  latenciesUs: number[];
  ops: number;
  fsyncs: number;
  /** Entries that the contender must hold: those of the warm-up, too. */
  expected: number;
}

async function takeTurns(contenders: Contender[], { roundMs, rounds, onProgress }: RoundOptions): Promise<Sum[]> {
  const sums: Sum[] = [];
  for (const c of contenders) {
    const before = (await c.entries?.()) ?? 0;
    const { ops } = await c.run(roundMs / 5); // warm
    sums.push({ rates: [], latenciesUs: [], ops: 0, fsyncs: 0, expected: before + ops });
  }
  for (let round = 0; round < rounds; round++) {
    for (const [i, c] of contenders.entries()) {
      onProgress?.(round * contenders.length + i, rounds * contenders.length, c.name);
      const fsyncs = c.fsyncs?.() ?? 0;
      const { ops, ms, latenciesUs } = await c.run(roundMs);
      const sum = sums[i]!;
      sum.rates.push((ops / ms) * 1000);
      sum.latenciesUs = sum.latenciesUs.concat(latenciesUs);
      sum.ops += ops;
      sum.expected += ops;
      sum.fsyncs += (c.fsyncs?.() ?? 0) - fsyncs;
    }
  }
  return sums;
}

async function judge(c: Contender, { rates, latenciesUs, ops, fsyncs, expected }: Sum): Promise<Result> {
  const held = await c.entries?.();
  if (held !== undefined && held !== expected) throw new Error(`${c.name} holds ${held} entries, but ${expected} were put`);
  return {
    name: c.name,
    rates,
    p50Us: percentile(latenciesUs, 0.5),
    p99Us: percentile(latenciesUs, 0.99),
    ...(c.fsyncs && { fsyncs, opsPerFsync: ops / fsyncs }),
  };
}

/** A directory of its own for a bench, removed afterwards. */
export async function inDirectory<T>(base: string | undefined, run: (directory: string) => Promise<T>): Promise<T> {
  const parent = base ?? tmpdir();
  mkdirSync(parent, { recursive: true });
  const directory = mkdtempSync(join(parent, "corewal-bench-"));
  try {
    return await run(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

export function machine(): Machine {
  return { cpu: cpus()[0]?.model ?? "unknown", cores: cpus().length, os: `${process.platform} ${release()}`, runtime: runtimeName() };
}

export function runtimeName(): string {
  const { versions } = process;
  return versions.bun ? `Bun ${versions.bun}` : versions["deno"] ? `Deno ${versions["deno"]}` : `Node ${versions.node}`;
}
