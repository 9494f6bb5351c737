// Memory, descriptors and threads of a process that has come to rest, and whether a series of them is flat.

import { readdirSync, readlinkSync } from "node:fs";
import type { LogStats } from "../../src/types.js";

/** What one process holds while nothing goes on in it. */
export interface Sample {
  rssBytes: number;
  heapBytes: number;
  /** Array buffers and what else lies outside of the heap. */
  externalBytes: number;
  /** Of anything but segments, and the reports of threads, which some runtimes leave open when a thread is terminated. */
  descriptors: number;
  segmentFiles: number;
  threads: number;
  /** Stripes of the log that are in use. */
  stripes: number;
  /** Segments of the log: each costs some memory for as long as the log is open. */
  segments: number;
}

/** What must be the same at each rest. */
const COUNTED = ["descriptors", "segmentFiles", "threads", "stripes"] as const;
/** The flusher and its guest each have the last segment open, or not yet again. */
const SEGMENT_FILES_MAX = 2;

interface Collector {
  gc?: () => void;
  Bun?: { gc(force: boolean): void };
}

/** Arguments that make a runtime offer its garbage collector. */
export const collectorArgs = (runtime: string): string[] =>
  runtime === "deno" ? ["--v8-flags=--expose-gc"] : runtime === "bun" ? [] : ["--expose-gc"];

function collect(): void {
  const { gc, Bun } = globalThis as Collector;
  if (Bun !== undefined) Bun.gc(true);
  else gc!();
}

function fileBehind(fd: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    // That of the listing itself.
    return "";
  }
}

const REST_MS = 1000;
const LOOK_MS = 20;

/**
 * Measures when everything that was begun has ended. Descriptors and threads go a moment after those who held them:
 * it waits until there are no more of them than before, but not for ever.
 */
export async function measure(before: Sample | undefined, stats: () => Pick<LogStats, "stripes" | "segment">): Promise<Sample> {
  const count = (): Pick<Sample, (typeof COUNTED)[number]> => {
    const files = readdirSync("/proc/self/fd")
      .map(fileBehind)
      .filter((file) => !/\/report\d+$/.test(file));
    const segmentFiles = files.filter((file) => file.includes(".wal")).length;
    return {
      descriptors: files.length - segmentFiles,
      segmentFiles,
      threads: readdirSync("/proc/self/task").length,
      stripes: stats().stripes.used,
    };
  };
  let counts = count();
  // The first time nothing says how few there will be.
  for (let waited = 0; waited < REST_MS; waited += LOOK_MS) {
    if (before !== undefined && COUNTED.every((what) => counts[what] <= before[what])) break;
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    const now = count();
    for (const what of COUNTED) counts = { ...counts, [what]: Math.min(counts[what], now[what]) };
  }
  collect();
  await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  collect();
  const { rss, heapUsed, external } = process.memoryUsage();
  return { rssBytes: rss, heapBytes: heapUsed, externalBytes: external, segments: stats().segment.number, ...counts };
}

const MIB = 2 ** 20;
/** Samples that a series must have to be judged: a warm-up, then thirds of two at least. */
export const SAMPLES_MIN = 10;
/** How much the median of the last third may lie above that of the first. */
const GROWTH_MAX: Record<"rssBytes" | "heapBytes" | "externalBytes", (first: number, segments: number) => number> = {
  // The system's allocator keeps what it has: a tenth of the resident size comes and goes.
  rssBytes: (first, segments) => 24 * MIB + first / 5 + segments * 4096,
  heapBytes: (_, segments) => 2 * MIB + segments * 4096,
  externalBytes: (_, segments) => 2 * MIB + segments * 1024,
};

const median = (values: number[]): number => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;

export interface Verdict {
  what: string;
  /** In the first and the last third: medians, of what is counted in the first third the most. */
  first: number;
  last: number;
  flat: boolean;
}

/** Compares the last third of the samples with the first one, after a warm-up of a quarter. */
export function judgeFlat(samples: Sample[]): Verdict[] {
  if (samples.length < SAMPLES_MIN) throw new Error(`${samples.length} samples are too few to judge: ${SAMPLES_MIN} are needed`);
  const warm = samples.slice(Math.ceil(samples.length / 4));
  const third = Math.floor(warm.length / 3);
  const [start, end] = [warm.slice(0, third), warm.slice(-third)];
  const segments = end.at(-1)!.segments - start[0]!.segments;
  const counted = COUNTED.map((what) => {
    const first = Math.max(...start.map((s) => s[what]));
    const last = median(end.map((s) => s[what]));
    return { what, first, last, flat: last <= (what === "segmentFiles" ? Math.max(first, SEGMENT_FILES_MAX) : first) };
  });
  const sized = (["rssBytes", "heapBytes", "externalBytes"] as const).map((what) => {
    const [first, last] = [start, end].map((part) => median(part.map((s) => s[what]))) as [number, number];
    return { what, first, last, flat: last - first <= GROWTH_MAX[what](first, segments) };
  });
  return [...counted, ...sized];
}
