// A file of which some places cannot be read, for those who take what is left: verify, repair, dump past damage.

import { neverWrites, type StorageFile } from "./storage.js";

const BLOCK_BYTES = 4096;

/** Reads what can be read; the rest is zeros, and remembered. Never writes. */
export class TolerantFile implements StorageFile {
  /** Why some bytes could not be read, by the offset of their block. */
  readonly unreadable = new Map<number, unknown>();

  constructor(private readonly file: StorageFile) {}

  get path(): string {
    return this.file.path;
  }

  read(into: Uint8Array, offset: number): number {
    return this.attempt(into, offset, 1);
  }

  private attempt(into: Uint8Array, offset: number, retries: number): number {
    try {
      return this.file.read(into, offset);
    } catch (error) {
      const wanted = Math.min(into.length, this.file.size() - offset);
      if (wanted <= 0) throw error;
      // One half, then of that one half: what is missing in the end are single blocks. The caller asks for the rest.
      const block = offset - (offset % BLOCK_BYTES);
      const first = block + BLOCK_BYTES - offset;
      if (wanted > first) return this.attempt(into.subarray(0, Math.max(first, wanted >>> 1)), offset, retries);
      // What a disk refuses once it may give the second time, and here nothing is worse than to lose it.
      if (retries > 0) return this.attempt(into, offset, retries - 1);
      this.unreadable.set(block, error);
      into.fill(0, 0, wanted);
      return wanted;
    }
  }

  /** Why something in [from, to) could not be read, if that is so. */
  errorIn(from: number, to: number): unknown {
    for (const [block, error] of this.unreadable) if (block < to && block + BLOCK_BYTES > from) return error;
    return undefined;
  }

  size(): number {
    return this.file.size();
  }
  close(): void {
    this.file.close();
  }
  readonly write = neverWrites;
  readonly truncate = neverWrites;
  readonly sync = neverWrites;
}
