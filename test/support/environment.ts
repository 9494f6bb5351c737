// openLog in a test's hands: real files, behind a storage that writes down and can break each call.

import { randomBytes } from "node:crypto";
import { takeLock } from "../../src/lock.js";
import { openLogWith, PUMP, type Environment } from "../../src/log.js";
import type { LogOptions } from "../../src/options.js";
import type { Storage, StorageFile } from "../../src/storage.js";
import { nodeStorage } from "../../src/storage/node.js";
import type { Log } from "../../src/types.js";

export interface Step {
  what:
    "list" | "open" | "create" | "rename" | "remove" | "syncDirectory" | "makeDirectory" | "write" | "read" | "truncate" | "sync" | "close";
  /** Last part of the path. */
  name: string;
  offset?: number;
  bytes?: number;
  /** Of an open file. */
  access?: "read" | "write";
}

/** The real storage, watched: `steps` says what was done, `before` may sleep or throw instead. */
export class WatchedStorage implements Storage {
  readonly steps: Step[] = [];
  before: (step: Step) => void = () => {};
  /** How many bytes of a write reach the file before it returns; all by default. */
  shorten: (step: Step) => number | undefined = () => undefined;

  private do<T>(step: Step, run: () => T): T {
    this.before(step);
    const result = run();
    this.steps.push(step);
    return result;
  }

  count(what: Step["what"]): number {
    return this.steps.filter((s) => s.what === what).length;
  }
  /** Steps that change files or names. */
  changes(): Step[] {
    return this.steps.filter((s) => !["list", "read", "close"].includes(s.what) && !(s.what === "open" && s.access === "read"));
  }

  /** What a power failure could take now: files written since their last sync, and "names" if the directory was not synced. */
  unsynced(): string[] {
    const dirty = new Set<string>();
    for (const { what, name } of this.steps) {
      if (what === "write" || what === "truncate" || what === "create") dirty.add(name);
      if (what === "sync") dirty.delete(name);
      if (what === "create" || what === "rename" || what === "remove") dirty.add("names");
      if (what === "syncDirectory") dirty.delete("names");
      // The file's contents go with it.
      if (what === "rename" && dirty.delete(`${name}.new`)) dirty.add(name);
    }
    return [...dirty];
  }

  list(directory: string): string[] {
    return this.do({ what: "list", name: lastOf(directory) }, () => nodeStorage.list(directory));
  }
  open(path: string, access: "read" | "write"): StorageFile {
    return this.watch(this.do({ what: "open", name: lastOf(path), access }, () => nodeStorage.open(path, access)));
  }
  create(path: string): StorageFile {
    return this.watch(this.do({ what: "create", name: lastOf(path) }, () => nodeStorage.create(path)));
  }
  rename(from: string, to: string): void {
    this.do({ what: "rename", name: lastOf(to) }, () => nodeStorage.rename(from, to));
  }
  remove(path: string): void {
    this.do({ what: "remove", name: lastOf(path) }, () => nodeStorage.remove(path));
  }
  syncDirectory(path: string): void {
    this.do({ what: "syncDirectory", name: lastOf(path) }, () => nodeStorage.syncDirectory(path));
  }
  makeDirectory(path: string): void {
    this.do({ what: "makeDirectory", name: lastOf(path) }, () => nodeStorage.makeDirectory(path));
  }

  private watch(file: StorageFile): StorageFile {
    const name = lastOf(file.path);
    return {
      path: file.path,
      write: (bytes, offset) => {
        const step: Step = { what: "write", name, offset, bytes: bytes.length };
        return this.do(step, () => file.write(bytes.subarray(0, this.shorten(step) ?? bytes.length), offset));
      },
      read: (into, offset) => this.do({ what: "read", name, offset, bytes: into.length }, () => file.read(into, offset)),
      size: () => file.size(),
      truncate: (bytes) => this.do({ what: "truncate", name, bytes }, () => file.truncate(bytes)),
      sync: () => this.do({ what: "sync", name }, () => file.sync()),
      close: () => this.do({ what: "close", name }, () => file.close()),
    };
  }
}

const lastOf = (path: string): string => path.slice(path.lastIndexOf("/") + 1);

export function environment(changes: Partial<Environment> = {}): Environment {
  return { storage: nodeStorage, lock: takeLock, now: () => performance.timeOrigin + performance.now(), randomBytes, ...changes };
}

/** A log whose flusher runs in this thread, on this storage. */
export function openInline(directory: string, options: LogOptions = {}, changes: Partial<Environment> = {}): Promise<Log> {
  return openLogWith(
    directory,
    { ringBytes: 65536, segmentBytes: 1 << 20, stripes: 4, ...options, flusher: "inline" },
    environment(changes),
  );
}

/** One step of an inline flusher that nobody else pumps (`manual`). */
export const pump = (log: Log): boolean => (log as Log & { [PUMP](): boolean })[PUMP]();

/** Pumps until the promise is settled. */
export async function drive<T>(log: Log, promise: Promise<T>): Promise<T> {
  let settled = false;
  const done = (): void => void (settled = true);
  promise.then(done, done);
  for (let i = 0; ; i++) {
    await new Promise(setImmediate);
    if (settled) return promise;
    if (i === 10_000) throw new Error("a promise is not settled after 10,000 steps of the flusher");
    pump(log);
  }
}

/** An error as node:fs throws it. */
export function systemError(code: string): Error {
  return Object.assign(new Error(`${code}: made up by a test`), { code });
}
