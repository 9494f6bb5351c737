// Where runtimes and systems differ. Who runs us, whether he can, and what each does in his own way: the one place
// that knows their names. (Locks: lock-owner.ts. Files: storage/node.ts, the same calls for all.)

import { Worker } from "node:worker_threads";
import { CorewalError } from "./errors.js";

/** Parts of Deno that node: modules do not offer. */
export interface DenoGlobal {
  openSync(path: string, options: { read?: boolean; write?: boolean; create?: boolean }): DenoFile;
  permissions: { querySync(what: Permission): { state: string } };
}
/** What Deno may be asked for without asking its user. */
export type Permission = { name: "read"; path: string } | { name: "sys"; kind: "hostname" } | { name: "run" };
/** An open file of Deno's own. */
export interface DenoFile {
  /** flock(2) without waiting: false if another open file has it. */
  tryLockSync(exclusive: boolean): boolean;
  close(): void;
}

export type RuntimeName = "Node.js" | "Deno" | "Bun";

/** Oldest versions that may open a log: [major, minor]. Older ones lack what the tests need, or were never tested. */
export const OLDEST: Record<RuntimeName, readonly [number, number]> = { "Node.js": [20, 0], Deno: [2, 9], Bun: [1, 4] };

export interface Runtime {
  name: RuntimeName;
  version: string;
  platform: string;
}

const versions = process.versions as Record<string, string | undefined>;

export const runtime: Runtime =
  versions["bun"] !== undefined
    ? { name: "Bun", version: versions["bun"], platform: process.platform }
    : versions["deno"] !== undefined
      ? { name: "Deno", version: versions["deno"], platform: process.platform }
      : { name: "Node.js", version: process.versions.node, platform: process.platform };

export const deno: DenoGlobal | undefined = runtime.name === "Deno" ? (globalThis as unknown as { Deno: DenoGlobal }).Deno : undefined;

/** False where trying would make Deno ask its user, or throw. */
export const may = (what: Permission): boolean => deno === undefined || deno.permissions.querySync(what).state === "granted";

// --- can this runtime do it? --------------------------------------------------------------------------------------

/** Smallest modules that need one feature each: what a runtime validates it can run. */
const HEADER = [0, 97, 115, 109, 1, 0, 0, 0];
const FEATURES: Record<string, number[]> = {
  // (memory 1 1 shared)
  "WebAssembly threads": [...HEADER, 5, 4, 1, 3, 1, 1],
  // (func (drop (i8x16.splat (i32.const 0))))
  "WebAssembly SIMD": [...HEADER, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 10, 9, 1, 7, 0, 65, 0, 253, 15, 26, 11],
};

/** What `requireRuntime` looks at; tests take things away. */
export interface Abilities {
  runtime: Runtime;
  atomics: object;
  sharedArrayBuffer: unknown;
  validate: (bytes: Uint8Array) => boolean;
}

const abilities: Abilities = {
  runtime,
  atomics: Atomics,
  sharedArrayBuffer: globalThis.SharedArrayBuffer,
  validate: (bytes) => WebAssembly.validate(bytes),
};

const unsupported = (message: string, cause?: unknown): CorewalError => new CorewalError("COREWAL_UNSUPPORTED", message, { cause });

/** It can: asked at each open, and does not change. */
let fit = false;

/** Throws COREWAL_UNSUPPORTED if this runtime cannot run the module and its threads at all. */
export function requireRuntime(of: Abilities = abilities): void {
  if (of === abilities && fit) return;
  const { runtime: r, atomics, sharedArrayBuffer, validate } = of;
  const [major, minor] = r.version.split(".").map(Number) as [number, number];
  const oldest = OLDEST[r.name];
  if (major < oldest[0] || (major === oldest[0] && minor < oldest[1]))
    throw unsupported(`${r.name} ${r.version} is too old for corewal: use ${r.name} ${oldest.join(".")} or later`);
  const missing = Object.keys(FEATURES).filter((name) => !validate(Uint8Array.from(FEATURES[name]!)));
  if (typeof sharedArrayBuffer !== "function") missing.push("SharedArrayBuffer");
  if (!("waitAsync" in atomics)) missing.push("Atomics.waitAsync");
  if (missing.length === 0) {
    fit ||= of === abilities;
    return;
  }
  throw unsupported(
    `${r.name} ${r.version} runs here without ${missing.join(" and ")}: leave out the flags that switch ${missing.length > 1 ? "them" : "it"} off, ` +
      "or use a processor and a version that have it",
  );
}

/**
 * Throws COREWAL_UNSUPPORTED where a log cannot be written as it promises. Windows cannot make a name in a directory
 * durable through node:fs: FlushFileBuffers takes no directory that was opened without write access, and there is none
 * with it. A segment that vanishes with its acknowledged entries must not be possible silently.
 */
export function requireDurableNames({ platform } = runtime): void {
  if (platform !== "win32") return;
  throw unsupported(
    "Windows cannot make the names of files durable through node:fs, so a power loss could take whole segments: " +
      "write the log under WSL 2, or open it here with { readOnly: true }",
  );
}

/**
 * What is weaker here than promised, in words; undefined where nothing is. libuv (Node.js) and Rust's standard library
 * (Deno) use F_FULLFSYNC on macOS; Bun calls fdatasync, after which the drive's own cache may still hold the data.
 */
export function weakness({ name, platform } = runtime): string | undefined {
  return name === "Bun" && platform === "darwin"
    ? "Bun's fsync on macOS does not empty the drive's cache: what was acknowledged survives a killed process, but not always a power loss. Node.js and Deno do empty it"
    : undefined;
}

let warned = false;

/** Says once per thread what is weaker here than promised. */
export function warnOfWeakness(): void {
  const text = weakness();
  if (text === undefined || warned) return;
  warned = true;
  process.emitWarning(text, { type: "CorewalWarning", code: "COREWAL_WEAK_FSYNC" });
}

// --- threads ------------------------------------------------------------------------------------------------------

/**
 * Starts a thread from the text of a module that needs only node: modules. A data: URL works unbundled, in bundles and in
 * single binaries.
 */
export function startThread(source: string, workerData: unknown): Worker {
  const url = new URL(`data:text/javascript;base64,${Buffer.from(source).toString("base64")}`);
  // The host's flags and environment may ask for loaders that such a module cannot use, and Deno would ask its user for
  // the environment.
  return new Worker(url, { workerData, execArgv: [], env: {} });
}
