// The module. It owns no memory: no data segments, no start function, no mutable globals; several
// instances share one memory, and the build fails if any of these creeps in (scripts/build.mjs).

import { BANK } from "./bank";
import { crc32c_update as update } from "./crc32c";
import { entry_begin as begin, entry_end as end, entry_seal as seal } from "./entry";
import {
  CTL_DURABLE_LSN,
  CTL_NEXT_LSN,
  CTL_STATE,
  CTL_TIME_BYTES,
  CTL_WAKE,
  LOG_ACKED_NS,
  LOG_BANKS,
  LOG_BANK_BYTES,
  LOG_BARRIER_WAKE,
  LOG_CLOSING,
  LOG_OPEN,
  MERGE_TIME_NS,
} from "./layout";
import { entry_verify as verify, frame_find as find, frame_verify as verifyFrame } from "./merge";

export { crc32c_init } from "./crc32c";
export {
  doorbell_ring,
  doorbell_ring_always,
  ring_claim,
  ring_demand,
  ring_demand_other,
  ring_entry,
  ring_generation,
  ring_pending,
  ring_publish,
  ring_publish_entry,
  ring_release,
  ring_reserve,
  ring_reserve_entry,
  ring_revoke,
  ring_used,
  ring_want_space,
} from "./ring";
export { merge_demand, merge_fill, merge_pressed, merge_used } from "./merge";

// Addresses at the boundary are counted from the instance's bank.

export function crc32c_update(register: u32, at: usize, bytes: u32): u32 {
  return update(register, BANK + at, bytes);
}

export function entry_begin(at: usize, payloadBytes: u32, keyBytes: u32, kind: u32, stripe: u32): usize {
  return begin(BANK + at, payloadBytes, keyBytes, kind, stripe) - BANK;
}

export function entry_end(seed: u32, at: usize): usize {
  return end(seed, BANK + at) - BANK;
}

export function entry_seal(at: usize, lsn: f64): usize {
  return seal(BANK + at, lsn) - BANK;
}

export function entry_verify(at: usize, left: u32, seed: u32, lsn: f64): i32 {
  return verify(BANK + at, left, seed, lsn);
}

export function frame_verify(
  body: usize,
  bytes: u32,
  entries: u32,
  headersCrc: u32,
  seed: u32,
  firstLsn: f64,
  lsns: u32,
  timeBytes: u32,
): i32 {
  return verifyFrame(BANK + body, bytes, entries, headersCrc, seed, firstLsn, lsns, timeBytes);
}

export function frame_find(from: usize, to: usize, step: u32, magic: u32): usize {
  const found = find(BANK + from, BANK + to, step, magic);
  return found ? found - BANK : 0;
}

/** Last LSN handed out so far, by any thread. */
export function log_last_lsn(): f64 {
  return <f64>(atomic.load<i64>(BANK, CTL_NEXT_LSN) - 1);
}

export function log_durable_lsn(): f64 {
  return <f64>atomic.load<i64>(BANK, CTL_DURABLE_LSN);
}

export function log_state(): i32 {
  return atomic.load<i32>(CTL_STATE);
}

/** The fsync returned: everything up to `lsn` is durable. One wake-up for everybody who waits. */
export function log_publish_durable(lsn: f64): void {
  assert(<i64>lsn >= atomic.load<i64>(BANK, CTL_DURABLE_LSN));
  // What is acknowledged sorts before what comes next: its time counts for every core before anybody learns of it.
  if (load<u32>(BANK, CTL_TIME_BYTES)) raise_acked(load<i64>(BANK, MERGE_TIME_NS));
  atomic.store<i64>(BANK, <i64>lsn, CTL_DURABLE_LSN);
  log_wake();
}

function raise_acked(timeNs: i64): void {
  let seen = atomic.load<i64>(LOG_ACKED_NS);
  while (seen < timeNs) {
    const before = atomic.cmpxchg<i64>(LOG_ACKED_NS, seen, timeNs);
    if (before == seen) break;
    seen = before;
  }
}

/** No writer may begin to publish any more. Returns 1 if it was open. */
export function log_close(): i32 {
  if (atomic.cmpxchg<i32>(CTL_STATE, LOG_OPEN, LOG_CLOSING) != LOG_OPEN) return 0;
  changed();
  return 1;
}

export function log_set_state(state: i32): void {
  atomic.store<i32>(CTL_STATE, state);
  changed();
}

/** Whoever waits, on whatever bank, looks at the state. */
function changed(): void {
  atomic.notify(CTL_STATE, -1);
  log_barrier_wake();
  const banks = load<u32>(LOG_BANKS);
  const bankBytes = load<u32>(LOG_BANK_BYTES);
  for (let b: u32 = 0; b < banks; b++) wake(b * bankBytes);
}

/** A barrier has come further: whoever waits for it looks again. */
export function log_barrier_wake(): void {
  atomic.add<i32>(LOG_BARRIER_WAKE, 1);
  atomic.notify(LOG_BARRIER_WAKE, -1);
}

export function log_wake(): void {
  wake(BANK);
}

function wake(bank: usize): void {
  atomic.add<i32>(bank, 1, CTL_WAKE);
  atomic.notify(bank + CTL_WAKE, -1);
}
