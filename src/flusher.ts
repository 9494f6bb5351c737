// Append path, step 5: one state machine that drains the rings, writes a frame, fsyncs it once for
// everybody who waits, publishes the durable LSN. A worker loops over it, or the opener's thread does
// (drive.ts), or a test.
//
// It must never publish before the fsync returned, never write over a frame with entries, and never go
// on after a failed write or fsync.

import {
  COMMAND_CLOSE,
  CTL_COMMAND,
  CTL_EPOCH_DONE,
  CTL_EPOCH_LSN,
  CTL_STRIPE_HIGH,
  DROP_ASKED,
  DROP_DONE,
  DROP_FLOOR,
  DROP_LSN,
  DROP_NEEDS,
  DROP_RESULT,
  GUEST_BUSY,
  GUEST_FRAMES,
  GUEST_LIMIT,
  GUEST_LIST,
  GUEST_LIST_ENTRY_BYTES,
  GUEST_OFFSET,
  GUEST_OPEN,
  GUEST_OPEN_ASLEEP,
  GUEST_SALT,
  GUEST_SEGMENT,
  GUEST_SHUT,
  GUEST_STATE,
  GUEST_TIME_NS,
  LOG_CLOSED,
  LOG_COMPLETE,
  LOG_EPOCH,
  LOG_FIRST_WANTED,
  LOG_OPEN,
  LOG_POISONED,
  LOG_RECORDED,
  MERGE_EPOCH,
  SLEEP_IDLE,
  SLEEP_TIMED,
  STAT_REVOKED,
  STRIPE_BLOCKS,
  STRIPE_BYTES,
  STRIPE_STATE,
} from "../assembly/layout.js";
import { ActiveSegment } from "./active-segment.js";
import type { ChainSegment } from "./chain.js";
import { randomSalt, toNs, type Chance } from "./chance.js";
import type { Core } from "./core.js";
import { fromSystem } from "./errors.js";
import { addChain, chainsAdded, chainsOf, hasChain, ringDoorbells, wakeBlocked } from "./banks.js";
import { poisonLog } from "./fault.js";
import {
  EMPTY_FILL,
  epochOf,
  fill,
  fillMarks,
  finish,
  frameBytesOf,
  frameTime,
  nextToDrain,
  wasAhead,
  wasFull,
  wasPending,
  type Fill,
  type FrameBuffer,
} from "./fill.js";
import { mergeMarks, type Marks } from "./marks.js";
import { segmentName } from "./segment.js";
import type { Storage } from "./storage.js";
import { count, countFill } from "./tally.js";

export interface FlusherOptions {
  maxDelayMs: number;
  maxBytes: number;
  flushIntervalMs: number;
  writerStallMs: number;
}

/** Where the flusher goes on: plain data, so it can go to a worker. */
export interface FlusherStart extends FrameBuffer {
  /** The last segment of the chain; undefined if there is none yet. */
  tail: ChainSegment | undefined;
  /** The tail was made by this open and may be written on. Otherwise the next append begins a new segment. */
  tailIsOurs: boolean;
  timeNs: bigint;
  options: FlusherOptions;
}

/** `ms` 0: call step() again at once. Otherwise sleep that long at most, with this state of the doorbell. */
export interface Rest {
  ms: number;
  sleep: typeof SLEEP_IDLE | typeof SLEEP_TIMED;
}

const AGAIN: Rest = { ms: 0, sleep: SLEEP_TIMED };
/** After so long without work, an empty frame proves the last one. */
const PROOF_DELAY_MS = 5;
/** Pending writers mostly finish within nanoseconds: look again so many times before sleeping. */
const PENDING_SPINS = 200;
/** The first chain is made soon: look again so often. */
const FIRST_LOOK_MS = 1;

export class Flusher {
  private readonly active: ActiveSegment;
  private timeNs: bigint;
  /** The promises in the last frame written. */
  private promised = 0;
  private promisedEpoch: number;
  /** The highest epoch that the chain has recorded, which this open's first segment in it does. */
  private durableEpoch: number;
  /** What this chain says of epochs and other chains. */
  private marks: Marks;
  /** Of the chain. */
  private floor: number;
  private needsCheckpoint: boolean;
  /** How many of the chains that are new since the log was opened it knows. */
  private chainsSeen = 0;
  /** While an epoch begins: stripes that may still publish in the one before; then the LSN before which all of that stands. */
  private late: Set<number> | undefined;
  private barrierLsn: number | undefined;
  private fenced = false;
  private shut = false;
  /** The log is being closed, and everything of this chain is on the disk. */
  drained = false;
  private flushedAt = 0;
  private delaySince: number | undefined;
  private lazySince: number | undefined;
  private stalled: { since: number; lookedAt: number; states: bigint[] } | undefined;
  private spins = 0;

