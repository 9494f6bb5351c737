// What is left of a log, damaged or not: every whole frame, of broken frames every whole entry, and what is wrong
// where. `verify` names it, `dump --past-damage` prints it, `repair` writes it anew. Changes nothing.
//
// Each chain is put together from below and above (survey.ts). Then each segment is read from its first frame to where
// it ends. At a fault the next place is looked for that holds a valid frame header for this segment; what lies between
// is searched for whole entries, since each has a checksum of its own that binds it to log, term and LSN. So one
// damaged byte costs one entry at most, and nothing is ever given out that its checksum does not vouch for.

import {
  ENTRY_HEADER_BYTES,
  ENTRY_KEY_BYTES,
  ENTRY_KIND,
  ENTRY_PAYLOAD_BYTES,
  ENTRY_RESERVED,
  FRAME_HEADER_BYTES,
  KIND_COMMIT,
  KIND_DATA,
  KIND_VOID,
  TIME_BYTES,
  WINDOW,
} from "../assembly/layout.js";
import { borrowWindow, entrySeed, returnWindow, type Core } from "./core.js";
import { bodyBytesOf, lsnsOf } from "./entry.js";
import { codeOf } from "./errors.js";
import { alignUp, decodeFrameHeader, type FrameHeader } from "./frame.js";
import { segmentPath, type ChainSegment, type CopyPlan } from "./chain.js";
import { mergeMarks, NO_MARKS, sameMarks, type Marks } from "./marks.js";
import { endsFor, segmentNumbers, WHAT } from "./recover-chain.js";
import { Proven } from "./proven.js";
import { frameFacts, SegmentScanner, type ScannedFrame } from "./scan.js";
import { readFooter, type Footer } from "./footer.js";
import { addFrame, emptySummary, firstFrameOffset, type FrameFacts, type SegmentHeader, type SegmentSummary } from "./segment.js";
import { readSome, type Storage } from "./storage.js";
import { faultAt, isNewer, survey, type Fault, type Link, type LogSurvey, type Survey } from "./survey.js";
import { TolerantFile } from "./tolerant-file.js";

/** Entries of a frame that is not whole, as `decodeEntries` takes a frame: 64 bytes before the first of them stands `at`. */
export interface SavedEntries {
  core: Core;
  at: number;
  header: Pick<FrameHeader, "bytes" | "entries" | "firstLsn" | "lsns" | "term" | "epoch" | "timeNs">;
}

/** What is met on the way through a chain, in LSN order. Memory that it points to is good until the next one. */
export type Finding =
  | { is: "frame"; scanner: SegmentScanner; frame: ScannedFrame; facts: FrameFacts }
  | { is: "entries"; entries: SavedEntries }
  /** LSNs whose entries are gone; `last` is missing where nobody knows how many there were. */
  | { is: "lost"; first: number; last: number | undefined }
  | { is: "fault"; fault: Fault };

/** While another process writes: what was the last segment counts up to `end` only, as promised; later ones are not judged. */
export interface Live {
  number: number;
  end: number;
}

/** Of a whole log. */
export class LogSalvage {
  readonly found: LogSurvey;
  /** Ascending; those that are missing only once the others were read. */
  readonly chains: Salvage[];

  /** `live` says of each chain what is promised. */
  constructor(
    private readonly storage: Storage,
    directory: string,
    private readonly live?: (chain: number) => Live | "unknown",
  ) {
    this.found = survey(storage, directory);
    this.chains = this.found.chains.map((found) => new Salvage(storage, found, live?.(found.chain)));
  }

  /** What is met in one chain after the other, last in those that are missing. One time only. */
  *findings(onSegment?: (done: number, total: number) => void): Generator<{ chain: Salvage; finding: Finding }> {
    const total = this.chains.reduce((sum, { found }) => sum + found.links.length, 0);
    let before = 0;
    for (const chain of this.chains) {
      for (const finding of chain.findings((done) => onSegment?.(before + done, total))) yield { chain, finding };
      before += chain.found.links.length;
    }
    for (const chain of this.missing()) {
      this.chains.push(chain);
      for (const finding of chain.findings()) yield { chain, finding };
    }
    this.chains.sort((a, b) => a.found.chain - b.found.chain);
  }

