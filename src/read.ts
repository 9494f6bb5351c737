// Reading entries back from the segment files, in LSN order, up to what is durable now, or, following, as it
// becomes durable. Every frame is checked whole before one of its entries is given out.
//
// A follower never looks at bytes that are not durable, so what is half written is nothing to it; it must never
// give out an LSN twice or leave one out, wherever segments end. Here are the segments of one chain, and a place in
// them; chain-walk.ts goes through them, batches.ts is what callers hold. All chains of a per-core log together: merge.ts.

import { BatchIterator, oneByOne } from "./batches.js";
import { segmentPath, type ChainSegment } from "./chain.js";
import type { ChainWalk } from "./chain-walk.js";
import { codeOf, CorewalError } from "./errors.js";
import { checkOptions } from "./read-options.js";
import { damaged, segmentNumbers, withFile } from "./recover-chain.js";
import { SegmentScanner } from "./scan.js";
import { corrupt, INDEX_STRIDE_BYTES, type SegmentHeader } from "./segment.js";
import type { Storage, StorageFile } from "./storage.js";
import type { Entry, ReadOptions } from "./types.js";

/** How a follower learns that there is more to read. */
export interface Growth {
  /** Nothing will come any more: true if the log was closed, the error if it stopped with one. */
  ended(): boolean | Error;
  /** `more` resolves when `lsn` may be read, or the log has ended; rejects if looking for it fails. `cancel` takes the wish back. */
  watch(lsn: number): { more: Promise<void>; cancel: () => void };
}

/** One segment as a reader knows it. */
export interface Known {
  header: SegmentHeader;
  /** Where its frames end; undefined while it is being written. */
  end: number | undefined;
  /** [first LSN, offset], ascending; grows as a segment without footer is read. */
  index: [number, number][];
}

export class ChainReader {
  private readonly known: Known[];
  /** Readings under way: what they still need may not be dropped. One that nobody remembers holds nothing. */
  private walks: WeakRef<ChainWalk>[] = [];

  constructor(
    private readonly storage: Storage,
    private readonly directory: string,
    /** Its number: in a per-core log the core. @internal */
    readonly chain: number,
    segments: ChainSegment[],
    /** Entries up to here may be shown. @internal */
    readonly durableLsn: () => number,
    /** The last segment grows, others may follow it. */
    growing: boolean,
    /** Throws if the log is closed. @internal */
    readonly check: () => void,
    /** @internal */ readonly growth: Growth,
    /** In a per-core log: each entry has a time of its own. @internal */
    readonly timed = false,
  ) {
    this.known = segments.map((s, i) => ({
      header: s.header,
      end: growing && i === segments.length - 1 && s.footer === undefined ? undefined : s.endOffset,
      index: [...s.summary.index],
    }));
  }

  batches(options: ReadOptions = {}): AsyncIterable<Entry[]> {
    const checked = checkOptions(options);
    this.requireKept("from", options.from as number | undefined);
    return { [Symbol.asyncIterator]: () => new BatchIterator(this, checked) };
  }

  /** The first LSN that is still there; the next one that will be given, if none is. */
  get firstLsn(): number {
    return (this.known[0]?.header.parentLastLsn ?? 0) + 1;
  }

  /** Whoever asks for what was dropped is told, instead of being given what comes behind it. @internal */
  requireKept(what: string, lsn: number | undefined): void {
    const { firstLsn, timed, chain } = this;
    if (lsn === undefined || lsn >= firstLsn) return;
    const where = timed ? ` of core ${chain}` : "";
    throw new CorewalError(
      "COREWAL_OUT_OF_WINDOW",
      `${what} is LSN ${lsn}${where}, but the log begins with LSN ${firstLsn}: what was before has been dropped`,
      { lsn },
    );
  }

  // --- dropping the beginning ---------------------------------------------------------------------

  /** All segments, lowest first; looks for new ones. @internal */
  segments(): readonly Known[] {
    while (this.append((this.known.at(-1)?.header.number ?? 0) + 1));
    return this.known;
  }

  /** @internal */
  hold(walk: ChainWalk): void {
    this.walks = this.walks.filter((ref) => ref.deref() !== undefined);
    this.walks.push(new WeakRef(walk));
  }

