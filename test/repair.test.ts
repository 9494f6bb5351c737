// The bad day: logs damaged in every way of the table of recover.test.ts and in a sample of the ways of every-byte.ts
// are repaired, with both policies.

import { test } from "uvu";
import * as assert from "uvu/assert";
import { codeOf } from "../src/errors.js";
import { ABANDON, openLogWith, PUMP } from "../src/log.js";
import type { LogOptions } from "../src/options.js";
import type { RepairPolicy } from "../src/rebuild.js";
import { repairLogOn } from "../src/repair.js";
import type { Storage } from "../src/storage.js";
import { verifyLogOn } from "../src/verify.js";
import { damageCases } from "./support/damage-cases.js";
import { LOGS } from "./support/damage-logs.js";
import { Damage, killed, name, TABLE } from "./support/damaged-logs.js";
import { appendEach, DIRECTORY, drive, Fixed, readAll, SMALL, type FixedLog } from "./support/fixed-log.js";
import { pattern, type Files } from "./support/golden-cases.js";
import { readLog, type ReadLog } from "./support/independent-reader.js";
import { MemoryStorage } from "./support/memory-storage.js";
import { Violation } from "./support/oracle.js";
import { Random } from "./support/random.js";
import { judgeRepair, keepsBytes } from "./support/repair-judge.js";
import { NO_FAULTS, SimulatedDisk, type DiskOptions } from "./support/simulated-disk.js";

const POLICIES = ["truncate", "skip"] as const;
/** A few of the damages; many with COREWAL_MANY. */
const SAMPLE =
  process.env["COREWAL_MANY"] === undefined
    ? { bytes: 97, bits: 1, zeros: 16384, zeroBits: 1, lengths: 701, pairs: 0 }
    : { bytes: 7, bits: 1, zeros: 1024, zeroBits: 1, lengths: 61, pairs: 1 };

for (const [what, make, corrupt] of TABLE) {
  for (const policy of POLICIES) {
    test(`repair, ${policy}: ${what}`, async () => {
      const d = new Damage(await make(), await killed());
      corrupt(d);
      await judgeRepair(d.good, d.files, policy);
    });
  }
}

for (const [what, make] of LOGS) {
  for (const policy of POLICIES) {
    test(`repair, ${policy}: a log that was ${what}, damaged anywhere`, async () => {
      const files = await make();
      const good = readLog(files);
      const counts = new Map<string, number>();
      for (const damage of damageCases(files, SAMPLE)) {
        try {
          const { outcome, lost, report } = await judgeRepair(good, damage.make(), policy);
          counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
          if (policy === "skip" && damage.kind === "bit flipped")
            assert.ok(lost <= 1, `one flipped bit cost ${lost} entries: ${JSON.stringify(report)}`);
        } catch (error) {
          throw new Violation(`${damage.what}: ${(error as Error).stack}`);
        }
      }
      console.log(`\n# ${what}: ${[...counts].map(([outcome, n]) => `${n} ${outcome}`).join("; ")}`);
    });
  }
}

// --- how little is lost ---------------------------------------------------------------------------------

/** Two segments, a batch of forty in the first; closed. */
async function batches(options: LogOptions = {}): Promise<Files> {
  const fixed = new Fixed();
  for (let life = 0; life < 2; life++) {
    const log = await fixed.open({ ringBytes: 8192, ...options });
    await drive(log, log.append("before"));
    await drive(log, log.appendBatch(Array.from({ length: 40 }, (_, i) => pattern(20 + ((i * 7) % 50), i + 1))));
    await drive(log, log.append("behind"));
    await log.close();
  }
  return fixed.files;
}

test("repair, skip: a flipped bit anywhere costs one entry at most, also in a frame of many", async () => {
  const files = await batches();
  const good = readLog(files);
  let cost = 0;
  const bytes = files.get(name(1))!;
  for (let at = 0; at < bytes.length; at += 7) {
    const damaged = bytes.slice();
    damaged[at]! ^= 1 << (at & 7);
    const { lost, report } = await judgeRepair(good, new Map(files).set(name(1), damaged), "skip");
    assert.ok(lost <= 1, `bit flipped at ${at}: ${lost} entries lost: ${JSON.stringify(report)}`);
    cost += lost;
  }
  assert.ok(cost > 100, `only ${cost} flips cost anything`);
});