  constructor(
    private readonly core: Core,
    storage: Storage,
    private readonly start: FlusherStart,
    private readonly chance: Chance,
  ) {
    this.active = new ActiveSegment(core, storage, start.identity, start.tail, start.tailIsOurs);
    this.timeNs = start.timeNs;
    this.promised = core.x.log_durable_lsn();
    this.promisedEpoch = this.durableEpoch = start.identity.epoch;
    this.marks = start.identity.marks;
    this.floor = start.identity.floor;
    this.needsCheckpoint = start.identity.needsCheckpoint;
  }

  /** Nothing more will come of it. */
  get done(): boolean {
    const state = this.core.x.log_state();
    return this.shut || state === LOG_CLOSED || state === LOG_POISONED;
  }

  /** Does at most one flush; says how long nothing has to be done. */
  step(): Rest {
    if (this.done) return { ms: Infinity, sleep: SLEEP_IDLE };
    try {
      return this.work() ? AGAIN : this.rest();
    } catch (error) {
      this.poison(error);
      return { ms: Infinity, sleep: SLEEP_IDLE };
    }
  }

  /** Is there something to flush now? Otherwise: until when can it wait? Changes nothing but the clocks it waits by. */
  rest(): Rest {
    const { core, start, chance } = this;
    const { x } = core;
    const durable = x.log_durable_lsn();
    const waiting = x.log_last_lsn() >= nextToDrain(core);
    if (this.done) return { ms: Infinity, sleep: SLEEP_IDLE };
    if (this.isClosing()) return this.drained && !this.recordDue() ? { ms: Infinity, sleep: SLEEP_IDLE } : AGAIN;
    const now = chance.now();
    const due = this.epochDue() || this.recordDue() || this.dropDue();
    if (!waiting && !due) {
      this.lazySince = this.delaySince = this.stalled = undefined;
      if (!this.unproven() || !this.active.isOpen) return { ms: Infinity, sleep: SLEEP_IDLE };
      const left = this.flushedAt + PROOF_DELAY_MS - now;
      return left <= 0 ? AGAIN : { ms: Math.min(left, PROOF_DELAY_MS), sleep: SLEEP_IDLE };
    }
    if (waiting && this.waitsForFirst()) return { ms: FIRST_LOOK_MS, sleep: SLEEP_TIMED };
    if (this.stalled !== undefined) {
      // A writer is between taking an LSN and publishing it: mostly for nanoseconds, then look once a millisecond.
      const looked = now - this.stalled.lookedAt;
      return this.spins < PENDING_SPINS || looked < 0 || looked >= 1 ? AGAIN : { ms: 1, sleep: SLEEP_TIMED };
    }
    if (due || x.merge_demand(1) > durable || x.merge_pressed()) return AGAIN;
    const { maxDelayMs, maxBytes, flushIntervalMs } = start.options;
    let ms = Infinity;
    if (x.merge_demand(0) > durable) {
      this.delaySince ??= now;
      ms = maxDelayMs - (now - this.delaySince);
      if (ms <= 0 || ms > maxDelayMs || x.merge_used() >= maxBytes) return AGAIN;
    }
    this.lazySince ??= now;
    const lazyMs = flushIntervalMs - (now - this.lazySince);
    // A clock that was set back must not prolong the wait.
    if (lazyMs <= 0 || lazyMs > flushIntervalMs) return AGAIN;
    return { ms: Math.min(ms, lazyMs), sleep: SLEEP_TIMED };
  }

  private work(): boolean {
    if (this.rest().ms > 0) return false;
    const closing = this.isClosing();
    if (closing && !this.fenced) this.fence();
    this.joinEpoch();
    const epochDue = this.epochDue();
    if (epochDue) this.lookForLate();
    if (this.flush()) return true;
    if (this.dropDue()) {
      this.drop();
      return true;
    }
    if (epochDue) return this.beginEpoch();
    if (this.core.x.log_last_lsn() >= nextToDrain(this.core)) return false;
    if (this.recordDue()) {
      this.record(epochOf(this.core));
      return true;
    }
    if (closing) {
      this.drained = true;
      return false;
    }
    // Also while a stripe is pending: a thread that died before it took an LSN stays so, and nothing waits for it.
    if (this.unproven()) {
      this.prove();
      return true;
    }
    return false;
  }

  private isClosing(): boolean {
    return Atomics.load(this.core.log.i32, CTL_COMMAND >> 2) === COMMAND_CLOSE;
  }

