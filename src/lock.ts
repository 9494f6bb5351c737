// One writing process. The lock is a series of files corewal.lock.N, each made whole and never changed
// but for its first byte; the highest number counts.
//
//   held by a living process   → refuse
//   released, or owner is dead → whoever makes N + 1 first has it: link() succeeds for exactly one
//
// Numbers only grow and the highest file is never removed, so a slow contender that still believes in
// an old number finds a higher one when it looks again after making its file, and gives up. Lower files
// are removed by the winner. node:fs has no flock, and deleting a stale lock file would let two win.

import { closeSync, existsSync, fdatasyncSync, linkSync, openSync, readdirSync, readFileSync, unlinkSync, writeSync } from "node:fs";
import { randomBytes } from "node:crypto";
import { codeOf, CorewalError, fromSystem } from "./errors.js";
import { livenessOf, self, takeFlock, viewOf, type Liveness, type LockOwner } from "./lock-owner.js";
import { deno } from "./runtime.js";

export interface LockState {
  number: number;
  liveness: Liveness;
  owner: LockOwner | undefined;
  file: string;
}

const NAME = /^corewal\.lock\.(\d{10})$/;
const lockName = (n: number): string => `corewal.lock.${String(n).padStart(10, "0")}`;
/** A name has no room for more; nobody opens a log so often. */
const NUMBER_MAX = 9_999_999_999;
const HELD = "H";
const RELEASED = "R";

function numbersIn(directory: string): number[] {
  return readdirSync(directory)
    .map((name) => NAME.exec(name)?.[1])
    .filter((n) => n !== undefined)
    .map(Number)
    .sort((a, b) => b - a);
}

/** Files appear whole: what cannot be read is damage, or not ours. */
export function parseLock(text: string): { released: boolean; owner: LockOwner } | undefined {
  try {
    const owner: unknown = JSON.parse(text.slice(1));
    return isOwner(owner) ? { released: text[0] === RELEASED, owner } : undefined;
  } catch {
    return undefined;
  }
}

const PID_MAX = 2 ** 31 - 1;

/** A pid that is none would ask the system for other processes than one. */
function isOwner(value: unknown): value is LockOwner {
  const o = value as Partial<Record<keyof LockOwner, unknown>> | null;
  const texts = [o?.host, o?.boot, o?.pidNamespace, o?.started, o?.since];
  return (
    Number.isInteger(o?.pid) && (o!.pid as number) > 0 && (o!.pid as number) <= PID_MAX && texts.every((text) => typeof text === "string")
  );
}

/** Who holds the lock of this directory. Changes nothing. */
export function inspectLock(directory: string): LockState {
  for (;;) {
    const [number] = numbersIn(directory);
    if (number === undefined) return { number: 0, liveness: "free", owner: undefined, file: `${directory}/${lockName(1)}` };
    const file = `${directory}/${lockName(number)}`;
    try {
      const lock = parseLock(readFileSync(file, "utf8"));
      if (lock === undefined) return { number, liveness: "unknown", owner: undefined, file };
      if (lock.released) return { number, liveness: "free", owner: undefined, file };
      return { number, liveness: livenessOf(lock.owner, viewOf(file)), owner: lock.owner, file };
    } catch (error) {
      if (codeOf(error) !== "ENOENT") throw error;
      // A newer one has taken its place.
    }
  }
}

function refuse(state: LockState): CorewalError {
  const { owner, file } = state;
  const who =
    owner === undefined
      ? "an unreadable lock file"
      : `process ${owner.pid} on ${owner.host || "a host it may not name"}, since ${owner.since}`;
  const what =
    state.liveness === "held"
      ? "close it there first, or open with { readOnly: true }"
      : `whether it still runs cannot be seen from here${deno === undefined ? "" : " (Deno shows other processes with --allow-all only)"}; when you are sure that it does not, remove ${file} and try again`;
  return new CorewalError("COREWAL_LOCKED", `the log is open for writing elsewhere: ${who}; ${what}`, { file });
}

/** Takes the lock or throws COREWAL_LOCKED. Of several simultaneous calls exactly one returns. */
export function takeLock(directory: string): { release(): void } {
  try {
    for (let attempt = 0; ; attempt++) {
      const before = inspectLock(directory);
      if (before.liveness === "held" || before.liveness === "unknown") throw refuse(before);
      if (before.number >= NUMBER_MAX)
        throw new CorewalError(
          "COREWAL_LOCKED",
          `the lock's numbers are used up: when you are sure that no process has the log open, remove ${before.file} and try again`,
          { file: before.file },
        );
      const number = before.number + 1;
      const file = `${directory}/${lockName(number)}`;
      const draft = `${directory}/corewal.lock.${randomBytes(8).toString("hex")}.tmp`;
      const flock = takeFlock(draft);
      try {
        writeDurably(draft, HELD + JSON.stringify({ ...self(), flock: flock !== undefined } satisfies LockOwner));
        linkSync(draft, file);
      } catch (error) {
        flock?.close();
        if (codeOf(error) === "EEXIST" && attempt < 100) continue;
        throw error;
      } finally {
        removeQuietly(draft);
      }
      if (wasOvertaken(directory, before.number, number)) {
        flock?.close();
        unlinkSync(file);
        continue;
      }
      // Lowest first: as long as N + 1 can be missing, N is missing too, which wasOvertaken relies on.
      for (const n of numbersIn(directory).reverse()) if (n < number) removeQuietly(`${directory}/${lockName(n)}`);
      return {
        release() {
          release(file);
          flock?.close();
        },
      };
    }
  } catch (error) {
    throw fromSystem(error, "taking the lock", directory);
  }
}

/** Its name can survive a power cut that its bytes do not; an empty lock file would keep everybody out. */
function writeDurably(file: string, text: string): void {
  const fd = openSync(file, "w");
  try {
    const bytes = Buffer.from(text);
    if (writeSync(fd, bytes, 0, bytes.length, 0) !== bytes.length) throw new Error(`wrote only a part of ${file}`);
    fdatasyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** Has somebody come and gone with our number, or a higher one, since we looked? Then ours came too late. */
function wasOvertaken(directory: string, predecessor: number, number: number): boolean {
  if (predecessor > 0 && !existsSync(`${directory}/${lockName(predecessor)}`)) return true;
  // Reading a directory is not atomic: two that agree saw nothing replaced in between.
  let seen = numbersIn(directory);
  for (;;) {
    const again = numbersIn(directory);
    if (again.join() === seen.join()) return again[0] !== number;
    seen = again;
  }
}

function removeQuietly(file: string): void {
  try {
    unlinkSync(file);
  } catch {
    // Another one was faster, or it was never made; neither drafts nor lower numbers count.
  }
}

function release(file: string): void {
  try {
    const fd = openSync(file, "r+");
    try {
      writeSync(fd, RELEASED, 0);
    } finally {
      closeSync(fd);
    }
  } catch {
    // The directory is gone, or read-only by now: the lock dies with this process.
  }
}