test("repair, skip: a header that is gone costs nothing if the neighbours know what it said, or one bit is all that is wrong", async () => {
  const files = await batches();
  const good = readLog(files);
  for (const file of files.keys()) {
    const damaged = files.get(file)!.slice().fill(0, 0, 256);
    assert.is((await judgeRepair(good, new Map(files).set(file, damaged), "skip")).lost, 0, file);
  }
  const only = new Map([[name(1), (await killed()).get(name(1))!]]);
  for (let at = 0; at < 256; at++) {
    const damaged = only.get(name(1))!.slice();
    damaged[at]! ^= 1 << (at & 7);
    assert.is((await judgeRepair(readLog(only), new Map([[name(1), damaged]]), "skip")).lost, 0, `bit flipped at ${at}`);
  }
});

test("repair, skip: a lost sector in a frame of many costs the entries that it held", async () => {
  const files = await batches();
  const good = readLog(files);
  const frame = good.segments[0]!.frames[1]!.offset;
  for (const from of [frame, frame + 512, frame + 1024, frame + 1100]) {
    const damaged = files
      .get(name(1))!
      .slice()
      .fill(0, from, from + 512);
    const { lost } = await judgeRepair(good, new Map(files).set(name(1), damaged), "skip");
    // The smallest entries take 40 bytes.
    assert.ok(lost > 0 && lost <= 512 / 40 + 2, `512 bytes lost at ${from} cost ${lost} entries`);
  }
});

test("repair: sectors that cannot be read are lost like any damage; what the copy keeps of them is zeros", async () => {
  const files = await batches();
  const good = readLog(files);
  const storage = MemoryStorage.of(DIRECTORY, files);
  const from = good.segments[0]!.frames[1]!.offset + 600;
  storage.unreadable = { path: `${DIRECTORY}/${name(1)}`, from, to: from + 1 };
  const verified = await verifyLogOn(storage, DIRECTORY);
  assert.ok(verified.faults.length > 0);
  assert.match(verified.faults[0]!.message, /frame/);
  const fixed = Object.assign(new Fixed(), { storage });
  const report = await repairLogOn(DIRECTORY, { policy: "skip" }, fixed.environment());
  assert.ok(report.damaged && report.lost.length > 0);
  storage.unreadable = undefined;
  assert.ok((await verifyLogOn(storage, DIRECTORY)).ok);
});

test("repair: where nobody says how far a segment goes, damage in it is a fault, and what is whole behind it stays", async () => {
  const fixed = new Fixed();
  const log = await fixed.open();
  await appendEach(
    fixed,
    log,
    [30, 300, 50, 50, 50].map((size, i) => pattern(size, i)),
  );
  log[ABANDON]();
  const [{ frames }] = readLog(fixed.files).segments as [ReadLog["segments"][number]];
  const bytes = fixed.files.get(name(1))!.slice();
  bytes[frames[1]!.offset + 100]! ^= 1;
  // It has no footer, and the header of the file behind it says nothing.
  const damaged = new Map(fixed.files).set(name(1), bytes).set(name(2), new Uint8Array(0));
  const machine = new Fixed(damaged);
  assert.equal(
    (await verifyLogOn(machine.storage, DIRECTORY)).faults.map(({ kind, lsn }) => [kind, lsn]),
    [
      ["frame", 2],
      ["header", 6],
    ],
  );
  const { lost, saved } = await repairLogOn(DIRECTORY, { policy: "skip" }, machine.environment());
  assert.equal([lost, saved], [[{ first: 2, last: 2 }, { first: 6 }], 3]);
});

