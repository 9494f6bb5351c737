// Every sealed segment is given to an archive before it may be dropped: copied into a directory, or passed to a function.
// At least once, in the order of each chain. All of it is the opener's thread, and nobody waits for it: an archive that is
// slow or fails holds the segments, and nothing else.
//
//   1. A segment is final when its footer says that the next one continues it.
//   2. The archive has it: the copy is fsynced under its name, or the function's promise has resolved.
//   3. The cursor, `corewal.archive`, is made durable. Only then the segment may be dropped (Limits in drop.ts).
//
// A crash between 2 and 3, or a cursor that is lost or damaged, means archiving again, and an archive that has the same
// bytes already has them.

import { setTimeout } from "node:timers";
import { segmentPath } from "./chain.js";
import { placedChecksum } from "./core.js";
import { codeOf, CorewalError, fromSystem } from "./errors.js";
import type { Chance } from "./chance.js";
import { readFooter } from "./footer.js";
import type { ChainReader, Known } from "./read.js";
import { endsFor, withFile } from "./recover-chain.js";
import { NEW_SUFFIX, parseSegmentName, readSegmentHeader, segmentName } from "./segment.js";
import { listIfThere, readSome, writeAll, type Storage, type StorageFile } from "./storage.js";
import type { ArchiveFunction, LogStats, SealedSegment } from "./types.js";

export type Archive = { directory: string } | ArchiveFunction;

const CURSOR_NAME = "corewal.archive";
/** Copied at once; then the event loop has its turn. */
const PIECE_BYTES = 1024 * 1024;
const TURN_MS = 1;
/** After a failure, and twice as long after each that follows it. */
const RETRY_MS_MIN = 250;
const RETRY_MS_MAX = 60_000;

export interface ArchiveOwner {
  readonly storage: Storage;
  readonly directory: string;
  readonly chance: Chance;
  readonly logId: Uint8Array;
  readonly archive: Archive;
  /** Of each chain that there is or may come to be. */
  readonly readers: ChainReader[];
  readonly figures: LogStats["upkeep"];
  failed(error: unknown): void;
}

export class Archiver {
  /** Of each chain the number of the last segment that the archive has; undefined as long as that cannot be read. */
  private cursor: number[] | undefined;
  private pass: Promise<void> | undefined;
  private stopped = false;
  private retry = { pauseMs: 0, atMs: 0 };

  constructor(private readonly owner: ArchiveOwner) {}

  /** Begins what is due, and waits for nothing. */
  tick(): void {
    const left = this.retry.atMs - this.owner.chance.now();
    // A clock that was set back must not prolong the pause.
    if (this.stopped || this.pass !== undefined || (left > 0 && left <= this.retry.pauseMs)) return;
    try {
      this.readCursor();
    } catch (error) {
      this.owner.failed(fromSystem(error, "reading how far the log is archived", this.owner.directory));
      return this.pause(true);
    }
    this.count();
    if (this.owner.figures.archiveBacklog > 0) this.pass = this.all().finally(() => (this.pass = undefined));
  }

  /** Resolves when nothing is under way. For tests. */
  async idle(): Promise<void> {
    await this.pass;
  }

  /** What is under way is of no account any more. */
  stop(): void {
    this.stopped = true;
  }

  /** Segments of a chain with this number and higher ones must stay. Throws if that cannot be read. */
  keptFrom(chain: number): number {
    return (this.readCursor()[chain] ?? 0) + 1;
  }

  private readCursor(): number[] {
    return (this.cursor ??= readCursor(this.owner.storage, this.owner.directory, this.owner.logId));
  }

  /** How long to wait after what has failed, or has not. */
  private pause(failed: boolean): void {
    const pauseMs = failed ? Math.min(RETRY_MS_MAX, Math.max(RETRY_MS_MIN, this.retry.pauseMs * 2)) : 0;
    this.retry = { pauseMs, atMs: this.owner.chance.now() + pauseMs };
  }

