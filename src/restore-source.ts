// What can be restored from: a log as it is now, segments that were dropped from it and archived, its checkpoints. Read
// frame by frame; nothing is ever changed.

import { ENTRY_HEADER_BYTES, KIND_VOID } from "../assembly/layout.js";
import { segmentPath, type ChainSegment } from "./chain.js";
import { checkCheckpoint, checkpointNumbers, type CheckpointFacts } from "./checkpoint-file.js";
import type { Core } from "./core.js";
import { eachEntry } from "./entry.js";
import { codeOf, CorewalError } from "./errors.js";
import type { FrameHeader } from "./frame.js";
import { recoverForReading } from "./read-only.js";
import { damaged, readParent, withFile, type Recovered } from "./recover-chain.js";
import { SegmentScanner } from "./scan.js";
import { parseSegmentName } from "./segment.js";
import { neverWrites, type Storage } from "./storage.js";
import { trimFrame } from "./trim.js";
import type { Topology } from "./types.js";

/** One chain, from the first segment that is still somewhere. */
export interface SourceChain {
  chain: number;
  segments: ChainSegment[];
  /** 1 more than lastLsn if nothing is in it. */
  firstLsn: number;
  lastLsn: number;
  /** What stood before firstLsn was dropped without a checkpoint that holds it: nobody misses it. */
  dropped: boolean;
}

export interface Source {
  /** The log's directory and its archive as one. */
  storage: Storage;
  directory: string;
  logId: Uint8Array;
  topology: Topology;
  term: number;
  /** Epochs below this one are complete. */
  complete: number;
  chains: SourceChain[];
  /** Newest first; with the reason where one does not say what it is. */
  checkpoints: { number: number; facts: CheckpointFacts | undefined; error?: unknown }[];
}

/** Where a chain ends: with the last entry whose LSN and epoch are not beyond these. */
export interface Limit {
  lsn: number;
  epoch: number;
}

/** A frame, or the beginning of one, good until the next is asked for. `header` tells of what is kept. */
export interface KeptFrame {
  core: Core;
  /** Address of its header. */
  at: number;
  header: FrameHeader;
  path: string;
}

// --- finding ----------------------------------------------------------------------------------------

/** A segment is looked for in the log's directory, then in the archive. */
class WithArchive implements Storage {
  constructor(
    private readonly base: Storage,
    private readonly directory: string,
    private readonly archive: string,
  ) {}

  list(directory: string): string[] {
    const names = this.base.list(directory);
    if (directory !== this.directory) return names;
    // How a chain ends is told by the log: an archive that knows more is of another time.
    const ends = new Map<number, number>();
    for (const { chain, number } of names.flatMap((name) => parseSegmentName(name) ?? []))
      ends.set(chain, Math.max(ends.get(chain) ?? 0, number));
    const archived = this.base.list(this.archive).filter((name) => {
      const place = parseSegmentName(name);
      return place !== undefined && place.number < (ends.get(place.chain) ?? 0);
    });
    return [...new Set([...names, ...archived])];
  }

  open(path: string, access: "read" | "write"): ReturnType<Storage["open"]> {
    if (access !== "read") return neverWrites();
    try {
      return this.base.open(path, access);
    } catch (error) {
      if (codeOf(error) !== "ENOENT" || !path.startsWith(`${this.directory}/`)) throw error;
      return this.base.open(`${this.archive}/${path.slice(this.directory.length + 1)}`, access);
    }
  }

  syncDirectory(path: string): void {
    this.base.syncDirectory(path);
  }
  create = neverWrites;
  rename = neverWrites;
  remove = neverWrites;
  makeDirectory = neverWrites;
}

/** Reads what there is to restore from. Throws COREWAL_CORRUPT, COREWAL_UNKNOWN_VERSION, COREWAL_NOT_A_LOG. */
export function readSource(base: Storage, directory: string, archive: string | undefined, mayBeLive: () => boolean): Source {
  if (archive !== undefined) requireDirectory(base, archive);
  const storage = archive === undefined ? base : new WithArchive(base, directory, archive);
  const { found } = recoverForReading(storage, directory, mayBeLive);
  if (found.logId === undefined) throw new CorewalError("COREWAL_NOT_A_LOG", `there is no log in ${directory}`, { file: directory });
  return {
    storage,
    directory,
    logId: found.logId,
    topology: found.topology!,
    term: found.term,
    complete: found.complete,
    chains: found.chains.map((chain) => withAncestors(storage, directory, chain)),
    checkpoints: checkpointNumbers(base, directory).map((number) => {
      try {
        const facts = checkCheckpoint(base, directory, number, false);
        const own = Buffer.from(facts.logId).equals(found.logId!) && facts.topology === found.topology;
        return { number, facts: own ? facts : undefined };
      } catch (error) {
        if (codeOf(error) === "COREWAL_UNKNOWN_VERSION") throw error;
        return { number, facts: undefined, error };
      }
    }),
  };
}