  /** The last frame that somebody relies on has no promise behind it. */
  private unproven(): boolean {
    return this.promised < this.core.x.log_durable_lsn() || this.promisedEpoch < this.durableEpoch;
  }

  // --- flush ------------------------------------------------------------------------------------

  /** Drains the rings into one frame and makes it durable. False if there was nothing to take. */
  private flush(): boolean {
    const { core, start } = this;
    if (this.waitsForFirst()) return false;
    const taken = fill(core, start);
    if (taken === undefined) {
      this.waitForPending(wasPending(core));
      return false;
    }
    this.stalled = undefined;
    this.spins = 0;
    this.writeDurably(taken);
    countFill(core, taken);
    core.x.log_publish_durable(taken.firstLsn + taken.lsns - 1);
    this.flushedAt = this.chance.now();
    this.delaySince = undefined;
    this.lazySince = wasFull(core) ? 0 : undefined;
    return true;
  }

  private writeDurably(taken: Fill): void {
    this.writeFrame(taken);
    this.active.sync();
  }

  private writeFrame(taken: Fill): void {
    const { core, start, active } = this;
    const total = frameBytesOf(taken, start);
    // An empty frame begins no segment: without it nobody outside would learn that the last one is durable.
    if (taken.entries > 0 && !active.hasRoom(total)) this.nextSegment();
    this.timeNs = frameTime(core, this.chance, this.timeNs);
    // Not before: the next segment's header records the epoch.
    const { durableEpoch } = this;
    const epochs = { epoch: taken.marks?.epoch ?? epochOf(core), durableEpoch };
    const { bytes, facts, promise } = finish(core, start, taken, active.tail!.header.salt, active.offset, this.timeNs, epochs);
    active.write(bytes, facts, total);
    this.promised = promise;
    this.promisedEpoch = durableEpoch;
  }

  // --- epochs -----------------------------------------------------------------------------------
  //
  // An epoch begins in three steps: whoever advances it changes LOG_EPOCH, which writers read while they are pending; each
  // flusher waits until nobody can publish in the epoch before, writes what was published, and then, as the first frame
  // of the new epoch, its marks; when all have done so, the first bank's flusher records that the epoch before is complete.

  private epochDue(): boolean {
    return Atomics.load(this.core.log.i64, LOG_EPOCH >> 3) > this.core.i64[MERGE_EPOCH >> 3]!;
  }

  /**
   * No barrier waited for a core that nobody had taken, so nothing of an epoch before the last one recorded can come from
   * it. Its flusher finds that out: it may be there while the core is being taken, since one above it was taken before.
   */
  private joinEpoch(): void {
    const epoch = Number(Atomics.load(this.core.log.i64, LOG_RECORDED >> 3));
    if (epoch <= epochOf(this.core)) return;
    // The segment that recovery made in its chain is of an earlier one.
    if (this.active.isOurs) this.record(epoch);
    this.begun(epoch);
  }

  /** Who was seen not to be pending after the epoch changed stamps the new one from then on. */
  private lookForLate(): void {
    const { core } = this;
    if (this.barrierLsn !== undefined) return;
    this.late ??= new Set(Array.from({ length: Atomics.load(core.i32, CTL_STRIPE_HIGH >> 2) }, (_, stripe) => stripe));
    for (const stripe of this.late) if (core.x.ring_pending(stripe) === 0) this.late.delete(stripe);
    if (this.late.size === 0) this.barrierLsn = core.x.log_last_lsn() + 1;
  }

  /** Nothing is left to flush for now. True if the epoch has begun in this chain. */
  private beginEpoch(): boolean {
    const { core } = this;
    if (this.barrierLsn === undefined) {
      this.waitForPending(true);
      return false;
    }
    if (nextToDrain(core) < this.barrierLsn && !wasAhead(core)) return false;
    const epoch = epochOf(core) + 1;
    // A chain that this open has not written to yet has nothing to separate.
    if (this.active.isOurs) this.record(epoch);
    this.begun(epoch);
    return true;
  }

  private begun(epoch: number): void {
    const { core } = this;
    this.late = this.barrierLsn = this.stalled = undefined;
    core.i64[MERGE_EPOCH >> 3] = BigInt(epoch);
    core.i64[CTL_EPOCH_LSN >> 3] = BigInt(nextToDrain(core) - 1);
    Atomics.store(core.i64, CTL_EPOCH_DONE >> 3, BigInt(epoch));
    core.x.log_barrier_wake();
  }

