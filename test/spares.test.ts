// Dropped segments are used again: what becomes of the files, in which order, and what every power cut leaves of that.

import { readdirSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { ABANDON, openLogWith } from "../src/log.js";
import type { OpenLog } from "../src/open-log.js";
import { openLog, verifyLog, type Log, type LogOptions } from "../src/index.js";
import { parseSegmentName, parseSpareName, readSegmentHeader, segmentName } from "../src/segment.js";
import { verifyLogOn } from "../src/verify.js";
import { mortalCore } from "./support/dead-thread.js";
import { environment, openInline, systemError, WatchedStorage, type Step } from "./support/environment.js";
import { endSoon, readAll, refused, textOf, within } from "./support/expect.js";
import { Random } from "./support/random.js";
import { freshPath } from "./support/scratch.js";
import { SimulatedDisk } from "./support/simulated-disk.js";

test.after(endSoon);

const SEGMENT_BYTES = 16384;
const SMALL: LogOptions = { stripes: 4, ringBytes: 4096, segmentBytes: SEGMENT_BYTES };
const line = (i: number): string => `entry ${i} `.padEnd(1000, "x");

function fill(log: Log, from: number, to: number): void {
  for (let i = from; i < to; i++) assert.is(log.appendSync(line(i)), i);
}

const names = (directory: string, pattern: RegExp): string[] =>
  readdirSync(directory)
    .filter((name) => pattern.test(name))
    .sort();
const spares = (directory: string): string[] => names(directory, /^spare-/);
const inode = (directory: string, name: string): number => statSync(join(directory, name)).ino;
const isZeros = (bytes: Uint8Array): boolean => bytes.every((byte) => byte === 0);

async function requireEntries(log: Log, to: number): Promise<void> {
  const entries = await readAll(log);
  assert.equal(
    entries.map((entry) => [entry.lsn, textOf(entry)]),
    entries.map((_, i) => [log.firstLsn + i, line(log.firstLsn + i)]),
  );
  assert.is(log.firstLsn + entries.length, to);
}

test("dropped segments become zeros under a spare's name, and then the next segments, no more than are wanted", async () => {
  const directory = freshPath("spares");
  const log = (await openLog(directory, SMALL)) as OpenLog;
  fill(log, 1, 100);
  const inodes = names(directory, /\.wal$/).map((name) => inode(directory, name));
  const { segments } = await log.truncateBefore(90);
  assert.ok(segments > 3);
  await within(log.upkeep.spares.idle());
  assert.equal(spares(directory), ["spare-0000000001", "spare-0000000002"]);
  for (const name of spares(directory)) {
    const bytes = readFileSync(join(directory, name));
    assert.ok(bytes.length === SEGMENT_BYTES && isZeros(bytes), name);
    assert.ok(inodes.includes(inode(directory, name)), "it is a file of before");
  }
  const [first, second] = spares(directory).map((name) => inode(directory, name));
  const written = log.stats().writtenBytes;
  const begun = log.stats().segmentsBegun;
  fill(log, 100, 106);
  const frames = log.stats().writtenBytes - written - 6 * 1152;
  fill(log, 106, 150);
  assert.ok(log.stats().segmentsBegun >= begun + 3);
  assert.ok(frames < 5000, `no zeros are written ahead: ${frames}`);
  assert.equal(spares(directory), []);
  const now = names(directory, /\.wal$/).map((name) => inode(directory, name));
  assert.ok(now.includes(first!) && now.includes(second!), "both are segments again");
  await requireEntries(log, 150);
  await log.close();
  assert.equal((await verifyLog(directory)).faults, []);
  const again = await openLog(directory, SMALL);
  await requireEntries(again, 150);
  await again.close();
});

test("spareSegments: 0 removes what is dropped", async () => {
  const directory = freshPath("spares");
  const log = (await openLog(directory, { ...SMALL, spareSegments: 0 })) as OpenLog;
  fill(log, 1, 50);
  assert.ok((await log.truncateBefore(45)).segments > 0);
  await within(log.upkeep.spares.idle());
  assert.equal(spares(directory), []);
  await log.close();
});

test("what a killed process has left half-made is removed at the next open for writing, and so are spares that are too many", async () => {
  const directory = freshPath("spares");
  const log = await openLog(directory, SMALL);
  fill(log, 1, 5);
  await log.close();
  const left = ["spare-0000000001.new", "000-0000000007.wal.new", "checkpoint-0000000001.ckp.new"];
  for (const name of left) writeFileSync(join(directory, name), "half");
  for (let n = 2; n < 6; n++) writeFileSync(join(directory, `spare-000000000${n}`), new Uint8Array(n * 8192));
  assert.equal((await verifyLog(directory)).faults, []);
  const readOnly = await openLog(directory, { readOnly: true });
  await requireEntries(readOnly, 5);
  await readOnly.close();
  assert.is(names(directory, /\.new$/).length, 3, "who only reads changes nothing");
  const again = await openLog(directory, { ...SMALL, spareSegments: 3 });
  assert.equal(names(directory, /\.new$/), []);
  assert.equal(spares(directory), ["spare-0000000002", "spare-0000000003", "spare-0000000004"]);
  // One that is as large, one that is larger and one that is larger still: each has the size of a segment at most.
  for (let i = 5; i < 60; i++) {
    assert.is(again.appendSync(line(i)), i);
    for (const name of names(directory, /\.wal$/)) assert.ok(statSync(join(directory, name)).size <= SEGMENT_BYTES, name);
  }
  assert.equal(spares(directory), []);
  await requireEntries(again, 60);
  await again.close();
  assert.equal((await verifyLog(directory)).faults, []);
});

test("smaller spares are filled up ahead, as a new file is", async () => {
  const directory = freshPath("spares");
  const log = (await openLog(directory, SMALL)) as OpenLog;
  fill(log, 1, 50);
  await log.truncateBefore(50);
  await within(log.upkeep.spares.idle());
  await log.close();
  const again = await openLog(directory, { ...SMALL, segmentBytes: 4 * SEGMENT_BYTES });
  fill(again, 50, 200);
  await requireEntries(again, 200);
  await again.close();
  assert.equal((await verifyLog(directory)).faults, []);
});

test("the order: names durable before the first zero, zeros before the spare's name, and that gone before the first byte of a segment", async () => {
  const directory = freshPath("spares");
  const storage = new WatchedStorage();
  const log = (await openInline(directory, { ...SMALL, spareSegments: 1 }, { storage })) as OpenLog;
  fill(log, 1, 30);
  storage.steps.length = 0;
  await log.truncateBefore(30);
  await within(log.upkeep.spares.idle());
  fill(log, 30, 32);
  await log.truncateBefore(32);
  const steps = storage.changes();
  const at = (what: Step["what"], name: RegExp, from = 0): number =>
    steps.findIndex((step, i) => i >= from && step.what === what && name.test(step.name));
  const order = [at("rename", /^spare-0000000001.new$/)];
  const then = (what: Step["what"], name: RegExp): void => void order.push(at(what, name, order.at(-1)! + 1));
  then("syncDirectory", /./);
  assert.is(order[1], at("syncDirectory", /./, order[0]), "no other fsync of names comes before");
  const zeros = at("write", /^spare-0000000001.new$/);
  then("write", /^spare-/);
  assert.is(order[2], zeros, "nothing is written before");
  then("sync", /^spare-0000000001.new$/);
  then("rename", /^spare-0000000001$/);
  then("rename", /\.wal\.new$/);
  then("syncDirectory", /./);
  then("write", /\.wal\.new$/);
  then("sync", /\.wal\.new$/);
  then("rename", /\.wal$/);
  then("syncDirectory", /./);
  assert.not.ok(order.includes(-1), JSON.stringify(steps));
  const [taken, written] = [order[5]!, order[7]!];
  assert.is(at("write", /\.wal\.new$/, taken), written, "no byte before the spare's name is durably gone");
  await log.close();
});

test("another flusher was faster: the next spare, or a new file", async () => {
  const directory = freshPath("spares");
  const storage = new WatchedStorage();
  const log = (await openInline(directory, SMALL, { storage })) as OpenLog;
  fill(log, 1, 30);
  await log.truncateBefore(30);
  await within(log.upkeep.spares.idle());
  const [first, second] = spares(directory);
  storage.before = ({ what, name }) => {
    if (what === "rename" && /\.wal\.new$/.test(name) && spares(directory).includes(first!)) {
      storage.before = () => {};
      // As if it had just been renamed by another thread.
      throw systemError("ENOENT");
    }
  };
  const before = inode(directory, second!);
  fill(log, 30, 45);
  assert.ok(names(directory, /\.wal$/).some((name) => inode(directory, name) === before));
  await requireEntries(log, 45);
  await log.close();
});

test("a spare that cannot be made is removed, told by stats(), and the log goes on", async () => {
  const directory = freshPath("spares");
  const storage = new WatchedStorage();
  storage.before = ({ what, name }) => {
    if (what === "sync" && name.startsWith("spare-")) throw systemError("EIO");
  };
  const log = (await openInline(directory, SMALL, { storage })) as OpenLog;
  fill(log, 1, 30);
  await log.truncateBefore(30);
  await within(log.upkeep.spares.idle());
  assert.equal(spares(directory), []);
  assert.is(log.stats().upkeep.failures, 2);
  assert.match(log.stats().upkeep.lastFailure!, /EIO/);
  fill(log, 30, 60);
  await log.close();
});

test("a log that is closed while a spare is made leaves nothing half-made", async () => {
  const directory = freshPath("spares");
  const log = (await openLog(directory, { ...SMALL, segmentBytes: 1 << 24 })) as OpenLog;
  fill(log, 1, 3);
  await log.truncateBefore(3);
  assert.equal(spares(directory), ["spare-0000000001.new"]);
  await log.close();
  assert.equal(spares(directory), []);
  const again = await openLog(directory, SMALL);
  fill(again, 3, 5);
  await again.close();
  await within(log.upkeep.spares.idle());
  assert.equal(spares(directory), []);
});

test("whoever reads in another process a segment that is zeroed meanwhile was lapped, and sees no damage", async () => {
  const directory = freshPath("spares");
  const log = (await openLog(directory, { ...SMALL, segmentBytes: 1 << 20 })) as OpenLog;
  for (let i = 1; i <= 4000; i++) log.write(line(i));
  await log.sync();
  const outside = await openLog(directory, { readOnly: true });
  const reading = outside.readBatches()[Symbol.asyncIterator]();
  await reading.next();
  assert.ok((await log.truncateBefore(4000)).segments > 0);
  await within(log.upkeep.spares.idle());
  await refused(async () => {
    for (let r = await reading.next(); r.done !== true; r = await reading.next());
  }, "COREWAL_READER_LAPPED");
  await outside.close();
  await log.close();
});

test("verify of a log that drops segments meanwhile takes none of it for damage", async () => {
  const directory = freshPath("spares");
  const log = await openLog(directory, SMALL);
  fill(log, 1, 60);
  const drop = (number: number): void => {
    const to = join(directory, `spare-000000000${number}`);
    renameSync(join(directory, segmentName(0, number)), to);
    writeFileSync(to, new Uint8Array(SEGMENT_BYTES));
  };
  const seen: number[] = [];
  const report = await verifyLog(directory, {
    onProgress: (done) => {
      seen.push(done);
      // Before it is read, as the process that writes might have done.
      if (done < 2) drop(done + 1);
    },
  });
  assert.equal(report.faults, []);
  assert.ok(report.live && seen.length > 3);
  await log.close();
  // The same without anybody who may have dropped it.
  assert.is((await verifyLog(directory)).ok, false);
});

// --- power cuts ------------------------------------------------------------------------------------

const DIRECTORY = "/disk/log";

/** One process: drops, makes spares, uses them. Says how far it came. */
class Life {
  acknowledged = 0;
  log: OpenLog | undefined;

  constructor(private readonly disk: SimulatedDisk) {}

  async live(): Promise<void> {
    try {
      const log = await open(this.disk);
      this.log = log;
      // Frames of a kilobyte: a segment takes 14 of them.
      this.acknowledged = log.recovery.lastLsn;
      for (let round = 0; round < 2; round++) {
        for (let i = 0; i < 20; i++) this.acknowledged = log.appendSync(line(this.acknowledged + 1));
        await log.truncateBefore(this.acknowledged - 5);
        await within(log.upkeep.spares.idle());
      }
    } catch (error) {
      if (!this.disk.down) throw error;
    }
  }
}

const POWER: LogOptions = { ...SMALL, stripes: 1, flusher: "inline", spareSegments: 1 };
let core: ReturnType<typeof mortalCore>;

async function open(disk: SimulatedDisk): Promise<OpenLog> {
  const random = new Random(disk.operations + 1);
  core ??= mortalCore(POWER);
  const lock = (): { release(): void } => ({ release: () => {} });
  return (await openLogWith(
    DIRECTORY,
    POWER,
    environment({ storage: disk, lock, core, manual: true, randomBytes: (n) => random.fill(new Uint8Array(n)) }),
  )) as OpenLog;
}

/** Whatever has a name is what the name says. */
function checkNames(disk: SimulatedDisk): void {
  for (const [name, bytes] of disk.files(DIRECTORY)) {
    if (parseSpareName(name) !== undefined) assert.ok(isZeros(bytes), `${name} is not zeros`);
    const segment = parseSegmentName(name);
    if (segment === undefined) continue;
    const file = disk.open(`${DIRECTORY}/${name}`, "read");
    assert.is(readSegmentHeader(file).number, segment.number, name);
    file.close();
  }
}

async function checkLog(disk: SimulatedDisk, acknowledged: number): Promise<void> {
  checkNames(disk);
  const exists = [...disk.files(DIRECTORY).keys()].some((name) => parseSegmentName(name) !== undefined);
  if (exists) assert.equal((await verifyLogOn(disk, DIRECTORY)).faults, []);
  const log = await open(disk);
  const { lastLsn } = log.recovery;
  assert.ok(lastLsn >= acknowledged, `LSN ${acknowledged} was acknowledged, and the log ends with ${lastLsn}`);
  assert.ok(log.firstLsn <= Math.max(1, acknowledged - 5), "no more was dropped than was asked for");
  await requireEntries(log, lastLsn + 1);
  log[ABANDON]();
}

test("power cuts at every operation of drop, zeroing and use leave only names that tell the truth, and every entry", async () => {
  const outcomes = 4;
  let cuts = 0;
  let withSpare = 0;
  const machine = (seed: number): SimulatedDisk => new SimulatedDisk(new Random(seed), { orderedNames: seed % 3 === 0, eachFile: true });
  // Counted without a cut.
  const disk = machine(1);
  const counted = new Life(disk);
  await counted.live();
  const operations = disk.operations;
  counted.log![ABANDON]();
  for (let at = 2; at <= operations; at++) {
    for (let outcome = 0; outcome < outcomes; outcome++) {
      const seed = at * outcomes + outcome;
      const cut = machine(seed);
      let acknowledged = 0;
      // The second process goes on with what the first one left, and is cut off as well, somewhere.
      for (const after of [at, 20 + (seed % 150)]) {
        cut.crashAt = cut.operations + after;
        const life = new Life(cut);
        await life.live();
        life.log?.[ABANDON]();
        acknowledged = Math.max(acknowledged, life.acknowledged);
        cut.reboot();
        cuts++;
        await checkLog(cut.copy(new Random(seed)), acknowledged);
        if ([...cut.files(DIRECTORY).keys()].some((name) => parseSpareName(name) !== undefined)) withSpare++;
      }
    }
  }
  console.log(`# ${operations} operations, ${cuts} power cuts, ${withSpare} with a spare`);
  assert.ok(withSpare > 100);
});

test.run();
