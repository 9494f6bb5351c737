// Per-core logs with real threads and files: a chain for each core, their order, epochs.

import { setTimeout as sleep } from "node:timers/promises";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { COMMAND_CLOSE, CTL_COMMAND, LOG_CLOSED, LOG_CLOSED_PUMPS, LOG_CLOSING, SLEEP_IDLE, STRIPE_OWNER } from "../assembly/layout.js";
import { initLog, isClaimed, logGeometry, ownedStripes, ringDoorbells, stripeWord } from "../src/banks.js";
import { bindCore, coreModule, makeMemory } from "../src/core.js";
import { Crew } from "../src/crew.js";
import { startWorker } from "../src/drive.js";
import type { Flusher, Rest } from "../src/flusher.js";
import { attachLog, decodeCommit, openLog, statLog, verifyLog, type LogOptions } from "../src/index.js";
import type { Entry, Log } from "../src/types.js";
import { drive, openInline } from "./support/environment.js";
import { endSoon, readAll, refused, textOf, within } from "./support/expect.js";
import { freshPath } from "./support/scratch.js";
import { message, startThread } from "./support/script.js";
import type { CoreResult, CoreTask } from "./workers/core-writer.js";

test.after(endSoon);

const SMALL: LogOptions = { topology: "per-core", stripes: 4, ringBytes: 65536, segmentBytes: 1 << 20 };
const open = (directory: string, options: LogOptions = {}): Promise<Log> => openLog(directory, { ...SMALL, ...options });

/** (epoch, time, core, LSN), as the merge has it. */
function inOrder(entries: Entry[]): void {
  entries.reduce((a, b) => {
    const least = a.epoch - b.epoch || a.timestampMs - b.timestampMs;
    assert.ok(least <= 0, `${a.epoch} ${a.timestampMs} before ${b.epoch} ${b.timestampMs}`);
    if (a.core === b.core) assert.is(b.lsn, a.lsn + 1, "each chain is dense and in order");
    return b;
  });
  const lsns = new Map<number, number>();
  for (const { core, lsn } of entries) {
    assert.is(lsn, (lsns.get(core) ?? 0) + 1, `core ${core}`);
    lsns.set(core, lsn);
  }
}

async function threads(log: Log, count: number, task: Pick<CoreTask, "what" | "rounds">): Promise<CoreResult[]> {
  const shared = new SharedArrayBuffer(8);
  const workers = Array.from({ length: count }, (_, index) =>
    startThread("core-writer", { handle: log.handle, index, threads: count, shared, ...task } satisfies CoreTask),
  );
  return within(Promise.all(workers.map((worker) => message<CoreResult>(worker))));
}

test("a core that is still being claimed has no flusher yet, and comes back if its thread ends", () => {
  const geometry = logGeometry(1, 4096, 4096, 4);
  const core = bindCore(coreModule(), makeMemory(geometry.totalBytes));
  initLog(core, geometry, { ringBytes: 4096, entrySeed: 0, nextLsn: () => 1, timed: true });
  const banks = Array.from({ length: 4 }, (_, bank) => core.at(bank * geometry.bankBytes));
  const claim = (bank: number): number => banks[bank]!.x.ring_claim(bank + 1);
  claim(0);
  // As ring_claim begins.
  for (const bank of [1, 3]) Atomics.store(core.log.i32, stripeWord(core, bank, 0, STRIPE_OWNER), bank + 1);
  claim(2);
  const made: number[] = [];
  const rest: Rest = { ms: Infinity, sleep: SLEEP_IDLE };
  const crew = new Crew(core, 0, (bank) => {
    made.push(bank);
    return { step: () => rest, rest: () => rest } as Flusher;
  });
  crew.step();
  assert.equal(made, [0, 2]);
  assert.equal(
    [...ownedStripes(core, 2), ...ownedStripes(core, 4)],
    [
      { bank: 1, stripe: 0 },
      { bank: 3, stripe: 0 },
    ],
  );
  banks[1]!.x.ring_release(0, 2);
  claim(1);
  assert.not.ok(crew.lieDown(rest));
  crew.step();
  assert.equal(made, [0, 2, 1]);
  assert.ok(crew.lieDown(rest));
  assert.equal([isClaimed(core, 1), isClaimed(core, 3), isClaimed(core, 200)], [true, false, false]);
});

