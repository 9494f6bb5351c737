// The way back of per-core logs: several chains, each recovered by itself, and what they say together.

import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { ENTRY_KEY_BYTES, ENTRY_PAYLOAD_BYTES, FRAME_HEADER_BYTES, TIME_BYTES } from "../assembly/layout.js";
import { CorewalError } from "../src/errors.js";
import { statLog } from "../src/inspect.js";
import { openLog } from "../src/log.js";
import { recoverForReading } from "../src/read-only.js";
import { recoverLog, reportOf, type RecoveredLog } from "../src/recover.js";
import type { RecoverMode } from "../src/recover-chain.js";
import { neverWrites, readAll } from "../src/storage.js";
import { CORES_DIRECTORY as DIRECTORY, CoresLog } from "./support/chain-writer.js";
import { FuzzLog } from "./support/fuzz-logs.js";
import { crc, readLog, type ReadLog } from "./support/independent-reader.js";
import { Random } from "./support/random.js";
import { PowerLoss, SimulatedDisk } from "./support/simulated-disk.js";
import { MemoryStorage } from "./support/memory-storage.js";
import { freshDirectory } from "./support/scratch.js";

// --- a machine, and the hands that damage it --------------------------------------------------------

type Files = Map<string, Uint8Array>;

class Machine {
  readonly storage: MemoryStorage;
  constructor(files: Files = new Map()) {
    this.storage = MemoryStorage.of(DIRECTORY, files);
  }
  get files(): Files {
    return this.storage.files(DIRECTORY);
  }
  /** As the independent reader sees it. */
  get seen(): ReadLog {
    return readLog(this.files);
  }
  open(cores: number, options?: ConstructorParameters<typeof CoresLog>[2]): CoresLog {
    return new CoresLog(this.storage, cores, options);
  }
  read(mode: RecoverMode = "read"): RecoveredLog {
    const before = this.storage.changes;
    const found = recoverLog(this.storage, DIRECTORY, mode, neverWrites);
    assert.is(this.storage.changes, before, "a reader changed something");
    return found;
  }
  /** The same machine with other bytes. */
  with(edit: (files: Files) => void): Machine {
    const files = this.files;
    edit(files);
    return new Machine(files);
  }
  /** A segment's header says something else, its checksum right again. */
  withHeader(file: string, change: (v: DataView) => void): Machine {
    return this.with((files) => {
      const bytes = files.get(file)!;
      const v = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      change(v);
      v.setUint32(252, crc(bytes.subarray(48, 56), new Uint8Array(8), bytes.subarray(0, 252)), true);
    });
  }
  /** The n-th frame from the end of a chain is damaged in its first entry, or, if it has none, in its header. */
  damage(chain: number, fromEnd = 1): Machine {
    return this.with((files) => {
      const segment = this.seen.segments.findLast((s) => s.chain === chain)!;
      files.get(segment.file)![segment.frames.at(-fromEnd)!.offset + 70]! ^= 1;
    });
  }
}

const values = (log: ReadLog): string[] =>
  log.entries.filter((e) => e.kind === "data" || e.kind === "put").map((e) => Buffer.from(e.value).toString());
const lastLsns = (log: RecoveredLog): Record<number, number> => Object.fromEntries(log.chains.map((c) => [c.chain, c.lastLsn]));

function corrupt(machine: Machine, about: RegExp, file?: string): void {
  const before = machine.files;
  const refusal = (run: () => unknown): CorewalError => {
    try {
      run();
    } catch (error) {
      assert.instance(error, CorewalError);
      return error as CorewalError;
    }
    return assert.unreachable("nothing was found to be wrong") as never;
  };
  for (const error of [refusal(() => machine.read()), refusal(() => machine.open(4))]) {
    assert.is(error.code, "COREWAL_CORRUPT");
    assert.match(error.message, about);
    if (file !== undefined) assert.is(error.file, `${DIRECTORY}/${file}`);
  }
  assert.is(machine.seen.answer, "corrupt", "the independent reader");
  assert.equal(machine.files, before, "a log that was refused was changed");
}

