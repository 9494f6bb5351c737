// Dropped segments become spares: files of zeros, whose blocks the next segments are written into. Making one is nobody's
// business who appends; taking one is a rename.
//
//   1. The floor is durable: nobody looks at the segment any more (drop.ts).
//   2. `CCC-N.wal` → `spare-N.new`, fsync of the directory. From now on no segment's name leads to the file.
//   3. Zeros over all of it, fsync.
//   4. `spare-N.new` → `spare-N`. Whatever has such a name is all zeros.
//   5. Whoever makes a segment: `spare-N` → `CCC-M.wal.new`, fsync of the directory, and only then the first byte.
//
// ARCHITECTURE.md, "Spares", says what a power cut leaves between any two of these; test/models/recycle.pml tries.

import { setTimeout } from "node:timers";
import { codeOf } from "./errors.js";
import { isUnfinished, NEW_SUFFIX, parseSpareName, spareName } from "./segment.js";
import { writeAll, type Storage, type StorageFile } from "./storage.js";

/** Zeros are written, and made durable, in pieces of this: those who append wait for one of them at most. */
const PIECE_BYTES = 1024 * 1024;
/** After each piece the event loop has its turn. */
const TURN_MS = 1;

const sparePath = (directory: string, number: number): string => `${directory}/${spareName(number)}`;

/** Ascending. */
function spareNumbers(names: string[]): number[] {
  return names
    .map(parseSpareName)
    .filter((number) => number !== undefined)
    .sort((a, b) => a - b);
}

/**
 * What a process that was killed has left half-made, and spares that are too many. Before anything is made anew: after a
 * power cut a file may have a second name here, and whoever made a file of that name would write into the first.
 */
export function removeUnfinished(storage: Storage, directory: string, keep: number): void {
  const names = storage.list(directory);
  for (const name of names) if (isUnfinished(name)) storage.remove(`${directory}/${name}`);
  for (const number of spareNumbers(names).slice(keep)) storage.remove(sparePath(directory, number));
}

/** Gives a spare this name, and opens it; undefined if there is none. It holds zeros, at most `bytesMax` of them. */
export function takeSpare(storage: Storage, directory: string, path: string, bytesMax: number): StorageFile | undefined {
  for (const number of spareNumbers(storage.list(directory))) {
    try {
      storage.rename(sparePath(directory, number), path);
    } catch (error) {
      // Another flusher was faster.
      if (codeOf(error) === "ENOENT") continue;
      throw error;
    }
    // Written before this, a segment could be found under the spare's name after a power cut.
    storage.syncDirectory(directory);
    const file = storage.open(path, "write");
    // Of a log that was opened with larger segments. If the cut is lost, there are more zeros.
    if (file.size() > bytesMax) file.truncate(bytesMax);
    return file;
  }
  return undefined;
}

export interface SparesOwner {
  readonly storage: Storage;
  readonly directory: string;
  /** How large a spare is made. */
  readonly bytes: number;
  /** How many are kept. */
  readonly keep: number;
  failed(error: unknown): void;
}

/** Makes them, in the opener's thread. */
export class Spares {
  /** Renamed; whether that is durable, `discarded` says. */
  private readonly renamed: string[] = [];
  private readonly waiting: string[] = [];
  private turn: Promise<void> | undefined;
  private stopped = false;

  constructor(private readonly owner: SparesOwner) {}

  /** A file that is not part of the log any more, and that nobody here reads. */
  discard(path: string): void {
    const { storage, directory, keep } = this.owner;
    const numbers = keep === 0 ? [] : spareNumbers(storage.list(directory).map((name) => name.replace(/\.new$/, "")));
    if (this.stopped || numbers.length >= keep) return storage.remove(path);
    const to = sparePath(directory, (numbers.at(-1) ?? 0) + 1) + NEW_SUFFIX;
    storage.rename(path, to);
    this.renamed.push(to);
  }

  /** The directory was fsynced. */
  discarded(): void {
    this.waiting.push(...this.renamed.splice(0));
    if (this.waiting.length > 0) this.turn ??= this.fill().finally(() => (this.turn = undefined));
  }

  /** Resolves when all are made. For tests. */
  async idle(): Promise<void> {
    await this.turn;
  }

  private async fill(): Promise<void> {
    for (let path = this.waiting[0]; path !== undefined && !this.stopped; path = this.waiting[0]) {
      try {
        await this.zero(path);
        if (!this.stopped) this.owner.storage.rename(path, path.slice(0, -NEW_SUFFIX.length));
      } catch (error) {
        if (this.stopped) return;
        // Not known to be zeros: of no use.
        this.owner.failed(error);
        this.remove(path);
      }
      this.waiting.shift();
    }
  }

  private async zero(path: string): Promise<void> {
    const { storage, bytes } = this.owner;
    const file = storage.open(path, "write");
    try {
      if (file.size() > bytes) file.truncate(bytes);
      const zeros = new Uint8Array(Math.min(PIECE_BYTES, bytes));
      for (let offset = 0; offset < bytes && !this.stopped; offset += zeros.length) {
        writeAll(file, zeros.subarray(0, Math.min(zeros.length, bytes - offset)), offset);
        if (file.syncLater === undefined) continue;
        // Piece by piece, or the last fsync would keep the disk from those who append for as long as all of it takes.
        await file.syncLater();
        await new Promise((resolve) => void setTimeout(resolve, TURN_MS).unref());
      }
      if (!this.stopped) file.sync();
    } finally {
      file.close();
    }
  }

  /** Nothing more is done, as if the process had been killed. */
  abandon(): void {
    this.stopped = true;
  }

  /** The log is being closed: what is half-made goes. */
  stop(): void {
    if (this.stopped) return;
    this.stopped = true;
    for (const path of [...this.renamed, ...this.waiting]) this.remove(path);
  }

  private remove(path: string): void {
    try {
      this.owner.storage.remove(path);
    } catch {
      // Nobody looks at it; the next open tries again.
    }
  }
}
