// What each durability costs on this disk, for `demo` with its own records and for `bench`.

import { closeSync, fdatasyncSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { openLog } from "../index.js";
import type { Durability, Log } from "../types.js";
import { size, thousands } from "./format.js";
import { keepInFlight } from "./in-flight.js";

const ROUND_MS = 600;
/** A round ends early at this many bytes: fast machines need not fill the disk to be measured. */
const ROUND_BYTES_MAX = 256 * 1024 * 1024;

/** What is appended: numbered from 0 to `count` - 1, then from the beginning again. */
export interface Supply {
  readonly count: number;
  at(index: number): Uint8Array;
}

export interface Speed {
  name: string;
  inFlight: number;
  entries: number;
  bytes: number;
  seconds: number;
  fsyncs: number;
}

interface Round {
  durability: Durability;
  inFlight: number;
  run: (log: Log, next: () => Uint8Array | undefined) => Promise<void>;
}

const appends = (durability: Durability, inFlight: number): Round => ({
  durability,
  inFlight,
  run: (log, next) =>
    keepInFlight(inFlight, () => {
      const value = next();
      return value === undefined ? undefined : log.append(value);
    }),
});

const ROUNDS: Round[] = [
  {
    durability: "sync",
    inFlight: 1,
    async run(log, next) {
      for (let value = next(); value !== undefined; value = next()) log.appendSync(value);
    },
  },
  appends("group", 1),
  appends("group", 64),
  appends("group", 4096),
  appends("async", 4096),
];

export const SPEEDS = ROUNDS.length + 1;
export const SPEED_HEADS = ["durability", "in flight", "entries/s", "", "entries/fsync"];

/** Measures node:fs alone, then one durability after the other, each in a fresh log below `dir`. */
export async function* measureSpeeds(dir: string, supply: Supply): AsyncGenerator<Speed> {
  yield plainFile(dir, supply);
  for (const round of ROUNDS) yield await measure(dir, supply, round);
}

export function speedRow({ name, inFlight, entries, bytes, seconds, fsyncs }: Speed): string[] {
  const shared = entries / Math.max(1, fsyncs);
  return [
    name,
    thousands(inFlight),
    thousands(entries / seconds),
    `${size(bytes / seconds)}/s`,
    shared < 10 ? shared.toFixed(1) : thousands(shared),
  ];
}

/** Gives records until the round's time or bytes are used up. */
function supplied(supply: Supply) {
  const used = { entries: 0, bytes: 0 };
  const end = performance.now() + ROUND_MS;
  const next = (): Uint8Array | undefined => {
    if (performance.now() >= end || used.bytes >= ROUND_BYTES_MAX) return undefined;
    const value = supply.at(used.entries % supply.count);
    used.entries++;
    used.bytes += value.length;
    return value;
  };
  return { used, next };
}

async function measure(dir: string, supply: Supply, { durability, inFlight, run }: Round): Promise<Speed> {
  const place = mkdtempSync(join(dir, "speed-"));
  const log = await openLog(place, { durability });
  try {
    log.appendSync(supply.at(0)); // the first append makes the segment: not what is measured here
    const fsyncsBefore = log.stats().fsyncs;
    const { used, next } = supplied(supply);
    const begin = performance.now();
    await run(log, next);
    await log.sync(); // the clock stops when everything is durable, in every row
    const seconds = (performance.now() - begin) / 1000;
    return { name: durability, inFlight, ...used, seconds, fsyncs: log.stats().fsyncs - fsyncsBefore };
  } finally {
    await log.close();
    rmSync(place, { recursive: true, force: true });
  }
}

/** What a program without a log would do: no group commit, no checksums, no recovery. */
function plainFile(dir: string, supply: Supply): Speed {
  const file = join(dir, "plain");
  const fd = openSync(file, "wx");
  const { used, next } = supplied(supply);
  const begin = performance.now();
  for (let value = next(); value !== undefined; value = next()) {
    writeSync(fd, value);
    fdatasyncSync(fd);
  }
  const seconds = (performance.now() - begin) / 1000;
  closeSync(fd);
  rmSync(file);
  return { name: "write + fdatasync (*)", inFlight: 1, ...used, seconds, fsyncs: used.entries };
}
