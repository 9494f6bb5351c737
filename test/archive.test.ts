// Sealed segments go to an archive before they may be dropped: at least once, in order, and nobody waits for it.

import { spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { attachLog, openLog, verifyLog, type Log, type LogOptions, type SealedSegment } from "../src/index.js";
import { ABANDON, openLogWith } from "../src/log.js";
import type { OpenLog } from "../src/open-log.js";
import { readFooter } from "../src/footer.js";
import { parseSegmentName, readSegmentHeader, segmentName } from "../src/segment.js";
import type { Storage } from "../src/storage.js";
import { nodeStorage } from "../src/storage/node.js";
import { mortalCore } from "./support/dead-thread.js";
import { environment, openInline, WatchedStorage } from "./support/environment.js";
import { crc } from "./support/independent-reader.js";
import { endSoon, refused, until, within } from "./support/expect.js";
import { Random } from "./support/random.js";
import { freshPath } from "./support/scratch.js";
import { SimulatedDisk } from "./support/simulated-disk.js";

test.after(endSoon);

const SMALL: LogOptions = { stripes: 4, ringBytes: 4096, segmentBytes: 16384 };
const open = async (directory: string, options: LogOptions = {}): Promise<OpenLog> =>
  (await openLog(directory, { ...SMALL, ...options })) as OpenLog;
const line = (i: number): string => `entry ${i} `.padEnd(1000, "x");

function fill(log: Pick<Log, "appendSync">, from: number, to: number): void {
  for (let i = from; i < to; i++) log.appendSync(line(i));
}

const segments = (directory: string): string[] => readdirSync(directory).filter((name) => parseSegmentName(name) !== undefined);
const read = (directory: string, name: string): Buffer => readFileSync(join(directory, name));

/** Looks now, and lets all of it happen. */
async function archiveAll(log: OpenLog): Promise<void> {
  await within(log.upkeep.tick());
  await within(log.upkeep.archiver!.idle());
}

for (const topology of ["striped", "per-core"] as const) {
  test(`${topology}: sealed segments are copied, also those of earlier opens, and only once; the last one of each chain is not`, async () => {
    const directory = freshPath("log");
    const archive = freshPath("archive");
    const before = await open(directory, { topology });
    fill(before, 1, 40);
    await before.close();
    const sealed = segments(directory).length;
    const log = await open(directory, { archive: { directory: archive } });
    const writers = topology === "striped" ? [log] : [log, await attachLog(log.handle)];
    for (const writer of writers) fill(writer, 40, 80);
    await archiveAll(log);
    const { archived, archiveBacklog, failures } = log.stats().upkeep;
    assert.equal([archived, archiveBacklog, failures], [segments(directory).length - writers.length, 0, 0]);
    assert.ok(archived > sealed);
    const copies = segments(archive);
    assert.is(copies.length, archived);
    for (const name of copies) assert.equal(read(archive, name), read(directory, name), name);
    for (const writer of writers) fill(writer, 80, 90);
    await log.close();
    assert.equal((await verifyLog(directory)).faults, []);

    const again = await open(directory, { archive: { directory: pathToFileURL(archive) } });
    fill(again, 90, 110);
    await archiveAll(again);
    const { archived: more } = again.stats().upkeep;
    assert.ok(more > 0 && copies.length + more === segments(archive).length, "those that it has are not copied again");
    await again.close();
  });
}

test("a function gets each one in order, with what is in it; a sync function will do; the timer drives it", async () => {
  const directory = freshPath("log");
  const seen: SealedSegment[] = [];
  const log = await open(directory, { archive: (segment) => void seen.push(segment) });
  fill(log, 1, 100);
  const all = (await log.segments()).slice(0, -1);
  await until(() => log.stats().upkeep.archived === all.length, "all are archived");
  assert.equal(
    seen,
    all.map(({ core, number, path, firstLsn, lastLsn, bytes }) => ({ core, number, path, firstLsn, lastLsn, bytes })),
  );
  await log.close();
});

test("nothing is dropped before it is archived; a failing archive is told, tried again later and later, and loses nothing", async () => {
  const directory = freshPath("log");
  let works = false;
  const tries: number[] = [];
  let nowMs = 1e12;
  const log = (await openInline(
    directory,
    {
      ...SMALL,
      retention: { bytes: 0, withoutCheckpoint: true },
      archive: () => {
        tries.push(nowMs);
        if (!works) throw new Error("no such bucket");
      },
    },
    { now: () => (nowMs += 0.001), manual: true },
  )) as OpenLog;
  fill(log, 1, 60);
  assert.is((await log.truncateBefore(60)).segments, 0);
  for (const end = nowMs + 600_000; nowMs < end; nowMs += 50) {
    void log.upkeep.tick();
    await within(log.upkeep.archiver!.idle());
    await new Promise(setImmediate);
  }
  assert.is(log.firstLsn, 1);
  const stats = log.stats().upkeep;
  assert.is(stats.failures, tries.length);
  assert.match(stats.lastFailure!, /no such bucket/);
  assert.is(stats.archiveBacklog, segments(directory).length - 1);
  const pauses = tries.slice(1).map((at, i) => at - tries[i]!);
  assert.ok(pauses[0]! >= 250 && pauses[0]! < 400, `first ${pauses[0]} ms`);
  for (const [i, pause] of pauses.entries())
    assert.ok(pause <= 61_000 && (i === 0 || pause > pauses[i - 1]! * 0.99), `${pauses.join()} ms`);
  assert.ok(pauses.at(-1)! > 59_000);
  works = true;
  nowMs += 60_000;
  await archiveAll(log);
  assert.is(log.stats().upkeep.archiveBacklog, 0);
  // By the retention, which is looked at again when something was archived.
  await within(log.upkeep.tick());
  assert.ok(log.firstLsn > 40);
  fill(log, 60, 62);
  // The last one is not archived yet, also if everything in it may go.
  await log.truncateBefore(62);
  assert.ok(log.firstLsn < 62);
  await log.close();
});

test("an archive that never answers holds up neither appends, checkpoints nor close(), and its answer after that counts for nothing", async () => {
  const directory = freshPath("log");
  let answer: (() => void) | undefined;
  const log = await open(directory, { archive: () => new Promise<void>((resolve) => (answer = resolve)) });
  fill(log, 1, 60);
  await until(() => answer !== undefined, "it is asked");
  await log.append("on");
  await within(log.checkpoint(({ write }) => write("state")));
  await within(log.truncateBefore(50));
  assert.is(log.firstLsn, 1);
  await within(log.close());
  answer!();
  await within(log.upkeep.archiver!.idle());
  assert.not(readdirSync(directory).some((name) => name.startsWith("corewal.archive")));
});

if (process.versions.bun === undefined && process.versions["deno"] === undefined)
  test("… nor the end of the process", () => {
    const index = pathToFileURL(join(dirname(process.argv[1]!), "../src/index.js")).href;
    const code = `const { openLog } = await import(${JSON.stringify(index)});
      let asked = () => {};
      const was = new Promise((resolve) => (asked = resolve));
      const log = await openLog(${JSON.stringify(freshPath("log"))}, { segmentBytes: 16384, ringBytes: 4096, archive: () => (asked(), new Promise(() => {})) });
      for (let i = 0; i < 60; i++) log.appendSync("x".repeat(1000));
      const alive = setInterval(() => {}, 1000);
      await was;
      clearInterval(alive);
      console.log("the end");`;
    const { stdout, status, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", code], {
      encoding: "utf8",
      timeout: 30_000,
    });
    assert.is(stdout, "the end\n", stderr);
    assert.is(status, 0);
  });

