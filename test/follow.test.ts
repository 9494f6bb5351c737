// Following in the process that has the log open: a reader that waits for more instead of ending.

import { test } from "uvu";
import * as assert from "uvu/assert";
import { openLog } from "../src/index.js";
import type { Entry, Log, ReadOptions } from "../src/types.js";
import { drive, openInline, pump, systemError, WatchedStorage } from "./support/environment.js";
import { endSoon, refused, textOf, until, within } from "./support/expect.js";
import { freshPath } from "./support/scratch.js";
import { startProcess } from "./support/script.js";
import type { ExitTask } from "./workers/exit-case.js";

const SMALL = { ringBytes: 4096, segmentBytes: 16_384 };
const FLUSHERS = ["worker", "inline"] as const;

/** Reads in the background, as far as it gets. */
function follow(log: Log, options: ReadOptions = {}): { seen: number[]; ended: Promise<void> } {
  const seen: number[] = [];
  const run = async (): Promise<void> => {
    for await (const entry of log.read({ follow: true, ...options })) seen.push(entry.lsn);
  };
  const ended = run();
  // Whoever looks at it later is told then.
  ended.catch(() => {});
  return { seen, ended };
}

const range = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i);

async function settled(promise: Promise<unknown>): Promise<boolean> {
  const waiting = Symbol("waiting");
  return (await Promise.race([promise, new Promise((resolve) => setTimeout(resolve, 20, waiting))])) !== waiting;
}

for (const flusher of FLUSHERS) {
  const named = (name: string, run: () => Promise<void>): void => void test(`${flusher} flusher: ${name}`, run);
  const open = (name: string): Promise<Log> => openLog(freshPath(name), { ...SMALL, flusher });

  named("a follower gets what is there, then what is appended, through many segments, each entry once", async () => {
    const log = await open("follow");
    await Promise.all(Array.from({ length: 200 }, (_, i) => log.append(`${i} `.padEnd(100, "x"))));
    const followers = [follow(log), follow(log), follow(log, { from: 150 }), follow(log, { from: 1000 }), follow(log, { to: 700 })];
    for (let i = 0; i < 40; i++) {
      // One at a time, so that followers wait in between, and many at once.
      await log.append("alone");
      await Promise.all(Array.from({ length: 50 }, () => log.append("x".repeat(100))));
    }
    const last = 200 + 40 * 51;
    assert.is(log.durableLsn, last);
    assert.ok(log.stats().segment.number > 5);
    await within(followers[4]!.ended, "the end at `to`");
    assert.equal(followers[4]!.seen, range(1, 700));
    await log.close();
    await within(Promise.all(followers.map((f) => f.ended)), "the end of the log");
    for (const [i, from] of [1, 1, 150, 1000].entries()) assert.equal(followers[i]!.seen, range(from, last));
  });

  named("a log that is closed ends its followers when they have everything", async () => {
    const log = await open("closing");
    const waiting = follow(log);
    const late = log.readBatches({ follow: true })[Symbol.asyncIterator]();
    for (let i = 0; i < 300; i++) log.write("x".repeat(20));
    assert.equal((await late.next()).done, false);
    await log.close();
    await within(waiting.ended);
    assert.equal(waiting.seen, range(1, 300));
    // Whoever began before the close may read to the end behind it; whoever begins now is told.
    for (let next = await late.next(); !next.done; next = await late.next());
    await refused(log.read({ follow: true })[Symbol.asyncIterator]().next(), "COREWAL_CLOSED");
  });

  named("return() ends a next() that waits, and break ends the loop", async () => {
    const log = await open("return");
    await log.append("one");
    const readings: AsyncIterable<unknown>[] = [log.read({ follow: true }), log.readBatches({ follow: true })];
    for (const iterator of readings.map((reading) => reading[Symbol.asyncIterator]())) {
      await iterator.next();
      const waiting = [iterator.next(), iterator.next()];
      assert.not.ok(await settled(waiting[0]!));
      assert.equal(await within(iterator.return!()), { done: true, value: undefined });
      for (const next of waiting) assert.equal(await within(next), { done: true, value: undefined });
      assert.equal(await within(iterator.next()), { done: true, value: undefined });
    }
    let seen = 0;
    for await (const entry of log.read({ follow: true })) {
      seen = entry.lsn;
      if (seen === 3) break;
      void log.append("another");
    }
    assert.is(seen, 3);
    await log.close();
  });

  named("abort ends a next() that waits, with the reason, and one that comes later", async () => {
    const log = await open("abort");
    await log.append("one");
    const controller = new AbortController();
    const reason = new Error("enough");
    const { seen, ended } = follow(log, { signal: controller.signal });
    assert.not.ok(await settled(ended));
    controller.abort(reason);
    assert.is((await refused(ended, "COREWAL_ABORTED")).cause, reason);
    assert.equal(seen, [1]);
    await refused(follow(log, { signal: controller.signal }).ended, "COREWAL_ABORTED");
    await log.append("the log goes on");
    await log.close();
  });

  named("calls of next() that are made at once are answered in order", async () => {
    const log = await open("at once");
    const iterator = log.read({ follow: true })[Symbol.asyncIterator]();
    const asked = Array.from({ length: 100 }, () => iterator.next());
    await log.appendBatch(Array.from({ length: 60 }, () => "x"));
    await log.append("x");
    asked.push(iterator.next());
    for (let i = 0; i < 50; i++) await log.append("x");
    const got = (await within(Promise.all(asked))).map((r) => (r.value as Entry).lsn);
    assert.equal(got, range(1, 101));
    await iterator.return!();
    await log.close();
  });

  named("a waiting follower keeps the process alive until it ends, an ended one does not", async () => {
    const task: ExitTask = { directory: freshPath("exit"), what: "follower", options: { flusher } };
    const end = await within(startProcess("exit-case", task).ended);
    assert.is(end.code, 0, end.err);
    assert.is(end.out, "1\n2\nended\n");
  });
}