  /** @internal */
  release(walk: ChainWalk): void {
    this.walks = this.walks.filter((ref) => ref.deref() !== walk);
  }

  /** The lowest LSN that a reading still needs; Infinity if there is none. @internal */
  get heldLsn(): number {
    return Math.min(Infinity, ...this.walks.map((ref) => ref.deref()?.heldLsn ?? Infinity));
  }

  /** Segments with lower numbers are no longer part of the log. @internal */
  forget(floor: number): void {
    while (this.known.length > 0 && this.known[0]!.header.number < floor) this.known.shift();
  }

  /** Has another process dropped this segment, or cut it before `nextLsn`, so that what is wrong with it is no damage? @internal */
  outdated(segment: Known, nextLsn: number): CorewalError | undefined {
    return this.lapped(segment) ?? this.cutOff(segment.header, nextLsn);
  }

  private lapped({ header }: Known): CorewalError | undefined {
    const { storage, directory, chain } = this;
    try {
      if (withFile(storage, directory, header, (_, now) => now.salt) === header.salt) return undefined;
    } catch (error) {
      if (codeOf(error) !== "ENOENT") return undefined;
    }
    try {
      // A segment that is missing for another reason is lost.
      const number = segmentNumbers(storage, directory, chain)[0] ?? 0;
      if (withFile(storage, directory, { chain, number }, (_, last) => last.floor) <= header.number) return undefined;
    } catch {
      return undefined;
    }
    return this.dropped(header);
  }

  /** Goes from the end of the chain, as it is now, back to where it passes this segment. */
  private cutOff({ number }: SegmentHeader, nextLsn: number): CorewalError | undefined {
    const { storage, directory, chain } = this;
    const headerOf = (of: number): SegmentHeader => withFile(storage, directory, { chain, number: of }, (_, header) => header);
    try {
      let child = headerOf(segmentNumbers(storage, directory, chain)[0] ?? 0);
      while (child.parentNumber > number) child = headerOf(child.parentNumber);
      // A cut that was known when the segment was opened explains nothing.
      const isNews = child.number > number && child.cutsParent && !this.known.some(({ header }) => header.salt === child.salt);
      return isNews && child.provenLsn < nextLsn ? this.wasCut(child) : undefined;
    } catch {
      return undefined;
    }
  }

  private wasCut(child: SegmentHeader): CorewalError {
    const { provenLsn: lsn } = child;
    return new CorewalError(
      "COREWAL_READER_CUT",
      `the process that writes has cut the log off behind LSN ${lsn}: what was read behind it no longer exists; open the log again`,
      { file: segmentPath(this.directory, child), lsn },
    );
  }

  private dropped(header: SegmentHeader): CorewalError {
    return new CorewalError(
      "COREWAL_READER_LAPPED",
      `segment ${header.number}, which was being read, has been dropped by the process that writes: open the log again and read on from its first LSN`,
      { file: segmentPath(this.directory, header) },
    );
  }

  entries(options: ReadOptions = {}): AsyncIterable<Entry> {
    return oneByOne(this.batches(options));
  }

  async get(lsn: number): Promise<Entry | undefined> {
    for await (const entry of this.entries({ from: lsn, to: lsn })) return entry;
    return undefined;
  }

  /** The segment that holds `lsn`, opened at a frame at or before it; undefined if the log has none. @internal */
  open(lsn: number, windowBytes?: number): Cursor | undefined {
    if (this.known.length === 0 && !this.append(1)) return undefined;
    for (;;) {
      let at = this.known.length - 1;
      while (at > 0 && this.known[at]!.header.parentLastLsn >= lsn) at--;
      if (at === this.known.length - 1 && this.append(this.known[at]!.header.number + 1)) continue;
      return this.openAt(this.known[at]!, lsn, windowBytes);
    }
  }

  /** This segment, opened at a frame at or before `lsn`. @internal */
  openAt(segment: Known, lsn: number, windowBytes?: number): Cursor {
    return new Cursor(this.storage, this.directory, this, segment, lsn, windowBytes);
  }

  /** The last segment so far. @internal */
  last(): Known {
    return this.known.at(-1)!;
  }

