// Advancing the epoch: a barrier over all writers of the log, from any thread. What the flushers do is in flusher.ts.
//
// The next epoch is not begun before the last one's barrier is through; whoever finds one under way waits for it, and
// carries it to its end if the thread that began it is gone.

import { CTL_EPOCH_DONE, LOG_BARRIER_WAKE, LOG_COMPLETE, LOG_EPOCH, LOG_RECORDED } from "../assembly/layout.js";
import { banksClaimed, isClaimed, ringDoorbells, wordAt } from "./banks.js";
import type { Core } from "./core.js";
import { wordChange } from "./wait.js";

/** Nobody sees it when a thread is ended between what it changes and the bell: look again after so long. */
const LOOK_AGAIN_MS = 100;

export interface BarrierOwner {
  readonly core: Core;
  /** Throws if the log has ended, or whoever waits has. */
  check(): void;
  /** An inline flusher's step. */
  pump?: (() => Promise<void>) | undefined;
}

export const currentEpoch = ({ log }: Core): number => Number(Atomics.load(log.i64, LOG_EPOCH >> 3));

/** Begins the next epoch, and resolves with its number when everything before it is durable. */
export async function advanceEpoch(owner: BarrierOwner): Promise<number> {
  const { core } = owner;
  const epoch = currentEpoch(core);
  await barrier(owner, epoch);
  // If somebody else was faster, what he began covers everything that was written before this call.
  Atomics.compareExchange(core.log.i64, LOG_EPOCH >> 3, BigInt(epoch), BigInt(epoch + 1));
  await barrier(owner, epoch + 1);
  return epoch + 1;
}

/** Until all chains have begun this epoch, and that is recorded. */
async function barrier(owner: BarrierOwner, epoch: number): Promise<void> {
  const { core } = owner;
  const { i32, i64 } = core.log;
  for (;;) {
    const seen = Atomics.load(i32, LOG_BARRIER_WAKE >> 2);
    if (Atomics.load(i64, LOG_RECORDED >> 3) >= BigInt(epoch)) return;
    owner.check();
    if (haveBegun(core, epoch)) raise(i64, LOG_COMPLETE >> 3, BigInt(epoch));
    ringDoorbells(core);
    if (owner.pump === undefined) await wordChange(i32, LOG_BARRIER_WAKE >> 2, seen, LOOK_AGAIN_MS);
    else await owner.pump();
  }
}

function haveBegun(core: Core, epoch: number): boolean {
  for (let bank = 0; bank < banksClaimed(core); bank++)
    if (isClaimed(core, bank) && wordAt(core, bank, CTL_EPOCH_DONE) < epoch) return false;
  return true;
}

function raise(words: BigInt64Array, at: number, value: bigint): void {
  for (let seen = Atomics.load(words, at); seen < value;) {
    const before = Atomics.compareExchange(words, at, seen, value);
    if (before === seen) return;
    seen = before;
  }
}
