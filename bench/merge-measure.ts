// How fast the chains of a per-core log are merged: chains are written straight to files, then read in processes of
// their own, so that each one's memory is its own.

import { spawnSync } from "node:child_process";
import { ChainReader } from "../src/read.js";
import { MergedReader } from "../src/merge.js";
import { nodeStorage } from "../src/storage/node.js";
import type { Entry } from "../src/types.js";
import { ChainWriter, putBytes, type Written } from "../test/support/merge-chains.js";
import { inDirectory, machine, median, type Machine } from "./rounds.js";

const KEY_BYTES = 8;
const VALUE_BYTES = 100;
const KIB = 1024;

export interface MergeOptions {
  entries: number;
  /** Readings of each; the median counts. */
  rounds: number;
  /** Where the files go; a temporary directory by default. */
  directory?: string | undefined;
  /** bench/merge-read.ts, built. */
  script: string;
  onProgress?: ((done: number, total: number, what: string) => void) | undefined;
}

/** What is written and how it is read. */
interface Subject {
  name: string;
  chains: number;
  frameBytes: number;
  /** So many entries of one chain follow each other in time before the next chain's turn. */
  run: number;
}

/** What a reading process is told, and what it says. */
export interface ReadTask {
  directory: string;
  lastLsns: number[];
}
export interface ReadResult {
  /** The first reading of the process, during which the engine compiles, and the second. */
  coldMs: number;
  ms: number;
  maxRssBytes: number;
}

export interface MergeFigure extends Subject {
  entriesPerSecond: number;
  fastest: number;
  /** In a process that has read nothing yet. */
  cold: number;
  megabytesPerSecond: number;
  /** The largest of all rounds. */
  maxRssBytes: number;
}

export interface MergeReport {
  machine: Machine;
  entries: number;
  figures: MergeFigure[];
}

const SUBJECTS: Subject[] = [
  { name: "one chain, 64 KiB frames", chains: 1, frameBytes: 64 * KIB, run: 1 },
  { name: "one chain, 1 MiB frames", chains: 1, frameBytes: 1024 * KIB, run: 1 },
  { name: "2 chains, taking turns, 64 KiB frames", chains: 2, frameBytes: 64 * KIB, run: 1 },
  { name: "2 chains, taking turns, 1 MiB frames", chains: 2, frameBytes: 1024 * KIB, run: 1 },
  { name: "2 chains, runs of 100, 64 KiB frames", chains: 2, frameBytes: 64 * KIB, run: 100 },
  { name: "16 chains, taking turns, 64 KiB frames", chains: 16, frameBytes: 64 * KIB, run: 1 },
];

export function benchMerge({ entries, rounds, directory, script, onProgress }: MergeOptions): Promise<MergeReport> {
  return inDirectory(directory, async (place) => {
    const figures: MergeFigure[] = [];
    for (const [i, subject] of SUBJECTS.entries()) {
      onProgress?.(i, SUBJECTS.length, subject.name);
      const task: ReadTask = { directory: `${place}/${i}`, lastLsns: write(`${place}/${i}`, entries, subject) };
      const results = Array.from({ length: rounds }, () => readElsewhere(script, task));
      const rates = results.map(({ ms }) => (entries / ms) * 1000);
      const cold = results.map(({ coldMs }) => (entries / coldMs) * 1000);
      figures.push({
        ...subject,
        entriesPerSecond: median(rates),
        fastest: Math.max(...rates),
        cold: median(cold),
        megabytesPerSecond: (median(rates) * putBytes(KEY_BYTES, VALUE_BYTES)) / 1e6,
        maxRssBytes: Math.max(...results.map((r) => r.maxRssBytes)),
      });
      for (const name of nodeStorage.list(task.directory)) nodeStorage.remove(`${task.directory}/${name}`);
    }
    return { machine: machine(), entries, figures };
  });
}

/** Writes chains that hold so many entries in all; their last LSNs. */
function write(directory: string, entries: number, { chains, frameBytes, run }: Subject): number[] {
  nodeStorage.makeDirectory(directory);
  const perFrame = Math.floor(frameBytes / putBytes(KEY_BYTES, VALUE_BYTES));
  const key = new Uint8Array(KEY_BYTES).fill(1);
  const value = new Uint8Array(VALUE_BYTES).fill(2);
  return Array.from({ length: chains }, (_, chain) => {
    const options = { segmentBytes: 2 ** 26, windowBytes: 2 * frameBytes };
    const writer = new ChainWriter(nodeStorage, directory, chain, options);
    let frame: Written[] = [];
    let inSegment = 0;
    for (let i = 0; i < entries; i++) {
      if (Math.floor(i / run) % chains !== chain) continue;
      frame.push({ kind: "put", timeNs: 1_700_000_000_000_000_000n + BigInt(i) * 1000n, key, value });
      if (frame.length < perFrame && i + chains * run < entries) continue;
      if (inSegment + frameBytes > options.segmentBytes) {
        writer.rotate();
        inSegment = 0;
      }
      inSegment += frameBytes;
      writer.frame(0, frame);
      frame = [];
    }
    if (frame.length > 0) writer.frame(0, frame);
    writer.close();
    return writer.lastLsn;
  });
}

function readElsewhere(script: string, task: ReadTask): ReadResult {
  const { status, stdout, stderr } = spawnSync(process.execPath, [script, JSON.stringify(task)], { encoding: "utf8" });
  if (status !== 0) throw new Error(`the reading process ended with ${status}: ${stderr}`);
  return JSON.parse(stdout) as ReadResult;
}

/** Reads everything twice, in this process. */
export async function readTwice(task: ReadTask): Promise<ReadResult> {
  const coldMs = await read(task);
  const ms = await read(task);
  return { coldMs, ms, maxRssBytes: process.resourceUsage().maxRSS * 1024 };
}

async function read({ directory, lastLsns }: ReadTask): Promise<number> {
  const check = (): void => {};
  const growth = { ended: () => true, watch: () => ({ more: Promise.resolve(), cancel: check }) };
  const readers = lastLsns.map(
    (lastLsn, chain) => new ChainReader(nodeStorage, directory, chain, [], () => lastLsn, true, check, growth, true),
  );
  const batches = readers.length === 1 ? readers[0]!.batches() : new MergedReader(readers, check).batches();
  let count = 0;
  let bytes = 0;
  let last: Entry | undefined;
  const before = performance.now();
  for await (const batch of batches) {
    for (const entry of batch) {
      if (last !== undefined && entry.timestampMs < last.timestampMs)
        throw new Error(`LSN ${entry.lsn} of core ${entry.core} is out of order`);
      last = entry;
      bytes += entry.value.length;
    }
    count += batch.length;
  }
  const ms = performance.now() - before;
  const expected = lastLsns.reduce((sum, lsn) => sum + lsn, 0);
  if (count !== expected || bytes !== count * VALUE_BYTES) throw new Error(`${count} entries were read, ${expected} were written`);
  return ms;
}
