// A new log that holds what another one held up to some point. Real files; interruptions by a storage that throws.

import { randomBytes } from "node:crypto";
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, unlinkSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { test } from "uvu";
import * as assert from "uvu/assert";
import {
  attachLog,
  openLog,
  restoreLog,
  statLog,
  verifyLog,
  type Entry,
  type Log,
  type LogOptions,
  type RestoreOptions,
  type RestoreReport,
} from "../src/index.js";
import { cutLog } from "../src/cut.js";
import { readFooter, seal } from "../src/footer.js";
import { restoreLogOn } from "../src/restore.js";
import { readSegmentHeader } from "../src/segment.js";
import { nodeStorage } from "../src/storage/node.js";
import { environment, WatchedStorage } from "./support/environment.js";
import { endSoon, readAll, refused, textOf } from "./support/expect.js";
import { holedLog } from "./support/holed-log.js";
import { readLog } from "./support/independent-reader.js";
import { freshDirectory, freshPath } from "./support/scratch.js";

test.after(endSoon);

const SMALL: LogOptions = { stripes: 4, ringBytes: 4096, segmentBytes: 16384 };
const open = (directory: string, options: LogOptions = {}): Promise<Log> => openLog(directory, { ...SMALL, ...options });
const line = (i: number): string => `entry ${i} `.padEnd(300, "x");

/** Frames of one to four entries. */
async function fill(log: Log, from: number, to: number): Promise<void> {
  for (let i = from; i <= to; i += 4)
    await log.appendBatch(
      Array.from({ length: Math.min(4, to - i + 1) }, (_, k) =>
        k === 1 ? { kind: "put", key: `k${i}`, value: line(i + k) } : line(i + k),
      ),
    );
}

/** Everything that an entry is, its log's secrets aside. */
async function contents(directory: string, internal = false): Promise<Entry[]> {
  const log = await openLog(directory, { readOnly: true });
  try {
    return await readAll(log, { internal });
  } finally {
    await log.close();
  }
}

const filesOf = (directory: string): Map<string, Uint8Array> =>
  new Map(readdirSync(directory).map((name) => [name, new Uint8Array(readFileSync(join(directory, name)))]));

/** Restores, and looks at the result in every way there is. `expected` are the user's entries. */
async function restored(
  directory: string,
  options: Omit<RestoreOptions, "out">,
  expected: Entry[],
): Promise<{ out: string; report: RestoreReport }> {
  const before = filesOf(directory);
  const out = freshPath("restored");
  const plan = await restoreLog(directory, { ...options, out, dryRun: true });
  assert.is(existsSync(out), false, "a dry run writes nothing");
  const report = await restoreLog(directory, { ...options, out });
  assert.equal({ ...report, dryRun: true }, plan, "a dry run says what comes");
  assert.equal(filesOf(directory), before, "the source is not changed");
  assert.equal(await contents(out), expected);
  const bytes = expected.reduce((sum, { key, value }) => sum + (key?.length ?? 0) + value.length, 0);
  assert.equal([report.entries, report.bytes], [expected.length, bytes]);

  const verified = await verifyLog(out);
  assert.equal(verified.faults, []);
  assert.equal([verified.ok, verified.clean], [true, true]);
  assert.equal(
    verified.cores.map(({ core, firstLsn, lastLsn }) => ({ core, firstLsn, lastLsn })),
    report.cores,
  );
  const independent = readLog(filesOf(out));
  assert.is(independent.answer, "clean", JSON.stringify(independent.bad));
  assert.equal(
    independent.entries
      .filter(({ kind }) => ["data", "put", "delete", "commit"].includes(kind))
      .map(({ lsn, value }) => [lsn, Buffer.from(value).toString()]),
    expected.map((entry) => [entry.lsn, textOf(entry)]),
  );
  assert.equal(
    readdirSync(out).filter((name) => !/^(\d{3}-\d{10}\.wal|checkpoint-\d{10}\.ckp|corewal\.lock\.\d{10})$/.test(name)),
    [],
  );
  const stat = await statLog(out);
  assert.equal([stat.restoredFrom, stat.epoch], [report.sourceLogId, report.epoch]);
  for (const [i, segment] of stat.segments.entries()) {
    const last = stat.segments[i + 1]?.core !== segment.core;
    assert.equal([segment.sealed, segment.continued], [true, !last]);
    assert.ok(segment.endOffset <= SMALL.segmentBytes!, "segments are as large as the source's");
  }
  assert.is.not(
    Buffer.from(
      readFileSync(
        join(
          out,
          readdirSync(out).find((name) => name.endsWith(".wal"))!,
        ),
      ).subarray(32, 48),
    ).toString("hex"),
    report.sourceLogId,
  );
  return { out, report };
}