/** Both readers agree; opening for writing shows the same entries, and doing it again changes nothing. */
function recovered(machine: Machine, cores: number, expect: { complete: number; values: string[]; clean?: boolean }): RecoveredLog {
  const { seen } = machine;
  const read = machine.read();
  assert.equal(values(seen), expect.values);
  assert.is(seen.complete, expect.complete, "complete, as the independent reader sees it");
  assert.is(read.complete, expect.complete, "complete");
  assert.is(read.clean, expect.clean ?? false);
  assert.is(seen.answer, read.clean ? "clean" : "torn");
  assert.equal(
    read.chains.map(({ chain, lastLsn, epoch }) => [chain, lastLsn, epoch]),
    seen.chains.map(({ chain, lastLsn, epoch }) => [chain, lastLsn, epoch]),
  );
  const { found } = machine.open(cores);
  assert.equal(lastLsns(found), lastLsns(read));
  assert.is(found.complete, expect.complete, "complete, for writing");
  assert.equal(values(machine.seen), expect.values, "what was recovered for writing");
  const once = machine.files;
  const again = machine.open(cores).found;
  assert.equal(machine.files, once, "a second recovery changed something");
  assert.is(again.complete, expect.complete, "complete, the second time");
  assert.ok(again.chains.every(({ copied }) => copied === undefined));
  return found;
}

/** Two cores; epoch 0, a barrier, epoch 1. */
function twoCores(machine = new Machine()): CoresLog {
  const log = machine.open(2);
  log.core(0).append("a0");
  log.core(1).append("b0");
  log.core(0).append("a1", "a2");
  log.barrier();
  log.core(1).append("b1");
  log.core(0).append(["key", "a3"]);
  return log;
}
const IN_ORDER = ["a0", "b0", "a1", "a2", "b1", "a3"];

// --- several chains -----------------------------------------------------------------------------------

test("a log that was closed: every chain is clean, entries come in the order of their times, the last epoch is complete", () => {
  const machine = new Machine();
  twoCores(machine).close();
  const before = machine.files;
  const found = recovered(machine, 2, { complete: 2, values: IN_ORDER, clean: true });
  assert.equal(machine.files, before, "there was nothing to recover");
  assert.equal(lastLsns(found), { 0: 4, 1: 2 });
  assert.is(found.topology, "per-core");
  assert.is(machine.open(2).epoch, 2);
});

test("a log that was killed: each chain is copied forward by itself, in the term and the epoch of the next open", () => {
  const machine = new Machine();
  twoCores(machine);
  const found = recovered(machine, 2, { complete: 1, values: IN_ORDER });
  assert.equal(
    found.chains.map(({ copied }) => [copied?.frames, copied?.entries, copied?.firstLsn, copied?.lastLsn]),
    [
      // The record of a complete epoch, which no promise speaks of, and the entry.
      [2, 1, 4, 4],
      [1, 1, 2, 2],
    ],
  );
  for (const { segments } of found.chains) {
    const { header } = segments.at(-1)!;
    assert.equal([header.number, header.term, header.epoch, header.topology], [2, 2, 2, "per-core"]);
    assert.equal(header.marks, { epoch: 2, complete: 1, chains: [0, 1] });
  }
  const log = machine.open(2);
  assert.is(log.found.term, 2);
  assert.is(log.found.timeNs, machine.seen.entries.at(-1)!.timeNs, "the newest entry's, in chain 0");
  log.core(1).append("b2");
  log.close();
  assert.equal(values(machine.seen), [...IN_ORDER, "b2"]);
  assert.is(machine.seen.entries.at(-1)!.lsn, 3);
});

test("a tear in one chain is cut there, and is nothing to the others", () => {
  const machine = new Machine();
  twoCores(machine);
  const torn = machine.damage(1);
  const found = recovered(torn, 2, { complete: 1, values: IN_ORDER.filter((v) => v !== "b1") });
  const report = reportOf(found, { term: 2, epoch: 2, topology: "per-core" }, 0);
  assert.equal(
    report.cores.map(({ core, lastLsn, torn: t, copied }) => [core, lastLsn, t !== undefined, copied?.frames]),
    [
      [0, 4, false, 2],
      [1, 1, true, undefined],
    ],
  );
  assert.is(report.torn?.file, `${DIRECTORY}/001-0000000001.wal`);
  assert.is(report.copied?.lastLsn, 4);
  assert.equal([report.topology, report.segments, report.firstLsn, report.lastLsn, report.completeEpoch], ["per-core", 3, 1, 4, 0]);
});

test("a term is the whole log's: higher than any in any chain, also in one that was not written for long", () => {
  const machine = new Machine();
  for (let life = 1; life <= 3; life++) {
    const log = machine.open(3);
    assert.is(log.found.term, life - 1);
    log.core(life % 3).append(`life ${life}`);
    log.close();
  }
  assert.equal(
    machine.seen.entries.map(({ term, epoch, stripe }) => [term, epoch, stripe]),
    [
      [1, 0, 1],
      [2, 1, 2],
      [3, 2, 0],
    ],
  );
});

