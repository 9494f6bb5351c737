// Invariant 1: acknowledged means durable, seen from the storage: the order of write, sync, rename and
// syncDirectory against acknowledgements. And when a frame is written at all: durability, delay, interval.

import { cpSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { attachLog } from "../src/index.js";
import type { LogOptions } from "../src/options.js";
import type { Log } from "../src/types.js";
import { drive, openInline, pump, WatchedStorage } from "./support/environment.js";
import { endSoon, texts } from "./support/expect.js";
import { freshPath } from "./support/scratch.js";

const SMALL: LogOptions = { ringBytes: 4096, segmentBytes: 16_384 };

/** A log that is pumped by hand, with a clock that stands still unless it is moved. */
async function watched(
  options: LogOptions = {},
  directory = freshPath("durability"),
): Promise<{ log: Log; storage: WatchedStorage; clock: { ms: number } }> {
  const storage = new WatchedStorage();
  const clock = { ms: 1_700_000_000_000 };
  const log = await openInline(directory, { ...SMALL, ...options }, { storage, manual: true, now: () => clock.ms });
  return { log, storage, clock };
}

/** Lets everything happen that only waits for its turn; the flusher is not pumped. */
const turn = (): Promise<void> => new Promise(setImmediate);

for (const durability of ["sync", "group", "async"] as const) {
  test(`invariant 1: nothing that is acknowledged is unsynced, neither data nor name, through rotations (log: ${durability})`, async () => {
    const { log, storage } = await watched({ durability });
    const atLeast = durability === "async" ? ({ durability: "group" } as const) : undefined;
    const payload = "x".repeat(1200);
    let fsyncs = 0;
    const acknowledged = (what: string): void => {
      assert.equal(storage.unsynced(), [], `after ${what}`);
      const now = storage.count("sync");
      assert.ok(now > fsyncs, `${what} took an fsync`);
      fsyncs = now;
    };
    for (let i = 0; i < 12; i++) {
      await drive(log, log.append(payload, atLeast));
      acknowledged("append");
      await drive(log, log.append(payload, { durability: "sync" }));
      acknowledged("append with durability sync");
      await drive(log, log.appendBatch(["a", "b"], atLeast));
      acknowledged("appendBatch");
      await drive(log, log.durable(log.write(payload)));
      acknowledged("durable");
      log.write("c");
      await drive(log, log.sync());
      acknowledged("sync");
      log.appendSync("d");
      acknowledged("appendSync");
    }
    assert.ok(log.stats().segment.number > 2, "segments were rotated");
    await log.close();
    assert.equal(storage.unsynced(), []);
  });
}

test("invariant 1: the durable LSN is not published before the fsync returned, nor before the name of the file is durable", async () => {
  const { log, storage } = await watched();
  let durableAtOnce = 0;
  let looked = 0;
  // Whoever looks at the shared durable LSN from another thread, while the disk works, sees this.
  storage.before = ({ what }) => {
    if (what === "sync" || what === "write" || what === "syncDirectory") {
      looked++;
      assert.is(log.durableLsn, durableAtOnce, `during ${what}`);
    }
  };
  for (let i = 1; i <= 20; i++) {
    await drive(log, log.append("x".repeat(1500)));
    durableAtOnce = i;
    assert.is(log.durableLsn, i);
  }
  assert.ok(looked > 40);
  storage.before = () => {};
  await log.close();
});

test("invariant 1: a new segment gets its name only after its header is synced, and its entries are acknowledged only after the directory is", async () => {
  const { log, storage } = await watched();
  await drive(log, log.append("first"));
  const steps = storage.changes().map((s) => s.what);
  const order = ["create", "write", "sync", "rename", "syncDirectory", "write", "sync"];
  let at = 0;
  for (const what of steps) if (what === order[at]) at++;
  assert.is(at, order.length, `${order.join(", ")} in ${steps.join(", ")}`);
  assert.ok(steps.indexOf("rename") > steps.indexOf("sync"));
  assert.ok(steps.lastIndexOf("sync") > steps.indexOf("syncDirectory"));
  await log.close();
});

test("ancestor A, acknowledgement: a commit must not return because another thread drained but has not yet synced its entries", async () => {
  const { log, storage } = await watched();
  const other = await attachLog(log.handle);
  await drive(log, log.append("segment"));
  const settled: string[] = [];
  const mine = log.append("mine").then(() => settled.push("mine"));
  const others = other.append("other's").then(() => settled.push("other's"));
  await turn();
  let inSync = 0;
  storage.before = ({ what }) => {
    if (what !== "sync") return;
    inSync++;
    // Both are drained: the rings are empty. A third one asks now, from within.
    assert.is(log.stats().ringBytesUsed, 0);
    assert.is(log.durableLsn, 1);
    void other.durable(3).then(() => settled.push("asked during the sync"));
    assert.equal(settled, []);
  };
  await drive(log, Promise.all([mine, others]));
  await turn();
  assert.is(inSync, 1, "one fsync for all");
  assert.equal(settled.sort(), ["asked during the sync", "mine", "other's"]);
  storage.before = () => {};
  await log.close();
});

test("ancestor A, acknowledgement: what is appended while a flush is under way waits for the next one", async () => {
  const { log, storage } = await watched();
  await drive(log, log.append("segment"));
  let late: Promise<number> | undefined;
  let lateSettled = false;
  storage.before = ({ what }) => {
    if (what === "sync" && late === undefined) late = log.append("late").then((lsn) => ((lateSettled = true), lsn));
  };
  await drive(log, log.append("early"));
  await turn();
  assert.not.ok(lateSettled);
  assert.is(log.durableLsn, 2);
  const before = storage.count("sync");
  assert.is(await drive(log, late!), 3);
  assert.is(storage.count("sync"), before + 1);
  await log.close();
});

test("group commit: everything that waits shares one write and one fsync", async () => {
  const { log, storage } = await watched({ ringBytes: 65_536, segmentBytes: 1 << 20 });
  await drive(log, log.append("segment"));
  const [writes, syncs] = [storage.count("write"), storage.count("sync")];
  await drive(log, Promise.all(Array.from({ length: 200 }, (_, i) => log.append(`entry ${i}`))));
  assert.is(storage.count("write"), writes + 1);
  assert.is(storage.count("sync"), syncs + 1);
  await log.close();
});

// --- when ----------------------------------------------------------------------------------------------------------------

/** Does the flusher find something to sync now? */
async function flushes(log: Log, storage: WatchedStorage): Promise<boolean> {
  await turn();
  const before = storage.count("sync");
  for (let i = 0; i < 5; i++) pump(log);
  return storage.count("sync") > before;
}

test("durability group: maxDelayMs lets a frame wait for company, not longer; maxBytes and stricter wishes end the wait", async () => {
  const { log, storage, clock } = await watched({ maxDelayMs: 50, maxBytes: 1000 });
  void log.append("a");
  assert.not.ok(await flushes(log, storage));
  clock.ms += 49;
  void log.append("b");
  assert.not.ok(await flushes(log, storage), "company does not prolong the wait");
  clock.ms += 1;
  assert.ok(await flushes(log, storage));
  assert.is(log.durableLsn, 2);
  void log.append("c");
  assert.not.ok(await flushes(log, storage));
  void log.append("x".repeat(1000));
  assert.ok(await flushes(log, storage), "maxBytes");
  void log.append("d");
  assert.not.ok(await flushes(log, storage));
  void log.append("e", { durability: "sync" });
  assert.ok(await flushes(log, storage), "the strictest waiter decides");
  assert.is(log.durableLsn, 6);
  void log.append("f");
  assert.not.ok(await flushes(log, storage));
  clock.ms -= 1_000_000;
  assert.ok(await flushes(log, storage), "a clock that was set back does not prolong the wait");
  await log.close();
});

test("durability async: append resolves from the ring; flushIntervalMs later it is synced", async () => {
  const { log, storage, clock } = await watched({ durability: "async", flushIntervalMs: 100 });
  assert.is(await log.append("a"), 1);
  assert.is(await log.append("b", { durability: "async" }), 2);
  log.write("c");
  assert.not.ok(await flushes(log, storage));
  clock.ms += 99;
  assert.not.ok(await flushes(log, storage));
  clock.ms += 1;
  assert.ok(await flushes(log, storage));
  assert.is(log.durableLsn, 3);
  assert.equal(storage.unsynced(), []);
  await log.close();
});

test("durability is never weakened by a call: async asked of a group or sync log waits all the same", async () => {
  for (const durability of ["group", "sync"] as const) {
    const { log, storage } = await watched({ durability });
    let settled = false;
    const appended = log.append("a", { durability: "async" }).then(() => (settled = true));
    await turn();
    assert.not.ok(settled);
    await drive(log, appended);
    assert.equal(storage.unsynced(), []);
    await log.close();
  }
});

test("ancestor A, per-write override: a stronger wish on an async log really fsyncs, at once", async () => {
  for (const wish of ["group", "sync"] as const) {
    const { log, storage } = await watched({ durability: "async", flushIntervalMs: 60_000 });
    await log.append("lazy");
    let settled = false;
    const appended = log.append("critical", { durability: wish }).then(() => (settled = true));
    await turn();
    assert.not.ok(settled);
    assert.ok(await flushes(log, storage));
    await turn();
    assert.ok(settled);
    await appended;
    assert.equal(storage.unsynced(), []);
    await log.close();
  }
});

// --- the way back --------------------------------------------------------------------------------------------------------

test("invariant 1: what recovery shows is synced before the first entry can be read", async () => {
  const { log } = await watched({}, freshPath("source"));
  for (let i = 0; i < 15; i++) await drive(log, log.append(`${i} ${"x".repeat(1500)}`));
  const source = (log as unknown as { parts: { directory: string } }).parts.directory;
  const crashed = freshPath("crashed");
  // As a crash leaves it: the last frame is covered by no promise.
  cpSync(source, crashed, { recursive: true, filter: (name) => !name.includes("corewal.lock") });
  await log.close();

  const { log: again, storage } = await watched({}, crashed);
  assert.not.ok(again.recovery.clean);
  assert.is(again.recovery.copied?.entries, 1);
  assert.equal(storage.unsynced(), [], "copied forward, and durable");
  assert.ok(storage.count("sync") > 0);
  const before = storage.changes().length;
  assert.is((await texts(again)).length, 15);
  assert.is(storage.changes().length, before, "reading changes nothing");
  await drive(again, again.append("on"));
  await again.close();
});

test("open and close without an append write nothing", async () => {
  const directory = freshPath("idle");
  const { log, storage } = await watched({}, directory);
  await log.close();
  assert.equal(
    storage.changes().map((s) => s.what),
    ["makeDirectory"],
  );
  const { log: second } = await watched({}, directory);
  await drive(second, second.append("a"));
  await second.close();
  const { log: third, storage: again } = await watched({}, directory);
  assert.is(third.recovery.lastLsn, 1);
  await third.close();
  assert.equal(again.changes(), []);
});

test.after(endSoon);
test.run();
