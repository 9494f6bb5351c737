// The segments and the checkpoint of a restored log. Entries are bound to their log, so their checksums are made anew:
// all of them were checked right before. Nothing has its final name before commit().

import { FRAME_HEADER_BYTES } from "../assembly/layout.js";
import { placeFrame, segmentPath } from "./chain.js";
import { CheckpointWriter, readState, type CheckpointFacts } from "./checkpoint-file.js";
import { entrySeed } from "./core.js";
import { eachEntry, headersChecksum } from "./entry.js";
import { randomSalt, type Chance } from "./chance.js";
import { alignUp, type FrameHeader } from "./frame.js";
import { seal } from "./footer.js";
import { mergeMarks, type Marks } from "./marks.js";
import type { ChainPlan, Plan } from "./restore-plan.js";
import { keptFrames, type KeptFrame } from "./restore-source.js";
import { frameFacts } from "./scan.js";
import { addFrame, corrupt, emptySummary, encodeSegmentHeader, firstFrameOffset, NEW_SUFFIX, type SegmentHeader } from "./segment.js";
import { writeAll, type Storage, type StorageFile } from "./storage.js";

export interface RestoreHands {
  storage: Storage;
  /** Where the new log goes. */
  out: string;
  chance: Chance;
  /** So many bytes more were read. */
  progress: (bytes: number) => Promise<void>;
}

/** Writes everything under names that nobody looks at; what is returned gives it its names. */
export async function writeRestored(plan: Plan, hands: RestoreHands): Promise<{ commit: () => void }> {
  const { source, checkpoint } = plan;
  const logId = hands.chance.randomBytes(16);
  const chains: RestoredChain[] = [];
  for (const chainPlan of plan.chains) {
    const chain = new RestoredChain(plan, chainPlan, logId, hands);
    chains.push(chain);
    try {
      for (const frame of keptFrames(source, chainPlan.from, chainPlan.limit)) {
        chain.place(frame);
        await hands.progress(frame.header.bytes);
      }
      chain.end();
    } finally {
      chain.close();
    }
  }
  const state = checkpoint === undefined ? undefined : await writeCheckpoint(plan, checkpoint, logId, hands);
  return {
    commit() {
      state?.commit();
      for (const chain of chains) chain.commit();
      hands.storage.syncDirectory(hands.out);
    },
  };
}

/** Same number, place and state, for the new log. */
async function writeCheckpoint(
  { source }: Plan,
  { begin, end, bytes: _bytes, ...facts }: CheckpointFacts,
  logId: Uint8Array,
  { storage, out, chance, progress }: RestoreHands,
): Promise<CheckpointWriter> {
  const writer = new CheckpointWriter(storage, out, { ...facts, logId, salt: randomSalt(chance) });
  try {
    for await (const block of readState(source.storage, source.directory, facts.number)) {
      writer.write(block);
      await progress(block.length);
    }
    await writer.finish(begin, end);
  } catch (error) {
    writer.abandon();
    throw error;
  }
  return writer;
}

/** One chain of the new log: its numbers begin with 1, its LSNs where the source's do. */
class RestoredChain {
  private readonly paths: string[] = [];
  private readonly shape: Pick<SegmentHeader, "frameAlign" | "segmentBytes">;
  private readonly floor: number;
  private file: StorageFile | undefined;
  private number = 0;
  private salt: bigint;
  private parent: Pick<SegmentHeader, "parentNumber" | "parentSalt" | "parentEnd" | "parentLastLsn">;
  private epoch: number;
  private marks: Marks;
  private timeNs: bigint;
  /** Of the segment that is being written. */
  private head!: { epoch: number; marks: Marks; createdNs: bigint };
  private offset = 0;
  private summary = emptySummary(1);
  private entries = 0;

  constructor(
    private readonly plan: Plan,
    private readonly chainPlan: ChainPlan,
    private readonly logId: Uint8Array,
    private readonly hands: RestoreHands,
  ) {
    const { from } = chainPlan;
    const { epoch, marks, createdNs } = from.segments[0]!.header;
    const { frameAlign, segmentBytes } = from.segments.at(-1)!.header;
    this.shape = { frameAlign, segmentBytes };
    this.floor = from.firstLsn > 1 ? 1 : 0;
    this.parent = { parentNumber: 0, parentSalt: 0n, parentEnd: 0, parentLastLsn: from.firstLsn - 1 };
    // A chain of which nothing is kept may come from a later epoch than the log is in.
    this.epoch = Math.min(epoch, plan.epoch);
    const perCore = plan.source.topology === "per-core";
    const chains = perCore ? plan.chains.map((chain) => chain.from.chain) : marks.chains;
    this.marks = { epoch: Math.min(marks.epoch, plan.epoch), complete: Math.min(marks.complete, plan.epoch), chains };
    this.timeNs = createdNs;
    this.salt = randomSalt(hands.chance);
    this.begin();
  }

