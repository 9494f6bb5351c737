// Reads every byte that matters of every segment and names each fault. Changes nothing.

import { directoryPath } from "./directory.js";
import { CorewalError, codeOf, fromSystem } from "./errors.js";
import { recoverForReading, requireLog } from "./read-only.js";
import { segmentNumbers, withFile, WHAT } from "./recover.js";
import { segmentPath } from "./chain.js";
import { SegmentScanner } from "./scan.js";
import { addFrame, emptySummary, readFooter, type SegmentHeader, type SegmentSummary } from "./segment.js";
import type { Storage, StorageFile } from "./storage.js";
import { nodeStorage } from "./storage/node.js";

/**
 * Something that is not as it was written.
 *
 * @example
 * const { faults } = await verifyLog("./data");
 * for (const { file, offset, message } of faults) console.error(`${file} at ${offset}: ${message}`);
 */
export interface Fault {
  /** Path of the file, or of the log's directory. */
  file: string;
  /** Byte offset in the file; 0 also where that is not known. */
  offset: number;
  /** The LSN that should stand there; 0 if that is not known. */
  lsn: number;
  /**
   * What is wrong: the `chain` of segments or its end, a segment's `header`, its `version` (not known here: nothing was
   * judged), a `frame`, a `footer`, or `io`: the system refused to read.
   */
  kind: "chain" | "header" | "version" | "frame" | "footer" | "io";
  /** For people. */
  message: string;
}

/**
 * What {@link verifyLog} found.
 *
 * @example
 * const report: VerifyReport = await verifyLog("./data");
 * console.log(report.ok ? `${report.entries} entries are sound` : `${report.faults.length} faults`);
 */
export interface VerifyReport {
  /** No faults; a torn tail is none. */
  ok: boolean;
  /** Another process is writing, or may be: judged up to what it has promised. */
  live: boolean;
  /** The last segment was sealed by a proper close. */
  clean: boolean;
  /** Segment files that were read. */
  segments: number;
  /** Valid frames. */
  frames: number;
  /** User entries in them. */
  entries: number;
  /** First LSN of the lowest segment. */
  firstLsn: number;
  /** Last LSN that opening would recover; 0 if there is none, or if opening would fail. */
  lastLsn: number;
  /** Of all segment files. */
  bytes: number;
  /** By file and offset; empty if all is well. */
  faults: Fault[];
  /** The rest of an interrupted write, which opening would cut off: never acknowledged, no fault. */
  torn?: {
    /** Path of the segment file. */
    file: string;
    /** Byte offset of the cut. */
    offset: number;
    /** How much would be cut off. */
    bytes: number;
  };
}

/**
 * Options of {@link verifyLog}.
 *
 * @example
 * const options: VerifyOptions = { onProgress: (done, total) => console.log(`segment ${done + 1} of ${total}`) };
 * await verifyLog("./data", options);
 */
export interface VerifyOptions {
  /**
   * Called before each segment is read.
   *
   * @param done segments that were read before
   * @param total segments that there are
   */
  onProgress?: (done: number, total: number) => void;
}

/**
 * Checks a whole log, also one that is open elsewhere: reads every frame of every segment. Changes nothing.
 *
 * @param directory a path or a file: URL
 * @param options progress
 * @returns the report; faults are in there, not thrown
 * @throws As a rejection. CorewalError COREWAL_NOT_A_LOG if there is none, COREWAL_NO_PERMISSION, COREWAL_IO if the
 *   directory cannot be read; TypeError COREWAL_INVALID_OPTION for a bad directory
 * @example
 * const report = await verifyLog("./data");
 * if (!report.ok) console.error(report.faults);
 */
export function verifyLog(directory: string | URL, options?: VerifyOptions): Promise<VerifyReport> {
  return verifyLogOn(nodeStorage, directory, options);
}

