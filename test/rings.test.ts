// corewal/core's rings: threads push, one drains, in LSN order and with every byte, in new and in given memory.

import { test } from "uvu";
import * as assert from "uvu/assert";
import { CTL_NEXT_LSN, STRIPE_BLOCKS } from "../assembly/layout.js";
import { attachRings, createRings, crc32c, decodeEntries, encodeEntries, type Entry, type Rings } from "../src/core-index.js";
import { refused, textOf, until } from "./support/expect.js";
import { pattern } from "./support/golden-cases.js";
import { startThread } from "./support/script.js";

const SMALL = { stripes: 3, ringBytes: 4096 };

function drainAll(rings: Rings): Entry[] {
  const entries: Entry[] = [];
  for (let d = rings.drain(); d !== undefined; d = rings.drain()) {
    const decoded = decodeEntries(d.bytes, d);
    assert.is(decoded.length, d.entries);
    entries.push(...decoded);
  }
  return entries;
}

test("what is pushed is drained in LSN order, encoded as on disk", () => {
  const rings = createRings({ ...SMALL, logId: pattern(16, 1), term: 4, firstLsn: 100 });
  assert.is(rings.drain(), undefined);
  const [a, b] = [rings.claim(), rings.claim()];
  assert.equal([a.number, b.number], [0, 1]);
  assert.equal([a.push("one"), b.push({ kind: "put", key: "k", value: "two" }), a.push(pattern(300, 3))], [100, 101, 102]);
  assert.ok(a.usedBytes > 300);
  const drained = rings.drain()!;
  assert.equal([drained.firstLsn, drained.lsns, drained.entries], [100, 3, 3]);
  const parts = [
    encodeEntries(["one"], { ...drained, core: 0 }),
    encodeEntries([{ kind: "put", key: "k", value: "two" }], { ...drained, firstLsn: 101, core: 1 }),
    encodeEntries([pattern(300, 3)], { ...drained, firstLsn: 102, core: 0 }),
  ];
  assert.equal(Buffer.from(drained.bytes), Buffer.concat(parts));
  assert.is(crc32c(drained.bytes), crc32c(Buffer.concat(parts)));
  assert.is(a.usedBytes, 0);
  assert.is(rings.drain(), undefined);
});

test("a full ring is told, and goes on where it was once it is drained", async () => {
  const rings = createRings(SMALL);
  const stripe = rings.claim();
  const seen: string[] = [];
  let pushed = 0;
  for (let round = 0; round < 20; round++) {
    while (stripe.tryPush(`${pushed} ${"x".repeat(90)}`) > 0) pushed++;
    await refused(() => stripe.push("x".repeat(92)), "COREWAL_FULL", /stripe 0/);
    seen.push(...drainAll(rings).map((e) => textOf(e).split(" ")[0]!));
  }
  assert.ok(pushed > 400);
  assert.equal(
    seen,
    Array.from({ length: pushed }, (_, i) => String(i)),
  );
});

test("in given memory, also one that was used before, and not a byte behind the rings", async () => {
  const memory = new WebAssembly.Memory({ initial: 4, maximum: 4, shared: true });
  for (let round = 0; round < 3; round++) {
    new Uint8Array(memory.buffer).fill(0xcc);
    const rings = createRings({ ...SMALL, memory });
    assert.is(rings.memory, memory);
    const stripe = rings.claim();
    for (let i = 0; i < 100; i++) {
      stripe.push(pattern(200, i));
      assert.equal(
        drainAll(rings).map((e) => [e.lsn, Buffer.compare(e.value, pattern(200, i))]),
        [[i + 1, 0]],
      );
    }
    const behind = rings.handle.drainAt + rings.handle.drainBytes;
    assert.ok(new Uint8Array(memory.buffer, behind).every((b) => b === 0xcc));
  }
  const small = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  for (const wrong of [small, { buffer: new SharedArrayBuffer(1 << 20) }, new Uint8Array(1 << 20)])
    await refused(() => createRings({ ...SMALL, memory: wrong as never }), "COREWAL_INVALID_OPTION", /memory/);
});

test("several threads push through the handle, one drains meanwhile: nothing missing, doubled or out of order", async () => {
  const rings = createRings({ stripes: 4, ringBytes: 16384 });
  const perThread = 20_000;
  const workers = [0, 1, 2].map((id) => startThread("ring-pusher", { handle: rings.handle, id, count: perThread }));
  let running = workers.length;
  for (const w of workers) w.once("exit", () => running--);
  const next = [0, 0, 0];
  let lsn = 1;
  const take = (): boolean => {
    for (const e of drainAll(rings)) {
      assert.is(e.lsn, lsn++);
      const [id, n] = textOf(e).split(":").map(Number) as [number, number];
      if (n !== next[id]!++) assert.unreachable(`${n} of thread ${id} instead of ${next[id]! - 1}`);
    }
    return running === 0;
  };
  await until(take, "all threads done");
  drainAll(rings).forEach(() => lsn++);
  assert.is(lsn - 1, workers.length * perThread);
});

