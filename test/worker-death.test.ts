// Invariant 9: no thread can wedge the log. Writers end at each step between reserve and publish; stalled ones
// lose their stripe; the flusher's own death poisons.

import type { Worker } from "node:worker_threads";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { attachLog, openLog } from "../src/index.js";
import type { Log } from "../src/types.js";
import { openWithPoints, stopAt } from "./support/armed.js";
import { dieAt, mortalCore } from "./support/dead-thread.js";
import { drive, openInline, pump } from "./support/environment.js";
import { endSoon, readAll, refused, textOf, texts, until, within } from "./support/expect.js";
import { Random } from "./support/random.js";
import { freshPath } from "./support/scratch.js";
import { message, startThread } from "./support/script.js";
import type { CountingTask } from "./workers/counting-writer.js";

const NEVER = { writerStallMs: 60_000 };

/** Kinds and values, holes with their count. */
async function contents(log: Log): Promise<string[]> {
  return (await readAll(log, { internal: true })).map((e) =>
    e.kind === "void" ? `${e.lsn} void ${new DataView(e.value.buffer, e.value.byteOffset).getBigUint64(0, true)}` : `${e.lsn} ${textOf(e)}`,
  );
}

/** What a thread that appends `n` more entries leaves behind when it ends at each step. */
const STEPS = [
  { step: 1, where: "before its stripe is pending", lsn: false, published: false },
  { step: 2, where: "pending, before it takes an LSN", lsn: false, published: false },
  { step: 3, where: "with an LSN, before it is in the header", lsn: true, published: false },
  { step: 4, where: "before it is published", lsn: true, published: false },
  { step: 5, where: "published, before the doorbell", lsn: true, published: true },
];

for (const { step, where, lsn, published } of STEPS) {
  for (const batch of [1, 3]) {
    test(`invariant 9: a writer that is terminated ${where} (step ${step}, ${batch === 1 ? "one entry" : `batch of ${batch}`}) leaves ${published ? "its entries" : lsn ? "a hole" : "nothing"}`, async () => {
      const directory = freshPath("death");
      const log = await openWithPoints(directory, { ...NEVER, stripes: 2 });
      await log.append("first");
      const dead = await stopAt(log, step, { batch });
      assert.equal(dead.before, [2]);
      // Behind the dead one's LSN, in the ring, and not durable as long as it might still be published.
      let settled = false;
      const after = log.append("after").then((n) => ((settled = true), n));
      for (let i = 0; i < 20; i++) await new Promise(setImmediate);
      if (lsn && !published) assert.not.ok(settled, "nothing behind a pending LSN is acknowledged");
      await refused(attachLog(log.handle), "COREWAL_NO_STRIPE");
      await dead.terminate();
      const expected = ["1 first", "2 before 0"];
      if (published) expected.push(...Array.from({ length: batch }, (_, i) => `${3 + i} ${batch === 1 ? "at the step" : `batch ${i}`}`));
      else if (lsn) expected.push(`3 void ${batch}`);
      const next = lsn ? 3 + batch : 3;
      expected.push(`${next} after`);
      assert.is(await within(after, "the append behind the dead one", 20_000), next);

      // The thread's end was seen: its stripe can be used again.
      const writer = await attachLog(log.handle);
      assert.is(await within(writer.append("again")), next + 1);
      expected.push(`${next + 1} again`);
      assert.equal(await contents(log), expected);
      assert.is(log.stats().voidLsns, lsn && !published ? batch : 0);
      assert.is(await log.get(3).then((e) => e?.kind), published || !lsn ? "data" : undefined, "a hole is no entry");
      await log.close();

      const reopened = await openLog(directory);
      assert.ok(reopened.recovery.clean);
      assert.equal(await contents(reopened), expected);
      assert.is(await reopened.append("reopened"), next + 2);
      await reopened.close();
    });
  }
}

for (const step of [3, 4]) {
  test(`invariant 9: a writer that stalls with an LSN (step ${step}) is revoked after writerStallMs and has written nothing; the others go on`, async () => {
    const directory = freshPath("stall");
    const log = await openWithPoints(directory, { writerStallMs: 20, stripes: 3 });
    const other = await attachLog(log.handle);
    const stalled = await stopAt(log, step);
    assert.equal(
      await within(Promise.all([log.append("a"), other.append("b"), other.append("c")]), "appends beside a stalled writer"),
      [3, 4, 5],
    );
    assert.is(log.stats().revokedWriters, 1);
    // The stalled thread may still write to its ring: it is nobody else's as long as that thread lives.
    await refused(attachLog(log.handle), "COREWAL_NO_STRIPE");
    assert.equal(await stalled.letGo(), { result: "COREWAL_REVOKED", afterwards: "COREWAL_REVOKED" });
    // It closed its writer then.
    const again = await attachLog(log.handle);
    await within(again.append("d"));
    const expected = ["1 before 0", "2 void 1", "3 a", "4 b", "5 c", "6 d"];
    assert.equal(await contents(log), expected);
    await log.close();
    const reopened = await openLog(directory);
    assert.equal(await contents(reopened), expected);
    await reopened.close();
  });
}