test("fewer cores than before: the chains of the others are recovered and read, and go on when they come back", () => {
  const machine = new Machine();
  const four = machine.open(4);
  for (let core = 0; core < 4; core++) four.core(core).append(`${core}: proven`);
  for (let core = 0; core < 4; core++) four.core(core).append(`${core}: not proven`);
  const all = values(machine.seen);
  assert.is(all.length, 8);
  const found = recovered(machine, 2, { complete: 0, values: all });
  assert.equal(
    found.chains.map(({ chain, copied }) => [chain, copied?.frames]),
    [0, 1, 2, 3].map((chain) => [chain, 1]),
  );
  const two = machine.open(2);
  two.core(1).append("1: two cores");
  two.close();
  const five = machine.open(5);
  five.core(3).append("3: again");
  five.core(4).append("4: new");
  five.close();
  assert.equal(values(machine.seen), [...all, "1: two cores", "3: again", "4: new"]);
  assert.equal(lastLsns(machine.read()), { 0: 2, 1: 3, 2: 2, 3: 3, 4: 1 });
});

test("a chain that any marks name must be there: in a header, in a footer, in an epoch entry", () => {
  const named = (make: (log: CoresLog) => void): Machine => {
    const machine = new Machine();
    const log = machine.open(2);
    log.core(0).append("a0");
    log.core(1).append("b0");
    make(log);
    return machine;
  };
  const without = (machine: Machine, chain: string): Machine =>
    machine.with((files) => {
      for (const file of files.keys()) if (file.startsWith(chain)) files.delete(file);
    });
  const byNobody = named(() => {});
  recovered(without(byNobody, "001"), 2, { complete: 0, values: ["a0"] });

  const byEntry = named((log) => log.core(0).record());
  corrupt(without(byEntry, "001"), /chain 1 has no segment, but chain 0/, "001-0000000001.wal");
  const byFooter = named((log) => (log.core(0).record(), log.close()));
  corrupt(without(byFooter, "001"), /chain 1 has no segment/);
  const byHeader = named((log) => log.close());
  byHeader.open(1).core(0).append("a1");
  corrupt(without(byHeader, "001"), /chain 1 has no segment/);
  // Chain 0 has no other place than the others.
  corrupt(
    without(
      byHeader.with(() => {}),
      "001",
    ),
    /chain 1/,
  );
  const byOther = named((log) => log.core(1).record());
  corrupt(without(byOther, "000"), /chain 0 has no segment, but chain 1/, "000-0000000001.wal");
});

test("a chain that lacks its first or last segment is corrupt, whatever the others are", () => {
  const machine = new Machine();
  const log = twoCores(machine);
  log.core(1).rotate();
  log.core(1).append("b2");
  log.close();
  corrupt(
    machine.with((files) => files.delete("001-0000000001.wal")),
    /segment 1, which segment 2 continues, is missing/,
    "001-0000000001.wal",
  );
  corrupt(
    machine.with((files) => files.delete("001-0000000002.wal")),
    /segment 2, which continues segment 1, is missing/,
    "001-0000000001.wal",
  );
});

test("chains of one log have one topology and one log id", () => {
  const ours = new Machine();
  twoCores(ours);
  const log = (options: ConstructorParameters<typeof CoresLog>[2]): Files => {
    const machine = new Machine();
    const other = machine.open(2, options);
    other.core(0).append("x");
    other.core(1).append("y");
    return machine.files;
  };
  const exchanged = (file: string, from: Files): Machine => ours.with((files) => files.set(file, from.get(file)!));
  const foreign = log({ logId: new Uint8Array(16).fill(7) });
  corrupt(exchanged("001-0000000001.wal", foreign), /chain 1 is of another log/, "001-0000000001.wal");
  corrupt(exchanged("000-0000000001.wal", foreign), /chain 1 is of another log/, "001-0000000001.wal");
  const striped = log({ topology: "striped" });
  corrupt(exchanged("001-0000000001.wal", striped), /is per-core, but chain 1 is of one that is striped/);
  corrupt(exchanged("000-0000000001.wal", striped), /is striped, but chain 1 is of one that is per-core/);
  corrupt(new Machine(striped), /chain 1 is in a log that is striped/, "001-0000000001.wal");
  // A parent is of the same one.
  const two = new Machine();
  const grown = two.open(1);
  grown.core(0).append("a0");
  grown.core(0).rotate();
  grown.core(0).append("a1");
  corrupt(
    two.withHeader("000-0000000001.wal", (v) => v.setUint32(56, 0, true)),
    /segment 1 is not the one that segment 2 continues/,
  );
  // A segment under the name of another chain.
  corrupt(
    ours.with((files) => files.set("002-0000000001.wal", files.get("001-0000000001.wal")!)),
    /name says segment 1 of chain 2/,
  );
});

