// truncateAfter: the end is cut off, writers are fenced, LSNs are given again under a higher term.

import { randomBytes } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { cutLog } from "../src/cut.js";
import { attachLog, openLog, verifyLog, type Log, type LogOptions, type SegmentStats } from "../src/index.js";
import { openLogWith } from "../src/log.js";
import { nodeStorage } from "../src/storage/node.js";
import { environment, pump, WatchedStorage } from "./support/environment.js";
import { endSoon, readAll, refused, textOf, until, within } from "./support/expect.js";
import { holedLog } from "./support/holed-log.js";
import { freshPath } from "./support/scratch.js";

test.after(endSoon);

const SMALL: LogOptions = { stripes: 4, ringBytes: 4096, segmentBytes: 16384 };
const open = (directory: string, options: LogOptions = {}): Promise<Log> => openLog(directory, { ...SMALL, ...options });
const line = (i: number): string => `${i}`.padEnd(100, "x");

/** Batches of several entries, so that cuts go through frames, in several segments. */
async function fill(log: Log, count: number): Promise<void> {
  for (let i = 1; i <= count; i += 5) await log.appendBatch(Array.from({ length: 5 }, (_, n) => line(i + n)));
}

test("at every place of a log of several segments: what is before stays byte for byte, what comes after is new", async () => {
  const whole = freshPath("cut");
  const log = await open(whole);
  await fill(log, 400);
  const before = await readAll(log);
  let now = log;
  const segments = (await log.segments()).length;
  assert.ok(segments > 3);
  const term = log.recovery.term;
  // From the end to the beginning, through frames and at their ends, in every segment.
  let cuts = 0;
  for (let lsn = 399; lsn >= 0; lsn -= lsn > 390 || lsn < 12 ? 1 : 7, cuts++) {
    const writer = await attachLog(now.handle);
    now = await within(now.truncateAfter(lsn));
    await refused(writer.append("too late"), "COREWAL_CLOSED");
    assert.is(now.durableLsn, lsn);
    assert.is(now.recovery.lastLsn, lsn);
    const there = await readAll(now);
    assert.equal(there, before.slice(0, lsn), `${lsn}`);
  }
  assert.ok(cuts > 60);
  assert.ok(now.recovery.term > term + cuts);
  assert.is(await now.append("again"), 1);
  const [again] = await readAll(now);
  assert.ok(again!.term > term);
  await now.close();
  assert.equal((await verifyLog(whole)).faults, []);
  assert.ok(readdirSync(whole).filter((name) => name.includes(".wal")).length < 10, "what was cut off is removed");
});

test("a cut through the log, and on: appended, reopened, verified", async () => {
  const directory = freshPath("cut");
  let log = await open(directory);
  for (let round = 0; round < 6; round++) {
    await fill(log, 100);
    log = await log.truncateAfter(log.durableLsn - 33 - round);
    const last = log.durableLsn;
    assert.is(await log.append(`round ${round}`), last + 1);
    if (round % 2 === 0) continue;
    await log.close();
    assert.equal((await verifyLog(directory)).faults, []);
    log = await open(directory);
    assert.is(log.durableLsn, last + 1);
    assert.is(textOf((await log.get(last + 1))!), `round ${round}`);
  }
  const lsns = (await readAll(log)).map(({ lsn }) => lsn);
  assert.equal(
    lsns,
    Array.from({ length: log.durableLsn }, (_, i) => i + 1),
  );
  await log.close();
});

test("per-core: each chain by itself, those that are not named stay", async () => {
  const directory = freshPath("cut");
  const log = await open(directory, { topology: "per-core" });
  const other = await attachLog(log.handle);
  await fill(log, 50);
  for (let i = 0; i < 40; i++) await other.append(line(i));
  await log.advanceEpoch();
  const before = await readAll(log);
  const cut = await log.truncateAfter([17]);
  assert.equal(cut.positions().slice(0, 2), [17, 40]);
  const kept = before.filter(({ core, lsn }) => core === 1 || lsn <= 17);
  assert.equal(await readAll(cut), kept);
  const both = await cut.truncateAfter({ core: 1, lsn: 3 });
  assert.equal(both.positions().slice(0, 2), [17, 3]);
  await refused(both.truncateAfter(3), "COREWAL_TOPOLOGY");
  await both.append("on");
  await both.close();
  assert.equal((await verifyLog(directory)).faults, []);
  const again = await open(directory);
  assert.equal(
    again.recovery.cores.map(({ lastLsn }) => lastLsn),
    [18, 3],
  );
  await again.close();
});

