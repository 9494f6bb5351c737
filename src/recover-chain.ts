// The way back of one chain: from its files to segments that can be read and continued. recover.ts calls it for each.
//
//   1. The highest segment number under a final name is where the chain ends; parents are followed down.
//   2. A sealed segment is trusted as its footer says. Every other one is read up to its end.
//   3. Behind the last valid frame of the last segment, `judge` decides: clean, torn or corrupt.
//   4. Valid frames that no promise covers are written again into a new segment (copy-forward), because
//      after a failed fsync the page cache may show what the disk does not hold.
//
// 1 to 3 (`findChain`) change nothing, so that a log of many chains is known before anything is done to one of them.
// Every step can be interrupted and done again. Opening costs what the unsealed tail costs.

import { continueChain, endParent, segmentPath, type ChainIdentity, type ChainSegment, type CopyPlan } from "./chain.js";
import { SegmentScanner, type StopReason } from "./scan.js";
import { readFooter, type Footer } from "./footer.js";
import { codeOf } from "./errors.js";
import { mergeMarks, NO_MARKS, type Marks } from "./marks.js";
import { Proven } from "./proven.js";
import { addFrame, corrupt, emptySummary, parseSegmentName, readSegmentHeader, type SegmentHeader } from "./segment.js";
import type { Storage, StorageFile } from "./storage.js";
import type { RecoveryReport } from "./types.js";

/**
 * - `write`: the caller holds the lock and will append; unfinished steps are finished.
 * - `read`: nobody writes; nothing is changed.
 * - `live`: somebody may be writing; only what is promised counts, nothing is changed.
 */
export type RecoverMode = "write" | "read" | "live";

/** One chain. */
export interface Recovered {
  chain: number;
  /** Ascending; empty if the chain has none. With those that recovery made. */
  segments: ChainSegment[];
  lastLsn: number;
  /** Highest found, 0 if none, as are the next two. */
  term: number;
  epoch: number;
  timeNs: bigint;
  /** All that were found, merged. */
  marks: Marks;
  /** Number of the lowest segment that is part of the log; 0: none was dropped. */
  floor: number;
  /** What was dropped is held by a checkpoint only. */
  needsCheckpoint: boolean;
  /** Of the log that this one was restored from. */
  origin: Uint8Array | undefined;
  clean: boolean;
  scannedBytes: number;
  copied: RecoveryReport["copied"];
  torn: RecoveryReport["torn"];
}

export function emptyChain(chain: number): Recovered {
  return {
    chain,
    segments: [],
    lastLsn: 0,
    term: 0,
    epoch: 0,
    timeNs: 0n,
    marks: NO_MARKS,
    floor: 0,
    needsCheckpoint: false,
    origin: undefined,
    clean: true,
    scannedBytes: 0,
    copied: undefined,
    torn: undefined,
  };
}

// --- the decision table -------------------------------------------------------------------------

export interface TailFacts {
  /** A valid footer stands at the end of the valid frames. */
  sealed: boolean;
  /** … and says that another segment follows, which is not there. */
  continued: boolean;
  /** LSN that the first invalid frame should have had. */
  expectedLsn: number;
  /** The highest LSN that any valid header or footer of the segment calls durable. */
  promise: number;
  /** The highest epoch of the valid frames and the segment's header. */
  epoch: number;
  /** The highest epoch that any valid header or footer of the segment calls durable. */
  promisedEpoch: number;
  /** Frames before provenEnd were fsynced before the file got its name. */
  provenEnd: number;
  /** End of the valid frames. */
  validEnd: number;
}

/**
 * What the end of the last segment means. Zeros, garbage and the size of the file prove nothing.
 *
 * | continued | promise ≥ expected, promisedEpoch > epoch or provenEnd > validEnd | sealed | answer  |
 * |-----------|---------------------------------------------------------------------|--------|---------|
 * | yes       | any                                                                 | any    | corrupt: the next segment is missing |
 * | no        | yes                                                                 | any    | corrupt: something durable is damaged |
 * | no        | no                                                                  | yes    | clean   |
 * | no        | no                                                                  | no     | torn: cut here; nothing behind was ever acknowledged |
 */
