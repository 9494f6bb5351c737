// Appends of one thread that wait for space in its ring: first in, first out, bounded in bytes and time.
// They hold no LSN yet, so giving up on one means that it was never written.

import { BELL_LAZY, RING_FULL } from "../assembly/layout.js";
import { headIndex, type Core } from "./core.js";
import { detach, type Prepared } from "./entry.js";
import type { Wait } from "./types.js";
import { limitWait, wordChange } from "./wait.js";

/** What the queue needs of the writer that it belongs to. */
export interface QueueOwner {
  readonly bank: Core;
  readonly stripe: number;
  readonly settledByFlusher: boolean;
  /** Tries to publish: first LSN or a RING_* code. */
  put(group: Prepared[], bodyBytes: number, bell: number): number;
  /** Publishes, blocking the thread while there is no space; throws if it cannot. Gives the first LSN. */
  putBlocking(group: Prepared[], bodyBytes: number, bell: number): number;
  full(waitedMs: number): Error;
  refusal(code: number): Error;
  /** The queue grew or shrank. */
  changed(): void;
}

interface Queued {
  group: Prepared[];
  /** Bytes of the group's body. */
  bodyBytes: number;
  since: number;
  resolve: (firstLsn: number) => void;
  reject: (error: unknown) => void;
}

/** Without a wake-up, look again after so long: deadlines pass too. */
const LOOK_AGAIN_MS = 100;

export class SpaceQueue {
  private readonly list: Queued[] = [];
  private queuedBytes = 0;
  private armed = false;
  /** drainBlocking is at work; an inline flusher that it pumps comes by here, too. */
  private blocking = false;

  constructor(
    private readonly owner: QueueOwner,
    private readonly deadlineMs: number,
  ) {}

  get length(): number {
    return this.list.length;
  }
  get bytes(): number {
    return this.queuedBytes;
  }

  /** Resolves with the group's first LSN when it is in the ring. The caller's bytes are copied. */
  add(group: Prepared[], bodyBytes: number, wait: Wait | undefined): Promise<number> {
    return new Promise((resolve, reject) => {
      const done = limitWait(wait, undefined, (error) => {
        const at = this.list.indexOf(queued);
        if (at >= 0) this.list.splice(at, 1);
        this.queuedBytes -= bodyBytes;
        this.owner.changed();
        queued.reject(error);
      });
      const queued: Queued = {
        group: group.map(detach),
        bodyBytes,
        since: performance.now(),
        resolve: (lsn) => (done(), resolve(lsn)),
        reject: (error) => (done(), reject(error)),
      };
      this.list.push(queued);
      this.queuedBytes += bodyBytes;
      this.owner.changed();
      this.arm();
    });
  }

  /** Moves what there is space for into the ring. */
  drain(): void {
    while (this.list.length > 0 && !this.blocking) {
      const next = this.list[0]!;
      const first = this.owner.put(next.group, next.bodyBytes, BELL_LAZY);
      const waitedMs = performance.now() - next.since;
      if (first === RING_FULL && waitedMs < this.deadlineMs) break;
      this.shift();
      if (first > 0) next.resolve(first);
      else next.reject(first === RING_FULL ? this.owner.full(waitedMs) : this.owner.refusal(first));
    }
    this.owner.changed();
  }

  /** Moves everything into the ring before something that may not overtake it. */
  drainBlocking(): void {
    this.blocking = true;
    try {
      while (this.list.length > 0) {
        const next = this.list[0]!;
        const first = this.owner.putBlocking(next.group, next.bodyBytes, BELL_LAZY);
        this.shift();
        next.resolve(first);
      }
    } finally {
      this.blocking = false;
    }
    this.owner.changed();
  }

  /** Resolves when everything queued by now is in the ring, or was refused: its own promise tells. */
  drained(wait?: Wait): Promise<void> {
    const last = this.list.at(-1);
    if (last === undefined) return Promise.resolve();
    return new Promise((settled, giveUp) => {
      const done = limitWait(wait, undefined, giveUp);
      const { resolve, reject } = last;
      last.resolve = (lsn) => (resolve(lsn), done(), settled());
      last.reject = (error) => (reject(error), done(), settled());
    });
  }

  private shift(): void {
    this.queuedBytes -= this.list.shift()!.bodyBytes;
  }

  /** Asks for a wake-up when the flusher has made space; looks once more after asking. */
  arm(): void {
    if (this.armed || this.list.length === 0) return;
    const { bank: core, stripe, settledByFlusher } = this.owner;
    const head = Atomics.load(core.i32, headIndex(stripe));
    core.x.ring_want_space(stripe);
    this.drain();
    if (this.list.length === 0 || settledByFlusher) return;
    this.armed = true;
    void Promise.resolve(wordChange(core.i32, headIndex(stripe), head, LOOK_AGAIN_MS)).then(() => {
      this.armed = false;
      this.drain();
      this.arm();
    });
  }
}