test("a cursor that is lost, damaged or another log's means archiving again; what is there already is fine", async () => {
  const directory = freshPath("log");
  const archive = freshPath("archive");
  const other = freshPath("other");
  for (const path of [directory, other]) {
    const log = await open(path, { archive: { directory: path === directory ? archive : freshPath("archive") } });
    fill(log, 1, 60);
    await archiveAll(log);
    await log.close();
  }
  const cursor = join(directory, "corewal.archive");
  const whole = readFileSync(cursor);
  // As FORMAT.md has it.
  const [text, checksum] = whole.toString().split("\n") as [string, string];
  assert.is(parseInt(checksum, 16), crc(new Uint8Array(16), Buffer.from(text)));
  const flipped = (at: number): Buffer => Buffer.from(whole.map((byte, i) => (i === at ? byte ^ 1 : byte)));
  const count = segments(archive).length;
  const digit = whole.indexOf(`[0,${count}]`) + 3;
  assert.ok(digit > 3, whole.toString());
  for (const bytes of [undefined, Buffer.alloc(0), flipped(digit), flipped(whole.length - 3), read(other, "corewal.archive"), whole]) {
    if (bytes === undefined) rmSync(cursor);
    else writeFileSync(cursor, bytes);
    const log = await open(directory, { archive: { directory: archive } });
    // Those of the opens before it.
    const sealed = (await log.segments()).length - 1;
    fill(log, 60, 61);
    await archiveAll(log);
    const { archived, failures } = log.stats().upkeep;
    assert.is(failures, 0);
    if (bytes === whole) assert.ok(archived < sealed);
    else assert.ok(archived >= sealed && archived > 3, `${archived} of ${sealed}`);
    await log.close();
  }
});

