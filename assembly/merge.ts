// Append path, step 5: the flusher takes the contiguous prefix of published LSNs out of all stripes
// and lays it down in LSN order as the body of one frame.
//
// Order of reading decides what may be called dead: the next LSN (H) first, then all state words. An
// LSN below H was taken before H was read, so its stripe was pending then; if it is neither visible
// in a tail nor can any pending stripe own it, then nobody will ever publish it, and it becomes a hole.

import { BANK } from "./bank";
import {
  CTL_DEMAND,
  CTL_ENTRY_SEED,
  CTL_NEXT_LSN,
  CTL_RING_BYTES,
  CTL_SNAPSHOT,
  CTL_STRIPE_HIGH,
  CTL_TIME_BYTES,
  ENTRY_CRC,
  ENTRY_HEADER_BYTES,
  ENTRY_PAYLOAD_BYTES,
  FRAME_BAD_ENTRY,
  FRAME_BAD_HEADERS,
  FRAME_BAD_LAYOUT,
  FRAME_BAD_LSNS,
  FRAME_OK,
  ENTRY_KEY_BYTES,
  ENTRY_KIND,
  ENTRY_RESERVED,
  GROUP_BODY_BYTES,
  GROUP_ENTRIES,
  GROUP_EPOCH,
  GROUP_HEADER_BYTES,
  GROUP_LSN,
  KIND_VOID,
  MERGE_AHEAD,
  MERGE_ENTRIES,
  MERGE_EPOCH,
  MERGE_FIRST_LSN,
  MERGE_HEADERS_CRC,
  MERGE_MORE,
  MERGE_NEXT_LSN,
  MERGE_PAYLOAD_BYTES,
  MERGE_PENDING,
  MERGE_TIME_NS,
  MERGE_VOID_LSNS,
  STRIPE_DEMAND_GROUP,
  STRIPE_DEMAND_SYNC,
  STRIPE_HEAD,
  STRIPE_SPACE_WANTED,
  STRIPE_STATE,
} from "./layout";
import { crc_step16 } from "./crc32c";
import { entry_begin, entry_bytes, entry_checksum, entry_register } from "./entry";
import { group_bytes, ring_used, stripe_block, stripe_ring } from "./ring";
import { point } from "./point";

const VOID_BYTES: u32 = 24;

/** LSN of the first undrained group of a stripe, or i64.MAX_VALUE; steps over an unused end of the ring. */
// @ts-ignore: decorator
@inline
function head_lsn(stripe: u32, ringBytes: u32): i64 {
  const block = stripe_block(stripe);
  const tail = load<u32>(BANK + CTL_SNAPSHOT + (stripe << 2));
  let head = load<u32>(block + STRIPE_HEAD);
  if (head == tail) return i64.MAX_VALUE;
  const ring = stripe_ring(stripe);
  const position = head & (ringBytes - 1);
  if ((load<u32>(ring + position, GROUP_ENTRIES) & 0xffffff) == 0) {
    head += ringBytes - position;
    assert(head != tail);
    atomic.store<u32>(block + STRIPE_HEAD, head);
  }
  return load<i64>(ring + (head & (ringBytes - 1)), GROUP_LSN);
}

/**
 * Moves the head, and wakes the owner if it waits for that. What it asked before is answered by this head and cleared
 * first: cleared afterwards, it might be what the owner asked once more, having found this head not enough.
 */
// @ts-ignore: decorator
@inline
function give_back(block: usize, head: u32): void {
  // Nothing of this stripe fitted: the head that the owner waits on does not change.
  if (load<u32>(block + STRIPE_HEAD) == head) return;
  const wanted = block + STRIPE_SPACE_WANTED;
  const asked = atomic.load<i32>(wanted);
  if (asked) atomic.store<i32>(wanted, 0);
  atomic.store<u32>(block + STRIPE_HEAD, head);
  if (asked || atomic.load<i32>(wanted)) atomic.notify(block + STRIPE_HEAD, -1);
}

/**
 * Fills the memory from `bodyInBank` on with up to `capacityBytes` of entries and returns the bytes used; the MERGE_* words say
 * the rest. Drained space is given back to the writers at once: the bytes were copied.
 */