test("invariant 9: a writer that stalls before it took an LSN (step 2) holds nobody up and loses nothing", async () => {
  const log = await openWithPoints(freshPath("stall"), NEVER);
  const stalled = await stopAt(log, 2);
  assert.is(await within(log.append("a"), "an append beside a stalled writer"), 2);
  assert.equal(await stalled.letGo(), { result: "3", afterwards: "4" });
  assert.equal(await contents(log), ["1 before 0", "2 a", "3 at the step", "4 afterwards"]);
  await log.close();
});

test("invariant 9: if a stalled writer might own a lost LSN it is revoked too, and what it takes later is a hole", async () => {
  const log = await openWithPoints(freshPath("stall"), { writerStallMs: 20 });
  const stalled = await stopAt(log, 2, { before: 0 });
  const dead = await stopAt(log, 3, { before: 0 });
  await dead.terminate();
  assert.is(await within(log.append("a"), "an append behind a hole"), 2);
  assert.is(log.stats().revokedWriters, 1);
  assert.equal(await stalled.letGo(), { result: "COREWAL_REVOKED", afterwards: "COREWAL_REVOKED" });
  assert.is(await within(log.append("b"), "an append behind the second hole"), 4);
  assert.equal(await contents(log), ["1 void 1", "2 a", "3 void 1", "4 b"]);
  await log.close();
});

test("invariant 9: the end of a thread that is older than the log is not seen: it holds the others up for writerStallMs, not longer", async () => {
  const older = startThread("armed-writer", undefined);
  await within(new Promise((resolve) => older.once("online", resolve)));
  const log = await openWithPoints(freshPath("older"), { writerStallMs: 20, stripes: 2 });
  const dead = await stopAt(log, 3, { before: 0, older });
  await dead.terminate();
  assert.is(await within(log.append("after")), 2);
  await log.close();
});

test("invariant 9: threads terminated at any moment in full flight; what they had acknowledged is there, each thread's prefix", async () => {
  const seed = Date.now() % 2 ** 31;
  const random = new Random(seed);
  const directory = freshPath("stress");
  const log = await openLog(directory, { stripes: 4, ringBytes: 65536, segmentBytes: 1 << 20, writerStallMs: 50 });
  const acknowledged: Int32Array[] = [];
  const ways = ["append", "appendSync", "write"] as const;
  let mine = 0;
  let stop = false;
  const own = (async () => {
    while (!stop) await log.append(`own ${mine++}`);
  })();
  for (let round = 0; round < 6; round++) {
    const threads = await Promise.all(
      ways.map(async (way, i) => {
        const id = round * ways.length + i;
        const shared = new SharedArrayBuffer(4);
        acknowledged[id] = new Int32Array(shared);
        const task: CountingTask = { handle: log.handle, id, acknowledged: shared, tellAt: 1 + random.below(200), way };
        const worker = startThread("counting-writer", task);
        await within(message(worker), `writer ${id} (${way}), seed ${seed}`);
        return worker;
      }),
    );
    await within(Promise.all(threads.map((worker) => worker.terminate())));
    assert.is(log.stats().stripes.used, 1, "all stripes of the dead are free again");
  }
  stop = true;
  await within(own, "the opener's own appends");
  await within(log.close());

  const reopened = await openLog(directory);
  const next = new Map<string, number>();
  let lsn = 0;
  for (const entry of await readAll(reopened, { internal: true })) {
    assert.is(entry.lsn, lsn + 1, `LSNs are dense, seed ${seed}`);
    lsn = entry.lsn;
    if (entry.kind === "void") {
      lsn += Number(new DataView(entry.value.buffer, entry.value.byteOffset).getBigUint64(0, true)) - 1;
      continue;
    }
    const [id, counter] = textOf(entry).split(" ") as [string, string];
    assert.is(Number(counter), next.get(id) ?? 0, `writer ${id}, LSN ${entry.lsn}, seed ${seed}`);
    next.set(id, Number(counter) + 1);
  }
  assert.is(next.get("own"), mine);
  acknowledged.forEach((word, id) =>
    assert.ok(
      (next.get(String(id)) ?? 0) >= word[0]!,
      `writer ${id} had ${word[0]} acknowledged, ${next.get(String(id))} are there, seed ${seed}`,
    ),
  );
  assert.is(reopened.recovery.lastLsn, lsn);
  await reopened.close();
  console.log(
    `# seed ${seed}: ${acknowledged.length} threads terminated in full flight, ${lsn} LSNs, ${log.stats().voidLsns} of them holes`,
  );
});

