// The flushers that one thread pumps: in a striped log the only one, in a per-core log those of every so-manieth core. A
// core's flusher is made when a thread first takes the core.

import {
  COMMAND_CLOSE,
  CTL_COMMAND,
  CTL_SLEEP,
  LOG_CLOSED,
  LOG_CLOSED_PUMPS,
  LOG_DRAINED_PUMPS,
  LOG_POISONED,
  LOG_PUMPS,
  SLEEP_AWAKE,
  SLEEP_IDLE,
  SLEEP_TIMED,
} from "../assembly/layout.js";
import { banksClaimed, isClaimed } from "./banks.js";
import type { Core } from "./core.js";
import type { Flusher, Rest } from "./flusher.js";

const AGAIN: Rest = { ms: 0, sleep: SLEEP_TIMED };
/** The other threads' chains are drained soon: look again so often. */
const DRAINED: Rest = { ms: 1, sleep: SLEEP_TIMED };

export class Crew {
  private readonly flushers = new Map<number, Flusher>();
  private drained = false;
  private closed = false;

  constructor(
    /** Of the first bank that this thread pumps: its doorbell is the thread's. */
    readonly core: Core,
    private readonly pump: number,
    private readonly make: (bank: number) => Flusher,
  ) {}

  /** The log has ended, or this thread's part of it. */
  get done(): boolean {
    const state = this.core.x.log_state();
    return this.closed || state === LOG_CLOSED || state === LOG_POISONED;
  }

  /** Each flusher does at most one flush; says how long nothing has to be done. */
  step(): Rest {
    const { core } = this;
    const closing = this.isClosing();
    // First: who takes a core after this can publish nothing, and needs no flusher.
    if (closing) core.x.log_close();
    this.hire();
    const rest = together([...this.flushers.values()].map((flusher) => flusher.step()));
    if (!closing || rest.ms === 0 || this.done) return rest;
    return this.close() ? { ms: Infinity, sleep: SLEEP_IDLE } : DRAINED;
  }

  /** How long nothing has to be done, as it looks now. Flushers may know of the end before this thread has seen it. */
  rest(): Rest {
    if (this.isClosing() && !this.done) return this.drained ? DRAINED : AGAIN;
    return together([...this.flushers.values()].map((flusher) => flusher.rest()));
  }

  private isClosing(): boolean {
    return Atomics.load(this.core.log.i32, CTL_COMMAND >> 2) === COMMAND_CLOSE;
  }

  /** A bank that was claimed and has no flusher yet. */
  private missing(): number | undefined {
    const { core, flushers } = this;
    const claimed = banksClaimed(core);
    for (let bank = this.pump; bank < claimed; bank += core.log.i32[LOG_PUMPS >> 2]!)
      if (!flushers.has(bank) && isClaimed(core, bank)) return bank;
    return undefined;
  }

  private hire(): void {
    for (let bank: number | undefined; (bank = this.missing()) !== undefined;) this.flushers.set(bank, this.make(bank));
  }

  /** Everything of this thread's chains is on the disk. When that is so for all chains, they are sealed; else false. */
  private close(): boolean {
    const { core, flushers } = this;
    const { i32 } = core.log;
    const pumps = i32[LOG_PUMPS >> 2]!;
    if (!this.drained) Atomics.add(i32, LOG_DRAINED_PUMPS >> 2, 1);
    this.drained = true;
    if (Atomics.load(i32, LOG_DRAINED_PUMPS >> 2) < pumps) return false;
    for (const flusher of flushers.values()) flusher.close();
    if (!this.done && Atomics.add(i32, LOG_CLOSED_PUMPS >> 2, 1) + 1 === pumps) core.x.log_set_state(LOG_CLOSED);
    this.closed = true;
    return true;
  }

  /**
   * Lies down: tells writers that the doorbell is needed, then looks once more, so that nothing that came
   * in between is slept over. Returns false if there is work.
   */
  lieDown(rest: Rest): boolean {
    const { i32 } = this.core;
    Atomics.store(i32, CTL_SLEEP >> 2, rest.sleep);
    const again = this.rest();
    if (again.ms > 0 && again.sleep === rest.sleep && this.missing() === undefined) return true;
    this.wake();
    return false;
  }

  wake(): void {
    Atomics.store(this.core.i32, CTL_SLEEP >> 2, SLEEP_AWAKE);
  }

  /** Sleeps, blocking the thread; the opener's may flush for itself meanwhile. */
  sleep(rest: Rest): void {
    this.openToGuest(rest);
    Atomics.wait(this.core.i32, CTL_SLEEP >> 2, rest.sleep, rest.ms);
    this.shutToGuest();
    this.wake();
  }

  /** The opener has the first core. */
  openToGuest(rest: Rest): void {
    if (this.pump === 0) this.flushers.get(0)?.openToGuest(rest);
  }

  shutToGuest(): void {
    if (this.pump === 0) this.flushers.get(0)?.shutToGuest();
  }
}

/**
 * The rest of several. Where one has entries that nobody waits for, and so wakes by itself within the flush interval,
 * entries that come to another one are looked at by then, too.
 */
function together(rests: Rest[]): Rest {
  const all: Rest = { ms: Infinity, sleep: SLEEP_IDLE };
  for (const { ms, sleep } of rests) {
    all.ms = Math.min(all.ms, ms);
    if (sleep === SLEEP_TIMED) all.sleep = SLEEP_TIMED;
  }
  return all;
}
