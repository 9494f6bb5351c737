// The bad day: a log that is damaged becomes one that opens again, at a price that the caller has chosen and is told.
//
//   1. Everything is read (salvage.ts). A chain is sound up to its first fault.
//   2. What is to be kept behind it, and what stands before it and may be in the cache only, is written into one new
//      segment, beside a record of what is lost. fsync.
//   3. Rename to a number above every other: the commit point. The new segment continues the sound part, which it cuts
//      off where it is no longer proven; what stood behind is no longer part of the log.
//   4. The sound part is sealed there. Files that are no longer part of the log get names that nothing looks at.
//
// A crash before 3 leaves the damaged chain as it was, one after it a chain that is mended. Nothing is deleted: of a
// segment that is cut, a copy is made first. No LSN of a lost entry is ever given again: a `void` holds its place.
//
// Each chain of a per-core log is mended by itself; those without a fault stay as they are. All of them are through 2
// before one comes to 3, and 4 is for all together. A crash in between leaves some mended and others as they were, and the
// same repair ends it. Of a chain without any segment nobody knows how far it went: it gets an empty one that says so.

import { FRAME_HEADER_BYTES, KIND_LOST, KIND_VOID, WINDOW } from "../assembly/layout.js";
import { commitSegment, copyFrames, linkTo, placeFrame, segmentPath, type ChainSegment, type CopyPlan } from "./chain.js";
import { borrowWindow, entrySeed, returnWindow, type Core } from "./core.js";
import { encodeLost, headersChecksum } from "./entry.js";
import { CorewalError } from "./errors.js";
import { randomSalt, toNs, type Chance } from "./chance.js";
import type { FrameHeader } from "./frame.js";
import { recoverLog } from "./recover.js";
import { LogSalvage, type Finding, type Salvage, type SavedEntries } from "./salvage.js";
import { frameFacts } from "./scan.js";
import { readFooter, seal } from "./footer.js";
import {
  addFrame,
  emptySummary,
  encodeSegmentHeader,
  firstFrameOffset,
  NEW_SUFFIX,
  REMOVED_SUFFIX,
  SEGMENT_NUMBER_MAX,
  type FrameFacts,
  type SegmentHeader,
} from "./segment.js";
import { mergeMarks, NO_MARKS, type Marks } from "./marks.js";
import { neverWrites, readSome, writeAll, type Storage, type StorageFile } from "./storage.js";
import type { Fault } from "./survey.js";
import { TolerantFile } from "./tolerant-file.js";
import type { LostRange, Topology } from "./types.js";

/**
 * What becomes of a damaged log; of a per-core one, of each damaged chain, while the others stay as they are.
 * - `truncate`: it ends before the first fault, as if nothing had been appended afterwards
 * - `skip`: only what cannot be read is lost; everything whole before and behind it stays
 *
 * @example
 * const policy: RepairPolicy = "skip";
 * await repairLog("./data", { policy });
 */
export type RepairPolicy = "truncate" | "skip";

/**
 * What a repair did, or, with `dryRun`, would do.
 *
 * @example
 * const { damaged, lost, removed }: RepairReport = await repairLog("./data", { policy: "skip", dryRun: true });
 * if (damaged) console.log("would lose", lost, "and keep the old files as", removed);
 */
export interface RepairReport {
  /** As asked for. */
  policy: RepairPolicy;
  /** Nothing was changed. */
  dryRun: boolean;
  /** There was something to repair. */
  damaged: boolean;
  /** Each fault that was found, core by core. */
  faults: Fault[];
  /** LSNs whose entries are gone from the log, core by core, ascending. They are never given again. */
  lost: LostRange[];
  /** User entries behind the first fault that stay in the log; 0 with `truncate`. */
  saved: number;
  /** Last LSN of the log afterwards, of core 0 in a per-core one, see `cores`. */
  lastLsn: number;
  /** The chains, ascending; one in a striped log. */
  cores: {
    /** The core that writes it; 0 in a striped log. */
    core: number;
    /** There was something to repair. */
    damaged: boolean;
    /** Its last LSN afterwards. */
    lastLsn: number;
  }[];
  /** Files that hold what is no longer part of the log, each with the name that it had. */
  removed: {
    /** Path of a segment file. */
    from: string;
    /** Where it is now, or a copy of it; with `dryRun` it would be named so. */
    to: string;
  }[];
}

/** Terms that a lost end of the log may have used: nobody knows how many, so many are passed over. */
const TERMS_UNKNOWN = 1_000_000;
/** LSNs that one `void` stands for at most. */
const VOID_LSNS_MAX = 2 ** 31;

