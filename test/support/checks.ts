// Looks at an open log from outside: what reading shows, what a broken disk does to readers, and what a
// poisoned log says to everybody.

import { codeOf } from "../../src/errors.js";
import type { Log, RecoveryReport, Writer } from "../../src/types.js";
import { Violation } from "./oracle.js";
import { Crashed, settle, type World } from "./world.js";

/** What may be said if the disk fails under it. */
export const IO_CODES = ["COREWAL_IO", "COREWAL_DISK_FULL", "COREWAL_NO_PERMISSION"];

/** Where a chain ended when the log was opened. */
export const lastOf = ({ cores }: RecoveryReport, core: number): number => cores.find((other) => other.core === core)?.lastLsn ?? 0;

/** Each chain goes on where recovery found its end, the log in the epoch that recovery names. */
export function checkStart(world: World, log: Log): void {
  const { recovery } = log;
  const positions = log.positions();
  const durable = log.durablePositions();
  for (const core of positions.keys()) {
    const last = lastOf(recovery, core);
    if (positions[core] !== last || durable[core] !== last)
      throw new Violation(`core ${core} was recovered up to ${last}, but it goes on at ${positions[core]}, durable up to ${durable[core]}`);
  }
  if (log.epoch !== recovery.epoch) throw new Violation(`recovery says epoch ${recovery.epoch}, the log ${log.epoch}`);
  if (recovery.topology !== world.whole.topology) throw new Violation(`the log became ${recovery.topology}`);
  if (recovery.cores.some(({ core }) => core >= positions.length)) world.count("chain without a stripe");
  for (const { core, copied } of recovery.cores) {
    if (copied !== undefined && core >= positions.length) world.count("chain without a stripe copied forward");
    if (copied?.entries === 0) world.count("nothing but an epoch's beginning copied forward");
  }
}

/** Only an open that made a segment has one to seal; what a former one left without footer stays so. */
export function isSealed({ log, whole }: World, wasClean: boolean): boolean {
  const { recovery } = log!;
  if (!whole.perCore) return recovery.copied !== undefined || log!.stats().segmentsBegun > 0;
  const positions = log!.positions();
  return recovery.cores.every(
    ({ core, clean, copied, lastLsn }) => (clean && wasClean) || copied !== undefined || (positions[core] ?? 0) > lastLsn,
  );
}

/** Everything that is durable is shown, and get() shows the same as read(). */
export async function checkReading(world: World, log: Log): Promise<void> {
  // Nothing flushes meanwhile: only pump() does, and upkeep at the next turn of the event loop.
  await world.still();
  await world.judge(log, (core) => log.core(core).durableLsn);
  const { core, lastLsn: durable } = world.whole.perCore ? world.random.pick(chainsOf(log)) : { core: 0, lastLsn: log.durableLsn };
  const entries = await world.readAll(world.whole.perCore ? log.core(core) : log);
  const lsn = world.random.between(1, Math.max(1, durable));
  const { firstLsn } = log.core(core);
  const get = world.whole.perCore ? log.get({ core, lsn }) : log.get(lsn);
  if (lsn < firstLsn) {
    world.count("asked for what was dropped");
    return expectRejection(get, "COREWAL_OUT_OF_WINDOW");
  }
  const one = await get;
  const other = entries.find((entry) => entry.lsn === lsn && entry.kind !== "void" && entry.kind !== "epoch");
  if (one?.lsn !== other?.lsn || (one !== undefined && Buffer.compare(one.value, other!.value) !== 0))
    throw new Violation(`get(${lsn}) of core ${core} is not what read() shows`);
}

/** Cores that this open has a stripe for, and where they are durable. */
function chainsOf(log: Log): { core: number; lastLsn: number }[] {
  return log.durablePositions().map((lastLsn, core) => ({ core, lastLsn }));
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
    const where = world.whole.perCore ? { core: writer.ownCore, lsn: writer.durableLsn + 1 } : writer.durableLsn + 1;
    await expectRejection(writer.durable(where), "COREWAL_POISONED", "COREWAL_OUTCOME_UNKNOWN", "COREWAL_INVALID_INPUT");
    await expectRejection(writer.advanceEpoch(), "COREWAL_POISONED");
    await expectRejection(writer.closed, "COREWAL_POISONED", "COREWAL_IO", "COREWAL_DISK_FULL");
  }
  await world.still();
  await world.judge(log, (core) => log.core(core).durableLsn);
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
