// The demo's table: what each durability costs on this disk, with the demo's own records.

import { closeSync, fdatasyncSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { openLog } from "../index.js";
import type { Durability, Log } from "../types.js";
import type { Records } from "./demo-records.js";
import { size, thousands } from "./format.js";
import { keepInFlight } from "./in-flight.js";

const ROUND_MS = 600;
/** A round ends early at this many bytes: fast machines need not fill the disk to be measured. */
const ROUND_BYTES_MAX = 256 * 1024 * 1024;

interface Round {
  durability: Durability;
  inFlight: number;
  run(log: Log, next: () => Uint8Array | undefined): Promise<void>;
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

const row = (cells: string[]): string =>
  `  ${cells[0]!.padEnd(24)}${cells[1]!.padStart(9)}${cells[2]!.padStart(13)}${cells[3]!.padStart(12)}${cells[4]!.padStart(17)}`;

/** Measures one round after the other in fresh logs below `dir`; prints each row when it is known. */
export async function showSpeed(dir: string, records: Records, say: (line: string, heading?: boolean) => void): Promise<void> {
  say(row(["durability", "in flight", "entries/s", "", "entries/fsync"]), true);
  const plain = plainFile(dir, records);
  say(row(["write + fdatasync (*)", "1", thousands(plain.entries / plain.seconds), `${size(plain.bytes / plain.seconds)}/s`, "1"]));
  for (const round of ROUNDS) {
    const { entries, bytes, seconds, fsyncs } = await measure(dir, records, round);
    const shared = entries / Math.max(1, fsyncs);
    say(
      row([
        round.durability,
        thousands(round.inFlight),
        thousands(entries / seconds),
        `${size(bytes / seconds)}/s`,
        shared < 10 ? shared.toFixed(1) : thousands(shared),
      ]),
    );
  }
}

/** Gives records, again from the first after the last, until the round's time or bytes are used up. */
function supply(records: Records) {
  const used = { entries: 0, bytes: 0 };
  const end = performance.now() + ROUND_MS;
  const next = (): Uint8Array | undefined => {
    if (performance.now() >= end || used.bytes >= ROUND_BYTES_MAX) return undefined;
    const value = records.at(used.entries % records.count);
    used.entries++;
    used.bytes += value.length;
    return value;
  };
  return { used, next };
}

async function measure(dir: string, records: Records, round: Round) {
  const place = mkdtempSync(join(dir, "speed-"));
  const log = await openLog(place, { durability: round.durability });
  try {
    log.appendSync(records.at(0)); // the first append makes the segment: not what is measured here
    const fsyncsBefore = log.stats().fsyncs;
    const { used, next } = supply(records);
    const begin = performance.now();
    await round.run(log, next);
    await log.sync(); // the clock stops when everything is durable, in every row
    return { ...used, seconds: (performance.now() - begin) / 1000, fsyncs: log.stats().fsyncs - fsyncsBefore };
  } finally {
    await log.close();
    rmSync(place, { recursive: true, force: true });
  }
}

/** What a program without a log would do: no group commit, no checksums, no recovery. */
function plainFile(dir: string, records: Records) {
  const file = join(dir, "plain");
  const fd = openSync(file, "wx");
  const { used, next } = supply(records);
  const begin = performance.now();
  for (let value = next(); value !== undefined; value = next()) {
    writeSync(fd, value);
    fdatasyncSync(fd);
  }
  const seconds = (performance.now() - begin) / 1000;
  closeSync(fd);
  rmSync(file);
  return { ...used, seconds };
}