test("an entry that has no room for its time is not valid, whatever its checksums say", () => {
  const machine = new Machine();
  twoCores(machine);
  const { file, frames } = machine.seen.segments[0]!;
  const at = frames.at(-1)!.offset + FRAME_HEADER_BYTES;
  const damaged = machine.with((files) => {
    const log = new FuzzLog("two cores", files);
    const v = new DataView(files.get(file)!.buffer);
    v.setUint32(at + ENTRY_KEY_BYTES, v.getUint32(at + ENTRY_PAYLOAD_BYTES, true) - TIME_BYTES + 1, true);
    log.mend(files);
  });
  recovered(damaged, 2, { complete: 1, values: IN_ORDER.filter((value) => value !== "a3") });
});

// --- durable epochs ---------------------------------------------------------------------------------------

test("a barrier frame takes no LSN, and still its loss is told from a tear by any header behind it", () => {
  for (const behind of ["entries", "an empty frame"] as const) {
    const machine = new Machine();
    const log = machine.open(1);
    log.core(0).append("a0");
    log.core(0).prove();
    log.advance();
    log.core(0).record();
    if (behind === "entries") log.core(0).append("a1");
    else log.core(0).prove();
    assert.is(machine.seen.answer, "torn", behind);
    const { offset } = machine.seen.segments[0]!.frames.at(-2)!;
    const damaged = machine.damage(0, 2);
    corrupt(damaged, /damage where LSN 2 was durable/, "000-0000000001.wal");
    try {
      damaged.read();
    } catch (error) {
      assert.is((error as CorewalError).offset, offset);
    }
    // With the header behind it gone as well, nothing says that it was durable.
    const { file } = machine.seen.segments[0]!;
    const torn = damaged.with((files) => files.get(file)!.fill(0, machine.seen.segments[0]!.frames.at(-1)!.offset));
    recovered(torn, 1, { complete: 0, values: ["a0"] });
  }
});

test("a barrier frame that nothing proves is copied forward, and found again", () => {
  const machine = new Machine();
  const log = machine.open(2);
  log.core(0).append("a0");
  log.core(1).append("b0");
  log.advance();
  log.core(0).record();
  log.core(1).record();
  log.core(1).prove();
  // Both have passed the barrier, but nobody has recorded that.
  const found = recovered(machine, 2, { complete: 0, values: ["a0", "b0"] });
  assert.equal(found.chains[0]!.copied, { frames: 1, entries: 0, bytes: 64 + 16 + 56, firstLsn: 2, lastLsn: 1 });
  assert.is(found.chains[0]!.epoch, 1);
  assert.is(found.chains[1]!.copied, undefined, "one that is proven by the promise of its epoch");
  assert.is(found.chains[0]!.segments.length, 2);
});

test("a frame with entries of an epoch is proven by LSN and epoch together, and keeps its epoch when it is copied", () => {
  const machine = new Machine();
  const log = machine.open(1);
  log.core(0).append("a0");
  log.advance();
  log.core(0).append("a1");
  const found = recovered(machine, 1, { complete: 0, values: ["a0", "a1"] });
  assert.is(found.chains[0]!.copied?.frames, 1);
  const copy = machine.seen.segments[1]!.frames[0]!;
  assert.equal([copy.epoch, copy.durableEpoch, copy.promise], [1, 0, 1]);
  assert.equal(
    machine.seen.entries.map((e) => [e.epoch, e.kind]),
    [
      [0, "data"],
      [1, "epoch"],
      [1, "data"],
    ],
  );
});