test("each thread has a chain of its own; positions are vectors; plain LSNs are refused", async () => {
  const directory = freshPath("cores");
  const log = await open(directory);
  const other = await attachLog(log.handle);
  assert.equal([log.ownCore, other.ownCore], [0, 1]);
  assert.is(await log.append("a1"), 1);
  assert.equal(await other.appendBatch(["b1", { kind: "put", key: "k", value: "v" }]), { first: 1, last: 2 });
  const lsn = other.write("b3");
  assert.is(lsn, 3);
  assert.equal(log.positions(), [1, 3, 0, 0]);
  // Of another core, from this one.
  await within(log.durable({ core: 1, lsn: 3 }));
  assert.equal(log.durablePositions(), [1, 3, 0, 0]);
  await within(other.durable([1, 3]));
  await refused(log.durable({ core: 1, lsn: 4 }), "COREWAL_INVALID_INPUT", /core 1 has LSN 4/);
  await refused(log.durable(1), "COREWAL_TOPOLOGY");
  await refused(log.get(1), "COREWAL_TOPOLOGY");
  for (const options of [{ from: 1 }, { to: 1 }, { follow: true }]) await refused(() => log.read(options), "COREWAL_TOPOLOGY");
  await refused(openLog(directory, { topology: "striped", readOnly: true }), "COREWAL_TOPOLOGY");

  inOrder(await readAll(log));
  assert.is(textOf((await log.get({ core: 1, lsn: 3 }))!), "b3");
  assert.equal(
    (await readAll(log, { from: [2, 2], to: [9, 2] })).map((e) => [e.core, e.lsn]),
    [[1, 2]],
  );
  const own = log.core(1);
  assert.equal([own.core, own.lastLsn, own.durableLsn, own.bytes > 0], [1, 3, 3, true]);
  const lsns: number[] = [];
  for await (const entry of own.read({ from: 2 })) lsns.push(entry.lsn);
  assert.equal(lsns, [2, 3]);
  await refused(async () => log.core(4), "COREWAL_INVALID_INPUT", /no core 4/);
  // What is durable counts as soon as the file says so.
  let segments = await log.segments();
  for (const end = Date.now() + 60_000; segments[1]!.entries < 3 && Date.now() < end; segments = await log.segments()) await sleep(1);
  assert.equal(
    segments.map(({ core, number, entries, minEpoch, maxEpoch }) => [core, number, entries, minEpoch, maxEpoch]),
    [
      [0, 1, 1, 0, 0],
      [1, 1, 3, 0, 0],
    ],
  );
  other.write("b4");
  await within(log.sync());
  assert.equal(log.durablePositions(), [1, 4, 0, 0], "sync() is for all threads");
  await log.close();
  await refused(openLog(directory, { topology: "striped" }), "COREWAL_TOPOLOGY", /per-core/);
  assert.ok((await verifyLog(directory)).ok);
});

test("the largest entry and the largest batch fit, with the time that each entry has", async () => {
  const log = await open(freshPath("cores"), { ringBytes: 4096 });
  const max = 2048 - 54 - 8;
  await within(log.append(new Uint8Array(max).fill(1)));
  await refused(log.append(new Uint8Array(max + 1).fill(1)), "COREWAL_ENTRY_TOO_LARGE");
  // 24 and padding to 8 for each.
  const fits = Math.floor((2048 - 54) / 32);
  await within(log.appendBatch(Array.from({ length: fits }, (_, i) => `${i}`)));
  await refused(log.appendBatch(Array.from({ length: fits + 1 }, (_, i) => `${i}`)), "COREWAL_ENTRY_TOO_LARGE");
  assert.is((await readAll(log)).length, 1 + fits);
  await log.close();
});

