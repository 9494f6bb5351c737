// Cutting the end off a log that nobody writes: truncateAfter. FORMAT.md, "Cutting a chain".
//
// In each chain a new segment continues the one in which the cut lies, from there on. It holds what is kept of the frame
// that the cut goes through. At the commit point everything behind the cut ceases to exist; then its files are removed.
// Chains are cut one after the other: after a crash in between some are, and others are not.

import { commitSegment, linkTo, placeFrame, segmentPath, type ChainSegment } from "./chain.js";
import { checkCheckpoint, checkpointNumbers, checkpointPath } from "./checkpoint-file.js";
import { codeOf, CorewalError, outOfRange } from "./errors.js";
import { randomSalt, toNs, type Chance } from "./chance.js";
import { mergeMarks } from "./marks.js";
import { recoverLog, type RecoveredLog } from "./recover.js";
import { damaged, segmentNumbers, withFile, type Recovered } from "./recover-chain.js";
import { SegmentScanner } from "./scan.js";
import { addFrame, emptySummary, encodeSegmentHeader, firstFrameOffset, NEW_SUFFIX, type SegmentHeader } from "./segment.js";
import { neverWrites, writeAll, type Storage, type StorageFile } from "./storage.js";
import { trimFrame } from "./trim.js";
import type { Topology } from "./types.js";

/** Where a chain begins and ends. */
export interface Bounds {
  chain: number;
  firstLsn: number;
  lastLsn: number;
}

/** Where a cut is possible: never before what a checkpoint needs, or behind the end. Throws, and changes nothing. */
export function requireCut(
  { storage, directory, topology, needsCheckpoint }: { storage: Storage; directory: string; topology: Topology; needsCheckpoint: boolean },
  bounds: Bounds[],
  wanted: number[],
): void {
  wanted.forEach((lsn, chain) => {
    const where = topology === "per-core" ? ` of core ${chain}` : "";
    const { firstLsn, lastLsn } = bounds.find((b) => b.chain === chain) ?? { firstLsn: 1, lastLsn: 0 };
    if (lsn > lastLsn)
      throw outOfRange("COREWAL_INVALID_INPUT", `truncateAfter is given LSN ${lsn}${where}, but the log ends with LSN ${lastLsn}`);
    if (lsn < firstLsn - 1)
      throw new CorewalError(
        "COREWAL_OUT_OF_WINDOW",
        `truncateAfter is given LSN ${lsn}${where}, but the log begins with LSN ${firstLsn}`,
        { lsn },
      );
  });
  if (needsCheckpoint && behind(storage, directory, wanted).length === checkpointNumbers(storage, directory).length)
    throw new CorewalError(
      "COREWAL_OUT_OF_WINDOW",
      "every checkpoint holds entries behind that place, and the beginning of the log has been dropped: nothing whole would be left",
    );
}

/** Checkpoints that hold something behind the cut, or that are damaged. */
function behind(storage: Storage, directory: string, wanted: number[]): number[] {
  return checkpointNumbers(storage, directory).filter((number) => {
    try {
      const { end } = checkCheckpoint(storage, directory, number, false);
      return wanted.some((lsn, chain) => (end[chain] ?? 0) > lsn);
    } catch (error) {
      if (codeOf(error) !== "COREWAL_CORRUPT") throw error;
      return true;
    }
  });
}

/**
 * Cuts a log whose lock the caller holds and that was closed: `wanted` has the last LSN to keep of each chain, holes where it
 * stays. Throws COREWAL_CORRUPT, and changes nothing, if something that is to be kept cannot be read where the cut is.
 */
export function cutLog(storage: Storage, directory: string, wanted: number[], chance: Chance): void {
  const found = recoverLog(storage, directory, "read", neverWrites);
  const cuts = found.chains.flatMap((chain) => {
    const lsn = wanted[chain.chain];
    return lsn !== undefined && lsn < chain.lastLsn ? [findCut(storage, directory, chain, lsn)] : [];
  });
  // First: a state that holds what is gone must not be found beside a log that does not.
  const stale = behind(storage, directory, wanted);
  for (const number of stale) storage.remove(checkpointPath(directory, number));
  if (stale.length > 0) storage.syncDirectory(directory);
  for (const cut of cuts) cutChain(storage, directory, found, cut, chance);
}

