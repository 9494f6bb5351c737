// The bad day of per-core logs: damage in one chain or in several, a chain that is gone, and what epochs promise.

import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { codeOf } from "../src/errors.js";
import type { RepairPolicy, RepairReport } from "../src/rebuild.js";
import { recoverLog } from "../src/recover.js";
import { repairLogOn } from "../src/repair.js";
import { neverWrites, type Storage } from "../src/storage.js";
import { verifyLogOn } from "../src/verify.js";
import { CORES_DIRECTORY as DIRECTORY, CoresLog } from "./support/chain-writer.js";
import { Fixed } from "./support/fixed-log.js";
import { crc, readLog, type ReadSegment } from "./support/independent-reader.js";
import { MemoryStorage } from "./support/memory-storage.js";
import { Random } from "./support/random.js";
import { keepsBytes } from "./support/repair-judge.js";
import { freshDirectory } from "./support/scratch.js";
import { SimulatedDisk } from "./support/simulated-disk.js";

type Files = Map<string, Uint8Array>;
const POLICIES = ["truncate", "skip"] as const;
const name = (chain: number, number: number): string => `00${chain}-000000000${number}.wal`;

/** Two cores; epoch 0, a barrier, epoch 1. Frames: a0, a1 a2, barrier, proof, record, proof, a3; b0, barrier, proof, b1. */
function twoCores(end: (log: CoresLog) => void = () => undefined): Files {
  const storage = MemoryStorage.of(DIRECTORY, new Map());
  const log = new CoresLog(storage, 2);
  log.core(0).append("a0");
  log.core(1).append("b0");
  log.core(0).append("a1", "a2");
  log.barrier();
  log.core(1).append("b1");
  log.core(0).append("a3");
  end(log);
  return storage.files(DIRECTORY);
}
const close = (log: CoresLog): void => log.close();
/** A second segment in each chain. */
const rotated = (log: CoresLog): void => {
  for (const core of [0, 1]) {
    log.core(core).rotate();
    log.core(core).append(core === 0 ? "a4" : "b2");
  }
  log.close();
};
const ALL = ["a0", "b0", "a1", "a2", "b1", "a3"];

/** The frames of a segment of a chain, of its last one if not told. */
const segmentOf = (files: Files, chain: number, number?: number): ReadSegment =>
  readLog(files).segments.findLast((s) => s.chain === chain && (number === undefined || s.number === number))!;

/** A frame, its first entry damaged. */
function damage(files: Files, chain: number, frame: number, number?: number): Files {
  const { file, frames } = segmentOf(files, chain, number);
  const bytes = files.get(file)!.slice();
  bytes[frames[frame]!.offset + 70]! ^= 1;
  return new Map(files).set(file, bytes);
}

/** A segment's header says something else, its checksum right again. */
function withHeader(files: Files, file: string, edit: (v: DataView) => void): Files {
  const bytes = files.get(file)!.slice();
  const v = new DataView(bytes.buffer);
  edit(v);
  v.setUint32(252, crc(bytes.subarray(48, 56), new Uint8Array(8), bytes.subarray(0, 252)), true);
  return new Map(files).set(file, bytes);
}
const without = (files: Files, chain: number): Files => new Map([...files].filter(([file]) => !file.startsWith(`00${chain}-`)));
const valuesIn = (files: Files): string[] =>
  readLog(files)
    .entries.filter(({ kind }) => kind === "data")
    .map(({ value }) => Buffer.from(value).toString());
const verify = (files: Files): ReturnType<typeof verifyLogOn> => verifyLogOn(MemoryStorage.of(DIRECTORY, files), DIRECTORY);
const repairOn = (storage: Storage, policy: RepairPolicy, dryRun = false): Promise<RepairReport> =>
  repairLogOn(DIRECTORY, { policy, dryRun }, { ...new Fixed().environment(), storage });