test("more and fewer cores from open to open lose and ignore nothing, and each chain goes on where it was", async () => {
  const directory = freshPath("cores");
  const all: string[] = [];
  const lsns = new Map<number, number>();
  for (const [life, stripes] of [4, 1, 8, 2, 3].entries()) {
    const log = await open(directory, { stripes });
    assert.equal((await readAll(log)).map(textOf).sort(), [...all].sort(), `life ${life}`);
    assert.is(log.recovery.epoch, life, "an epoch for each open");
    const writers = [log, ...(await Promise.all(Array.from({ length: stripes - 1 }, () => attachLog(log.handle))))];
    for (const writer of writers) {
      const value = `life ${life} core ${writer.ownCore}`;
      const due = (lsns.get(writer.ownCore) ?? 0) + 1;
      assert.is(await within(writer.append(value)), due);
      lsns.set(writer.ownCore, due);
      all.push(value);
    }
    inOrder(await readAll(log));
    await log.close();
    assert.is((await statLog(directory)).completeEpoch, life);
  }
  const last = await open(directory, { readOnly: true });
  inOrder(await readAll(last));
  assert.equal(last.positions(), [5, 4, 3, 2, 1, 1, 1, 1]);
  await last.close();
});

for (const flusherThreads of [1, 2])
  test(`what was acknowledged before is before, whichever core it was written by (${flusherThreads} flushers)`, async () => {
    const log = await open(freshPath("cores"), { flusherThreads });
    await threads(log, 3, { what: "token", rounds: 60 });
    const entries = await readAll(log);
    inOrder(entries);
    assert.equal(
      entries.map(textOf),
      Array.from({ length: 180 }, (_, turn) => `turn ${turn}`),
    );
    await log.close();
  });

test("a flusher's thread that is through before the others is not taken for dead", async () => {
  const geometry = logGeometry(1, 4096, 4096, 2);
  const core = bindCore(coreModule(), makeMemory(geometry.totalBytes));
  initLog(core, geometry, { ringBytes: 4096, entrySeed: 0, nextLsn: () => 1, timed: true, pumps: 2 });
  const { i32 } = core.log;
  const worker = await startWorker(core, 1, []);
  const ended = new Promise((resolve) => worker.once("exit", resolve));
  // The other one is here: drained, but not closed yet.
  const crew = new Crew(core, 0, () => {
    throw new Error("no core is claimed");
  });
  Atomics.store(i32, CTL_COMMAND >> 2, COMMAND_CLOSE);
  assert.ok(crew.step().ms > 0);
  ringDoorbells(core);
  while (Atomics.load(i32, LOG_CLOSED_PUMPS >> 2) === 0) await sleep(1);
  // Whoever was awake when it was told to close may hear its bell afterwards.
  await sleep(50);
  ringDoorbells(core);
  await Promise.race([ended, sleep(300)]);
  assert.is(core.x.log_state(), LOG_CLOSING);
  crew.step();
  assert.is(core.x.log_state(), LOG_CLOSED);
  await within(ended);
  assert.is(core.x.log_state(), LOG_CLOSED);
});

test("epochs advanced by several threads at once, while all append: what was before the call is before the epoch", async () => {
  const directory = freshPath("cores");
  const log = await open(directory, { flusherThreads: 2, durability: "async" });
  const results = await threads(log, 3, { what: "epochs", rounds: 500 });
  const entries = await readAll(log);
  inOrder(entries);
  for (const { core, epochs, appended } of results) {
    const own = entries.filter((e) => e.core === core);
    assert.is(own.length, appended);
    assert.is(epochs.length, 10);
    let from = 0;
    for (const [epoch, before] of epochs) {
      for (const e of own.slice(from, before))
        assert.ok(e.epoch < epoch, `LSN ${e.lsn} of core ${core} is in epoch ${e.epoch}, and ${epoch} had begun`);
      for (const e of own.slice(before)) assert.ok(e.epoch >= epoch);
      from = before;
    }
    // What a thread saw before it wrote, the entry cannot be older than.
    for (const e of own) assert.ok(e.epoch >= Number(/epoch (\d+)$/.exec(textOf(e))![1]));
  }
  const { epoch } = log;
  assert.ok(epoch >= 10);
  // An idle log, and one whose epoch is advanced twice.
  assert.is(await within(log.advanceEpoch()), epoch + 1);
  assert.is(await within(log.advanceEpoch({ timeoutMs: 60_000 })), epoch + 2);
  assert.is(log.durablePositions().join(), log.positions().join());
  await log.close();
  assert.ok((await verifyLog(directory)).ok);
  assert.is((await statLog(directory)).completeEpoch, epoch + 2);
  const again = await open(directory);
  assert.is(again.recovery.completeEpoch, epoch + 2);
  assert.is(again.epoch, epoch + 3);
  await again.close();
  await refused(again.advanceEpoch(), "COREWAL_CLOSED");
});

