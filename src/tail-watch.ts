// How far a log may be read that another process writes: looks at the end of its chain, from outside, again and again.
//
// Only what the writer has promised counts: the durable LSN in a frame header, what a segment's header calls proven,
// the last LSN of a footer. Such a thing is never taken back, also if the writer is killed and the next one continues
// the chain before frames that it had written. A frame that is only half written is nothing yet; one that is damaged
// although a promise covers it is corruption, and must not be waited for.

import { segmentPath } from "./chain.js";
import type { ChainReader, Known } from "./read.js";
import { codeOf } from "./errors.js";
import { damaged, withFile } from "./recover-chain.js";
import { SegmentScanner } from "./scan.js";
import { readFooter } from "./footer.js";
import { corrupt, firstFrameOffset, type SegmentHeader } from "./segment.js";
import type { Storage, StorageFile } from "./storage.js";

/** Between two looks while the log grows, and at most, after so many looks in vain. */
const LOOK_MS_MIN = 1;
const LOOK_MS_MAX = 50;
/** Every so many looks in vain, also behind the place where the next frame is due: about once a second. */
const SEARCH_EVERY = 20;

interface Wait {
  lsn: number;
  resolve: () => void;
  reject: (error: unknown) => void;
}

export class TailWatch {
  private segment: Known;
  /** Where the next frame is due, and its first LSN. */
  private offset: number;
  private nextLsn: number;
  private readonly waits = new Set<Wait>();
  private timer: ReturnType<typeof setTimeout> | undefined;
  private looksInVain = 0;

  constructor(
    private readonly storage: Storage,
    private readonly directory: string,
    private readonly reader: ChainReader,
    /** Where the frames end that were found when the log was opened. */
    endOffset: number,
    /** Everything up to here may be shown. */
    public lastLsn: number,
    /** Looks only when it is told to: for tests. */
    private readonly manual: boolean,
  ) {
    this.segment = reader.last();
    this.offset = endOffset;
    this.nextLsn = lastLsn + 1;
  }

  get place(): { number: number; offset: number } {
    return { number: this.segment.header.number, offset: this.offset };
  }

  // --- who waits ----------------------------------------------------------------------------------

  /** See Growth in read.ts. */
  watch(lsn: number): { more: Promise<void>; cancel: () => void } {
    let wait!: Wait;
    const more = new Promise<void>((resolve, reject) => (wait = { lsn, resolve, reject }));
    this.waits.add(wait);
    this.arm();
    return {
      more,
      cancel: () => {
        this.waits.delete(wait);
        this.arm();
      },
    };
  }

  /** Nobody is told of more any more. */
  close(): void {
    for (const { resolve } of this.waits) resolve();
    this.waits.clear();
    this.arm();
  }

  /** A timer keeps the process alive, as whoever waits expects. */
  private arm(): void {
    if (this.waits.size === 0) {
      clearTimeout(this.timer);
      this.timer = undefined;
    } else if (!this.manual) {
      this.timer ??= setTimeout(this.look, Math.min(LOOK_MS_MIN * 2 ** this.looksInVain, LOOK_MS_MAX));
    }
  }

  /** Looks once, and tells those who wait. */
  readonly look = (): void => {
    this.timer = undefined;
    const before = this.lastLsn;
    try {
      const search = this.manual || this.looksInVain % SEARCH_EVERY === SEARCH_EVERY - 1;
      while (this.lookAtSegment(search));
      this.looksInVain = this.lastLsn > before ? 0 : this.looksInVain + 1;
      for (const wait of this.waits) {
        if (wait.lsn > this.lastLsn) continue;
        this.waits.delete(wait);
        wait.resolve();
      }
    } catch (error) {
      for (const { reject } of this.waits) reject(error);
      this.waits.clear();
    }
    this.arm();
  };

  // --- what is there --------------------------------------------------------------------------------

