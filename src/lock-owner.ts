// Who holds a lock, and does he still live? Only who can see him may call him dead.
//
// Two ways to see: the process table, if owner and observer are in the same boot and pid namespace of the same host;
// and, among processes that run on Deno, flock(2) on the lock file, which the kernel lets go with its process. Deno
// shows no process table to a program that may only read and write the log's directory, and needs none then.

import { readFileSync, readlinkSync } from "node:fs";
import { hostname } from "node:os";
import { codeOf } from "./errors.js";
import { deno, may, type DenoFile } from "./runtime.js";

export interface LockOwner {
  pid: number;
  /** Empty where the owner may not know it; so are the next three. */
  host: string;
  /** Boot of the machine and namespace of the pid: without both, a pid says nothing. */
  boot: string;
  pidNamespace: string;
  /** Start of the process, in the system's own words: a pid is used again. Empty on systems without /proc. */
  started: string;
  since: string;
  /** He holds flock(2) on the lock file as long as he lives. */
  flock?: boolean;
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

/** Empty instead of an error: what may not be seen, or is not there. */
function seen(look: () => string): string {
  try {
    return look().trim();
  } catch {
    return "";
  }
}

/** Of a file or link below /proc. */
const proc = (path: string, look: (path: string) => string): string => (may({ name: "read", path }) ? seen(() => look(path)) : "");
const text = (path: string): string => readFileSync(path, "utf8");

/** Other systems have one boot and one namespace as far as a process can tell: pids decide alone. */
const onLinux = (path: string, look: (path: string) => string): string =>
  process.platform === "linux" ? proc(path, look) : process.platform;

/** Fields of /proc/PID/stat from the third on; the name in field 2 may hold spaces and parentheses. */
function statFields(pid: number | "self"): string[] {
  const stat = proc(`/proc/${pid}/stat`, text);
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
}

/** When the process started, in ticks since boot; empty where that cannot be seen. */
const startOf = (pid: number | "self"): string => statFields(pid)[19] ?? "";

/** This process, as others will know it. */
export function self(): LockOwner {
  return {
    pid: process.pid,
    host: may({ name: "sys", kind: "hostname" }) ? seen(hostname) : "",
    boot: onLinux("/proc/sys/kernel/random/boot_id", text),
    pidNamespace: onLinux("/proc/self/ns/pid", readlinkSync),
    started: startOf("self"),
    since: new Date().toISOString(),
  };
}

function isAlive(pid: number): boolean | undefined {
  if (!may({ name: "run" })) return undefined;
  try {
    process.kill(pid, 0);
    // A killed process that nobody has waited for still answers.
    return !/^[ZX]/.test(statFields(pid)[0] ?? "");
  } catch (error) {
    return codeOf(error) !== "ESRCH";
  }
}

/** How the world looks from here; tests make it up. */
export interface View {
  me: LockOwner;
  /** undefined if it may not look. */
  alive: (pid: number) => boolean | undefined;
  started: (pid: number) => string;
  /** Is flock on the lock file free? undefined if this runtime cannot tell. */
  unlocked: () => boolean | undefined;
}

export const viewOf = (file: string): View => ({ me: self(), alive: isAlive, started: startOf, unlocked: () => flockFree(file) });

/** Does the owner still live? */
export function livenessOf(owner: LockOwner, { me, alive, started, unlocked }: View): Liveness {
  if (owner.host !== "" && me.host !== "") {
    if (owner.host !== me.host) return "unknown";
    const known = owner.boot !== "" && me.boot !== "" && owner.pidNamespace !== "" && me.pidNamespace !== "";
    // The same machine, booted again since: whatever ran then is gone.
    if (known && owner.boot !== me.boot) return "dead";
    const lives = known && owner.pidNamespace === me.pidNamespace ? alive(owner.pid) : undefined;
    if (lives !== undefined) {
      if (!lives) return "dead";
      const now = started(owner.pid);
      return now !== "" && owner.started !== "" && now !== owner.started ? "dead" : "held";
    }
  }
  const free = owner.flock === true ? unlocked() : undefined;
  return free === undefined ? "unknown" : free ? "dead" : "held";
}

/** Makes a lock file that nobody else knows yet and takes flock on it; undefined if this runtime or file system has none. */
export function takeFlock(file: string): DenoFile | undefined {
  const handle = deno?.openSync(file, { write: true, create: true });
  try {
    if (handle?.tryLockSync(true) === true) return handle;
  } catch {
    // A file system without locks: the process table has to do.
  }
  handle?.close();
  return undefined;
}

/** Nobody holds flock on this file; asks with a shared lock, so that two who ask do not see each other. */
function flockFree(file: string): boolean | undefined {
  if (deno === undefined) return undefined;
  const handle = deno.openSync(file, { read: true });
  try {
    return handle.tryLockSync(false);
  } catch {
    return undefined;
  } finally {
    handle.close();
  }
}
