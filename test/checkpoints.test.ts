// Checkpoint + replay = state; dropping the beginning, by hand and by itself. Real files and threads; crashes are the
// simulator's.

import { cpSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { attachLog, openLog, statLog, verifyLog, type CheckpointState, type Entry, type Log, type LogOptions } from "../src/index.js";
import { endSoon, readAll, refused, textOf, until, within } from "./support/expect.js";
import { freshPath } from "./support/scratch.js";

test.after(endSoon);

const SMALL: LogOptions = { stripes: 4, ringBytes: 4096, segmentBytes: 16384 };
const open = (directory: string, options: LogOptions = {}): Promise<Log> => openLog(directory, { ...SMALL, ...options });

/** What an application would hold: sums by name. */
class State {
  readonly sums = new Map<string, number>();
  /** LSN of each core up to which it was applied. */
  readonly applied: number[] = [];

  apply(entry: { core: number; lsn: number; value: Uint8Array }, topology = "striped"): void {
    const core = topology === "striped" ? 0 : entry.core;
    // Applying twice must do no harm: the state may be ahead of the place of its checkpoint.
    if (entry.lsn <= (this.applied[core] ?? 0)) return;
    this.applied[core] = entry.lsn;
    const [name = "", amount] = Buffer.from(entry.value).toString().trim().split(" ");
    this.sums.set(name, (this.sums.get(name) ?? 0) + Number(amount));
  }

  readonly save: CheckpointState = async ({ write }) => {
    await write(JSON.stringify({ sums: [...this.sums], applied: this.applied }));
  };

  static async load(log: Log): Promise<State> {
    const state = new State();
    const checkpoint = await log.readCheckpoint();
    if (checkpoint !== undefined) {
      const pieces: Uint8Array[] = [];
      for await (const bytes of checkpoint.stream) pieces.push(bytes);
      const saved = JSON.parse(Buffer.concat(pieces).toString()) as { sums: [string, number][]; applied: number[] };
      for (const [name, sum] of saved.sums) state.sums.set(name, sum);
      state.applied.push(...saved.applied);
    }
    for await (const entry of log.replay()) state.apply(entry, log.recovery.topology);
    return state;
  }
}

const line = (i: number): string => `account${i % 7} ${i}`.padEnd(200);

/** Appends and applies. */
async function fill(log: Log, state: State, from: number, to: number): Promise<void> {
  const lsns = await Promise.all(Array.from({ length: to - from }, (_, i) => log.append(line(from + i))));
  lsns.forEach((lsn, i) => state.apply({ core: log.ownCore, lsn, value: Buffer.from(line(from + i)) }, log.recovery.topology));
}

const files = (directory: string, ending: string): string[] =>
  readdirSync(directory)
    .filter((name) => name.endsWith(ending))
    .sort();

for (const topology of ["striped", "per-core"] as const) {
  test(`${topology}: checkpoint + replay = state, and what is before it can be dropped`, async () => {
    const directory = freshPath("checkpoint");
    const log = await open(directory, { topology });
    const state = new State();
    await fill(log, state, 1, 500);
    assert.is(await log.readCheckpoint(), undefined);
    const first = await log.checkpoint(state.save);
    assert.is(first.number, 1);
    assert.equal(first.positions.slice(0, 1), [499]);
    assert.is(first.lsn, topology === "striped" ? 499 : 0);
    assert.is(first.epoch, log.epoch);
    await fill(log, state, 500, 600);
    const replayed: number[] = [];
    for await (const { lsn } of log.replay()) replayed.push(lsn);
    assert.is(replayed[0], 500);
    assert.is(replayed.length, 100);

    const before = files(directory, ".wal").length;
    // A checkpoint is needed up to its place, and not further.
    const report = await log.truncateBefore({ core: 0, lsn: 10_000 });
    assert.ok(report.segments > 5 && report.bytes > 5 * 16384);
    assert.is(files(directory, ".wal").length, before - report.segments + 1);
    assert.ok(log.firstLsn > 1 && log.firstLsn <= 500);
    assert.equal(report.cores, [{ core: 0, firstLsn: log.firstLsn }]);
    assert.is(log.core(0).firstLsn, log.firstLsn);
    assert.is((await readAll(log))[0]!.lsn, log.firstLsn);
    const gone = topology === "striped" ? log.firstLsn - 1 : { core: 0, lsn: log.firstLsn - 1 };
    await refused(log.get(gone), "COREWAL_OUT_OF_WINDOW", new RegExp(`begins with LSN ${log.firstLsn}`));
    await refused(() => log.read({ from: topology === "striped" ? 1 : [1] }), "COREWAL_OUT_OF_WINDOW");
    assert.is(log.stats().upkeep.droppedSegments, report.segments);
    await log.close();

    const again = await open(directory);
    assert.is(again.recovery.firstLsn, report.cores[0]!.firstLsn);
    assert.is(again.recovery.lastLsn, 599);
    assert.equal([...(await State.load(again)).sums], [...state.sums]);
    assert.is((await again.checkpoints()).length, 1);
    await again.close();
    const verified = await verifyLog(directory);
    assert.equal(verified.faults, []);
    assert.is(verified.clean, true);
    assert.is((await statLog(directory)).firstLsn, report.cores[0]!.firstLsn);
  });
}

test("a checkpoint while others write: the state is streamed, entries that come meanwhile are replayed", async () => {
  const directory = freshPath("checkpoint");
  const log = await open(directory);
  const writer = await attachLog(log.handle);
  const state = new State();
  await fill(log, state, 1, 100);
  const info = await log.checkpoint(async ({ lsn, write, epoch }) => {
    assert.is(lsn, 99);
    assert.is(epoch, log.epoch);
    await write(new Uint8Array(300_000).fill(1));
    for (let i = 0; i < 50; i++) await writer.append(line(1000 + i));
    await write("");
    await write("the end");
  });
  assert.is(info.bytes, 300_007);
  assert.equal([info.lsn, info.endPositions[0]], [99, 149]);
  const { stream } = (await log.readCheckpoint())!;
  for (let round = 0; round < 2; round++) {
    const pieces: Uint8Array[] = [];
    for await (const bytes of stream) pieces.push(bytes);
    const all = Buffer.concat(pieces);
    assert.is(all.length, 300_007);
    assert.is(all.subarray(300_000).toString(), "the end");
  }
  const replayed: string[] = [];
  for await (const entry of log.replay()) replayed.push(textOf(entry).trim());
  assert.is(replayed.length, 50);
  assert.is(replayed[0], line(1000).trim());
  await log.close();
});

test("a state function that throws leaves nothing behind, and the log goes on", async () => {
  const directory = freshPath("checkpoint");
  const log = await open(directory);
  await log.append("one");
  let late: ((bytes: string) => Promise<void>) | undefined;
  const failing = log.checkpoint(async ({ write }) => {
    late = write;
    await write(new Uint8Array(200_000));
    throw new Error("half-way");
  });
  const next = log.checkpoint(({ write }) => write("whole"));
  const error = await failing.then(
    () => undefined,
    (cause: Error) => cause,
  );
  assert.match(error!.message, /half-way/);
  assert.is((await next).number, 1, "they took their turns, and the first has no number");
  await refused(late!("more"), "COREWAL_CLOSED");
  assert.equal(files(directory, ".new"), []);
  await refused(log.checkpoint("state" as never), "COREWAL_INVALID_INPUT");
  await refused(
    log.checkpoint(({ write }) => write(7 as never)),
    "COREWAL_INVALID_INPUT",
  );
  await log.append("two");
  await log.close();
  await refused(
    log.checkpoint(({ write }) => write("")),
    "COREWAL_CLOSED",
  );
  await refused(log.truncateBefore(1), "COREWAL_CLOSED");
});

test("the latest ones are kept; one that is damaged is passed over with a warning; none that is whole is corruption", async () => {
  const directory = freshPath("checkpoint");
  const log = await open(directory, { checkpoints: { keep: 3 }, retention: { bytes: 0 } });
  const state = new State();
  for (let round = 0; round < 5; round++) {
    await fill(log, state, 1 + round * 200, 1 + (round + 1) * 200);
    await log.checkpoint(state.save);
  }
  assert.equal(
    (await log.checkpoints()).map(({ number }) => number),
    [5, 4, 3],
  );
  assert.ok(log.firstLsn > 1 && log.firstLsn <= 601, "as much as the oldest of them needs is kept");
  await log.close();

  const warnings: string[] = [];
  const hear = (warning: Error & { code?: string }): void => void (warning.code === "COREWAL_CHECKPOINT" && warnings.push(warning.message));
  process.on("warning", hear);
  for (const number of [5, 4, 3]) {
    const readOnly = await open(directory, { readOnly: true });
    assert.is((await readOnly.readCheckpoint())!.number, number);
    assert.equal([...(await State.load(readOnly)).sums], [...state.sums]);
    await refused(readOnly.checkpoint(state.save), "COREWAL_READ_ONLY");
    await refused(readOnly.truncateBefore(1), "COREWAL_READ_ONLY");
    await readOnly.close();
    const path = join(directory, `checkpoint-000000000${number}.ckp`);
    if (number === 5) truncateSync(path, statSync(path).size - 1);
    else if (number === 4) writeFileSync(path, readFileSync(path).fill(0x20, 264, 265));
    else rmSync(path);
  }
  const { faults, checkpoints } = await verifyLog(directory);
  assert.equal(
    faults.map(({ kind, file }) => [kind, file.slice(-5)]),
    [
      ["checkpoint", "5.ckp"],
      ["checkpoint", "4.ckp"],
    ],
  );
  assert.is(checkpoints, 0);
  const last = await open(directory);
  await refused(last.readCheckpoint(), "COREWAL_CORRUPT", /no checkpoint left/);
  await refused(async () => {
    for await (const entry of last.replay()) assert.unreachable(textOf(entry));
  }, "COREWAL_CORRUPT");
  await last.close();
  await until(() => warnings.length >= 4, "the process is warned");
  process.off("warning", hear);
  assert.match(warnings.join("\n"), /checkpoint 5 is not used: .*trailer is damaged/);
  assert.match(warnings.join("\n"), /checkpoint 4 is not used: .*state is damaged/);
});

test("a checkpoint of another log, or of entries that are not there, is not used", async () => {
  const directory = freshPath("checkpoint");
  const other = freshPath("other");
  const log = await open(directory);
  const stranger = await open(other);
  await log.append("mine");
  await stranger.append("theirs");
  const { path } = await stranger.checkpoint(({ write }) => write("theirs"));
  cpSync(path, join(directory, "checkpoint-0000000001.ckp"));
  assert.is(await log.readCheckpoint(), undefined);
  await log.close();
  await stranger.close();
});

test("a reading under way holds what it still has before it; one that is given up holds nothing", async () => {
  const directory = freshPath("held");
  const log = await open(directory);
  const state = new State();
  await fill(log, state, 1, 600);
  const reading = log.readBatches()[Symbol.asyncIterator]();
  const seen = ((await reading.next()).value as Entry[]).map(({ lsn }) => lsn);
  const to = seen.at(-1)!;
  await log.truncateBefore(600);
  assert.ok(log.firstLsn > 1 && log.firstLsn <= to, "the segment in which it stands is there");
  for (let r = await reading.next(); r.done !== true; r = await reading.next()) seen.push(...r.value.map(({ lsn }) => lsn));
  assert.equal(
    seen,
    Array.from({ length: 599 }, (_, i) => i + 1),
  );
  // Read to its end, it holds nothing more.
  assert.ok((await log.truncateBefore(600)).segments > 0);
  assert.is(log.firstLsn, 600);
  assert.is(await log.append("six hundred"), 600);
  assert.equal((await readAll(log)).map(textOf), ["six hundred"]);
  await log.close();
});

test("whoever reads in another process is told that he was lapped", async () => {
  const directory = freshPath("lapped");
  const log = await open(directory);
  const state = new State();
  await fill(log, state, 1, 3000);
  const outside = await open(directory, { readOnly: true });
  const reading = outside.readBatches()[Symbol.asyncIterator]();
  await reading.next();
  await log.truncateBefore(3000);
  const error = await refused(async () => {
    for (let r = await reading.next(); r.done !== true; r = await reading.next());
  }, "COREWAL_READER_LAPPED");
  assert.match(error.message, /open the log again/);
  const again = await open(directory, { readOnly: true });
  assert.is(again.firstLsn, log.firstLsn);
  await again.close();
  await outside.close();
  await log.close();
});

test("without a checkpoint the retention drops nothing, unless that is allowed", async () => {
  for (const withoutCheckpoint of [false, true]) {
    const directory = freshPath("retention");
    const log = await open(directory, { retention: { bytes: 40_000, withoutCheckpoint } });
    for (let i = 0; i < 300; i++) await log.append(line(i));
    if (withoutCheckpoint) {
      await until(() => log.stats().upkeep.droppedSegments > 0, "segments are dropped");
      assert.ok(log.firstLsn > 1);
      const replayed: number[] = [];
      for await (const { lsn } of log.replay()) replayed.push(lsn);
      assert.is(replayed[0], log.firstLsn, "no checkpoint is missed");
    } else {
      await new Promise((resolve) => setTimeout(resolve, 600));
      assert.is(log.firstLsn, 1);
    }
    assert.is(log.stats().upkeep.failures, 0);
    await log.close();
  }
});

test("by age: what is older goes, what is younger stays", async () => {
  const directory = freshPath("age");
  const log = await open(directory, { retention: { ageMs: 3_600_000 } });
  const state = new State();
  await fill(log, state, 1, 300);
  await log.checkpoint(state.save);
  assert.is(log.firstLsn, 1);
  await log.close();
  const again = await open(directory, { retention: { ageMs: 1 } });
  await fill(again, await State.load(again), 300, 310);
  await again.checkpoint(state.save);
  await again.checkpoint(state.save);
  assert.ok(again.firstLsn > 1);
  await again.close();
});

test("checkpoints by themselves: after so many entries, bytes, milliseconds; a failure is told and the log goes on", async () => {
  for (const every of [{ everyEntries: 20 }, { everyBytes: 3000 }, { everyMs: 20 }]) {
    const log = await open(freshPath("automatic"), { checkpoints: { ...every, state: ({ write }) => write("state") } });
    await fill(log, new State(), 1, 31);
    await until(() => log.stats().upkeep.checkpoints > 0, JSON.stringify(every));
    await log.close();
  }
  const log = await open(freshPath("automatic"), {
    checkpoints: {
      everyEntries: 1,
      state: () => {
        throw new Error("not today");
      },
    },
  });
  await log.append("one");
  await until(() => log.stats().upkeep.failures > 0, "it fails");
  assert.match(log.stats().upkeep.lastFailure!, /not today/);
  await log.append("two");
  await log.close();
});

test("per-core: chains that nobody writes now are dropped, too, and so are those of cores that are gone", async () => {
  const directory = freshPath("idle");
  const log = await open(directory, { topology: "per-core" });
  const writers = [log, await attachLog(log.handle), await attachLog(log.handle)];
  for (const writer of writers) for (let i = 0; i < 300; i++) void writer.append(line(i));
  for (const writer of writers) await writer.sync();
  await log.close();
  // Two cores now: the second is not taken by anybody, the third is gone.
  const fewer = await open(directory, { stripes: 2 });
  await fewer.append("on");
  const { cores } = await within(fewer.truncateBefore([200, 250, 301]));
  assert.equal(
    cores.map(({ core }) => core),
    [0, 1, 2],
  );
  assert.ok(cores[0]!.firstLsn > 100 && cores[0]!.firstLsn <= 200);
  assert.ok(cores[1]!.firstLsn > 150 && cores[1]!.firstLsn <= 250);
  assert.is(cores[2]!.firstLsn, 301);
  const other = await attachLog(fewer.handle);
  assert.is(await other.append("behind them"), 301);
  const entries = await readAll(fewer);
  for (const { core, firstLsn } of cores) assert.is(entries.filter((e) => e.core === core)[0]?.lsn ?? firstLsn, firstLsn, `core ${core}`);
  await fewer.close();
  assert.equal((await verifyLog(directory)).faults, []);
  const again = await open(directory, { stripes: 3 });
  assert.equal(
    again.recovery.cores.map(({ firstLsn, lastLsn }) => [firstLsn, lastLsn]),
    cores.map(({ firstLsn }, core) => [firstLsn, [301, 301, 300][core]]),
  );
  assert.is(again.recovery.clean, true);
  await again.close();
});

test("options that make no sense are refused", async () => {
  const directory = freshPath("options");
  const state: CheckpointState = ({ write }) => write("");
  for (const [options, words] of [
    [{ checkpoints: { everyMs: 1 } }, /give checkpoints.state/],
    [{ checkpoints: { state } }, /but not when/],
    [{ checkpoints: { keep: 0 } }, /checkpoints.keep is 0/],
    [{ checkpoints: { kept: 1 } as never }, /checkpoints.kept does not exist/],
    [{ retention: {} }, /neither bytes nor ageMs/],
    [{ retention: { bytes: -1 } }, /retention.bytes is -1/],
    [{ retention: 7 as never }, /option retention is 7/],
  ] as [LogOptions, RegExp][])
    await refused(open(directory, options), "COREWAL_INVALID_OPTION", words);
  const log = await open(directory, { topology: "per-core" });
  await refused(log.truncateBefore(1), "COREWAL_TOPOLOGY");
  await refused(log.truncateBefore([0]), "COREWAL_INVALID_INPUT");
  await log.close();
});

test.run();