/** Repairs a log whose lock the caller holds. Throws COREWAL_UNKNOWN_VERSION if a newer corewal wrote some of it. */
export function rebuild(
  storage: Storage,
  directory: string,
  policy: RepairPolicy,
  dryRun: boolean,
  chance: Chance,
  onProgress?: (done: number, total: number) => void,
): RepairReport {
  const log = new LogSalvage(storage, directory);
  if (log.found.unknownVersion !== undefined) throw log.found.unknownVersion;
  const repairs = new Map<Salvage, ChainRepair>();
  const repairOf = (chain: Salvage): ChainRepair => {
    const repair = repairs.get(chain) ?? new ChainRepair(log, chain, policy, dryRun ? undefined : { storage, chance });
    repairs.set(chain, repair);
    return repair;
  };
  try {
    for (const { chain, finding } of log.findings(onProgress)) repairOf(chain).take(finding);
    const all = log.chains.map(repairOf);
    for (const repair of all) repair.end();
    const facts = factsOf(log);
    const endKnown = all.every((repair) => repair.endKnown);
    const full = all.some(({ damaged, chain }) => damaged && chain.found.highest >= SEGMENT_NUMBER_MAX);
    const damaged = all.some((repair) => repair.damaged);
    if (full || (damaged && facts.term > Number.MAX_SAFE_INTEGER - TERMS_UNKNOWN))
      throw new CorewalError("COREWAL_LSN_EXHAUSTED", "the log has no segment number or term left for a repair: begin a new log");
    const { copied, moved } = retired(storage, log.found, all);
    const cores = all.filter(({ known }) => known).map((r) => ({ core: r.chain.found.chain, damaged: r.damaged, lastLsn: r.lastLsn }));
    const report: RepairReport = {
      policy,
      dryRun,
      damaged,
      faults: all.flatMap(({ faults }) => faults),
      lost: all.flatMap((repair) => repair.lost),
      saved: all.reduce((sum, { saved }) => sum + saved, 0),
      lastLsn: cores.find(({ core }) => core === 0)?.lastLsn ?? 0,
      cores,
      removed: [...copied, ...moved],
    };
    if (dryRun) return report;
    for (const { from, to } of copied) copyFile(storage, from, to);
    // Names that only the cache may hold: those of copies, since a crash behind the commit point has the segment sealed where it
    // is cut, and those of segments that stay, since others are about to go: an earlier repair may have been killed.
    if (damaged || moved.length > 0) storage.syncDirectory(directory);
    for (const { next } of all) next?.commit({ ...facts, term: facts.term + (endKnown ? 1 : TERMS_UNKNOWN) });
    for (const { from, to } of moved) storage.rename(from, to);
    if (moved.length > 0) storage.syncDirectory(directory);
    // What is promised above is looked at once more, by those who will rely on it.
    recoverLog(storage, directory, "read", neverWrites);
    return report;
  } catch (error) {
    for (const { next } of repairs.values()) next?.abandon();
    throw error;
  }
}

/** What the header of a new segment says of the whole log: nothing of it may go back. */
interface LogFacts {
  term: number;
  epoch: number;
  marks: Marks;
}

const factsOf = ({ chains }: LogSalvage): LogFacts =>
  chains.reduce(
    (facts, { term, epoch, marks }) => ({
      term: Math.max(facts.term, term),
      epoch: Math.max(facts.epoch, epoch),
      marks: mergeMarks(facts.marks, marks),
    }),
    { term: 0, epoch: 0, marks: NO_MARKS },
  );

/** What becomes of one chain. */
class ChainRepair {
  damaged = false;
  readonly faults: Fault[] = [];
  readonly lost: LostRange[] = [];
  saved = 0;
  lastLsn = 0;
  /** Of the log, and nobody has to guess how many there were. */
  endKnown = true;
  next: NewSegment | undefined;
  /** Where the chain ends if nothing behind the first fault is kept. */
  private soundLsn = 0;

  constructor(
    private readonly log: LogSalvage,
    readonly chain: Salvage,
    private readonly policy: RepairPolicy,
    /** Missing: only say what would be done. */
    private readonly hands: { storage: Storage; chance: Chance } | undefined,
  ) {}

  /** Files of others that stand under the chain's names are taken away, and that is all. */
  get known(): boolean {
    const { links } = this.chain.found;
    return links.length > 0 || this.chain.missing !== undefined;
  }

  take(finding: Finding): void {
    const { chain, policy, hands, log } = this;
    if (finding.is === "fault") {
      this.faults.push(finding.fault);
      if (this.damaged) return;
      this.damaged = true;
      this.soundLsn = chain.soundLsn;
      if (hands === undefined || !this.known) return;
      this.next = new NewSegment(hands.storage, log, chain, chain.sound, policy, hands.chance);
      if (chain.unproven !== undefined) this.next.copy(chain.unproven);
    } else if (finding.is === "lost") {
      this.endKnown &&= finding.last !== undefined;
      if (policy === "skip") this.lose(finding.first, finding.last);
    } else if (this.damaged && policy === "skip") {
      this.saved += finding.is === "frame" ? keepFrame(finding, this.next) : keepEntries(finding.entries, this.next);
    }
  }

