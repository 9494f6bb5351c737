// The log as a whole: opening what is and what is not a log, reading, and what survives from open to open.

import { chmodSync, cpSync, mkdirSync, readdirSync, readlinkSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { placedChecksum } from "../src/core.js";
import { openLog } from "../src/index.js";
import type { Entry, Log } from "../src/types.js";
import { drive, openInline, systemError, WatchedStorage } from "./support/environment.js";
import { endSoon, readAll, refused, textOf, texts, within } from "./support/expect.js";
import { freshDirectory, freshPath } from "./support/scratch.js";
import { killChildren, startProcess } from "./support/script.js";

const SMALL = { ringBytes: 4096, segmentBytes: 16_384 };

// --- opening -----------------------------------------------------------------------------------------------------------

test("a directory is made if it is missing, with its parents; createIfMissing false refuses and makes nothing", async () => {
  const base = freshPath("made");
  await refused(openLog(join(base, "a", "b"), { createIfMissing: false }), "COREWAL_NOT_A_LOG", /createIfMissing/);
  assert.throws(() => readdirSync(base), /ENOENT/);
  const log = await openLog(join(base, "a", "b"));
  assert.ok(log.recovery.created && log.recovery.clean);
  assert.equal([log.recovery.firstLsn, log.recovery.lastLsn, log.recovery.term], [1, 0, 1]);
  await log.append("x");
  await log.close();
  const again = await openLog(join(base, "a", "b"), { createIfMissing: false });
  assert.not.ok(again.recovery.created);
  await again.close();
});

test("what is no directory, or holds other files, is refused by name and left alone", async () => {
  const base = freshDirectory("foreign");
  const file = join(base, "file");
  writeFileSync(file, "mine");
  for (const path of [file, join(file, "below")]) {
    for (const readOnly of [false, true]) await refused(openLog(path, { readOnly }), "COREWAL_NOT_A_LOG");
  }
  const names = ["a.txt", "b.txt", "c.txt", "d.txt"];
  const foreign = freshDirectory("foreign");
  names.forEach((name) => writeFileSync(join(foreign, name), "mine"));
  const error = await refused(openLog(foreign), "COREWAL_NOT_A_LOG", /a\.txt|b\.txt|c\.txt|d\.txt/);
  assert.is(error.file, foreign);
  await refused(openLog(foreign, { readOnly: true }), "COREWAL_NOT_A_LOG");
  assert.equal(readdirSync(foreign).sort(), names);
  const dangling = join(base, "dangling");
  symlinkSync(join(base, "nowhere"), dangling);
  const refusedOrMade = await openLog(dangling).catch((e: Error & { code: string }) => e);
  if (refusedOrMade instanceof Error) assert.match(refusedOrMade.code, /^COREWAL_/);
  else await refusedOrMade.close();
  const long = await openLog(join(base, "x".repeat(300))).catch((e: Error & { code: string }) => e.code);
  assert.is(long, "COREWAL_IO");
  // Files that come by beside a log, and what systems leave in every directory, disturb nobody.
  const log = await openLog(join(base, "log"));
  await log.append("x");
  await log.close();
  writeFileSync(join(base, "log", "README"), "mine");
  mkdirSync(join(base, "fresh"));
  writeFileSync(join(base, "fresh", ".DS_Store"), "");
  for (const name of ["log", "fresh"]) await (await openLog(join(base, name))).close();
});

test("no permission is COREWAL_NO_PERMISSION and never a raw code: every call of opening", async () => {
  const directory = freshPath("permission");
  const first = await openInline(directory, SMALL);
  await first.append("x");
  await first.close();
  // Root may do everything, so the refusals are made up.
  for (const what of ["list", "open", "read", "create", "rename", "syncDirectory", "write", "sync"] as const) {
    for (const code of ["EACCES", "EPERM", "EROFS"]) {
      const storage = new WatchedStorage();
      storage.before = (step) => {
        if (step.what === what) throw systemError(code);
      };
      const opened = await openInline(directory, SMALL, { storage, manual: true }).catch((e: Error & { code: string }) => e);
      if (opened instanceof Error) {
        assert.is(opened.code, "COREWAL_NO_PERMISSION", `${what}: ${opened.message}`);
        continue;
      }
      const error = await refused(drive(opened, opened.append("y")), "COREWAL_OUTCOME_UNKNOWN");
      assert.is((error.cause as { code?: string }).code, "COREWAL_NO_PERMISSION");
      await refused(opened.close(), "COREWAL_POISONED");
    }
  }
});

test("no permission, for real: another user's process", async () => {
  if (process.getuid?.() !== 0) return console.log("# another user's process: skipped, needs root");
  const base = freshDirectory("user");
  for (const path of [base, dirname(base)]) chmodSync(path, 0o755);
  const directory = join(base, "log");
  const log = await openLog(directory);
  await log.append("x");
  await log.close();
  const lock = readdirSync(directory).find((n) => n.startsWith("corewal.lock."))!;
  for (const [mode, lockMode, readOnly, expected] of [
    [0o700, 0o644, false, "COREWAL_NO_PERMISSION"],
    [0o700, 0o644, true, "COREWAL_NO_PERMISSION"],
    [0o755, 0o644, false, "COREWAL_NO_PERMISSION"],
    [0o755, 0o600, false, "COREWAL_NO_PERMISSION"],
    [0o755, 0o600, true, "COREWAL_NO_PERMISSION"],
    [0o755, 0o644, true, "1 entries"],
  ] as const) {
    chmodSync(directory, mode);
    chmodSync(join(directory, lock), lockMode);
    const { ended } = startProcess("open-as-nobody", { directory, readOnly });
    const { out, err } = await within(ended);
    assert.is(out.trim(), expected, `mode ${mode.toString(8)}, lock ${lockMode.toString(8)}, readOnly ${readOnly}: ${err}`);
  }
});

test("a newer format version is its own answer, for reading and for writing, and nothing is changed", async () => {
  const directory = freshPath("newer");
  const log = await openLog(directory);
  await log.append("x");
  await log.close();
  const path = join(directory, "000-0000000001.wal");
  const bytes = readFileSync(path);
  // Preamble: the version at 8, its own checksum at 28; nothing else of it may ever change.
  assert.is(bytes.readUInt32LE(8), 1);
  bytes.writeUInt32LE(2, 8);
  bytes.writeUInt32LE(placedChecksum(0n, 0, bytes.subarray(0, 28)), 28);
  writeFileSync(path, bytes);
  for (const readOnly of [false, true]) {
    const error = await refused(openLog(directory, { readOnly }), "COREWAL_UNKNOWN_VERSION", /version 2/);
    assert.ok(error.file?.endsWith("000-0000000001.wal"));
  }
  assert.equal(readFileSync(path), bytes);
});

// --- reading -------------------------------------------------------------------------------------------------------------

async function filled(n: number): Promise<{ log: Log; directory: string }> {
  const directory = freshPath("read");
  const log = await openLog(directory, SMALL);
  await Promise.all(Array.from({ length: n }, (_, i) => log.append(`${i + 1} `.padEnd(20 + (i % 200), "x"))));
  return { log, directory };
}
const lsns = (entries: Entry[]): number[] => entries.map((e) => e.lsn);
const range = (from: number, to: number): number[] => Array.from({ length: Math.max(0, to - from + 1) }, (_, i) => from + i);

test("read: from, to, both, neither, beyond; get; readBatches and replay say the same, through all segments", async () => {
  const { log } = await filled(2000);
  assert.ok(log.stats().segment.number > 5);
  for (const [from, to] of [
    [undefined, undefined],
    [1, 1],
    [1, 2000],
    [2000, 2000],
    [700, 1300],
    [1999, 5000],
    [2001, undefined],
    [5000, 6000],
    [10, 9],
    [undefined, 5],
    [1990, undefined],
    [1, Infinity],
  ] as const) {
    const expected = range(from ?? 1, Math.min(to ?? 2000, 2000));
    assert.equal(lsns(await readAll(log, { from, to })), expected, `${from} to ${to}`);
    const batches: Entry[] = [];
    for await (const batch of log.readBatches({ from, to })) {
      assert.ok(batch.length > 0);
      batches.push(...batch);
    }
    assert.equal(lsns(batches), expected);
  }
  for (const lsn of [1, 2, 999, 1000, 2000]) assert.match(textOf((await log.get(lsn))!), new RegExp(`^${lsn} `));
  assert.is(await log.get(2001), undefined);
  const replayed: Entry[] = [];
  for await (const entry of log.replay()) replayed.push(entry);
  assert.is(replayed.length, 2000);
  await log.close();
});

test("read ends at what was durable when it began; a second reading sees more; entries stay as they are", async () => {
  const { log } = await filled(10);
  const iterator = log.read()[Symbol.asyncIterator]();
  const first = (await iterator.next()).value as Entry;
  const copy = Buffer.from(first.value).toString();
  for (let i = 11; i <= 400; i++) void log.append(`${i} `.padEnd(300, "y"));
  await log.sync();
  const rest: Entry[] = [];
  for (let r = await iterator.next(); r.done !== true; r = await iterator.next()) rest.push(r.value);
  assert.equal(lsns(rest), range(2, 10));
  assert.ok((await iterator.next()).done, "it ends, and stays at its end");
  assert.is((await readAll(log)).length, 400);
  assert.is(textOf(first), copy);
  await log.close();
});

test("what is in the ring is not shown", async () => {
  const log = await openInline(freshPath("read"), SMALL, { manual: true });
  log.write("not yet");
  assert.equal(await texts(log), []);
  assert.is(await log.get(1), undefined);
  await drive(log, log.sync());
  assert.equal(await texts(log), ["not yet"]);
  await log.close();
});

/** Descriptors of files below a directory: what runtime and threads have open is their affair. */
const openFiles = (directory: string): number =>
  readdirSync("/proc/self/fd").filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith(directory);
    } catch {
      return false; // closed meanwhile
    }
  }).length;

