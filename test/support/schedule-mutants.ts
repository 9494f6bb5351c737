// Planted bugs in the stripe protocol, the negative control of the schedule exploration: see mutants.ts.

import type { Mutant } from "./mutants.js";

export const SCHEDULE_MUTANTS: Mutant[] = [
  {
    name: "doorbell-without-notify",
    file: "assembly/ring.ts",
    find: "if (atomic.xchg<i32>(CTL_SLEEP, SLEEP_AWAKE) != SLEEP_AWAKE) atomic.notify(CTL_SLEEP, 1);",
    replace: "atomic.store<i32>(CTL_SLEEP, SLEEP_AWAKE);",
    why: "the flusher sleeps on, and everybody takes it for awake",
  },
  {
    name: "death-in-the-doorbell",
    file: "assembly/ring.ts",
    find: "  atomic.store<i32>(CTL_SLEEP, SLEEP_AWAKE);\n  atomic.notify(CTL_SLEEP, 1);",
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
    find: "  if (atomic.cmpxchg<u64>(word, state, pending) != state) return RING_REVOKED;\n  point(2);\n  const lsn = atomic.add<i64>(CTL_NEXT_LSN, <i64>entries);",
    replace:
      "  const lsn = atomic.add<i64>(CTL_NEXT_LSN, <i64>entries);\n  point(2);\n  if (atomic.cmpxchg<u64>(word, state, pending) != state) return RING_REVOKED;",
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
    find: "  atomic.store<i64>(CTL_DURABLE_LSN, <i64>lsn);\n  log_wake();",
    replace: "  log_wake();\n  atomic.store<i64>(CTL_DURABLE_LSN, <i64>lsn);",
    why: "whoever waits is woken, finds nothing and sleeps for ever",
  },
];
