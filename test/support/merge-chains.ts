// Writes chains of a per-core log frame by frame, straight through what encodes segments and frames: for tests of
// reading, and for the bench, which cannot wait for flushers.

import {
  ENTRY_HEADER_BYTES,
  FRAME_HEADER_BYTES,
  KIND_DATA,
  KIND_DELETE,
  KIND_EPOCH,
  KIND_PUT,
  KIND_VOID,
  TIME_BYTES,
  WINDOW,
} from "../../assembly/layout.js";
import { continueChain, placeFrame, type ChainIdentity, type ChainSegment } from "../../src/chain.js";
import { entrySeed, windowCore } from "../../src/core.js";
import { bodyBytesOf } from "../../src/entry.js";
import { frameFacts } from "../../src/scan.js";
import { seal } from "../../src/footer.js";
import { encodeMarks, MARKS_BYTES, NO_MARKS } from "../../src/marks.js";
import { addFrame } from "../../src/segment.js";
import type { Storage, StorageFile } from "../../src/storage.js";
import type { Topology } from "../../src/types.js";

const LOG_ID = new Uint8Array(16).fill(7);

/** What goes into a frame. */
export type Written =
  | { kind: "put" | "data" | "delete"; timeNs: bigint; key?: Uint8Array; value?: Uint8Array }
  | { kind: "void"; count: number }
  | { kind: "epoch" };

const KINDS = { put: KIND_PUT, data: KIND_DATA, delete: KIND_DELETE, void: KIND_VOID, epoch: KIND_EPOCH };
const NOTHING = new Uint8Array(0);

interface ChainOptions {
  segmentBytes?: number;
  frameAlign?: number;
  /** Room for one frame. */
  windowBytes?: number;
  topology?: Topology;
}

export class ChainWriter {
  readonly segments: ChainSegment[] = [];
  lastLsn = 0;
  /** Time of the newest entry. */
  timeNs = 0n;
  private file: StorageFile | undefined;
  private offset = 0;
  private readonly core;
  private readonly identity: ChainIdentity;

  constructor(
    private readonly storage: Storage,
    directory: string,
    readonly chain: number,
    { segmentBytes = 65536, frameAlign = 64, windowBytes = 65536, topology = "per-core" }: ChainOptions = {},
  ) {
    this.core = windowCore(windowBytes);
    this.identity = {
      directory,
      logId: LOG_ID,
      topology,
      chain,
      term: 1,
      epoch: 0,
      marks: NO_MARKS,
      floor: 0,
      needsCheckpoint: false,
      origin: undefined,
      frameAlign,
      segmentBytes,
    };
  }

  /** Goes on in a new segment; the one before is sealed at `end`, from where on there may be frames without LSNs. */
  rotate(end = this.offset): void {
    const parent = this.segments.at(-1);
    if (parent !== undefined) parent.endOffset = end;
    this.file?.close();
    const salt = BigInt(this.chain * 1000 + this.segments.length + 1);
    const { segment, file } = continueChain(this.storage, this.identity, parent, salt, this.timeNs);
    this.segments.push(segment);
    this.file = file;
    this.offset = segment.endOffset;
  }

  /** Writes one frame. Returns where it stands in the last segment. */
  frame(epoch: number, entries: Written[]): number {
    if (this.file === undefined) this.rotate();
    const { core, identity, lastLsn } = this;
    const { x, view, bytes } = core;
    const timed = identity.topology === "per-core";
    const seed = entrySeed(core, LOG_ID, identity.term);
    let at = WINDOW + FRAME_HEADER_BYTES;
    let headers = -1;
    let lsn = lastLsn + 1;
    for (const entry of entries) {
      const start = at;
      if (entry.kind === "void") {
        view.setBigUint64(x.entry_begin(at, 8, 0, KIND_VOID, this.chain), BigInt(entry.count), true);
      } else if (entry.kind === "epoch") {
        const payload = x.entry_begin(at, MARKS_BYTES, 0, KIND_EPOCH, this.chain);
        bytes.fill(0, payload, payload + MARKS_BYTES);
        encodeMarks({ epoch, complete: epoch, chains: [this.chain] }, bytes, payload);
      } else {
        const { kind, key = NOTHING, value = NOTHING, timeNs } = entry;
        const time = timed ? TIME_BYTES : 0;
        const payload = x.entry_begin(at, time + key.length + value.length, key.length, KINDS[kind], this.chain);
        if (timed) view.setBigInt64(payload, timeNs, true);
        bytes.set(key, payload + time);
        bytes.set(value, payload + time + key.length);
        if (timeNs > this.timeNs) this.timeNs = timeNs;
      }
      x.entry_end(seed, at);
      at = x.entry_seal(at, lsn);
      headers = x.crc32c_update(headers, start, ENTRY_HEADER_BYTES);
      lsn += entry.kind === "void" ? entry.count : entry.kind === "epoch" ? 0 : 1;
    }
    const header = {
      bytes: at - WINDOW,
      entries: entries.length,
      firstLsn: lastLsn + 1,
      durableLsn: lastLsn,
      term: identity.term,
      epoch,
      durableEpoch: epoch,
      timeNs: this.timeNs,
      headersCrc: ~headers >>> 0,
      lsns: lsn - 1 - lastLsn,
    };
    const segment = this.segments.at(-1)!;
    const { offset } = this;
    this.offset = placeFrame(this.file!, segment.header, core, WINDOW, header, offset);
    addFrame(segment.summary, frameFacts(core, WINDOW, header, offset));
    segment.endOffset = this.offset;
    this.lastLsn = lsn - 1;
    return offset;
  }

  /** Ends the chain as a log that is closed does. */
  close(): ChainSegment[] {
    const segment = this.segments.at(-1);
    if (segment !== undefined) seal(this.file!, segment.header, this.offset, segment.summary);
    this.file?.close();
    return this.segments;
  }
}

/** What a put takes in a frame of a per-core log. */
export const putBytes = (keyBytes: number, valueBytes: number): number => bodyBytesOf(TIME_BYTES + keyBytes + valueBytes);