/** A log whose flusher can be killed, with a thread's writer that waits for durability in its own way. */
const flusherOf = (log: Log): Worker => (log as unknown as { parts: { workers: [Worker] } }).parts.workers[0];

test("invariant 9, ancestor A, stalls: the flusher's death is seen; waiters learn it, the log is poisoned, and can be opened again at once", async () => {
  const directory = freshPath("flusher");
  // Without demand nothing is flushed for a minute: these waits are certainly under way when it dies.
  const log = await openLog(directory, { maxDelayMs: 10_000, flushIntervalMs: 60_000 });
  await log.append("safe", { durability: "sync" });
  const appended = refused(log.append("lost"), "COREWAL_OUTCOME_UNKNOWN", /thread ended/);
  const batch = refused(log.appendBatch(["lost", "too"]), "COREWAL_OUTCOME_UNKNOWN");
  const durable = refused(log.durable(2), "COREWAL_OUTCOME_UNKNOWN");
  const closed = refused(log.closed, "COREWAL_IO", /flusher/).catch(() => refused(log.closed, "COREWAL_POISONED", /flusher/));
  await flusherOf(log).terminate();
  const unknown = await appended;
  assert.is(unknown.lsn, 2);
  assert.is((unknown.cause as { code?: string }).code, "COREWAL_IO");
  await Promise.all([batch, durable, closed]);
  assert.is(log.stats().state, "poisoned");
  await refused(log.append("no"), "COREWAL_POISONED", /flusher/);
  await refused(() => log.write("no"), "COREWAL_POISONED");
  await refused(() => log.appendSync("no"), "COREWAL_POISONED");
  await refused(log.appendBatch(["no"]), "COREWAL_POISONED");
  await refused(log.sync(), "COREWAL_POISONED");
  await refused(log.ready(), "COREWAL_POISONED");
  assert.is(log.durableLsn, 1);
  assert.equal(await texts(log), ["safe"], "what is durable can still be read");
  await refused(log.close(), "COREWAL_POISONED");
  await refused(log.close(), "COREWAL_POISONED");

  const again = await openLog(directory);
  assert.not.ok(again.recovery.clean);
  assert.is((await texts(again))[0], "safe");
  assert.ok((await again.append("on")) >= 2);
  await again.close();
});

for (const [way, expected] of [
  ["in append", ["COREWAL_OUTCOME_UNKNOWN", "COREWAL_POISONED", "COREWAL_POISONED"]],
  ["blocked in appendSync", ["COREWAL_OUTCOME_UNKNOWN", "COREWAL_POISONED"]],
  ["blocked by a full ring", ["COREWAL_POISONED", "COREWAL_POISONED"]],
] as const) {
  test(`invariant 9: the flusher's death reaches a thread that waits ${way}`, async () => {
    const directory = freshPath("flusher");
    const log = await openLog(directory, { maxDelayMs: 10_000, flushIntervalMs: 60_000, ringBytes: 65536 });
    const worker = startThread("flusher-witness", { handle: log.handle, way });
    assert.is(await within(message(worker), "a thread under way"), "under way");
    const told = message<string[]>(worker);
    await flusherOf(log).terminate();
    const codes = await within(told, "a thread that learns of the flusher's death");
    // It may have died between two calls of appendSync: then that one was refused at once.
    if (way === "blocked in appendSync" && codes[0] === "COREWAL_POISONED") assert.equal(codes, ["COREWAL_POISONED", "COREWAL_POISONED"]);
    else assert.equal(codes, expected);
    await refused(log.close(), "COREWAL_POISONED");
    const again = await openLog(directory);
    await again.close();
  });
}

test("invariant 9: a thread that died pending, before it took an LSN, keeps the flusher neither from proving nor from resting", async () => {
  const options = { ringBytes: 65536, segmentBytes: 1 << 20, stripes: 4 };
  let nowMs = 1_700_000_000_000;
  const log = await openInline(freshPath("pending"), options, { manual: true, core: mortalCore(options), now: () => nowMs });
  const dead = await attachLog(log.handle);
  await drive(log, log.append("before", { durability: "sync" }));
  assert.ok(dieAt("pending", () => dead.appendBatch(["never"])).died);
  nowMs += 100;
  const { frames } = log.stats();
  let steps = 0;
  while (pump(log)) assert.ok(++steps < 10, "the flusher does not come to rest");
  assert.is(log.stats().frames, frames + 1, "an empty frame that proves the last one");
  await log.close();
});

test("a thread that dies of an error gives its stripe back", async () => {
  const log = await openLog(freshPath("throws"), { stripes: 2 });
  const worker = startThread("attach-and", { handle: log.handle, then: "throw" });
  await within(new Promise((resolve) => worker.once("error", resolve)));
  await until(() => log.stats().stripes.used === 1, "the stripe is free");
  const writer = await attachLog(log.handle);
  await writer.close();
  await log.close();
});

test.after(endSoon);
test.run();
