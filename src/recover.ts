// The way back: from the files of a directory to a chain that can be read and continued.
//
//   1. The highest segment number under a final name is where the log ends; parents are followed down.
//   2. A sealed segment is trusted as its footer says. Every other one is read up to its end.
//   3. Behind the last valid frame of the last segment, `judge` decides: clean, torn or corrupt.
//   4. Valid frames that no promise covers are written again into a new segment (copy-forward), because
//      after a failed fsync the page cache may show what the disk does not hold.
//
// Every step can be interrupted and done again. Opening costs what the unsealed tail costs.

import { continueChain, endParent, segmentPath, type ChainIdentity, type ChainSegment, type CopyPlan } from "./chain.js";
import { SegmentScanner, type StopReason } from "./scan.js";
import {
  addFrame,
  corrupt,
  emptySummary,
  parseSegmentName,
  readFooter,
  readSegmentHeader,
  type FrameFacts,
  type SegmentHeader,
} from "./segment.js";
import type { Storage, StorageFile } from "./storage.js";
import type { RecoveryReport } from "./types.js";

/**
 * - `write`: the caller holds the lock and will append; unfinished steps are finished.
 * - `read`: nobody writes; nothing is changed.
 * - `live`: somebody may be writing; only what is promised counts, nothing is changed.
 */
export type RecoverMode = "write" | "read" | "live";

export interface Recovered {
  /** Ascending; empty if there is no log. */
  segments: ChainSegment[];
  lastLsn: number;
  /** Highest found, 0 if none. */
  term: number;
  epoch: number;
  timeNs: bigint;
  clean: boolean;
  scannedBytes: number;
  copied: RecoveryReport["copied"];
  torn: RecoveryReport["torn"];
}