test("a record of another chain, which no promise speaks of: lost it is a tear, found at the end it is copied", () => {
  const machine = new Machine();
  const log = machine.open(2);
  log.core(0).append("a0");
  log.core(0).prove();
  log.core(1).append("b0");
  log.core(0).record();
  recovered(machine.damage(0), 2, { complete: 0, values: ["a0", "b0"] });
  log.core(0).prove();
  const proven = new Machine(machine.files);
  const found = recovered(machine, 2, { complete: 0, values: ["a0", "b0"] });
  assert.is(found.chains[0]!.copied?.frames, 1, "an empty frame behind it does not say that it was durable");
  assert.equal(found.chains[0]!.marks.chains, [0, 1]);
  // A frame that is proven proves what stands before it.
  const further = new Machine(proven.files);
  further.storage.put(DIRECTORY, proven.files);
  const second = further.open(2);
  second.core(0).append("a1");
  second.core(0).record();
  second.core(0).append("a2");
  second.core(0).prove();
  assert.is(further.open(2).found.chains[0]!.copied, undefined);
});

test("while somebody writes, only what is promised is shown, also of epochs", () => {
  const machine = new Machine();
  const log = machine.open(1);
  log.core(0).append("a0");
  assert.equal(lastLsns(machine.read("live")), { 0: 0 });
  log.core(0).prove();
  assert.equal(lastLsns(machine.read("live")), { 0: 1 });
  log.advance();
  log.core(0).record();
  assert.is(machine.read("live").epoch, 0);
  assert.is(machine.read("live").complete, 0);
  log.core(0).prove();
  assert.is(machine.read("live").epoch, 1);
  assert.is(machine.read("live").complete, 0);
  log.settle();
  assert.is(machine.read("live").complete, 0, "no promise speaks of a record");
  log.core(0).append("a1");
  log.core(0).prove();
  assert.is(machine.read("live").complete, 1, "but it stands before what is proven");
});

test("a chain that comes into being while the log is opened for reading is no missing one", () => {
  const machine = new Machine();
  const log = machine.open(2);
  log.core(0).append("a0");
  log.core(1).append("b0");
  log.core(0).record();
  log.core(0).append("a1");
  log.core(0).prove();
  const list = machine.storage.list.bind(machine.storage);
  let looks = 0;
  machine.storage.list = (path) => {
    looks++;
    return list(path).filter((file) => looks > 4 || !file.startsWith("001"));
  };
  const { found } = recoverForReading(machine.storage, DIRECTORY, () => true);
  assert.equal(
    found.chains.map(({ chain }) => chain),
    [0, 1],
  );
});

// --- complete epochs ------------------------------------------------------------------------------------------

test("complete: an epoch that one chain has not recorded yet is not begun everywhere, the one before not over", () => {
  const machine = new Machine();
  const log = twoCores(machine); // epoch 1, all have it
  log.advance();
  log.core(0).append("a4");
  assert.is(log.passed(), false);
  recovered(machine, 2, { complete: 1, values: [...IN_ORDER, "a4"] });
});

test("complete: a barrier that all chains have passed, once the first one has recorded that", () => {
  const machine = new Machine();
  const log = twoCores(machine);
  log.barrier();
  log.advance();
  log.core(0).append("a4");
  recovered(new Machine(machine.files), 2, { complete: 2, values: [...IN_ORDER, "a4"] });
  log.core(1).record();
  assert.is(log.passed(), true);
  recovered(new Machine(machine.files), 2, { complete: 2, values: [...IN_ORDER, "a4"] });
  log.settle();
  recovered(new Machine(machine.files), 2, { complete: 3, values: [...IN_ORDER, "a4"] });
  // Also if that is torn off again, as long as other marks say so.
  recovered(machine.damage(0, 2), 2, { complete: 2, values: [...IN_ORDER, "a4"] });
  log.core(1).rotate();
  recovered(machine.damage(0, 2), 2, { complete: 3, values: [...IN_ORDER, "a4"] });
});

test("complete: recorded by chain 0 also where it was not written otherwise, in the header of the segment that it begins for that", () => {
  const machine = new Machine();
  const before = machine.open(2);
  before.core(0).append("a0");
  before.core(0).prove();
  const log = machine.open(2);
  log.core(1).append("b0");
  log.advance();
  log.core(1).record();
  recovered(new Machine(machine.files), 2, { complete: 0, values: ["a0", "b0"] });
  log.settle();
  const found = recovered(machine, 2, { complete: 2, values: ["a0", "b0"] });
  assert.equal(
    found.chains[0]!.segments.map(({ header }) => header.marks.complete),
    [0, 2],
  );
});

