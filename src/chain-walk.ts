// One reading of a chain: from frame to frame that holds something wanted, over the ends of segments, up to what may be read.

import { FrameEntries, type Wanted } from "./entry.js";
import type { ChainReader, Cursor } from "./read.js";
import type { CheckedOptions } from "./read-options.js";
import { damaged } from "./recover-chain.js";

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
