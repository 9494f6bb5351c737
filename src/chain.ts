// How a chain of segments grows. Rotation, the first append after reopening and copy-forward are this
// one operation:
//
//   1. The new segment is written under a name that recovery does not look at: header, what is copied
//      into it, first zeros. fsync. The file is a new one, or a spare (spares.ts), which is zeros already.
//   2. Rename to the final name, fsync of the directory: the commit point. From here on the parent's
//      bytes behind `parentEnd` do not exist.
//   3. Only then the parent is sealed there, or, if it was sealed already, marked as continued.
//
// A crash between 2 and 3 leaves the parent unsealed; the next recovery does step 3 again.

import { CorewalError } from "./errors.js";
import type { Core } from "./core.js";
import { alignUp, encodeFrameHeader, type FrameHeader } from "./frame.js";
import type { Marks } from "./marks.js";
import { SegmentScanner } from "./scan.js";
import { markContinued, seal, type Footer } from "./footer.js";
import {
  addFrame,
  emptySummary,
  encodeSegmentHeader,
  firstFrameOffset,
  NEW_SUFFIX,
  SEGMENT_NUMBER_MAX,
  segmentName,
  type SegmentHeader,
  type SegmentSummary,
} from "./segment.js";
import { takeSpare } from "./spares.js";
import { writeAll, type Storage, type StorageFile } from "./storage.js";
import type { Topology } from "./types.js";

/** A segment as the host knows it: plain data, so it can go to the flusher's worker. */
export interface ChainSegment {
  header: SegmentHeader;
  /** Frames end here. */
  endOffset: number;
  summary: SegmentSummary;
  /** If it is sealed. */
  footer: Footer | undefined;
}

/** What every segment of this open has in common. */
export interface ChainIdentity {
  directory: string;
  logId: Uint8Array;
  topology: Topology;
  chain: number;
  term: number;
  epoch: number;
  marks: Marks;
  /** Of the chain. */
  floor: number;
  needsCheckpoint: boolean;
  origin: Uint8Array | undefined;
  frameAlign: number;
  segmentBytes: number;
  /** There may be spares to make segments of. */
  spares?: boolean;
}

/** Frames to copy: the parent's from its `endOffset` up to `end`, empty ones left out. */
export interface CopyPlan {
  end: number;
  frames: { bytes: number; lsns: number }[];
}

/** New files are written ahead with zeros in steps of this, so that an fsync has no new blocks to record. */
export function zeroStep(segmentBytes: number): number {
  return Math.min(1024 * 1024, segmentBytes / 4);
}

let zeros = new Uint8Array(0);

/** Fills [from, to) with zeros. */
export function writeZeros(file: StorageFile, from: number, to: number): void {
  if (to <= from) return;
  if (zeros.length < to - from) zeros = new Uint8Array(to - from);
  writeAll(file, zeros.subarray(0, to - from), from);
}

export function segmentPath(directory: string, header: { chain: number; number: number }): string {
  return `${directory}/${segmentName(header.chain, header.number)}`;
}

/** What the header of a segment says of the one that it continues; of a first one, which LSN was given before it. */
export function linkTo(
  parent: ChainSegment | undefined,
  lastLsn = 0,
): Pick<SegmentHeader, "parentNumber" | "parentSalt" | "parentEnd" | "parentLastLsn"> {
  return {
    parentNumber: parent?.header.number ?? 0,
    parentSalt: parent?.header.salt ?? 0n,
    parentEnd: parent?.endOffset ?? 0,
    parentLastLsn: parent?.summary.lastLsn ?? lastLsn,
  };
}

/** A segment that was made, with its open file. */
export interface MadeSegment {
  segment: ChainSegment;
  file: StorageFile;
  /** So far its bytes exist. */
  allocated: number;
  writtenBytes: number;
}