export function merge_fill(bodyInBank: usize, capacityBytes: u32): u32 {
  const body = BANK + bodyInBank;
  const limit = atomic.load<i64>(BANK, CTL_NEXT_LSN);
  point(11);
  const stripes = atomic.load<u32>(BANK, CTL_STRIPE_HIGH);
  let pending: i32 = 0;
  for (let s: u32 = 0; s < stripes; s++) {
    point(12);
    const state = atomic.load<u64>(stripe_block(s) + STRIPE_STATE);
    store<u32>(BANK + CTL_SNAPSHOT + (s << 2), <u32>state);
    pending |= <i32>(state >>> 32) & 1;
  }
  const ringBytes = load<u32>(BANK, CTL_RING_BYTES);
  const end = body + capacityBytes;
  let at = body;
  let next = load<i64>(BANK, MERGE_NEXT_LSN);
  let entries: u32 = 0;
  let headers: u32 = ~0;
  let payloadBytes: u64 = 0;
  let voids: i64 = 0;
  let more: i32 = 0;
  let ahead: i32 = 0;
  const epoch = load<u8>(BANK, MERGE_EPOCH);
  const timeBytes = load<u32>(BANK, CTL_TIME_BYTES);
  let timeNs = load<i64>(BANK, MERGE_TIME_NS);
  let stripe: u32 = 0;
  store<i64>(BANK, next, MERGE_FIRST_LSN);

  while (next < limit) {
    // Whose turn is it? Starting with the last one: a thread mostly publishes several in a row.
    let lowest: i64 = i64.MAX_VALUE;
    for (let k: u32 = 0; k < stripes; k++) {
      const lsn = head_lsn(stripe, ringBytes);
      assert(lsn >= next);
      if (lsn < lowest) lowest = lsn;
      if (lsn == next) break;
      if (++stripe == stripes) stripe = 0;
    }
    if (lowest != next) {
      if (pending) break;
      // Nobody can own the LSNs from here to the next published one: a hole.
      if (at + VOID_BYTES > end) {
        more = 1;
        break;
      }
      const count = min(lowest, limit) - next;
      store<i64>(entry_begin(at, 8, 0, KIND_VOID, 0), count);
      store<u32>(at, entry_checksum(entry_register(load<u32>(BANK, CTL_ENTRY_SEED), at), next), ENTRY_CRC);
      headers = crc_step16(headers, at);
      at += VOID_BYTES;
      entries++;
      voids += count;
      next += count;
      continue;
    }
    // Take groups of this stripe as long as they follow each other.
    const block = stripe_block(stripe);
    const ring = stripe_ring(stripe);
    const tail = load<u32>(BANK + CTL_SNAPSHOT + (stripe << 2));
    let head = load<u32>(block + STRIPE_HEAD);
    while (true) {
      const group = ring + (head & (ringBytes - 1));
      const count = load<u32>(group, GROUP_ENTRIES) & 0xffffff;
      if (count == 0) {
        head += ringBytes - (head & (ringBytes - 1));
        assert(head != tail);
        continue;
      }
      if (load<i64>(group, GROUP_LSN) != next) break;
      // One frame, one epoch. Where stripes share a chain, an earlier stamp may come later: it counts as the epoch that
      // has begun.
      if (<i8>(load<u8>(group, GROUP_EPOCH) - epoch) > 0) {
        ahead = 1;
        break;
      }
      const bytes = load<u32>(group, GROUP_BODY_BYTES);
      assert(group_bytes(bytes) <= tail - head);
      if (bytes > <u32>(end - at)) {
        more = 1;
        break;
      }
      copy_words(at, group + GROUP_HEADER_BYTES, bytes);
      const stop = at + bytes;
      for (let i: u32 = 0; i < count; i++) {
        store<u32>(at, entry_checksum(load<u32>(at, ENTRY_CRC), next), ENTRY_CRC);
        headers = crc_step16(headers, at);
        const payload = load<u32>(at, ENTRY_PAYLOAD_BYTES);
        payloadBytes += payload;
        at += entry_bytes(payload);
        next++;
      }
      assert(at == stop);
      // All entries of a group have one time.
      if (timeBytes) timeNs = load<i64>(group, GROUP_HEADER_BYTES + ENTRY_HEADER_BYTES);
      entries += count;
      head += group_bytes(bytes);
      if (head == tail) break;
    }
    point(13);
    give_back(block, head);
    if (more | ahead) break;
  }

  store<i64>(BANK, next, MERGE_NEXT_LSN);
  store<u32>(BANK, entries, MERGE_ENTRIES);
  store<u32>(BANK, ~headers, MERGE_HEADERS_CRC);
  store<i32>(BANK, pending, MERGE_PENDING);
  store<i32>(BANK, more, MERGE_MORE);
  store<i64>(BANK, voids, MERGE_VOID_LSNS);
  store<u64>(BANK, payloadBytes, MERGE_PAYLOAD_BYTES);
  store<i32>(BANK, ahead, MERGE_AHEAD);
  store<i64>(BANK, timeNs, MERGE_TIME_NS);
  return <u32>(at - body);
}

/** The highest LSN that any thread waits for: without delay (1) or within the group's delay (0). */
export function merge_demand(immediate: i32): f64 {
  const stripes = atomic.load<u32>(BANK, CTL_STRIPE_HIGH);
  const word = immediate ? STRIPE_DEMAND_SYNC : STRIPE_DEMAND_GROUP;
  let highest: i64 = immediate ? atomic.load<i64>(BANK, CTL_DEMAND) : 0;
  for (let s: u32 = 0; s < stripes; s++) highest = max(highest, atomic.load<i64>(stripe_block(s) + word));
  return <f64>highest;
}

/** Bytes waiting in all rings. */
export function merge_used(): f64 {
  const stripes = atomic.load<u32>(BANK, CTL_STRIPE_HIGH);
  let used: u64 = 0;
  for (let s: u32 = 0; s < stripes; s++) used += ring_used(s);
  return <f64>used;
}

