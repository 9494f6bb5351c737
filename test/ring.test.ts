// The rings and the merge against a model, and their single cases.

import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import * as L from "../assembly/layout.js";
import { hex, payload, Rings, up, type Setup } from "./support/rings.js";

// --- the model -------------------------------------------------------------------------------------------

type Step =
  | { do: "publish"; stripe: number; sizes: number[] }
  | { do: "drain"; capacity: number }
  | { do: "abandon"; stripe: number; sizes: number[] }
  | { do: "die"; stripe: number; lsns: number }
  | { do: "stall and return"; stripe: number; sizes: number[] };

const stripe = fc.nat(2);
const sizes: fc.Arbitrary<number[]> = fc.oneof<fc.Arbitrary<number[]>[]>(
  fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 6 }),
  fc.array(fc.integer({ min: 1, max: 700 }), { minLength: 1, maxLength: 2 }),
  fc.constant([2000]),
);
const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    { weight: 8, arbitrary: fc.record({ do: fc.constant("publish" as const), stripe, sizes }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("drain" as const), capacity: fc.integer({ min: 2048, max: 8192 }) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("abandon" as const), stripe, sizes }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("die" as const), stripe, lsns: fc.integer({ min: 1, max: 5 }) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("stall and return" as const), stripe, sizes }) },
  ),
  { minLength: 1, maxLength: 120 },
);

/** Space as ring.ts defines it: contiguous, the end of the ring is left unused if a group does not fit there. */
class Space {
  head: number;
  tail: number;
  groups: { lsn: number; from: number; until: number }[] = [];
  constructor(
    private readonly ringBytes: number,
    start: number,
  ) {
    this.head = this.tail = start;
  }
  /** Does it fit? Undefined: only if the merge has stepped over an unused end already, which it may. */
  reserve(body: number): { from: number; until: number; fits: boolean | undefined } {
    const need = up(16 + body, 16);
    const toEnd = this.ringBytes - (this.tail % this.ringBytes);
    const from = need > toEnd ? this.tail + toEnd : this.tail;
    const until = from + need;
    if (until - this.head <= this.ringBytes) return { from, until, fits: true };
    return { from, until, fits: until - (this.groups[0]?.from ?? this.tail) <= this.ringBytes ? undefined : false };
  }
}

function run(setup: Setup, list: Step[]): void {
  const rings = new Rings(setup);
  const { x } = rings.core;
  const spaces = [0, 1, 2].map(() => new Space(rings.ringBytes, setup.start ?? 0));
  const written = new Map<number, string>();
  const groups: [first: number, next: number][] = [];
  const seen: [number, string][] = [];
  let next = setup.nextLsn ?? 1;
  let drained = next;
  let tag = 0;

  const put = (s: number, list: number[]): void => {
    const payloads = list.map((size) => payload(size, ++tag));
    const { from, until, fits } = spaces[s]!.reserve(list.reduce((sum, size) => sum + 16 + up(size, 8), 0));
    const lsn = rings.publish(s, payloads);
    if (fits !== undefined || lsn !== L.RING_FULL) assert.is(lsn, fits === false ? L.RING_FULL : next);
    if (lsn === L.RING_FULL) return;
    payloads.forEach((p, i) => written.set(next + i, hex(p)));
    groups.push([next, next + payloads.length]);
    next += payloads.length;
    spaces[s]!.tail = until;
    spaces[s]!.groups.push({ lsn, from, until });
  };
  const drain = (capacity: number): boolean => {
    const got = rings.drain(capacity);
    assert.is(got.first, drained);
    assert.not(got.pending);
    seen.push(...got.entries);
    drained = got.next;
    // A batch is never spread over two frames.
    for (const [first, end] of groups)
      assert.ok(got.next <= first || got.next >= end, `frame ends at ${got.next} within the batch ${first}–${end - 1}`);
    assert.is(got.more, drained < next, "more");
    for (const space of spaces) {
      while (space.groups.length > 0 && space.groups[0]!.lsn < drained) space.head = space.groups.shift()!.until;
    }
    spaces.forEach((space, s) => assert.ok(x.ring_used(s) <= space.tail - space.head));
    return got.more;
  };

  for (const step of list) {
    if (step.do === "publish") put(step.stripe, step.sizes);
    else if (step.do === "drain") drain(step.capacity);
    else if (step.do === "abandon")
      rings.fill(
        step.stripe,
        step.sizes.map((size) => payload(size, 255)),
      );
    else if (step.do === "die") {
      rings.stall(step.stripe, step.lsns);
      next += step.lsns;
      assert.is(x.ring_revoke(step.stripe), 1);
      rings.generations[step.stripe] = x.ring_generation(step.stripe);
    } else {
      // Revoked between reserving and publishing: nothing may become visible.
      const before = rings.generations[step.stripe]!;
      const first = rings.fill(
        step.stripe,
        step.sizes.map((size) => payload(size, 254)),
      );
      assert.is(x.ring_revoke(step.stripe), 0);
      if (first > 0) assert.is(x.ring_publish(step.stripe, before, first, L.BELL_NONE), L.RING_REVOKED);
      assert.is(rings.fill(step.stripe, [payload(1, 1)], before), L.RING_REVOKED);
      rings.generations[step.stripe] = x.ring_generation(step.stripe);
      put(step.stripe, step.sizes);
    }
    assert.is(x.log_last_lsn(), next - 1);
  }
  while (drain(2048));
  // Dense, in order, nothing twice: every LSN is what was written, or a hole.
  let due = setup.nextLsn ?? 1;
  for (const [lsn, what] of seen) {
    assert.is(lsn, due);
    const hole = /^void (\d+)$/.exec(what);
    if (hole === null) {
      assert.is(what, written.get(lsn));
      due++;
    } else {
      for (const end = due + Number(hole[1]); due < end; due++) assert.not(written.has(due), `LSN ${due} was published and became a hole`);
    }
  }
  assert.is(due, next);
  assert.is(x.merge_used(), 0);
}