/** Repairs, and checks what every repair promises. */
async function repaired(files: Files, policy: RepairPolicy): Promise<{ report: RepairReport; files: Files }> {
  const storage = MemoryStorage.of(DIRECTORY, files);
  const before = await verifyLogOn(storage, DIRECTORY);
  assert.is(before.ok, false);
  const dry = await repairOn(storage, policy, true);
  assert.is(storage.changes, 0, "a dry run changed something");
  assert.equal(dry.faults, before.faults);
  const report = await repairOn(storage, policy);
  assert.equal({ ...report, dryRun: true }, dry);
  const after = await verifyLogOn(storage, DIRECTORY);
  assert.equal(after.faults, []);
  assert.equal(after.lost, report.lost);
  const now = storage.files(DIRECTORY);
  assert.ok(["clean", "torn"].includes(readLog(now).answer), JSON.stringify(readLog(now).bad));
  keepsBytes(files, now, assert.ok);
  const was = readLog(files);
  const found = recoverLog(storage, DIRECTORY, "read", neverWrites);
  for (const { term, epoch } of was.entries) assert.ok(found.term > term && found.epoch >= epoch, "term or epoch went back");
  // It goes on in every chain: no LSN that is lost is given again, no term was there before.
  const log = new CoresLog(storage, 2);
  log.core(0).append("after 0");
  log.core(1).append("after 1");
  log.close();
  for (const { core, lastLsn } of report.cores) {
    const entries = readLog(storage.files(DIRECTORY))
      .segments.filter(({ chain }) => chain === core)
      .flatMap((segment) => segment.entries.filter(({ kind }) => kind === "data"));
    assert.is(entries.at(-1)!.lsn, lastLsn + 1, `core ${core} goes on`);
  }
  assert.equal((await verifyLogOn(storage, DIRECTORY)).faults, []);
  assert.is((await repairOn(storage, policy)).damaged, false, "a second repair finds damage");
  return { report, files: now };
}

const places = (faults: RepairReport["faults"]): unknown => faults.map(({ core, kind, lsn }) => [core, kind, lsn]);

// --- damage ---------------------------------------------------------------------------------------------

for (const [end, how] of [
  [undefined, "killed"],
  [close, "closed"],
] as const) {
  test(`${how}, damage in one chain: it is repaired, the other stays as it is`, async () => {
    const files = twoCores(end);
    const damaged = damage(files, 1, 0);
    assert.equal(places((await verify(damaged)).faults), [[1, "frame", 1]]);
    for (const policy of POLICIES) {
      const { report, files: now } = await repaired(damaged, policy);
      assert.equal(report.lost, [{ first: 1, last: policy === "skip" ? 1 : 2, core: 1 }]);
      assert.equal(
        valuesIn(now),
        ALL.filter((value) => !(policy === "skip" ? ["b0"] : ["b0", "b1"]).includes(value)),
      );
      assert.equal(now.get(name(0, 1)), files.get(name(0, 1)));
      assert.equal(
        report.cores.map(({ core, damaged: d }) => [core, d]),
        [
          [0, false],
          [1, true],
        ],
      );
      assert.is(report.saved, policy === "skip" ? 1 : 0);
    }
  });

  test(`${how}, damage in both chains: faults and losses are named core by core`, async () => {
    const damaged = damage(damage(twoCores(end), 1, 0), 0, 1);
    assert.equal(places((await verify(damaged)).faults), [
      [0, "frame", 2],
      [1, "frame", 1],
    ]);
    for (const policy of POLICIES) {
      const { report, files: now } = await repaired(damaged, policy);
      // Of the batch one entry is damaged.
      const lost = policy === "skip" ? ["a1", "b0"] : ["a1", "a2", "a3", "b0", "b1"];
      assert.equal(
        valuesIn(now),
        ALL.filter((value) => !lost.includes(value)),
      );
      assert.equal(
        report.lost.map(({ first, core }) => [core, first]),
        [
          [0, 2],
          [1, 1],
        ],
      );
    }
  });

  for (const chain of [0, 1]) {
    test(`${how}, chain ${chain} is missing: the log opens again, and says that nobody knows what is lost`, async () => {
      const damaged = without(twoCores(end), chain);
      const { faults } = await verify(damaged);
      assert.equal(places(faults), [[chain, "chain", 1]]);
      assert.match(faults[0]!.message, `the whole of chain ${chain} is missing`);
      assert.is(faults[0]!.file, `${DIRECTORY}/${name(chain, 1)}`);
      for (const policy of POLICIES) {
        const { report, files: now } = await repaired(damaged, policy);
        assert.equal(report.lost, [{ first: 1, core: chain }]);
        assert.equal(
          valuesIn(now),
          ALL.filter((value) => value.startsWith(chain === 0 ? "b" : "a")),
        );
        assert.ok(now.has(name(chain, 1)));
        assert.ok(recoverLog(MemoryStorage.of(DIRECTORY, now), DIRECTORY, "read", neverWrites).complete <= 1);
      }
    });
  }
}

