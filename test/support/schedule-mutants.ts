// Planted bugs in the stripe protocol, the negative control of the schedule exploration: see mutants.ts.

import type { Mutant } from "./mutants.js";

export const SCHEDULE_MUTANTS: Mutant[] = [
  {
    name: "doorbell-without-notify",
    file: "assembly/ring.ts",
    find: "if (atomic.xchg<i32>(bell, SLEEP_AWAKE) != SLEEP_AWAKE) atomic.notify(bell, 1);",
    replace: "atomic.store<i32>(bell, SLEEP_AWAKE);",
    why: "the flusher sleeps on, and everybody takes it for awake",
  },
  {
    name: "death-in-the-doorbell",
    file: "assembly/ring.ts",
    find: "  atomic.store<i32>(bell, SLEEP_AWAKE);\n  atomic.notify(bell, 1);",
    replace: "  doorbell_ring();",
    why: "a thread that ended before its notify leaves a flusher that nobody wakes",
  },
  {
    name: "doorbell-before-publication",
    file: "assembly/ring.ts",
    find: "  const pending = state | PENDING;\n",
    replace: "  const pending = state | PENDING;\n  if (bell == BELL_LAZY) { doorbell_ring(); bell = 0; }\n",
    why: "the flusher looks, finds nothing and lies down before the entry is there",
  },
  {
    name: "lsn-before-pending",
    file: "assembly/ring.ts",
    find: "  if (atomic.cmpxchg<u64>(word, state, pending) != state) return RING_REVOKED;\n  point(2);\n  const epoch = atomic.load<i64>(LOG_EPOCH);\n  if (load<u32>(BANK, CTL_TIME_BYTES) && load<i64>(block, STRIPE_EPOCH) != epoch)\n    return atomic.cmpxchg<u64>(word, pending, state) == pending ? RING_EPOCH : RING_REVOKED;\n  store<u8>(group, <u8>epoch, GROUP_EPOCH);\n  const lsn = atomic.add<i64>(BANK, <i64>entries, CTL_NEXT_LSN);",
    replace:
      "  const lsn = atomic.add<i64>(BANK, <i64>entries, CTL_NEXT_LSN);\n  if (atomic.cmpxchg<u64>(word, state, pending) != state) return RING_REVOKED;\n  point(2);\n  const epoch = atomic.load<i64>(LOG_EPOCH);\n  if (load<u32>(BANK, CTL_TIME_BYTES) && load<i64>(block, STRIPE_EPOCH) != epoch)\n    return atomic.cmpxchg<u64>(word, pending, state) == pending ? RING_EPOCH : RING_REVOKED;\n  store<u8>(group, <u8>epoch, GROUP_EPOCH);",
    why: "an LSN that is about to be published is taken for dead",
  },
  {
    name: "lsn-stored-after-publication",
    file: "assembly/ring.ts",
    find: "  store<i64>(group, lsn, GROUP_LSN);\n  point(4);\n  if (atomic.cmpxchg<u64>(word, pending, (state & GENERATION) | <u64>next) != pending) return RING_REVOKED;",
    replace:
      "  point(4);\n  if (atomic.cmpxchg<u64>(word, pending, (state & GENERATION) | <u64>next) != pending) return RING_REVOKED;\n  store<i64>(group, lsn, GROUP_LSN);",
    why: "the flusher reads the group's LSN before it is there",
  },
  {
    name: "revoked-publishes",
    file: "assembly/ring.ts",
    find: "if (atomic.cmpxchg<u64>(word, pending, (state & GENERATION) | <u64>next) != pending) return RING_REVOKED;",
    replace: "atomic.store<u64>(word, (state & GENERATION) | <u64>next);",
    why: "its LSN was written off as a hole already",
  },
  {
    name: "wrap-over-undrained",
    file: "assembly/ring.ts",
    find: "if (toEnd + need > free) return RING_FULL;",
    replace: "if (need > free) return RING_FULL;",
    why: "the unused end of the ring counts as free",
  },
  {
    name: "claim-without-exchange",
    file: "assembly/ring.ts",
    find: "if (atomic.cmpxchg<i32>(block + STRIPE_OWNER, 0, owner) != 0) continue;",
    replace: "if (atomic.load<i32>(block + STRIPE_OWNER) != 0) continue;\n    atomic.store<i32>(block + STRIPE_OWNER, owner);",
    why: "two threads take the same stripe",
  },
  {
    name: "next-lsn-read-last",
    file: "assembly/merge.ts",
    find: "  while (next < limit) {",
    replace: "  const late = atomic.load<i64>(CTL_NEXT_LSN);\n  while (next < late) {",
    why: "an LSN taken after the state words were read is taken for dead",
  },
  {
    name: "space-before-copy",
    file: "assembly/merge.ts",
    find: "    const block = stripe_block(stripe);\n    const ring = stripe_ring(stripe);",
    replace:
      "    const block = stripe_block(stripe);\n    const ring = stripe_ring(stripe);\n    const early = load<u32>(block + STRIPE_HEAD);\n    atomic.store<u32>(block + STRIPE_HEAD, load<u32>(CTL_SNAPSHOT + (stripe << 2)));\n    atomic.store<u32>(block + STRIPE_HEAD, early);",
    why: "the owner overwrites what has not been copied yet",
  },
  {
    name: "wish-cleared-late",
    file: "assembly/merge.ts",
    find: "  if (asked) atomic.store<i32>(wanted, 0);\n  atomic.store<u32>(block + STRIPE_HEAD, head);\n  if (asked || atomic.load<i32>(wanted)) atomic.notify(block + STRIPE_HEAD, -1);",
    replace:
      "  atomic.store<u32>(block + STRIPE_HEAD, head);\n  if (asked || atomic.load<i32>(wanted)) {\n    atomic.store<i32>(wanted, 0);\n    atomic.notify(block + STRIPE_HEAD, -1);\n  }",
    why: "what is cleared may be a newer wish",
  },
  {
    name: "wake-before-durable",
    file: "assembly/index.ts",
    find: "  atomic.store<i64>(BANK, <i64>lsn, CTL_DURABLE_LSN);\n  log_wake();",
    replace: "  log_wake();\n  atomic.store<i64>(BANK, <i64>lsn, CTL_DURABLE_LSN);",
    why: "whoever waits is woken, finds nothing and sleeps for ever",
  },
  {
    name: "revoke-without-exchange",
    file: "assembly/ring.ts",
    find: "if (atomic.cmpxchg<u64>(word, state, next) == state) return state & PENDING ? 1 : 0;",
    replace: "atomic.store<u64>(word, next);\n    return state & PENDING ? 1 : 0;",
    why: "what its owner publishes meanwhile is taken back",
  },
  {
    name: "highest-stripe-without-exchange",
    file: "assembly/ring.ts",
    find: "    const before = atomic.cmpxchg<u32>(at, seen, value);\n    if (before == seen) break;\n    seen = before;",
    replace: "    atomic.store<u32>(at, value);\n    break;",
    why: "of two threads that claim at once the flusher never looks at the higher stripe",
  },
  {
    name: "stripes-counted-first",
    file: "assembly/merge.ts",
    find: "  const limit = atomic.load<i64>(BANK, CTL_NEXT_LSN);\n  point(11);\n  const stripes = atomic.load<u32>(BANK, CTL_STRIPE_HIGH);",
    replace:
      "  const stripes = atomic.load<u32>(BANK, CTL_STRIPE_HIGH);\n  point(11);\n  const limit = atomic.load<i64>(BANK, CTL_NEXT_LSN);",
    why: "the LSN of a stripe that was claimed in between is taken for dead",
  },
  {
    name: "released-before-cleared",
    file: "assembly/ring.ts",
    find: "  atomic.store<i64>(block + STRIPE_DEMAND_GROUP, 0);\n  atomic.store<i64>(block + STRIPE_DEMAND_SYNC, 0);\n  return atomic.cmpxchg<i32>(block + STRIPE_OWNER, owner, 0) == owner ? 1 : 0;",
    replace:
      "  const released = atomic.cmpxchg<i32>(block + STRIPE_OWNER, owner, 0) == owner ? 1 : 0;\n  atomic.store<i64>(block + STRIPE_DEMAND_GROUP, 0);\n  atomic.store<i64>(block + STRIPE_DEMAND_SYNC, 0);\n  return released;",
    why: "what the next owner demands is wiped out",
  },
  {
    name: "wrap-without-mark",
    file: "assembly/ring.ts",
    find: "    store<u32>(ring + position, 0, GROUP_ENTRIES);\n",
    replace: "",
    why: "what an earlier round left at the end of the ring is taken for a group",
  },
  {
    name: "wrap-compared-by-size",
    file: "assembly/merge.ts",
    find: "  if (head == tail) return i64.MAX_VALUE;",
    replace: "  if (head >= tail) return i64.MAX_VALUE;",
    why: "a tail that has wrapped around 2^32 lies below the head",
  },
];
