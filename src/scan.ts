// The way back, step 3: reading the frames of one segment, one after the other, each checked whole.
// It never writes, never trusts a length before its checksum, never reads outside its window.

import {
  ENTRY_HEADER_BYTES,
  ENTRY_KIND,
  ENTRY_PAYLOAD_BYTES,
  FRAME_BAD_ENTRY,
  FRAME_BAD_HEADERS,
  FRAME_BAD_LAYOUT,
  FRAME_HEADER_BYTES,
  FRAME_MAGIC,
  FRAME_OK,
  KIND_EPOCH,
  KIND_VOID,
  TIME_BYTES,
  WINDOW,
} from "../assembly/layout.js";
import { borrowWindow, entrySeed, returnWindow, type Core } from "./core.js";
import { alignUp, decodeFrameHeader, FRAME_BYTES_MAX, type FrameHeader } from "./frame.js";
import { FOOTER_ALIGN, FOOTER_MAGIC_WORD, readFooterAt, type Footer } from "./footer.js";
import { decodeMarks, MARKS_BYTES, type Marks } from "./marks.js";
import { firstFrameOffset, type FrameFacts, type SegmentHeader } from "./segment.js";
import { readSome, type StorageFile } from "./storage.js";

export interface ScannedFrame {
  offset: number;
  /** Where the next frame begins. */
  end: number;
  header: FrameHeader;
  /** Address of its header in the scanner's window, good until the next call. */
  at: number;
}

/** Why there is no further frame. `end` means: nothing but the end of what was to be read. */
export type StopReason = "end" | "no header" | "cut short" | "wrong LSN" | "bad layout" | "bad entry headers" | "bad entry";

const WINDOW_BYTES = 1024 * 1024;
/** What is read first by whoever begins in the middle: mostly after one frame, or what has been added. */
const FIRST_READ_BYTES = 16 * 1024;

export class SegmentScanner {
  offset: number;
  nextLsn: number;
  reason: StopReason = "end";
  private core: Core;
  private base = 0;
  private filled = 0;
  private seedTerm = -1;
  private seed = 0;
  /** How much is read at once, grows to the whole window. */
  private ahead: number;
  private closed = false;

  /** Reads frames from the first one, or from `offset` where `nextLsn` is due, and none that ends behind `limit`. */
  constructor(
    private readonly file: StorageFile,
    private readonly segment: SegmentHeader,
    readonly limit: number,
    start?: { offset: number; nextLsn: number },
    windowBytes = WINDOW_BYTES,
  ) {
    this.offset = start?.offset ?? firstFrameOffset(segment.frameAlign);
    this.nextLsn = start?.nextLsn ?? segment.parentLastLsn + 1;
    this.ahead = start === undefined ? WINDOW_BYTES : FIRST_READ_BYTES;
    // Small segments need small windows; opening many of them should not cost a megabyte each.
    const wanted = limit <= 65536 ? 65536 : windowBytes;
    this.core = borrowWindow(wanted);
  }

  /** Must be called when done; the window is used again. */
  close(): void {
    if (!this.closed) returnWindow(this.core);
    this.closed = true;
  }

  get window(): Core {
    return this.core;
  }

  get path(): string {
    return this.file.path;
  }

  /** Makes file bytes [offset, offset + bytes) readable; returns their address, or 0 if the file ends before. */
  private need(offset: number, bytes: number): number {
    if (offset >= this.base && offset + bytes <= this.base + this.filled) return WINDOW + offset - this.base;
    const capacity = this.core.bytes.length - WINDOW;
    if (bytes > capacity) {
      const larger = borrowWindow(alignUp(bytes, WINDOW_BYTES));
      returnWindow(this.core);
      this.core = larger;
      this.seedTerm = -1;
    }
    this.base = offset;
    const some = Math.min(this.core.bytes.length - WINDOW, Math.max(this.limit - offset, 0), Math.max(bytes, this.ahead));
    this.ahead *= 4;
    this.filled = readSome(this.file, this.core.bytes.subarray(WINDOW, WINDOW + some), offset);
    return bytes <= this.filled ? WINDOW : 0;
  }

  /** The next valid frame, or undefined: then `offset` is where it should have been and `reason` says why it is not. */
  next(): ScannedFrame | undefined {
    const { offset, segment } = this;
    const stop = (reason: StopReason): undefined => {
      this.reason = reason;
      return undefined;
    };
    if (offset + FRAME_HEADER_BYTES > this.limit) return stop("end");
    let at = this.need(offset, FRAME_HEADER_BYTES);
    if (at === 0) return stop("end");
    const header = decodeFrameHeader(this.core, at, segment.salt, offset);
    if (header === undefined) return stop("no header");
    if (header.bytes < FRAME_HEADER_BYTES || header.bytes > FRAME_BYTES_MAX || offset + header.bytes > this.limit) return stop("cut short");
    if (header.firstLsn !== this.nextLsn || header.durableLsn >= header.firstLsn) return stop("wrong LSN");
    at = this.need(offset, header.bytes);
    if (at === 0) return stop("cut short");
    switch (this.verify(at, header)) {
      case FRAME_OK:
        break;
      case FRAME_BAD_LAYOUT:
        return stop("bad layout");
      case FRAME_BAD_HEADERS:
        return stop("bad entry headers");
      case FRAME_BAD_ENTRY:
        return stop("bad entry");
      default:
        return stop("wrong LSN");
    }
    this.offset = offset + alignUp(header.bytes, segment.frameAlign);
    this.nextLsn += header.lsns;
    return { offset, end: this.offset, header, at };
  }

