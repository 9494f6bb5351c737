// The process that the soak loads, closes and kills: rounds of writer threads and readers, each of which comes to rest.

import { openSync } from "node:fs";
import { Worker } from "node:worker_threads";
import { codeOf } from "../../src/errors.js";
import { openLog, type Entry, type Log } from "../../src/index.js";
import { within } from "../support/expect.js";
import { Random } from "../support/random.js";
import { startThread, task } from "../support/script.js";
import { load, reportInto } from "../support/soak-load.js";
import { measure, type Sample } from "../support/soak-measure.js";
import { identify, Digest } from "../support/soak-records.js";
import type { VictimTask, WriterTask } from "../support/soak-run.js";

const victim = task<VictimTask>();
const { directory, report, options, threads, depth, bytesPerSecond, plant } = victim;
const say = reportInto(report);
const fail = (what: string, error: unknown): void => say(`e ${what}: ${String((error as Error)?.stack ?? error).replaceAll("\n", " ")}`);
process.on("uncaughtException", (error) => (fail("uncaught", error), process.exit(1)));
const random = new Random(victim.seed);
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

const log = await openLog(directory, options);
const { term, lastLsn } = log.recovery;
say(`o ${term} ${lastLsn} ${options.onFull === "fail" || options.queueBytes !== undefined ? 1 : 0}`);

let id = victim.firstId;
const nextId = (): number => (id += 2) - 2;
const asyncLog = options.durability === "async";

/** Reads in this process while a round lasts: follows, reads ranges, gets single ones. */
async function read(log: Log, random: Random, stopped: () => boolean): Promise<void> {
  const from = log.durableLsn + 1;
  const following = log.readBatches({ from, follow: true, internal: true })[Symbol.asyncIterator]();
  const followed = (async () => {
    const digest = new Digest();
    digest.lastLsn = from - 1;
    for (let next = await following.next(); !next.done; next = await following.next()) for (const entry of next.value) digest.add(entry);
  })();
  while (!stopped()) {
    const last = log.durableLsn;
    const start = random.between(1, Math.max(last, 1));
    const to = Math.min(start + 500, last);
    let seen = start - 1;
    const see = (entry: Entry): void => {
      identify(entry);
      if (entry.lsn <= seen || entry.lsn > to) throw new Error(`LSN ${entry.lsn} follows ${seen}, read from ${start} to ${to}`);
      seen = entry.lsn;
    };
    if (start > to) {
      await pause(1);
    } else if (random.chance(0.5)) {
      for await (const entry of log.read({ from: start, to })) see(entry);
    } else {
      const entry = await log.get(start);
      if (entry !== undefined) see(entry);
    }
    await pause(random.below(20));
  }
  await following.return!();
  await followed;
}

/** Writers, and readers beside them, until `ms` are over; resolves when all of them have ended. */
async function round(ms: number): Promise<void> {
  const stop = new Int32Array(new SharedArrayBuffer(4));
  const stopped = (): boolean => stop[0] === 1;
  const ends: Promise<unknown>[] = [];
  const start = (): void => {
    const writer: WriterTask = {
      report,
      id: nextId(),
      depth,
      bytesPerSecond,
      asyncLog,
      seed: random.bits(),
      ending: random.pick(["close", "close", "forget", "exit"]),
    };
    const worker = startThread("soak-writer", { ...writer, handle: log.handle, stop });
    ends.push(
      new Promise((resolve) => {
        worker.once("error", (error) => fail(`thread ${writer.id}`, error));
        worker.once("exit", resolve);
      }),
    );
    if (!random.chance(0.2)) return;
    // Another one takes its place, on the stripe that it leaves.
    const endAfterMs = random.fraction() * ms;
    const end = (): void => {
      if (stopped()) return;
      say(`w ${writer.id}`);
      void worker.terminate();
      if (ends.length < 2 * threads) start();
    };
    // Not while its modules are loaded: their files would stay open.
    worker.once("message", () => setTimeout(end, endAfterMs));
  };
  for (let i = 0; i < threads; i++) start();
  ends.push(
    read(log, random.fork(), stopped).catch((error: unknown) => {
      if (codeOf(error) !== "COREWAL_CLOSED") throw error;
    }),
  );
  // With an inline flusher the opener's thread works for the others as well.
  ends.push(load({ writer: log, id: nextId(), depth: Math.min(depth, 16), bytesPerSecond, asyncLog, random: random.fork(), stopped, say }));
  await pause(ms);
  Atomics.store(stop, 0, 1);
  await Promise.all(ends);
}

/** What is leaked with intent, each time that the process rests. */
const leaked: unknown[] = [];
function leak(): void {
  if (plant === "leak-descriptor") openSync("/dev/null", "r");
  if (plant === "leak-buffer") leaked.push(new Uint8Array(2 ** 20).fill(1));
  if (plant === "leak-heap") leaked.push(Array.from({ length: 2 ** 16 }, (_, i) => ({ i })));
  if (plant === "leak-thread") new Worker("setInterval(() => undefined, 60000)", { eval: true });
}

let before: Sample | undefined;
const began = performance.now();
for (let n = 1; n < victim.rounds || performance.now() - began < victim.forMs; n++) {
  await within(round(victim.roundMs), "the end of a round");
  await within(log.sync(), "a sync at rest");
  if (!victim.measure) continue;
  leak();
  before = await measure(before, () => log.stats());
  say(`q ${JSON.stringify(before)}`);
}
// The last round is not waited for: the log is closed, or the process ends, in the middle of it.
const last = round(60_000);
last.catch((error: unknown) => (fail("a round", error), process.exit(1)));
await pause(victim.roundMs / 2);
say("c");
if (victim.ending === "close") await within(log.close(), "close()");
process.exit(0);