  /** Chains that others name, and that have no segment. */
  private missing(): Salvage[] {
    const { storage, live, found } = this;
    const there = this.chains.filter((chain) => chain.found.links.length > 0);
    const named = there.reduce((marks, chain) => mergeMarks(marks, chain.marks), NO_MARKS).chains;
    return named
      .filter((chain) => !there.some((c) => c.found.chain === chain))
      .filter((chain) => live === undefined || segmentNumbers(storage, found.directory, chain).length === 0)
      .map((chain) => {
        const witness = there.find(({ marks }) => marks.chains.includes(chain))!.found.chain;
        const path = segmentPath(found.directory, { chain, number: 1 });
        const what = `the whole of chain ${chain} is missing: chain ${witness} says that it had segments`;
        const strangers = found.chains.find((c) => c.chain === chain);
        const fault = faultAt(chain, path, 0, 1, "chain", what);
        return new Salvage(
          storage,
          { chain, links: [], strays: [], highest: strangers?.highest ?? 0, floor: 0, needsCheckpoint: false },
          undefined,
          fault,
        );
      });
  }
}

/** Of one chain. */
export class Salvage {
  /** The next LSN, behind everything that was met so far. */
  due = 1;
  /** Highest of all that was met. */
  term = 0;
  epoch = 0;
  timeNs = 0n;
  /** All that were met, merged. */
  marks = NO_MARKS;
  /** The last segment was sealed by a proper close. */
  closed = false;
  /** Bytes behind the end of the chain that were never promised. */
  torn: { file: string; offset: number; bytes: number } | undefined;
  /** The last segment, and how much of it is surely on the disk, before the first fault; undefined: not even the first one is as it was. */
  sound: ChainSegment | undefined;
  /** Whole frames behind that and before the fault, of which nobody says that they are. */
  unproven: CopyPlan | undefined;
  /** No fault was met. */
  intact = true;
  /** Last LSN of what was dropped from the beginning; 0: nothing was. */
  readonly droppedLsn: number;

  constructor(
    private readonly storage: Storage,
    readonly found: Survey,
    private readonly live?: Live | "unknown",
    /** The whole chain is missing. */
    readonly missing?: Fault,
  ) {
    const first = found.links[0];
    this.droppedLsn = first?.knowsParent === true && found.floor > 0 ? first.header!.parentLastLsn : 0;
  }

  /** Last LSN before the first fault. */
  get soundLsn(): number {
    const { sound, unproven, droppedLsn } = this;
    return (sound?.summary.lastLsn ?? droppedLsn) + (unproven?.frames.reduce((sum, { lsns }) => sum + lsns, 0) ?? 0);
  }

  /** One time only. */
  *findings(onSegment?: (done: number, total: number) => void): Generator<Finding> {
    const { links, strays } = this.found;
    if (this.missing !== undefined) {
      yield this.fault(this.missing);
      yield { is: "lost", first: 1, last: undefined };
    }
    if (links[0]?.knowsParent) this.due = links[0].header!.parentLastLsn + 1;
    for (const [i, link] of links.entries()) {
      onSegment?.(i, links.length);
      yield* this.segment(link, links[i + 1]);
    }
    for (const fault of strays) yield this.fault({ ...fault, lsn: this.due });
  }

  private fault(fault: Fault): Finding {
    this.intact = false;
    return { is: "fault", fault: { ...fault, core: this.found.chain } };
  }

  private *segment(link: Link, child: Link | undefined): Generator<Finding> {
    const { header, content } = link;
    const next = child?.knowsParent ? child.header : undefined;
    if (link.fault !== undefined) yield this.fault({ ...link.fault, lsn: this.due });
    if (header === undefined || content === undefined) {
      // Another version's is not judged. If the next one does not know either, its first frame shows what is missing.
      if (isNewer(link)) this.due = Math.max(this.due, (next?.parentLastLsn ?? 0) + 1);
      else if (child === undefined) yield { is: "lost", first: this.due, last: undefined };
      else if (next !== undefined) yield* this.lose(next.parentLastLsn);
      return;
    }
    this.saw({ term: header.term, epoch: header.epoch, timeNs: 0n }, header.marks);
    let file: TolerantFile;
    try {
      file = new TolerantFile(this.storage.open(content, "read"));
    } catch (error) {
      if (codeOf(error) !== "ENOENT") throw error;
      // Dropped since the survey: verify knows by whom.
      yield this.fault(faultAt(this.found.chain, content, 0, this.due, "io", "the segment is gone", error));
      if (next !== undefined) yield* this.lose(next.parentLastLsn);
      return;
    }
    try {
      yield* this.frames(link, file, header, next, child === undefined);
    } finally {
      file.close();
    }
  }

