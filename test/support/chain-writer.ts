// Writes per-core logs as flushers do, one step at a time, on one thread: what is written, promised and left out when
// the process "dies" is in the test's hands. Built on the library's own encoders, not on its flusher.

import {
  ENTRY_HEADER_BYTES,
  ENTRY_PAYLOAD_BYTES,
  FRAME_HEADER_BYTES,
  KIND_DATA,
  KIND_EPOCH,
  KIND_PUT,
  TIME_BYTES,
  WINDOW,
} from "../../assembly/layout.js";
import { continueChain, placeFrame, segmentPath, type ChainIdentity, type ChainSegment } from "../../src/chain.js";
import { entrySeed, windowCore, type Core } from "../../src/core.js";
import { bodyBytesOf } from "../../src/entry.js";
import { seal } from "../../src/footer.js";
import { encodeMarks, MARKS_BYTES, type Marks } from "../../src/marks.js";
import { chainOf, identitiesAfter, recoverLog, type RecoveredLog } from "../../src/recover.js";
import { frameFacts } from "../../src/scan.js";
import { addFrame, type FrameFacts } from "../../src/segment.js";
import type { StorageFile, Storage } from "../../src/storage.js";
import type { Topology } from "../../src/types.js";

export const CORES_DIRECTORY = "/cores";
const LOG_ID = Uint8Array.from({ length: 16 }, (_, i) => 0xc0 + i);
const core: Core = windowCore(65536);

/** One chain of an open log. */
export class ChainWriter {
  private file: StorageFile | undefined;
  private lastLsn: number;
  /** Promises of the next frame. */
  private durableLsn: number;
  private durableEpoch: number;
  private recorded: number;
  private timeNs: bigint;
  /** An empty frame behind the end: counts once a frame with entries follows. */
  private proof: { bytes: number; facts: FrameFacts } | undefined;

  constructor(
    private readonly log: CoresLog,
    private readonly storage: Storage,
    private readonly identity: ChainIdentity,
    private tail: ChainSegment | undefined,
    private ours: boolean,
    lastLsn: number,
    timeNs: bigint,
  ) {
    this.lastLsn = this.durableLsn = lastLsn;
    this.durableEpoch = this.recorded = identity.epoch;
    this.timeNs = timeNs;
  }

  /** Has a segment of this open. */
  get begun(): boolean {
    return this.ours;
  }

  /** User entries, in a frame of their own, with an epoch entry first if the epoch is new. All have one time. */
  append(...values: (string | [key: string, value: string])[]): void {
    const marks = this.log.epoch > this.recorded ? this.log.marks : undefined;
    this.write(marks, values);
  }

  /** Entries that were given before the last barrier, and are written after others have passed it. */
  appendLate(...values: string[]): void {
    this.write(undefined, values, this.recorded);
  }

  /** The epoch that the chain has recorded. */
  get epoch(): number {
    return this.recorded;
  }

  /** A frame whose only entry is an epoch entry: a barrier frame if the epoch is new, else a record. */
  record(): void {
    this.write(this.log.marks, []);
  }

  /** An empty frame: only promises. */
  prove(): void {
    this.write(undefined, [], this.recorded);
  }

  private write(marks: Marks | undefined, values: (string | [key: string, value: string])[], epoch = this.log.epoch): void {
    const entries = values.length + (marks === undefined ? 0 : 1);
    if (entries > 0 || this.file === undefined) this.room();
    const tail = this.tail!;
    const { x, view, bytes } = core;
    const seed = entrySeed(core, this.identity.logId, this.identity.term);
    const firstLsn = this.lastLsn + 1;
    let at = WINDOW + FRAME_HEADER_BYTES;
    const body = at;
    if (marks !== undefined) {
      const value = x.entry_begin(at, MARKS_BYTES, 0, KIND_EPOCH, this.identity.chain);
      bytes.fill(0, value, value + MARKS_BYTES);
      encodeMarks(marks, bytes, value);
      x.entry_end(seed, at);
      at = x.entry_seal(at, firstLsn);
    }
    if (values.length > 0) this.timeNs = this.log.tick();
    for (const given of values) {
      const [key, value] = typeof given === "string" ? ["", given] : given;
      const payload = Buffer.concat([new Uint8Array(TIME_BYTES), Buffer.from(key), Buffer.from(value)]);
      payload.writeBigInt64LE(this.timeNs);
      const to = x.entry_begin(at, payload.length, Buffer.byteLength(key), key === "" ? KIND_DATA : KIND_PUT, this.identity.chain);
      bytes.set(payload, to);
      x.entry_end(seed, at);
      at = x.entry_seal(at, ++this.lastLsn);
    }
    let crc = -1;
    for (let p = body; p < at; p += bodyBytesOf(view.getUint32(p + ENTRY_PAYLOAD_BYTES, true)))
      crc = x.crc32c_update(crc, p, ENTRY_HEADER_BYTES);
    const header = {
      bytes: at - WINDOW,
      entries,
      firstLsn,
      durableLsn: this.durableLsn,
      term: this.identity.term,
      epoch,
      durableEpoch: this.durableEpoch,
      timeNs: this.timeNs,
      headersCrc: entries === 0 ? 0 : ~crc >>> 0,
      lsns: values.length,
    };
    const offset = tail.endOffset + (this.proof?.bytes ?? 0);
    const end = placeFrame(this.file!, tail.header, core, WINDOW, header, offset);
    const facts = frameFacts(core, WINDOW, header, offset);
    if (entries === 0) {
      this.proof = { bytes: end - offset, facts };
      return;
    }
    if (this.proof !== undefined) addFrame(tail.summary, this.proof.facts);
    this.proof = undefined;
    addFrame(tail.summary, facts);
    tail.endOffset = end;
    this.file!.sync();
    this.durableLsn = this.lastLsn;
    this.durableEpoch = this.recorded = epoch;
  }

