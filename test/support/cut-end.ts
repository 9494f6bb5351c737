// truncateAfter in the simulator: at any place, while appends, checkpoints and drops are under way, through crashes and errors.
// Until a log is opened again nobody knows whether it was cut; then the oracle does.

import { codeOf } from "../../src/errors.js";
import type { Log, Position } from "../../src/types.js";
import { expectRejection, lastOf } from "./checks.js";
import { Violation } from "./oracle.js";
import type { UpkeepSteps } from "./upkeep-steps.js";
import { Crashed, DIRECTORY, settle, type DrivenLog, type World } from "./world.js";

export interface CutHost {
  readonly world: World;
  readonly log: DrivenLog;
  readonly upkeep: UpkeepSteps | undefined;
  readonly hasFollower: boolean;
  /** Waits until everybody has an answer. */
  rest(): Promise<void>;
  /** Whether the log ends: then refusals are no surprise. */
  closing(closing: boolean): void;
  /** Promises that have no answer yet. */
  openPromises(): number;
}

interface Place {
  where: number | Position | number[];
  /** The last LSN to keep of each chain that is named. */
  wanted: (number | undefined)[];
}

/**
 * Cuts the end off. Gives the log that takes this one's place, or this one if that cannot be; undefined if the disk failed.
 */
export async function cutEnd(host: CutHost): Promise<DrivenLog | undefined> {
  const { world, log, upkeep } = host;
  const { disk, whole, checkpoints, random } = world;
  const stopped = (): boolean => {
    if (disk.down) throw new Crashed();
    return world.failed;
  };
  await (random.chance(0.5) ? host.rest() : world.still());
  if (stopped()) return undefined;
  await upkeep?.beforeCut();
  if (stopped()) return undefined;
  const { where, wanted } = choosePlace(world, log);
  if (world.outside !== undefined) {
    await world.outside.look();
    world.outside?.cuts.push(wanted[0]!);
  }
  world.trace(`what is behind ${JSON.stringify(where)} is to be cut off`);
  if (disk.crashAt === Infinity && random.chance(0.3)) disk.crashAt = disk.operations + random.between(1, 60);
  // A cut that was interrupted leaves files to which nothing leads.
  const stray = segmentFiles(world) - (await log.segments().catch(() => [])).length;
  if (stopped()) return undefined;
  const ends = wanted.map((_, core) => log.core(core).lastLsn);
  const { newest } = checkpoints;
  checkpoints.allowEnd(log.upkeep.list(), wanted, world.upkeep > 0);
  whole.allowEnd(wanted);
  const mayRefuse = log.upkeep.needsCheckpoint() || world.upkeep > 0;
  host.closing(true);
  upkeep?.release();
  world.otherCore = !world.otherCore;
  // A follower would meet it as well.
  if (!host.hasFollower && random.chance(0.25)) disk.faults.readError = 0.05;
  const { failures } = disk;
  let next: DrivenLog;
  try {
    next = (await world.drive(log.truncateAfter(where))) as DrivenLog;
  } catch (error) {
    world.otherCore = !world.otherCore;
    if (error instanceof Crashed || error instanceof Violation) throw error;
    if (disk.down) throw new Crashed();
    const code = codeOf(error);
    const explained = mayRefuse || wanted.some((lsn, core) => log.core(core).firstLsn > lsn! + 1);
    const refused = code === "COREWAL_OUT_OF_WINDOW" && explained;
    if (refused || (log.stats().state === "open" && code === "COREWAL_IO" && disk.failures > failures)) {
      world.count(refused ? "cut that no checkpoint would have survived" : "cut that could not read a checkpoint");
      whole.allowEnd([]);
      checkpoints.putBack(newest);
      host.closing(false);
      // A flusher that failed meanwhile is another matter.
      if (log.stats().state === "open") world.forgive();
      return log;
    }
    if (disk.failures === failures) throw error;
    world.count("cut that met a broken disk");
    return undefined;
  } finally {
    disk.faults.readError = 0;
  }
  await settle();
  world.check();
  upkeep?.release(true);
  await world.quiet();
  if (disk.down) throw new Crashed();
  if (host.openPromises() > 0) throw new Violation(`the log was cut, but ${host.openPromises()} promises are open`);
  if (!world.isLocked) throw new Violation("the log was cut, is open again, and has no lock");
  const isCut = wanted.some((lsn, core) => lsn! < ends[core]!);
  judgeCut(log, next, wanted, isCut);
  const files = segmentFiles(world);
  if (files - next.recovery.segments > stray)
    throw new Violation(`the log was cut and has ${next.recovery.segments} segments; there are ${files} files, ${stray} too many before`);
  await expectRejection(log.append("late"), "COREWAL_CLOSED");
  world.count(`end cut off, ${whole.topology}`);
  return next;
}

/** The log that takes the other one's place ends where it was `wanted`; if anything `isCut`, under another term. */
export function judgeCut(log: Log, { recovery }: Log, wanted: Place["wanted"], isCut: boolean): void {
  if (isCut && recovery.term <= log.recovery.term) throw new Violation(`the log was cut, and its term is still ${recovery.term}`);
  wanted.forEach((lsn, core) => {
    const last = lastOf(recovery, core);
    if (last !== lsn) throw new Violation(`core ${core} was to end at LSN ${lsn}, and ends at ${last}`);
  });
}

const segmentFiles = ({ disk }: World): number => disk.names(DIRECTORY).filter((name) => name.endsWith(".wal")).length;

/** Somewhere between the beginning and the end, both included, of one chain or of all. */
function choosePlace(world: World, log: DrivenLog): Place {
  const { random, whole } = world;
  const all = world.coresOf(log).map((core) => {
    const { firstLsn, lastLsn } = log.core(core);
    const least = Math.max(0, firstLsn - 1);
    // Everything that is there, anywhere, or near the end.
    const roll = random.below(8);
    const lsn = roll === 0 ? least : roll < 4 ? random.between(least, Math.max(least, lastLsn)) : lastLsn - random.below(4);
    return { core, lsn: Math.max(least, lsn) };
  });
  const wanted: (number | undefined)[] = [];
  if (!whole.perCore) {
    const { lsn } = all[0]!;
    return { where: random.chance(0.8) ? lsn : { core: 0, lsn }, wanted: [lsn] };
  }
  if (random.chance(0.4)) {
    const one = random.pick(all);
    wanted[one.core] = one.lsn;
    return { where: one, wanted };
  }
  for (const { core, lsn } of all) wanted[core] = lsn;
  return { where: Array.from(wanted, (lsn) => lsn ?? 0), wanted };
}
