// verify names the faults that are there, and invents none.

import { rmSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { openLog, verifyLog } from "../src/index.js";
import { firstFrameOffset } from "../src/segment.js";
import { verifyLogOn } from "../src/verify.js";
import { Damage, TABLE } from "./support/damaged-logs.js";
import { appendEach, DIRECTORY, Fixed } from "./support/fixed-log.js";
import { refused, within } from "./support/expect.js";
import { forge, FuzzLog } from "./support/fuzz-logs.js";
import type { Files } from "./support/golden-cases.js";
import { readLog } from "./support/independent-reader.js";
import { freshPath } from "./support/scratch.js";
import { message, startThread } from "./support/script.js";
import type { CountingTask } from "./workers/counting-writer.js";

test("a segment that is missing is the only fault: its neighbours are judged by themselves", async () => {
  const directory = freshPath("gap");
  const log = await openLog(directory, { segmentBytes: 16384, ringBytes: 4096 });
  // The second one is fuller than the first.
  while (log.stats().segment.number < 3) await log.append("x".repeat(log.stats().segment.number < 2 ? 1900 : 100));
  await log.close();
  assert.is((await verifyLog(directory)).ok, true);
  rmSync(join(directory, "000-0000000002.wal"));
  const { ok, faults } = await verifyLog(directory);
  assert.not(ok);
  assert.equal(
    faults.filter(({ message }) => !/missing/.test(message)),
    [],
    JSON.stringify(faults),
  );
});

test("fuzzing: a footer under a right checksum that says something else than its frames is a fault, in each field", async () => {
  const fixed = new Fixed();
  const log = await fixed.open();
  await appendEach(fixed, log, ["one", { kind: "put", key: "k", value: "v" }, "three"]);
  await log.close();
  const closed = new FuzzLog("closed", fixed.files);
  assert.is((await verifyLogOn(fixed.storage, DIRECTORY)).ok, true);
  const forged: [part: "footer" | "index" | "frame", offset: number, value: bigint][] = [
    // One LSN too low: opening trusts it and shows one entry less.
    ["footer", 40, 2n],
    ...Array.from({ length: 10 }, (_, i): ["footer", number, bigint] => ["footer", i === 0 ? 32 : 40 + 8 * i, 77n]),
    ["index", 0, 2n],
    ["index", 8, 320n],
    // A frame that promises itself.
    ["frame", 24, 1n],
  ];
  for (const [part, offset, value] of forged) {
    const files = forge(closed, part, offset, value);
    const report = await verifyLogOn(new Fixed(files).storage, DIRECTORY);
    assert.is(report.ok, false, `${part} ${offset}`);
    assert.is(readLog(files).answer, "corrupt", `${part} ${offset}`);
  }
});

test("fuzzing: the same before the file was cut behind its footer: the frames were read, so opening tells", async () => {
  const fixed = new Fixed();
  const log = await fixed.open();
  await appendEach(fixed, log, ["one", "two"]);
  await log.close();
  const closed = new FuzzLog("closed", fixed.files);
  const uncut = (files: Map<string, Uint8Array>): Fixed => {
    for (const [name, bytes] of files) files.set(name, Uint8Array.from([...bytes, ...new Uint8Array(640)]));
    return new Fixed(files);
  };
  assert.is((await verifyLogOn(uncut(new Map(closed.files)).storage, DIRECTORY)).ok, true);
  // Bytes that were counted wrongly hurt nobody who opens, but verify names them.
  assert.is((await verifyLogOn(uncut(forge(closed, "footer", 64, 5n)).storage, DIRECTORY)).ok, false);
  await refused(uncut(forge(closed, "footer", 40, 1n)).readOnly(), "COREWAL_CORRUPT", /LSN 1 is the last/);
});

test("a log that begins segment after segment while it is verified is sound", async () => {
  const directory = freshPath("rotating");
  const log = await openLog(directory, { segmentBytes: 16384, ringBytes: 8192, durability: "async", flushIntervalMs: 1 });
  let segments = 0;
  await log.append("the first segment is there", { durability: "sync" });
  for (let i = 0; i < 60; i++) {
    // The flusher's thread is at work while this one reads.
    for (let n = 0; n < 8; n++) log.write("x".repeat(1500));
    const report = await verifyLog(directory);
    assert.equal(report.faults, [], `round ${i}`);
    assert.is(report.live, true);
    segments = report.segments;
  }
  assert.ok(segments > 30, `${segments} segments`);
  await log.close();
});

test("a log of many segments, of which others are begun while its directory is gone through, is sound", async () => {
  const directory = freshPath("many");
  const log = await openLog(directory, { segmentBytes: 16384, ringBytes: 4096, durability: "async", flushIntervalMs: 1 });
  // To go through so many takes longer than to fill one.
  for (let n = 0; n < 8 * 400; n++) await log.append("x".repeat(1900));
  const task: CountingTask = { handle: log.handle, id: 1, acknowledged: new SharedArrayBuffer(4), tellAt: 1, way: "write" };
  const worker = startThread("counting-writer", task);
  await within(message(worker));
  const before = log.stats().segment.number;
  try {
    for (let i = 0; i < 5; i++) assert.equal((await verifyLog(directory)).faults, [], `round ${i}`);
    assert.ok(log.stats().segment.number > before + 5, `segment ${before}, then ${log.stats().segment.number}`);
  } finally {
    await worker.terminate();
    await log.close();
  }
});

test("what looks damaged while somebody changes the log is a fault if it does so at a second look as well", async () => {
  const fixed = new Fixed();
  const log = await fixed.open();
  await appendEach(fixed, log, ["one", "two"]);
  await log.close();
  const name = [...fixed.files.keys()][0]!;
  for (const [passes, moves, looks] of [
    [true, true, 2],
    [false, true, 2],
    [false, false, 1],
  ]) {
    const { storage } = new Fixed(fixed.files);
    const file = storage.open(`${DIRECTORY}/${name}`);
    const frame = new Uint8Array(64);
    file.read(frame, firstFrameOffset(64));
    let seen = 0;
    const { ok } = await verifyLogOn(storage, DIRECTORY, {
      onProgress: () => {
        seen++;
        file.write(seen === 1 || !passes ? new Uint8Array(64) : frame, firstFrameOffset(64));
        if (moves) storage.create(`${DIRECTORY}/corewal.lock.000000000${seen}`).close();
      },
    });
    assert.equal([ok, seen], [passes, looks]);
  }
});

test("a segment that goes while the directory is gone through is no system error", async () => {
  const [, chain] = TABLE.find(([what]) => what === "ancestor A: a missing segment went unnoticed")!;
  for (const [goes, fault] of [
    [1, 2],
    [3, 1],
  ])
    for (let opened = 1; opened <= fault!; opened++) {
      const one = new Fixed(await chain()).storage;
      const open = one.open.bind(one);
      let n = 0;
      one.open = (path) => {
        if (path.endsWith(`${goes}.wal`) && ++n === opened) one.remove(path);
        return open(path);
      };
      const { ok, faults } = await verifyLogOn(one, DIRECTORY);
      assert.not(ok);
      assert.ok(
        faults.every(({ kind }) => kind === "chain"),
        JSON.stringify(faults),
      );
    }
});

test("every fault is named: several in one segment that was never sealed, and in several segments", async () => {
  const [, idle] = TABLE.find(([what]) => what === "nothing, after a kill while idle: all is proven")!;
  const one = new Damage(await idle(), new Map());
  one.flip(1, one.frame(1) + 90);
  one.flip(1, one.frame(3) + 90);
  const places = async (files: Files): Promise<unknown> =>
    (await verifyLogOn(new Fixed(files).storage, DIRECTORY)).faults.map(({ file, offset, lsn, kind }) => [
      file.slice(-5),
      offset,
      lsn,
      kind,
    ]);
  assert.equal(await places(one.files), [
    ["1.wal", one.frame(1), 2, "frame"],
    ["1.wal", one.frame(3), 4, "frame"],
  ]);
  const [, chain] = TABLE.find(([what]) => what === "ancestor A: a missing segment went unnoticed")!;
  const three = new Damage(await chain(), new Map());
  three.flip(1, three.frame(0, 1) + 82);
  three.flip(2, 100);
  three.files.set("000-0000000004.wal", new Uint8Array(10));
  assert.equal(await places(three.files), [
    ["1.wal", three.frame(0, 1), 1, "frame"],
    ["2.wal", 32, 3, "header"],
    ["4.wal", 0, 7, "header"],
  ]);
});

test.run();
