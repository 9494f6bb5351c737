// Microbenchmarks of the WASM core, without a disk: one round in this runtime. scripts/bench-core.mjs makes one table of
// many rounds on all runtimes.

import * as zlib from "node:zlib";
import { WINDOW } from "../assembly/layout.js";
import { crc32c, createRings, decodeEntries, encodeEntries } from "../src/core-index.js";
import { entrySeed, windowCore } from "../src/core.js";
import { verifyEntries } from "../src/entry.js";
import { median, runtimeName } from "./rounds.js";

export interface CoreFigure {
  name: string;
  unit: "GB/s" | "ns" | "MB/s";
  /** Median of the samples; undefined where this runtime has nothing to measure. */
  value: number | undefined;
}

export interface CoreRound {
  runtime: string;
  figures: CoreFigure[];
}

/** Something to time. */
interface Subject {
  name: string;
  unit: CoreFigure["unit"];
  /** Times one sample of about `SAMPLE_BYTES` or a ring full; the figure. */
  sample: (() => number) | undefined;
}

const CRC_BYTES = [8, 32, 100, 256, 1024, 4096, 65536, 1048576];
const ENTRY_BYTES = [100, 1024];
const SAMPLE_BYTES = 1 << 18;
const SAMPLES_MIN = 3;

/** Newer than the types that are installed: Node 20.15 and 22.2 on, Deno, Bun. */
const zlibCrc32 = (zlib as { crc32?: (bytes: Uint8Array, seed?: number) => number }).crc32;

function check(holds: boolean, what: string): void {
  if (!holds) throw new Error(`wrong result, so nothing was timed: ${what}`);
}

const bytesOf = (length: number): Uint8Array => Uint8Array.from({ length }, (_, i) => Math.imul(i, 2654435761) >>> 13);

/** Milliseconds that `calls` calls take. */
function timed(calls: number, call: () => unknown): number {
  const before = performance.now();
  for (let i = 0; i < calls; i++) call();
  return performance.now() - before;
}

function checksums(): Subject[] {
  const core = windowCore(CRC_BYTES.at(-1)!);
  check(crc32c("123456789") === 0xe3069283, "CRC32C of 123456789");
  return CRC_BYTES.flatMap((length) => {
    const bytes = bytesOf(length);
    core.bytes.set(bytes, WINDOW);
    const inPlace = (): number => core.x.crc32c_update(-1, WINDOW, length);
    check(~inPlace() >>> 0 === crc32c(bytes), `CRC32C of ${length} bytes, in place and copied`);
    const half = length >> 1;
    check(crc32c(bytes.subarray(half), crc32c(bytes.subarray(0, half))) === crc32c(bytes), `CRC32C of ${length} bytes in parts`);
    const calls = Math.max(1, Math.floor(SAMPLE_BYTES / Math.max(length, 64)));
    const rate = (call: () => unknown) => (): number => (length * calls) / timed(calls, call) / 1e6;
    const size = sizeName(length);
    return [
      { name: `crc32c(), ${size}`, unit: "GB/s" as const, sample: rate(() => crc32c(bytes)) },
      { name: `  in place, in the module`, unit: "GB/s" as const, sample: rate(inPlace) },
      { name: `  zlib.crc32 (another polynomial)`, unit: "GB/s" as const, sample: zlibCrc32 && rate(() => zlibCrc32(bytes)) },
    ];
  });
}

function rings(): Subject[] {
  return ENTRY_BYTES.flatMap((length) => {
    const all = createRings({ stripes: 1 });
    const stripe = all.claim();
    const value = bytesOf(length);
    for (let i = 0; i < 3; i++) stripe.push(value);
    const drained = all.drain()!;
    const back = decodeEntries(drained.bytes, drained);
    check(back.length === 3 && back.every((e) => Buffer.compare(e.value, value) === 0), `${length} bytes through a ring`);
    const calls = Math.floor(SAMPLE_BYTES / length);
    const push = (): number => stripe.tryPush(value);
    return [
      {
        name: `ring push, ${sizeName(length)}`,
        unit: "ns" as const,
        sample: () => {
          const ms = timed(calls, push);
          all.drain();
          return (ms * 1e6) / calls;
        },
      },
      {
        name: `ring push + drain, ${sizeName(length)}`,
        unit: "ns" as const,
        sample: () => ((timed(calls, push) + timed(1, () => all.drain())) * 1e6) / calls,
      },
    ];
  });
}

function entries(): Subject[] {
  return ENTRY_BYTES.flatMap((length) => {
    const value = bytesOf(length);
    const inputs = Array.from({ length: Math.floor(SAMPLE_BYTES / length) }, () => value);
    const place = { firstLsn: 1, term: 1 };
    const into = new Uint8Array(encodeEntries(inputs, place).length);
    const back = decodeEntries(encodeEntries(inputs, place, into), place);
    check(back.length === inputs.length && back.every((e) => Buffer.compare(e.value, value) === 0), `${length} bytes encoded and decoded`);
    const core = windowCore(into.length);
    core.bytes.set(into, WINDOW);
    const seed = entrySeed(core, new Uint8Array(16), place.term);
    const rate = (call: () => unknown) => (): number => (length * inputs.length) / timed(1, call) / 1e3;
    const size = sizeName(length);
    return [
      { name: `entry encode, ${size}`, unit: "MB/s" as const, sample: rate(() => encodeEntries(inputs, place, into)) },
      {
        name: `entry verify, ${size}`,
        unit: "MB/s" as const,
        sample: rate(() => verifyEntries(core, WINDOW, WINDOW + into.length, seed, 1)),
      },
      { name: `entry verify + decode, ${size}`, unit: "MB/s" as const, sample: rate(() => decodeEntries(into, place)) },
    ];
  });
}

function sizeName(bytes: number): string {
  if (bytes >= 1 << 20) return `${bytes >> 20} MiB`;
  return bytes >= 1024 ? `${bytes >> 10} KiB` : `${bytes} B`;
}

/** Checks, warms up and times everything, in about `ms` milliseconds. */
export function coreRound(ms: number): CoreRound {
  const subjects = [...checksums(), ...rings(), ...entries()];
  const share = ms / subjects.length / 2;
  const run = (sample: () => number): number => {
    const samples: number[] = [];
    const start = performance.now();
    while (samples.length < SAMPLES_MIN || performance.now() - start < share) samples.push(sample());
    return median(samples);
  };
  // All of it once, so that what is compiled while it runs is compiled when it counts.
  for (const { sample } of subjects) if (sample !== undefined) run(sample);
  return { runtime: runtimeName(), figures: subjects.map(({ name, unit, sample }) => ({ name, unit, value: sample && run(sample) })) };
}