test("striped, to each LSN: a frame that is wanted in part is cut at the entry", async () => {
  const directory = freshPath("source");
  let log = await open(directory);
  await fill(log, 1, 60);
  await log.close();
  log = await open(directory);
  await fill(log, 61, 120);
  const { logId } = { logId: Buffer.from(readFileSync(join(directory, "000-0000000001.wal")).subarray(32, 48)).toString("hex") };
  await log.close();
  const all = await contents(directory);
  assert.ok((await statLog(directory)).segments.length > 3);
  for (const lsn of [1, 2, 3, 4, 5, 58, 60, 61, 62, 119, 120]) {
    const { report } = await restored(directory, { toLsn: lsn }, all.slice(0, lsn));
    assert.equal(report.cores, [{ core: 0, firstLsn: 1, lastLsn: lsn }]);
    assert.is(report.sourceLogId, logId);
    assert.equal([report.window.first.positions, report.window.last.positions], [[0], [120]]);
    assert.ok(Math.abs(report.lastTimeMs! - all[lsn - 1]!.timestampMs) < 0.001);
  }
  await restored(directory, {}, all);
});

test("it goes on where it ends, says where it came from, and can itself be restored", async () => {
  const directory = freshPath("source");
  const log = await open(directory);
  await fill(log, 1, 30);
  await log.close();
  const all = await contents(directory);
  const { out, report } = await restored(directory, { toLsn: 10 }, all.slice(0, 10));
  const again = await open(out);
  assert.is(again.recovery.restoredFrom, report.sourceLogId);
  assert.equal([again.recovery.clean, again.recovery.lastLsn, again.recovery.term], [true, 10, 2]);
  assert.is(await again.append("new"), 11);
  assert.equal((await again.get(11))!.term, 2);
  await again.close();
  const second = await open(out);
  assert.is(second.recovery.restoredFrom, report.sourceLogId, "later segments say it, too");
  await second.close();
  assert.is((await open(directory)).recovery.restoredFrom, undefined);
  const twice = await restored(out, { toLsn: 11 }, await contents(out));
  assert.is.not(twice.report.sourceLogId, report.sourceLogId);
});

test("the next term is one that the source has not had either, though the entries that had it are gone", async () => {
  const directory = freshPath("source");
  for (const from of [1, 5, 9]) {
    const log = await open(directory);
    await fill(log, from, from + 3);
    await log.close();
  }
  const { out } = await restored(directory, { toLsn: 2 }, (await contents(directory)).slice(0, 2));
  const log = await open(out);
  assert.is(log.recovery.term, 4);
  await log.close();
});

test("a log that was not closed is restored up to its valid end, and the new one is closed properly", async () => {
  for (const topology of ["striped", "per-core"] as const) {
    const directory = freshPath("source");
    const log = await open(directory, { topology });
    await fill(log, 1, 70);
    const copy = freshDirectory("copy");
    for (const name of readdirSync(directory)) if (name.endsWith(".wal")) copyFileSync(join(directory, name), join(copy, name));
    await log.close();
    assert.is((await statLog(copy)).clean, false);
    const all = await contents(copy);
    assert.is(all.length, 70);
    await restored(copy, {}, all);
    await restored(copy, { toLsn: topology === "striped" ? 69 : [69] }, all.slice(0, 69));
  }
});

test("per-core: what an idle chain says behind its last entry does not come along where another chain is cut", async () => {
  const directory = freshPath("source");
  const log = await open(directory, { topology: "per-core" });
  await log.append("one, then idle");
  const busy = await attachLog(log.handle);
  for (let i = 1; i <= 5; i++) await busy.append(line(i));
  const { timestampMs } = (await readAll(log)).at(-3)!;
  for (let epoch = 1; epoch <= 3; epoch++) {
    await log.advanceEpoch();
    await busy.append(line(5 + epoch));
  }
  await busy.close();
  await log.close();
  const all = await contents(directory);
  for (const target of [{ toLsn: [1, 3] }, { toTimeMs: timestampMs }, { toEpoch: 0 }]) {
    const kept = all.filter(({ core, lsn }) => core === 0 || lsn <= ("toEpoch" in target ? 5 : 3));
    const { out, report } = await restored(directory, target, kept);
    assert.is(report.epoch, 0);
    const epochs = readLog(filesOf(out)).segments.flatMap(({ frames }) => frames.map(({ epoch }) => epoch));
    assert.ok(epochs.every((epoch) => epoch === 0));
  }
});