  private *frames(
    link: Link,
    file: TolerantFile,
    header: SegmentHeader,
    next: SegmentHeader | undefined,
    isLast: boolean,
  ): Generator<Finding> {
    const size = file.size();
    let footer = readFooter(file, header);
    const { live } = this;
    const end = next?.parentEnd ?? footer?.endOffset ?? (typeof live === "object" && live.number === link.number ? live.end : undefined);
    const lastLsn = next?.parentLastLsn ?? footer?.lastLsn ?? 0;
    // Nobody says where it ends.
    const judged = live === undefined && (isLast || end === undefined);
    const summary = emptySummary(this.due);
    const scanner = new SegmentScanner(file, header, Math.min(end ?? size, size), {
      offset: firstFrameOffset(header.frameAlign),
      nextLsn: this.due,
    });
    /** What is sealed or continued was fsynced before that. */
    const proven = end === undefined ? new Proven(header, this.due) : undefined;
    let promise = header.provenLsn;
    let promisedEpoch = header.epoch;
    /** Of this one and those before it everything promised was met, or is a fault that was named. */
    let epoch = header.epoch;
    let evidence: ReturnType<SegmentScanner["evidence"]> | undefined;
    let whole = true;
    /** Without its own header, or with nothing but damage at its end, nobody knows how far the last segment went. */
    let endKnown = link.knowsParent;
    /** Of the last whole frame: what a broken header most likely said. */
    let before = { term: header.term, epoch: header.epoch, timeNs: header.createdNs };
    const soFar = (): void => {
      if (!this.intact) return;
      this.sound = { header, endOffset: scanner.offset, summary, footer: undefined };
      this.unproven = undefined;
      if (proven === undefined || footer !== undefined) return;
      proven.promised(evidence?.promise ?? 0, evidence?.promisedEpoch ?? 0);
      this.unproven = proven.copyPlan(scanner.offset);
      Object.assign(this.sound, { endOffset: proven.end, summary: proven.summary });
    };
    const fault = (kind: Fault["kind"], message: string, cause?: unknown, offset = scanner.offset): Finding => {
      soFar();
      return this.fault(faultAt(this.found.chain, file.path, offset, this.due, kind, message, cause));
    };
    try {
      for (;;) {
        const frame = scanner.next();
        if (frame !== undefined) {
          promise = Math.max(promise, frame.header.durableLsn);
          promisedEpoch = Math.max(promisedEpoch, frame.header.durableEpoch);
          epoch = Math.max(epoch, frame.header.epoch);
          before = frame.header;
          const facts = scanner.facts(frame);
          if (whole) {
            addFrame(summary, facts);
            proven?.add(frame, facts);
          }
          this.saw(frame.header, facts.marks);
          yield { is: "frame", scanner, frame, facts };
          this.due = scanner.nextLsn;
          continue;
        }
        const { offset } = scanner;
        if (end !== undefined ? offset >= end : !judged) break;
        if (end === undefined) {
          evidence ??= scanner.evidence();
          if (evidence.footer?.endOffset === offset) {
            // Written, but the file was not yet cut behind it.
            footer = evidence.footer;
            break;
          }
          const promised = Math.max(promise, evidence.promise) >= this.due || Math.max(promisedEpoch, evidence.promisedEpoch) > epoch;
          if (!promised && header.provenEnd <= offset) {
            if (isLast && evidence.usedTo > offset) this.torn = { file: file.path, offset, bytes: evidence.usedTo - offset };
            break;
          }
        }
        const unreadable = file.errorIn(offset, offset + FRAME_HEADER_BYTES);
        yield fault(unreadable === undefined ? "frame" : "io", `damaged frame: ${WHAT[scanner.reason]}`, unreadable);
        whole = false;
        const behind = yield* this.broken(file, header, scanner, before);
        endKnown = behind !== undefined;
        if (behind === undefined) break;
        epoch = Math.max(epoch, behind.durableEpoch);
      }
      const last = judged ? Math.max(lastLsn, promise, evidence?.promise ?? 0) : lastLsn;
      if (whole) {
        const wrong = this.wrongEnd(footer, summary, next, scanner.offset, last, judged ? header.provenEnd : 0);
        if (wrong !== undefined) yield fault(...wrong, undefined, footer?.endOffset);
      }
      if (footer !== undefined) this.marks = mergeMarks(this.marks, footer.marks);
      this.closed = isLast && footer !== undefined && footer.continued === undefined;
      yield* this.lose(last);
      if (isLast && judged && !endKnown && footer === undefined) yield { is: "lost", first: this.due, last: undefined };
      soFar();
    } finally {
      scanner.close();
    }
  }

