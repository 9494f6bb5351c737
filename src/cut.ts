// Cutting the end off a log that nobody writes: truncateAfter. FORMAT.md, "Cutting a chain".
//
// In each chain a new segment continues the one in which the cut lies, from there on. It holds what is kept of the frame
// that the cut goes through. At the commit point everything behind the cut ceases to exist; then its files are removed.
// Chains are cut one after the other: after a crash in between some are, and others are not.

import { ENTRY_KIND, ENTRY_PAYLOAD_BYTES, FRAME_HEADER_BYTES, KIND_VOID, WINDOW } from "../assembly/layout.js";
import { commitSegment, linkTo, placeFrame, segmentPath, type ChainSegment } from "./chain.js";
import { checkCheckpoint, checkpointNumbers, checkpointPath } from "./checkpoint-file.js";
import { borrowWindow, entrySeed, returnWindow, type Core } from "./core.js";
import { bodyBytesOf, lsnsOf } from "./entry.js";
import { CorewalError, outOfRange } from "./errors.js";
import { randomSalt, toNs, type Chance } from "./flusher.js";
import { headersChecksum, writeAgain } from "./rebuild.js";
import { recoverLog } from "./recover.js";
import { segmentNumbers, withFile, type Recovered } from "./recover-chain.js";
import { SegmentScanner, type ScannedFrame } from "./scan.js";
import { addFrame, emptySummary, encodeSegmentHeader, firstFrameOffset, NEW_SUFFIX, type SegmentHeader } from "./segment.js";
import { neverWrites, writeAll, type Storage } from "./storage.js";
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

/** Checkpoints that hold something behind the cut, or that nobody can read. */
function behind(storage: Storage, directory: string, wanted: number[]): number[] {
  return checkpointNumbers(storage, directory).filter((number) => {
    try {
      const { end } = checkCheckpoint(storage, directory, number, false);
      return wanted.some((lsn, chain) => (end[chain] ?? 0) > lsn);
    } catch {
      return true;
    }
  });
}

/** Cuts a log whose lock the caller holds and that was closed: `wanted` has the last LSN to keep of each chain, holes where it stays. */
export function cutLog(storage: Storage, directory: string, wanted: number[], chance: Chance): void {
  const found = recoverLog(storage, directory, "read", neverWrites);
  // First: a state that holds what is gone must not be found beside a log that does not.
  const stale = behind(storage, directory, wanted);
  for (const number of stale) storage.remove(checkpointPath(directory, number));
  if (stale.length > 0) storage.syncDirectory(directory);
  for (const chain of found.chains) {
    const lsn = wanted[chain.chain];
    if (lsn !== undefined && lsn < chain.lastLsn) cutChain(storage, directory, found.term + 1, chain, lsn, chance);
  }
}

function cutChain(storage: Storage, directory: string, term: number, chain: Recovered, lsn: number, chance: Chance): void {
  const at = chain.segments.findLastIndex(({ header }) => header.parentLastLsn <= lsn);
  const last = chain.segments.at(-1)!.header;
  const { header: parentHeader } = chain.segments[at]!;
  const parent: ChainSegment = {
    header: parentHeader,
    endOffset: firstFrameOffset(parentHeader.frameAlign),
    summary: emptySummary(parentHeader.parentLastLsn + 1),
    footer: undefined,
  };
  const salt = randomSalt(chance);
  const number = last.number + 1;
  const path = segmentPath(directory, { chain: chain.chain, number });
  const file = storage.create(path + NEW_SUFFIX);
  const first = firstFrameOffset(last.frameAlign);
  let end = first;
  try {
    const through = keepUpTo(storage, directory, parent, chain.segments[at]!.endOffset, lsn);
    try {
      // Of the frame that the cut goes through.
      if (through !== undefined) end = placeFrame(file, { salt, frameAlign: last.frameAlign }, through.core, WINDOW, through.header, first);
    } finally {
      if (through !== undefined) returnWindow(through.core);
    }
    const header: SegmentHeader = {
      ...last,
      salt,
      number,
      ...linkTo(parent),
      term,
      // Neither epochs nor terms come back.
      epoch: chain.epoch,
      createdNs: toNs(chance.now()),
      provenEnd: end,
      provenLsn: lsn,
      cutsParent: true,
    };
    writeAll(file, encodeSegmentHeader(header), 0);
    file.sync();
    writeAgain(storage, segmentPath(directory, parentHeader), parent);
    commitSegment(storage, directory, header, parent);
  } finally {
    file.close();
  }
  const gone = segmentNumbers(storage, directory, chain.chain).filter((n) => n > parentHeader.number && n < number);
  for (const n of gone) storage.remove(segmentPath(directory, { chain: chain.chain, number: n }));
  if (gone.length > 0) storage.syncDirectory(directory);
}

interface Through {
  core: Core;
  header: ScannedFrame["header"];
}

/** Moves the parent's end to where the first frame with something behind `lsn` stands; gives what is to be kept of that. */
function keepUpTo(storage: Storage, directory: string, parent: ChainSegment, end: number, lsn: number): Through | undefined {
  return withFile(storage, directory, parent.header, (file) => {
    const scanner = new SegmentScanner(file, parent.header, end);
    try {
      for (let frame = scanner.next(); frame !== undefined; frame = scanner.next()) {
        const { firstLsn, lsns } = frame.header;
        if (firstLsn + lsns - 1 > lsn) return firstLsn <= lsn ? firstEntries(scanner.window, frame, parent.header, lsn) : undefined;
        addFrame(parent.summary, scanner.facts(frame));
        parent.endOffset = frame.end;
        // Frames without LSNs behind the last entry that stays were written after it.
        if (firstLsn + lsns - 1 === lsn && lsns > 0) return undefined;
      }
      return undefined;
    } finally {
      scanner.close();
    }
  });
}

/** The entries of a frame up to `lsn`, as a frame of their own in a window that the caller returns. A hole is cut, too. */
function firstEntries({ bytes }: Core, { at, header }: ScannedFrame, { logId }: SegmentHeader, lsn: number): Through {
  const core = borrowWindow(Math.ceil(header.bytes / 65536) * 65536);
  core.bytes.set(bytes.subarray(at, at + header.bytes), WINDOW);
  const body = WINDOW + FRAME_HEADER_BYTES;
  let p = body;
  let entries = 0;
  let next = header.firstLsn;
  while (next <= lsn) {
    const kind = core.view.getUint8(p + ENTRY_KIND);
    const lsns = lsnsOf(core, p);
    if (kind === KIND_VOID && next + lsns - 1 > lsn) {
      const stripe = core.view.getUint8(p + ENTRY_KIND + 1);
      const payload = core.x.entry_begin(p, 8, 0, KIND_VOID, stripe);
      core.view.setBigUint64(payload, BigInt(lsn - next + 1), true);
      core.x.entry_end(entrySeed(core, logId, header.term), p);
      core.x.entry_seal(p, next);
      next = lsn + 1;
    } else {
      next += lsns;
    }
    p += bodyBytesOf(core.view.getUint32(p + ENTRY_PAYLOAD_BYTES, true));
    entries++;
  }
  const headersCrc = headersChecksum(core, body, p);
  return { core, header: { ...header, bytes: p - WINDOW, entries, lsns: lsn - header.firstLsn + 1, headersCrc } };
}