test("reading closes its files: at the end, after break, after a throw, after abort; and close closes the log's", async () => {
  const { log, directory } = await filled(500);
  const open = openFiles(directory);
  assert.ok(open > 0);
  await readAll(log);
  for await (const entry of log.read()) if (entry.lsn === 3) break;
  for await (const batch of log.readBatches()) if (batch.length > 0) break;
  await readAll(log, { from: 400, to: 410 });
  await log.get(5);
  try {
    for await (const entry of log.read({ from: 5 })) throw new Error(`${entry.lsn}`);
  } catch {
    // as it should be
  }
  const gone = new AbortController();
  const error = await refused(async () => {
    for await (const batch of log.readBatches({ signal: gone.signal })) {
      assert.ok(batch.length < 500);
      gone.abort();
    }
    assert.unreachable("aborted");
  }, "COREWAL_ABORTED").catch((e: Error) => e);
  assert.is(openFiles(directory), open);
  if (error.message === "aborted") throw error;
  await log.close();
  assert.is(openFiles(directory), 0);
});

// --- from open to open -----------------------------------------------------------------------------------------------------

test("invariant 11, ancestors A and B, identity and recovery: LSNs, terms, epochs and time go on after reopening; a clock set back changes no order", async () => {
  const directory = freshPath("again");
  const clock = { ms: 1_700_000_000_000 };
  let lsn = 0;
  let epoch = 0;
  for (let open = 1; open <= 6; open++) {
    const log = await openInline(directory, SMALL, { now: () => (clock.ms += 0.25) });
    assert.is(log.recovery.lastLsn, lsn);
    assert.is(log.recovery.term, open);
    assert.ok(log.recovery.epoch >= epoch);
    epoch = log.recovery.epoch;
    for (let i = 0; i < 10; i++) {
      assert.is(await log.append(`${open} ${i} `.padEnd(500, "x")), ++lsn);
      // The clock jumps back, between frames and between opens.
      if (i === 5) clock.ms -= 3_600_000;
    }
    await log.close();
    clock.ms -= 7_200_000;
  }
  const log = await openLog(directory, { readOnly: true });
  const entries = await readAll(log);
  assert.equal(lsns(entries), range(1, 60), "the first is there too, and none twice");
  entries.forEach((e, i) => {
    assert.is(e.term, Math.floor(i / 10) + 1);
    if (i > 0) assert.ok(e.timestampMs >= entries[i - 1]!.timestampMs, `time goes back at LSN ${e.lsn}`);
    assert.ok(i === 0 || e.epoch >= entries[i - 1]!.epoch);
  });
});