/** Where a chain is cut: behind `lsn`. */
interface Cut {
  chain: Recovered;
  lsn: number;
  /** The segment that the cut goes through: what stays of it as it is. */
  parent: ChainSegment;
  /** Where that one ended. */
  endOffset: number;
}

/** Reads what is to be kept of the segment that the cut goes through. */
function findCut(storage: Storage, directory: string, chain: Recovered, lsn: number): Cut {
  const { header, endOffset } = chain.segments.findLast((segment) => segment.header.parentLastLsn <= lsn)!;
  const summary = emptySummary(header.parentLastLsn + 1);
  const parent: ChainSegment = { header, endOffset: firstFrameOffset(header.frameAlign), summary, footer: undefined };
  const cut = { chain, lsn, parent, endOffset };
  return withScanner(storage, directory, cut, (scanner) => {
    for (let frame = scanner.next(); frame !== undefined; frame = scanner.next()) {
      const { firstLsn, lsns } = frame.header;
      if (firstLsn + lsns - 1 > lsn) return cut;
      addFrame(summary, scanner.facts(frame));
      parent.endOffset = frame.end;
      // Frames without LSNs behind the last entry that stays were written after it.
      if (firstLsn + lsns - 1 === lsn && lsns > 0) return cut;
    }
    // There are entries behind the cut.
    throw damaged(scanner, scanner.path);
  });
}

/** Reads the segment that the cut goes through, from where its part that stays ends so far. */
function withScanner<T>(storage: Storage, directory: string, { parent, endOffset }: Cut, use: (scanner: SegmentScanner) => T): T {
  return withFile(storage, directory, parent.header, (file) => {
    const start = { offset: parent.endOffset, nextLsn: parent.summary.lastLsn + 1 };
    const scanner = new SegmentScanner(file, parent.header, endOffset, start);
    try {
      return use(scanner);
    } finally {
      scanner.close();
    }
  });
}

function cutChain(storage: Storage, directory: string, log: RecoveredLog, cut: Cut, chance: Chance): void {
  const { chain, lsn, parent } = cut;
  const complete = log.topology === "per-core" ? log.complete : 0;
  const last = chain.segments.at(-1)!.header;
  const salt = randomSalt(chance);
  const number = last.number + 1;
  const now = toNs(chance.now());
  // Where everything before it was dropped, only what is cut off says how far time has come.
  const before = parent.summary.frames > 0 ? parent.summary.maxTimeNs : last.floor > 0 ? chain.timeNs : 0n;
  const path = segmentPath(directory, { chain: chain.chain, number });
  const file = storage.create(path + NEW_SUFFIX);
  let end = firstFrameOffset(last.frameAlign);
  try {
    if (parent.summary.lastLsn < lsn) end = withScanner(storage, directory, cut, (scanner) => placeThrough(file, salt, scanner, cut));
    const header: SegmentHeader = {
      ...last,
      salt,
      number,
      ...linkTo(parent),
      term: log.term + 1,
      // Neither epochs nor terms come back, and what was complete lacks nothing but what is not wanted.
      epoch: chain.epoch,
      marks: mergeMarks(chain.marks, { epoch: chain.epoch, complete, chains: [] }),
      createdNs: now > before ? now : before,
      provenEnd: end,
      provenLsn: lsn,
      cutsParent: true,
    };
    writeAll(file, encodeSegmentHeader(header), 0);
    file.sync();
    commitSegment(storage, directory, header, parent);
  } finally {
    file.close();
  }
  const gone = segmentNumbers(storage, directory, chain.chain).filter((n) => n > parent.header.number && n < number);
  for (const n of gone) storage.remove(segmentPath(directory, { chain: chain.chain, number: n }));
  if (gone.length > 0) storage.syncDirectory(directory);
}

/** Writes what is kept of the frame that the cut goes through as the first one of a segment; returns where that ends. */
function placeThrough(to: StorageFile, salt: bigint, scanner: SegmentScanner, { chain, lsn, parent }: Cut): number {
  const { frameAlign } = chain.segments.at(-1)!.header;
  const frame = scanner.next();
  const { window } = scanner;
  if (frame === undefined) throw damaged(scanner, scanner.path);
  const { header, summary } = parent;
  const timeNs = summary.frames > 0 ? summary.maxTimeNs : frame.header.timeNs;
  const kept = trimFrame(window, frame.at, frame.header, header, lsn, timeNs)!;
  return placeFrame(to, { salt, frameAlign }, window, frame.at, kept, firstFrameOffset(frameAlign));
}