test("a thread that ended while it was pending: revoked, its LSNs become a hole, its stripe is free again", async () => {
  const rings = createRings({ stripes: 2, ringBytes: 4096 });
  const [dead, alive] = [rings.claim(), rings.claim()];
  dead.push("before");
  // What it leaves that ends between taking an LSN and publishing it.
  const words = new BigInt64Array(rings.memory.buffer);
  words[STRIPE_BLOCKS >> 3]! |= 1n << 32n;
  Atomics.add(words, CTL_NEXT_LSN >> 3, 1n);
  alive.push("behind");
  assert.equal(drainAll(rings).map(textOf), ["before"]);
  assert.ok(rings.pending);
  rings.revoke(dead.number);
  const [hole, behind] = drainAll(rings);
  assert.equal([hole!.kind, hole!.lsn, textOf(behind!)], ["void", 2, "behind"]);
  assert.not(rings.pending);
  await refused(() => dead.push("late"), "COREWAL_REVOKED");
  const heir = rings.claim();
  assert.is(heir.number, dead.number);
  dead.release();
  assert.is(heir.push("goes on"), 4, "what was revoked takes nothing from its next owner");
  alive.release();
  rings.claim();
  await refused(() => rings.claim(), "COREWAL_NO_STRIPE");
  for (const wrong of [-1, 2, 0.5, NaN, "0"]) await refused(() => rings.revoke(wrong as number), "COREWAL_INVALID_INPUT");
});

test("stripes run out, come back by release, and are of no use then", async () => {
  const rings = createRings({ stripes: 1, ringBytes: 4096 });
  const stripe = rings.claim();
  await refused(() => rings.claim(), "COREWAL_NO_STRIPE");
  await refused(() => attachRings(rings.handle).claim(), "COREWAL_NO_STRIPE");
  stripe.push("stays");
  stripe.release();
  const next = attachRings(structuredClone(rings.handle)).claim();
  stripe.release();
  await refused(() => rings.claim(), "COREWAL_NO_STRIPE");
  await refused(() => stripe.push("late"), "COREWAL_CLOSED");
  next.push("goes on");
  assert.equal(drainAll(rings).map(textOf), ["stays", "goes on"]);
});

test("limits and mistakes are told with a code, and take no LSN", async () => {
  const rings = createRings({ stripes: 1, ringBytes: 4096, firstLsn: 2 ** 53 - 2 ** 31 });
  const stripe = rings.claim();
  assert.is(stripe.maxEntryBytes, 2048 - 54);
  for (const wrong of [pattern(1995, 1), "x".repeat(1995), { kind: "put", key: "k", value: pattern(1994, 1) }] as const)
    assert.instance(await refused(() => stripe.push(wrong), "COREWAL_ENTRY_TOO_LARGE", /ringBytes/), RangeError);
  await refused(() => stripe.push(new Uint8Array(0)), "COREWAL_EMPTY");
  await refused(() => stripe.push(7 as never), "COREWAL_INVALID_INPUT");
  assert.is(stripe.push(pattern(1994, 1)), 2 ** 53 - 2 ** 31);
  assert.equal(
    drainAll(rings).map((e) => e.lsn),
    [2 ** 53 - 2 ** 31],
  );
  await refused(() => stripe.push("x"), "COREWAL_LSN_EXHAUSTED");

  const options: Record<string, unknown[]> = {
    stripes: [0, 257, 1.5, "1", null],
    ringBytes: [2048, 5000, 2 ** 29, "4096"],
    drainBytes: [2047, 2 ** 28 + 1, "4096"],
    term: [-1, 0.5, 2 ** 53, 1n],
    firstLsn: [0, 2 ** 53 - 2 ** 31 + 1, "1"],
    logId: [pattern(15, 1), "0123456789abcdef"],
    nope: [1],
  };
  for (const [name, values] of Object.entries(options))
    for (const value of values) await refused(() => createRings({ ...SMALL, [name]: value }), "COREWAL_INVALID_OPTION", new RegExp(name));
  await refused(() => createRings(null as never), "COREWAL_INVALID_OPTION");
  for (const wrong of [
    undefined,
    null,
    {},
    { ...rings.handle, corewalRings: 2 },
    { ...rings.handle, memory: {} },
    { ...rings.handle, module: {} },
  ])
    await refused(() => attachRings(wrong as never), "COREWAL_INVALID_INPUT", /handle/);
});

test.run();