// --- epochs -----------------------------------------------------------------------------------------------

test("a damaged barrier frame is a fault if its epoch was promised, of which a repair loses no LSN", async () => {
  const damaged = damage(twoCores(), 1, 1);
  assert.equal(places((await verify(damaged)).faults), [[1, "frame", 2]]);
  const { report, files } = await repaired(damaged, "skip");
  assert.equal(report.lost, []);
  assert.equal(valuesIn(files), ALL);
  const cut = await repaired(damaged, "truncate");
  assert.equal(cut.report.lost, [{ first: 2, last: 2, core: 1 }]);
  assert.is(recoverLog(MemoryStorage.of(DIRECTORY, cut.files), DIRECTORY, "read", neverWrites).epoch, 1);
});

test("a damaged barrier frame that only an empty frame promises is a fault as well", async () => {
  const files = twoCores((log) => (log.advance(), log.core(0).record(), log.core(0).prove()));
  assert.is(segmentOf(files, 0).frames.length, 9);
  assert.equal(places((await verify(damage(files, 0, 7))).faults), [[0, "frame", 5]]);
  const { report, files: now } = await repaired(damage(files, 0, 7), "skip");
  assert.equal(report.lost, []);
  assert.equal(valuesIn(now), ALL);
});

test("a damaged barrier frame or record that nothing promises is a torn tail", async () => {
  for (const end of [(log: CoresLog) => (log.advance(), log.core(0).record()), (log: CoresLog) => log.core(0).record()]) {
    const report = await verify(damage(twoCores(end), 0, 7));
    assert.equal(report.faults, []);
    assert.is(report.cores[0]!.torn!.offset, segmentOf(twoCores(end), 0).frames[7]!.offset);
  }
});

test("a repair does not make a crashed epoch complete", async () => {
  const files = twoCores();
  const { complete } = recoverLog(MemoryStorage.of(DIRECTORY, files), DIRECTORY, "read", neverWrites);
  for (const policy of POLICIES) {
    const now = (await repaired(damage(damage(files, 1, 0), 0, 0), policy)).files;
    assert.ok(recoverLog(MemoryStorage.of(DIRECTORY, now), DIRECTORY, "read", neverWrites).complete <= complete);
  }
});

test("verify says of each core how it ends: torn, or closed", async () => {
  const files = damage(
    twoCores((log) => log.core(1).seal()),
    0,
    6,
  );
  const { ok, clean, cores, torn, entries, frames, segments } = await verify(files);
  assert.ok(ok && !clean);
  assert.equal(
    cores.map((c) => [c.core, c.clean, c.lastLsn, c.entries, c.torn !== undefined]),
    [
      [0, false, 3, 3, true],
      [1, true, 2, 2, false],
    ],
  );
  assert.equal([torn, entries, segments], [cores[0]!.torn, 5, 2]);
  assert.is(frames, cores[0]!.frames + cores[1]!.frames);
});

// --- files of others ------------------------------------------------------------------------------------

test("segments of two chains under each other's names: nothing is lost, and no chain takes the other's entries", async () => {
  const files = twoCores(close);
  const swapped = new Map([
    [name(0, 1), files.get(name(1, 1))!],
    [name(1, 1), files.get(name(0, 1))!],
  ]);
  const { report, files: now } = await repaired(swapped, "skip");
  assert.equal(places(report.faults), [
    [0, "chain", 1],
    [1, "chain", 1],
  ]);
  assert.equal(report.lost, []);
  assert.equal(valuesIn(now), ALL);
  for (const { chain, entries } of readLog(now).segments)
    assert.ok(
      entries.every(({ stripe }) => stripe === chain),
      `chain ${chain}`,
    );
});

test("a segment at the end of a chain that says it is of another log is read as its neighbours know it", async () => {
  const files = twoCores(rotated);
  const damaged = withHeader(files, name(1, 2), (v) => v.setUint8(40, 0xee));
  const { report, files: now } = await repaired(damaged, "skip");
  assert.match(report.faults[0]!.message, "another log");
  assert.equal(valuesIn(now), [...ALL, "a4", "b2"]);
});

