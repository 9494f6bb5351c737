// Appends that waited for space are flushed like any other: also async ones, which nobody waits for.

import { test } from "uvu";
import * as assert from "uvu/assert";
import { openLog } from "../src/index.js";
import { freshPath } from "./support/scratch.js";

test("async appends that waited for space reach the disk within flushIntervalMs, also when the flusher has gone to sleep meanwhile", async () => {
  const never = new Int32Array(new SharedArrayBuffer(4));
  const record = new Uint8Array(400);
  for (let count = 10; count <= 22; count++) {
    const log = await openLog(freshPath("queue-bell"), {
      durability: "async",
      flushIntervalMs: 20,
      ringBytes: 4096,
      segmentBytes: 16_384,
      stripes: 2,
    });
    const appends = Array.from({ length: count }, () => log.append(record));
    // A busy thread: the flusher has emptied the ring and sleeps each time before the queue moves on.
    let busy = true;
    const block = (): void => {
      Atomics.wait(never, 0, 0, 30);
      if (busy) setImmediate(block);
    };
    block();
    await Promise.all(appends);
    busy = false;
    // Nobody asks for anything: only the interval may bring them out. The limit guards against hanging, no more.
    const until = performance.now() + 5_000;
    while (log.durableLsn < count && performance.now() < until) await new Promise((resolve) => setTimeout(resolve, 5));
    assert.is(log.durableLsn, count, `${count} appends`);
    await log.close();
  }
});

test.run();