export function judge(t: TailFacts): "clean" | "torn" | "corrupt" {
  if (t.continued) return "corrupt";
  if (t.promise >= t.expectedLsn || t.promisedEpoch > t.epoch || t.provenEnd > t.validEnd) return "corrupt";
  return t.sealed ? "clean" : "torn";
}

// --- the walk -----------------------------------------------------------------------------------

/** What was found of a chain, and what is still to be done to it. */
export interface FoundChain {
  found: Recovered;
  /** Parents without a footer that says what their child says. */
  unfinished: { parent: ChainSegment; next: SegmentHeader }[];
  copy: CopyPlan | undefined;
}

/** Finds a chain that has segments; changes nothing. */
export function findChain(storage: Storage, directory: string, chain: number, mode: RecoverMode): FoundChain {
  const found = emptyChain(chain);
  const numbers = segmentNumbers(storage, directory, chain);
  const last = withFile(storage, directory, { chain, number: numbers[0]! }, (file, header) => readTail(file, header, mode, found));
  const unfinished: FoundChain["unfinished"] = [];
  found.segments.push(last.segment);
  const { floor, needsCheckpoint, origin } = last.segment.header;
  Object.assign(found, { floor, needsCheckpoint, origin });
  // What was dropped is ignored, whatever of it is still there.
  for (let child = last.segment.header; child.parentNumber !== 0 && child.parentNumber >= floor;) {
    const place = { chain, number: child.parentNumber };
    if (!numbers.includes(child.parentNumber))
      throw corrupt(
        `segment ${child.parentNumber}, which segment ${child.number} continues, is missing`,
        segmentPath(directory, place),
        0,
        child.parentLastLsn,
      );
    const parent = withFile(storage, directory, place, (file, header) => readParent(file, header, child, found));
    if (parent.footer?.continued === undefined) unfinished.push({ parent, next: child });
    found.segments.unshift(parent);
    child = parent.header;
  }
  for (const { header, summary } of found.segments) {
    // Of what was dropped only that is known.
    absorb(found, header.term, header.epoch, floor > 0 ? header.createdNs : 0n, header.marks);
    absorb(found, summary.maxTerm, summary.maxEpoch, summary.maxTimeNs, summary.marks);
  }
  found.lastLsn = found.copied?.lastLsn ?? last.segment.summary.lastLsn;
  return { found, unfinished, copy: last.copy };
}

/** Terms, epochs and times go on where the chain ends, never back. */
function absorb(found: Recovered, term: number, epoch: number, timeNs: bigint, marks: Marks | undefined): void {
  found.term = Math.max(found.term, term);
  found.epoch = Math.max(found.epoch, epoch);
  if (timeNs > found.timeNs) found.timeNs = timeNs;
  if (marks !== undefined) found.marks = mergeMarks(found.marks, marks);
}

/** Ends parents that their child has cut short, and copies forward. */
export function finishChain(
  storage: Storage,
  directory: string,
  { found, unfinished, copy }: FoundChain,
  identity: ChainIdentity,
  salt: () => bigint,
  nowNs: bigint,
): void {
  for (const { parent, next } of unfinished) endParent(storage, directory, parent, next);
  if (copy === undefined) return;
  const { segment, file } = continueChain(storage, identity, found.segments.at(-1), salt(), nowNs, copy);
  file.close();
  found.segments.push(segment);
}

/** Numbers of the chains that have segments, ascending. */
export function chainNumbers(storage: Storage, directory: string): number[] {
  const chains = new Set(storage.list(directory).flatMap((name) => parseSegmentName(name)?.chain ?? []));
  return [...chains].sort((a, b) => a - b);
}