  end(): void {
    this.lastLsn = this.chain.due - 1;
    if (this.policy !== "truncate" || !this.damaged) return;
    if (this.lastLsn > this.soundLsn) this.lose(this.soundLsn + 1, this.lastLsn);
    if (!this.endKnown) this.lose(this.lastLsn + 1, undefined);
  }

  private lose(first: number, last: number | undefined): void {
    const range = rangeIn(this.log.found.topology, this.chain.found.chain, { first, ...(last === undefined ? {} : { last }) });
    this.lost.push(range);
    this.next?.lose(range);
  }
}

/** As reports name it. */
export const rangeIn = (topology: Topology, core: number, range: LostRange): LostRange =>
  topology === "per-core" ? { ...range, core } : range;

function keepFrame({ scanner, frame, facts }: Extract<Finding, { is: "frame" }>, next: NewSegment | undefined): number {
  // Frames without entries only carry promises; what is written here is proven by itself.
  if (frame.header.entries > 0) next?.place(scanner.window, frame.at, frame.header, facts);
  return facts.userEntries;
}

function keepEntries({ core, at, header: h }: SavedEntries, next: NewSegment | undefined): number {
  const headersCrc = headersChecksum(core, at + FRAME_HEADER_BYTES, at + h.bytes);
  const header = { ...h, headersCrc, durableLsn: h.firstLsn - 1, durableEpoch: h.epoch };
  const facts = frameFacts(core, at, header, 0);
  next?.place(core, at, header, facts);
  return facts.userEntries;
}

/** The segment that a repair writes. It is not part of the log before commit(). */
class NewSegment {
  private readonly salt: bigint;
  private readonly logId: Uint8Array;
  private readonly origin: Uint8Array | undefined;
  private readonly shape: { frameAlign: number; segmentBytes: number };
  private readonly summary;
  private readonly number: number;
  private readonly path: string;
  private readonly file: StorageFile;
  private closed = false;
  private offset: number;

  constructor(
    private readonly storage: Storage,
    private readonly log: LogSalvage,
    private readonly salvage: Salvage,
    private readonly parent: ChainSegment | undefined,
    private readonly policy: RepairPolicy,
    private readonly chance: Chance,
  ) {
    const headersOf = ({ found }: Salvage): SegmentHeader[] => found.links.map((l) => l.header).filter((h) => h !== undefined);
    // Those of the chain first; another one knows as well.
    const headers = [...log.chains.flatMap(headersOf), ...headersOf(salvage)];
    this.logId = headers.at(-1)?.logId ?? (log.found.logId ??= chance.randomBytes(16));
    this.origin = headers.at(-1)?.origin;
    const { frameAlign, segmentBytes } = headers.findLast((h) => h.segmentBytes > 0) ?? { frameAlign: 64, segmentBytes: 64 * 1024 * 1024 };
    this.shape = { frameAlign, segmentBytes };
    this.salt = randomSalt(chance);
    this.offset = firstFrameOffset(this.shape.frameAlign);
    this.summary = emptySummary((parent?.summary.lastLsn ?? salvage.droppedLsn) + 1);
    this.number = salvage.found.highest + 1;
    this.path = segmentPath(log.found.directory, { chain: salvage.found.chain, number: this.number });
    this.file = storage.create(this.path + NEW_SUFFIX);
  }

  /** Frames of the parent behind its end. */
  copy(plan: CopyPlan): void {
    const { storage, log, parent, file, salt, shape, summary } = this;
    this.offset = copyFrames(storage, log.found.directory, parent!, plan, file, { salt, ...shape }, summary);
  }

  /** A frame whose entries stand behind the place for its header at `at`; `facts` as they were elsewhere. */
  place(core: Core, at: number, header: FrameHeader, facts: FrameFacts): void {
    const { offset, salt, shape } = this;
    addFrame(this.summary, { ...facts, offset });
    this.offset = placeFrame(this.file, { salt, frameAlign: shape.frameAlign }, core, at, header, offset);
  }

