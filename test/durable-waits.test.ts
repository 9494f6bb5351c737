// When the flusher is told what is waited for, on a core that only notes it.

import { test } from "uvu";
import * as assert from "uvu/assert";
import { LOG_OPEN, STAT_FSYNC_MS_LAST } from "../assembly/layout.js";
import type { Core, CoreExports } from "../src/core.js";
import { DurableWaits, type WaitsOwner } from "../src/durable-waits.js";

const APPENDS = 1000;

interface Noted {
  waits: DurableWaits;
  /** LSN of each demand that was sent. */
  demands: number[];
  /** How many waited each time the owner was told of a change. */
  changes: number[];
}

function note(lastFsyncMs: number, settledByFlusher: boolean): Noted {
  const buffer = new SharedArrayBuffer(4096);
  const noted = { demands: [] as number[], changes: [] as number[] };
  const x: Partial<CoreExports> = {
    log_state: () => LOG_OPEN,
    log_durable_lsn: () => 0,
  };
  const core = { x, i32: new Int32Array(buffer), f64: new Float64Array(buffer) } as unknown as Core;
  core.f64[STAT_FSYNC_MS_LAST >> 3] = lastFsyncMs;
  const refuse = (): Error => assert.unreachable() as never;
  const owner: WaitsOwner = {
    bank: core,
    ask: (lsn) => void noted.demands.push(lsn),
    settledByFlusher,
    unknown: refuse,
    closedError: refuse,
    changed: () => void noted.changes.push(waits.size),
  };
  const waits = new DurableWaits(owner);
  return { waits, ...noted };
}

/** One turn of the event loop that appends. */
function turn({ waits }: Noted): void {
  for (let lsn = 1; lsn <= APPENDS; lsn++) {
    waits.demand(lsn, false);
    void waits.waitFor(lsn, lsn, undefined);
  }
}

test("a turn that is shorter than an fsync sends one demand, at its end", async () => {
  const noted = note(3_600_000, false);
  turn(noted);
  assert.equal(noted.demands, []);
  await new Promise(setImmediate);
  assert.equal(noted.demands, [APPENDS]);
});

test("a turn that is longer than an fsync sends demands in between, and the last one at its end", async () => {
  const noted = note(0, false);
  turn(noted);
  const during = noted.demands.length;
  assert.ok(during >= 5 && during <= APPENDS / 10, `${during} demands`);
  await new Promise(setImmediate);
  assert.is(noted.demands.at(-1), APPENDS);
  assert.equal(
    noted.demands,
    [...noted.demands].sort((a, b) => a - b),
  );
});

for (const settledByFlusher of [true, false]) {
  test(`the owner knows of all who wait before the event loop goes on, ${settledByFlusher ? "inline" : "worker"}`, async () => {
    const noted = note(0, settledByFlusher);
    turn(noted);
    await new Promise<void>((resolve) => process.nextTick(resolve));
    assert.is(noted.changes.at(-1), APPENDS);
    assert.is(noted.demands.at(-1), APPENDS);
  });
}

test.run();