/** Segment numbers of a chain, highest first. */
export function segmentNumbers(storage: Storage, directory: string, chain: number): number[] {
  return storage
    .list(directory)
    .map(parseSegmentName)
    .filter((name) => name?.chain === chain)
    .map((name) => name!.number)
    .sort((a, b) => b - a);
}

/** Opens a segment to read, header checked. */
export function withFile<T>(
  storage: Storage,
  directory: string,
  { chain, number }: { chain: number; number: number },
  use: (file: StorageFile, header: SegmentHeader) => T,
): T {
  const file = storage.open(segmentPath(directory, { chain, number }), "read");
  try {
    const header = readSegmentHeader(file);
    if (header.number !== number || header.chain !== chain)
      throw corrupt(
        `the file's name says segment ${number} of chain ${chain}, its header ${header.number} of chain ${header.chain}`,
        file.path,
        64,
      );
    return use(file, header);
  } catch (error) {
    // A segment that was dropped since it was opened, and is being zeroed: it is gone, not damaged.
    if (codeOf(error) === "COREWAL_CORRUPT") storage.open(file.path, "read").close();
    throw error;
  } finally {
    file.close();
  }
}

/** Does the footer of a segment say what the header of the one that continues it says? */
export function endsFor({ endOffset, lastLsn, continued }: Footer, child: SegmentHeader): boolean {
  const marked = continued === undefined || (continued.number === child.number && continued.salt === child.salt);
  return endOffset === child.parentEnd && lastLsn === child.parentLastLsn && marked;
}

/** A segment that another one continues: everything before the child's parentEnd is proven. */
export function readParent(file: StorageFile, header: SegmentHeader, child: SegmentHeader, found: Recovered): ChainSegment {
  if (header.salt !== child.parentSalt || header.topology !== child.topology || !Buffer.from(header.logId).equals(child.logId)) {
    throw corrupt(`segment ${header.number} is not the one that segment ${child.number} continues`, file.path, 48, child.parentLastLsn);
  }
  const footer = readFooter(file, header);
  if (footer !== undefined && endsFor(footer, child)) return { header, endOffset: footer.endOffset, summary: footer, footer };
  // A segment that was cut has the footer of before until it is sealed again.
  if (footer !== undefined && !child.cutsParent) {
    throw corrupt(
      `footer of segment ${header.number} and header of segment ${child.number} disagree`,
      file.path,
      footer.endOffset,
      child.parentLastLsn,
    );
  }
  const summary = emptySummary(header.parentLastLsn + 1);
  const scanner = new SegmentScanner(file, header, Math.min(child.parentEnd, file.size()));
  try {
    for (let frame = scanner.next(); frame !== undefined; frame = scanner.next()) addFrame(summary, scanner.facts(frame));
    found.scannedBytes += scanner.offset;
    if (scanner.offset !== child.parentEnd || scanner.nextLsn !== child.parentLastLsn + 1) throw damaged(scanner, file.path);
  } finally {
    scanner.close();
  }
  return { header, endOffset: child.parentEnd, summary, footer: undefined };
}

export const WHAT: Record<StopReason, string> = {
  end: "the file ends too early",
  "no header": "there is no valid frame header",
  "cut short": "the frame is longer than the file",
  "wrong LSN": "the frame has the wrong LSNs",
  "bad layout": "the frame's entries do not fit together",
  "bad entry headers": "an entry's header is damaged",
  "bad entry": "an entry is damaged",
};

export function damaged(scanner: { reason: StopReason; offset: number; nextLsn: number }, path: string): Error {
  return corrupt(`damage where LSN ${scanner.nextLsn} was durable: ${WHAT[scanner.reason]}`, path, scanner.offset, scanner.nextLsn);
}

