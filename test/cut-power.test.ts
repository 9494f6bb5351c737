// truncateAfter and the power: whatever operation of the cut it goes at, the log ends where it did, or at the cut.

import { test } from "uvu";
import * as assert from "uvu/assert";
import { cutLog } from "../src/cut.js";
import { openLogWith } from "../src/log.js";
import type { LogOptions } from "../src/options.js";
import type { Entry, Log } from "../src/types.js";
import { verifyLogOn } from "../src/verify.js";
import { mortalCore } from "./support/dead-thread.js";
import { environment } from "./support/environment.js";
import { endSoon, readAll } from "./support/expect.js";
import { Random } from "./support/random.js";
import { SimulatedDisk } from "./support/simulated-disk.js";

test.after(endSoon);

const DIRECTORY = "/disk/log";
const OPTIONS: LogOptions = { stripes: 1, ringBytes: 4096, segmentBytes: 16384, flusher: "inline", checkpoints: { keep: 3 } };
const LAST = 40;
/** Outcomes that are tried for each operation. */
const FUTURES = 6;
let core: ReturnType<typeof mortalCore>;

const chanceOf = (disk: SimulatedDisk): { now: () => number; randomBytes: (n: number) => Uint8Array } => {
  const random = new Random(disk.operations + 1);
  return { now: () => 1_800_000_000_000, randomBytes: (n) => random.fill(new Uint8Array(n)) };
};

function open(disk: SimulatedDisk): Promise<Log> {
  core ??= mortalCore(OPTIONS);
  const lock = (): { release(): void } => ({ release: () => {} });
  return openLogWith(DIRECTORY, OPTIONS, environment({ storage: disk, lock, core, manual: true, randomBytes: chanceOf(disk).randomBytes }));
}

/** Batches of three in several segments, a checkpoint in the middle and one near the end, closed. */
async function closedLog(): Promise<{ disk: SimulatedDisk; entries: Entry[] }> {
  const disk = new SimulatedDisk(new Random(1), {});
  const log = await open(disk);
  let checkpointAt = 20;
  for (let i = 1; i <= LAST; i++) {
    log.write(`entry ${i} `.padEnd(1000, "x"));
    if (i % 3 === 0 || i === LAST) log.appendSync(`entry ${++i} `.padEnd(1000, "x"));
    if (i >= checkpointAt) {
      await log.checkpoint(({ write }) => write(`everything up to ${i}`));
      checkpointAt += 16;
    }
  }
  const entries = await readAll(log);
  await log.close();
  return { disk, entries };
}

test("the power goes at every operation of a cut: all of the log is there, or what is before the cut, and a checkpoint of it", async () => {
  const { disk: base, entries } = await closedLog();
  assert.ok(entries.length >= LAST);
  assert.ok(base.files(DIRECTORY).has("checkpoint-0000000002.ckp"));
  let cuts = 0;
  let done = 0;
  // Through a frame, at the end of one, in each segment, and everything.
  for (const lsn of [entries.length - 1, 34, 22, 13, 5, 0]) {
    let operations = 0;
    {
      const whole = base.copy(new Random(7));
      const before = whole.operations;
      cutLog(whole, DIRECTORY, [lsn], chanceOf(whole));
      operations = whole.operations - before;
    }
    for (let at = 1; at <= operations + 1; at++) {
      for (let future = 0; future < FUTURES; future++) {
        const disk = base.copy(new Random(at * 1000 + future));
        disk.crashAt = disk.operations + at;
        try {
          cutLog(disk, DIRECTORY, [lsn], chanceOf(disk));
        } catch (error) {
          if (!disk.down) throw error;
        }
        if (future === 0) disk.restart();
        else disk.reboot();
        cuts++;
        const what = `LSN ${lsn}, operation ${at}, future ${future}`;
        assert.equal((await verifyLogOn(disk.copy(new Random(1)), DIRECTORY)).faults, [], what);
        const log = await open(disk);
        const there = await readAll(log);
        const isCut = there.length === lsn;
        if (isCut) done++;
        assert.equal(there, entries.slice(0, isCut ? lsn : entries.length), what);
        if (isCut && lsn < entries.length)
          for (const { endPositions } of await log.checkpoints())
            assert.ok(endPositions[0]! <= lsn, `${what}: a checkpoint holds what is gone`);
        assert.is(log.appendSync("on"), there.length + 1, what);
        await log.close();
        assert.equal((await verifyLogOn(disk, DIRECTORY)).faults, [], what);
        // Once more, and it is done.
        cutLog(disk, DIRECTORY, [Math.min(lsn, there.length)], chanceOf(disk));
        const again = await open(disk);
        assert.equal(await readAll(again), entries.slice(0, lsn), what);
        await again.close();
      }
    }
  }
  assert.ok(done > 0 && done < cuts, "both ends were met");
  console.log(`# ${cuts} power cuts, ${done} behind the commit point`);
});

test.run();