test("epochs of a striped log: a barrier as well, and the log goes on in its epoch", async () => {
  const directory = freshPath("cores");
  const log = await openLog(directory, { stripes: 4, ringBytes: 65536 });
  await log.append("one");
  assert.is(await within(log.advanceEpoch()), 1);
  await log.append("two");
  assert.equal(
    (await readAll(log)).map((e) => [e.lsn, e.epoch]),
    [
      [1, 0],
      [2, 1],
    ],
  );
  assert.equal((await readAll(log, { toEpoch: 0 })).map(textOf), ["one"]);
  await log.close();
  const again = await openLog(directory, { ringBytes: 65536 });
  assert.equal([again.epoch, again.recovery.completeEpoch], [1, 1]);
  await again.close();
});

test("ancestor B, commits of cores ≥ 1 lost: those of every core come back", async () => {
  const directory = freshPath("cores");
  const log = await open(directory);
  const other = await attachLog(log.handle);
  await log.append({ kind: "commit", offsets: { orders: 1n } });
  await other.append({ kind: "commit", offsets: { orders: 2n }, watermark: 1n });
  await log.close();
  const again = await open(directory, { stripes: 1 });
  const commits: [number, bigint][] = [];
  for await (const entry of again.replay()) commits.push([entry.core, decodeCommit(entry).offsets["orders"]!]);
  assert.equal(commits, [
    [0, 1n],
    [1, 2n],
  ]);
  await again.close();
});

test("a clock that jumps by hours, while the log is open and between, changes no order", async () => {
  const directory = freshPath("cores");
  const HOUR_MS = 3_600_000;
  let nowMs = Date.UTC(2026, 0, 1);
  let elapsedNs = 0;
  const jump = (hours: number): void => {
    nowMs += hours * HOUR_MS;
    elapsedNs += hours * HOUR_MS * 1e6;
  };
  let count = 0;
  for (let life = 0; life < 3; life++) {
    const log = await openInline(directory, { ...SMALL }, { manual: true, now: () => nowMs, clock: () => () => elapsedNs });
    const other = await attachLog(log.handle);
    for (const hours of [0, 5, -9, 0, 3, -1]) {
      jump(hours);
      for (const writer of [log, other, log]) await drive(log, writer.append(`${count++}`));
      if (hours === -9) await drive(log, log.advanceEpoch());
    }
    await drive(log, log.close());
    jump(-24 * (life + 1));
    elapsedNs = 0;
  }
  const log = await open(directory, { readOnly: true });
  const entries = await readAll(log);
  inOrder(entries);
  // Each was durable before the next one was appended.
  assert.equal(
    entries.map(textOf),
    Array.from({ length: count }, (_, i) => `${i}`),
  );
  entries.reduce((a, b) => (assert.ok(b.timestampMs >= a.timestampMs, "never back"), b));
  await log.close();
});

test("a thread that ends gives its core back, and whoever takes it goes on in its chain", async () => {
  const log = await open(freshPath("cores"), { stripes: 2 });
  for (let i = 1; i <= 3; i++) {
    const writer = await attachLog(log.handle);
    assert.is(writer.ownCore, 1);
    assert.is(await within(writer.append(`owner ${i}`)), i);
    await refused(attachLog(log.handle), "COREWAL_NO_STRIPE");
    await writer.close();
  }
  await log.close();
});

test.run();