  private waiting(reader: ChainReader): readonly Known[] {
    return reader.segments().filter(({ header }) => header.number >= this.keptFrom(reader.chain));
  }

  /** The last one of each chain is being written. */
  private count(): void {
    const { readers, figures } = this.owner;
    figures.archiveBacklog = readers.reduce((sum, reader) => sum + Math.max(0, this.waiting(reader).length - 1), 0);
  }

  private async all(): Promise<void> {
    let failed = false;
    for (const reader of this.owner.readers) {
      try {
        await this.chain(reader);
      } catch (error) {
        if (this.stopped) return;
        failed = true;
        this.owner.failed(error);
      }
    }
    this.pause(failed);
  }

  private async chain(reader: ChainReader): Promise<void> {
    const { owner } = this;
    for (;;) {
      const [segment, next] = this.stopped ? [] : this.waiting(reader);
      if (segment === undefined || next === undefined) return;
      const sealed = sealedOf(owner, segment, next);
      if (sealed === undefined) return;
      if (typeof owner.archive === "function") await owner.archive(sealed);
      else await this.copy(sealed, owner.archive.directory);
      if (!(await this.record(reader.chain, segment.header.number))) return;
      owner.figures.archived++;
      this.count();
      // Another copy failing later is another failure.
      this.retry.pauseMs = 0;
    }
  }

  /** The archive has it. False if the log was closed meanwhile: another process may have it by now. */
  private async record(chain: number, number: number): Promise<boolean> {
    const { storage, directory, logId } = this.owner;
    const cursor = [...this.readCursor()];
    cursor[chain] = number;
    const path = `${directory}/${CURSOR_NAME}`;
    if (this.stopped) return false;
    const file = storage.create(path + NEW_SUFFIX);
    try {
      writeAll(file, encodeCursor(logId, cursor), 0);
      await syncLater(file);
    } finally {
      file.close();
    }
    if (this.stopped) return false;
    storage.rename(path + NEW_SUFFIX, path);
    storage.syncDirectory(directory);
    this.cursor = cursor;
    return true;
  }

  // --- the archive is a directory ------------------------------------------------------------------

  private async copy({ path, core, number }: SealedSegment, directory: string): Promise<void> {
    const { storage, logId } = this.owner;
    const to = `${directory}/${segmentName(core, number)}`;
    try {
      storage.makeDirectory(directory);
      requireOwnArchive(storage, directory, logId);
      const there = openIfThere(storage, to);
      if (there !== undefined) {
        await this.compare(path, there);
        // Whoever gave it its name may have died before that was durable.
        if (!this.stopped) storage.syncDirectory(directory);
        return;
      }
      const file = storage.create(to + NEW_SUFFIX);
      try {
        await this.pieces(path, (bytes, offset) => writeAll(file, bytes, offset));
        if (this.stopped) return;
        await syncLater(file);
      } finally {
        file.close();
      }
      if (this.stopped) return;
      storage.rename(to + NEW_SUFFIX, to);
      storage.syncDirectory(directory);
    } catch (error) {
      throw fromSystem(error, "archiving a segment", to);
    }
  }

  private async compare(path: string, there: StorageFile): Promise<void> {
    const other = new Uint8Array(PIECE_BYTES);
    let end = 0;
    let same = true;
    try {
      await this.pieces(path, (bytes, offset) => {
        const count = readSome(there, other.subarray(0, bytes.length), offset);
        same &&= Buffer.compare(other.subarray(0, count), bytes) === 0;
        end = offset + bytes.length;
      });
      same &&= there.size() === end;
    } finally {
      there.close();
    }
    if (!same && !this.stopped)
      throw new CorewalError(
        "COREWAL_ARCHIVE",
        `the archive has another ${there.path} than the log, perhaps from before a repair or truncateAfter: move it away, and it is archived anew`,
        { file: there.path },
      );
  }