  private room(): void {
    if (this.ours) {
      this.file ??= this.storage.open(segmentPath(CORES_DIRECTORY, this.tail!.header), "write");
      return;
    }
    this.log.begin(this.identity.chain);
    const identity = { ...this.identity, epoch: this.recorded, marks: { ...this.log.marks, epoch: this.recorded } };
    const next = continueChain(this.storage, identity, this.tail, this.log.salt(), this.log.tick(), undefined);
    this.tail = next.segment;
    this.file = next.file;
    this.ours = true;
    this.log.begun(this.identity.chain);
  }

  rotate(): void {
    this.ours = false;
    this.proof = undefined;
    this.room();
  }

  seal(): void {
    if (!this.ours) return;
    this.file ??= this.storage.open(segmentPath(CORES_DIRECTORY, this.tail!.header), "write");
    seal(this.file, this.tail!.header, this.tail!.endOffset, this.tail!.summary);
  }
}

/** A log that is open for writing; whoever forgets it has killed its process. */
export class CoresLog {
  private static salts = 0x5a17n;
  /** 2024-01-01T00:00:00Z; goes on by a microsecond each time it is asked for. */
  static nowNs = 1_704_067_200_000_000_000n;
  readonly found: RecoveredLog;
  epoch: number;
  complete: number;
  /** The epoch in which this open began. */
  private readonly first: number;
  private readonly existing: Set<number>;
  private readonly chains: ChainWriter[];
  /** Not written by this open; but recovery may have made a segment. */
  private readonly retired: ChainWriter[];

  constructor(storage: Storage, cores: number, options: { topology?: Topology; logId?: Uint8Array } = {}) {
    let identify!: (chain: number) => ChainIdentity;
    this.found = recoverLog(storage, CORES_DIRECTORY, "write", (found) => {
      identify = identitiesAfter(found, {
        directory: CORES_DIRECTORY,
        logId: found.logId ?? options.logId ?? LOG_ID,
        topology: options.topology ?? "per-core",
        frameAlign: 64,
        segmentBytes: 16384,
      });
      return { identity: identify, salt: () => this.salt(), nowNs: this.tick() };
    });
    this.epoch = this.first = identify(0).epoch;
    this.complete = this.found.complete;
    this.existing = new Set(this.found.chains.map(({ chain }) => chain));
    const writer = (chain: number): ChainWriter => {
      const { segments, copied, lastLsn } = chainOf(this.found, chain);
      return new ChainWriter(this, storage, identify(chain), segments.at(-1), copied !== undefined, lastLsn, this.found.timeNs);
    };
    this.chains = Array.from({ length: cores }, (_, chain) => writer(chain));
    this.retired = [...this.existing].filter((chain) => chain >= cores).map(writer);
  }

  salt(): bigint {
    return CoresLog.salts++;
  }
  tick(): bigint {
    return (CoresLog.nowNs += 1000n);
  }

  get marks(): Marks {
    return { epoch: this.epoch, complete: this.complete, chains: [...this.existing].sort((a, b) => a - b) };
  }

  /** The first chain is made before any other one. */
  begin(chain: number): void {
    if (chain !== 0 && !this.existing.has(0)) this.core(0).rotate();
  }

  begun(chain: number): void {
    this.existing.add(chain);
  }

  core(chain: number): ChainWriter {
    return this.chains[chain]!;
  }

  /** A new epoch, not yet recorded by any chain. */
  advance(): void {
    this.epoch++;
  }

  /** Every chain that was written to has recorded the epoch: it may be settled. */
  passed(): boolean {
    return this.chains.every((chain) => !chain.begun || chain.epoch === this.epoch);
  }

  /** That is recorded: the next barrier may begin. The epoch in which the log was opened needs none. */
  get settled(): boolean {
    return this.epoch === this.first || this.complete === this.epoch;
  }

  /** A whole barrier: each chain that was written to begins the new epoch, and proves it; then the first one records that. */
  barrier(): void {
    this.advance();
    for (const chain of this.chains.filter(({ begun }) => begun)) {
      chain.record();
      chain.prove();
    }
    this.settle();
  }

  /** Everywhere the last epoch has begun: the first chain records that those before are complete. */
  settle(): void {
    this.complete = this.epoch;
    const chain = this.core(0);
    chain.record();
    chain.prove();
  }

  close(): void {
    for (const chain of [...this.chains, ...this.retired]) chain.seal();
  }
}
