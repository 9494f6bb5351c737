// What a segment costs those who append, in a new file and in a spare: to begin it, to write zeros ahead in it, and each
// frame with its fsync. In one run, frame by frame in turn, so that a busy moment hits both.

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { continueChain, segmentPath, writeZeros, zeroStep, type ChainIdentity } from "../src/chain.js";
import { NO_MARKS } from "../src/marks.js";
import { Spares } from "../src/spares.js";
import { nodeStorage } from "../src/storage/node.js";
import { writeAll, type StorageFile } from "../src/storage.js";
import { inDirectory, machine, median, percentile, type Machine, type RoundOptions } from "./rounds.js";

const SEGMENT_BYTES = 16 * 1024 * 1024;
const FRAME_BYTES = 4096;
const SEGMENT = { chain: 0, number: 1 };

export interface RecycleFigure {
  name: string;
  /** Until the segment has its name, median. */
  beginMs: number;
  /** Writing zeros ahead in all of it, with their fsyncs, median. */
  zerosMs: number;
  frameP50Us: number;
  frameP99Us: number;
}

export interface RecycleReport {
  machine: Machine;
  segmentBytes: number;
  frameBytes: number;
  frames: number;
  figures: [fresh: RecycleFigure, recycled: RecycleFigure];
  /** How many times as long a frame takes in a recycled segment as in a zero-filled one: the median of the rounds. */
  ratio: number;
}

class Contender {
  private readonly beginMs: number[] = [];
  private readonly zerosMs: number[] = [];
  private readonly frameUs: number[] = [];
  private readonly bytes = new Uint8Array(FRAME_BYTES).fill(7);
  private file!: StorageFile;

  constructor(
    private readonly name: string,
    readonly directory: string,
    private readonly spares: boolean,
  ) {
    mkdirSync(directory);
  }

  /** As the flusher does, but with all zeros at once, of which it writes a step with a frame, and the frame's fsync waits. */
  begin(): void {
    const { directory, spares } = this;
    const identity: ChainIdentity = {
      directory,
      logId: new Uint8Array(16).fill(1),
      topology: "striped",
      ...{ chain: 0, term: 1, epoch: 0, marks: NO_MARKS, floor: 0, needsCheckpoint: false, origin: undefined },
      ...{ frameAlign: 64, segmentBytes: SEGMENT_BYTES, spares },
    };
    const before = performance.now();
    const { file, allocated } = continueChain(nodeStorage, identity, undefined, 1n, 0n);
    const begun = performance.now();
    for (let at = allocated; at < SEGMENT_BYTES; at += zeroStep(SEGMENT_BYTES)) {
      writeZeros(file, at, Math.min(SEGMENT_BYTES, at + zeroStep(SEGMENT_BYTES)));
      file.sync();
    }
    this.beginMs.push(begun - before);
    this.zerosMs.push(performance.now() - begun);
    this.file = file;
  }

  frame(offset: number): number {
    const before = performance.now();
    writeAll(this.file, this.bytes, offset);
    this.file.sync();
    const us = (performance.now() - before) * 1000;
    this.frameUs.push(us);
    return us;
  }

  end(): string {
    this.file.close();
    return segmentPath(this.directory, SEGMENT);
  }

  /** What was measured so far. */
  forget(): void {
    for (const list of [this.beginMs, this.zerosMs, this.frameUs]) list.length = 0;
  }

  figure(): RecycleFigure {
    const { name, beginMs, zerosMs, frameUs } = this;
    return {
      name,
      beginMs: median(beginMs),
      zerosMs: median(zerosMs),
      frameP50Us: median(frameUs),
      frameP99Us: percentile(frameUs, 0.99),
    };
  }
}

export function benchRecycle({ directory, rounds, roundMs, onProgress }: RoundOptions): Promise<RecycleReport> {
  return inDirectory(directory, async (base) => {
    const fresh = new Contender("new file, zeros ahead", join(base, "new"), false);
    const recycled = new Contender("spare", join(base, "recycled"), true);
    let failure: unknown;
    const spares = new Spares({
      ...{ storage: nodeStorage, directory: recycled.directory, bytes: SEGMENT_BYTES, keep: 1 },
      failed: (error) => (failure = error),
    });
    const recycle = async (path: string): Promise<void> => {
      spares.discard(path);
      nodeStorage.syncDirectory(recycled.directory);
      spares.discarded();
      const alive = setInterval(() => {}, 1000);
      await spares.idle();
      clearInterval(alive);
      if (failure !== undefined) throw new Error("no spare could be made", { cause: failure });
    };
    const ratios: number[] = [];
    let frames = 0;
    let dropped: string | undefined;
    for (let round = 0; round <= rounds; round++) {
      onProgress?.(round, rounds + 1, "a segment of each kind");
      if (dropped !== undefined) await recycle(dropped);
      fresh.begin();
      recycled.begin();
      const us: [number[], number[]] = [[], []];
      const end = performance.now() + roundMs;
      for (let at = FRAME_BYTES; at < SEGMENT_BYTES && performance.now() < end; at += FRAME_BYTES) {
        us[0].push(fresh.frame(at));
        us[1].push(recycled.frame(at));
      }
      nodeStorage.remove(fresh.end());
      dropped = recycled.end();
      if (round === 0) {
        // Both were new files: not counted.
        fresh.forget();
        recycled.forget();
        continue;
      }
      frames += us[0].length;
      ratios.push(median(us[1]) / median(us[0]));
    }
    return {
      machine: machine(),
      ...{ segmentBytes: SEGMENT_BYTES, frameBytes: FRAME_BYTES, frames },
      figures: [fresh.figure(), recycled.figure()],
      ratio: median(ratios),
    };
  });
}
