// The way back: the decision table over all combinations of its inputs, and logs damaged by hand.

import { test } from "uvu";
import * as assert from "uvu/assert";
import { CorewalError } from "../src/errors.js";
import { ABANDON, PUMP } from "../src/log.js";
import { recoverForReading } from "../src/read-only.js";
import { judge } from "../src/recover-chain.js";
import type { Log } from "../src/types.js";
import { verifyLogOn } from "../src/verify.js";
import { killed, name, Damage, TABLE, type Expected } from "./support/damaged-logs.js";
import { appendEach, DIRECTORY, drive, Fixed, readAll, SMALL } from "./support/fixed-log.js";
import { loseLsns, type Files } from "./support/golden-cases.js";
import { crc, readLog, type ReadEntry } from "./support/independent-reader.js";

// --- the decision table -------------------------------------------------------------------------------

test("invariant 4: judge, all combinations", () => {
  // As FORMAT.md has it, row by row: the first that fits.
  const rows: [continued: boolean | undefined, proven: boolean | undefined, sealed: boolean | undefined, answer: string][] = [
    [true, undefined, undefined, "corrupt"],
    [false, true, undefined, "corrupt"],
    [false, false, true, "clean"],
    [false, false, false, "torn"],
  ];
  let combinations = 0;
  for (const continued of [false, true]) {
    for (const sealed of [false, true]) {
      for (const promise of [0, 6, 7, 8, 2 ** 40]) {
        for (const [provenEnd, promisedEpoch] of [0, 256, 511, 512, 513, 2 ** 40].flatMap((end) =>
          [0, 3, 4].map((epoch) => [end, epoch] as const),
        )) {
          const proven = promise >= 7 || promisedEpoch > 3 || provenEnd > 512;
          const [, , , expected] = rows.find(
            ([c, p, s]) => (c ?? continued) === continued && (p ?? proven) === proven && (s ?? sealed) === sealed,
          )!;
          assert.is(
            judge({ sealed, continued, expectedLsn: 7, promise, epoch: 3, promisedEpoch, provenEnd, validEnd: 512 }),
            expected,
            JSON.stringify({ sealed, continued, promise, promisedEpoch, provenEnd }),
          );
          combinations++;
        }
      }
    }
  }
  assert.is(combinations, 360);
});

test("a log that is written while it is opened for reading is no damaged one", async () => {
  const files = await killed();
  const { frames } = readLog(files).segments[0]!;
  const { storage } = new Fixed(files);
  const open = storage.open.bind(storage);
  // The end is read twice: for frames, then for promises behind them. Meanwhile the last three frames come.
  let written = frames[1]!.offset;
  storage.open = (path) => {
    const file = open(path);
    const read = file.read.bind(file);
    file.read = (into, offset) => {
      const bytes = read(into, offset);
      if (into.length > 256) {
        into.fill(0, Math.max(0, written - offset));
        written = Infinity;
      }
      return bytes;
    };
    return file;
  };
  const { found } = recoverForReading(storage, DIRECTORY, () => true);
  assert.is(written, Infinity);
  assert.is(found.chains[0]!.lastLsn, 3, "what is promised: the last frame is covered by nothing yet");
  assert.is(found.clean, false);
});

// --- damaged logs -----------------------------------------------------------------------------------------

async function failure(run: Promise<unknown>): Promise<CorewalError | undefined> {
  return run.then(
    () => undefined,
    (error: unknown) => error as CorewalError,
  );
}

function matches(error: CorewalError | undefined, { code, file, offset, lsn }: Expected): void {
  assert.ok(error instanceof CorewalError, `no error, ${code} expected`);
  assert.is(error.code, code, error.message);
  if (file !== undefined) assert.is(error.file, `${DIRECTORY}/${file}`);
  if (offset !== undefined) assert.is(error.offset, offset);
  if (lsn !== undefined) assert.is(error.lsn, lsn);
}

const prints = (files: Files): unknown => [...files].map(([file, bytes]) => [file, bytes.length, crc(bytes)]);
const facts = (e: ReadEntry | { lsn: number; term: number; value: Uint8Array }): [number, number, string] => [
  e.lsn,
  e.term,
  Buffer.from(e.value).toString("hex"),
];
const found = async (log: Log): Promise<unknown[]> => (await readAll(log)).map(facts);

/** Refused by everybody, and left as it is. */
async function refused(fixed: Fixed, expect: Expected): Promise<void> {
  const before = prints(fixed.files);
  matches(await failure(fixed.readOnly()), expect);
  matches(await failure(fixed.open()), expect);
  assert.equal(prints(fixed.files), before, "a log that was refused was changed");
}

