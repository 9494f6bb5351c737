// Reading entries back from the segment files, in LSN order, up to what is durable now, or, following, as it
// becomes durable. Every frame is checked whole before one of its entries is given out.
//
// A follower never looks at bytes that are not durable, so what is half written is nothing to it; it must never
// give out an LSN twice or leave one out, wherever segments end. All chains of a per-core log together: merge.ts.

import type { ChainSegment } from "./chain.js";
import { segmentPath } from "./chain.js";
import { codeOf, CorewalError, fromSystem, mistake, outOfRange } from "./errors.js";
import { FrameEntries, type Wanted } from "./entry.js";
import { damaged, segmentNumbers, withFile } from "./recover-chain.js";
import { SegmentScanner } from "./scan.js";
import { corrupt, INDEX_STRIDE_BYTES, type SegmentHeader } from "./segment.js";
import type { Storage, StorageFile } from "./storage.js";
import type { Entry, ReadOptions } from "./types.js";
import { limitWait } from "./wait.js";

/** Entries in one batch, about. */
export const BATCH_ENTRIES = 1024;

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
class Cursor {
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

/** Goes through the frames of one chain that hold something wanted, from segment to segment. */
export class ChainWalk {
  /** Of the frame where it stands. */
  readonly entries: FrameEntries;
  /** The next LSN to give out. */
  at: number;
  /** How much of a file is read at once; undefined: as the scanner likes. */
  windowBytes: number | undefined;
  private readonly wanted: Wanted;
  private cursor: Cursor | undefined;
  /** Entries up to here may be read now; -1 as long as nobody has asked. */
  private end = -1;
  private over = false;
  /** Frames without LSNs that were given out at `at`, by their offsets in this segment, and how many of them come again in it. */
  private marks: number[] = [];
  private marksAgain = 0;

  constructor(
    private readonly reader: ChainReader,
    private readonly options: CheckedOptions,
  ) {
    const { from, toTimeMs, internal } = options;
    this.at = from;
    this.wanted = { from, to: 0, toTimeMs, internal };
    this.entries = new FrameEntries(reader.timed, reader.chain, this.wanted);
    reader.hold(this);
  }

  /** What it still needs. */
  get heldLsn(): number {
    const here = this.cursor === undefined ? Infinity : this.cursor.segment.header.parentLastLsn + 1;
    return Math.min(here, this.openLsn);
  }

  /** It may read what is durable now. */
  look(): void {
    this.end = Math.min(this.options.to, this.reader.durableLsn());
  }

  get begun(): boolean {
    return this.end >= 0;
  }

  /** Are there LSNs that it may read and has not yet? */
  get hasMore(): boolean {
    return this.at <= this.end;
  }

  /** Nothing that is wanted will ever follow. */
  get ended(): boolean {
    return this.over || this.at > this.options.to;
  }

  /** Goes to the next frame that holds something wanted; false if there is none up to now. */
  advance(): boolean {
    while (!this.over) {
      this.cursor ??= this.first();
      if (this.cursor === undefined || !this.readable(this.cursor)) return false;
      this.step(this.cursor);
      if (this.entries.beyond) this.over = true;
      if (!this.entries.done) return true;
    }
    return false;
  }

  /** A control entry stands before the entry with its LSN, perhaps at the end of the segment before that. */
  private get openLsn(): number {
    return this.options.internal ? this.at - 1 : this.at;
  }

  private first(): Cursor | undefined {
    const { to, internal } = this.options;
    const last = internal && this.end < to ? this.end + 1 : this.end;
    return this.at > last ? undefined : this.reader.open(this.openLsn, this.windowBytes);
  }

  private readable(cursor: Cursor): boolean {
    const { nextLsn } = cursor.scanner;
    return nextLsn <= this.end || (this.options.internal && nextLsn <= this.options.to && cursor.more);
  }

  /** The next frame, or the next segment. */
  private step(cursor: Cursor): void {
    const { entries, wanted, options } = this;
    const frame = cursor.next();
    if (frame === undefined) return this.goOn(cursor);
    // Not before: looking again may have made another one.
    const { scanner } = cursor;
    const { header } = frame;
    if (header.epoch > options.toEpoch) {
      this.over = true;
      return;
    }
    if (header.lsns === 0) {
      if (!options.internal || header.entries === 0 || header.firstLsn < this.at) return entries.skip(header);
      this.marks.push(frame.offset);
      if (this.marksAgain > 0) {
        this.marksAgain--;
        return entries.skip(header);
      }
      wanted.to = options.to;
    } else {
      // Frames that were copied forward are met again in the next segment.
      if (scanner.nextLsn <= this.at) return entries.skip(header);
      if (header.firstLsn > this.end) {
        // Looking for control entries behind the end: by now there is more, and it is durable.
        if (!options.follow) {
          this.over = true;
          return;
        }
        this.end = Math.min(options.to, scanner.nextLsn - 1);
      }
      wanted.to = this.end;
      this.marks = [];
    }
    wanted.from = this.at;
    entries.enter(scanner.window, frame.at, header);
    this.at = Math.max(this.at, scanner.nextLsn);
  }

