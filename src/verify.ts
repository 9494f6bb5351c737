// Reads every byte that matters of every segment and names each fault. Changes nothing.

import { checkCheckpoint, checkpointNumbers, checkpointPath } from "./checkpoint-file.js";
import { directoryPath } from "./directory.js";
import { decodeEntries, decodeLost } from "./entry.js";
import { codeOf, fromSystem, type CorewalError } from "./errors.js";
import { isLive, recoverForReading, requireLog } from "./read-only.js";
import { rangeIn } from "./rebuild.js";
import type { RecoveredLog } from "./recover.js";
import { LogSalvage, type Live, type Salvage } from "./salvage.js";
import type { Storage } from "./storage.js";
import { nodeStorage } from "./storage/node.js";
import { parseSegmentName } from "./segment.js";
import { faultAt, type Fault } from "./survey.js";
import type { Entry, LostRange } from "./types.js";

export type { Fault };

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
  /** Each chain was sealed by a proper close. */
  clean: boolean;
  /** Segment files that were read. */
  segments: number;
  /** Valid frames. */
  frames: number;
  /** User entries in them. */
  entries: number;
  /** First LSN of the lowest segment. */
  firstLsn: number;
  /** Last LSN that opening would recover, of core 0 in a per-core log, see `cores`; 0 if there is none, or if opening would fail. */
  lastLsn: number;
  /** Of all segment files. */
  bytes: number;
  /** Checkpoints that are whole. */
  checkpoints: number;
  /** Core by core, in the order of LSNs; empty if all is well. */
  faults: Fault[];
  /** What an earlier repair has recorded as lost: no fault any more, but no entries either. */
  lost: LostRange[];
  /** The chains that have segments, ascending; one in a striped log. */
  cores: {
    /** The core that writes it; 0 in a striped log. */
    core: number;
    /** Its segment files that were read. */
    segments: number;
    /** Valid frames in it. */
    frames: number;
    /** User entries in them. */
    entries: number;
    /** Its first LSN. */
    firstLsn: number;
    /** Its last LSN that opening would recover; 0 if there is none, or if opening would fail. */
    lastLsn: number;
    /** It was sealed by a proper close. */
    clean: boolean;
    /** As below, for this chain. */
    torn?: NonNullable<VerifyReport["torn"]>;
  }[];
  /** The rest of an interrupted write, which opening would cut off, in the first chain that has one: never acknowledged, no fault. */
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
   * Called before each segment is read; begins again when faults are looked at a second time, since somebody has written meanwhile.
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

/** Checkpoints that are not as they were written, newest first. */
function checkpointFaults(storage: Storage, directory: string): Fault[] {
  return checkpointNumbers(storage, directory).flatMap((number) => {
    const path = checkpointPath(directory, number);
    try {
      checkCheckpoint(storage, directory, number, true);
      return [];
    } catch (error) {
      // It may have been the oldest, and another process may have made a newer one.
      if (codeOf(error) === "ENOENT") return [];
      const { code, offset = 0, message } = fromSystem(error, "reading the checkpoint", path) as CorewalError;
      const kind = code === "COREWAL_CORRUPT" ? "checkpoint" : code === "COREWAL_UNKNOWN_VERSION" ? "version" : "io";
      return [faultAt(0, path, offset, 0, kind, message.split(` (${path}`, 1)[0]!)];
    }
  });
}

/** A log as opening sees it, or why it refuses, and what is left of it in any case. */
export function inspect(
  storage: Storage,
  directory: string,
): { salvage: LogSalvage; live: boolean; recovered: RecoveredLog | undefined; refusal: CorewalError | undefined } {
  requireLog(storage, directory);
  let recovered: RecoveredLog | undefined;
  let refusal: CorewalError | undefined;
  let live: boolean;
  try {
    ({ found: recovered, live } = recoverForReading(storage, directory));
  } catch (error) {
    refusal = fromSystem(error, "verifying", directory) as CorewalError;
    if (refusal.code === "COREWAL_NO_PERMISSION") throw refusal;
    live = isLive(storage, directory);
  }
  // While somebody writes, the end of a chain is where he has promised it to be.
  const promised = (chain: number): Live | "unknown" => {
    const tail = recovered?.chains.find((found) => found.chain === chain)?.segments.at(-1);
    return tail === undefined ? "unknown" : { number: tail.header.number, end: tail.endOffset };
  };
  return { salvage: new LogSalvage(storage, directory, live ? promised : undefined), live, recovered, refusal };
}

/** Names of the files, and whether somebody may be writing them: as long as this stays, nobody has done anything to the log. */
const stateOf = (storage: Storage, directory: string): string => `${isLive(storage, directory)} ${storage.list(directory).sort().join()}`;

