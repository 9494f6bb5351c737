// Planted bugs in the stripe protocol, in per-core logs and in the epoch barrier, the negative control of the schedule
// exploration: see mutants.ts. What src/ does around the module is planted where it is written down once more.

import { CTL_EPOCH_DONE, MERGE_EPOCH } from "../../assembly/layout.js";
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
    replace: "  const late = atomic.load<i64>(BANK, CTL_NEXT_LSN);\n  while (next < late) {",
    why: "an LSN taken after the state words were read is taken for dead",
  },
  {
    name: "space-before-copy",
    file: "assembly/merge.ts",
    find: "    const block = stripe_block(stripe);\n    const ring = stripe_ring(stripe);",
    replace:
      "    const block = stripe_block(stripe);\n    const ring = stripe_ring(stripe);\n    const early = load<u32>(block + STRIPE_HEAD);\n    atomic.store<u32>(block + STRIPE_HEAD, load<u32>(BANK + CTL_SNAPSHOT + (stripe << 2)));\n    atomic.store<u32>(block + STRIPE_HEAD, early);",
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
  {
    name: "claim-of-the-dead-kept",
    file: "test/schedules/programs.ts",
    find: "for (let bank = 0; bank < ledger.setup.banks; bank++) {\n    const x",
    replace: "for (let bank = 0; bank < (yield () => instances[0]!.host_load(L.LOG_CORES)); bank++) {\n    const x",
    why: "who ended while it claimed a stripe, before it said so, keeps it",
  },
  {
    name: "claim-sets-the-epoch",
    file: "assembly/ring.ts",
    find: "    raise(BANK + CTL_STRIPE_HIGH, s + 1);\n    raise(LOG_CORES,",
    replace: `    const first = atomic.load<u32>(BANK, CTL_STRIPE_HIGH) == 0;\n    raise(BANK + CTL_STRIPE_HIGH, s + 1);\n    if (load<u32>(BANK, CTL_TIME_BYTES) && first) {\n      const epoch = atomic.load<i64>(LOG_EPOCH);\n      store<i64>(BANK, epoch, ${MERGE_EPOCH});\n      atomic.store<i64>(BANK, epoch, ${CTL_EPOCH_DONE});\n    }\n    raise(LOG_CORES,`,
    why: "the core's flusher and whoever claims it both write the epoch of its frames",
  },
  {
    name: "doorbell-of-its-own-bank",
    file: "src/banks.ts",
    find: "i32[(at + CTL_DOORBELL) >> 2] = (bank % pumps) * bankBytes + CTL_SLEEP;",
    replace: "i32[(at + CTL_DOORBELL) >> 2] = bank * bankBytes + CTL_SLEEP;",
    why: "the thread that pumps several banks sleeps on the first one's",
  },
  {
    name: "others-demand-without-doorbell",
    file: "assembly/ring.ts",
    find: "    seen = before;\n  }\n  doorbell_ring();\n}",
    replace: "    seen = before;\n  }\n}",
    why: "the other core's flusher sleeps on",
  },
  {
    name: "wakes-the-first-bank",
    file: "assembly/index.ts",
    find: "  wake(BANK);",
    replace: "  wake(0);",
    why: "whoever waits for another chain is not woken",
  },
  {
    name: "acknowledged-time-last",
    file: "assembly/index.ts",
    find: "  if (load<u32>(BANK, CTL_TIME_BYTES)) raise_acked(load<i64>(BANK, MERGE_TIME_NS));\n  atomic.store<i64>(BANK, <i64>lsn, CTL_DURABLE_LSN);",
    replace:
      "  atomic.store<i64>(BANK, <i64>lsn, CTL_DURABLE_LSN);\n  if (load<u32>(BANK, CTL_TIME_BYTES)) raise_acked(load<i64>(BANK, MERGE_TIME_NS));",
    why: "who has seen that an entry is durable may append one that sorts before it",
  },
  {
    name: "epoch-unchecked",
    file: "assembly/ring.ts",
    find: "  if (load<u32>(BANK, CTL_TIME_BYTES) && load<i64>(block, STRIPE_EPOCH) != epoch)\n    return atomic.cmpxchg<u64>(word, pending, state) == pending ? RING_EPOCH : RING_REVOKED;\n",
    replace: "",
    why: "an entry of the new epoch has a time of the old one",
  },
  {
    name: "epoch-before-pending",
    file: "assembly/ring.ts",
    find: "  if (atomic.cmpxchg<u64>(word, state, pending) != state) return RING_REVOKED;\n  point(2);\n  const epoch = atomic.load<i64>(LOG_EPOCH);\n",
    replace:
      "  const epoch = atomic.load<i64>(LOG_EPOCH);\n  if (atomic.cmpxchg<u64>(word, state, pending) != state) return RING_REVOKED;\n  point(2);\n",
    why: "who publishes in the old epoch is taken for one who will see the new one",
  },
  {
    name: "time-before-epoch",
    file: "assembly/ring.ts",
    find: "  if (load<i64>(block, STRIPE_EPOCH) != epoch) {\n    const cores = atomic.load<u32>(LOG_CORES);\n    const bankBytes = load<u32>(LOG_BANK_BYTES);\n    for (let c: u32 = 0; c < cores; c++) floor = max(floor, atomic.load<i64>(c * bankBytes + STRIPE_BLOCKS, STRIPE_TIME));\n    store<i64>(block, epoch, STRIPE_EPOCH);\n  }",
    replace:
      "  const cores = atomic.load<u32>(LOG_CORES);\n  const bankBytes = load<u32>(LOG_BANK_BYTES);\n  for (let c: u32 = 0; c < cores; c++) floor = max(floor, atomic.load<i64>(c * bankBytes + STRIPE_BLOCKS, STRIPE_TIME));\n  store<i64>(block, atomic.load<i64>(LOG_EPOCH), STRIPE_EPOCH);",
    why: "an entry of the old epoch that comes in between has a later time",
  },
  {
    name: "cores-counted-before-epoch",
    file: "assembly/ring.ts",
    find: "  const epoch = atomic.load<i64>(LOG_EPOCH);\n  let floor = max(load<i64>(block, STRIPE_TIME), atomic.load<i64>(LOG_ACKED_NS));\n  if (load<i64>(block, STRIPE_EPOCH) != epoch) {\n    const cores = atomic.load<u32>(LOG_CORES);\n",
    replace:
      "  const cores = atomic.load<u32>(LOG_CORES);\n  const epoch = atomic.load<i64>(LOG_EPOCH);\n  let floor = max(load<i64>(block, STRIPE_TIME), atomic.load<i64>(LOG_ACKED_NS));\n  if (load<i64>(block, STRIPE_EPOCH) != epoch) {\n",
    why: "the time of a core that was claimed in between does not count",
  },
  {
    name: "frame-of-two-epochs",
    file: "assembly/merge.ts",
    find: "      if (<i8>(load<u8>(group, GROUP_EPOCH) - epoch) > 0) {\n        ahead = 1;\n        break;\n      }\n",
    replace: "",
    why: "an entry of the new epoch stands in a frame of the old one",
  },
  {
    name: "epochs-compared-by-size",
    file: "assembly/merge.ts",
    find: "if (<i8>(load<u8>(group, GROUP_EPOCH) - epoch) > 0) {",
    replace: "if (load<u8>(group, GROUP_EPOCH) > epoch) {",
    why: "an epoch whose lowest byte has wrapped around is taken for an earlier one",
  },
  {
    name: "late-writers-skipped",
    file: "test/schedules/programs.ts",
    find: "    for (const stripe of this.late) if ((yield () => x.ring_pending(stripe)) === 0) this.late.delete(stripe);\n",
    replace: "    this.late.clear();\n",
    why: "who is pending may still publish in the old epoch",
  },
  {
    name: "waits-for-who-is-ahead",
    file: "test/schedules/programs.ts",
    find: "    if (this.next < this.barrierLsn && this.own(L.MERGE_AHEAD) === 0) return 0;\n",
    replace: "    if (this.next < this.barrierLsn) return 0;\n",
    why: "an old stamp behind a new one: the frame ends before both, and the epoch never begins",
  },
  {
    name: "complete-without-all",
    file: "test/schedules/programs.ts",
    find: "if (yield* haveBegun(place, epoch)) yield* raise(x, L.LOG_COMPLETE, epoch);",
    replace: "yield* raise(x, L.LOG_COMPLETE, epoch);",
    why: "a chain still lacks something of an epoch that is told to be complete",
  },
  {
    name: "epoch-begun-in-silence",
    file: "test/schedules/programs.ts",
    find: "    yield () => x.host_store64(this.address(L.CTL_EPOCH_DONE), epoch);\n    yield () => x.log_barrier_wake();\n",
    replace: "    yield () => x.host_store64(this.address(L.CTL_EPOCH_DONE), epoch);\n",
    why: "whoever waits for the barrier sleeps on",
  },
  {
    name: "one-doorbell-for-all",
    file: "test/schedules/programs.ts",
    find: "for (let pump = 0; pump < ledger.setup.pumps; pump++) {",
    replace: "for (let pump = 0; pump < 1; pump++) {",
    why: "the other threads' chains never begin the epoch",
  },
];