  /** The first chain speaks for the log: it has to know, after a crash, which epochs are complete and which chains there are. */
  private recordDue(): boolean {
    const { core, marks } = this;
    if (this.start.identity.chain !== 0) return false;
    const wanted = this.active.tail === undefined && Atomics.load(core.log.i32, LOG_FIRST_WANTED >> 2) !== 0;
    return wanted || this.complete() > marks.complete || chainsAdded(core) > this.chainsSeen;
  }

  /** A new chain asks for the first one, and waits: where others are, that one cannot be missing. */
  private waitsForFirst(): boolean {
    const { core, start } = this;
    if (start.identity.chain === 0 || this.active.tail !== undefined || hasChain(core, 0)) return false;
    if (Atomics.exchange(core.log.i32, LOG_FIRST_WANTED >> 2, 1) === 0) ringDoorbells(core);
    return true;
  }

  private complete(): number {
    return Number(Atomics.load(this.core.log.i64, LOG_COMPLETE >> 3));
  }

  private newMarks(epoch: number): Marks {
    const { topology, chain } = this.start.identity;
    // Their number first: a chain that is added in between is recorded once more.
    this.chainsSeen = chainsAdded(this.core);
    // Of itself the others learn when its first segment is there.
    const chains = topology === "striped" ? [] : [...new Set([...chainsOf(this.core), chain])].sort((a, b) => a - b);
    return { epoch, complete: this.complete(), chains };
  }

  /** Writes an epoch entry in a frame of its own, and makes it durable. */
  private record(epoch: number): void {
    const { core, start } = this;
    const marks = this.newMarks(epoch);
    this.writeDurably(fillMarks(core, start, marks));
    this.durableEpoch = epoch;
    this.recorded(marks);
    this.flushedAt = this.chance.now();
  }

  private recorded(marks: Marks): void {
    const { core, start } = this;
    // A segment that was begun for them may already have said more.
    this.marks = mergeMarks(this.marks, marks);
    const { complete } = this.marks;
    if (start.identity.chain !== 0 || complete === 0) return;
    Atomics.store(core.log.i64, LOG_RECORDED >> 3, BigInt(Math.max(complete, start.identity.epoch)));
    core.x.log_barrier_wake();
  }

  // --- dropping the beginning (drop.ts) -------------------------------------------------------------

  private dropDue(): boolean {
    const { i32 } = this.core;
    return Atomics.load(i32, DROP_ASKED >> 2) !== Atomics.load(i32, DROP_DONE >> 2);
  }

  /** Makes the floor durable, by a segment whose header says it. Only then files may go. */
  private drop(): void {
    const { core } = this;
    const { tail } = this.active;
    const { i32, i64 } = core;
    const asked = Atomics.load(i32, DROP_ASKED >> 2);
    if (tail !== undefined) {
      const { number } = tail.header;
      const wanted = Math.min(Number(i64[DROP_FLOOR >> 3]!), number);
      const floor = wanted === number && tail.summary.lastLsn < Number(i64[DROP_LSN >> 3]!) ? number + 1 : wanted;
      if (floor > this.floor) {
        this.floor = floor;
        this.needsCheckpoint = i32[DROP_NEEDS >> 2] !== 0;
        this.nextSegment();
      }
    }
    i64[DROP_RESULT >> 3] = BigInt(this.floor);
    Atomics.store(i32, DROP_DONE >> 2, asked);
    core.x.log_barrier_wake();
  }

  // --- the guest (guest.ts) -----------------------------------------------------------------------

  /** Before sleeping: the opener's thread may flush for itself as long as nothing but a plain write is needed. */
  openToGuest(rest: Rest): void {
    const { active, core } = this;
    if (!active.isOpen || core.x.log_state() !== LOG_OPEN) return;
    const { header } = active.tail!;
    const { f64, view, i32 } = core;
    f64[GUEST_OFFSET >> 3] = active.offset;
    f64[GUEST_LIMIT >> 3] = active.limit;
    f64[GUEST_SEGMENT >> 3] = header.number;
    view.setBigUint64(GUEST_SALT, header.salt, true);
    view.setBigInt64(GUEST_TIME_NS, this.timeNs, true);
    i32[GUEST_FRAMES >> 2] = 0;
    Atomics.store(i32, GUEST_STATE >> 2, rest.ms > PROOF_DELAY_MS ? GUEST_OPEN_ASLEEP : GUEST_OPEN);
  }