test("complete: an epoch that was ended by a crash is remembered as such over further crashes", () => {
  const machine = new Machine();
  for (let life = 0; life < 3; life++) {
    const log = machine.open(2);
    assert.is(log.epoch, life);
    log.core(0).append(`a${life}`);
    log.core(1).append(`b${life}`);
    assert.is(machine.read().complete, 0, `life ${life}`);
    assert.is(machine.seen.complete, 0);
  }
  const log = machine.open(2);
  log.core(0).append("a3");
  log.core(1).append("b3");
  log.barrier();
  assert.is(machine.read().complete, 4, "the one before the barrier");
  machine.open(2).core(0).append("a5");
  const found = recovered(machine, 2, { complete: 4, values: values(machine.seen) });
  assert.is(found.epoch, 5);
  const last = machine.open(2);
  last.core(0).append("a6");
  last.close();
  assert.is(machine.read().complete, 8, "it was closed, also if nothing was written in chain 1");
  assert.is(machine.read().clean, false, "the end that a crash gave chain 1 is still there");
  assert.is(machine.seen.complete, 8);
});

test("complete: a crash before anything was written changes nothing", () => {
  const machine = new Machine();
  twoCores(machine).close();
  machine.open(2);
  machine.open(2).core(1).append("b2");
  recovered(machine, 2, { complete: 2, values: [...IN_ORDER, "b2"] });
});

test("complete: a chain that this open has not written to holds up nothing", () => {
  const machine = new Machine();
  const four = machine.open(3);
  for (let core = 0; core < 3; core++) four.core(core).append(`${core}`);
  four.close();
  const two = machine.open(2);
  two.core(0).append("0 again");
  two.advance();
  two.core(0).record();
  assert.is(machine.read().complete, 1);
  assert.is(two.passed(), true);
  two.settle();
  const found = recovered(machine, 2, { complete: 2, values: ["0", "1", "2", "0 again"] });
  assert.equal(
    found.chains.map(({ epoch }) => epoch),
    [2, 0, 0],
  );
});

test("complete: a repair closes the segment that it makes, and proves nothing by that", () => {
  const machine = new Machine();
  twoCores(machine);
  const log = machine.open(2);
  assert.equal(
    log.found.chains.map(({ segments }) => segments.length),
    [2, 2],
  );
  log.core(0).append("a4");
  log.close();
  assert.is(machine.read().complete, 3);
  const repaired = machine.withHeader("000-0000000002.wal", (v) => v.setUint32(160, 1, true));
  assert.is(repaired.read().clean, true);
  assert.is(repaired.read().complete, 1);
  assert.is(repaired.seen.complete, 1);
});

test("complete: in a striped log everything before its epoch, and all of it when it was closed", () => {
  const machine = new Machine();
  const log = machine.open(1, { topology: "striped" });
  log.core(0).append("a0");
  assert.is(machine.read().complete, 0);
  log.barrier();
  assert.is(machine.read().complete, 1);
  assert.is(machine.seen.complete, 1);
  assert.is(machine.open(1, { topology: "striped" }).epoch, 1);
  log.close();
});

test("complete: nothing, of a log that is not there", () => {
  const found = new Machine().read();
  assert.equal([found.complete, found.clean, found.topology, found.chains.length], [0, true, undefined, 0]);
  const report = reportOf(found, { term: 1, epoch: 0, topology: "per-core" }, 0);
  assert.equal([report.completeEpoch, report.created, report.cores.length, report.firstLsn, report.lastLsn], [-1, true, 0, 1, 0]);
  assert.is(reportOf(found, found, 0).cores.length, 1);
});

// --- interrupted -------------------------------------------------------------------------------------------------

