// The bench runs, tiny, so that it does not rot. No figure is judged here: the machine is not quiet.

import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { bench } from "../bench/measure.js";
import { benchMerge } from "../bench/merge-measure.js";
import { benchRecycle } from "../bench/recycle-measure.js";
import { freshPath } from "./support/scratch.js";

test("the bench measures everything that it names, and 8 + 100 bytes take 128 on disk, plus at most 1 %", async () => {
  const report = await bench({ roundMs: 20, rounds: 1, reopenBytes: 1 << 20, directory: freshPath("bench") });
  assert.is(report.durable.length, 13);
  for (const { name, opsPerSecond, ratio, fsyncs } of report.durable) assert.ok(opsPerSecond > 0 && ratio > 0 && fsyncs! > 0, name);
  assert.is(report.write.length, 4);
  assert.ok(report.crc32c.every((c) => c.gigabytesPerSecond > 0));
  assert.ok(report.reopen.medianMs > 0);
  const { bytesPerEntry } = report.onDisk;
  assert.ok(bytesPerEntry >= 128 && bytesPerEntry <= 128 * 1.01, `${bytesPerEntry} bytes`);
});

test("the merge bench reads what it wrote, and says how much memory that took", async () => {
  const script = join(process.cwd(), "build/js/bench/merge-read.js");
  const { figures } = await benchMerge({ entries: 3000, rounds: 1, directory: freshPath("bench-merge"), script });
  assert.is(figures.length, 6);
  for (const { name, entriesPerSecond, cold, maxRssBytes } of figures)
    assert.ok(entriesPerSecond > 0 && cold > 0 && maxRssBytes > 2 ** 24, name);
});

test("the bench of recycling writes into spares, and says what a segment costs", async () => {
  const { figures, ratio, frames } = await benchRecycle({ roundMs: 20, rounds: 2, directory: freshPath("bench-recycle") });
  assert.is(figures.length, 2);
  for (const { name, beginMs, frameP50Us, frameP99Us } of figures)
    assert.ok(beginMs > 0 && frameP50Us > 0 && frameP99Us >= frameP50Us, name);
  assert.ok(ratio > 0 && frames > 0);
  assert.ok(figures[1].zerosMs < figures[0].zerosMs, "a spare needs no zeros");
});

test.run();