test("a cursor that cannot be read for a moment: nothing is archived anew, nothing goes, and it is told", async () => {
  const directory = freshPath("log");
  const archive = { directory: freshPath("archive") };
  const before = await open(directory, { archive });
  fill(before, 1, 40);
  await archiveAll(before);
  const { archived } = before.stats().upkeep;
  await before.close();

  const storage = new WatchedStorage();
  let broken = true;
  storage.before = ({ what, name }) => {
    if (broken && what === "open" && name === "corewal.archive") throw Object.assign(new Error("EIO: i/o error"), { code: "EIO" });
  };
  let nowMs = 1e12;
  const log = (await openInline(directory, { ...SMALL, archive }, { storage, now: () => (nowMs += 0.001), manual: true })) as OpenLog;
  fill(log, 40, 60);
  await archiveAll(log);
  const { failures, lastFailure } = log.stats().upkeep;
  assert.is(failures, 1);
  assert.match(lastFailure!, /EIO/);
  await refused(log.truncateBefore(40), "COREWAL_IO");
  assert.is(log.firstLsn, 1);
  broken = false;
  nowMs += 1000;
  await archiveAll(log);
  assert.is(storage.steps.filter(({ what, name }) => what === "create" && name === `${segmentName(0, 1)}.new`).length, 0);
  const stats = log.stats().upkeep;
  assert.is(stats.archived, segments(archive.directory).length - archived);
  assert.ok(stats.archived > 0);
  assert.ok((await log.truncateBefore(40)).segments > 0);
  await log.close();
});

test("another file under the name of a segment is refused, and says what to do; moved away, the segment is archived", async () => {
  const directory = freshPath("log");
  const archive = freshPath("archive");
  const log = await open(directory, { archive: { directory: archive } });
  fill(log, 1, 40);
  const name = segmentName(0, 1);
  mkdirSync(archive);
  writeFileSync(join(archive, name), read(directory, name).fill(7, 5000, 5001));
  await archiveAll(log);
  assert.is(log.stats().upkeep.archived, 0);
  assert.match(log.stats().upkeep.lastFailure!, /another .*000-0000000001\.wal.* move it away/);
  await log.truncateBefore(40);
  assert.is(log.firstLsn, 1);
  renameSync(join(archive, name), join(archive, "mine"));
  await until(() => log.stats().upkeep.archiveBacklog === 0, "it is tried again");
  assert.equal(read(archive, name), read(directory, name));
  await log.close();
});