test("invariant 12: a recovery of several chains may be interrupted at each step, and again", () => {
  const machine = new Machine();
  const log = machine.open(3);
  for (let core = 0; core < 3; core++) log.core(core).append(`${core}: one`);
  log.barrier();
  for (let core = 0; core < 3; core++) log.core(core).append(`${core}: two`);
  log.core(1).rotate();
  log.core(1).append("1: three");
  log.advance();
  log.core(2).append("2: last");
  const expected = values(machine.seen);
  const { complete } = machine.seen;
  assert.is(complete, 1);
  let steps = 0;
  for (let interrupted = true; interrupted; steps++) {
    const other = new Machine(machine.files);
    interrupted = false;
    for (let again = 0; again < 2; again++) {
      const { storage } = other;
      storage.changes = 0;
      let changes = 0;
      const limit = (run: () => void): void => {
        if (changes++ >= steps) throw new Error("killed");
        run();
      };
      const rename = storage.rename.bind(storage);
      const create = storage.create.bind(storage);
      const open = storage.open.bind(storage);
      storage.rename = (from, to) => limit(() => rename(from, to));
      const limited = (file: ReturnType<typeof open>): ReturnType<typeof open> => {
        const write = file.write.bind(file);
        file.write = (bytes, offset) => (limit(() => write(bytes, offset)), bytes.length);
        return file;
      };
      storage.create = (path) => limited(create(path));
      storage.open = (path, ...rest) => limited(open(path, ...rest));
      try {
        other.open(3);
      } catch (error) {
        assert.is((error as Error).message, "killed");
        interrupted = true;
      }
      storage.rename = rename;
      storage.create = create;
      storage.open = open;
      assert.equal(values(other.seen), expected, `after step ${steps}`);
      assert.is(other.seen.complete, complete);
    }
    recovered(other, 3, { complete, values: expected });
  }
  assert.ok(steps > 12, `${steps} steps`);
});

/** Every byte that a reader would find on the disk now. */
function filesOn(disk: SimulatedDisk): Files {
  return new Map(
    disk.list(DIRECTORY).map((file) => {
      const opened = disk.open(`${DIRECTORY}/${file}`, "read");
      const bytes = new Uint8Array(opened.size());
      readAll(opened, bytes, 0);
      opened.close();
      return [file, bytes];
    }),
  );
}

test("crashes at any operation, of several lives: each chain keeps what it had durable, and a complete epoch lacks nothing", () => {
  const seen = { crashes: 0, incomplete: 0, lost: 0, settled: 0, passed: 0, unsettled: 0, closed: 0 };
  for (let seed = 1; seed <= 150; seed++) {
    const random = new Random(seed);
    const disk = new SimulatedDisk(random.fork(), { eachFile: true });
    disk.makeDirectory(DIRECTORY);
    /** What was given to each chain, in order, and whether it was durable. */
    const given: { value: string; epoch: number; durable: boolean }[][] = [[], [], []];
    let complete = 0;
    /** Of this epoch somebody was told that all before it is complete. */
    let settled = 0;
    for (let life = 0; life < 6; life++) {
      let log: CoresLog | undefined;
      let closed = false;
      disk.crashAt = disk.operations + random.between(1, 400);
      try {
        const cores = random.between(1, 3);
        log = new CoresLog(disk, cores);
        for (let step = 0; step < 25; step++) {
          const core = random.below(cores);
          const chain = log.core(core);
          const value = `seed ${seed} life ${life} step ${step}`;
          const late = random.chance(0.5) && chain.begun && chain.epoch < log.epoch;
          const what = random.below(10);
          if (what < 6) {
            const entry = { value, epoch: late ? chain.epoch : log.epoch, durable: false };
            given[core]!.push(entry);
            if (late) chain.appendLate(value);
            else chain.append(value);
            entry.durable = true;
          } else if (what === 6) {
            if (chain.begun) chain.prove();
          } else if (what === 7) {
            if (chain.begun) chain.record();
          } else if (what === 8) {
            if (chain.begun) chain.rotate();
          } else if (log.settled) {
            log.advance();
          } else if (log.passed()) {
            log.settle();
            settled = log.epoch;
            seen.settled++;
          }
        }
        if (random.chance(0.3)) {
          log.close();
          closed = true;
        }
      } catch (error) {
        assert.instance(error, PowerLoss, (error as Error).stack);
      }
      seen.crashes++;
      if (disk.down || random.chance(0.5)) disk.reboot();
      else disk.restart();
      disk.crashAt = Infinity;
      const where = `seed ${seed}, life ${life}`;
      const found = recoverLog(disk, DIRECTORY, "read", neverWrites);
      const independent = readLog(filesOn(disk));
      assert.is(independent.bad, undefined, where);
      assert.is(found.complete, independent.complete, where);
      assert.ok(found.complete >= complete, `${where}: complete goes back from ${complete} to ${found.complete}`);
      assert.ok(found.complete >= settled, `${where}: epoch ${settled - 1} was complete, but ${found.complete} is found`);
      if (found.complete > complete) seen.passed++;
      if (log?.passed() === true && !log.settled && found.complete < log.epoch) seen.unsettled++;
      complete = found.complete;
      // Of an open that wrote nothing there is no trace: the one before it may have crashed.
      if (closed && found.term > log!.found.term) {
        seen.closed++;
        assert.is(found.complete, found.epoch + 1, `${where}: closed`);
      }
      given.forEach((entries, core) => {
        const there = independent.entries.filter((e) => e.kind === "data" && e.stripe === core).map((e) => Buffer.from(e.value).toString());
        assert.equal(
          there,
          entries.slice(0, there.length).map(({ value }) => value),
          `${where}: what is in chain ${core}`,
        );
        const rest = entries.slice(there.length);
        assert.ok(!rest.some(({ durable }) => durable), `${where}: chain ${core} lost what was durable`);
        assert.ok(
          !rest.some(({ epoch }) => epoch < complete),
          `${where}: epochs up to ${complete - 1} are complete, but chain ${core} lost some of them`,
        );
        if (rest.length > 0) seen.lost++;
        // They are gone for good; the same LSNs are given again.
        entries.length = there.length;
      });
      if (found.complete <= found.epoch) seen.incomplete++;
    }
  }
  for (const [what, count] of Object.entries(seen)) assert.ok(count > 20, `${what}: ${count}`);
});

