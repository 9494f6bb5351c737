// The module. It owns no memory: no data segments, no start function, no mutable globals; several
// instances share one memory, and the build fails if any of these creeps in (scripts/build.mjs).

import {
  CTL_DURABLE_LSN,
  CTL_ENTRY_SEED,
  CTL_NEXT_LSN,
  CTL_RINGS,
  CTL_RING_BYTES,
  CTL_STATE,
  CTL_STRIPES,
  CTL_WAKE,
  LOG_OPEN,
  MERGE_NEXT_LSN,
} from "./layout";

export { crc32c_init, crc32c_update } from "./crc32c";
export { entry_begin, entry_end, entry_seal } from "./entry";
export {
  doorbell_ring,
  doorbell_ring_always,
  ring_claim,
  ring_demand,
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
export { entry_verify, frame_find, frame_verify, merge_demand, merge_fill, merge_pressed, merge_used } from "./merge";

/** Called once by the opener: geometry, identity and where to go on. */
export function log_init(stripes: u32, rings: u32, ringBytes: u32, entrySeed: u32, nextLsn: f64): void {
  assert((ringBytes & (ringBytes - 1)) == 0);
  store<u32>(CTL_STRIPES, stripes);
  store<u32>(CTL_RINGS, rings);
  store<u32>(CTL_RING_BYTES, ringBytes);
  store<u32>(CTL_ENTRY_SEED, entrySeed);
  atomic.store<i64>(CTL_NEXT_LSN, <i64>nextLsn);
  atomic.store<i64>(CTL_DURABLE_LSN, <i64>nextLsn - 1);
  store<i64>(MERGE_NEXT_LSN, <i64>nextLsn);
  atomic.store<i32>(CTL_STATE, LOG_OPEN);
}

/** Last LSN handed out so far, by any thread. */
export function log_last_lsn(): f64 {
  return <f64>(atomic.load<i64>(CTL_NEXT_LSN) - 1);
}

export function log_durable_lsn(): f64 {
  return <f64>atomic.load<i64>(CTL_DURABLE_LSN);
}

export function log_state(): i32 {
  return atomic.load<i32>(CTL_STATE);
}

/** The fsync returned: everything up to `lsn` is durable. One wake-up for everybody who waits. */
export function log_publish_durable(lsn: f64): void {
  assert(<i64>lsn >= atomic.load<i64>(CTL_DURABLE_LSN));
  atomic.store<i64>(CTL_DURABLE_LSN, <i64>lsn);
  log_wake();
}

export function log_set_state(state: i32): void {
  atomic.store<i32>(CTL_STATE, state);
  atomic.notify(CTL_STATE, -1);
  log_wake();
}

export function log_wake(): void {
  atomic.add<i32>(CTL_WAKE, 1);
  atomic.notify(CTL_WAKE, -1);
}
