// Storage on node:fs, for Node, Deno and Bun alike.

import {
  closeSync,
  fdatasync,
  fdatasyncSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmdirSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { dirname, resolve } from "node:path";
import type { Storage, StorageFile } from "../storage.js";

class NodeFile implements StorageFile {
  constructor(
    readonly path: string,
    private readonly fd: number,
  ) {}
  write(bytes: Uint8Array, offset: number): number {
    return writeSync(this.fd, bytes, 0, bytes.length, offset);
  }
  read(into: Uint8Array, offset: number): number {
    return readSync(this.fd, into, 0, into.length, offset);
  }
  size(): number {
    return fstatSync(this.fd).size;
  }
  truncate(bytes: number): void {
    ftruncateSync(this.fd, bytes);
  }
  sync(): void {
    fdatasyncSync(this.fd);
  }
  syncLater(): Promise<void> {
    return new Promise((resolve, reject) => fdatasync(this.fd, (error) => (error === null ? resolve() : reject(error))));
  }
  close(): void {
    closeSync(this.fd);
  }
}

export const nodeStorage: Storage = {
  list: (directory) => readdirSync(directory),
  open: (path, access) => new NodeFile(path, openSync(path, access === "read" ? "r" : "r+")),
  create: (path) => new NodeFile(path, openSync(path, "w+")),
  rename: (from, to) => renameSync(from, to),
  remove: (path) => unlinkSync(path),
  syncDirectory(path) {
    const fd = openSync(path, "r");
    try {
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  },
  makeDirectory(path) {
    const target = resolve(path);
    const first = mkdirSync(target, { recursive: true });
    if (first === undefined) return;
    // Each new name is an entry of its parent: make every one of them durable, or leave none behind.
    const top = dirname(resolve(first));
    try {
      for (let at = dirname(target); ; at = dirname(at)) {
        this.syncDirectory(at);
        if (at === top || at === dirname(at)) break;
      }
    } catch (error) {
      for (let at = target; at !== top; at = dirname(at)) rmdirSync(at);
      throw error;
    }
  },
};