  /** All frames are whole, but what stands behind them says something else. */
  private wrongEnd(
    footer: Footer | undefined,
    summary: SegmentSummary,
    next: SegmentHeader | undefined,
    end: number,
    lastLsn: number,
    provenEnd: number,
  ): [kind: Fault["kind"], message: string] | undefined {
    if (lastLsn >= this.due) return ["frame", `frames are missing: LSN ${lastLsn} was durable`];
    if (provenEnd > end) return ["frame", `frames are missing: everything before offset ${provenEnd} was durable`];
    if (next !== undefined && (end !== next.parentEnd || this.due - 1 !== next.parentLastLsn))
      return ["chain", `segment ${next.number} says that this one ends at ${next.parentEnd} with LSN ${next.parentLastLsn}`];
    if (footer === undefined) return undefined;
    if (next !== undefined && !endsFor(footer, next))
      return next.cutsParent ? undefined : ["chain", `its footer and the header of segment ${next.number} disagree`];
    return footer.endOffset === end && agrees(footer, summary) ? undefined : ["footer", "the footer does not say what the frames hold"];
  }

  /** A frame that is not whole where the scanner stands: moves it to the next header, which it returns, and gives out what lies between. */
  private *broken(
    file: TolerantFile,
    header: SegmentHeader,
    scanner: SegmentScanner,
    before: Pick<FrameHeader, "term" | "epoch" | "timeNs">,
  ): Generator<Finding, FrameHeader | undefined> {
    const { offset, limit } = scanner;
    let more = scanner.resync();
    while (more !== undefined && scanner.nextLsn < this.due) more = scanner.resync();
    const nextLsn = more?.firstLsn;
    const stop = more !== undefined ? Math.min(scanner.offset, offset + REGION_BYTES_MAX) : Math.min(limit, offset + SEARCH_BYTES);
    const core = borrowWindow(alignUp(Math.max(stop - offset, FRAME_HEADER_BYTES), 65536));
    try {
      const bytes = readSome(file, core.bytes.subarray(WINDOW, WINDOW + stop - offset), offset);
      const own = bytes < FRAME_HEADER_BYTES ? undefined : decodeFrameHeader(core, WINDOW, header.salt, offset);
      const mine = own !== undefined && own.firstLsn >= this.due ? own : undefined;
      if (mine !== undefined) {
        this.saw(mine);
        yield* this.lose(mine.firstLsn - 1);
      }
      const facts = mine ?? before;
      const lsnEnd = mine !== undefined ? mine.firstLsn + mine.lsns : (nextLsn ?? Infinity);
      const end = WINDOW + (mine !== undefined ? Math.min(mine.bytes, bytes) : bytes);
      const seed = entrySeed(core, header.logId, facts.term);
      const timed = header.topology === "per-core";
      for (const { at, to, entries, firstLsn, lsns } of wholeEntries(
        core,
        WINDOW + FRAME_HEADER_BYTES,
        end,
        seed,
        this.due,
        lsnEnd,
        timed,
      )) {
        yield* this.lose(firstLsn - 1);
        const { term, epoch, timeNs } = facts;
        const saved = { bytes: FRAME_HEADER_BYTES + to - at, entries, firstLsn, lsns, term, epoch, timeNs };
        this.marks = mergeMarks(this.marks, frameFacts(core, at - FRAME_HEADER_BYTES, saved, 0).marks ?? NO_MARKS);
        yield { is: "entries", entries: { core, at: at - FRAME_HEADER_BYTES, header: saved } };
        this.due = firstLsn + lsns;
      }
      if (mine !== undefined) yield* this.lose(mine.firstLsn + mine.lsns - 1);
      if (nextLsn !== undefined) yield* this.lose(nextLsn - 1);
      return more;
    } finally {
      returnWindow(core);
    }
  }

  private *lose(last: number): Generator<Finding> {
    if (last < this.due) return;
    yield { is: "lost", first: this.due, last };
    this.due = last + 1;
  }

  private saw({ term, epoch, timeNs }: Pick<FrameHeader, "term" | "epoch" | "timeNs">, marks: Marks = NO_MARKS): void {
    this.marks = mergeMarks(this.marks, marks);
    this.term = Math.max(this.term, term);
    this.epoch = Math.max(this.epoch, epoch);
    if (timeNs > this.timeNs) this.timeNs = timeNs;
  }
}

/** How far behind the last valid header is looked for entries … */
const SEARCH_BYTES = 16 * 1024 * 1024;
/** … and behind any other one: more than the largest frame that a log writes has. */
const REGION_BYTES_MAX = 512 * 1024 * 1024;

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
  const indexed = new Map(found.index.map(([lsn, offset]) => [offset, lsn]));
  if (!sameMarks(footer.marks, found.marks)) return false;
  return keys.every((key) => footer[key] === found[key]) && footer.index.every(([lsn, offset]) => indexed.get(offset) === lsn);
}