/** Opens, but never gives out what is damaged. */
async function unreadable(fixed: Fixed, lsn: number): Promise<void> {
  for (const log of [await fixed.readOnly(), await fixed.open()]) {
    matches(await failure(readAll(log)), { code: "COREWAL_CORRUPT", lsn });
    matches(await failure(log.get(lsn)), { code: "COREWAL_CORRUPT", lsn });
    // What lies before it can be read.
    assert.is((await log.get(lsn - 1))?.lsn, lsn === 1 ? undefined : lsn - 1);
  }
}

/** Opens, shows the same to everybody, goes on, and stays fine on later starts. */
async function recovered(fixed: Fixed, expect: Expected, original: [number, number, string][]): Promise<void> {
  const readOnly = await fixed.readOnly();
  assert.is(readOnly.recovery.clean, expect.clean);
  assert.equal(
    await found(readOnly),
    original.filter(([lsn]) => lsn <= readOnly.durableLsn),
  );
  assert.is(fixed.storage.changes, 0);
  const log = await fixed.open();
  const { recovery } = log;
  assert.equal(
    { lastLsn: recovery.lastLsn, clean: recovery.clean, copied: recovery.copied?.frames ?? 0, cut: recovery.torn !== undefined },
    expect,
  );
  assert.equal(await found(log), original);
  const [lsn] = await appendEach(fixed, log, ["after recovery"]);
  assert.is(lsn, expect.lastLsn! + 1);
  original.push([lsn!, recovery.term, Buffer.from("after recovery").toString("hex")]);
  assert.equal(await found(log), original);
  log[ABANDON]();
  for (let start = 0; start < 3; start++) {
    const again = await fixed.open();
    assert.equal(await found(again), original, `start ${start}`);
    await again.close();
    assert.equal((await verifyLogOn(fixed.storage, DIRECTORY, {})).faults, []);
    assert.equal(readLog(fixed.files).entries.map(facts), original);
  }
}

for (const [what, make, corrupt, expecting] of TABLE) {
  test(`recovery: ${what}`, async () => {
    const d = new Damage(await make(), await killed());
    const expect = expecting(d);
    corrupt(d);
    const fixed = new Fixed(d.files);
    const { ok, faults } = await verifyLogOn(fixed.storage, DIRECTORY, {});
    assert.is(ok, expect.code === undefined && expect.unreadable === undefined, `verify: ${JSON.stringify(faults)}`);
    const independent = readLog(d.files);
    if (expect.code !== undefined) {
      assert.is(independent.answer, expect.code === "COREWAL_CORRUPT" ? "corrupt" : "unknown version");
      await refused(fixed, expect);
    } else if (expect.unreadable !== undefined) {
      assert.is(independent.answer, "corrupt");
      await unreadable(fixed, expect.unreadable);
    } else {
      assert.is(independent.answer, expect.clean ? "clean" : "torn");
      const original = d.good.entries.filter((e) => e.lsn <= expect.lastLsn!).map(facts);
      assert.equal(independent.entries.map(facts), original);
      await recovered(fixed, expect, original);
    }
  });
}

test("ancestor A: a torn tail made non-final by the next start turned into a hard error one start later", async () => {
  let files = await killed();
  const expected: number[] = [1, 2, 3];
  for (let start = 0; start < 5; start++) {
    // Each life ends in the middle of its last frame.
    const good = readLog(files);
    const last = good.segments.at(-1)!;
    files.get(last.file)!.fill(0, last.frames.at(-1)!.offset + 20, last.end);
    const fixed = new Fixed(files);
    const log = await fixed.open();
    assert.equal(
      (await readAll(log)).map((e) => e.lsn),
      expected,
    );
    assert.is(log.recovery.torn?.bytes !== undefined, true);
    const lsns = await appendEach(fixed, log, ["acknowledged, then proven", "acknowledged, then torn"]);
    expected.push(lsns[0]!);
    log[ABANDON]();
    files = fixed.files;
  }
});

test("invariant 11: a clock that goes back changes no order, also over frames that were copied forward", async () => {
  const fixed = new Fixed();
  const log = await fixed.open();
  await appendEach(fixed, log, ["proven", "unproven"]);
  log[ABANDON]();
  fixed.nowMs -= 3_600_000;
  const again = await fixed.open();
  await appendEach(fixed, again, ["an hour earlier"]);
  const times = (await readAll(again)).map((e) => e.timestampMs);
  assert.equal(
    times,
    [...times].sort((a, b) => a - b),
  );
});

test("invariant 11: terms grow, LSNs go on, also over holes at the end", async () => {
  const fixed = new Fixed();
  const terms: number[] = [];
  for (let open = 0; open < 3; open++) {
    const log = await fixed.open();
    terms.push(log.recovery.term);
    assert.is(log.recovery.lastLsn, open * 5);
    await appendEach(fixed, log, ["x", "y"]);
    loseLsns(log, 3);
    await log.close();
  }
  assert.equal(terms, [1, 2, 3]);
});

