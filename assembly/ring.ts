// Append path, steps 1 to 4: stripes, single-producer rings that one thread owns and the flusher drains.
//
//   head            tail
//    v               v
//    | group | group | free …            | unused |
//      16 header, entries, zeros to 16     a group with 0 entries fills the end of the ring
//
// The state word decides everything: {generation, pending, tail} in one i64. Only the owner moves the
// tail, only the flusher moves the head; revocation moves the generation, so that an owner who was
// taken for dead cannot publish afterwards.
//
// It must never happen that an appending thread waits for another one here: reserving and publishing
// have no loops over shared words.

import {
  BELL_LAZY,
  CTL_ENTRY_SEED,
  CTL_NEXT_LSN,
  CTL_RINGS,
  CTL_RING_BYTES,
  CTL_SLEEP,
  CTL_STATE,
  CTL_STRIPES,
  CTL_STRIPE_HIGH,
  GROUP_BODY_BYTES,
  GROUP_ENTRIES,
  GROUP_HEADER_BYTES,
  GROUP_LSN,
  LOG_OPEN,
  RING_EXHAUSTED,
  RING_FULL,
  RING_NOT_OPEN,
  RING_NO_STRIPE,
  RING_REVOKED,
  SLEEP_AWAKE,
  SLEEP_IDLE,
  STRIPE_BLOCKS,
  STRIPE_BYTES,
  STRIPE_DEMAND_GROUP,
  STRIPE_DEMAND_SYNC,
  STRIPE_HEAD,
  STRIPE_OWNER,
  STRIPE_SPACE_WANTED,
  STRIPE_STATE,
} from "./layout";
import { entry_begin, entry_bytes, entry_end } from "./entry";
import { point } from "./point";

const PENDING: u64 = 1 << 32;
const GENERATION: u64 = 0xfffffffe_00000000;
const GENERATION_ONE: u64 = 0x00000002_00000000;
/** LSNs stay exact in a double, with room for the largest batch. */
const LSN_LIMIT: i64 = 0x1fffff_ffffffff - 0x7fffffff;

// @ts-ignore: decorator
@inline
export function stripe_block(stripe: u32): usize {
  return STRIPE_BLOCKS + stripe * STRIPE_BYTES;
}

// @ts-ignore: decorator
@inline
export function stripe_ring(stripe: u32): usize {
  return <usize>(load<u32>(CTL_RINGS) + stripe * load<u32>(CTL_RING_BYTES));
}

// @ts-ignore: decorator
@inline
export function group_bytes(bodyBytes: u32): u32 {
  return (GROUP_HEADER_BYTES + bodyBytes + 15) & ~15;
}

// @ts-ignore: decorator
@inline
function generation_of(state: u64): i32 {
  return <i32>(state >>> 33);
}

/** Takes a free stripe for thread `owner` (thread id + 1). Returns its number, or RING_NO_STRIPE. */
export function ring_claim(owner: i32): i32 {
  assert(owner > 0);
  const stripes = load<u32>(CTL_STRIPES);
  for (let s: u32 = 0; s < stripes; s++) {
    const block = stripe_block(s);
    if (atomic.cmpxchg<i32>(block + STRIPE_OWNER, 0, owner) != 0) continue;
    // A new generation: whatever a former owner still holds is void.
    ring_revoke(s);
    let high = atomic.load<u32>(CTL_STRIPE_HIGH);
    while (high < s + 1) {
      const seen = atomic.cmpxchg<u32>(CTL_STRIPE_HIGH, high, s + 1);
      if (seen == high) break;
      high = seen;
    }
    return s;
  }
  return RING_NO_STRIPE;
}

/** Gives a stripe back. What it published stays in the ring and is drained as before. */
export function ring_release(stripe: u32, owner: i32): i32 {
  const block = stripe_block(stripe);
  atomic.store<i64>(block + STRIPE_DEMAND_GROUP, 0);
  atomic.store<i64>(block + STRIPE_DEMAND_SYNC, 0);
  return atomic.cmpxchg<i32>(block + STRIPE_OWNER, owner, 0) == owner ? 1 : 0;
}

/** Ends the current generation: its owner can publish nothing any more. Returns 1 if it was pending. */
export function ring_revoke(stripe: u32): i32 {
  const word = stripe_block(stripe) + STRIPE_STATE;
  // At most one retry per concurrent publication, and the owner publishes at most once after a revocation.
  while (true) {
    const state = atomic.load<u64>(word);
    const next = ((state & GENERATION) + GENERATION_ONE) | (state & 0xffffffff);
    if (atomic.cmpxchg<u64>(word, state, next) == state) return state & PENDING ? 1 : 0;
  }
}

export function ring_generation(stripe: u32): i32 {
  return generation_of(atomic.load<u64>(stripe_block(stripe) + STRIPE_STATE));
}

export function ring_pending(stripe: u32): i32 {
  return atomic.load<u64>(stripe_block(stripe) + STRIPE_STATE) & PENDING ? 1 : 0;
}

/** Bytes published and not yet drained. */
export function ring_used(stripe: u32): u32 {
  const block = stripe_block(stripe);
  return <u32>atomic.load<u64>(block + STRIPE_STATE) - atomic.load<u32>(block + STRIPE_HEAD);
}

/**
 * Step 1. Space for one publication of `entries` entries in `bodyBytes` bytes, contiguous.
 * Returns the address of the first entry, or a RING_* code. Nothing is visible to anyone yet,
 * and calling it again replaces the reservation.
 */