test("repair: a last segment that is missing is named also if the one before it has lost its header", async () => {
  const fixed = new Fixed();
  for (let life = 0; life < 3; life++) {
    const log = await fixed.open();
    await appendEach(fixed, log, [`a ${life}`, `b ${life}`]);
    await log.close();
  }
  const damaged = fixed.files;
  damaged.delete(name(3));
  damaged.get(name(2))!.fill(0, 0, 256);
  const machine = new Fixed(damaged);
  const { faults, lost, lastLsn } = await repairLogOn(DIRECTORY, { policy: "skip" }, machine.environment());
  assert.equal(
    faults.map(({ kind, lsn }) => [kind, lsn]),
    [
      ["header", 3],
      ["chain", 5],
    ],
  );
  assert.equal([lost, lastLsn], [[{ first: 5 }], 4]);
  assert.ok((await machine.open()).recovery.term > 1_000_000, "in a term that no lost entry has had");
});

// --- at the wrong moment ------------------------------------------------------------------------------------

/** Sectors that are being written when the power goes may hold anything. */
const GARBAGE: Partial<DiskOptions> = { garbage: true };

function diskWith(files: Files, random: Random, options?: Partial<DiskOptions>): SimulatedDisk {
  const disk = new SimulatedDisk(random, options);
  disk.makeDirectory(DIRECTORY);
  for (const [file, bytes] of files) {
    const handle = disk.create(`${DIRECTORY}/${file}`);
    handle.write(bytes, 0);
    handle.sync();
    handle.close();
  }
  disk.syncDirectory(DIRECTORY);
  return disk;
}

/** The same storage, of which one call fails: the `at`-th, of it or of one of its files. */
function failing(storage: Storage, at: number): Storage {
  let calls = 0;
  const watch = <T extends object>(target: T): T =>
    new Proxy(target, {
      get(_, property) {
        const value: unknown = Reflect.get(target, property);
        if (typeof value !== "function") return value;
        return (...args: unknown[]): unknown => {
          // A close that fails has closed.
          if (++calls === at && property !== "close") throw Object.assign(new Error(`EIO: ${String(property)}`), { code: "EIO" });
          const result: unknown = Reflect.apply(value, target, args);
          return property === "open" || property === "create" ? watch(result as object) : result;
        };
      },
    });
  return watch(storage);
}

const facts = (log: ReadLog): string =>
  JSON.stringify(log.entries.map((e) => [e.lsn, e.term, e.kind, Buffer.from(e.value).toString("hex")]));
const repairOn = (disk: Storage, policy: RepairPolicy): Promise<unknown> =>
  repairLogOn(DIRECTORY, { policy }, { ...new Fixed().environment(), storage: disk });

/** Damaged in the frame of forty. */
async function damagedBatches(options?: LogOptions): Promise<{ good: ReadLog; damaged: Files }> {
  const files = await batches(options);
  const good = readLog(files);
  const bytes = files.get(name(1))!.slice();
  bytes[good.segments[0]!.frames[1]!.offset + 300]! ^= 1;
  return { good, damaged: new Map(files).set(name(1), bytes) };
}

/** Killed, so that nobody calls its last frames durable, and a file is in its way; if `idle`, the last one has no entries. */
async function strayBehindUnproven(options?: LogOptions, idle = false): Promise<{ good: ReadLog; damaged: Files }> {
  const fixed = new Fixed();
  const log = await fixed.open(options);
  for (let i = 0; i < 3; i++) await drive(log, log.append(pattern(700, i)));
  fixed.nowMs += 1000;
  if (idle) log[PUMP]();
  log[ABANDON]();
  return { good: readLog(fixed.files), damaged: new Map(fixed.files).set(name(9), pattern(3000, 9)) };
}

/** The files as a killed log leaves them: what was not fsynced before that stands in the cache. */
function lastFrameInCache(disk: SimulatedDisk, files: Files, good: ReadLog): void {
  const { offset } = good.segments[0]!.frames.at(-1)!;
  const bytes = files.get(name(1))!;
  const file = disk.open(`${DIRECTORY}/${name(1)}`, "write");
  file.write(new Uint8Array(64), offset);
  file.sync();
  file.write(bytes.subarray(offset, offset + 64), offset);
  file.close();
}