test("another log's archive is refused at open, and so are options that make no sense", async () => {
  const directory = freshPath("log");
  const archive = freshPath("archive");
  const log = await open(directory, { archive: { directory: archive } });
  fill(log, 1, 40);
  await archiveAll(log);
  await log.close();
  const other = freshPath("other");
  await refused(open(other, { archive: { directory: archive } }), "COREWAL_ARCHIVE", /archive of another log/);
  const stranger = await open(other);
  await stranger.append("one");
  await stranger.close();
  await refused(open(other, { archive: { directory: archive } }), "COREWAL_ARCHIVE", /an archive of its own/);
  for (const [options, words] of [
    [{ archive: { directory } }, /archive.directory is the log's own/],
    [{ archive: {} as never }, /option archive.directory is a path/],
    [{ archive: { directory: "" } }, /option archive.directory is a path/],
    [{ archive: { directory: archive, keep: 1 } as never }, /archive.keep does not exist/],
    [{ archive: "archive" as never }, /archive/],
    [{ archive: null as never }, /option archive is null/],
  ] as [LogOptions, RegExp][])
    await refused(open(directory, options), "COREWAL_INVALID_OPTION", words);
  await (await open(directory, { archive: { directory: archive } })).close();
});

test("a segment is final only when it says that the next one continues it", async () => {
  const directory = freshPath("log");
  const log = (await openInline(directory, { ...SMALL, archive: () => {} }, { manual: true })) as OpenLog;
  fill(log, 1, 40);
  const path = join(directory, segmentName(0, 1));
  const whole = readFileSync(path);
  writeFileSync(path, Buffer.from(whole).fill(0, whole.length - 64));
  await archiveAll(log);
  assert.is(log.stats().upkeep.archived, 0, "nothing behind it comes first");
  writeFileSync(path, whole);
  await archiveAll(log);
  assert.is(log.stats().upkeep.archiveBacklog, 0);
  assert.is(log.stats().upkeep.failures, 0);
  await log.close();
});

test("a segment without entries stays as well until it is archived", async () => {
  const directory = freshPath("log");
  const archive = freshPath("archive");
  const log = (await openInline(directory, { ...SMALL, archive: { directory: archive } }, { manual: true })) as OpenLog;
  fill(log, 1, 20);
  for (let round = 0; round < 4; round++) {
    await archiveAll(log);
    // Each makes a segment that says what is gone, and that nothing may be in.
    await log.truncateBefore(round === 0 ? 18 : 20);
  }
  await archiveAll(log);
  const numbers = [...segments(directory), ...segments(archive)].map((name) => parseSegmentName(name)!.number);
  const last = Math.max(...numbers);
  assert.ok(last > 2);
  for (let number = 1; number <= last; number++) assert.ok(numbers.includes(number), `segment ${number} of ${last} is gone`);
  await log.close();
});

for (const slow of [/^000-0000000001\.wal\.new$/, /^corewal\.archive\.new$/])
  test(`a log that is closed while ${slow.source} is fsynced: nothing gets its name afterwards, since the log may be another process's`, async () => {
    const directory = freshPath("log");
    const archive = freshPath("archive");
    let finish: (() => void) | undefined;
    const storage: Storage = {
      ...nodeStorage,
      create: (path) => {
        const file = nodeStorage.create(path);
        if (slow.test(basename(path)) && !path.startsWith(directory + "/000")) {
          file.syncLater = () => new Promise<void>((resolve) => (finish = resolve));
        }
        return file;
      },
    };
    const log = (await openInline(directory, { ...SMALL, archive: { directory: archive } }, { storage, manual: true })) as OpenLog;
    fill(log, 1, 40);
    void log.upkeep.tick();
    await until(() => finish !== undefined, "the fsync is under way");
    await within(log.close());
    finish!();
    await within(log.upkeep.archiver!.idle());
    assert.not.ok(readdirSync(directory).includes("corewal.archive"));
    assert.ok(segments(archive).length <= 1);
    if (slow.source.startsWith("^000")) assert.equal(segments(archive), []);
    const again = (await openInline(directory, { ...SMALL, archive: { directory: archive } }, { manual: true })) as OpenLog;
    await archiveAll(again);
    assert.ok(again.stats().upkeep.archived > 1);
    await again.close();
  });

test("the order: the copy is durable under its name before the cursor, and that before the segment goes", async () => {
  const directory = freshPath("log");
  const storage = new WatchedStorage();
  const log = (await openInline(
    directory,
    { ...SMALL, archive: { directory: freshPath("archive") } },
    { storage, manual: true },
  )) as OpenLog;
  fill(log, 1, 20);
  storage.steps.length = 0;
  await archiveAll(log);
  await log.truncateBefore(20);
  const steps = storage.changes().map(({ what, name }) => `${what} ${name.replace(/(log|archive)\d+$/, "$1")}`);
  const name = segmentName(0, 1);
  const expected = [
    `sync ${name}.new`,
    `rename ${name}`,
    "syncDirectory archive",
    "write corewal.archive.new",
    "sync corewal.archive.new",
    "rename corewal.archive",
    "syncDirectory log",
    "rename spare-0000000001.new",
  ];
  assert.equal(
    steps.filter((step) => expected.includes(step) && step !== "syncDirectory log").slice(0, 7),
    expected.filter((step) => step !== "syncDirectory log"),
    steps.join("\n"),
  );
  const named = steps.indexOf("rename corewal.archive");
  assert.is(steps[named + 1], "syncDirectory log");
  assert.ok(steps.lastIndexOf(`write ${name}.new`) < steps.indexOf(`sync ${name}.new`));
  await log.close();
});

// --- power cuts ------------------------------------------------------------------------------------

const DIRECTORY = "/disk/log";
const ARCHIVE = "/disk/archive";
const POWER: LogOptions = { ...SMALL, stripes: 1, flusher: "inline", spareSegments: 1, archive: { directory: ARCHIVE } };

async function openOn(disk: SimulatedDisk): Promise<OpenLog> {
  const random = new Random(disk.operations + 1);
  const changes = {
    storage: disk,
    lock: (): { release(): void } => ({ release: () => {} }),
    core: mortalCore(POWER),
    manual: true,
    randomBytes: (n: number) => random.fill(new Uint8Array(n)),
  };
  return (await openLogWith(DIRECTORY, POWER, environment(changes))) as OpenLog;
}

async function live(disk: SimulatedDisk): Promise<void> {
  let log: OpenLog | undefined;
  try {
    log = await openOn(disk);
    for (let round = 0; round < 3; round++) {
      fill(log, 0, 16);
      await log.upkeep.tick();
      await log.upkeep.archiver!.idle();
      await log.truncateBefore(log.durableLsn - 3);
      await log.upkeep.spares.idle();
    }
  } catch (error) {
    if (!disk.down) throw error;
  } finally {
    log?.[ABANDON]();
  }
}

/** Every segment that ever was is in the log or, whole, in the archive. */
function nothingIsMissing(disk: SimulatedDisk): number {
  const numbers = (directory: string): number[] =>
    [...disk.files(directory).keys()].flatMap((name) => parseSegmentName(name)?.number ?? []).sort((a, b) => a - b);
  const [there, archived] = [numbers(DIRECTORY), numbers(ARCHIVE)];
  for (let number = 1; number <= (there.at(-1) ?? 0); number++)
    assert.ok(there.includes(number) || archived.includes(number), `segment ${number} is in neither`);
  for (const number of archived) {
    const file = disk.open(`${ARCHIVE}/${segmentName(0, number)}`, "read");
    const header = readSegmentHeader(file);
    assert.is(header.number, number);
    assert.is(readFooter(file, header)?.continued?.number, number + 1, `segment ${number} of the archive is whole`);
    file.close();
  }
  return archived.filter((number) => !there.includes(number)).length;
}

test("power cuts at every operation: every segment is in the log or, whole, in the archive", async () => {
  const machine = (seed: number): SimulatedDisk => new SimulatedDisk(new Random(seed), { orderedNames: seed % 3 === 0, eachFile: true });
  const counted = machine(1);
  await live(counted);
  const { operations } = counted;
  let archivedOnly = 0;
  for (let at = 2; at <= operations; at++) {
    for (let outcome = 0; outcome < 2; outcome++) {
      const disk = machine(2 * at + outcome);
      for (const after of [at, 20 + ((7 * at) % 200), Infinity]) {
        disk.crashAt = disk.operations + after;
        await live(disk);
        if (after < Infinity) disk.reboot();
        archivedOnly += nothingIsMissing(disk);
      }
    }
  }
  console.log(`# ${operations} operations, ${4 * (operations - 1)} power cuts; ${archivedOnly} times a segment was in the archive only`);
  assert.ok(archivedOnly > 100);
});

test.run();