// --- entries without a frame --------------------------------------------------------------------------

interface Run {
  /** Addresses. */
  at: number;
  to: number;
  entries: number;
  firstLsn: number;
  lsns: number;
}

/** Bytes of checksums that one broken frame is worth while the place of the next whole entry is looked for. */
const SEARCH_WORK_BYTES = 256 * 1024 * 1024;

/** In a per-core log: the entry at `p`, which is whole otherwise, has room for its time, if its kind has one. */
function timeFits({ view }: Core, p: number): boolean {
  const room = view.getUint32(p + ENTRY_PAYLOAD_BYTES, true) - view.getUint32(p + ENTRY_KEY_BYTES, true);
  return room >= TIME_BYTES || view.getUint8(p + ENTRY_KIND) >= KIND_VOID;
}

/** Entries in [at, end) that are whole, with LSNs from `lsn` on and below `lsnEnd`, in runs without gaps. */
function wholeEntries(core: Core, at: number, end: number, seed: number, lsn: number, lsnEnd: number, timed: boolean): Run[] {
  const runs: Run[] = [];
  let run: Run | undefined;
  let work = SEARCH_WORK_BYTES;
  const size = (p: number, n: number): number => {
    const bytes = p < end && n < lsnEnd ? core.x.entry_verify(p, end - p, seed, n) : 0;
    return timed && bytes > 0 && !timeFits(core, p) ? 0 : bytes;
  };
  for (let p = at; p + ENTRY_HEADER_BYTES <= end && lsn < lsnEnd;) {
    const bytes = size(p, lsn) > 0 ? size(p, lsn) : withoutPadding(core, p, end, () => size(p, lsn));
    if (bytes > 0) {
      const lsns = lsnsOf(core, p);
      if (run === undefined) runs.push((run = { at: p, to: p, entries: 0, firstLsn: lsn, lsns: 0 }));
      run.to = p + bytes;
      run.entries++;
      run.lsns += lsns;
      lsn += lsns;
      p += bytes;
      continue;
    }
    run = undefined;
    const found = resume(p);
    if (found === undefined) break;
    p = found.at;
    lsn = found.lsn;
  }
  return runs;

  /**
   * The next whole entry behind a broken one. How many were lost in between is not known, but each takes 24 bytes at
   * least. One checksum of 32 bits for so many guesses is not enough: the entry behind must fit as well, or the end.
   */
  function resume(p: number): { at: number; lsn: number } | undefined {
    for (let q = p + ENTRY_HEADER_BYTES + 8; q + ENTRY_HEADER_BYTES < end; q += 8) {
      const payload = plausible(core, q, end);
      if (payload === 0) continue;
      const most = Math.min(Math.floor((q - p) / (ENTRY_HEADER_BYTES + 8)), lsnEnd - lsn - 1);
      for (let lost = 1; lost <= most; lost++) {
        if ((work -= payload + ENTRY_HEADER_BYTES) < 0) return undefined;
        const bytes = size(q, lsn + lost);
        if (bytes <= 0) continue;
        const behind = lsn + lost + lsnsOf(core, q);
        if (q + bytes === end || size(q + bytes, behind) > 0) return { at: q, lsn: lsn + lost };
      }
    }
    return undefined;
  }
}

/** Payload bytes if there may be a user's entry or a hole at `p`, otherwise 0. */
function plausible({ view: v }: Core, p: number, end: number): number {
  const payload = v.getUint32(p + ENTRY_PAYLOAD_BYTES, true);
  const kind = v.getUint8(p + ENTRY_KIND);
  const known = (kind >= KIND_DATA && kind <= KIND_COMMIT) || kind === KIND_VOID;
  const fits = payload < end - p && p + bodyBytesOf(payload) <= end && v.getUint32(p + ENTRY_KEY_BYTES, true) <= payload;
  return known && fits && v.getUint16(p + ENTRY_RESERVED, true) === 0 ? payload : 0;
}

/** Padding says nothing: if only that is damaged, the entry is as good as ever. */
function withoutPadding(core: Core, p: number, end: number, check: () => number): number {
  const payload = core.view.getUint32(p + ENTRY_PAYLOAD_BYTES, true);
  if (payload >= end - p) return 0;
  const from = p + ENTRY_HEADER_BYTES + payload;
  const to = p + bodyBytesOf(payload);
  if (to > end || from === to) return 0;
  const was = core.bytes.slice(from, to);
  core.bytes.fill(0, from, to);
  const bytes = check();
  if (bytes <= 0) core.bytes.set(was, from);
  return bytes;
}