const same = (a: Fault[], b: Fault[]): boolean => JSON.stringify(a) === JSON.stringify(b);

/** @internal */
export async function verifyLogOn(storage: Storage, directory: string | URL, options: VerifyOptions = {}): Promise<VerifyReport> {
  const path = directoryPath(directory);
  requireLog(storage, path);
  let before = stateOf(storage, path);
  let report = look(storage, path, options);
  // Somebody who opens, drops, cuts or closes meanwhile can look like damage: what is damaged is so at the second look as well.
  for (let attempt = 0; !report.ok && attempt < 10; attempt++) {
    const after = stateOf(storage, path);
    if (after === before) break;
    before = after;
    const again = look(storage, path, options);
    const confirmed = same(again.faults, report.faults);
    report = again;
    if (confirmed) break;
  }
  return report;
}

function look(storage: Storage, path: string, { onProgress }: VerifyOptions): VerifyReport {
  const { salvage, live, recovered, refusal } = inspect(storage, path);
  const report: VerifyReport = {
    ok: true,
    live,
    clean: recovered?.clean ?? false,
    segments: salvage.found.files.length,
    frames: 0,
    entries: 0,
    firstLsn: 1,
    lastLsn: 0,
    bytes: salvage.found.bytes,
    checkpoints: 0,
    faults: [],
    lost: [],
    cores: [],
  };
  const counts = new Map<Salvage, { frames: number; entries: number }>();
  for (const { chain, finding } of salvage.findings(onProgress)) {
    if (finding.is === "fault") report.faults.push(finding.fault);
    if (finding.is !== "frame") continue;
    const { scanner, frame, facts } = finding;
    const count = counts.get(chain) ?? { frames: 0, entries: 0 };
    counts.set(chain, count);
    count.frames++;
    count.entries += facts.userEntries;
    if (facts.userEntries === frame.header.entries) continue;
    const entries: Entry[] = [];
    decodeEntries(scanner.window, frame.at, frame.header, 1, Infinity, true, entries);
    for (const entry of entries) {
      if (entry.kind !== "lost") continue;
      try {
        report.lost.push(rangeIn(salvage.found.topology, chain.found.chain, decodeLost(entry)));
      } catch (error) {
        report.faults.push(faultAt(chain.found.chain, scanner.path, frame.offset, entry.lsn, "frame", (error as Error).message));
      }
    }
  }
  if (live) {
    // What the writer has dropped while it was read, and perhaps zeroed, is no fault.
    const there = new Set(storage.list(path).map((name) => `${path}/${name}`));
    const dropped = new Set(salvage.found.files.filter((file) => !there.has(file)));
    report.faults = report.faults.filter(({ file }) => !dropped.has(file));
  }
  for (const chain of salvage.chains) {
    const { chain: core, links } = chain.found;
    if (links.length === 0) continue;
    const found = recovered?.chains.find((one) => one.chain === core);
    report.cores.push({
      core,
      segments: links.filter(({ content }) => content !== undefined).length,
      ...(counts.get(chain) ?? { frames: 0, entries: 0 }),
      firstLsn: (found?.segments[0]?.header.parentLastLsn ?? 0) + 1,
      lastLsn: found?.lastLsn ?? 0,
      clean: found?.clean ?? false,
      ...(found?.torn === undefined ? {} : { torn: found.torn }),
    });
  }
  const { cores } = report;
  report.frames = cores.reduce((sum, { frames }) => sum + frames, 0);
  report.entries = cores.reduce((sum, { entries }) => sum + entries, 0);
  report.lastLsn = cores.find(({ core }) => core === 0)?.lastLsn ?? 0;
  const torn = cores.find((core) => core.torn !== undefined)?.torn;
  if (torn !== undefined) report.torn = torn;
  // Those of missing chains were found last.
  report.faults.sort((a, b) => a.core - b.core);
  const damaged = checkpointFaults(storage, path);
  report.checkpoints = checkpointNumbers(storage, path).length - damaged.length;
  report.faults.push(...damaged);
  // Opening refuses what the full reading took for sound: that is a fault as well.
  if (refusal !== undefined && report.faults.length === 0)
    report.faults.push(
      faultAt(
        parseSegmentName(refusal.file?.split("/").at(-1) ?? "")?.chain ?? 0,
        refusal.file ?? path,
        refusal.offset ?? 0,
        refusal.lsn ?? 0,
        refusal.code === "COREWAL_UNKNOWN_VERSION" ? "version" : refusal.code === "COREWAL_CORRUPT" ? "chain" : "io",
        refusal.message,
      ),
    );
  report.ok = report.faults.length === 0;
  return report;
}
