// One writing process. The lock is a series of files corewal.lock.N, each made whole and never changed
// but for its first byte; the highest number counts.
//
//   held by a living process   → refuse
//   released, or owner is dead → whoever makes N + 1 first has it: link() succeeds for exactly one
//
// Numbers only grow and the highest file is never removed, so a slow contender that still believes in
// an old number finds a higher one when it looks again after making its file, and gives up. Lower files
// are removed by the winner. node:fs has no flock, and deleting a stale lock file would let two win.

import {
  closeSync,
  existsSync,
  linkSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { randomBytes } from "node:crypto";
import { hostname } from "node:os";
import { codeOf, CorewalError, fromSystem } from "./errors.js";

export interface LockOwner {
  pid: number;
  host: string;
  /** Boot of the machine and namespace of the pid: without both, a pid says nothing. */
  boot: string;
  pidNamespace: string;
  /** Start of the process, in the system's own words: a pid is used again. */
  started: string;
  since: string;
}

/**
 * What is known of the owner of a lock: `free`, nobody holds it; `held` by a living process; `dead`, its owner ended
 * without closing the log, which keeps nobody out; `unknown`: another machine or pid namespace, whose processes cannot be
 * seen from here, or a lock file that cannot be read.
 *
 * @example
 * const liveness: Liveness = (await statLog("./data")).lock.liveness;
 * if (liveness === "dead") console.log("the last writer was killed: opening will recover");
 */
export type Liveness = "free" | "held" | "dead" | "unknown";

export interface LockState {
  number: number;
  liveness: Liveness;
  owner: LockOwner | undefined;
  file: string;
}

const NAME = /^corewal\.lock\.(\d{10})$/;
const lockName = (n: number): string => `corewal.lock.${String(n).padStart(10, "0")}`;
const HELD = "H";
const RELEASED = "R";

function readOr(path: string, fallback: string): string {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return fallback;
  }
}

/** Fields of /proc/PID/stat from the third on; the name in field 2 may hold spaces and parentheses. */
function statFields(pid: number | "self"): string[] {
  const stat = readOr(`/proc/${pid}/stat`, "");
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
}

/** When the process started, in ticks since boot; empty where that cannot be seen. */
const startOf = (pid: number | "self"): string => statFields(pid)[19] ?? "";

function pidNamespace(): string {
  try {
    return readlinkSync("/proc/self/ns/pid");
  } catch {
    return "";
  }
}

function self(): LockOwner {
  return {
    pid: process.pid,
    host: hostname(),
    boot: readOr("/proc/sys/kernel/random/boot_id", ""),
    pidNamespace: pidNamespace(),
    started: startOf("self"),
    since: new Date().toISOString(),
  };
}

/** Does the owner still live? Only a process that could see it may call it dead. */
export function livenessOf(owner: LockOwner, me: LockOwner, alive: (pid: number) => boolean, started: (pid: number) => string): Liveness {
  if (owner.host !== me.host) return "unknown";
  // The same machine, booted again since: whatever ran then is gone.
  if (owner.boot !== me.boot) return "dead";
  if (owner.pidNamespace !== me.pidNamespace) return "unknown";
  if (!alive(owner.pid)) return "dead";
  const now = started(owner.pid);
  return now !== "" && owner.started !== "" && now !== owner.started ? "dead" : "held";
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    // A killed process that nobody has waited for still answers.
    return !/^[ZX]/.test(statFields(pid)[0] ?? "");
  } catch (error) {
    return codeOf(error) !== "ESRCH";
  }
}

function numbersIn(directory: string): number[] {
  return readdirSync(directory)
    .map((name) => NAME.exec(name)?.[1])
    .filter((n) => n !== undefined)
    .map(Number)
    .sort((a, b) => b - a);
}

/** Who holds the lock of this directory. Changes nothing. */
export function inspectLock(directory: string): LockState {
  for (;;) {
    const [number] = numbersIn(directory);
    if (number === undefined) return { number: 0, liveness: "free", owner: undefined, file: `${directory}/${lockName(1)}` };
    const file = `${directory}/${lockName(number)}`;
    let text: string;
    try {
      text = readFileSync(file, "utf8");
    } catch (error) {
      if (codeOf(error) === "ENOENT") continue; // a newer one has taken its place
      throw error;
    }
    let owner: LockOwner | undefined;
    try {
      owner = JSON.parse(text.slice(1)) as LockOwner;
    } catch {
      // Files appear whole: this is damage, or not ours.
      return { number, liveness: "unknown", owner: undefined, file };
    }
    if (text[0] === RELEASED) return { number, liveness: "free", owner: undefined, file };
    return { number, liveness: livenessOf(owner, self(), isAlive, startOf), owner, file };
  }
}

function refuse(state: LockState): CorewalError {
  const { owner, file } = state;
  const who = owner === undefined ? "an unreadable lock file" : `process ${owner.pid} on ${owner.host}, since ${owner.since}`;
  const what =
    state.liveness === "held"
      ? "close it there first, or open with { readOnly: true }"
      : `whether it still runs cannot be seen from here; when you are sure that it does not, remove ${file} and try again`;
  return new CorewalError("COREWAL_LOCKED", `the log is open for writing elsewhere: ${who}; ${what}`, { file });
}

/** Takes the lock or throws COREWAL_LOCKED. Of several simultaneous calls exactly one returns. */
export function takeLock(directory: string): { release(): void } {
  try {
    for (let attempt = 0; ; attempt++) {
      const before = inspectLock(directory);
      if (before.liveness === "held" || before.liveness === "unknown") throw refuse(before);
      const number = before.number + 1;
      const file = `${directory}/${lockName(number)}`;
      const draft = `${directory}/corewal.lock.${randomBytes(8).toString("hex")}.tmp`;
      writeFileSync(draft, HELD + JSON.stringify(self()), { flag: "wx" });
      try {
        linkSync(draft, file);
      } catch (error) {
        if (codeOf(error) === "EEXIST" && attempt < 100) continue;
        throw error;
      } finally {
        unlinkSync(draft);
      }
      if (wasOvertaken(directory, before.number, number)) {
        unlinkSync(file);
        continue;
      }
      // Lowest first: as long as N + 1 can be missing, N is missing too, which wasOvertaken relies on.
      for (const n of numbersIn(directory).reverse()) if (n < number) removeQuietly(`${directory}/${lockName(n)}`);
      return { release: () => release(file) };
    }
  } catch (error) {
    throw fromSystem(error, "taking the lock", directory);
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
    // Another one was faster; lower numbers do not count anyway.
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