  /** A file from its beginning to its end, or until the log is closed. */
  private async pieces(path: string, take: (bytes: Uint8Array, offset: number) => void): Promise<void> {
    const file = this.owner.storage.open(path, "read");
    const piece = new Uint8Array(PIECE_BYTES);
    try {
      for (let offset = 0; !this.stopped;) {
        const count = readSome(file, piece, offset);
        take(piece.subarray(0, count), offset);
        offset += count;
        if (count < PIECE_BYTES) return;
        await new Promise((resolve) => void setTimeout(resolve, TURN_MS).unref());
      }
    } finally {
      file.close();
    }
  }
}

/** What the archive is told of a segment; undefined if it may still change. */
function sealedOf({ storage, directory }: ArchiveOwner, { header }: Known, next: Known): SealedSegment | undefined {
  return withFile(storage, directory, header, (file) => {
    const footer = readFooter(file, header);
    if (footer?.continued === undefined || !endsFor(footer, next.header)) return undefined;
    const { chain: core, number } = header;
    return {
      core,
      number,
      path: segmentPath(directory, header),
      firstLsn: header.parentLastLsn + 1,
      lastLsn: footer.lastLsn,
      bytes: file.size(),
    };
  });
}

/** Throws COREWAL_ARCHIVE if the directory has segments of another log; `logId` undefined: there is no log yet. */
export function requireOwnArchive(storage: Storage, directory: string, logId: Uint8Array | undefined): void {
  for (const name of listIfThere(storage, directory) ?? []) {
    if (parseSegmentName(name) === undefined) continue;
    const id = logIdOf(storage, `${directory}/${name}`);
    if (id === undefined) continue;
    if (logId !== undefined && Buffer.from(id).equals(logId)) return;
    throw new CorewalError(
      "COREWAL_ARCHIVE",
      `${directory} is the archive of another log (${name}): give each log an archive of its own, or move what is in there away`,
      { file: `${directory}/${name}` },
    );
  }
}

/** Undefined if it cannot be read. */
function logIdOf(storage: Storage, path: string): Uint8Array | undefined {
  const file = storage.open(path, "read");
  try {
    return readSegmentHeader(file).logId;
  } catch {
    return undefined;
  } finally {
    file.close();
  }
}

function openIfThere(storage: Storage, path: string): StorageFile | undefined {
  try {
    return storage.open(path, "read");
  } catch (error) {
    if (codeOf(error) === "ENOENT") return undefined;
    throw error;
  }
}

function syncLater(file: StorageFile): Promise<void> | void {
  return file.syncLater === undefined ? file.sync() : file.syncLater();
}

// --- the cursor: a line of JSON, and a line with its checksum -----------------------------------------

function encodeCursor(logId: Uint8Array, cursor: number[]): Uint8Array {
  const archived = cursor.flatMap((number, chain) => [[chain, number]]);
  const line = JSON.stringify({ corewal: "archive", version: 1, log: Buffer.from(logId).toString("hex"), archived });
  return Buffer.from(`${line}\n${checksumOf(line)}\n`);
}

const checksumOf = (line: string): string => placedChecksum(0n, 0, Buffer.from(line)).toString(16).padStart(8, "0");

/** Empty if there is none that is whole and of this log: then everything is archived again. Throws what the disk says. */
function readCursor(storage: Storage, directory: string, logId: Uint8Array): number[] {
  const file = openIfThere(storage, `${directory}/${CURSOR_NAME}`);
  if (file === undefined) return [];
  let bytes: Buffer;
  try {
    bytes = Buffer.alloc(file.size());
    readSome(file, bytes, 0);
  } finally {
    file.close();
  }
  const [line = "", checksum] = bytes.toString().split("\n");
  if (checksum !== checksumOf(line)) return [];
  const { version, log, archived } = JSON.parse(line) as { version: number; log: string; archived: [number, number][] };
  const cursor: number[] = [];
  if (version === 1 && log === Buffer.from(logId).toString("hex")) for (const [chain, number] of archived) cursor[chain] = number;
  return cursor;
}