test("invariant 12: repair: the copy of what is cut off has its name for sure before the log ends there", async () => {
  const { damaged } = await damagedBatches({ frameAlign: 512 });
  const whole = diskWith(damaged, new Random(1));
  const operations: string[] = [];
  whole.onOperation = (text) => operations.push(text);
  await repairOn(whole, "skip");
  const commit = 1 + operations.findIndex((text) => /^rename .*\.new to /.test(text));
  let repaired = 0;
  for (let seed = 1; seed <= 60; seed++) {
    const disk = diskWith(damaged, new Random(seed));
    disk.crashAt = disk.operations + commit + 1;
    await repairOn(disk, "skip").catch(() => undefined);
    disk.reboot();
    const opened = Object.assign(new Fixed(), { storage: MemoryStorage.of(DIRECTORY, disk.files(DIRECTORY)) });
    if (!(await verifyLogOn(opened.storage, DIRECTORY)).ok) continue;
    repaired++;
    // Whoever opens it seals what was cut.
    await (await opened.open()).close();
    keepsBytes(damaged, opened.files, (fine, what) => assert.ok(fine, `seed ${seed}: ${what}`));
  }
  assert.ok(repaired > 10 && repaired < 60, `${repaired} of 60`);
});

test("invariant 12: repair, killed behind its commit, then again, and power loss: no segment that is part of the log goes", async () => {
  const { damaged } = await damagedBatches({ frameAlign: 512 });
  const whole = diskWith(damaged, new Random(1));
  const operations: string[] = [];
  whole.onOperation = (text) => operations.push(text);
  await repairOn(whole, "truncate");
  const expected = facts(readLog(whole.files(DIRECTORY)));
  const commit = 1 + operations.findIndex((text) => /^rename .*\.new to /.test(text));
  // Its rename was done, and is not yet on the disk.
  const killed = diskWith(damaged, new Random(1));
  killed.crashAt = killed.operations + commit + 1;
  await repairOn(killed, "truncate").catch(() => undefined);
  killed.restart();
  let crashes = 0;
  for (let step = 1; ; step++) {
    let over = true;
    for (let seed = 1; seed <= 12; seed++, crashes++) {
      const disk = killed.copy(new Random(seed * 1000 + step));
      disk.crashAt = disk.operations + step;
      over &&= await repairOn(disk, "truncate").then(
        () => !disk.down,
        () => false,
      );
      disk.reboot();
      const again = MemoryStorage.of(DIRECTORY, disk.files(DIRECTORY));
      await repairOn(again, "truncate");
      assert.is(facts(readLog(again.files(DIRECTORY))), expected, `seed ${seed}, step ${step}`);
    }
    if (over) break;
  }
  assert.ok(crashes > 100, `${crashes} crashes`);
});

