// How much of a segment that nothing continues or seals is surely on the disk: what its header says, or a later frame. Whole
// frames behind that may stand in the cache only, since a failed fsync leaves pages that are clean and not on the disk, and a
// second fsync does not help: whoever wants to keep them writes them into a new segment (copy-forward).

import type { CopyPlan } from "./chain.js";
import type { ScannedFrame } from "./scan.js";
import { addFrame, emptySummary, firstFrameOffset, type FrameFacts, type SegmentHeader, type SegmentSummary } from "./segment.js";

interface OpenFrame {
  bytes: number;
  end: number;
  facts: FrameFacts;
  opensEpoch: boolean;
}

export class Proven {
  /** The highest LSN that is called durable. */
  promise: number;
  /** The highest epoch that is; a header was durable before its file got its name. */
  promisedEpoch: number;
  /** The highest epoch of all frames, and of the header. */
  epoch: number;
  /** Frames before it are proven … */
  end: number;
  /** … and these are they. */
  readonly summary: SegmentSummary;
  private open: OpenFrame[] = [];

  constructor(
    private readonly header: SegmentHeader,
    firstLsn: number,
  ) {
    this.promise = header.provenLsn;
    this.promisedEpoch = header.epoch;
    this.epoch = header.epoch;
    this.end = firstFrameOffset(header.frameAlign);
    this.summary = emptySummary(firstLsn);
  }

  /** The next whole frame. */
  add({ header: h, end }: ScannedFrame, facts: FrameFacts): void {
    this.open.push({ bytes: h.bytes, end, facts, opensEpoch: facts.entries > 0 && facts.epoch > this.epoch });
    this.epoch = Math.max(this.epoch, facts.epoch);
    this.promised(h.durableLsn, h.durableEpoch);
  }

  /** Up to there everything is durable, somebody says. */
  promised(lsn: number, epoch: number): void {
    this.promise = Math.max(this.promise, lsn);
    this.promisedEpoch = Math.max(this.promisedEpoch, epoch);
    // An empty frame was not fsynced for its own sake: only a later frame with entries proves it. Of one whose entries
    // take no LSN only the epoch can be promised, if it is the first of that: any other is copied like what is not
    // proven, which does no harm, unless something behind it is.
    const last = this.open.findLastIndex(
      ({ end, facts: f, opensEpoch }) =>
        end <= this.header.provenEnd ||
        ((f.lsns > 0 || opensEpoch) && f.firstLsn + f.lsns - 1 <= this.promise && f.epoch <= this.promisedEpoch),
    );
    for (const { end, facts } of this.open.splice(0, last + 1)) {
      addFrame(this.summary, facts);
      this.end = end;
    }
  }

  /** Whole frames with entries that nobody calls durable. */
  get unproven(): { bytes: number; facts: FrameFacts }[] {
    return this.open.filter(({ facts }) => facts.entries > 0);
  }

  /** How to keep them, read up to `end`; undefined: there are none. */
  copyPlan(end: number): CopyPlan | undefined {
    const frames = this.unproven.map(({ bytes, facts }) => ({ bytes, lsns: facts.lsns }));
    return frames.length === 0 ? undefined : { end, frames };
  }
}