test("checkpoints that hold what is cut go first; a log that needs them is not cut so far; places outside are refused", async () => {
  const directory = freshPath("cut");
  let log = await open(directory, { checkpoints: { keep: 3 } });
  await fill(log, 300);
  await log.checkpoint(({ write }) => write("three hundred"));
  await fill(log, 100);
  await log.checkpoint(({ write }) => write("four hundred"));
  await fill(log, 5);
  log = await log.truncateAfter(350);
  assert.equal(
    (await log.checkpoints()).map(({ lsn }) => lsn),
    [300],
  );
  assert.is((await log.readCheckpoint())!.lsn, 300);
  await log.truncateBefore(301);
  const { firstLsn } = log;
  assert.ok(firstLsn > 1);
  await refused(log.truncateAfter(299), "COREWAL_OUT_OF_WINDOW", /every checkpoint holds entries/);
  await refused(log.truncateAfter(firstLsn - 2), "COREWAL_OUT_OF_WINDOW", new RegExp(`begins with LSN ${firstLsn}`));
  await refused(log.truncateAfter(351), "COREWAL_INVALID_INPUT", /ends with LSN 350/);
  await refused(log.truncateAfter(-1), "COREWAL_INVALID_INPUT");
  await refused(log.truncateAfter("7" as never), "COREWAL_INVALID_INPUT");
  assert.is(await log.append("it is still open"), 351);
  log = await log.truncateAfter(320);
  assert.is(log.firstLsn, firstLsn);
  await log.close();
  await refused(log.truncateAfter(1), "COREWAL_CLOSED");
  const readOnly = await open(directory, { readOnly: true });
  await refused(readOnly.truncateAfter(1), "COREWAL_READ_ONLY");
  await readOnly.close();
  assert.equal((await verifyLog(directory)).faults, []);
});

test("damage before the cut, in the segment that it goes through: refused, and nothing is changed; a cut before it takes it away", async () => {
  const directory = freshPath("cut");
  let log = await open(directory);
  for (let i = 1; i <= 300; i++) await log.append(line(i));
  const before = await readAll(log);
  const [{ path, lastLsn }] = (await log.segments()) as [SegmentStats];
  // What goes first, when a log is cut.
  await log.checkpoint(({ write }) => write("three hundred"));
  await log.close();
  const bytes = readFileSync(path);
  bytes[bytes.indexOf(line(30)) + 50]! ^= 1;
  writeFileSync(path, bytes);
  const files = (): [string, Buffer][] =>
    readdirSync(directory)
      .filter((name) => /\.(wal|ckp)$/.test(name))
      .map((name) => [name, readFileSync(join(directory, name))]);
  const whole = files();
  for (const lsn of [lastLsn - 1, lastLsn - 2, 40, 30]) {
    assert.throws(() => cutLog(nodeStorage, directory, [lsn], { now: Date.now, randomBytes }), /LSN 30 was durable/);
    assert.equal(files(), whole, `${lsn}`);
  }
  // The footer hides the damage from an open.
  log = await open(directory);
  await refused(log.truncateAfter(40), "COREWAL_CORRUPT", /LSN 30 was durable/);
  await refused(log.append("closed"), "COREWAL_CLOSED");
  log = await open(directory);
  assert.equal(await readAll(log, { from: lastLsn + 1 }), before.slice(lastLsn));
  assert.is((await log.readCheckpoint())!.lsn, 300);
  log = await log.truncateAfter(29);
  assert.equal(await readAll(log), before.slice(0, 29));
  await log.close();
  assert.equal((await verifyLog(directory)).faults, []);
});

test("holes stay, and one that is cut through is made shorter; what a repair has lost is said as far as the log goes", async () => {
  const directory = freshPath("cut");
  await holedLog(directory);
  let log = await openLog(directory);
  const all = await readAll(log);
  for (const last of [7, 6, 5, 4, 3]) {
    log = await log.truncateAfter(last);
    assert.equal(
      await readAll(log),
      all.filter(({ lsn }) => lsn <= last),
    );
    await log.close();
    const { lost, faults } = await verifyLog(directory);
    assert.equal(faults, []);
    assert.equal(lost, last < 4 ? [] : [{ first: 4, last: Math.min(last, 6) }]);
    log = await openLog(directory);
    assert.is(log.recovery.lastLsn, last);
  }
  assert.is(await log.append("next"), 4);
  await log.close();
});