function requireDirectory(storage: Storage, path: string): void {
  try {
    storage.list(path);
  } catch (error) {
    if (codeOf(error) !== "ENOENT") throw error;
    throw new CorewalError("COREWAL_NOT_A_LOG", `there is no directory ${path}: archive names one with segment files`, { file: path });
  }
}

/** The floor says what the log needs; here everything counts that is still there. */
function withAncestors(storage: Storage, directory: string, found: Recovered): SourceChain {
  const { chain, lastLsn } = found;
  const segments = [...found.segments];
  for (let child = segments[0]!.header; child.parentNumber !== 0; child = segments[0]!.header) {
    try {
      segments.unshift(
        withFile(storage, directory, { chain, number: child.parentNumber }, (f, header) => readParent(f, header, child, found)),
      );
    } catch (error) {
      if (codeOf(error) === "ENOENT") break;
      throw error;
    }
  }
  const { number, parentLastLsn } = segments[0]!.header;
  // Some of it may still be there: the crash came before its files went.
  const dropped = segments.some(({ header }) => header.floor >= number && !header.needsCheckpoint);
  return { chain, segments, firstLsn: parentLastLsn + 1, lastLsn, dropped };
}

// --- reading ----------------------------------------------------------------------------------------

/** Frames with entries up to the limit, of the segments from index `from` to `to`. Throws COREWAL_CORRUPT where one is not valid. */
export function* keptFrames(
  { storage, directory }: Source,
  { segments }: SourceChain,
  limit: Limit,
  from = 0,
  to = segments.length - 1,
): Generator<KeptFrame, void, undefined> {
  let timeNs: bigint | undefined;
  for (const { header: segment, endOffset, summary } of segments.slice(from, to + 1)) {
    if (segment.parentLastLsn >= limit.lsn) return;
    const file = storage.open(segmentPath(directory, segment), "read");
    const scanner = new SegmentScanner(file, segment, endOffset);
    try {
      for (let frame = scanner.next(); frame !== undefined; frame = scanner.next()) {
        if (frame.header.entries === 0) continue;
        if (frame.header.epoch > limit.epoch) return;
        const before = timeNs ?? frame.header.timeNs;
        const header = trimFrame(scanner.window, frame.at, frame.header, segment, limit.lsn, before);
        if (header === undefined) return;
        timeNs = header.timeNs;
        yield { core: scanner.window, at: frame.at, header, path: file.path };
        if (header.entries < frame.header.entries) return;
      }
      if (scanner.offset !== endOffset || scanner.nextLsn !== summary.lastLsn + 1) throw damaged(scanner, file.path);
    } finally {
      scanner.close();
      file.close();
    }
  }
}

// --- times ------------------------------------------------------------------------------------------

/** As entries show it. */
export const msOf = (timeNs: bigint): number => Number(timeNs) / 1e6;

/** The last LSN of the chain whose time is not later than this. */
export function lastLsnUntil(source: Source, chain: SourceChain, toTimeMs: number): number {
  let last = chain.firstLsn - 1;
  for (const [i, { summary }] of chain.segments.entries()) {
    if (msOf(summary.maxTimeNs) <= toTimeMs) {
      last = summary.lastLsn;
      continue;
    }
    for (const { core, at, header } of keptFrames(source, chain, { lsn: Infinity, epoch: Infinity }, i, i)) {
      if (source.topology === "striped" && msOf(header.timeNs) > toTimeMs) return last;
      let beyond = false;
      eachEntry(core, at, header, (p, lsn, lsns, kind) => {
        beyond = source.topology === "per-core" && kind < KIND_VOID && msOf(core.view.getBigInt64(p + ENTRY_HEADER_BYTES, true)) > toTimeMs;
        if (!beyond) last = lsn + lsns - 1;
        return !beyond;
      });
      if (beyond) return last;
    }
  }
  return last;
}

/** Epoch and time of an LSN; undefined if its segment is gone. */
export function placeOf(source: Source, chain: SourceChain, lsn: number): { epoch: number; timeNs: bigint } | undefined {
  const i = chain.segments.findIndex(({ header, summary }) => header.parentLastLsn < lsn && lsn <= summary.lastLsn);
  if (i < 0) return undefined;
  for (const { header } of keptFrames(source, chain, { lsn, epoch: Infinity }, i, i))
    if (header.firstLsn + header.lsns > lsn) return { epoch: header.epoch, timeNs: header.timeNs };
  return undefined;
}
