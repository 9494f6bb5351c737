// Reading entries back from the segment files, in LSN order, up to what is durable now. Every frame is
// checked whole before one of its entries is given out.

import type { ChainSegment } from "./chain.js";
import { segmentPath } from "./chain.js";
import { codeOf, CorewalError, fromSystem, mistake, outOfRange } from "./errors.js";
import { decodeEntries } from "./entry.js";
import { damaged, withFile } from "./recover.js";
import { SegmentScanner } from "./scan.js";
import { INDEX_STRIDE_BYTES, type SegmentHeader } from "./segment.js";
import type { Storage, StorageFile } from "./storage.js";
import type { Entry, ReadOptions } from "./types.js";

/** Entries in one batch, about. */
const BATCH_ENTRIES = 1024;

/** One segment as a reader knows it. */
interface Known {
  header: SegmentHeader;
  /** Where its frames end; undefined while it is being written. */
  end: number | undefined;
  /** [first LSN, offset], ascending; grows as a segment without footer is read. */
  index: [number, number][];
}

export class ChainReader {
  private readonly known: Known[];

  constructor(
    private readonly storage: Storage,
    private readonly directory: string,
    segments: ChainSegment[],
    /** Entries up to here may be shown. */
    private readonly durableLsn: () => number,
    /** The last segment grows, others may follow it. */
    growing: boolean,
    private readonly check: () => void,
  ) {
    this.known = segments.map((s, i) => ({
      header: s.header,
      end: growing && i === segments.length - 1 && s.footer === undefined ? undefined : s.endOffset,
      index: [...s.summary.index],
    }));
  }

  batches(options: ReadOptions = {}): AsyncIterable<Entry[]> {
    const { from, to, internal, signal } = checkOptions(options);
    return { [Symbol.asyncIterator]: () => new BatchIterator(this, from, to, internal, signal) };
  }