/** The last segment: sealed by a clean close, or read to its end and judged. */
function readTail(
  file: StorageFile,
  header: SegmentHeader,
  mode: RecoverMode,
  found: Recovered,
): { segment: ChainSegment; copy: CopyPlan | undefined } {
  const sealed = readFooter(file, header);
  if (sealed !== undefined) {
    if (
      judge({
        sealed: true,
        continued: sealed.continued !== undefined,
        expectedLsn: sealed.lastLsn + 1,
        promise: Math.max(sealed.lastLsn, header.provenLsn),
        epoch: Math.max(header.epoch, sealed.maxEpoch),
        promisedEpoch: 0,
        provenEnd: header.provenEnd,
        validEnd: sealed.endOffset,
      }) === "corrupt"
    ) {
      throw corrupt(
        sealed.continued === undefined
          ? "the segment ends before what its header calls durable"
          : `segment ${sealed.continued.number}, which continues segment ${header.number}, is missing`,
        file.path,
        sealed.endOffset,
        sealed.lastLsn + 1,
      );
    }
    return { segment: { header, endOffset: sealed.endOffset, summary: sealed, footer: sealed }, copy: undefined };
  }

  const proven = new Proven(header, header.parentLastLsn + 1);
  const { summary } = proven;
  const scanner = new SegmentScanner(file, header, file.size());
  try {
    let evidence: ReturnType<SegmentScanner["evidence"]>;
    let verdict: ReturnType<typeof judge>;
    for (let lookedAt = -1; ; lookedAt = scanner.offset) {
      for (let frame = scanner.next(); frame !== undefined; frame = scanner.next()) proven.add(frame, scanner.facts(frame));
      evidence = scanner.evidence();
      verdict = judge({
        sealed: evidence.footer !== undefined,
        continued: evidence.footer?.continued !== undefined,
        expectedLsn: scanner.nextLsn,
        promise: Math.max(proven.promise, evidence.promise),
        epoch: proven.epoch,
        promisedEpoch: Math.max(proven.promisedEpoch, evidence.promisedEpoch),
        provenEnd: header.provenEnd,
        validEnd: scanner.offset,
      });
      // Somebody who writes may have gone on in between: a frame is whole before a promise behind it covers it, so once
      // the promise was seen it is read again.
      if (verdict !== "corrupt" || mode !== "live" || lookedAt === scanner.offset) break;
    }
    const validEnd = scanner.offset;
    found.scannedBytes += validEnd;
    if (verdict === "corrupt") throw damaged(scanner, file.path);
    if (verdict === "clean") {
      if (evidence.footer!.lastLsn !== scanner.nextLsn - 1)
        throw corrupt(
          `the footer says that LSN ${evidence.footer!.lastLsn} is the last, but the frames before it go on`,
          file.path,
          validEnd,
        );
      // The footer was written, but the file was not yet cut behind it.
      return { segment: { header, endOffset: validEnd, summary: evidence.footer!, footer: evidence.footer }, copy: undefined };
    }
    found.clean = false;
    const segment: ChainSegment = { header, endOffset: proven.end, summary, footer: undefined };
    if (mode === "live") return { segment, copy: undefined };
    if (evidence.usedTo > validEnd) found.torn = { file: file.path, offset: validEnd, bytes: evidence.usedTo - validEnd };
    const open = proven.unproven.map(({ facts }) => facts);
    const copy = proven.copyPlan(validEnd);
    if (copy === undefined) return { segment, copy };
    for (const facts of open) absorb(found, facts.term, facts.epoch, facts.timeNs, facts.marks);
    found.copied = {
      frames: open.length,
      entries: open.reduce((sum, { userEntries }) => sum + userEntries, 0),
      bytes: copy.frames.reduce((sum, { bytes }) => sum + bytes, 0),
      firstLsn: open[0]!.firstLsn,
      lastLsn: scanner.nextLsn - 1,
    };
    if (mode === "write") return { segment, copy };
    // Whoever reads without writing must not show what might be in the page cache only.
    file.sync();
    for (const facts of open) addFrame(summary, facts);
    segment.endOffset = validEnd;
    return { segment, copy: undefined };
  } finally {
    scanner.close();
  }
}