test("any interleaving of three stripes: what was published comes out once, in LSN order, batches whole", () => {
  fc.assert(
    fc.property(steps, (list) => run({}, list)),
    { numRuns: 800 },
  );
});

test("the same over the wrap of tail and head at 2^32", () => {
  fc.assert(
    fc.property(steps, fc.integer({ min: 1, max: 512 }), (list, groups) => run({ start: 2 ** 32 - 16 * groups }, list)),
    { numRuns: 800 },
  );
});

test("the same with LSNs beyond 2^32 and generations about to wrap", () => {
  fc.assert(
    fc.property(steps, (list) => run({ nextLsn: 2 ** 32 - 20, generation: 2 ** 31 - 2 }, list)),
    { numRuns: 400 },
  );
});

// --- single cases ------------------------------------------------------------------------------------------

test("the tail wraps at 2^32 exactly, before and behind it", () => {
  const rings = new Rings({ start: 2 ** 32 - 64 });
  for (let i = 0; i < 200; i++) {
    const p = payload(i === 0 ? 32 : 40, i); // 64 bytes, all up to the wrap, then 80 each
    assert.is(rings.publish(0, [p]), i + 1);
    if (i < 2) assert.is(rings.tail(0), 80 * i);
    if (i % 7 === 0) rings.drain();
  }
});

test("ancestor A: a ring of minimal size overwrote what was not read yet", () => {
  for (const start of [0, 2048, 2 ** 32 - 2048, 2 ** 32 - 4096]) {
    const rings = new Rings({ start });
    const half = payload(2048 - 32, 1); // with both headers half of the ring, the most that fits
    const other = payload(2048 - 32, 2);
    assert.is(rings.publish(0, [half]), 1);
    assert.is(rings.publish(0, [other]), 2);
    for (const p of [half, payload(1, 1)]) assert.is(rings.publish(0, [p]), L.RING_FULL);
    assert.is(rings.core.x.ring_used(0), 4096);
    // A full ring took no LSN, and another stripe is not concerned.
    assert.is(rings.publish(1, [payload(3, 3)]), 3);
    assert.equal(rings.drain().entries, [
      [1, hex(half)],
      [2, hex(other)],
      [3, hex(payload(3, 3))],
    ]);
    assert.is(rings.publish(0, [other]), 4);
  }
});

test("invariant 3: a frame too small for the next batch leaves it whole for the next frame", () => {
  const rings = new Rings();
  rings.publish(0, [payload(8, 1)]);
  rings.publish(0, [payload(8, 2), payload(8, 3), payload(8, 4)]);
  const first = rings.drain(72); // room for three of the four
  assert.equal([first.next, first.more], [2, true]);
  const second = rings.drain(72);
  assert.equal([second.first, second.next, second.more], [2, 5, false]);
  assert.is(rings.drain(72).bytes, 0);
});

