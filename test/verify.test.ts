// verify names the faults that are there, and invents none.

import { rmSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { openLog, verifyLog } from "../src/index.js";
import { freshPath } from "./support/scratch.js";

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

test.run();