/** Makes the segment after `parent` exist; see above. */
export function continueChain(
  storage: Storage,
  identity: ChainIdentity,
  parent: ChainSegment | undefined,
  salt: bigint,
  nowNs: bigint,
  copy?: CopyPlan,
  /** Nothing will be written into it: it is sealed before it gets its name. */
  sealed = false,
): MadeSegment {
  const { directory, chain, frameAlign, segmentBytes } = identity;
  const first = firstFrameOffset(frameAlign);
  const copiedLsns = copy?.frames.reduce((sum, f) => sum + f.lsns, 0) ?? 0;
  const parentLastLsn = parent?.summary.lastLsn ?? 0;
  const provenEnd = copy?.frames.reduce((at, f) => at + alignUp(f.bytes, frameAlign), first) ?? first;
  const header: SegmentHeader = {
    logId: identity.logId,
    salt,
    topology: identity.topology,
    chain,
    number: (parent?.header.number ?? 0) + 1,
    ...linkTo(parent),
    term: identity.term,
    epoch: identity.epoch,
    createdNs: nowNs,
    frameAlign,
    segmentBytes,
    provenEnd,
    provenLsn: parentLastLsn + copiedLsns,
    cutsParent: false,
    marks: identity.marks,
    floor: identity.floor,
    needsCheckpoint: identity.needsCheckpoint,
    origin: identity.origin,
  };
  if (header.number > SEGMENT_NUMBER_MAX)
    throw new CorewalError("COREWAL_LSN_EXHAUSTED", `segment ${parent!.header.number} has the last number there is: begin a new log`);
  const path = segmentPath(directory, header);
  const summary = emptySummary(parentLastLsn + 1);
  const spare = identity.spares === true ? takeSpare(storage, directory, path + NEW_SUFFIX, segmentBytes) : undefined;
  const file = spare ?? storage.create(path + NEW_SUFFIX);
  let allocated: number;
  let zerosFrom: number;
  try {
    zerosFrom = Math.max(provenEnd, spare?.size() ?? 0);
    allocated = Math.max(first + zeroStep(segmentBytes), zerosFrom);
    writeAll(file, encodeSegmentHeader(header), 0);
    if (parent !== undefined && copy !== undefined) copyFrames(storage, directory, parent, copy, file, header, summary);
    writeZeros(file, zerosFrom, allocated);
    if (sealed) seal(file, header, provenEnd, summary);
    file.sync();
    commitSegment(storage, directory, header, parent);
  } catch (error) {
    file.close();
    throw error;
  }
  const writtenBytes = provenEnd + allocated - zerosFrom;
  return { segment: { header, endOffset: provenEnd, summary, footer: undefined }, file, allocated, writtenBytes };
}

/** Writes a frame whose entries stand behind its place at `at` for the header, to `offset` of a segment. Returns where the next one goes. */
export function placeFrame(
  to: StorageFile,
  segment: Pick<SegmentHeader, "salt" | "frameAlign">,
  core: Core,
  at: number,
  frame: FrameHeader,
  offset: number,
): number {
  encodeFrameHeader(core, at, frame, segment.salt, offset);
  writeAll(to, core.bytes.subarray(at, at + frame.bytes), offset);
  const end = offset + alignUp(frame.bytes, segment.frameAlign);
  writeZeros(to, offset + frame.bytes, end);
  return end;
}

/**
 * Writes what is copied of the parent as the first frames of a segment; returns where the next one goes. Frames keep their
 * entries, LSNs, term and time; only what binds them to salt and place is made anew.
 */
export function copyFrames(
  storage: Storage,
  directory: string,
  parent: ChainSegment,
  copy: CopyPlan,
  to: StorageFile,
  segment: Pick<SegmentHeader, "salt" | "frameAlign">,
  summary: SegmentSummary,
): number {
  const from = storage.open(segmentPath(directory, parent.header), "read");
  const scanner = new SegmentScanner(from, parent.header, copy.end, { offset: parent.endOffset, nextLsn: parent.summary.lastLsn + 1 });
  try {
    let offset = firstFrameOffset(segment.frameAlign);
    for (const expected of copy.frames) {
      let frame = scanner.next();
      while (frame?.header.entries === 0) frame = scanner.next();
      if (frame === undefined || frame.header.bytes !== expected.bytes) throw new Error(`${from.path} changed while it was copied`);
      addFrame(summary, { ...scanner.facts(frame), offset });
      offset = placeFrame(to, segment, scanner.window, frame.at, frame.header, offset);
    }
    return offset;
  } finally {
    scanner.close();
    from.close();
  }
}

/** Steps 2 and 3 for a segment that is fsynced. */
export function commitSegment(storage: Storage, directory: string, header: SegmentHeader, parent: ChainSegment | undefined): void {
  const path = segmentPath(directory, header);
  storage.rename(path + NEW_SUFFIX, path);
  storage.syncDirectory(directory);
  if (parent !== undefined) endParent(storage, directory, parent, header);
}

/** Step 3: seals the parent where it ends, or marks the footer that it has. */
export function endParent(storage: Storage, directory: string, parent: ChainSegment, next: SegmentHeader): void {
  const file = storage.open(segmentPath(directory, parent.header), "write");
  try {
    if (parent.footer === undefined) seal(file, parent.header, parent.endOffset, parent.summary, next);
    else markContinued(file, parent.header, parent.footer, next);
  } finally {
    file.close();
  }
}