test("one cut at a time, and none beside a close: whoever comes second is refused, and the log is cut once", async () => {
  const directory = freshPath("cut");
  const log = await open(directory);
  await fill(log, 20);
  const first = log.truncateAfter(10);
  await refused(log.truncateAfter(5), "COREWAL_CLOSED");
  const cut = await within(first);
  assert.is(cut.durableLsn, 10);
  const closing = cut.close();
  await refused(cut.truncateAfter(5), "COREWAL_CLOSED");
  await closing;
  const again = await open(directory);
  assert.is(again.durableLsn, 10);
  await again.close();
});

test("a checkpoint that is being made when the log is cut never is, also where it waits for its state", async () => {
  const directory = freshPath("cut");
  const log = await open(directory, { checkpoints: { keep: 1 } });
  await fill(log, 60);
  await log.checkpoint(({ write }) => write("sixty"));
  await fill(log, 20);
  let go = (): void => undefined;
  const making = log.checkpoint(async ({ write }) => {
    await new Promise<void>((resolve) => (go = resolve));
    await write("eighty");
  });
  while (!readdirSync(directory).includes("checkpoint-0000000002.ckp.new")) await new Promise((resolve) => setTimeout(resolve, 1));
  const cut = within(log.truncateAfter(70));
  await within(Promise.all([refused(making, "COREWAL_CLOSED"), cut.then(() => go())]));
  assert.is((await (await cut).readCheckpoint())?.number, 1);
  await (await cut).close();
});

test("who follows in another process is told that what he read is gone, and where; who was not so far reads on", async () => {
  for (const cut of [398, 390, 250, 0]) {
    const directory = freshPath("cut");
    const log = await open(directory);
    await fill(log, 400);
    const reader = await open(directory, { readOnly: true });
    let last = 0;
    const follow = async (): Promise<void> => {
      for await (const entry of reader.read({ follow: true })) last = entry.lsn;
    };
    const told = refused(follow(), "COREWAL_READER_CUT");
    await until(() => last === 400, "everything to be read");
    assert.ok((await log.segments()).length > 3);
    const next = await log.truncateAfter(cut);
    assert.is((await told).lsn, cut);
    await reader.close();

    // One that stands at the cut.
    const late = await open(directory, { readOnly: true });
    const seen: number[] = [];
    const stop = new AbortController();
    const reading = async (): Promise<void> => {
      for await (const { lsn } of late.read({ follow: true, signal: stop.signal })) seen.push(lsn);
    };
    const stopped = refused(reading(), "COREWAL_ABORTED");
    await until(() => seen.length === cut, "everything to be read");
    await next.append("new");
    const again = await next.truncateAfter(cut + 1);
    await again.append("newer");
    await until(() => seen.at(-1) === cut + 2, "what is new to be read");
    stop.abort();
    await stopped;
    await late.close();
    await again.close();
  }
});

test("a follower that stood before the cut goes on in the segment that continues, whatever its number", async () => {
  const directory = freshPath("cut");
  const log = await open(directory);
  await fill(log, 5);
  const reader = await openLogWith(directory, { readOnly: true }, environment({ manual: true }));
  const seen: number[] = [];
  const reading = (async () => {
    for await (const { lsn } of reader.read({ follow: true })) seen.push(lsn);
  })();
  await until(() => (pump(reader), seen.length === 5), "what was there to be read");
  // Segments come and go before it looks again.
  await fill(log, 300);
  assert.ok((await log.segments()).length > 2);
  const cut = await log.truncateAfter(20);
  assert.is(await cut.append("new"), 21);
  await cut.close();
  await until(() => (pump(reader), seen.length === 21), "what is new to be read");
  assert.equal(
    seen,
    Array.from({ length: 21 }, (_, i) => i + 1),
  );
  await reader.close();
  await reading;
});

test("whoever opens the log for reading just while it is cut looks again", async () => {
  const directory = freshPath("cut");
  const log = await open(directory);
  await fill(log, 400);
  await log.close();
  const chance = { now: () => Date.now(), randomBytes: (n: number) => randomBytes(n) };
  for (const at of [1, 2, 3]) {
    const storage = new WatchedStorage();
    const lsn = 300 - at * 90;
    let opened = 0;
    storage.before = ({ what }) => {
      if (what === "open" && ++opened === at) cutLog(nodeStorage, directory, [lsn], chance);
    };
    const reader = await openLogWith(directory, { readOnly: true }, environment({ storage }));
    assert.ok(opened > at);
    assert.is((await readAll(reader)).length, lsn);
    await reader.close();
  }
});

test.run();