  /** Entries one by one: a loop over batches, without the cost of an async generator for each. */
  entries(options: ReadOptions = {}): AsyncIterable<Entry> {
    const batches = this.batches(options);
    return {
      [Symbol.asyncIterator]() {
        const source = batches[Symbol.asyncIterator]();
        let batch: Entry[] = [];
        let at = 0;
        const end: IteratorResult<Entry> = { done: true, value: undefined };
        return {
          next(): Promise<IteratorResult<Entry>> {
            if (at < batch.length) return Promise.resolve({ done: false, value: batch[at++]! });
            return source.next().then((result) => {
              if (result.done) return end;
              batch = result.value;
              at = 1;
              return { done: false, value: batch[0]! };
            });
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

  async get(lsn: number): Promise<Entry | undefined> {
    for await (const entry of this.entries({ from: lsn, to: lsn })) return entry;
    return undefined;
  }

  /** @internal */ durable(): number {
    this.check();
    return this.durableLsn();
  }

  /** The segment that holds `lsn`, opened at a frame at or before it; undefined if the log has none. @internal */
  open(lsn: number): Cursor | undefined {
    if (this.known.length === 0 && !this.append(1)) return undefined;
    for (;;) {
      let at = this.known.length - 1;
      while (at > 0 && this.known[at]!.header.parentLastLsn >= lsn) at--;
      if (at === this.known.length - 1 && this.append(this.known[at]!.header.number + 1)) continue;
      return new Cursor(this.storage, this.directory, this, this.known[at]!, lsn);
    }
  }

  /** The segment after this one, if there is one. @internal */
  after(segment: Known): Known | undefined {
    const at = this.known.indexOf(segment);
    if (at + 1 >= this.known.length && !this.append(segment.header.number + 1)) return undefined;
    return this.known[at + 1];
  }

  /** Has the segment with this number appeared? Then it says where its parent ends. */
  private append(number: number): boolean {
    let header: SegmentHeader;
    try {
      header = withFile(this.storage, this.directory, number, (_, h) => h);
    } catch (error) {
      if (codeOf(error) === "ENOENT") return false;
      throw error;
    }
    const parent = this.known.at(-1);
    if (parent !== undefined) {
      if (header.parentNumber !== parent.header.number || header.parentSalt !== parent.header.salt) return false;
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

  constructor(
    storage: Storage,
    directory: string,
    private readonly reader: ChainReader,
    readonly segment: Known,
    lsn: number,
  ) {
    this.file = storage.open(segmentPath(directory, segment.header), "read");
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
    return new SegmentScanner(this.file, this.segment.header, this.segment.end ?? this.file.size(), start);
  }

  /** The next frame, which is durable; undefined at the end of the segment. */
  next(): ReturnType<SegmentScanner["next"]> {
    let frame = this.scanner.next();
    if (frame === undefined && (this.segment.end === undefined || this.scanner.limit < this.segment.end)) {
      // A segment that is being written: look again at what is there now.
      this.reader.after(this.segment);
      const { offset, nextLsn } = this.scanner;
      this.scanner.close();
      this.scanner = this.scan({ offset, nextLsn });
      frame = this.scanner.next();
    }
    if (frame === undefined) {
      if (this.segment.end !== undefined && this.scanner.offset >= this.segment.end) return undefined;
      throw damaged(this.scanner, this.file.path);
    }
    const last = this.segment.index.at(-1);
    if (frame.header.lsns > 0 && (last === undefined || frame.offset - last[1] >= INDEX_STRIDE_BYTES))
      this.segment.index.push([frame.header.firstLsn, frame.offset]);
    return frame;
  }

  close(): void {
    this.scanner.close();
    this.file.close();
  }
}

class BatchIterator implements AsyncIterator<Entry[]> {
  private cursor: Cursor | undefined;
  private end = -1;
  private done = false;

  constructor(
    private readonly reader: ChainReader,
    private readonly from: number,
    private readonly to: number,
    private readonly internal: boolean,
    private readonly signal: AbortSignal | undefined,
  ) {}

  next(): Promise<IteratorResult<Entry[]>> {
    try {
      const batch = this.fill();
      if (batch.length > 0) return Promise.resolve({ done: false, value: batch });
      this.stop();
      return Promise.resolve({ done: true, value: undefined });
    } catch (error) {
      this.stop();
      return Promise.reject(fromSystem(error, "reading the log"));
    }
  }

  return(): Promise<IteratorResult<Entry[]>> {
    this.stop();
    return Promise.resolve({ done: true, value: undefined });
  }

  private fill(): Entry[] {
    const batch: Entry[] = [];
    if (this.done) return batch;
    if (this.signal?.aborted) throw new CorewalError("COREWAL_ABORTED", "reading was aborted", { cause: this.signal.reason });
    const durable = this.reader.durable();
    // The first call decides how far this reading goes.
    if (this.end < 0) this.end = Math.min(this.to, durable);
    if (this.cursor === undefined) {
      if (this.from > this.end) return batch;
      this.cursor = this.reader.open(this.from);
      if (this.cursor === undefined) return batch;
    }
    while (batch.length < BATCH_ENTRIES && this.cursor.scanner.nextLsn <= this.end) {
      const frame = this.cursor.next();
      if (frame === undefined) {
        const next = this.reader.after(this.cursor.segment);
        if (next === undefined) break;
        const nextLsn: number = this.cursor.scanner.nextLsn;
        this.leave();
        this.cursor = this.reader.open(nextLsn)!;
      } else if (frame.header.firstLsn + frame.header.lsns > this.from) {
        decodeEntries(this.cursor.scanner.window, frame.at, frame.header, this.from, this.end, this.internal, batch);
      }
    }
    return batch;
  }

  private leave(): void {
    const { cursor } = this;
    this.cursor = undefined;
    cursor?.close();
  }

  private stop(): void {
    this.done = true;
    this.leave();
  }
}

function checkOptions(o: ReadOptions): { from: number; to: number; internal: boolean; signal: AbortSignal | undefined } {
  if (typeof o !== "object" || o === null)
    throw mistake("COREWAL_INVALID_OPTION", "how to read is an object { from, to, internal, signal }");
  const known = ["from", "to", "internal", "signal"];
  for (const name of Object.keys(o))
    if (!known.includes(name))
      throw mistake("COREWAL_INVALID_OPTION", `option ${name} of reading does not exist; there are ${known.join(", ")}`);
  const lsn = (name: string, value: number | undefined, fallback: number): number => {
    if (value === undefined) return fallback;
    if (typeof value !== "number") throw mistake("COREWAL_INVALID_OPTION", `option ${name} is an LSN, a number, not ${typeof value}`);
    if (value !== Infinity && (!Number.isInteger(value) || value < 1))
      throw outOfRange("COREWAL_INVALID_OPTION", `option ${name} is ${value}: an LSN is a whole number from 1 on`);
    return value;
  };
  if (o.internal !== undefined && typeof o.internal !== "boolean")
    throw mistake("COREWAL_INVALID_OPTION", `option internal is ${String(o.internal)}: it must be true or false`);
  if (o.signal !== undefined && !(o.signal instanceof AbortSignal))
    throw mistake("COREWAL_INVALID_OPTION", "option signal must be an AbortSignal");
  return { from: lsn("from", o.from, 1), to: lsn("to", o.to, Infinity), internal: o.internal === true, signal: o.signal };
}
