// Invariant 13: the process neither hangs because of corewal nor exits with acknowledged work undone.

import { test } from "uvu";
import * as assert from "uvu/assert";
import { openLog } from "../src/index.js";
import type { LogOptions } from "../src/options.js";
import { endSoon, texts, within } from "./support/expect.js";
import { freshPath } from "./support/scratch.js";
import { killChildren, startProcess, type Ended } from "./support/script.js";
import type { ExitTask } from "./workers/exit-case.js";

const FLUSHERS = ["worker", "inline"] as const;
const HUNDRED = Array.from({ length: 100 }, (_, i) => String(i));
/** Nothing reaches the disk by itself in the time that a test takes. */
const SLOW: LogOptions = { durability: "async", flushIntervalMs: 60_000 };

async function run(what: ExitTask["what"], options: LogOptions = {}): Promise<{ directory: string; end: Ended }> {
  const directory = freshPath("exit");
  const task: ExitTask = { directory, what, options };
  const { child, ended } = startProcess("exit-case", task);
  const end = await within(ended, `the end of "${what}"`, 60_000).catch((error: Error) => {
    child.kill("SIGKILL");
    throw error;
  });
  return { directory, end };
}

/** What is left, and whether the log was closed properly. */
async function left(directory: string): Promise<{ entries: string[]; clean: boolean }> {
  const log = await openLog(directory);
  const entries = await texts(log);
  const { clean } = log.recovery;
  await log.close();
  return { entries, clean };
}

/** Deno emits no exit event after an error that nobody caught: what was accepted is there, but nobody could close. */
const closesAfterErrors = !("Deno" in globalThis);

for (const flusher of FLUSHERS) {
  const named = (name: string, run: () => Promise<void>): void => void test(`invariant 13, ${flusher} flusher: ${name}`, run);

  named("an idle log lets the process end", async () => {
    for (const what of ["open", "idle after appends"] as const) {
      const { directory, end } = await run(what, { flusher });
      assert.is(end.code, 0, end.err);
      assert.is(end.err, "");
      assert.equal(await left(directory), { entries: what === "open" ? [] : ["first"], clean: true });
    }
  });

  named("pending group commits keep the process until they are acknowledged", async () => {
    for (const options of [{}, { maxDelayMs: 300 }]) {
      const { directory, end } = await run("pending appends", { flusher, ...options });
      assert.is(end.code, 0, end.err);
      assert.is(end.out, "acknowledged\n");
      assert.equal(await left(directory), { entries: HUNDRED, clean: true });
    }
  });

  named("a process that only awaits does not exit early", async () => {
    const { directory, end } = await run("awaiting", { flusher, maxDelayMs: 1 });
    assert.is(end.code, 0, `exit code 13 is Node's "unsettled top-level await": ${end.err}`);
    assert.is(end.out, "end reached\n");
    assert.is((await left(directory)).entries.length, 101);
  });

  for (const [what, code] of [
    ["async appends", 0],
    ["async appends, process.exit", 0],
    ["async appends, uncaught throw", 1],
    ["async appends, unhandled rejection", 1],
    ["writes, process.exit", 0],
  ] as const) {
    const clean = code === 0 || closesAfterErrors;
    named(`${what}: all there, log ${clean ? "clean" : "not closed"}`, async () => {
      const { directory, end } = await run(what, { flusher, ...SLOW });
      assert.is(end.code, code, end.err);
      assert.is(end.out, "accepted\n");
      assert.equal(await left(directory), { entries: HUNDRED, clean });
    });
  }

  named("exitTimeoutMs 0 ends the process at once; what was not flushed is gone, the log opens", async () => {
    const { directory, end } = await run("async appends, process.exit", { flusher, ...SLOW, exitTimeoutMs: 0 });
    assert.is(end.code, 0, end.err);
    const { entries, clean } = await left(directory);
    // The flusher's own thread may have been quick: a prefix is there.
    assert.equal(entries, HUNDRED.slice(0, entries.length));
    if (flusher === "inline") assert.equal({ entries, clean }, { entries: [], clean: true });
  });

  named("a thread that ends by itself gives its stripe back", async () => {
    const { directory, end } = await run("attached thread ends", { flusher });
    assert.is(end.code, 0, end.err);
    assert.is(end.out, "stripes used: 1\n");
    assert.equal(await left(directory), { entries: ["from a thread"], clean: true });
  });

  named("threads that are still attached hold nobody up", async () => {
    for (const what of ["attached thread waits, process.exit", "attached thread waits, unref"] as const) {
      const { directory, end } = await run(what, { flusher });
      assert.is(end.code, 0, end.err);
      assert.equal(await left(directory), { entries: ["from a thread"], clean: true });
    }
  });
}

test("an attach that was refused leaves nothing behind that disturbs the end of the process", async () => {
  const { directory, end } = await run("attach that is refused", { stripes: 1 });
  assert.is(end.code, 0, end.err);
  assert.is(end.out, "COREWAL_NO_STRIPE\nCOREWAL_NO_STRIPE\n");
  assert.equal(await left(directory), { entries: ["first"], clean: true });
});

test("invariant 13: no signal handler is installed, and a signal ends the process as it always does", async () => {
  const directory = freshPath("signal");
  const { child, ended } = startProcess("exit-case", { directory, what: "signal handlers" } satisfies ExitTask);
  const line = await within(new Promise<string>((resolve) => child.stdout!.once("data", (chunk: Buffer) => resolve(chunk.toString()))));
  assert.is(line, "handlers: 0 0 0\n");
  child.kill("SIGTERM");
  assert.is((await within(ended)).signal, "SIGTERM");
  assert.equal((await left(directory)).entries, ["first"]);
});

test("closed never becomes an unhandled rejection, and a poisoned log lets the process end", async () => {
  const { end } = await run("poisoned, awaiting closed");
  assert.is(end.code, 0, end.err);
  assert.is(end.out, "COREWAL_POISONED\n");
});

test.after(killChildren);
test.after(endSoon);
test.run();