  /** A frame that says what is lost, and takes its LSNs. */
  lose(range: LostRange): void {
    const { term, epoch, timeNs } = this.salvage;
    const core = borrowWindow(65536);
    const seed = entrySeed(core, this.logId, term);
    const body = WINDOW + FRAME_HEADER_BYTES;
    const end = range.last === undefined ? range.first : range.last + 1;
    let lsn = range.first;
    do {
      let at = body;
      let entries = 0;
      const add = (kind: number, payload: Uint8Array): void => {
        core.bytes.set(payload, core.x.entry_begin(at, payload.length, 0, kind, this.salvage.found.chain));
        core.x.entry_end(seed, at);
        at = core.x.entry_seal(at, lsn);
        entries++;
      };
      if (lsn === range.first) add(KIND_LOST, encodeLost(range, this.policy));
      const lsns = Math.min(end - lsn, VOID_LSNS_MAX);
      if (lsns > 0) add(KIND_VOID, new Uint8Array(BigUint64Array.of(BigInt(lsns)).buffer));
      const headersCrc = headersChecksum(core, body, at);
      const header = {
        bytes: at - WINDOW,
        entries,
        firstLsn: lsn,
        durableLsn: lsn - 1,
        term,
        epoch,
        durableEpoch: epoch,
        timeNs,
        headersCrc,
        lsns,
      };
      this.place(core, WINDOW, header, frameFacts(core, WINDOW, header, 0));
      lsn += lsns;
    } while (lsn < end);
    returnWindow(core);
  }

  /** Durable, with its final name, when this returns. */
  commit({ term, epoch, marks }: LogFacts): void {
    const { storage, salvage, parent, summary, offset, file } = this;
    const { directory, topology } = this.log.found;
    const now = toNs(this.chance.now());
    const header: SegmentHeader = {
      ...this.shape,
      logId: this.logId,
      salt: this.salt,
      topology,
      chain: salvage.found.chain,
      number: this.number,
      ...linkTo(parent, salvage.droppedLsn),
      term,
      epoch,
      createdNs: now > salvage.timeNs ? now : salvage.timeNs,
      provenEnd: offset,
      provenLsn: summary.lastLsn,
      cutsParent: parent !== undefined,
      marks,
      floor: parent === undefined && salvage.droppedLsn > 0 ? this.number : salvage.found.floor,
      needsCheckpoint: salvage.found.needsCheckpoint,
      origin: this.origin,
    };
    writeAll(file, encodeSegmentHeader(header), 0);
    // Sealed chains say that the last epoch is complete: not where a crash had ended it, or where nobody knows.
    if (topology === "striped" || (salvage.closed && parent !== undefined)) seal(file, header, offset, summary);
    else file.sync();
    this.close();
    commitSegment(storage, directory, header, parent);
  }

  /** Once: by then the descriptor's number may be another file's. */
  private close(): void {
    if (this.closed) return;
    this.closed = true;
    this.file.close();
  }

  /** Leaves no file behind, if the disk allows that. */
  abandon(): void {
    try {
      this.close();
      this.storage.remove(this.path + NEW_SUFFIX);
    } catch {
      // Nothing looks at it, and the next attempt writes over it.
    }
  }
}

// --- files --------------------------------------------------------------------------------------------

const PIECE_BYTES = 1024 * 1024;

/** What can be read of it; the rest is zeros. */
function copyFile(storage: Storage, from: string, to: string): void {
  const source = new TolerantFile(storage.open(from, "read"));
  try {
    const copy = storage.create(to);
    try {
      const piece = new Uint8Array(PIECE_BYTES);
      for (let at = 0, bytes: number; (bytes = readSome(source, piece, at)) > 0; at += bytes) writeAll(copy, piece.subarray(0, bytes), at);
      copy.sync();
    } finally {
      copy.close();
    }
  } finally {
    source.close();
  }
}

/** Files that are no longer part of the log when each damaged chain ends where it is sound, and how they will be called. */
function retired(storage: Storage, { directory, files }: LogSalvage["found"], all: ChainRepair[]): { copied: Move[]; moved: Move[] } {
  const names = new Set(storage.list(directory));
  const move = (from: string): Move => {
    for (let n = 1; ; n++) {
      const to = `${from}${REMOVED_SUFFIX}${n}`;
      const name = to.slice(directory.length + 1);
      if (names.has(name)) continue;
      names.add(name);
      return { from, to };
    }
  };
  const stay = new Set<string>();
  const copied: Move[] = [];
  for (const { chain, damaged } of all) {
    const { found, sound } = chain;
    const last = damaged ? found.links.findIndex(({ number }) => number === sound?.header.number) : found.links.length - 1;
    for (const { path } of found.links.slice(0, last + 1)) stay.add(path);
    if (!damaged || sound === undefined) continue;
    const path = segmentPath(directory, sound.header);
    if (!endsThere(storage, path, sound)) copied.push(move(path));
  }
  return { copied, moved: files.filter((path) => !stay.has(path)).map(move) };
}

type Move = RepairReport["removed"][number];

/** Sealed at this very end, so that nothing of it goes when it is sealed again. */
function endsThere(storage: Storage, path: string, { header, endOffset }: ChainSegment): boolean {
  const file = storage.open(path, "read");
  try {
    return readFooter(file, header)?.endOffset === endOffset;
  } finally {
    file.close();
  }
}
