// The opener's thread as the flusher's guest. appendSync blocks until the disk has answered anyway, so while the
// flusher sleeps, the opener writes the frame itself and saves two wake-ups, each of which can cost a third of
// an fsync.
//
// The role of flusher passes only between the two, by GUEST_STATE, and is never stolen: whoever is not asleep or
// busy waits for the other. The guest does plain writes only: bytes that are zero-filled already, in the segment
// that is active. Everything else (a new segment, more zeros, writers that stall, closing) is the flusher's.

import {
  GUEST_BUSY,
  GUEST_FRAMES,
  GUEST_FRAMES_MAX,
  GUEST_LIMIT,
  GUEST_LIST,
  GUEST_LIST_ENTRY_BYTES,
  GUEST_OFFSET,
  GUEST_OPEN,
  GUEST_OPEN_ASLEEP,
  GUEST_SALT,
  GUEST_SEGMENT,
  GUEST_STATE,
  GUEST_TIME_NS,
  LOG_OPEN,
} from "../assembly/layout.js";
import { segmentPath } from "./chain.js";
import type { Core } from "./core.js";
import { fromSystem } from "./errors.js";
import { poisonLog } from "./fault.js";
import { fill, finish, frameTime, type FrameBuffer } from "./fill.js";
import type { Chance } from "./chance.js";
import { writeAll, type Storage, type StorageFile } from "./storage.js";
import { countFill, countFrame, timedSync } from "./tally.js";

export class Guest {
  /** The active segment, with a file descriptor of this thread's own. */
  private active: { number: number; file: StorageFile } | undefined;

  constructor(
    private readonly core: Core,
    private readonly storage: Storage,
    private readonly buffer: FrameBuffer,
    private readonly chance: Chance,
  ) {}

  /** Flushes what is in the rings, if the flusher sleeps and a plain write is enough. Otherwise the flusher must be asked. */
  flush(): void {
    const { i32, x } = this.core;
    const state = Atomics.load(i32, GUEST_STATE >> 2);
    if (state !== GUEST_OPEN && state !== GUEST_OPEN_ASLEEP) return;
    if (Atomics.compareExchange(i32, GUEST_STATE >> 2, state, GUEST_BUSY) !== state) return;
    let wrote = false;
    try {
      wrote = x.log_state() === LOG_OPEN && this.writeFrame();
    } catch (error) {
      poisonLog(this.core, fromSystem(error, "writing the log"));
      wrote = true;
    } finally {
      Atomics.store(i32, GUEST_STATE >> 2, state);
      Atomics.notify(i32, GUEST_STATE >> 2);
    }
    // A flusher that would sleep on has to prove this frame soon, or to end if the log is poisoned.
    if (wrote && (state === GUEST_OPEN_ASLEEP || x.log_state() !== LOG_OPEN)) x.doorbell_ring();
  }

  private writeFrame(): boolean {
    const { core, buffer } = this;
    const { f64, i32, view } = core;
    const frames = i32[GUEST_FRAMES >> 2]!;
    const offset = f64[GUEST_OFFSET >> 3]!;
    if (frames === GUEST_FRAMES_MAX) return false;
    const taken = fill(core, buffer, f64[GUEST_LIMIT >> 3]! - offset);
    if (taken === undefined) return false;
    const timeNs = frameTime(core, this.chance, view.getBigInt64(GUEST_TIME_NS, true));
    const { bytes, facts } = finish(core, buffer, taken, view.getBigUint64(GUEST_SALT, true), offset, timeNs);
    const file = this.open(f64[GUEST_SEGMENT >> 3]!);
    writeAll(file, bytes, offset);
    countFrame(core, offset, bytes.length);
    timedSync(core, file);
    countFill(core, taken);
    const at = GUEST_LIST + frames * GUEST_LIST_ENTRY_BYTES;
    f64.set([offset, offset + bytes.length, facts.firstLsn, facts.lsns, facts.payloadBytes, facts.voidLsns], at >> 3);
    view.setBigInt64(at + 48, timeNs, true);
    view.setBigInt64(GUEST_TIME_NS, timeNs, true);
    f64[GUEST_OFFSET >> 3] = offset + bytes.length;
    i32[GUEST_FRAMES >> 2] = frames + 1;
    core.x.log_publish_durable(facts.firstLsn + facts.lsns - 1);
    return true;
  }

  private open(number: number): StorageFile {
    if (this.active?.number !== number) {
      this.close();
      const { directory, chain } = this.buffer.identity;
      this.active = { number, file: this.storage.open(segmentPath(directory, { chain, number }), "write") };
    }
    return this.active.file;
  }

  /** Never throws: what it wrote is fsynced, so a failure to close says nothing of it, and the lock has to go back. */
  close(): void {
    const { active } = this;
    this.active = undefined;
    try {
      active?.file.close();
    } catch {
      // The descriptor is gone all the same.
    }
  }
}