  /** True if the chain goes on in another segment, or what was read contradicts itself: look again. */
  private lookAtSegment(search: boolean): boolean {
    const { segment, storage, directory, reader } = this;
    try {
      return withFile(storage, directory, segment.header, (file, header) => {
        if (header.salt !== segment.header.salt)
          throw (
            reader.outdated(segment, this.nextLsn) ?? corrupt("another segment has taken the place of the one that was read", file.path, 48)
          );
        this.scan(file, file.size());
        if (this.offset < header.provenEnd) this.stuck(file);
        // Only now: whatever belongs to this segment was written before the next one got its name.
        const next = reader.after(segment);
        if (next !== undefined) {
          this.leave(file, next.header);
          this.segment = next;
          return true;
        }
        const footer = readFooter(file, header);
        if (footer === undefined) {
          if (search) this.search(file);
          return false;
        }
        if (footer.continued !== undefined) {
          // The next one was there before the mark.
          if (reader.after(segment, footer.continued.number) !== undefined) return true;
          throw corrupt(
            `segment ${footer.continued.number}, which continues segment ${header.number}, is missing`,
            file.path,
            footer.endOffset,
            footer.lastLsn + 1,
          );
        }
        this.expect(file, footer.endOffset, footer.lastLsn);
        this.lastLsn = Math.max(this.lastLsn, footer.lastLsn);
        return false;
      });
    } catch (error) {
      if (codeOf(error) !== "ENOENT") throw error;
      throw (
        reader.outdated(segment, this.nextLsn) ??
        corrupt("the segment is gone while the log is followed", segmentPath(directory, segment.header), 0, this.nextLsn)
      );
    }
  }

  /** Takes in the valid frames that are there by now; each says what was durable when it was written. */
  private scan(file: StorageFile, limit: number): void {
    const scanner = this.scanner(file, limit);
    try {
      for (let frame = scanner.next(); frame !== undefined; frame = scanner.next())
        this.lastLsn = Math.max(this.lastLsn, frame.header.durableLsn);
      this.offset = scanner.offset;
      this.nextLsn = scanner.nextLsn;
    } finally {
      scanner.close();
    }
  }

  private scanner(file: StorageFile, limit: number): SegmentScanner {
    return new SegmentScanner(file, this.segment.header, limit, { offset: this.offset, nextLsn: this.nextLsn });
  }

  /**
   * The segment ends at `end` with `lastLsn`: everything before that is proven and must be there. Frames behind it
   * may have been seen: an empty one, or such that were written and never promised.
   */
  private expect(file: StorageFile, end: number, lastLsn: number): void {
    if (this.offset < end) this.scan(file, end);
    if (this.offset < end || (this.offset === end && this.nextLsn !== lastLsn + 1)) this.stuck(file);
  }

  /** Goes on in the next segment, which says where this one ends. */
  private leave(file: StorageFile, next: SegmentHeader): void {
    this.expect(file, next.parentEnd, next.parentLastLsn);
    if (next.provenLsn < this.lastLsn)
      throw corrupt(
        `segment ${next.number} goes on behind LSN ${next.provenLsn}, but ${this.lastLsn} was durable`,
        file.path,
        next.parentEnd,
      );
    if (next.provenLsn > this.lastLsn) {
      // It holds copies of what was never promised where it first stood: they count as soon as the name is durable.
      if (next.provenLsn > next.parentLastLsn) this.storage.syncDirectory(this.directory);
      this.lastLsn = next.provenLsn;
    }
    this.offset = firstFrameOffset(next.frameAlign);
    this.nextLsn = next.parentLastLsn + 1;
  }

  /** Is there a promise behind the place where no valid frame is? Then one was there before that promise was written. */
  private search(file: StorageFile): void {
    const { offset } = this;
    const scanner = this.scanner(file, file.size());
    try {
      const { promise, footer } = scanner.evidence();
      // A writer may have been killed between the footer and the cut behind it.
      if (footer !== undefined) this.lastLsn = Math.max(this.lastLsn, footer.lastLsn);
      if (promise < this.nextLsn) return;
    } finally {
      scanner.close();
    }
    this.scan(file, file.size());
    if (this.offset === offset) this.stuck(file);
  }

  private stuck(file: StorageFile): never {
    const scanner = this.scanner(file, file.size());
    try {
      scanner.next();
      throw this.reader.outdated(this.segment, this.nextLsn) ?? damaged(scanner, file.path);
    } finally {
      scanner.close();
    }
  }
}
