// The simplest Storage: files are byte arrays in a map, everything is durable at once. For tests that look
// at bytes; the simulated disk is for those that look at crashes.

import { Buffer } from "node:buffer";
import type { Storage, StorageFile } from "../../src/storage.js";

const missing = (path: string): Error => Object.assign(new Error(`ENOENT: ${path}`), { code: "ENOENT" });

class MemoryFile implements StorageFile {
  constructor(
    readonly path: string,
    private readonly node: { bytes: Buffer },
    private readonly storage: MemoryStorage,
  ) {}
  write(bytes: Uint8Array, offset: number): number {
    this.storage.changes++;
    const end = offset + bytes.length;
    if (end > this.node.bytes.length) this.truncate(end);
    this.node.bytes.set(bytes, offset);
    return bytes.length;
  }
  read(into: Uint8Array, offset: number): number {
    const bad = this.storage.unreadable;
    if (bad?.path === this.path && offset < bad.to && offset + into.length > bad.from)
      throw Object.assign(new Error("EIO: i/o error, read"), { code: "EIO" });
    const part = this.node.bytes.subarray(offset, offset + into.length);
    into.set(part);
    return part.length;
  }
  size(): number {
    return this.node.bytes.length;
  }
  truncate(size: number): void {
    this.storage.changes++;
    const bytes = Buffer.alloc(size);
    this.node.bytes.copy(bytes);
    this.node.bytes = bytes;
  }
  sync(): void {}
  close(): void {}
}

export class MemoryStorage implements Storage {
  /** Counts everything that changes a file or a name. */
  changes = 0;
  /** Reading any byte of it fails. */
  unreadable: { path: string; from: number; to: number } | undefined;
  private readonly nodes = new Map<string, { bytes: Buffer }>();
  private readonly directories = new Set<string>();

  /** Copies of the files in a directory, by name. */
  files(directory: string): Map<string, Uint8Array> {
    return new Map(this.list(directory).map((name) => [name, Uint8Array.from(this.nodes.get(`${directory}/${name}`)!.bytes)]));
  }

  /** A storage that holds copies of these files in this directory. */
  static of(directory: string, files: ReadonlyMap<string, Uint8Array>): MemoryStorage {
    const storage = new MemoryStorage();
    storage.put(directory, files);
    return storage;
  }

  /** Makes the directory, with copies of these files. */
  put(directory: string, files: ReadonlyMap<string, Uint8Array>): void {
    this.directories.add(directory);
    for (const [name, bytes] of files) this.nodes.set(`${directory}/${name}`, { bytes: Buffer.from(bytes) });
  }

  list(directory: string): string[] {
    const start = `${directory}/`;
    const names = [...this.nodes.keys()].filter((path) => path.startsWith(start)).map((path) => path.slice(start.length));
    if (names.length === 0 && !this.directories.has(directory)) throw missing(directory);
    return names.sort();
  }
  open(path: string): StorageFile {
    const node = this.nodes.get(path);
    if (node === undefined) throw missing(path);
    return new MemoryFile(path, node, this);
  }
  create(path: string): StorageFile {
    this.changes++;
    this.nodes.set(path, { bytes: Buffer.alloc(0) });
    return this.open(path);
  }
  rename(from: string, to: string): void {
    this.changes++;
    const node = this.nodes.get(from);
    if (node === undefined) throw missing(from);
    this.nodes.delete(from);
    this.nodes.set(to, node);
  }
  remove(path: string): void {
    this.changes++;
    if (!this.nodes.delete(path)) throw missing(path);
  }
  syncDirectory(): void {}
  makeDirectory(path: string): void {
    this.directories.add(path);
  }
}