/** What the user is told of it; `now` is what this open goes on with. */
export function reportOf(found: Recovered, now: { term: number; epoch: number }, durationMs: number): RecoveryReport {
  const { clean, lastLsn, scannedBytes, copied, torn, segments } = found;
  return {
    clean,
    created: segments.length === 0,
    segments: segments.length,
    firstLsn: (segments[0]?.header.parentLastLsn ?? 0) + 1,
    lastLsn,
    term: now.term,
    epoch: now.epoch,
    scannedBytes,
    copied,
    torn,
    durationMs,
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
  /** Frames before provenEnd were fsynced before the file got its name. */
  provenEnd: number;
  /** End of the valid frames. */
  validEnd: number;
}

/**
 * What the end of the last segment means. Zeros, garbage and the size of the file prove nothing.
 *
 * | continued | promise ≥ expected or provenEnd > validEnd | sealed | answer  |
 * |-----------|--------------------------------------------|--------|---------|
 * | yes       | any                                        | any    | corrupt: the next segment is missing |
 * | no        | yes                                        | any    | corrupt: something durable is damaged |
 * | no        | no                                         | yes    | clean   |
 * | no        | no                                         | no     | torn: cut here; nothing behind was ever acknowledged |
 */
export function judge(t: TailFacts): "clean" | "torn" | "corrupt" {
  if (t.continued) return "corrupt";
  if (t.promise >= t.expectedLsn || t.provenEnd > t.validEnd) return "corrupt";
  return t.sealed ? "clean" : "torn";
}

// --- the walk -----------------------------------------------------------------------------------

export function recoverChain(
  storage: Storage,
  directory: string,
  mode: RecoverMode,
  make: (found: Recovered) => { identity: ChainIdentity; salt: bigint; nowNs: bigint },
): Recovered {
  const numbers = segmentNumbers(storage, directory);
  const found: Recovered = {
    segments: [],
    lastLsn: 0,
    term: 0,
    epoch: 0,
    timeNs: 0n,
    clean: true,
    scannedBytes: 0,
    copied: undefined,
    torn: undefined,
  };
  if (numbers.length === 0) return found;

  const last = withFile(storage, directory, numbers[0]!, (file, header) => readTail(file, header, mode, found));
  const unfinished: { parent: ChainSegment; next: SegmentHeader }[] = [];
  found.segments.push(last.segment);
  for (let child = last.segment.header; child.parentNumber !== 0;) {
    const name = segmentPath(directory, { chain: child.chain, number: child.parentNumber });
    if (!numbers.includes(child.parentNumber))
      throw corrupt(`segment ${child.parentNumber}, which segment ${child.number} continues, is missing`, name, 0, child.parentLastLsn);
    const parent = withFile(storage, directory, child.parentNumber, (file, header) => readParent(file, header, child, found));
    if (parent.footer?.continued === undefined) unfinished.push({ parent, next: child });
    found.segments.unshift(parent);
    child = parent.header;
  }

  for (const segment of found.segments) absorb(found, segment);
  found.lastLsn = found.copied?.lastLsn ?? last.segment.summary.lastLsn;
  // A process that was killed between rename and fsync of the directory leaves a name that only the cache
  // holds. Before anything relies on it, above all the parent's `continued` mark, or is shown, it is made durable.
  if (mode !== "live" && (!found.clean || unfinished.length > 0)) storage.syncDirectory(directory);
  if (mode !== "write") return found;

  for (const { parent, next } of unfinished) endParent(storage, directory, parent, next);
  if (last.copy !== undefined) {
    const { identity, salt, nowNs } = make(found);
    const { segment, file } = continueChain(storage, identity, last.segment, salt, nowNs, last.copy);
    file.close();
    found.segments.push(segment);
    absorb(found, segment);
  }
  return found;
}

/** Terms, epochs and times go on where the log ends, never back. */
function absorb(found: Recovered, { summary, header }: ChainSegment): void {
  found.term = Math.max(found.term, header.term, summary.maxTerm);
  found.epoch = Math.max(found.epoch, header.epoch, summary.maxEpoch);
  if (summary.maxTimeNs > found.timeNs) found.timeNs = summary.maxTimeNs;
}

/** Segment numbers of the chain, highest first. */
export function segmentNumbers(storage: Storage, directory: string): number[] {
  return storage
    .list(directory)
    .map(parseSegmentName)
    .filter((name) => name?.chain === 0)
    .map((name) => name!.number)
    .sort((a, b) => b - a);
}

export function withFile<T>(storage: Storage, directory: string, number: number, use: (file: StorageFile, header: SegmentHeader) => T): T {
  const file = storage.open(segmentPath(directory, { chain: 0, number }), "read");
  try {
    const header = readSegmentHeader(file);
    if (header.number !== number) throw corrupt(`the file's name says segment ${number}, its header ${header.number}`, file.path, 64);
    return use(file, header);
  } finally {
    file.close();
  }
}

/** A segment that another one continues: everything before the child's parentEnd is proven. */
function readParent(file: StorageFile, header: SegmentHeader, child: SegmentHeader, found: Recovered): ChainSegment {
  if (header.salt !== child.parentSalt || !Buffer.from(header.logId).equals(child.logId)) {
    throw corrupt(`segment ${header.number} is not the one that segment ${child.number} continues`, file.path, 48, child.parentLastLsn);
  }
  const footer = readFooter(file, header);
  if (footer !== undefined) {
    const { continued } = footer;
    if (
      footer.endOffset !== child.parentEnd ||
      footer.lastLsn !== child.parentLastLsn ||
      (continued !== undefined && (continued.number !== child.number || continued.salt !== child.salt))
    ) {
      throw corrupt(
        `footer of segment ${header.number} and header of segment ${child.number} disagree`,
        file.path,
        footer.endOffset,
        child.parentLastLsn,
      );
    }
    return { header, endOffset: footer.endOffset, summary: footer, footer };
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
        promise: sealed.lastLsn,
        provenEnd: header.provenEnd,
        validEnd: sealed.endOffset,
      }) === "corrupt"
    ) {
      throw corrupt(
        `segment ${sealed.continued?.number ?? header.number + 1}, which continues segment ${header.number}, is missing`,
        file.path,
        sealed.endOffset,
        sealed.lastLsn + 1,
      );
    }
    return { segment: { header, endOffset: sealed.endOffset, summary: sealed, footer: sealed }, copy: undefined };
  }

  const summary = emptySummary(header.parentLastLsn + 1);
  const scanner = new SegmentScanner(file, header, file.size());
  try {
    let promise = header.provenLsn;
    /** Frames that no promise covers yet; `summary` and `provenEnd` cover the others. */
    let open: { bytes: number; end: number; facts: FrameFacts }[] = [];
    let provenEnd = scanner.offset;
    for (let frame = scanner.next(); frame !== undefined; frame = scanner.next()) {
      promise = Math.max(promise, frame.header.durableLsn);
      open.push({ bytes: frame.header.bytes, end: frame.end, facts: scanner.facts(frame) });
      // An empty frame was not fsynced for its own sake: only a later frame with entries proves it.
      const proven = open.findLastIndex(({ facts }) => facts.lsns > 0 && facts.firstLsn + facts.lsns - 1 <= promise);
      for (const { end, facts } of open.splice(0, proven + 1)) {
        addFrame(summary, facts);
        provenEnd = end;
      }
    }
    const validEnd = scanner.offset;
    const evidence = scanner.evidence();
    found.scannedBytes += validEnd;
    const verdict = judge({
      sealed: evidence.footer !== undefined,
      continued: evidence.footer?.continued !== undefined,
      expectedLsn: scanner.nextLsn,
      promise: Math.max(promise, evidence.promise),
      provenEnd: header.provenEnd,
      validEnd,
    });
    if (verdict === "corrupt") throw damaged(scanner, file.path);
    if (verdict === "clean") {
      // The footer was written, but the file was not yet cut behind it.
      return { segment: { header, endOffset: validEnd, summary: evidence.footer!, footer: evidence.footer }, copy: undefined };
    }
    found.clean = false;
    const segment: ChainSegment = { header, endOffset: provenEnd, summary, footer: undefined };
    if (mode === "live") return { segment, copy: undefined };
    if (evidence.usedTo > validEnd) found.torn = { file: file.path, offset: validEnd, bytes: evidence.usedTo - validEnd };
    open = open.filter(({ facts }) => facts.lsns > 0);
    if (open.length === 0) return { segment, copy: undefined };
    found.copied = {
      frames: open.length,
      entries: open.reduce((sum, f) => sum + f.facts.userEntries, 0),
      bytes: open.reduce((sum, f) => sum + f.bytes, 0),
      firstLsn: open[0]!.facts.firstLsn,
      lastLsn: scanner.nextLsn - 1,
    };
    if (mode === "write") return { segment, copy: { end: validEnd, frames: open.map((f) => ({ bytes: f.bytes, lsns: f.facts.lsns })) } };
    // Whoever reads without writing must not show what might be in the page cache only.
    file.sync();
    for (const { facts } of open) addFrame(summary, facts);
    segment.endOffset = validEnd;
    return { segment, copy: undefined };
  } finally {
    scanner.close();
  }
}