  private verify(at: number, h: FrameHeader): number {
    if (this.seedTerm !== h.term) {
      this.seed = entrySeed(this.core, this.segment.logId, h.term);
      this.seedTerm = h.term;
    }
    return this.core.x.frame_verify(
      at + FRAME_HEADER_BYTES,
      h.bytes - FRAME_HEADER_BYTES,
      h.entries,
      h.headersCrc,
      this.seed,
      h.firstLsn,
      h.lsns,
      this.segment.topology === "per-core" ? TIME_BYTES : 0,
    );
  }

  /** What the footer will say about a frame that was just read. */
  facts(frame: ScannedFrame): FrameFacts {
    return frameFacts(this.core, frame.at, frame.header, frame.offset);
  }

  /** After damage: moves to the next place with a valid frame header, and returns that; undefined if there is none. */
  resync(): FrameHeader | undefined {
    for (let from = this.offset + FOOTER_ALIGN; from + FRAME_HEADER_BYTES <= this.limit;) {
      this.filled = 0;
      this.need(from, FRAME_HEADER_BYTES);
      const end = WINDOW + this.filled;
      for (
        let at = WINDOW;
        (at = this.core.x.frame_find(at, end, FOOTER_ALIGN, FRAME_MAGIC)) !== 0 && at + FRAME_HEADER_BYTES <= end;
        at += FOOTER_ALIGN
      ) {
        const header = decodeFrameHeader(this.core, at, this.segment.salt, from + at - WINDOW);
        if (header === undefined) continue;
        this.offset = from + at - WINDOW;
        this.nextLsn = header.firstLsn;
        return header;
      }
      from += Math.max(Math.floor(this.filled / FOOTER_ALIGN) * FOOTER_ALIGN, FOOTER_ALIGN);
    }
    return undefined;
  }

  /**
   * Looks behind the end of the valid frames, at every place where a header or a footer may stand, for
   * one that is valid here: the highest promises among them decide between a tear and corruption.
   * `usedTo` is how far anything but zeros was found, `footer` one that stands right here.
   */
  evidence(): { promise: number; promisedEpoch: number; usedTo: number; footer: Footer | undefined } {
    let promise = 0;
    let promisedEpoch = 0;
    let footer: Footer | undefined;
    let usedTo = this.offset;
    const { segment } = this;
    const step = FOOTER_ALIGN;
    for (let from = this.offset; from < this.limit;) {
      this.filled = 0;
      this.need(from, 1);
      const start = WINDOW;
      const end = start + this.filled;
      const lastUsed = lastNonZero(this.core.bytes, start, end);
      if (lastUsed > 0) usedTo = from + lastUsed - start;
      for (const magic of [FRAME_MAGIC, FOOTER_MAGIC_WORD]) {
        for (let at = start; (at = this.core.x.frame_find(at, end, step, magic)) !== 0; at += step) {
          const offset = from + at - start;
          if (magic === FRAME_MAGIC) {
            if (at + FRAME_HEADER_BYTES > end) break;
            const found = decodeFrameHeader(this.core, at, segment.salt, offset);
            promise = Math.max(promise, found?.durableLsn ?? 0);
            promisedEpoch = Math.max(promisedEpoch, found?.durableEpoch ?? 0);
          } else {
            const found = readFooterAt(this.file, segment, offset);
            promise = Math.max(promise, found?.lastLsn ?? 0);
            promisedEpoch = Math.max(promisedEpoch, found?.maxEpoch ?? 0);
            if (found?.endOffset === this.offset) footer = found;
          }
        }
      }
      // Windows meet at a multiple of the step, so no header lies across two of them.
      from += Math.max(Math.floor(this.filled / step) * step, step);
    }
    // Whoever goes on from here reads again what may have been written meanwhile.
    this.filled = 0;
    return { promise, promisedEpoch, usedTo, footer };
  }
}

/** What the footer will say about the frame whose header, right or not, stands at `at`: its entries are whole. */
export function frameFacts(
  core: Core,
  at: number,
  h: Pick<FrameHeader, "bytes" | "entries" | "firstLsn" | "lsns" | "term" | "epoch" | "timeNs">,
  offset: number,
): FrameFacts {
  const v = core.view;
  let userEntries = 0;
  let payloadBytes = 0;
  let voidLsns = 0;
  let marks: Marks | undefined;
  for (let p = at + FRAME_HEADER_BYTES; p < at + h.bytes;) {
    const payload = v.getUint32(p + ENTRY_PAYLOAD_BYTES, true);
    const kind = v.getUint8(p + ENTRY_KIND);
    if (kind < KIND_VOID) {
      userEntries++;
      payloadBytes += payload;
    } else if (kind === KIND_VOID) {
      voidLsns += Number(v.getBigUint64(p + ENTRY_HEADER_BYTES, true));
    } else if (kind === KIND_EPOCH && payload === MARKS_BYTES) {
      marks = decodeMarks(core.bytes, p + ENTRY_HEADER_BYTES) ?? marks;
    }
    p += ENTRY_HEADER_BYTES + ((payload + 7) & ~7);
  }
  const { entries, firstLsn, lsns, term, epoch, timeNs } = h;
  return { offset, entries, firstLsn, lsns, userEntries, payloadBytes, voidLsns, term, epoch, timeNs, marks };
}

/** Address behind the last byte that is not zero in [start, end), or 0. */
function lastNonZero(bytes: Uint8Array, start: number, end: number): number {
  for (let at = end; at > start; at--) if (bytes[at - 1] !== 0) return at;
  return 0;
}