test("a repair goes on in a term that no chain has had", async () => {
  const storage = MemoryStorage.of(DIRECTORY, twoCores(close));
  const log = new CoresLog(storage, 2);
  log.core(0).append("a4");
  log.close();
  const files = storage.files(DIRECTORY);
  for (const policy of POLICIES) await repaired(damage(files, 1, 0), policy);
});

test("a chain of another log, or of another topology, is a fault; a repair sets the stranger aside", async () => {
  const files = twoCores(close);
  const edited = (edit: (v: DataView) => void): Files => withHeader(files, name(1, 1), edit);
  const alien = edited((v) => v.setUint8(40, 0xee));
  const { report, files: now } = await repaired(alien, "skip");
  assert.match(report.faults[0]!.message, "another log");
  assert.match(report.faults[1]!.message, "the whole of chain 1 is missing");
  assert.equal(
    valuesIn(now),
    ALL.filter((value) => value.startsWith("a")),
  );
  assert.ok(now.has(`${name(1, 1)}.removed-1`));
  const striped = edited((v) => v.setUint32(56, 0, true));
  const kept = await repaired(striped, "skip");
  assert.match(kept.report.faults[0]!.message, "the log is per-core");
  assert.equal(valuesIn(kept.files), ALL);
});

// --- at the wrong moment ----------------------------------------------------------------------------------

for (const policy of POLICIES) {
  test(`invariant 12, several chains: repair, ${policy}, power lost at any of its steps: each chain is as it was or repaired`, async () => {
    const damaged = damage(damage(twoCores(rotated), 1, 0, 1), 0, 1, 1);
    const disk = (files: Files, seed: number): SimulatedDisk => {
      const made = new SimulatedDisk(new Random(seed));
      made.makeDirectory(DIRECTORY);
      for (const [file, bytes] of files) {
        const handle = made.create(`${DIRECTORY}/${file}`);
        handle.write(bytes, 0);
        handle.sync();
        handle.close();
      }
      made.syncDirectory(DIRECTORY);
      return made;
    };
    const whole = disk(damaged, 1);
    const report = await repairOn(whole, policy);
    const expected = valuesIn(whole.files(DIRECTORY));
    const counts: Record<number, number> = {};
    for (let step = 1; ; step++) {
      const one = disk(damaged, step);
      const before = one.operations;
      one.crashAt = before + step;
      const ended = await repairOn(one, policy).then(() => "done", codeOf);
      if (ended === "done" && !one.down && one.operations - before < step) break;
      one.reboot();
      const now = one.files(DIRECTORY);
      const { faults } = await verify(now);
      const still = new Set(faults.map(({ core }) => core)).size;
      counts[still] = (counts[still] ?? 0) + 1;
      const again = disk(now, step);
      await repairOn(again, policy);
      assert.equal(valuesIn(again.files(DIRECTORY)), expected, `step ${step}`);
      assert.equal((await verify(again.files(DIRECTORY))).lost, report.lost, `step ${step}`);
    }
    assert.ok(counts[2]! > 5 && counts[1]! > 0 && counts[0]! > 0, JSON.stringify(counts));
  });
}

// --- the command line ----------------------------------------------------------------------------------

test("corewal verify and repair name the core of each fault and of each loss", () => {
  const directory = freshDirectory("repair-cores");
  for (const [file, bytes] of damage(twoCores(close), 1, 0)) writeFileSync(join(directory, file), bytes);
  const cli = fileURLToPath(new URL("../src/cli.js", import.meta.url));
  const corewal = (...args: string[]): string => spawnSync(process.execPath, [cli, ...args], { encoding: "utf8" }).stdout;
  assert.match(corewal("verify", directory), /frame {2}core 1 .*001-0000000001\.wal/);
  const out = corewal("repair", directory, "--policy", "skip");
  assert.match(out, /fault {2}core 1 [\s\S]*lost {2}core 1 {2}LSN 1\n[\s\S]*the log ends core 0 at LSN 4, core 1 at LSN 2/);
  assert.match(corewal("verify", directory), /^sound[\s\S]*lost in an earlier repair: core 1 {2}LSN 1/);
});

test.run();
