// What a power cut leaves of a recorded disk, mounted and judged. Certain is what was flushed; of what was written since,
// each write, or each sector of it, is there or not. The file system replays its journal, corewal recovers, and then what
// was acknowledged before the cut must be there, and after it nothing but whole appends in the order of their calls.

import { spawnSync } from "node:child_process";
import { closeSync, ftruncateSync, openSync, readFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { codeOf } from "../../src/errors.js";
import { verifyLog } from "../../src/verify.js";
import { openInline } from "./environment.js";
import { texts } from "./expect.js";
import { mount, unmount, type FileSystem } from "./mounts.js";
import { POWER_OPTIONS, recordsOf } from "./power-records.js";
import type { Random } from "./random.js";
import type { DiskEvent } from "./recorded-disk.js";
import { freshPath } from "./scratch.js";

/** What of the unflushed writes survives: each alike, or each by its own chance. */
export const SURVIVALS = ["none", "all", "first ones", "some", "torn"] as const;
export type Survival = (typeof SURVIVALS)[number];

type DiskWrite = Extract<DiskEvent, { kind: "write" }>;
const CHUNK_BYTES = 65536;
/** What a disk writes whole or not at all. btrfs would not survive a torn superblock. */
const SECTOR_BYTES: Record<FileSystem, number> = { ext4: 512, xfs: 512, btrfs: 4096 };

/** The disk along a recording, from its beginning to its end. */
export class CutDisk {
  private readonly certain: Buffer;
  private readonly used = new Set<number>();
  private pending: DiskWrite[] = [];
  private at = 0;
  readonly image = freshPath("cut");

  constructor(
    base: string,
    private readonly events: DiskEvent[],
    private readonly fileSystem: FileSystem,
  ) {
    this.certain = readFileSync(base);
    const zeros = Buffer.alloc(CHUNK_BYTES);
    for (let at = 0; at < this.certain.length; at += CHUNK_BYTES)
      if (!this.certain.subarray(at, at + CHUNK_BYTES).equals(zeros)) this.used.add(at);
  }

  /** Writes the image of a cut before this event, which comes after the last one; gives the number of unflushed writes. */
  cut(before: number, survival: Survival, random: Random): number {
    for (; this.at < before; this.at++) {
      const event = this.events[this.at]!;
      if (event.kind === "write") this.pending.push(event);
      if (event.kind === "flush") this.pending.splice(0).forEach((w) => this.settle(w));
    }
    const file = openSync(this.image, "w");
    ftruncateSync(file, this.certain.length);
    for (const at of this.used) writeSync(file, this.certain, at, Math.min(CHUNK_BYTES, this.certain.length - at), at);
    const chance = random.pick([0.1, 0.5, 0.9]);
    const firsts = random.below(this.pending.length + 1);
    for (const [i, { offset, bytes }] of this.pending.entries()) {
      const step = survival === "torn" ? SECTOR_BYTES[this.fileSystem] : bytes.length;
      for (let from = 0; from < bytes.length; from += step) {
        const survives = survival === "all" || (survival === "first ones" ? i < firsts : survival !== "none" && random.chance(chance));
        if (survives) writeSync(file, bytes, from, Math.min(step, bytes.length - from), offset + from);
      }
    }
    closeSync(file);
    return this.pending.length;
  }

  private settle({ offset, bytes }: DiskWrite): void {
    this.certain.set(bytes, offset);
    for (let at = offset - (offset % CHUNK_BYTES); at < offset + bytes.length; at += CHUNK_BYTES) this.used.add(at);
  }
}

/** What the victims had said when the power went. */
class Known {
  /** The last LSN that must be there: acknowledged, or shown by a recovery. */
  proven = 0;
  closed = false;
  private life = 0;
  /** What the latest process found when it opened the log, in the order of LSNs. */
  private found: string[] = [];

  constructor(notes: DiskEvent[]) {
    for (const event of notes) {
      if (event.kind !== "note") continue;
      const [what, life, lsn] = event.text.split(" ") as [string, string, string?];
      this.closed = what === "closed";
      if (what === "open") {
        this.found = this.prefix(Number(lsn), "recovery");
        this.life = Number(life);
      }
      this.proven = Math.max(this.proven, Number(lsn ?? 0));
    }
  }

  /** The first `count` records that must be the log's, which may end only where an append does. */
  prefix(count: number, whose: string): string[] {
    const records = [...this.found];
    for (let append = 1; records.length < count; append++) records.push(...recordsOf(this.life, append));
    assert.is(records.length, count, `${whose} ends within a batch`);
    return records;
  }
}

/** A tear in ext4's superblock, which is more than a sector, is what its own check at boot is for. */
function mountCut(image: string, fileSystem: FileSystem): string {
  try {
    return mount(image, "-t", fileSystem, "-o", "loop");
  } catch (error) {
    if (fileSystem !== "ext4") throw error;
    // 0: nothing to do, 1: corrected.
    const { status } = spawnSync("e2fsck", ["-fy", image]);
    if (status !== 0 && status !== 1) throw error;
    return mount(image, "-t", fileSystem, "-o", "loop");
  }
}

/** Throws unless the log in this image is what it must be after a cut before this event. Gives what is there. */
export async function judgeCut(image: string, fileSystem: FileSystem, events: DiskEvent[], before: number): Promise<CutResult> {
  const known = new Known(events.slice(0, before));
  const place = mountCut(image, fileSystem);
  try {
    const directory = join(place, "log");
    const report = await verifyLog(directory).catch((error: unknown) => {
      if (codeOf(error) !== "COREWAL_NOT_A_LOG") throw error;
      assert.is(known.proven, 0, `LSN ${known.proven} was acknowledged, and there is no log`);
    });
    assert.is(report?.faults[0]?.message, undefined, `verify: ${report?.faults[0]?.message}`);
    // Closed also after a failure, or it could not be unmounted.
    await using log = await openInline(directory, POWER_OPTIONS);
    const found = await texts(log);
    assert.ok(found.length >= known.proven, `LSN ${known.proven} was acknowledged, and the log ends at ${found.length}`);
    const expected = known.prefix(found.length, "the log");
    found.forEach((text, i) => assert.is(text, expected[i], `LSN ${i + 1}`));
    if (known.closed) assert.ok(log.recovery.clean, "a log that was closed is clean");
    assert.is(await log.append("goes on"), found.length + 1);
    await log.close();
    const after = await verifyLog(directory);
    assert.equal([after.faults, after.clean, after.lastLsn], [[], true, found.length + 1]);
    return { proven: known.proven, found: found.length, torn: report?.torn !== undefined };
  } finally {
    unmount(place);
  }
}

export interface CutResult {
  proven: number;
  found: number;
  torn: boolean;
}