test("invariant 12: recovery is idempotent: without an append a second one finds what the first one left", async () => {
  const fixed = new Fixed(await killed());
  (await fixed.open())[ABANDON]();
  const once = fixed.files;
  const log = await fixed.open();
  assert.is(log.recovery.copied, undefined);
  assert.equal(
    (await readAll(log)).map((e) => e.lsn),
    [1, 2, 3, 4],
  );
  await log.close();
  assert.equal([...fixed.files.keys()], [...once.keys()]);
});

test("another frameAlign and segmentBytes than last time: copied frames stand where the new ones would", async () => {
  const fixed = new Fixed(await killed());
  const log = await fixed.open({ frameAlign: 1024 });
  assert.is(log.recovery.copied?.frames, 1);
  await appendEach(fixed, log, ["next"]);
  await log.close();
  const independent = readLog(fixed.files);
  assert.is(independent.answer, "clean");
  assert.equal(
    independent.segments[1]!.frames.map((f) => f.offset),
    [1024, 2048],
  );
  assert.equal(
    independent.entries.map((e) => e.lsn),
    [1, 2, 3, 4, 5],
  );
});

test("ancestor B: a position past the end, and a batch, are not read in part", async () => {
  const fixed = new Fixed();
  const log = await fixed.open();
  await drive(log, log.append("one"));
  await drive(log, log.appendBatch(["two", "three", "four"]));
  log[ABANDON]();
  const files = fixed.files;
  const good = readLog(files);
  const batch = good.segments[0]!.frames[1]!.offset;
  // Each byte of the batch's frame lost in turn: either all three are there, or none.
  const end = good.segments[0]!.end;
  for (let at = batch; at < end; at += 8) {
    const cut = new Map([[name(1), files.get(name(1))!.slice().fill(0, at, end)]]);
    const again = await new Fixed(cut).readOnly();
    const lsns = (await readAll(again)).map((e) => e.lsn);
    assert.ok(lsns.length === 1 || lsns.length === 4, `cut at ${at}: ${lsns.join(", ")}`);
    assert.is(await again.get(99), undefined);
  }
});

test("the last entry is proven while the log is idle, also where its frame fills the segment to the end", async () => {
  for (const left of [0, 8, 64, 120, 128]) {
    const fixed = new Fixed();
    const log = await fixed.open({ ringBytes: 8192 });
    // Header of the frame, of the entry, and their padding.
    const append = (frameBytes: number): Promise<number[]> => appendEach(fixed, log, ["x".repeat(frameBytes - 80)]);
    while (log.stats().segment.offset < 13_000) await append(1024);
    await append(SMALL.segmentBytes! - log.stats().segment.offset - left);
    assert.is(log.stats().segment.number, 1);
    fixed.nowMs += 1000;
    log[PUMP]();
    const { promise, lastLsn, segments } = readLog(fixed.files);
    assert.is(promise, lastLsn, `${left} bytes left`);
    assert.is(segments.length, 1);
    await append(100);
    log[ABANDON]();
    assert.is(readLog(fixed.files).answer, "torn");
    await (await fixed.open()).close();
    assert.is(readLog(fixed.files).lastLsn, lastLsn + 1);
  }
});

test("fuzzing: a striped log has no other chains: whatever has such a name is none of it, and nothing is written beside", async () => {
  const fixed = new Fixed(await killed());
  const files = fixed.files;
  files.set("001-0000000001.wal", files.get(name(1))!);
  for (const found of [files, new Map([["001-0000000001.wal", files.get(name(1))!]])]) {
    const machine = new Fixed(found);
    await refused(machine, { code: "COREWAL_CORRUPT", file: "001-0000000001.wal" });
    assert.equal(
      (await verifyLogOn(machine.storage, DIRECTORY)).faults.map(({ kind }) => kind),
      ["chain"],
    );
    assert.is(readLog(found).answer, "corrupt");
  }
});

test("fuzzing: behind the last number that a name can hold no segment is begun", async () => {
  const d = new Damage(await killed(), new Map());
  d.header(1, (v) => v.setBigUint64(64, 9_999_999_999n, true));
  const fixed = new Fixed(new Map([[name(9_999_999_999), d.bytes(1)]]));
  matches(await failure(fixed.open()), { code: "COREWAL_LSN_EXHAUSTED" });
  assert.equal([...fixed.files.keys()], [name(9_999_999_999)]);
});

test("fuzzing: a log with the highest term can be read, and is not opened for writing again", async () => {
  const d = new Damage(await killed(), new Map());
  d.header(1, (v) => v.setBigUint64(104, 2n ** 53n - 1n, true));
  const fixed = new Fixed(d.files);
  assert.is((await readAll(await fixed.readOnly())).length, 4);
  matches(await failure(fixed.open()), { code: "COREWAL_LSN_EXHAUSTED" });
  assert.equal(fixed.files, d.files);
});

test.run();
