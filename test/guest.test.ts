// The opener's thread flushing for itself while the flusher's worker sleeps: the same promises as any other
// flush, and the two never at once. Its crashes are the simulator's.

import { Worker } from "node:worker_threads";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { openLogWith } from "../src/log.js";
import { openLog, verifyLog } from "../src/index.js";
import { environment, systemError, WatchedStorage } from "./support/environment.js";
import { endSoon, readAll, refused, texts, until } from "./support/expect.js";
import { freshPath } from "./support/scratch.js";

const SMALL = { ringBytes: 65_536, segmentBytes: 262_144, stripes: 4 };

/** The guest's own steps: a worker flusher works on the real storage, unseen. */
test("invariant 1: when appendSync returns after a write of its own, an fsync of its own came behind it", async () => {
  const storage = new WatchedStorage();
  const log = await openLogWith(freshPath("guest"), { ...SMALL }, environment({ storage }));
  let own = 0;
  for (let i = 1; i <= 400; i++) {
    const writes = storage.count("write");
    assert.is(log.appendSync(`entry ${i}`), i);
    assert.is(log.durableLsn, i);
    assert.not.ok(
      storage.unsynced().some((name) => name.endsWith(".wal")),
      `after ${i}`,
    );
    if (storage.count("write") > writes) own++;
  }
  assert.ok(own > 50, `the opener flushed ${own} of 400 times for itself`);
  assert.is(log.stats().entries, 400);
  assert.equal(
    await texts(log),
    Array.from({ length: 400 }, (_, i) => `entry ${i + 1}`),
  );
  await log.close();
});

test("a file of the guest's that cannot be closed keeps close() from nothing: it is fsynced, and the lock goes back", async () => {
  const storage = new WatchedStorage();
  const directory = freshPath("guest-close");
  const log = await openLogWith(directory, { ...SMALL }, environment({ storage }));
  let lsn = 0;
  while (storage.count("write") === 0) lsn = log.appendSync("until the guest has a file");
  let refusals = 0;
  storage.before = ({ what }) => {
    if (what !== "close") return;
    refusals++;
    throw systemError("EIO");
  };
  await log.close();
  assert.is(refusals, 1);
  const again = await openLog(directory);
  assert.ok(again.recovery.clean);
  assert.is(again.recovery.lastLsn, lsn);
  await again.close();
});

test("with other writers, rotations and rests in between: every entry once, in order, and the footers agree", async () => {
  const directory = freshPath("guest-many");
  const log = await openLog(directory, SMALL);
  const source = `
    const { workerData, parentPort } = require("node:worker_threads");
    (async () => {
      const { attachLog } = await import(workerData.index);
      const writer = await attachLog(workerData.handle);
      for (let i = 0; i < 1500; i++) {
        const append = writer.append("worker " + workerData.id + " " + i + " ".repeat(i % 700));
        if (i % 7 === 0) await append;
        if (i % 300 === 0) await new Promise((resolve) => setTimeout(resolve, 20));
      }
      await writer.close();
    })();`;
  const index = new URL("../src/index.js", import.meta.url).href;
  let running = 2;
  for (const id of [1, 2]) new Worker(source, { eval: true, workerData: { handle: log.handle, id, index } }).once("exit", () => running--);
  let mine = 0;
  while (running > 0 || mine < 1500) {
    const lsn = log.appendSync(`opener ${mine++} ${"x".repeat(mine % 900)}`);
    assert.ok(log.durableLsn >= lsn);
    if (mine % 50 === 0) await new Promise((resolve) => setTimeout(resolve, mine % 400 === 0 ? 15 : 0));
  }
  await log.close();
  const report = await verifyLog(directory);
  assert.equal(report.faults, []);
  assert.ok(report.clean && report.segments > 3);
  const again = await openLog(directory, { readOnly: true });
  const next = new Map<string, number>();
  let count = 0;
  for (const { lsn, value } of await readAll(again)) {
    assert.is(lsn, ++count);
    const [, who, number] = /^(opener|worker \d) (\d+)/.exec(Buffer.from(value).toString())!;
    assert.is(Number(number), next.get(who!) ?? 0, who);
    next.set(who!, Number(number) + 1);
  }
  assert.equal([...next.entries()].sort(), [
    ["opener", mine],
    ["worker 1", 1500],
    ["worker 2", 1500],
  ]);
  await again.close();
});

test("the flusher proves what its guest wrote, soon and unasked", async () => {
  const directory = freshPath("guest-proof");
  const log = await openLog(directory, SMALL);
  await log.append("the first makes the segment");
  await new Promise((resolve) => setTimeout(resolve, 50)); // the flusher has lain down for good
  const lsn = log.appendSync("by the guest");
  let seen = 0;
  // Another reader believes the promises in the file only.
  await until(() => (void verifyLog(directory).then((r) => (seen = r.lastLsn)), seen === lsn), "the proof", 10_000);
  await log.close();
});

test("invariant 6: a failed fsync of the guest poisons, nothing is retried, and the log opens again", async () => {
  const directory = freshPath("guest-fault");
  const storage = new WatchedStorage();
  const log = await openLogWith(directory, SMALL, environment({ storage }));
  let failures = 0;
  storage.before = ({ what, name }) => {
    if (what !== "sync" || !name.endsWith(".wal")) return;
    failures++;
    throw Object.assign(new Error("EIO: i/o error, fdatasync"), { code: "EIO" });
  };
  let written = 0;
  const failure = await refused(() => {
    for (;;) {
      log.appendSync(`entry ${written + 1}`);
      written++;
    }
  }, "COREWAL_OUTCOME_UNKNOWN");
  assert.is(failures, 1);
  assert.is(failure.lsn, written + 1);
  await refused(log.append("x"), "COREWAL_POISONED");
  await refused(log.close(), "COREWAL_POISONED");
  storage.before = () => {};
  const again = await openLog(directory, SMALL);
  assert.ok(again.recovery.lastLsn >= written);
  assert.is(again.appendSync("more"), again.recovery.lastLsn + 1);
  await again.close();
  assert.ok((await verifyLog(directory)).ok);
});

test.after(endSoon);
test.run();
