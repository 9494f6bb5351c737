// The end of a chain that is being written: its last segment, the open file, the zeros ahead of the frames, and the empty
// frame that may stand behind the last one. What is written, and when it is fsynced, is the flusher's business.

import { STAT_SEGMENTS, STAT_SEGMENT_NUMBER, STAT_WRITTEN_BYTES } from "../assembly/layout.js";
import { continueChain, segmentPath, writeZeros, zeroStep, type ChainIdentity, type ChainSegment } from "./chain.js";
import type { Core } from "./core.js";
import { seal } from "./footer.js";
import { addFrame, type FrameFacts } from "./segment.js";
import { writeAll, type Storage, type StorageFile } from "./storage.js";
import { count, countFrame, timedSync } from "./tally.js";

/** A frame that is larger than this extends the file itself: zeros first would only write everything twice. */
const ZERO_AHEAD_FRAME_MAX = 256 * 1024;

export class ActiveSegment {
  private file: StorageFile | undefined;
  /** Bytes of the file that were written before, zeros included. */
  private allocated = 0;
  /** An empty frame behind the end: part of the segment only once a frame with entries follows it. */
  private proof: { bytes: number; facts: FrameFacts } | undefined;

  constructor(
    private readonly core: Core,
    private readonly storage: Storage,
    private readonly identity: ChainIdentity,
    /** The last segment of the chain; undefined: it has none yet. */
    public tail: ChainSegment | undefined,
    /** The tail was made by this open and may be written on. Otherwise the next append begins a new segment. */
    public isOurs: boolean,
  ) {}

  get isOpen(): boolean {
    return this.file !== undefined;
  }

  /** Where the next frame goes. */
  get offset(): number {
    return (this.tail?.endOffset ?? 0) + (this.proof?.bytes ?? 0);
  }

  /** Up to there nothing but a plain write is needed. */
  get limit(): number {
    return Math.min(this.allocated, this.identity.segmentBytes);
  }

  /** `bytes` more belong into this one, which then is open; a segment has one frame at least, however large. */
  hasRoom(bytes: number): boolean {
    const { tail, identity } = this;
    if (!this.isOurs || tail === undefined) return false;
    if (this.offset + bytes > identity.segmentBytes && tail.summary.frames > 0) return false;
    this.open(tail);
    return true;
  }

  private open({ header }: ChainSegment): StorageFile {
    return (this.file ??= this.storage.open(segmentPath(this.identity.directory, header), "write"));
  }

  /** Begins the next segment of the chain; `identity` as it is by now. */
  begin(identity: ChainIdentity, salt: bigint, createdNs: bigint): void {
    this.close();
    this.proof = undefined;
    const { segment, file, allocated, writtenBytes } = continueChain(this.storage, identity, this.tail, salt, createdNs);
    this.tail = segment;
    this.isOurs = true;
    this.file = file;
    this.allocated = allocated;
    count(this.core, STAT_SEGMENTS, 1);
    count(this.core, STAT_WRITTEN_BYTES, writtenBytes);
    this.core.f64[STAT_SEGMENT_NUMBER >> 3] = segment.header.number;
  }

  /** Writes a frame behind the others; with its padding it takes `total` bytes. */
  write(bytes: Uint8Array, facts: FrameFacts, total: number): void {
    this.allocate(facts.offset, total);
    writeAll(this.file!, bytes, facts.offset);
    countFrame(this.core, facts.offset, total);
    this.wrote(facts, total);
  }

  /** A frame was written behind the others. */
  wrote(facts: FrameFacts, total: number): void {
    if (facts.entries === 0) {
      this.proof = { bytes: total, facts };
      return;
    }
    const tail = this.tail!;
    if (this.proof !== undefined) addFrame(tail.summary, this.proof.facts);
    this.proof = undefined;
    addFrame(tail.summary, facts);
    tail.endOffset = facts.offset + total;
  }

  /** Zeros ahead of small frames, so that their fsync has no new blocks to record. */
  private allocate(offset: number, bytes: number): void {
    const end = offset + bytes;
    if (end <= this.allocated) return;
    const { segmentBytes } = this.identity;
    if (bytes <= Math.min(ZERO_AHEAD_FRAME_MAX, zeroStep(segmentBytes))) {
      const to = Math.min(Math.max(segmentBytes, end), Math.max(offset, this.allocated) + zeroStep(segmentBytes));
      const from = Math.max(this.allocated, this.file!.size());
      writeZeros(this.file!, from, to);
      count(this.core, STAT_WRITTEN_BYTES, Math.max(0, to - from));
      this.allocated = Math.max(to, end);
    } else {
      this.allocated = end;
    }
  }

  sync(): void {
    timedSync(this.core, this.file!);
  }

  /** The proper end of the chain. */
  seal(): void {
    const { tail } = this;
    if (tail !== undefined && this.isOurs && tail.footer === undefined) seal(this.open(tail), tail.header, tail.endOffset, tail.summary);
    this.close();
  }

  close(): void {
    const { file } = this;
    this.file = undefined;
    file?.close();
  }
}