/** @internal */
export async function verifyLogOn(storage: Storage, directory: string | URL, { onProgress }: VerifyOptions = {}): Promise<VerifyReport> {
  const path = directoryPath(directory);
  requireLog(storage, path);
  const report: VerifyReport = {
    ok: true,
    live: false,
    clean: false,
    segments: 0,
    frames: 0,
    entries: 0,
    firstLsn: 1,
    lastLsn: 0,
    bytes: 0,
    faults: [],
  };
  try {
    const { found, live } = recoverForReading(storage, path);
    Object.assign(report, { live, clean: found.clean, lastLsn: found.lastLsn, ...(found.torn === undefined ? {} : { torn: found.torn }) });
  } catch (error) {
    report.faults.push(faultOf(error, path, "chain"));
  }
  // Recovery trusts footers; here every frame is read, and damage in one place does not hide the next.
  let child: SegmentHeader | undefined;
  const numbers = segmentNumbers(storage, path);
  for (const number of numbers) {
    onProgress?.(report.segments, numbers.length);
    report.segments++;
    try {
      child = withFile(storage, path, number, (file, header) => {
        verifySegment(file, header, child, report);
        report.firstLsn = header.parentLastLsn + 1;
        return header;
      });
    } catch (error) {
      report.faults.push(
        faultOf(error, segmentPath(path, { chain: 0, number }), codeOf(error) === "COREWAL_UNKNOWN_VERSION" ? "version" : "header"),
      );
      child = undefined;
    }
  }
  report.faults = unique(report.faults).sort((a, b) => a.file.localeCompare(b.file) || a.offset - b.offset);
  report.ok = report.faults.length === 0;
  return report;
}

function faultOf(error: unknown, file: string, kind: Fault["kind"]): Fault {
  const e = fromSystem(error, "verifying", file) as CorewalError;
  return {
    file: e.file ?? file,
    offset: e.offset ?? 0,
    lsn: e.lsn ?? 0,
    kind: e.code === "COREWAL_CORRUPT" || e.code === "COREWAL_UNKNOWN_VERSION" ? kind : "io",
    message: e.message,
  };
}

/** Recovery and the full reading may meet the same fault: the more precise one stays. */
function unique(faults: Fault[]): Fault[] {
  const places = new Set<string>();
  return faults.reverse().filter((f) => {
    const place = `${f.file}:${f.offset}`;
    return !places.has(place) && places.add(place);
  });
}

function verifySegment(file: StorageFile, header: SegmentHeader, child: SegmentHeader | undefined, report: VerifyReport): void {
  const size = file.size();
  report.bytes += size;
  const footer = readFooter(file, header);
  // The next higher file may continue another segment than this one, if one in between is missing.
  const ended = child?.parentNumber === header.number && child.parentSalt === header.salt;
  const end = ended ? child?.parentEnd : footer?.endOffset;
  const summary = emptySummary(header.parentLastLsn + 1);
  const scanner = new SegmentScanner(file, header, Math.min(end ?? size, size));
  const before = report.faults.length;
  try {
    for (;;) {
      const frame = scanner.next();
      if (frame !== undefined) {
        addFrame(summary, scanner.facts(frame));
        continue;
      }
      // The end of an unsealed tail was judged by recovery already.
      if (end === undefined || scanner.offset >= end) break;
      report.faults.push({
        file: file.path,
        offset: scanner.offset,
        lsn: scanner.nextLsn,
        kind: "frame",
        message: `damaged frame: ${WHAT[scanner.reason]}`,
      });
      if (!scanner.resync()) break;
    }
  } finally {
    scanner.close();
  }
  report.frames += summary.frames;
  report.entries += summary.entries;
  if (footer !== undefined && report.faults.length === before && !agrees(footer, summary)) {
    report.faults.push({
      file: file.path,
      offset: footer.endOffset,
      lsn: footer.lastLsn,
      kind: "footer",
      message: "the footer does not say what the frames hold",
    });
  }
}

function agrees(footer: SegmentSummary, found: SegmentSummary): boolean {
  const keys = [
    "firstLsn",
    "lastLsn",
    "frames",
    "entries",
    "payloadBytes",
    "voidLsns",
    "minTerm",
    "maxTerm",
    "minEpoch",
    "maxEpoch",
    "minTimeNs",
    "maxTimeNs",
  ] as const;
  return keys.every((key) => footer[key] === found[key]);
}