// --- what others see of it ---------------------------------------------------------------------------------------------

function onDisk({ files }: Machine): string {
  const directory = freshDirectory("cores");
  for (const [file, bytes] of files) writeFileSync(join(directory, file), bytes);
  return directory;
}

test("statLog describes the chains of a per-core log", async () => {
  const machine = new Machine();
  twoCores(machine).close();
  machine.open(2).core(1).append("b2");
  const directory = onDisk(machine);
  const report = await statLog(directory);
  assert.equal([report.topology, report.term, report.epoch, report.completeEpoch], ["per-core", 2, 2, 1]);
  assert.equal([report.firstLsn, report.lastLsn, report.clean], [1, 4, false]);
  assert.equal(
    report.segments.map(({ core, number, minEpoch, maxEpoch, entries }) => [core, number, minEpoch, maxEpoch, entries]),
    [
      [0, 1, 0, 1, 4],
      [1, 1, 0, 1, 2],
      [1, 2, 2, 2, 1],
    ],
  );
  assert.equal(
    report.cores.map(({ core, firstLsn, lastLsn, segments, clean }) => [core, firstLsn, lastLsn, segments, clean]),
    [
      [0, 1, 4, 1, true],
      [1, 1, 3, 2, false],
    ],
  );
  assert.is(
    report.bytes,
    report.cores.reduce((sum, { bytes }) => sum + bytes, 0),
  );
});

test("corewal stat shows the chains of a per-core log", () => {
  const machine = new Machine();
  twoCores(machine).close();
  machine.open(2).core(1).append("b2");
  const cli = fileURLToPath(new URL("../src/cli.js", import.meta.url));
  const { stdout, stderr, status } = spawnSync(process.execPath, [cli, "stat", onDisk(machine)], { encoding: "utf8" });
  assert.is(status, 0, stderr);
  assert.match(stdout, /entries +7, of 2 cores\n/);
  assert.match(stdout, /topology +per-core, term 2, epoch 2, complete up to 1\n/);
  assert.match(stdout, /core +segments +size +LSN +state\n +0 +1 .* 1 to 4 +closed\n +1 +2 .* 1 to 3 +not closed\n/);
  assert.match(stdout, /001-0000000002\.wal/);
});

test("a per-core log is opened as what it is, or not at all", async () => {
  const machine = new Machine();
  twoCores(machine);
  const directory = onDisk(machine);
  for (const readOnly of [true, false]) {
    try {
      await openLog(directory, { readOnly, topology: "striped" });
      assert.unreachable();
    } catch (error) {
      assert.is((error as CorewalError).code, "COREWAL_TOPOLOGY", (error as Error).message);
    }
    for (const topology of [undefined, "per-core"] as const) {
      const log = await openLog(directory, { readOnly, topology, stripes: 2, ringBytes: 65536 });
      assert.is(log.recovery.topology, "per-core");
      // Whoever opens it for writing copies forward what nothing proves; closed, that is complete.
      assert.is(log.recovery.completeEpoch, !readOnly && topology === "per-core" ? log.recovery.epoch - 1 : 0);
      const read: string[] = [];
      for await (const { value } of log.read()) read.push(Buffer.from(value).toString());
      assert.equal(read, IN_ORDER);
      await log.close();
    }
  }
  assert.is((await statLog(directory)).lastLsn, 4);
});

test.run();