export function ring_reserve(stripe: u32, generation: i32, bodyBytes: u32, entries: u32): i32 {
  const block = stripe_block(stripe);
  const state = atomic.load<u64>(block + STRIPE_STATE);
  if (atomic.load<i32>(CTL_STATE) != LOG_OPEN) return RING_NOT_OPEN;
  if (generation_of(state) != generation) return RING_REVOKED;
  if (atomic.load<i64>(CTL_NEXT_LSN) > LSN_LIMIT) return RING_EXHAUSTED;
  const ringBytes = load<u32>(CTL_RING_BYTES);
  const need = group_bytes(bodyBytes);
  assert(entries > 0 && need <= ringBytes >>> 1);
  const tail = <u32>state;
  const free = ringBytes - (tail - atomic.load<u32>(block + STRIPE_HEAD));
  assert(free <= ringBytes);
  const ring = stripe_ring(stripe);
  let position = tail & (ringBytes - 1);
  const toEnd = ringBytes - position;
  if (need > toEnd) {
    if (toEnd + need > free) return RING_FULL;
    store<u32>(ring + position, 0, GROUP_ENTRIES);
    position = 0;
  } else if (need > free) {
    return RING_FULL;
  }
  const group = ring + position;
  store<u32>(group, bodyBytes, GROUP_BODY_BYTES);
  store<u32>(group, entries, GROUP_ENTRIES);
  return <i32>(group + GROUP_HEADER_BYTES);
}

/** Step 1 for a single entry: reserves and writes its header. Returns where the payload goes, or a RING_* code. */
export function ring_reserve_entry(stripe: u32, generation: i32, payloadBytes: u32, keyBytes: u32, kind: u32): i32 {
  const at = ring_reserve(stripe, generation, entry_bytes(payloadBytes), 1);
  return at <= 0 ? at : <i32>entry_begin(at, payloadBytes, keyBytes, kind, stripe);
}

/** Step 2 and 3 for a single entry whose payload was copied to `payload`. */
export function ring_publish_entry(stripe: u32, generation: i32, payload: usize, bell: i32): f64 {
  const entry = payload - 16;
  entry_end(load<u32>(CTL_ENTRY_SEED), entry);
  return ring_publish(stripe, generation, entry, bell);
}

/**
 * Step 3. Takes the LSNs last and makes the group visible: a straight line without loops or calls,
 * so a stalled thread holds the others up for no longer than this, and a dead one leaves a hole that
 * can be told from a slow one. Returns the first LSN, or RING_REVOKED: then nothing was written.
 */
export function ring_publish(stripe: u32, generation: i32, firstEntry: usize, bell: i32): f64 {
  const block = stripe_block(stripe);
  const word = block + STRIPE_STATE;
  const group = firstEntry - GROUP_HEADER_BYTES;
  const ringBytes = load<u32>(CTL_RING_BYTES);
  const entries = load<u32>(group, GROUP_ENTRIES);
  const state = atomic.load<u64>(word);
  if (generation_of(state) != generation) return RING_REVOKED;
  const tail = <u32>state;
  const position = <u32>(group - stripe_ring(stripe));
  // Either the group stands at the tail, or at 0 behind an unused end: the difference covers both.
  const skipped = (position - tail) & (ringBytes - 1);
  const next = tail + skipped + group_bytes(load<u32>(group, GROUP_BODY_BYTES));
  const pending = state | PENDING;

  point(1);
  if (atomic.cmpxchg<u64>(word, state, pending) != state) return RING_REVOKED;
  point(2);
  const lsn = atomic.add<i64>(CTL_NEXT_LSN, <i64>entries);
  point(3);
  store<i64>(group, lsn, GROUP_LSN);
  point(4);
  if (atomic.cmpxchg<u64>(word, pending, (state & GENERATION) | <u64>next) != pending) return RING_REVOKED;
  point(5);

  // Step 4, the doorbell. The tail was stored before SLEEP is read, and the flusher stores SLEEP before
  // it reads the tails, so one of the two sees the other.
  const sleep = atomic.load<i32>(CTL_SLEEP);
  if (sleep != SLEEP_AWAKE) {
    const used = next - atomic.load<u32>(block + STRIPE_HEAD);
    if ((bell == BELL_LAZY && sleep == SLEEP_IDLE) || used > ringBytes >>> 1) doorbell_ring();
  }
  return <f64>lsn;
}

/** Wakes the flusher if it sleeps. */
export function doorbell_ring(): void {
  if (atomic.load<i32>(CTL_SLEEP) == SLEEP_AWAKE) return;
  if (atomic.xchg<i32>(CTL_SLEEP, SLEEP_AWAKE) != SLEEP_AWAKE) atomic.notify(CTL_SLEEP, 1);
}

/**
 * Wakes the flusher whatever SLEEP says: a thread that was ended inside doorbell_ring may have changed the word without
 * notifying, and every other one would take the flusher for awake. For whoever sees a thread's end.
 */
export function doorbell_ring_always(): void {
  atomic.store<i32>(CTL_SLEEP, SLEEP_AWAKE);
  atomic.notify(CTL_SLEEP, 1);
}

/** The owner waits until `lsn` is durable: makes the flusher go, now or within the group's delay. */
export function ring_demand(stripe: u32, lsn: f64, immediate: i32): void {
  const word = stripe_block(stripe) + (immediate ? STRIPE_DEMAND_SYNC : STRIPE_DEMAND_GROUP);
  if (atomic.load<i64>(word) < <i64>lsn) atomic.store<i64>(word, <i64>lsn);
  doorbell_ring();
}

/** The owner found its ring full: asks to be notified on STRIPE_HEAD when space comes. */
export function ring_want_space(stripe: u32): void {
  atomic.store<i32>(stripe_block(stripe) + STRIPE_SPACE_WANTED, 1);
  doorbell_ring();
}