test("invariant 9: LSNs of a pending stripe are waited for; revoked, they become one hole", () => {
  const rings = new Rings();
  rings.publish(0, [payload(5, 1)]);
  rings.stall(1, 3);
  rings.publish(0, [payload(5, 2)]);
  const before = rings.drain();
  assert.equal([before.next, before.pending], [2, true]);
  assert.equal([rings.drain().bytes, rings.drain().pending], [0, true]);
  const old = rings.generations[1]!;
  assert.is(rings.core.x.ring_revoke(1), 1);
  assert.is(rings.core.x.ring_pending(1), 0);
  assert.equal(rings.drain().entries, [
    [2, "void 3"],
    [5, hex(payload(5, 2))],
  ]);
  assert.is(rings.publish(1, [payload(1, 1)], old), L.RING_REVOKED);
  assert.is(rings.publish(1, [payload(1, 9)], rings.core.x.ring_generation(1)), 6);
});

test("a hole that no frame has room for waits for the next one", () => {
  const rings = new Rings();
  rings.publish(0, [payload(8, 1)]);
  rings.stall(1, 1);
  rings.core.x.ring_revoke(1);
  assert.equal((({ next, more }) => [next, more])(rings.drain(24 + 23)), [2, true]);
  assert.equal(rings.drain(24).entries, [[2, "void 1"]]);
});

test("generations: a claim begins a new one, also at the wrap, and leaves the tail alone", () => {
  const rings = new Rings({ start: 2 ** 32 - 32, generation: 2 ** 31 - 2 });
  const { x } = rings.core;
  assert.is(rings.generations[0], 2 ** 31 - 1);
  assert.is(rings.publish(0, [payload(20, 1)]), 1);
  // 32 bytes to the end of the ring are too few for the group's 64.
  assert.is(rings.tail(0), 64);
  assert.is(x.ring_revoke(0), 0);
  assert.is(x.ring_generation(0), 0);
  assert.is(rings.tail(0), 64);
  assert.is(x.ring_pending(0), 0);
  assert.is(rings.publish(0, [payload(1, 1)]), L.RING_REVOKED);
  assert.is(rings.publish(0, [payload(20, 2)], 0), 2);
  // What a former owner published is still drained.
  assert.is(x.ring_release(0, 1), 1);
  assert.is(x.ring_release(0, 1), 0);
  assert.is(x.ring_claim(99), 0);
  assert.is(x.ring_generation(0), 1);
  assert.is(x.ring_claim(100), L.RING_NO_STRIPE);
  assert.is(rings.drain().entries.length, 2);
});

test("a log that is not open takes nothing; LSNs end before they are no longer exact", () => {
  const rings = new Rings();
  for (const state of [L.LOG_CLOSING, L.LOG_CLOSED, L.LOG_POISONED]) {
    rings.core.x.log_set_state(state);
    assert.is(rings.publish(0, [payload(1, 1)]), L.RING_NOT_OPEN);
  }
  const limit = Number.MAX_SAFE_INTEGER - 0x7fffffff;
  const late = new Rings({ nextLsn: limit });
  assert.is(late.publish(0, [payload(9, 1)]), limit);
  assert.is(late.publish(0, [payload(9, 1)]), L.RING_EXHAUSTED);
  assert.is(late.drain().next, limit + 1);
});

test("the doorbell rings only for who sleeps and has reason to wake", () => {
  const rings = new Rings();
  const { x, i32 } = rings.core;
  const sleep = (state: number): void => void (i32[L.CTL_SLEEP >> 2] = state);
  const awake = (): boolean => i32[L.CTL_SLEEP >> 2] === L.SLEEP_AWAKE;
  const lazy = (size: number): void => void x.ring_publish(0, rings.generations[0]!, rings.fill(0, [payload(size, 1)]), L.BELL_LAZY);
  sleep(L.SLEEP_IDLE);
  lazy(10);
  assert.ok(awake(), "idle");
  sleep(L.SLEEP_TIMED);
  lazy(10);
  assert.not(awake());
  lazy(2000);
  assert.ok(awake(), "half full");
  sleep(L.SLEEP_TIMED);
  x.ring_demand(0, 3, 1);
  assert.ok(awake(), "demand");
  x.ring_demand(0, 2, 1);
  assert.is(x.merge_demand(1), 3, "a demand never goes down");
  assert.is(x.merge_demand(0), 0);
});

test.run();