  /** The segment after this one, if there is one. It has another `number` than the next if there was a cut. @internal */
  after(segment: Known, number = segment.header.number + 1): Known | undefined {
    const at = this.known.indexOf(segment);
    // A reading that begins while its segment is being dropped comes too late to hold it.
    if (at < 0) throw this.dropped(segment.header);
    if (at + 1 >= this.known.length && !this.append(number)) return undefined;
    return this.known[at + 1];
  }

  /** Has the segment with this number appeared? Then it says where its parent ends. */
  private append(number: number): boolean {
    let header: SegmentHeader;
    try {
      header = withFile(this.storage, this.directory, { chain: this.chain, number }, (_, h) => h);
    } catch (error) {
      if (codeOf(error) === "ENOENT") return false;
      throw error;
    }
    const parent = this.known.at(-1);
    if (parent !== undefined) {
      if (header.parentNumber !== parent.header.number || header.parentSalt !== parent.header.salt)
        throw (
          this.cutOff(parent.header, parent.header.parentLastLsn + 1) ??
          corrupt(
            `segment ${number} does not continue segment ${parent.header.number}`,
            segmentPath(this.directory, header),
            72,
            header.parentLastLsn + 1,
          )
        );
      // Those LSNs are given again: old and new must not be read as one.
      if (header.cutsParent && header.provenLsn < this.durableLsn()) throw this.wasCut(header);
      parent.end = header.parentEnd;
    }
    this.known.push({ header, end: undefined, index: [] });
    return true;
  }
}

/** A place in one segment. */
export class Cursor {
  readonly file: StorageFile;
  scanner: SegmentScanner;
  /** The segment's end was known when the scanner was made: what that has read ahead is final. */
  private final = false;

  constructor(
    storage: Storage,
    directory: string,
    private readonly reader: ChainReader,
    readonly segment: Known,
    lsn: number,
    private readonly windowBytes: number | undefined,
  ) {
    try {
      this.file = storage.open(segmentPath(directory, segment.header), "read");
    } catch (error) {
      throw reader.outdated(segment, lsn) ?? error;
    }
    let start: { offset: number; nextLsn: number } | undefined;
    for (const [first, offset] of segment.index) {
      if (first > lsn) break;
      start = { offset, nextLsn: first };
    }
    try {
      this.scanner = this.scan(start);
    } catch (error) {
      this.file.close();
      throw error;
    }
  }

  private scan(start?: { offset: number; nextLsn: number }): SegmentScanner {
    this.final = this.segment.end !== undefined;
    return new SegmentScanner(this.file, this.segment.header, this.segment.end ?? this.file.size(), start, this.windowBytes);
  }

  /** Forgets what was read ahead, and how far the segment went then. */
  private rescan(): void {
    const { offset, nextLsn } = this.scanner;
    this.scanner.close();
    this.scanner = this.scan({ offset, nextLsn });
  }

  /** The next frame, which is durable; undefined at the end of the segment. */
  next(): ReturnType<SegmentScanner["next"]> {
    // What stands behind the end of a segment does not exist, however valid it looked when it was read ahead.
    if (!this.final && this.segment.end !== undefined) this.rescan();
    let frame = this.scanner.next();
    if (frame === undefined && !this.final) {
      // A segment that is being written: look again at what is there now.
      this.reader.after(this.segment);
      this.rescan();
      frame = this.scanner.next();
    }
    if (frame === undefined) {
      if (this.segment.end !== undefined && this.scanner.offset >= this.segment.end) return undefined;
      throw this.reader.outdated(this.segment, this.scanner.nextLsn) ?? damaged(this.scanner, this.file.path);
    }
    const last = this.segment.index.at(-1);
    if (frame.header.lsns > 0 && (last === undefined || frame.offset - last[1] >= INDEX_STRIDE_BYTES))
      this.segment.index.push([frame.header.firstLsn, frame.offset]);
    return frame;
  }

  /** Does something follow that is durable whatever the durable LSN is? Frames without LSNs may. */
  get more(): boolean {
    const { segment, scanner } = this;
    // Asked first: it may be news that this segment has an end.
    const next = this.reader.after(segment);
    return segment.end !== undefined && (scanner.offset < segment.end || next !== undefined);
  }

  close(): void {
    this.scanner.close();
    this.file.close();
  }
}