test("per-core: the time of a frame that is cut is that of the newest entry that is kept", async () => {
  const directory = freshPath("source");
  const log = await open(directory, { topology: "per-core", durability: "async", flushIntervalMs: 10_000 });
  for (let i = 1; i <= 6; i++) {
    log.write(line(i));
    await sleep(1);
  }
  await log.close();
  const all = await contents(directory);
  const [segment] = readLog(filesOf(directory)).segments;
  assert.is(segment!.frames.filter(({ entries }) => entries > 1).length, 1, "one frame");
  for (const lsn of [1, 3, 6]) {
    const { out, report } = await restored(directory, { toLsn: [lsn] }, all.slice(0, lsn));
    const { timestampMs } = all[lsn - 1]!;
    assert.is(report.lastTimeMs, timestampMs);
    assert.is(Number(readLog(filesOf(out)).segments[0]!.footer!.times[1]) / 1e6, timestampMs);
  }
});

test("a footer that announces something else than there is, is damage", async () => {
  const directory = freshPath("source");
  const log = await open(directory);
  await fill(log, 1, 10);
  await log.close();
  const file = nodeStorage.open(join(directory, "000-0000000001.wal"), "write");
  const header = readSegmentHeader(file);
  const footer = readFooter(file, header)!;
  seal(file, header, footer.endOffset, { ...footer, entries: footer.entries + 1 });
  file.close();
  await refused(
    restoreLog(directory, { out: freshPath("never") }),
    "COREWAL_CORRUPT",
    /announce 11 entries up to LSN 10, and there are 10/,
  );
});