  /** After sleeping: takes the role back, waiting for the guest if he is at work, and learns what he wrote. */
  shutToGuest(): void {
    const { i32, f64, view } = this.core;
    for (let state: number; (state = Atomics.load(i32, GUEST_STATE >> 2)) !== GUEST_SHUT;) {
      if (state === GUEST_BUSY) Atomics.wait(i32, GUEST_STATE >> 2, GUEST_BUSY);
      else if (Atomics.compareExchange(i32, GUEST_STATE >> 2, state, GUEST_SHUT) === state) break;
    }
    const frames = i32[GUEST_FRAMES >> 2]!;
    if (frames === 0) return;
    i32[GUEST_FRAMES >> 2] = 0;
    const { term } = this.start.identity;
    const epoch = epochOf(this.core);
    for (let i = 0; i < frames; i++) {
      const at = GUEST_LIST + i * GUEST_LIST_ENTRY_BYTES;
      const [offset, end, firstLsn, lsns, payloadBytes, voidLsns] = f64.subarray(at >> 3, (at >> 3) + 6) as unknown as [
        number,
        number,
        number,
        number,
        number,
        number,
      ];
      this.timeNs = view.getBigInt64(at + 48, true);
      this.active.wrote(
        { offset, entries: lsns, firstLsn, lsns, userEntries: lsns - voidLsns, payloadBytes, voidLsns, term, epoch, timeNs: this.timeNs },
        end - offset,
      );
      this.promised = firstLsn - 1;
    }
    this.flushedAt = this.chance.now();
  }

  private nextSegment(): void {
    const { active, core } = this;
    const { identity } = this.start;
    const isNew = active.tail === undefined;
    const epoch = epochOf(core);
    const marks = this.newMarks(epoch);
    const { floor, needsCheckpoint } = this;
    const clock = toNs(this.chance.now());
    // Of what was dropped nothing else says how late it was.
    const createdNs = floor === 0 || clock > this.timeNs ? clock : this.timeNs;
    active.begin({ ...identity, epoch, marks, floor, needsCheckpoint }, randomSalt(this.chance), createdNs);
    if (isNew && identity.topology === "per-core") {
      addChain(core, identity.chain);
      this.chainsSeen++;
      ringDoorbells(core);
    }
    this.recorded(marks);
    this.durableEpoch = epoch;
  }

  /** An empty frame, not synced, whose promise covers the last one. */
  private prove(): void {
    const durable = this.core.x.log_durable_lsn();
    this.writeFrame({ ...EMPTY_FILL, firstLsn: durable + 1 });
    this.promised = durable;
  }

  // --- writers that do not finish ---------------------------------------------------------------

  /** A writer took an LSN and has not published it. After writerStallMs those that did not move are revoked. */
  private waitForPending(pending: boolean): void {
    if (!pending) {
      this.stalled = undefined;
      return;
    }
    const states = this.states();
    const now = this.chance.now();
    // A clock that was set back begins the wait anew.
    if (this.stalled === undefined || now < this.stalled.since) {
      this.stalled = { since: now, lookedAt: now, states };
      this.spins = 0;
      return;
    }
    this.stalled.lookedAt = now;
    this.spins++;
    if (now - this.stalled.since < this.start.options.writerStallMs) return;
    states.forEach((state, stripe) => {
      if (state === this.stalled?.states[stripe] && this.core.x.ring_pending(stripe) && this.core.x.ring_revoke(stripe))
        count(this.core, STAT_REVOKED, 1);
    });
    this.stalled = undefined;
  }

  private states(): bigint[] {
    const high = Atomics.load(this.core.i32, CTL_STRIPE_HIGH >> 2);
    return Array.from({ length: high }, (_, s) => this.core.view.getBigUint64(STRIPE_BLOCKS + s * STRIPE_BYTES + STRIPE_STATE, true));
  }

  /** No writer can publish after this; what was published will still be flushed. */
  private fence(): void {
    this.fenced = true;
    this.core.x.log_close();
    const high = Atomics.load(this.core.i32, CTL_STRIPE_HIGH >> 2);
    for (let stripe = 0; stripe < high; stripe++) this.core.x.ring_revoke(stripe);
    wakeBlocked(this.core);
  }

  // --- ends -------------------------------------------------------------------------------------

  /** The end of the chain, once all chains are drained: sealed, it says that nothing is missing anywhere. */
  close(): void {
    try {
      if (this.recordDue()) this.record(epochOf(this.core));
      this.active.seal();
      this.shut = true;
    } catch (error) {
      this.poison(error);
    }
  }

  /** Nothing is retried: what is on the disk now is for the next recovery to find out. */
  private poison(error: unknown): void {
    const { active, core } = this;
    const file = active.tail && segmentName(active.tail.header.chain, active.tail.header.number);
    poisonLog(core, fromSystem(error, "writing the log", file));
    try {
      active.close();
    } catch {
      // The first cause counts.
    }
  }
}
