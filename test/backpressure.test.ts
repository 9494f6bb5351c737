// Invariant 8: rings and queues have fixed sizes; full is a wait with a deadline or an error at once, never
// growth and never a drop. A flusher that is pumped by hand is a disk as slow as the test wants.

import { threadId } from "node:worker_threads";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { openLog } from "../src/index.js";
import { headIndex, type Core } from "../src/core.js";
import type { CorewalError } from "../src/errors.js";
import { resolveOptions, writerOptions, type LogOptions } from "../src/options.js";
import type { Log } from "../src/types.js";
import { StripeWriter } from "../src/writer.js";
import { drive, openInline, pump, systemError, WatchedStorage } from "./support/environment.js";
import { endSoon, readAll, refused, texts, until, within } from "./support/expect.js";
import { freshPath } from "./support/scratch.js";
import { message, startThread } from "./support/script.js";

const SMALL: LogOptions = { ringBytes: 4096, segmentBytes: 16_384 };
/** Three of these fill a small ring. */
const thousand = (i: number): string => `${i} `.padEnd(1000, "x");
const numbers = async (log: Log): Promise<number[]> => (await texts(log)).map((t) => Number(t.split(" ")[0]));
const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i + 1);

const open = (options: LogOptions = {}, storage = new WatchedStorage()): Promise<Log> =>
  openInline(freshPath("full"), { ...SMALL, ...options }, { manual: true, storage });

const coreOf = (log: Log): Core => (log as unknown as { bank: Core }).bank;

/** A writer in this thread that does not know that the flusher is in this thread, too: it waits as any other does. */
function remoteWriter(log: Log, options: LogOptions): StripeWriter {
  const core = coreOf(log);
  return new StripeWriter(
    core,
    threadId + 1,
    writerOptions(resolveOptions({ ...SMALL, ...options }), "striped"),
    undefined,
    () => {},
    () => 0,
  );
}

test("a full ring: append waits without blocking, first in first out, and nothing is lost", async () => {
  const log = await open();
  const appends = upTo(20).map((i) => log.append(thousand(i)));
  assert.is(log.lastLsn, 3, "what waits has no LSN yet");
  assert.ok(log.stats().ringBytesUsed <= 4096);
  assert.equal(await drive(log, Promise.all(appends)), upTo(20));
  assert.equal(await numbers(log), upTo(20));
  await log.close();
});

test("onFull fail: an error at once that names the stripe, and no LSN is taken; with space it goes on", async () => {
  const log = await open({ onFull: "fail" });
  const appends = upTo(3).map((i) => log.append(thousand(i)));
  await refused(log.append(thousand(0)), "COREWAL_FULL", /stripe 0/);
  await refused(log.append(Buffer.from(thousand(0))), "COREWAL_FULL");
  await refused(log.appendBatch([thousand(0)]), "COREWAL_FULL");
  await refused(() => log.write(thousand(0)), "COREWAL_FULL");
  await refused(() => log.appendSync(thousand(0)), "COREWAL_FULL");
  assert.is(log.lastLsn, 3);
  await drive(log, Promise.all(appends));
  assert.is(await drive(log, log.append(thousand(4))), 4);
  assert.equal(await numbers(log), upTo(4));
  await log.close();
});

test("queueBytes: what waits for space is bounded; beyond it an error at once, without a gap in the order", async () => {
  const log = await open({ queueBytes: 3 * 1024 });
  const appends = upTo(6).map((i) => log.append(thousand(i)));
  const error = await refused(log.append(thousand(0)), "COREWAL_FULL", /queueBytes 3072.*ready\(\)/);
  assert.match(error.message, /stripe 0/);
  await refused(log.appendBatch([thousand(0), "y"]), "COREWAL_FULL");
  await drive(log, Promise.all(appends));
  await drive(log, log.append(thousand(7)));
  assert.equal(await numbers(log), upTo(7));
  await log.close();
});

test("queueBytes 0: nothing waits", async () => {
  const log = await open({ queueBytes: 0 });
  for (const i of upTo(3)) void log.append(thousand(i));
  await refused(log.append("x".repeat(1000)), "COREWAL_FULL");
  await drive(log, log.sync());
  assert.is(await drive(log, log.append(thousand(4))), 4);
  await log.close();
});

test("ancestor A, stalls: a batch larger than the ring's free space waits for space and holds nobody up", async () => {
  const log = await open();
  const first = upTo(3).map((i) => log.append(thousand(i)));
  const batch = log.appendBatch([thousand(4).slice(0, 900), thousand(5).slice(0, 900)]);
  const last = log.append("6");
  assert.is(log.lastLsn, 3);
  assert.equal(await drive(log, Promise.all([...first, batch, last])), [1, 2, 3, { first: 4, last: 5 }, 6]);
  assert.equal(await numbers(log), upTo(6));
  await log.close();
});

test("a deadline: who waits for space gets COREWAL_FULL after fullTimeoutMs, blocked or not, with stripe and time; nothing was written", async () => {
  const log = await open();
  const writer = remoteWriter(log, { fullTimeoutMs: 30 });
  for (const i of upTo(3)) writer.write(thousand(i));
  const queued = refused(writer.append(thousand(0)), "COREWAL_FULL", /stripe 1 .* \d+ ms/);
  const batch = refused(writer.appendBatch([thousand(0), "b"]), "COREWAL_FULL");
  await Promise.all([queued, batch]);
  const blocked = await refused(() => writer.write(thousand(0)), "COREWAL_FULL", /stripe 1 .* \d+ ms/);
  assert.ok(Number(/(\d+) ms/.exec(blocked.message)![1]) >= 30);
  await refused(() => writer.appendSync(thousand(0)), "COREWAL_FULL");
  assert.is(writer.lastLsn, 3);
  await drive(log, log.sync());
  assert.is(writer.write(thousand(4)), 4);
  await drive(log, log.sync());
  assert.equal(await numbers(log), upTo(4));
  writer.end();
  await log.close();
});