test("to a time: up to the last entry that is not later, in each topology", async () => {
  for (const topology of ["striped", "per-core"] as const) {
    const directory = freshPath("source");
    const log = await open(directory, { topology });
    const other = await attachLog(log.handle);
    for (let i = 1; i <= 12; i++) {
      await (i % 3 === 0 ? other : log).append(line(i));
      await sleep(2);
    }
    await other.close();
    await log.close();
    const all = await contents(directory);
    for (const n of [1, 5, 6, 11, 12]) {
      const toTimeMs = all[n - 1]!.timestampMs;
      const { report } = await restored(directory, { toTimeMs }, all.slice(0, n));
      assert.is(report.lastTimeMs, toTimeMs);
      await restored(directory, { toTimeMs: toTimeMs + 0.5 > report.window.last.timeMs! ? toTimeMs : toTimeMs + 0.5 }, all.slice(0, n));
    }
    const out = freshPath("never");
    const { window } = await restoreLog(directory, { out, dryRun: true });
    assert.equal([window.first.timeMs, window.last.timeMs], [all[0]!.timestampMs, all[11]!.timestampMs]);
    await refused(
      restoreLog(directory, { out, toTimeMs: all[0]!.timestampMs - 1 }),
      "COREWAL_OUT_OF_WINDOW",
      /before what can be restored.*goes from \(LSN/,
    );
    await refused(
      restoreLog(directory, { out, toTimeMs: all[11]!.timestampMs + 1000 }),
      "COREWAL_OUT_OF_WINDOW",
      /nobody knows.*goes from \(LSN/,
    );
    assert.is(existsSync(out), false, "what is refused leaves nothing");
  }
});

test("per-core: a vector cuts each chain by itself, an epoch all of them; chains without entries stay", async () => {
  const directory = freshPath("source");
  const log = await open(directory, { topology: "per-core" });
  await fill(log, 1, 21);
  const b = await attachLog(log.handle);
  for (let i = 1; i <= 30; i++) await b.append(line(1000 + i));
  assert.is(await log.advanceEpoch(), 1);
  await fill(log, 22, 40);
  await log.advanceEpoch();
  const c = await attachLog(log.handle);
  for (let i = 1; i <= 5; i++) await c.append(line(2000 + i));
  await fill(log, 41, 50);
  await Promise.all([b.close(), c.close()]);
  await log.close();
  const all = await contents(directory);
  const upTo = (vector: number[]): Entry[] => all.filter(({ core, lsn }) => lsn <= (vector[core] ?? 0));
  for (const vector of [[50, 30, 5], [21, 30], [7, 13, 2], [0, 29, 5], [0, 0, 0], [3]]) {
    const { out, report } = await restored(directory, { toLsn: vector }, upTo(vector));
    assert.equal(
      report.cores.map(({ lastLsn }) => lastLsn),
      [0, 1, 2].map((core) => vector[core] ?? 0),
    );
    const lame = freshDirectory("lame");
    for (const name of readdirSync(out)) if (!name.startsWith("002-")) copyFileSync(join(out, name), join(lame, name));
    await refused(openLog(lame, { readOnly: true }), "COREWAL_CORRUPT", /chain 2 has no segment/);
    const again = await open(out);
    assert.ok(again.recovery.epoch > report.epoch && report.epoch <= 2);
    const next = await again.append("next");
    assert.is(next, vector[0]! + 1);
    await again.close();
  }
  for (const epoch of [0, 1, 2]) {
    const { report } = await restored(
      directory,
      { toEpoch: epoch },
      all.filter((entry) => entry.epoch <= epoch),
    );
    assert.is(report.epoch, epoch);
  }
  const out = freshPath("never");
  await refused(restoreLog(directory, { out, toEpoch: 3 }), "COREWAL_OUT_OF_WINDOW", /epoch 3 is not complete.*epoch 2/);
  await refused(restoreLog(directory, { out, toLsn: [51, 0] }), "COREWAL_OUT_OF_WINDOW", /LSN 51 of core 0 is beyond LSN 50/);
  await refused(restoreLog(directory, { out, toLsn: [1, 1, 1, 1] }), "COREWAL_OUT_OF_WINDOW", /core 3/);
  await refused(restoreLog(directory, { out, toLsn: 5 }), "COREWAL_TOPOLOGY", /array/);
});

test("striped, to an epoch: the barrier of the next one is left out; one that goes on is not complete", async () => {
  const directory = freshPath("source");
  const log = await open(directory);
  await fill(log, 1, 9);
  await log.advanceEpoch();
  await fill(log, 10, 19);
  await log.advanceEpoch();
  await fill(log, 20, 29);
  const running = await restoreLog(directory, { out: freshPath("dry"), dryRun: true });
  assert.is(running.window.last.epoch, 1, "the epoch in which somebody writes is not complete");
  await refused(restoreLog(directory, { out: freshPath("never"), toEpoch: 2 }), "COREWAL_OUT_OF_WINDOW");
  await log.close();
  const all = await contents(directory);
  for (const epoch of [0, 1, 2]) {
    const { out, report } = await restored(
      directory,
      { toEpoch: epoch },
      all.filter((entry) => entry.epoch <= epoch),
    );
    assert.is(report.epoch, epoch);
    assert.is((await statLog(out)).epoch, epoch);
  }
});

test("holes stay, and one that is wanted in part is made shorter; what a repair has lost is still said", async () => {
  const directory = freshPath("source");
  await holedLog(directory);
  const all = await contents(directory);
  assert.equal(
    all.map(({ lsn }) => lsn),
    [1, 2, 3, 7, 8, 9, 10],
  );
  for (const toLsn of [3, 4, 5, 6, 7, 10]) {
    const { out } = await restored(
      directory,
      { toLsn },
      all.filter(({ lsn }) => lsn <= toLsn),
    );
    const { lost } = await verifyLog(out);
    assert.equal(lost, toLsn < 4 ? [] : [{ first: 4, last: Math.min(toLsn, 6) }]);
    const again = await openLog(out);
    assert.is(await again.append("next"), toLsn + 1);
    await again.close();
  }
});

/** A log whose beginning was dropped behind a checkpoint at 100, with another one at 160; the segments that went. */
async function droppedLog(
  topology: "striped" | "per-core" = "striped",
): Promise<{ directory: string; archive: string; first: number; all: Entry[] }> {
  const directory = freshPath("source");
  const archive = freshDirectory("archive");
  const log = await open(directory, { topology });
  await fill(log, 1, 100);
  await log.checkpoint((to) => to.write("state at 100"));
  await fill(log, 101, 160);
  await log.checkpoint((to) => to.write("state at 160".padEnd(200_000, ".")));
  await fill(log, 161, 200);
  const all = await readAll(log);
  for (const name of readdirSync(directory)) if (name.endsWith(".wal")) copyFileSync(join(directory, name), join(archive, name));
  const report = await log.truncateBefore(topology === "striped" ? 101 : [101]);
  assert.ok(report.segments > 0);
  const first = log.firstLsn;
  await log.close();
  return { directory, archive, first, all };
}

async function stateOf(directory: string): Promise<{ state: string; replay: number[] } | undefined> {
  const log = await openLog(directory, { readOnly: true });
  try {
    const checkpoint = await log.readCheckpoint();
    if (checkpoint === undefined) return undefined;
    const pieces: Uint8Array[] = [];
    for await (const bytes of checkpoint.stream) pieces.push(bytes);
    const replay: number[] = [];
    for await (const { lsn } of log.replay()) replay.push(lsn);
    return { state: Buffer.concat(pieces).toString(), replay };
  } finally {
    await log.close();
  }
}

for (const topology of ["striped", "per-core"] as const) {
  const lsns = (lsn: number): number | number[] => (topology === "striped" ? lsn : [lsn]);

  test(`${topology}: from a checkpoint, the newest that holds nothing behind the target`, async () => {
    const { directory, first, all } = await droppedLog(topology);
    assert.ok(first > 1 && first <= 101);
    for (const [lsn, number] of [
      [100, 1],
      [101, 1],
      [159, 1],
      [160, 2],
      [200, 2],
    ] as const) {
      const kept = all.filter((entry) => entry.lsn >= first && entry.lsn <= lsn);
      const { out, report } = await restored(directory, { toLsn: lsns(lsn) }, kept);
      assert.is(report.checkpoint!.number, number);
      assert.equal(report.window.first.positions, [100]);
      const found = (await stateOf(out))!;
      assert.match(found.state, number === 1 ? /^state at 100$/ : /^state at 160\.+$/);
      assert.equal(
        found.replay,
        all.slice(number === 1 ? 100 : 160, lsn).map((entry) => entry.lsn),
      );
      const again = await open(out);
      assert.equal([again.firstLsn, await again.append("next")], [first, lsn + 1]);
      assert.is((await again.checkpoints())[0]!.number, number);
      assert.is((await again.checkpoint((to) => to.write("more"))).number, number + 1);
      await again.close();
    }
    const out = freshPath("never");
    await refused(restoreLog(directory, { out, toLsn: lsns(99) }), "COREWAL_OUT_OF_WINDOW", /goes from \(LSN \[?100\]?, epoch 0/);
    await refused(restoreLog(directory, { out, toLsn: lsns(first - 2) }), "COREWAL_OUT_OF_WINDOW");
    await refused(restoreLog(directory, { out, toLsn: lsns(201) }), "COREWAL_OUT_OF_WINDOW", /to \(LSN \[?200/);
    await refused(restoreLog(directory, { out, toTimeMs: all[98]!.timestampMs - 5000 }), "COREWAL_OUT_OF_WINDOW");
    const { window } = await restoreLog(directory, { out, dryRun: true });
    await restored(
      directory,
      { toTimeMs: window.first.timeMs! },
      all.slice(first - 1, all.findLastIndex((e) => e.timestampMs <= window.first.timeMs!) + 1),
    );
    await restored(directory, { toEpoch: 0 }, all.slice(first - 1, 100));
    // A log that needs a checkpoint says so also when it is restored.
    const { out: copy } = await restored(directory, {}, all.slice(first - 1));
    for (const name of readdirSync(copy)) if (name.endsWith(".ckp")) writeFileSync(join(copy, name), "damaged");
    const log = await openLog(copy, { readOnly: true });
    await refused(log.readCheckpoint(), "COREWAL_CORRUPT");
    await log.close();
  });

  test(`${topology}: from an archive, further back than the log goes`, async () => {
    const { directory, archive, first, all } = await droppedLog(topology);
    for (const lsn of [1, 7, first - 1, first, 100, 130, 200]) {
      const { report } = await restored(directory, { archive, toLsn: lsns(lsn) }, all.slice(0, lsn));
      assert.is(report.cores[0]!.firstLsn, 1);
      assert.is(report.checkpoint?.number, lsn >= 160 ? 2 : lsn >= 100 ? 1 : undefined);
    }
    // With a hole in it, only what is behind the hole counts.
    const numbers = readdirSync(archive).sort();
    const holed = freshDirectory("archive");
    for (const name of numbers) if (name !== numbers[0]) copyFileSync(join(archive, name), join(holed, name));
    await refused(
      restoreLog(directory, { out: freshPath("never"), archive: holed, toLsn: lsns(50) }),
      "COREWAL_OUT_OF_WINDOW",
      /goes from \(LSN \[?100/,
    );
    const { cores } = await restoreLog(directory, { out: freshPath("dry"), archive: holed, dryRun: true });
    assert.ok(cores[0]!.firstLsn > 1 && cores[0]!.firstLsn < first);
    // One of another log is not taken for it.
    const other = freshPath("other");
    const log = await open(other, { topology });
    await fill(log, 1, 100);
    await log.close();
    await refused(restoreLog(directory, { out: freshPath("never"), archive: other }), "COREWAL_CORRUPT", /is not the one that segment/);
    await refused(restoreLog(directory, { out: freshPath("never"), archive: freshPath("none") }), "COREWAL_NOT_A_LOG", /no directory/);
  });
}

test("an archive that knows more than the log says nothing of where the log ends", async () => {
  const directory = freshPath("source");
  let log = await open(directory);
  await fill(log, 1, 60);
  await log.close();
  const early = freshDirectory("early");
  for (const [name, bytes] of filesOf(directory)) writeFileSync(join(early, name), bytes);
  log = await open(directory);
  await fill(log, 61, 120);
  await log.close();
  await restored(early, { archive: directory }, await contents(early));
});

test("dropped without a checkpoint: what is left can be restored, and what was never kept is not missed", async () => {
  const directory = freshPath("source");
  const log = await open(directory);
  await fill(log, 1, 100);
  await log.truncateBefore(80);
  const first = log.firstLsn;
  assert.ok(first > 1);
  await log.close();
  const all = await contents(directory);
  const { out } = await restored(
    directory,
    { toLsn: 90 },
    all.filter(({ lsn }) => lsn <= 90),
  );
  const again = await open(out);
  assert.is(again.firstLsn, first);
  assert.is(await again.readCheckpoint(), undefined);
  await again.close();
  await refused(restoreLog(directory, { out: freshPath("never"), toTimeMs: all[0]!.timestampMs - 1 }), "COREWAL_OUT_OF_WINDOW");
  await refused(restoreLog(directory, { out: freshPath("never"), toLsn: first - 2 }), "COREWAL_OUT_OF_WINDOW", /begin with LSN/);
});

test("a checkpoint that does not reach to the first entry does not help", async () => {
  const directory = freshPath("source");
  const log = await open(directory, { checkpoints: { keep: 1 } });
  await fill(log, 1, 100);
  const { path } = await log.checkpoint((to) => to.write("state at 100"));
  const bytes = readFileSync(path);
  await fill(log, 101, 160);
  await log.checkpoint((to) => to.write("state at 160"));
  await fill(log, 161, 200);
  await log.truncateBefore(161);
  assert.ok(log.firstLsn > 101);
  await log.close();
  writeFileSync(path, bytes);
  const all = await contents(directory);
  await refused(restoreLog(directory, { out: freshPath("never"), toLsn: 159 }), "COREWAL_OUT_OF_WINDOW", /goes from \(LSN 160/);
  const { report } = await restored(
    directory,
    { toLsn: 170 },
    all.filter(({ lsn }) => lsn <= 170),
  );
  assert.is(report.checkpoint!.number, 2);
});

test("a damaged checkpoint is passed over if it can be, damage to what is needed has its code", async () => {
  const { directory, first, all } = await droppedLog();
  const damage = (name: string, at: (bytes: Buffer) => number): void => {
    const bytes = readFileSync(join(directory, name));
    bytes[at(bytes)]! ^= 1;
    writeFileSync(join(directory, name), bytes);
  };
  damage("checkpoint-0000000002.ckp", (bytes) => bytes.length >> 1);
  const { report } = await restored(directory, {}, all.slice(first - 1));
  assert.is(report.checkpoint!.number, 1);
  damage("checkpoint-0000000001.ckp", () => 300);
  await refused(restoreLog(directory, { out: freshPath("never") }), "COREWAL_CORRUPT", /checkpoint/);

  const other = freshPath("source");
  const log = await open(other);
  await fill(log, 1, 100);
  await log.close();
  const { segments } = await statLog(other);
  const file = segments[2]!.path;
  const bytes = readFileSync(file);
  bytes[bytes.indexOf("entry ")]! ^= 1;
  writeFileSync(file, bytes);
  const out = freshPath("out");
  const error = await refused(restoreLog(other, { out }), "COREWAL_CORRUPT", /damage/);
  assert.is(error.file, file);
  assert.equal(
    readdirSync(out).filter((name) => !name.startsWith("corewal.lock")),
    [],
    "nothing is left of it",
  );
  assert.is((await restoreLog(other, { out, toLsn: segments[1]!.lastLsn })).entries, segments[1]!.lastLsn, "before the damage it works");
});

test("the new log's directory is missing or empty, and the options are checked", async () => {
  const directory = freshPath("source");
  const log = await open(directory);
  await fill(log, 1, 5);
  await log.close();
  await refused(restoreLog(directory, { out: directory }), "COREWAL_INVALID_INPUT", /holds a log already/);
  const foreign = freshDirectory("foreign");
  writeFileSync(join(foreign, "notes.txt"), "mine");
  await refused(restoreLog(directory, { out: foreign }), "COREWAL_NOT_A_LOG", /notes\.txt/);
  await refused(restoreLog(freshPath("none"), { out: freshPath("out") }), "COREWAL_NOT_A_LOG");
  await refused(restoreLog(directory, { out: freshPath("out"), toLsn: 1, toEpoch: 0 }), "COREWAL_INVALID_OPTION", /exclude each other/);
  await refused(restoreLog(directory, { out: freshPath("out"), toLsn: 1.5 }), "COREWAL_INVALID_OPTION");
  await refused(restoreLog(directory, { out: freshPath("out"), toLsn: [1] }), "COREWAL_TOPOLOGY");
  await refused(
    restoreLog(directory, { out: freshPath("out"), until: 1 } as unknown as RestoreOptions),
    "COREWAL_INVALID_OPTION",
    /toTimeMs/,
  );
  await refused(restoreLog(directory, {} as RestoreOptions), "COREWAL_INVALID_OPTION");
  const empty = freshDirectory("empty");
  mkdirSync(join(empty, "nested"), { recursive: true });
  const { entries } = await restoreLog(directory, { out: join(empty, "nested") });
  assert.is(entries, 5);
});

test("a log that is in use is restored up to its promise, while it grows and while its beginning is dropped", async () => {
  const directory = freshPath("source");
  const log = await open(directory);
  await fill(log, 1, 40);
  let stop = false;
  const writing = (async () => {
    for (let i = 41; !stop; i += 4) {
      await fill(log, i, i + 3);
      if (i % 40 === 1) {
        const { lsn } = await log.checkpoint((to) => to.write("state"));
        await log.truncateBefore(lsn + 1);
      }
    }
  })();
  try {
    for (let round = 0; round < 8; round++) {
      const before = log.durableLsn;
      const out = freshPath("live");
      const report = await restoreLog(directory, { out });
      const { firstLsn, lastLsn } = report.cores[0]!;
      // The promise of the last frame comes with the next one.
      assert.ok(lastLsn >= before - 8 && lastLsn <= log.lastLsn);
      assert.equal((await verifyLog(out)).faults, []);
      assert.equal(
        (await contents(out)).map(({ lsn }) => lsn),
        Array.from({ length: lastLsn - firstLsn + 1 }, (_, i) => firstLsn + i),
      );
      await sleep(5);
    }
  } finally {
    stop = true;
    await writing;
    await log.close();
  }
});

test("while somebody may be writing only what is promised counts", async () => {
  const directory = freshPath("source");
  const log = await open(directory);
  await fill(log, 1, 40);
  const copy = freshDirectory("copy");
  for (const name of readdirSync(directory)) if (name.endsWith(".wal")) copyFileSync(join(directory, name), join(copy, name));
  await log.close();
  const { promise, lastLsn } = readLog(filesOf(copy));
  const lastOf = async (live: boolean): Promise<number> => {
    const { cores } = await restoreLogOn(copy, { out: freshPath("out") }, environment({ live }));
    return cores[0]!.lastLsn;
  };
  assert.equal([await lastOf(true), await lastOf(false)], [promise, lastLsn]);
});

test("what is dropped while it is read is no damage: it is looked at once more", async () => {
  const directory = freshPath("source");
  let log = await open(directory);
  await fill(log, 1, 100);
  await log.checkpoint((to) => to.write("state"));
  await fill(log, 101, 120);
  await log.close();
  const later = freshDirectory("later");
  for (const [name, bytes] of filesOf(directory)) writeFileSync(join(later, name), bytes);
  log = await open(later);
  assert.ok((await log.truncateBefore(101)).segments > 0);
  await log.close();
  const storage = new WatchedStorage();
  let dropped = false;
  storage.before = ({ what, name }) => {
    if (dropped || what !== "create" || !name.endsWith(".wal.new")) return;
    dropped = true;
    const [before, after] = [filesOf(directory), filesOf(later)];
    for (const [file, bytes] of after) writeFileSync(join(directory, file), bytes);
    for (const file of before.keys()) if (!after.has(file)) unlinkSync(join(directory, file));
  };
  const out = freshPath("out");
  const { cores } = await restoreLogOn(directory, { out }, environment({ storage, live: true }));
  assert.ok(dropped && cores[0]!.firstLsn > 1);
  assert.equal(await contents(out), await contents(later));
});

test("what is cut off while it is read is no damage either", async () => {
  const directory = freshPath("source");
  const log = await open(directory);
  await fill(log, 1, 400);
  await log.close();
  const expected = (await contents(directory)).slice(0, 50);
  const storage = new WatchedStorage();
  let opened = 0;
  storage.before = ({ what, name }) => {
    // When the segments are read for the second time, for what is in them.
    if (what !== "open" || !name.startsWith("000-") || name.endsWith(".new") || ++opened !== 12) return;
    cutLog(nodeStorage, directory, [50], { now: () => Date.now(), randomBytes: (n) => randomBytes(n) });
  };
  const out = freshPath("out");
  await restoreLogOn(directory, { out }, environment({ storage, live: true }));
  assert.ok(opened > 12);
  assert.equal(await contents(out), expected);
});

test("an interrupted restore leaves no log, and the same again works: whatever the step", async () => {
  const { directory } = await droppedLog();
  const expected = await contents(directory);
  const steps = new WatchedStorage();
  await restoreLogOn(directory, { out: freshPath("watched") }, environment({ storage: steps, live: false }));
  const changes = steps.changes();
  // After the lock file everything is on the disk, names last, and then the word that they do not count.
  assert.equal(steps.unsynced(), []);
  const rename = changes.findIndex(({ what }) => what === "rename");
  assert.ok(changes.slice(0, rename).some(({ what }) => what === "sync"));
  assert.equal(
    changes.slice(-3).map(({ what, name }) => `${what} ${name === "corewal.restoring" ? name : ""}`.trim()),
    ["syncDirectory", "remove corewal.restoring", "syncDirectory"],
  );
  for (const [at, step] of changes.entries()) {
    // Killed: nothing is cleared up.
    if (step.what === "write" && at % 7 !== 0) continue;
    const out = freshPath("killed");
    const storage = new WatchedStorage();
    let count = 0;
    let killed = false;
    storage.before = ({ what, access }) => {
      if (["list", "read", "close"].includes(what) || (what === "open" && access === "read")) return;
      if (killed || count++ === at) {
        killed = true;
        throw Object.assign(new Error("EIO: killed"), { code: "EIO" });
      }
    };
    await refused(restoreLogOn(directory, { out }, environment({ storage, live: false })), "COREWAL_IO");
    const names = existsSync(out) ? readdirSync(out) : [];
    const done = names.some((name) => name.endsWith(".wal")) && !names.includes("corewal.restoring");
    assert.is(done, at === changes.length - 1, `killed before step ${at}, ${step.what} ${step.name}`);
    if (done) continue;
    await refused(openLog(out, { readOnly: true }), "COREWAL_NOT_A_LOG");
    if (names.includes("corewal.restoring")) await refused(openLog(out), "COREWAL_NOT_A_LOG", /run the restore again/);
    // Or another one, which needs less: nothing is left of the first.
    const less = at % 2 === 0;
    await restoreLog(directory, less ? { out, toLsn: 100 } : { out });
    assert.equal(await contents(out), less ? expected.filter(({ lsn }) => lsn <= 100) : expected);
    const { faults, segments } = await verifyLog(out);
    assert.equal([faults, segments], [[], readdirSync(out).filter((name) => /\.wal$|\.new$/.test(name)).length]);
  }
});

test("a restore that fails takes its names back before the directory may be a log", async () => {
  const { directory } = await droppedLog();
  const out = freshPath("failed");
  const storage = new WatchedStorage();
  let renames = 0;
  storage.before = ({ what }) => {
    if (what === "rename" && ++renames === 3) throw Object.assign(new Error("EIO: made up"), { code: "EIO" });
  };
  await refused(restoreLogOn(directory, { out }, environment({ storage, live: false })), "COREWAL_IO");
  const changes = storage.changes().map(({ what, name }) => `${what} ${name}`);
  const last = changes.findLastIndex((step) => /^remove .*\.(wal|ckp)/.test(step));
  assert.equal(changes.slice(last + 1), [`syncDirectory ${basename(out)}`, "remove corewal.restoring", `syncDirectory ${basename(out)}`]);
  assert.equal(
    readdirSync(out).filter((name) => !name.startsWith("corewal.lock")),
    [],
  );
});

test("progress is told, up to the end", async () => {
  const directory = freshPath("source");
  const log = await openLog(directory, { segmentBytes: 4 * 1024 * 1024, ringBytes: 1 << 20 });
  for (let i = 0; i < 40; i++) await log.append(new Uint8Array(300_000).fill(i + 1));
  await log.close();
  const told: [number, number][] = [];
  await restoreLog(directory, { out: freshPath("out"), onProgress: (done, total) => told.push([done, total]) });
  assert.ok(told.length >= 5);
  const total = told[0]![1];
  assert.ok(total > 12_000_000);
  assert.equal(told.at(-1), [total, total]);
  assert.ok(told.every(([done], i) => i === 0 || done >= told[i - 1]![0]));
});

test.run();