  private goOn(cursor: Cursor): void {
    const { scanner, segment } = cursor;
    const next = this.reader.after(segment);
    if (next === undefined || scanner.nextLsn <= next.header.parentLastLsn) throw damaged(scanner, cursor.file.path);
    this.marksAgain = this.marks.filter((offset) => offset >= next.header.parentEnd).length;
    this.marks = [];
    this.closeCursor();
    this.cursor = this.reader.openAt(next, this.openLsn, this.windowBytes);
  }

  close(): void {
    this.reader.release(this);
    this.closeCursor();
  }

  private closeCursor(): void {
    const { cursor } = this;
    this.cursor = undefined;
    cursor?.close();
  }
}

class BatchIterator implements AsyncIterator<Entry[]> {
  private readonly walk: ChainWalk;
  private done = false;
  /** What the next call fails with. */
  private failure: Error | undefined;
  /** Following only: the call of next() before this one; whether it gave out a batch without waiting; ends its wait. */
  private turn: Promise<unknown> = Promise.resolve();
  private busy = false;
  private wake: (() => void) | undefined;

  constructor(
    private readonly reader: ChainReader,
    private readonly options: CheckedOptions,
  ) {
    this.walk = new ChainWalk(reader, options);
  }

  next(): Promise<IteratorResult<Entry[]>> {
    if (this.options.follow) {
      const mine = this.turn.then(() => this.follow());
      this.turn = mine.catch(() => {});
      return mine;
    }
    return nextBatch(
      () => this.fill(),
      () => this.stop(),
    );
  }

  return(): Promise<IteratorResult<Entry[]>> {
    this.stop();
    this.wake?.();
    return Promise.resolve({ done: true, value: undefined });
  }

  /** The next batch, as soon as there is one. */
  private async follow(): Promise<IteratorResult<Entry[]>> {
    const { growth } = this.reader;
    try {
      // A log that grows as fast as it is read may not keep this thread from everything else.
      if (this.busy) await new Promise(setImmediate);
      while (!this.done) {
        // Asked first: what became durable before the end is still given out.
        const ended = growth.ended();
        const value = this.fill();
        this.busy = value.length > 0;
        if (this.busy) return { done: false, value };
        if (ended instanceof Error) throw ended;
        if (ended || this.walk.ended) break;
        await this.more(growth);
      }
      this.stop();
      return { done: true, value: undefined };
    } catch (error) {
      this.stop();
      throw fromSystem(error, "following the log");
    }
  }

  /** Waits for entries behind those that were given out, for the end of the log, an abort or return(). */
  private async more(growth: Growth): Promise<void> {
    const { signal } = this.options;
    const stopped = new Promise<void>((resolve) => (this.wake = resolve));
    const done = limitWait({ signal }, undefined, () => this.wake?.());
    const { more, cancel } = growth.watch(this.walk.at);
    try {
      await Promise.race([more, stopped]);
    } finally {
      this.wake = undefined;
      cancel();
      done();
    }
  }

  private fill(): Entry[] {
    const batch: Entry[] = [];
    if (this.done) return batch;
    if (this.failure !== undefined) throw this.failure;
    const { signal, follow } = this.options;
    const { walk } = this;
    refuseAborted(signal);
    // The first call decides how far this reading goes, unless it follows; then it also outlives the log's close.
    if (!walk.begun || !follow) this.reader.check();
    if (!walk.begun || follow) walk.look();
    try {
      // A large frame is given out in several batches: what lives long costs the collector more than all the rest.
      while (batch.length < BATCH_ENTRIES && (!walk.entries.done || walk.advance())) walk.entries.take(batch, BATCH_ENTRIES);
    } catch (error) {
      // What was read before damage is good, and is given out first.
      if (batch.length === 0) throw error;
      this.failure = error as Error;
    }
    return batch;
  }