  private begin(): void {
    const { shape, epoch, marks, timeNs } = this;
    this.number++;
    this.head = { epoch, marks, createdNs: timeNs };
    this.offset = firstFrameOffset(shape.frameAlign);
    this.summary = emptySummary(this.parent.parentLastLsn + 1);
    const path = segmentPath(this.hands.out, { chain: this.chainPlan.from.chain, number: this.number });
    this.paths.push(path);
    this.file = this.hands.storage.create(path + NEW_SUFFIX);
  }

  place({ core, at, header, path }: KeptFrame): void {
    const { shape, logId } = this;
    if (this.summary.frames > 0 && this.offset + alignUp(header.bytes, shape.frameAlign) > shape.segmentBytes) this.next();
    const seed = entrySeed(core, logId, header.term);
    eachEntry(core, at, header, (p, lsn) => {
      core.x.entry_end(seed, p);
      core.x.entry_seal(p, lsn);
      return true;
    });
    const frame: FrameHeader = { ...header, headersCrc: headersChecksum(core, at + FRAME_HEADER_BYTES, at + header.bytes) };
    const facts = frameFacts(core, at, frame, this.offset);
    if (header.firstLsn !== this.summary.lastLsn + 1) throw corrupt(`LSN ${this.summary.lastLsn + 1} is missing`, path, 0, header.firstLsn);
    addFrame(this.summary, facts);
    this.offset = placeFrame(this.file!, { salt: this.salt, frameAlign: shape.frameAlign }, core, at, frame, this.offset);
    this.entries += facts.userEntries;
    this.epoch = Math.max(this.epoch, frame.epoch);
    this.timeNs = frame.timeNs;
    if (facts.marks !== undefined) this.marks = mergeMarks(this.marks, facts.marks);
  }

  /** Seals the segment, and begins the one that continues it. */
  private next(): void {
    const { salt, number } = this;
    const nextSalt = randomSalt(this.hands.chance);
    this.finish({ number: number + 1, salt: nextSalt });
    this.parent = { parentNumber: number, parentSalt: salt, parentEnd: this.offset, parentLastLsn: this.summary.lastLsn };
    this.salt = nextSalt;
    this.begin();
  }

  private finish(next?: { number: number; salt: bigint }): void {
    const { plan, chainPlan, summary, offset, file } = this;
    const { source } = plan;
    const header: SegmentHeader = {
      ...this.shape,
      ...this.parent,
      ...this.head,
      logId: this.logId,
      salt: this.salt,
      topology: source.topology,
      chain: chainPlan.from.chain,
      number: this.number,
      term: source.term,
      provenEnd: offset,
      provenLsn: summary.lastLsn,
      cutsParent: false,
      floor: this.floor,
      needsCheckpoint: this.floor > 0 && !chainPlan.from.dropped,
      origin: source.logId,
    };
    writeAll(file!, encodeSegmentHeader(header), 0);
    seal(file!, header, offset, summary, next);
    this.close();
  }

  /** The last segment. What was announced is what there is, or the source was not what it seemed. */
  end(): void {
    this.finish();
    const { lastLsn, entries, from } = this.chainPlan;
    if (this.summary.lastLsn !== lastLsn || this.entries !== entries)
      throw corrupt(
        `the footers of chain ${from.chain} announce ${entries} entries up to LSN ${lastLsn}, and there are ${this.entries} up to LSN ${this.summary.lastLsn}`,
        segmentPath(this.plan.source.directory, from.segments.at(-1)!.header),
        0,
        lastLsn,
      );
  }

  /** Once: by then its number may be another file's. */
  close(): void {
    const { file } = this;
    this.file = undefined;
    file?.close();
  }

  commit(): void {
    for (const path of this.paths) this.hands.storage.rename(path + NEW_SUFFIX, path);
  }
}
