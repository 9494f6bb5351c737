// restoreLog and the power: whatever operation it goes at, there is the whole log or none, and the same restore works again.

import { test } from "uvu";
import * as assert from "uvu/assert";
import { codeOf } from "../src/errors.js";
import { openLogWith, type Environment } from "../src/log.js";
import type { LogOptions } from "../src/options.js";
import { restoreLogOn } from "../src/restore.js";
import type { Entry, Log } from "../src/types.js";
import { verifyLogOn } from "../src/verify.js";
import { environment } from "./support/environment.js";
import { endSoon, readAll } from "./support/expect.js";
import { Random } from "./support/random.js";
import { SimulatedDisk } from "./support/simulated-disk.js";

test.after(endSoon);

const DIRECTORY = "/disk/log";
const OUT = "/disk/out";
const OPTIONS: LogOptions = { stripes: 1, ringBytes: 4096, segmentBytes: 16384, flusher: "inline" };
const FUTURES = 5;

function environmentOf(disk: SimulatedDisk): Environment {
  const random = new Random(disk.operations + 1);
  const lock = (): { release(): void } => ({ release: () => {} });
  return environment({ storage: disk, lock, manual: true, live: false, randomBytes: (n) => random.fill(new Uint8Array(n)) });
}

const open = (disk: SimulatedDisk, directory: string, options: LogOptions = {}): Promise<Log> =>
  openLogWith(directory, { ...OPTIONS, ...options }, environmentOf(disk));

/** What a log holds; undefined if there is none. */
async function contents(disk: SimulatedDisk, directory: string): Promise<Entry[] | undefined> {
  try {
    const log = await open(disk, directory, { readOnly: true });
    const entries = await readAll(log);
    await log.close();
    return entries;
  } catch (error) {
    assert.is(codeOf(error), "COREWAL_NOT_A_LOG", String(error));
    return undefined;
  }
}

test("the power goes at every operation of a restore: there is all of the log, or none, and the same again works", async () => {
  const base = new SimulatedDisk(new Random(1), {});
  const log = await open(base, DIRECTORY);
  for (let i = 1; i <= 45; i++) {
    log.appendSync(`entry ${i} `.padEnd(1000, "x"));
    if (i === 20) await log.checkpoint(({ write }) => write("everything up to 20"));
  }
  await log.truncateBefore(21);
  const expected = (await readAll(log)).slice(0, -5);
  const toLsn = expected.at(-1)!.lsn;
  assert.ok(expected[0]!.lsn > 1, "the beginning is in the checkpoint only");
  await log.close();

  const whole = base.copy(new Random(1));
  const before = whole.operations;
  await restoreLogOn(DIRECTORY, { out: OUT, toLsn }, environmentOf(whole));
  const operations = whole.operations - before;
  let cuts = 0;
  let complete = 0;
  for (let at = 1; at <= operations + 1; at++) {
    for (let future = 0; future < FUTURES; future++, cuts++) {
      const disk = base.copy(new Random(at * 1000 + future));
      disk.crashAt = disk.operations + at;
      try {
        await restoreLogOn(DIRECTORY, { out: OUT, toLsn }, environmentOf(disk));
      } catch (error) {
        if (!disk.down) throw error;
      }
      if (future === 0) disk.restart();
      else disk.reboot();
      const what = `operation ${at}, future ${future}`;
      const found = await contents(disk, OUT);
      if (found !== undefined) {
        complete++;
        assert.equal(found, expected, what);
      } else {
        await restoreLogOn(DIRECTORY, { out: OUT, toLsn }, environmentOf(disk));
        assert.equal(await contents(disk, OUT), expected, what);
      }
      assert.equal((await verifyLogOn(disk, OUT)).faults, [], what);
      const restored = await open(disk, OUT);
      assert.is((await restored.readCheckpoint())?.lsn, 20, what);
      assert.is(restored.appendSync("on"), toLsn + 1, what);
      await restored.close();
    }
  }
  assert.ok(complete > 0 && complete < cuts, "both were met");
  console.log(`# ${operations} operations, ${cuts} power cuts, ${complete} behind the commit point`);
});

test.run();
