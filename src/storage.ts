// The one seam to storage. `storage/node.ts` is the implementation for every runtime; the tests put a
// simulated disk in its place. Narrow and synchronous on purpose: the caller is a worker that has
// nothing else to do, and a simulator can count and break each call.
//
// Every method throws on failure, and the caller treats each failure as final: nothing is retried.

import { codeOf } from "./errors.js";

export interface StorageFile {
  /** Name for messages. */
  readonly path: string;
  /** Writes a part of `bytes` at `offset` and returns how many, possibly fewer than given: callers loop (see writeAll). */
  write(bytes: Uint8Array, offset: number): number;
  /** Reads up to `into.length` bytes from `offset`; fewer only at the end of the file. */
  read(into: Uint8Array, offset: number): number;
  /** Bytes in the file. */
  size(): number;
  /** Cuts or extends the file with zeros. */
  truncate(bytes: number): void;
  /** Returns only after data and size are durable. After a throw the contents of the file since the last sync are unknown. */
  sync(): void;
  /** The same without blocking the thread, where the implementation can. */
  syncLater?(): Promise<void>;
  close(): void;
}

export interface Storage {
  /** Names in the directory, in no order; throws ENOENT if there is none. */
  list(directory: string): string[];
  /** Opens an existing file. */
  open(path: string, access: "read" | "write"): StorageFile;
  /** Makes a new, empty file, open for writing; an old one of that name is emptied. */
  create(path: string): StorageFile;
  /** Atomic. Durable only after syncDirectory of both sides. */
  rename(from: string, to: string): void;
  remove(path: string): void;
  /** Makes names in the directory durable: created, renamed, removed. */
  syncDirectory(path: string): void;
  /** Makes a directory and its missing parents, durably. */
  makeDirectory(path: string): void;
}

/** Names in the directory; undefined if there is none. */
export function listIfThere(storage: Storage, directory: string): string[] | undefined {
  try {
    return storage.list(directory);
  } catch (error) {
    if (codeOf(error) === "ENOENT") return undefined;
    throw error;
  }
}

/** Bytes in a file. */
export function sizeOf(storage: Storage, path: string): number {
  const file = storage.open(path, "read");
  try {
    return file.size();
  } finally {
    file.close();
  }
}

/** In the place of what a reader must not do. */
export function neverWrites(): never {
  throw new Error("reading never writes");
}

/** Writes everything or throws. A disk that writes nothing without an error is an error. */
export function writeAll(file: StorageFile, bytes: Uint8Array, offset: number): void {
  let done = 0;
  while (done < bytes.length) {
    const count = file.write(done === 0 ? bytes : bytes.subarray(done), offset + done);
    if (!(count > 0)) throw new Error(`wrote ${count} of ${bytes.length - done} bytes to ${file.path}`);
    done += count;
  }
}

/** Reads `into` whole; returns false if the file ends before. */
export function readAll(file: StorageFile, into: Uint8Array, offset: number): boolean {
  return readSome(file, into, offset) === into.length;
}

/** Reads as much of `into` as the file holds from `offset` on. */
export function readSome(file: StorageFile, into: Uint8Array, offset: number): number {
  let done = 0;
  while (done < into.length) {
    const count = file.read(done === 0 ? into : into.subarray(done), offset + done);
    if (count === 0) break;
    done += count;
  }
  return done;
}