/** Is a ring half full, or its owner waiting for space? */
export function merge_pressed(): i32 {
  const stripes = atomic.load<u32>(BANK, CTL_STRIPE_HIGH);
  const half = load<u32>(BANK, CTL_RING_BYTES) >>> 1;
  for (let s: u32 = 0; s < stripes; s++) {
    if (ring_used(s) > half || atomic.load<i32>(stripe_block(s) + STRIPE_SPACE_WANTED)) return 1;
  }
  return 0;
}

/** Copies a multiple of 8 bytes; a call of memory.copy costs more than this below some hundred bytes. */
// @ts-ignore: decorator
@inline
function copy_words(to: usize, from: usize, bytes: u32): void {
  if (bytes > 512) {
    memory.copy(to, from, bytes);
    return;
  }
  let i: u32 = 0;
  for (; i + 16 <= bytes; i += 16) v128.store(to + i, v128.load(from + i));
  if (i < bytes) store<u64>(to + i, load<u64>(from + i));
}

/** Bytes of the entry at `at` if its header is sound and it lies within the `left` bytes from there on, else 0. */
// @ts-ignore: decorator
@inline
function entry_within(at: usize, left: u32): u32 {
  if (left < <u32>ENTRY_HEADER_BYTES) return 0;
  const payload = load<u32>(at, ENTRY_PAYLOAD_BYTES);
  if (payload > left - <u32>ENTRY_HEADER_BYTES) return 0;
  const size = entry_bytes(payload);
  if (size > left || load<u32>(at, ENTRY_KEY_BYTES) > payload || load<u16>(at, ENTRY_RESERVED)) return 0;
  return size;
}

/** What is wrong with the entry at `at`, whose header is sound: FRAME_*. */
// @ts-ignore: decorator
@inline
function entry_fault(at: usize, seed: u32, lsn: i64, lsnsMax: u32): i32 {
  if (entry_checksum(entry_register(seed, at), lsn) != load<u32>(at, ENTRY_CRC)) return FRAME_BAD_ENTRY;
  const payload = load<u32>(at, ENTRY_PAYLOAD_BYTES);
  if (payload & 7 && load<u64>(at + ENTRY_HEADER_BYTES + (payload & ~7)) >>> (<u64>(payload & 7) << 3)) return FRAME_BAD_LAYOUT;
  const kind = <i32>load<u8>(at, ENTRY_KIND);
  if (kind == KIND_VOID) {
    if (payload != 8) return FRAME_BAD_LAYOUT;
    const count = load<i64>(at + ENTRY_HEADER_BYTES);
    if (count <= 0 || count > <i64>lsnsMax) return FRAME_BAD_LSNS;
  }
  return kind == 0 ? FRAME_BAD_LAYOUT : FRAME_OK;
}

/** Bytes of the entry with this LSN at `at`, if it is whole and lies within `left` bytes, else a FRAME_* code, negative. */
export function entry_verify(at: usize, left: u32, seed: u32, lsn: f64): i32 {
  const size = entry_within(at, left);
  if (size == 0) return -FRAME_BAD_LAYOUT;
  const fault = entry_fault(at, seed, <i64>lsn, -1);
  return fault ? -fault : <i32>size;
}

/**
 * The way back: are these `bytes` bytes a frame body of `entries` entries whose headers have the
 * checksum `headersCrc`, each entry whole, numbered from `firstLsn`, `lsns` in all? `timeBytes` are what a
 * user entry has before its key. Never reads outside.
 */
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
  let left = bytes;
  let at = body;
  let headers: u32 = ~0;
  // First the layout and the headers, so that a damaged length is never followed.
  for (let i: u32 = 0; i < entries; i++) {
    const size = entry_within(at, left);
    if (size == 0) return FRAME_BAD_LAYOUT;
    headers = crc_step16(headers, at);
    at += size;
    left -= size;
  }
  if (left) return FRAME_BAD_LAYOUT;
  if (~headers != headersCrc) return FRAME_BAD_HEADERS;
  let lsn = <i64>firstLsn;
  at = body;
  for (let i: u32 = 0; i < entries; i++) {
    const fault = entry_fault(at, seed, lsn, lsns);
    if (fault) return fault;
    const kind = <i32>load<u8>(at, ENTRY_KIND);
    if (kind == KIND_VOID) lsn += load<i64>(at + ENTRY_HEADER_BYTES);
    else if (kind < KIND_VOID) {
      if (load<u32>(at, ENTRY_PAYLOAD_BYTES) - load<u32>(at, ENTRY_KEY_BYTES) < timeBytes) return FRAME_BAD_LAYOUT;
      lsn++;
    }
    at += entry_bytes(load<u32>(at, ENTRY_PAYLOAD_BYTES));
  }
  return lsn - <i64>firstLsn == <i64>lsns ? FRAME_OK : FRAME_BAD_LSNS;
}

/** Address of the first word `magic` at a multiple of `step` from `from` on, or 0. */
export function frame_find(from: usize, to: usize, step: u32, magic: u32): usize {
  for (let at = from; at + 4 <= to; at += step) if (load<u32>(at) == magic) return at;
  return 0;
}