test("a follower in the thread of an appending loop lets everything else have its turn", async () => {
  const log = await openLog(freshPath("busy"), SMALL);
  await log.append("first");
  let ticks = 0;
  let batches = 0;
  let timer: NodeJS.Timeout | undefined;
  // There is always more: without a pause the timer would never come.
  for await (const entries of log.readBatches({ follow: true })) {
    batches += Math.min(entries.length, 1);
    timer ??= setInterval(() => ticks++, 1);
    log.appendSync("more");
    if (ticks > 3 || batches > 3000) break;
  }
  clearInterval(timer);
  assert.ok(ticks > 3, `${batches} batches and ${ticks} ticks`);
  await log.close();
});

test("a poisoned log ends its followers with the cause, when they have what was durable", async () => {
  for (const manual of [true, false]) {
    const storage = new WatchedStorage();
    const log = await openInline(freshPath("poison"), SMALL, { storage, manual });
    const get = <T>(promise: Promise<T>): Promise<T> => (manual ? drive(log, promise) : promise);
    const waiting = follow(log);
    const idle = log.read({ follow: true })[Symbol.asyncIterator]();
    await get(log.append("durable"));
    assert.is(((await idle.next()).value as Entry).lsn, 1);
    storage.before = ({ what }) => {
      if (what === "sync") throw systemError("EIO");
    };
    await refused(get(log.append("lost")), "COREWAL_OUTCOME_UNKNOWN");
    const error = await refused(waiting.ended, "COREWAL_POISONED");
    assert.is((error.cause as { code?: string }).code, "COREWAL_IO");
    assert.equal(waiting.seen, [1]);
    await refused(idle.next(), "COREWAL_POISONED");
    const late = follow(log);
    await refused(late.ended, "COREWAL_POISONED");
    assert.equal(late.seen, [1]);
    await refused(log.close(), "COREWAL_POISONED");
  }
});

test("the flusher's death ends a waiting follower with the cause", async () => {
  const log = await openLog(freshPath("death"), SMALL);
  await log.append("durable");
  const { seen, ended } = follow(log);
  await until(() => seen.length === 1, "the first entry");
  await (log as unknown as { parts: { workers: [{ terminate(): Promise<void> }] } }).parts.workers[0].terminate();
  await refused(ended, "COREWAL_POISONED");
  await log.close().catch(() => {});
});

test("a follower sees nothing before its fsync returned", async () => {
  const storage = new WatchedStorage();
  const log = await openInline(freshPath("early"), SMALL, { storage, manual: true });
  const { seen, ended } = follow(log);
  await drive(log, log.append("one"));
  await until(() => seen.length === 1, "the first entry");
  let during: number[] | undefined;
  storage.before = ({ what }) => {
    if (what === "sync") during = [...seen];
  };
  const appended = log.append("two");
  await new Promise(setImmediate);
  assert.equal(seen, [1]);
  while (log.durableLsn < 2) pump(log);
  assert.equal(during, [1]);
  await appended;
  await until(() => seen.length === 2, "the second entry");
  await drive(log, log.close());
  await ended;
});

test("replay follows too; wrong options are refused", async () => {
  const log = await openLog(freshPath("options"), SMALL);
  await log.append("one");
  const texts: string[] = [];
  for await (const entry of log.replay({ follow: true, to: 2 })) {
    texts.push(textOf(entry));
    if (texts.length === 1) void log.append("two");
  }
  assert.equal(texts, ["one", "two"]);
  assert.equal(await within(log.read({ follow: true, from: 5, to: 4 })[Symbol.asyncIterator]().next()), { done: true, value: undefined });
  for (const follow of [1, "yes", null, {}])
    await refused(() => log.read({ follow } as ReadOptions), "COREWAL_INVALID_OPTION", /follow .*true or false/);
  await log.close();
});

test.after(endSoon);
test.run();
