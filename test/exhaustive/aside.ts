// What other processes find on a disk that is a copy: they disturb nobody, and nothing goes wrong there.

import { createHash } from "node:crypto";
import { codeOf } from "../../src/errors.js";
import { openLogWith, type Environment } from "../../src/log.js";
import type { LogOptions } from "../../src/options.js";
import type { Entry, Log } from "../../src/types.js";
import { Random } from "../support/random.js";
import type { SimulatedDisk } from "../support/simulated-disk.js";

/** Where logs are restored to. */
export const OUT = "/disk/out";
/** Later than everything. */
const NOW_MS = 1_800_000_000_000;

// That a checkpoint that cannot be read is passed over is told to everybody, and here thousands of times.
const emitWarning: (...all: never[]) => void = process.emitWarning.bind(process);
process.emitWarning = (...all: unknown[]) => {
  if ((all[1] as { code?: string } | undefined)?.code !== "COREWAL_CHECKPOINT") emitWarning(...(all as never[]));
};

/** The machine with this disk, for the process that the copy was made for. */
export function aside(disk: SimulatedDisk, changes: Partial<Environment> = {}): Environment {
  const random = new Random(disk.operations);
  return {
    storage: disk,
    lock: () => ({ release: () => undefined }),
    now: () => NOW_MS,
    randomBytes: (n) => random.fill(new Uint8Array(n)),
    manual: true,
    live: false,
    ...changes,
  };
}

export const copyOf = (disk: SimulatedDisk): SimulatedDisk => disk.copy(new Random(1));

/** Opens without writing, and gives what `look` finds; undefined if there is no log. `live`: somebody has it open. */
export async function lookAt<T>(
  disk: SimulatedDisk,
  directory: string,
  options: LogOptions,
  look: (log: Log) => Promise<T>,
  live = false,
): Promise<T | undefined> {
  let log: Log;
  try {
    log = await openLogWith(directory, { ...options, readOnly: true }, aside(disk, { live }));
  } catch (error) {
    if (codeOf(error) !== "COREWAL_NOT_A_LOG") throw error;
    return undefined;
  }
  try {
    return await look(log);
  } finally {
    await log.close();
  }
}

/** All of an entry but what epoch entries say, which take no LSN. */
export function namesOf(entries: Entry[]): string[] {
  return entries
    .filter(({ kind }) => kind !== "epoch")
    .map(({ core, lsn, kind, term, epoch, timestampMs, key, value }) => {
      const bytes = createHash("sha1")
        .update(key ?? "")
        .update(value)
        .digest("base64");
      return `${core}:${lsn} ${kind}, term ${term}, epoch ${epoch}, ${timestampMs}, ${bytes}`;
    });
}