test("ancestor A, stalls: spurious wake-ups do not prolong a deadline, nor does a missing one", async () => {
  const log = await open();
  for (const spurious of [true, false]) {
    const writer = remoteWriter(log, { fullTimeoutMs: 60 });
    for (const i of upTo(3)) writer.write(thousand(i));
    const waker = spurious ? setInterval(() => Atomics.notify(coreOf(log).i32, headIndex(writer.stripe)), 1) : undefined;
    await refused(within(writer.append(thousand(0)), "a deadline", 20_000), "COREWAL_FULL");
    clearInterval(waker);
    writer.end();
    await drive(log, log.sync());
  }
  await log.close();
});

test("an append that is given up while it waits for space was never written; the others keep their order", async () => {
  const log = await open();
  const kept = upTo(3).map((i) => log.append(thousand(i)));
  const gone = new AbortController();
  const aborted = refused(log.append(thousand(0), { signal: gone.signal }), "COREWAL_ABORTED", /was not written/);
  const timedOut = refused(log.append(thousand(0), { timeoutMs: 1 }), "COREWAL_TIMEOUT", /was not written/);
  kept.push(log.append(thousand(4)));
  gone.abort();
  const errors = await Promise.all([aborted, timedOut]);
  assert.equal(
    errors.map((e: CorewalError) => e.lsn),
    [undefined, undefined],
  );
  assert.equal(await drive(log, Promise.all(kept)), upTo(4));
  assert.equal(await numbers(log), upTo(4));
  await log.close();
});

for (const how of ["aborted", "timed out"] as const) {
  test(`sync and close do not hang when the last append that waits for space is ${how}`, async () => {
    for (const end of ["sync", "close"] as const) {
      const log = await open();
      for (const i of upTo(3)) void log.append(thousand(i));
      const gone = new AbortController();
      const last = log.append(thousand(0), how === "aborted" ? { signal: gone.signal } : { timeoutMs: 1 });
      const rejected = refused(last, how === "aborted" ? "COREWAL_ABORTED" : "COREWAL_TIMEOUT");
      let settled = false;
      const ended = log[end]().then(() => (settled = true));
      gone.abort();
      await rejected;
      for (let i = 0; i < 100 && !settled; i++) {
        pump(log);
        await new Promise(setImmediate);
      }
      assert.ok(settled, `${end}() is settled`);
      await ended;
      await log.close();
    }
  });
}

test("sync ends its wait by timeout or signal also while appends wait for space", async () => {
  const log = await open();
  for (const i of upTo(5)) void log.append(thousand(i));
  await refused(within(log.sync({ timeoutMs: 1 }), "sync with a timeout", 5000), "COREWAL_TIMEOUT");
  const gone = new AbortController();
  const aborted = refused(within(log.sync({ signal: gone.signal }), "sync with a signal", 5000), "COREWAL_ABORTED");
  await new Promise(setImmediate);
  gone.abort();
  await aborted;
  await drive(log, log.sync());
  assert.equal(await numbers(log), upTo(5));
  await log.close();
});

test("close waits for everything that was accepted, also what still waits for space", async () => {
  for (const flusher of ["worker", "inline"] as const) {
    const directory = freshPath("full");
    const log = await openLog(directory, { ...SMALL, flusher });
    const appends = upTo(50).map((i) => log.append(thousand(i)));
    const closed = log.close();
    assert.equal(await within(Promise.all(appends)), upTo(50));
    await within(closed);
    const again = await openLog(directory, { readOnly: true });
    assert.equal(await numbers(again), upTo(50));
  }
});

test("a writer that waits for space learns that the log is poisoned: its append was not written", async () => {
  const storage = new WatchedStorage();
  const log = await open({}, storage);
  const writer = remoteWriter(log, {});
  const inRing = upTo(3).map((i) => refused(writer.append(thousand(i)), "COREWAL_OUTCOME_UNKNOWN"));
  const queued = refused(writer.append(thousand(4)), "COREWAL_POISONED");
  await new Promise(setImmediate);
  storage.before = ({ what }) => {
    if (what === "write") throw systemError("EIO");
  };
  pump(log);
  await within(Promise.all([...inRing, queued]));
  writer.end();
  await refused(log.close(), "COREWAL_POISONED");
});

test("threads that write more than the disk takes are slowed down, and nothing grows or is dropped", async () => {
  const log = await openLog(freshPath("full"), { ...SMALL, stripes: 4, queueBytes: 4096 });
  const shared = [1, 2, 3].map(() => new SharedArrayBuffer(4));
  const threads = shared.map((acknowledged, id) =>
    startThread("counting-writer", {
      handle: log.handle,
      id,
      acknowledged,
      tellAt: 300,
      way: (["append", "appendSync", "write"] as const)[id],
    }),
  );
  await within(Promise.all(threads.map((t) => message(t))), "threads under way");
  for (let i = 0; i < 50; i++) {
    assert.ok(log.stats().ringBytesUsed <= 4 * 4096);
    await new Promise(setImmediate);
  }
  await within(Promise.all(threads.map((t) => t.terminate())));
  await within(log.sync());
  const next = [0, 0, 0];
  for (const entry of await readAll(log)) {
    const [id, counter] = Buffer.from(entry.value).toString().split(" ").map(Number) as [number, number];
    assert.is(counter, next[id]!++);
  }
  shared.forEach((s, id) => assert.ok(next[id]! >= new Int32Array(s)[0]!));
  await until(() => log.stats().ringBytesUsed === 0, "the rings are empty");
  await log.close();
});

test.after(endSoon);
test.run();