test("ancestor A, recovery: a torn tail does not become an error one start later, however often it is opened", async () => {
  const source = freshPath("torn");
  const log = await openLog(source);
  for (let i = 0; i < 5; i++) await log.append(`entry ${i}`);
  const directory = freshPath("torn");
  cpSync(source, directory, { recursive: true, filter: (name) => !name.includes("corewal.lock") });
  await log.close();
  const path = join(directory, "000-0000000001.wal");
  const bytes = readFileSync(path);
  // Half a frame behind the last one, as an interrupted write leaves it.
  const end = (await statOf(directory)).offset;
  bytes.fill(0xab, end, end + 40);
  writeFileSync(path, bytes);
  for (let open = 0; open < 4; open++) {
    const again = await openLog(directory);
    assert.is(again.recovery.torn !== undefined, open === 0);
    assert.equal(await texts(again), [...range(0, 4).map((i) => `entry ${i}`), ...range(1, open).map((i) => `open ${i}`)]);
    if (open < 3) await again.append(`open ${open + 1}`);
    await again.close();
  }
});

async function statOf(directory: string): Promise<{ offset: number }> {
  const log = await openLog(directory, { readOnly: true });
  const { offset } = log.stats().segment;
  await log.close();
  return { offset };
}

test("ancestor A, stalls: a log that has nothing to do uses no processor time, in no thread", async () => {
  for (const flusher of ["worker", "inline"] as const) {
    const log = await openLog(freshPath("idle"), { ...SMALL, flusher });
    await log.append("x");
    // Processor time of this process only: other processes on the machine do not count.
    const before = process.cpuUsage();
    await new Promise((resolve) => setTimeout(resolve, 400));
    const { user, system } = process.cpuUsage(before);
    assert.ok(user + system < 200_000, `${flusher}: ${user + system} µs in 400 ms`);
    await log.close();
  }
});

test("stats add up", async () => {
  const log = await openInline(freshPath("stats"), SMALL, { manual: true });
  await drive(log, log.append("12345"));
  await drive(log, log.appendBatch(["a", "bc"]));
  const s = log.stats();
  assert.equal([s.lastLsn, s.durableLsn, s.entries, s.payloadBytes, s.voidLsns, s.state], [3, 3, 3, 8, 0, "open"]);
  assert.ok(s.fsyncs === 2 && s.frames >= 2 && s.segmentsBegun === 1 && s.segment.number === 1);
  assert.ok(s.fsyncMs.max >= s.fsyncMs.p50 && s.fsyncMs.p99 >= s.fsyncMs.p50 && s.fsyncMs.mean > 0);
  await log.close();
  assert.is(log.stats().state, "closed");
});

test.after(killChildren);
test.after(endSoon);
test.run();
