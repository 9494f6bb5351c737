// Looks at an open log from outside: what reading shows, what a broken disk does to readers, and what a
// poisoned log says to everybody.

import { codeOf } from "../../src/errors.js";
import type { Log, Writer } from "../../src/types.js";
import { Violation } from "./oracle.js";
import { Crashed, settle, type World } from "./world.js";

/** Everything that is durable is shown, and get() shows the same as read(). */
export async function checkReading(world: World, log: Log): Promise<void> {
  // Nothing flushes meanwhile: only pump() does.
  const durable = log.durableLsn;
  const entries = await world.readAll(log);
  world.oracle.judge(entries, durable);
  const lsn = world.random.between(1, Math.max(1, durable));
  const one = await log.get(lsn);
  const other = entries.find((entry) => entry.lsn === lsn && entry.kind !== "void");
  if (one?.lsn !== other?.lsn || (one !== undefined && Buffer.compare(one.value, other!.value) !== 0))
    throw new Violation(`get(${lsn}) is not what read() shows`);
}

/** A disk that cannot be read stops whoever reads, with the right word, and nobody else. */
export async function checkBrokenReading(world: World, log: Log): Promise<void> {
  const { disk } = world;
  const before = disk.failures;
  disk.faults.readError = 0.3;
  try {
    await world.readAll(log);
  } catch (error) {
    if (disk.down) throw new Crashed();
    if (disk.failures === before || codeOf(error) !== "COREWAL_IO") throw error;
  } finally {
    disk.faults.readError = 0;
    // The flusher saw nothing of it.
    world.failuresAtOpen += disk.failures - before;
  }
  const { state } = log.stats();
  if (state !== "open" && !world.failed) throw new Violation(`a failed read made the log ${state}`);
}

/** After a failed write or sync every call says so, and what was durable can still be read. */
export async function checkPoisoned(world: World, log: Log, writers: Writer[]): Promise<void> {
  const { state } = log.stats();
  if (state !== "poisoned") throw new Violation(`the disk failed (${world.disk.lastFailure}), but the log is ${state}`);
  for (const writer of writers) {
    await expectRejection(writer.append("late"), "COREWAL_POISONED");
    await expectRejection(writer.appendBatch(["late", "later"]), "COREWAL_POISONED");
    await expectRejection(new Promise((resolve) => resolve(writer.write("late"))), "COREWAL_POISONED");
    await expectRejection(new Promise((resolve) => resolve(writer.appendSync("late"))), "COREWAL_POISONED");
    // An LSN that nobody has yet is the caller's mistake.
    await expectRejection(writer.durable(writer.durableLsn + 1), "COREWAL_POISONED", "COREWAL_OUTCOME_UNKNOWN", "COREWAL_INVALID_INPUT");
    await expectRejection(writer.closed, "COREWAL_POISONED", "COREWAL_IO", "COREWAL_DISK_FULL");
  }
  world.oracle.judge(await world.readAll(log), log.durableLsn);
}

export async function expectRejection(promise: Promise<unknown>, ...codes: string[]): Promise<void> {
  let settled: unknown = "nothing yet";
  promise.then(
    () => (settled = "success"),
    (error: unknown) => (settled = codeOf(error) ?? String(error)),
  );
  await settle();
  if (!codes.includes(settled as string)) throw new Violation(`the log is gone: expected ${codes.join(" or ")}, got ${String(settled)}`);
}
