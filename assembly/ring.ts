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

import { BANK } from "./bank";
import {
  BELL_LAZY,
  CTL_CORE,
  CTL_DEMAND,
  CTL_DOORBELL,
  CTL_ENTRY_SEED,
  CTL_NEXT_LSN,
  CTL_RINGS,
  CTL_RING_BYTES,
  CTL_STATE,
  CTL_STRIPES,
  CTL_STRIPE_HIGH,
  CTL_TIME_BYTES,
  ENTRY_HEADER_BYTES,
  GROUP_BODY_BYTES,
  GROUP_ENTRIES,
  GROUP_EPOCH,
  GROUP_HEADER_BYTES,
  GROUP_LSN,
  LOG_ACKED_NS,
  LOG_ANCHOR_NS,
  LOG_BANK_BYTES,
  LOG_CORES,
  LOG_EPOCH,
  LOG_OPEN,
  RING_EPOCH,
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
  STRIPE_EPOCH,
  STRIPE_HEAD,
  STRIPE_OWNER,
  STRIPE_SPACE_WANTED,
  STRIPE_STATE,
  STRIPE_TIME,
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
  return BANK + STRIPE_BLOCKS + stripe * STRIPE_BYTES;
}

// @ts-ignore: decorator
@inline
export function stripe_ring(stripe: u32): usize {
  return BANK + <usize>(load<u32>(BANK, CTL_RINGS) + stripe * load<u32>(BANK, CTL_RING_BYTES));
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

/** Makes the word at `at` at least `value`. */
function raise(at: usize, value: u32): void {
  let seen = atomic.load<u32>(at);
  while (seen < value) {
    const before = atomic.cmpxchg<u32>(at, seen, value);
    if (before == seen) break;
    seen = before;
  }
}

/** Takes a free stripe for thread `owner` (thread id + 1). Returns its number, or RING_NO_STRIPE. */
export function ring_claim(owner: i32): i32 {
  assert(owner > 0);
  const stripes = load<u32>(BANK, CTL_STRIPES);
  for (let s: u32 = 0; s < stripes; s++) {
    const block = stripe_block(s);
    if (atomic.cmpxchg<i32>(block + STRIPE_OWNER, 0, owner) != 0) continue;
    // A new generation: whatever a former owner still holds is void.
    ring_revoke(s);
    raise(BANK + CTL_STRIPE_HIGH, s + 1);
    raise(LOG_CORES, load<u32>(BANK, CTL_CORE) + 1);
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
 * The time of what comes next in a per-core log: never back within a core or across an epoch, and above everything that
 * was acknowledged. In the first call after an epoch began, every core's newest time counts: whoever still publishes in
 * the epoch before has stored its time before it saw that epoch, and so before this call sees the next one.
 */
// @ts-ignore: decorator
@inline
function take_time(block: usize, elapsedNs: f64): void {
  const epoch = atomic.load<i64>(LOG_EPOCH);
  let floor = max(load<i64>(block, STRIPE_TIME), atomic.load<i64>(LOG_ACKED_NS));
  if (load<i64>(block, STRIPE_EPOCH) != epoch) {
    const cores = atomic.load<u32>(LOG_CORES);
    const bankBytes = load<u32>(LOG_BANK_BYTES);
    for (let c: u32 = 0; c < cores; c++) floor = max(floor, atomic.load<i64>(c * bankBytes + STRIPE_BLOCKS, STRIPE_TIME));
    store<i64>(block, epoch, STRIPE_EPOCH);
  }
  atomic.store<i64>(block, max(load<i64>(LOG_ANCHOR_NS) + <i64>elapsedNs, floor + 1), STRIPE_TIME);
}

/**
 * Step 1. Space for one publication of `entries` entries in `bodyBytes` bytes, contiguous, and in a per-core log their
 * time: the log's own and `elapsedNs` since it was opened, or as much later as their order needs.
 * Returns the address of the first entry, or a RING_* code. Nothing is visible to anyone yet,
 * and calling it again replaces the reservation.
 */
export function ring_reserve(stripe: u32, generation: i32, bodyBytes: u32, entries: u32, elapsedNs: f64): i32 {
  const block = stripe_block(stripe);
  const state = atomic.load<u64>(block + STRIPE_STATE);
  if (atomic.load<i32>(CTL_STATE) != LOG_OPEN) return RING_NOT_OPEN;
  if (generation_of(state) != generation) return RING_REVOKED;
  if (atomic.load<i64>(BANK, CTL_NEXT_LSN) > LSN_LIMIT) return RING_EXHAUSTED;
  const ringBytes = load<u32>(BANK, CTL_RING_BYTES);
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
  if (load<u32>(BANK, CTL_TIME_BYTES)) take_time(block, elapsedNs);
  const group = ring + position;
  store<u32>(group, bodyBytes, GROUP_BODY_BYTES);
  store<u32>(group, entries, GROUP_ENTRIES);
  return <i32>(group + GROUP_HEADER_BYTES - BANK);
}

/** Writes the header of an entry at `at`, and its time in a per-core log. Returns where key and value go. */
export function ring_entry(stripe: u32, at: usize, payloadBytes: u32, keyBytes: u32, kind: u32): usize {
  const timeBytes = load<u32>(BANK, CTL_TIME_BYTES);
  const payload = entry_begin(BANK + at, payloadBytes + timeBytes, keyBytes, kind, load<u32>(BANK, CTL_CORE) + stripe);
  if (timeBytes) store<i64>(payload, load<i64>(stripe_block(stripe), STRIPE_TIME));
  return payload + timeBytes - BANK;
}

/** Step 1 for a single entry: reserves and writes its header. Returns where key and value go, or a RING_* code. */
export function ring_reserve_entry(
  stripe: u32,
  generation: i32,
  payloadBytes: u32,
  keyBytes: u32,
  kind: u32,
  elapsedNs: f64,
): i32 {
  const at = ring_reserve(stripe, generation, entry_bytes(payloadBytes + load<u32>(BANK, CTL_TIME_BYTES)), 1, elapsedNs);
  return at <= 0 ? at : <i32>ring_entry(stripe, at, payloadBytes, keyBytes, kind);
}

/** Step 2 and 3 for a single entry whose key and value were copied to `payload`. */
export function ring_publish_entry(stripe: u32, generation: i32, payload: usize, bell: i32): f64 {
  const entry = payload - ENTRY_HEADER_BYTES - load<u32>(BANK, CTL_TIME_BYTES);
  entry_end(load<u32>(BANK, CTL_ENTRY_SEED), BANK + entry);
  return ring_publish(stripe, generation, entry, bell);
}

/**
 * Step 3. Takes the LSNs last and makes the group visible: a straight line without loops or calls,
 * so a stalled thread holds the others up for no longer than this, and a dead one leaves a hole that
 * can be told from a slow one. The epoch is read in between: a barrier waits for whoever may have read the one before.
 * Returns the first LSN, or RING_REVOKED or RING_EPOCH: then nothing was written.
 */
export function ring_publish(stripe: u32, generation: i32, firstEntry: usize, bell: i32): f64 {
  const block = stripe_block(stripe);
  const word = block + STRIPE_STATE;
  const group = BANK + firstEntry - GROUP_HEADER_BYTES;
  const ringBytes = load<u32>(BANK, CTL_RING_BYTES);
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
  const epoch = atomic.load<i64>(LOG_EPOCH);
  if (load<u32>(BANK, CTL_TIME_BYTES) && load<i64>(block, STRIPE_EPOCH) != epoch)
    return atomic.cmpxchg<u64>(word, pending, state) == pending ? RING_EPOCH : RING_REVOKED;
  store<u8>(group, <u8>epoch, GROUP_EPOCH);
  const lsn = atomic.add<i64>(BANK, <i64>entries, CTL_NEXT_LSN);
  point(3);
  store<i64>(group, lsn, GROUP_LSN);
  point(4);
  if (atomic.cmpxchg<u64>(word, pending, (state & GENERATION) | <u64>next) != pending) return RING_REVOKED;
  point(5);

  // Step 4, the doorbell. The tail was stored before SLEEP is read, and the flusher stores SLEEP before
  // it reads the tails, so one of the two sees the other.
  const sleep = atomic.load<i32>(load<usize>(BANK, CTL_DOORBELL));
  if (sleep != SLEEP_AWAKE) {
    const used = next - atomic.load<u32>(block + STRIPE_HEAD);
    if ((bell == BELL_LAZY && sleep == SLEEP_IDLE) || used > ringBytes >>> 1) doorbell_ring();
  }
  return <f64>lsn;
}

/** Wakes the flusher if it sleeps. */
export function doorbell_ring(): void {
  const bell = load<usize>(BANK, CTL_DOORBELL);
  if (atomic.load<i32>(bell) == SLEEP_AWAKE) return;
  if (atomic.xchg<i32>(bell, SLEEP_AWAKE) != SLEEP_AWAKE) atomic.notify(bell, 1);
}

/**
 * Wakes the flusher whatever the doorbell says: a thread that was ended inside doorbell_ring may have changed the word
 * without notifying, and every other one would take the flusher for awake. For whoever sees a thread's end.
 */
export function doorbell_ring_always(): void {
  const bell = load<usize>(BANK, CTL_DOORBELL);
  atomic.store<i32>(bell, SLEEP_AWAKE);
  atomic.notify(bell, 1);
}

/** The owner waits until `lsn` is durable: makes the flusher go, now or within the group's delay. */
export function ring_demand(stripe: u32, lsn: f64, immediate: i32): void {
  const word = stripe_block(stripe) + (immediate ? STRIPE_DEMAND_SYNC : STRIPE_DEMAND_GROUP);
  if (atomic.load<i64>(word) < <i64>lsn) atomic.store<i64>(word, <i64>lsn);
  doorbell_ring();
}

/** A thread of another core waits until `lsn` of this one is durable. */
export function ring_demand_other(lsn: f64): void {
  let seen = atomic.load<i64>(BANK, CTL_DEMAND);
  while (seen < <i64>lsn) {
    const before = atomic.cmpxchg<i64>(BANK, seen, <i64>lsn, CTL_DEMAND);
    if (before == seen) break;
    seen = before;
  }
  doorbell_ring();
}

/** The owner found its ring full: asks to be notified on STRIPE_HEAD when space comes. */
export function ring_want_space(stripe: u32): void {
  atomic.store<i32>(stripe_block(stripe) + STRIPE_SPACE_WANTED, 1);
  doorbell_ring();
}