  private stop(): void {
    this.done = true;
    this.walk.close();
  }
}

/** What an iterator answers: the batch that `fill` gives, or the end if that is empty; at the end, and when it fails, `stop`. */
export function nextBatch(fill: () => Entry[], stop: () => void): Promise<IteratorResult<Entry[]>> {
  try {
    const batch = fill();
    if (batch.length > 0) return Promise.resolve({ done: false, value: batch });
    stop();
    return Promise.resolve({ done: true, value: undefined });
  } catch (error) {
    stop();
    return Promise.reject(fromSystem(error, "reading the log"));
  }
}

/** Entries one by one: a loop over batches, without the cost of an async generator for each. */
export function oneByOne(batches: AsyncIterable<Entry[]>): AsyncIterable<Entry> {
  return {
    [Symbol.asyncIterator]() {
      const source = batches[Symbol.asyncIterator]();
      let batch: Entry[] = [];
      let at = 0;
      /** Of several calls that wait for a batch, the last one: each takes its turn. */
      let turn: Promise<unknown> | undefined;
      const end: IteratorResult<Entry> = { done: true, value: undefined };
      const take = async (): Promise<IteratorResult<Entry>> => {
        if (at === batch.length) {
          const result = await source.next();
          if (result.done) return end;
          batch = result.value;
          at = 0;
        }
        return { done: false, value: batch[at++]! };
      };
      return {
        next(): Promise<IteratorResult<Entry>> {
          if (turn === undefined && at < batch.length) return Promise.resolve({ done: false, value: batch[at++]! });
          const mine = turn === undefined ? take() : turn.then(take, take);
          const over = (): void => void (turn === mine && (turn = undefined));
          turn = mine;
          mine.then(over, over);
          return mine;
        },
        async return(): Promise<IteratorResult<Entry>> {
          batch = [];
          at = 0;
          await source.return?.();
          return end;
        },
      };
    },
  };
}

export function refuseAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new CorewalError("COREWAL_ABORTED", "reading was aborted", { cause: signal.reason });
}

/** How to read one chain. */
export interface CheckedOptions {
  from: number;
  to: number;
  toEpoch: number;
  toTimeMs: number;
  follow: boolean;
  internal: boolean;
  signal: AbortSignal | undefined;
}

const KNOWN = ["from", "to", "toEpoch", "toTimeMs", "follow", "internal", "signal"];

function checkOptions(o: ReadOptions): CheckedOptions {
  const common = checkCommon(o);
  return { from: lsnOption("from", o.from, 1) ?? 1, to: lsnOption("to", o.to, 1) ?? Infinity, ...common };
}

export function lsnOption(name: string, value: unknown, min: number): number | undefined {
  if (value === undefined) return undefined;
  if (typeof value !== "number") throw mistake("COREWAL_INVALID_OPTION", `option ${name} is an LSN, a number, not ${typeof value}`);
  if (value !== Infinity && (!Number.isInteger(value) || value < min))
    throw outOfRange("COREWAL_INVALID_OPTION", `option ${name} is ${value}: an LSN is a whole number from ${min} on`);
  return value;
}

/** What means the same for one chain and for all of them. */
export function checkCommon(o: ReadOptions): Omit<CheckedOptions, "from" | "to"> {
  if (typeof o !== "object" || o === null) throw mistake("COREWAL_INVALID_OPTION", `how to read is an object { ${KNOWN.join(", ")} }`);
  for (const name of Object.keys(o))
    if (!KNOWN.includes(name))
      throw mistake("COREWAL_INVALID_OPTION", `option ${name} of reading does not exist; there are ${KNOWN.join(", ")}`);
  const flag = (name: string, value: boolean | undefined): boolean => {
    if (value !== undefined && typeof value !== "boolean")
      throw mistake("COREWAL_INVALID_OPTION", `option ${name} is ${String(value)}: it must be true or false`);
    return value === true;
  };
  const { toEpoch = Infinity, toTimeMs = Infinity } = o;
  if (typeof toEpoch !== "number") throw mistake("COREWAL_INVALID_OPTION", `option toEpoch is a number, not ${typeof toEpoch}`);
  if (toEpoch !== Infinity && (!Number.isInteger(toEpoch) || toEpoch < 0))
    throw outOfRange("COREWAL_INVALID_OPTION", `option toEpoch is ${toEpoch}: an epoch is a whole number from 0 on`);
  if (typeof toTimeMs !== "number")
    throw mistake("COREWAL_INVALID_OPTION", `option toTimeMs is a number of milliseconds, not ${typeof toTimeMs}`);
  if (Number.isNaN(toTimeMs))
    throw outOfRange("COREWAL_INVALID_OPTION", "option toTimeMs is NaN: it must be a number of milliseconds since 1970");
  if (o.signal !== undefined && !(o.signal instanceof AbortSignal))
    throw mistake("COREWAL_INVALID_OPTION", "option signal must be an AbortSignal");
  return { toEpoch, toTimeMs, follow: flag("follow", o.follow), internal: flag("internal", o.internal), signal: o.signal };
}