for (const policy of POLICIES) {
  for (const how of ["power loss", "power loss that leaves garbage", "kill", "error"] as const) {
    for (const [what, make] of [
      ["", damagedBatches],
      [", a stray behind frames that nobody calls durable", strayBehindUnproven],
      [", a stray behind an empty frame that was not fsynced", (options) => strayBehindUnproven(options, true)],
    ] as [string, typeof damagedBatches][]) {
      test(`invariant 12: repair, ${policy}${what}: ${how} at any of its steps: the log is as damaged as before, or repaired`, async () => {
        const { good, damaged } = await make({ frameAlign: 512 });
        const options = how === "power loss that leaves garbage" ? GARBAGE : {};
        const whole = diskWith(damaged, new Random(1));
        await repairOn(whole, policy);
        const expected = facts(readLog(whole.files(DIRECTORY)));
        const counts = { damaged: 0, repaired: 0 };
        for (let seed = 1; seed <= 2; seed++) {
          for (let step = 1; ; step++) {
            const disk = diskWith(damaged, new Random(seed), options);
            if (what.includes("empty")) lastFrameInCache(disk, damaged, good);
            const before = disk.operations;
            if (how !== "error") disk.crashAt = before + step;
            const ended = await repairOn(how === "error" ? failing(disk, step) : disk, policy).then(
              () => "done",
              (error: unknown) => codeOf(error),
            );
            const over = ended === "done" && !disk.down && disk.operations - before < step;
            if (how.startsWith("power loss")) disk.reboot();
            else disk.restart();
            const now = disk.files(DIRECTORY);
            const { ok } = await verifyLogOn(MemoryStorage.of(DIRECTORY, now), DIRECTORY);
            const must = (fine: boolean, what: string): void => assert.ok(fine, `seed ${seed}, step ${step}: ${what}`);
            if (!what.includes("empty")) keepsBytes(damaged, now, must);
            must(disk.misuse === undefined, disk.misuse!);
            if (ok) assert.is(facts(readLog(now)), expected, `seed ${seed}, step ${step}`);
            else {
              await judgeRepair(good, new Map([...now].filter(([file]) => !file.endsWith(".new"))), policy);
              const again = diskWith(now, new Random(seed));
              await repairOn(again, policy);
              assert.is(facts(readLog(again.files(DIRECTORY))), expected, `seed ${seed}, step ${step}, repaired again`);
            }
            counts[ok ? "repaired" : "damaged"]++;
            if (over) break;
          }
        }
        assert.ok(counts.damaged > 10 && counts.repaired > 2, JSON.stringify(counts));
      });
    }
  }
  test(`repair, ${policy}: what stands in the cache only, since an fsync failed, is on the disk afterwards`, async () => {
    for (let seed = 1; seed <= 20; seed++) {
      const disk = diskWith(new Map(), new Random(seed));
      const environment = { ...new Fixed().environment(), storage: disk };
      const log = (await openLogWith(DIRECTORY, { ...SMALL, frameAlign: 512 }, environment)) as FixedLog;
      await drive(log, log.append(pattern(700, 1)));
      disk.faults = { ...disk.faults, syncError: 1 };
      assert.is(await drive(log, log.append(pattern(700, 2)).then(String, codeOf)), "COREWAL_OUTCOME_UNKNOWN");
      disk.faults = { ...NO_FAULTS };
      log[ABANDON]();
      disk.restart();
      const good = readLog(disk.files(DIRECTORY));
      assert.is(good.lastLsn, 2, "the cache shows it");
      const stray = disk.create(`${DIRECTORY}/${name(9)}`);
      stray.write(pattern(3000, 9), 0);
      stray.close();
      await repairOn(disk, policy);
      disk.reboot();
      assert.equal(
        readLog(disk.files(DIRECTORY))
          .entries.filter(({ kind }) => kind !== "lost")
          .map(({ lsn }) => lsn),
        [1, 2],
        `seed ${seed}`,
      );
    }
  });
}

// --- onCorruption -------------------------------------------------------------------------------------------

test("onCorruption: fail is the default and changes nothing; truncate and skip repair at open and say so", async () => {
  const files = await batches();
  const bytes = files.get(name(2))!.slice();
  bytes[100]! ^= 1;
  const damaged = new Map(files).set(name(2), bytes);
  const refusing = new Fixed(damaged);
  const refusal = await refusing.open().then(
    () => undefined,
    (error: unknown) => codeOf(error),
  );
  assert.is(refusal, "COREWAL_CORRUPT");
  assert.is(refusing.storage.changes, 0);
  for (const [onCorruption, entries, lost] of [
    ["truncate", 42, [{ first: 43, last: 84 }]],
    ["skip", 84, []],
  ] as const) {
    const fixed = new Fixed(damaged);
    const log = await fixed.open({ onCorruption });
    assert.is(log.recovery.repaired?.policy, onCorruption);
    assert.equal(log.recovery.repaired?.lost, lost);
    assert.is((await readAll(log)).length, entries);
    assert.is(await drive(log, log.append("next")), 85);
    await log.close();
    const again = await fixed.open({ onCorruption });
    assert.is(again.recovery.repaired, undefined);
    await again.close();
  }
});

test.run();
