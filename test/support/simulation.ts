// The crash simulator: a process opens a log on a simulated disk, uses it, dies or meets a broken disk, and
// the next one has to find everything that was promised. The real host and the real module run; only the
// disk, the clock, the lock and chance are simulated. One seed is one machine's life of several processes.

import { ABANDON } from "../../src/log.js";
import { codeOf } from "../../src/errors.js";
import type { LogOptions } from "../../src/options.js";
import { NEW_SUFFIX } from "../../src/segment.js";
import type { StateWriter } from "../../src/types.js";
import { checkStart, IO_CODES, isSealed, lastOf } from "./checks.js";
import { countKind, type Counts } from "./counts.js";
import { checkDamage } from "./damage.js";
import { OutsideFollower } from "./follower.js";
import { Violation } from "./oracle.js";
import { Random } from "./random.js";
import { Session } from "./session.js";
import { ARCHIVE, Crashed, DIRECTORY, settle, World, type DrivenLog } from "./world.js";

const YEAR_MS = 365 * 86_400_000;
const FAULTY_ATTEMPTS_MAX = 4;

let stray: unknown;
/** Told of checkpoints that are passed over; nobody else is to hear of those. */
let warn: (text: string) => void = () => undefined;
const emitWarning: (...all: never[]) => void = process.emitWarning.bind(process);
process.emitWarning = (text: unknown, ...rest: unknown[]) => {
  if ((rest[0] as { code?: string } | undefined)?.code === "COREWAL_CHECKPOINT") warn(String(text));
  else emitWarning(...([text, ...rest] as never[]));
};
process.on("unhandledRejection", (error) => {
  stray ??= error;
});

/** Lives through one seed, or through what a stream of decisions says. Returns what was wrong, or undefined. */
export async function simulate(seed: number | Random, counts: Counts, trace?: (text: string) => void): Promise<string | undefined> {
  const random = typeof seed === "number" ? new Random(seed) : seed;
  const world = new World(random, counts, trace);
  counts.seeds++;
  stray = undefined;
  warn = (text) => world.checkpoints.warnings.push(text);
  let cycle = 0;
  try {
    const lives = random.between(2, 8);
    // Last, so that decisions that were written down before there was upkeep mean what they did.
    configureUpkeep(world, random);
    configureRest(world, random);
    for (let clean = false; cycle < lives; cycle++) {
      // Streams of their own, so that a failing run can be shrunk life by life.
      world.random = random.fork();
      world.disk.random = world.random.fork();
      clean = await live(world, counts, clean);
    }
    world.random = random.fork();
    if (world.config.options.archive !== undefined) await world.restores.restoreAll();
    // Of a per-core log, the damage tests see to that.
    if (world.random.chance(0.1) && !world.whole.perCore) await checkDamage(world, counts);
    // Node reports stray rejections when all microtasks are done.
    await new Promise((resolve) => setImmediate(resolve));
    if (stray !== undefined) throw new Violation(`a promise was rejected and nobody was told: ${(stray as Error).message}`);
    return undefined;
  } catch (error) {
    const e = error as Error;
    return `cycle ${cycle}: ${e instanceof Violation ? e.message : `unexpected ${codeOf(e) ?? ""} ${e.stack}`}`;
  } finally {
    world.log?.[ABANDON]();
    world.outside?.stop();
  }
}

/** In some of the runs the log is kept small. */
function configureUpkeep(world: World, random: Random): void {
  const { config } = world;
  if (!random.chance(0.5)) return;
  config.upkeep = true;
  const { options } = config;
  options.checkpoints = { keep: random.pick([2, 1, 3]) };
  options.retention = random.pick<LogOptions["retention"]>([
    undefined,
    undefined,
    { bytes: 0 },
    { bytes: 60_000 },
    { bytes: 40_000, withoutCheckpoint: true },
    { ageMs: 50 },
  ]);
  if (random.chance(0.3)) Object.assign(options.checkpoints, { state: (hand: StateWriter) => world.automatic!(hand), everyEntries: 10 });
}

/** … or its segments are archived, it is cut, and it is restored. */
function configureRest(world: World, random: Random): void {
  const { config } = world;
  if (random.chance(0.4)) config.cuts = true;
  if (random.chance(0.4)) config.restores = true;
  if (!config.upkeep || !random.chance(0.5)) return;
  config.restores = true;
  config.options.archive = random.chance(0.5) ? { directory: ARCHIVE } : (segment) => world.archiving!(segment);
}

/** Power or process: which of the two ends it now. */
function strike(world: World, counts: Counts, where: string): void {
  const power = world.random.chance(0.6);
  countKind(counts, `${power ? "power loss" : "kill"} ${where}`);
  if (world.barriers > 0) countKind(counts, `${power ? "power loss" : "kill"} during a barrier`);
  if (world.upkeep > 0) countKind(counts, `${power ? "power loss" : "kill"} while a checkpoint is made or something is dropped`);
  if (world.disk.down) world.trace(`crashed in ${world.disk.crashedIn}`);
  world.die(power);
}

/** One process, from opening to its end. Returns whether it left a log that is closed properly. */
async function live(world: World, counts: Counts, wasClean: boolean): Promise<boolean> {
  const { random, disk, whole } = world;
  if (whole.perCore) changeCores(world);
  if (random.chance(0.1)) world.setClock(random.pick([-5000, -YEAR_MS, YEAR_MS, -Infinity]), " between processes");
  if (random.chance(0.1) && whole.exists) await world.readOnly(false);
  // What a killed process had written and not promised may still be lost.
  if (!whole.perCore && world.outside === undefined && random.chance(0.1) && world.oracle.proven > 0 && !disk.lies)
    world.outside = await OutsideFollower.open(world, false);
  else if (random.chance(0.5)) await world.outside?.look();
  await restoreBetween(world, counts);
  await recover(world, counts, wasClean);
  counts.cycles++;
  countKind(counts, `cycle, ${whole.topology}`);

  let session = new Session(world, world.log!);
  if (random.chance(0.65)) disk.crashAt = disk.operations + random.between(1, world.config.crashWithin);
  if (random.chance(0.8)) world.arm(false);
  if (random.chance(0.08)) disk.space = random.below(2 * (world.config.options.segmentBytes ?? 0));
  try {
    await session.run(random.between(0, world.config.steps));
    let fresh = false;
    for (let cuts = world.config.cuts ? random.below(3) : 0; cuts > 0 && !world.failed; cuts--) {
      const log = await session.cut();
      if (log === undefined && !world.isLocked) return cutFailed(world, session);
      if (log === undefined || log === world.log) break;
      session.end();
      fresh = true;
      await judgeOpened(world, world.adopt(log), true);
      session = new Session(world, log);
      await session.run(random.between(0, world.config.steps));
    }
    if (!world.failed) {
      if (random.chance(0.35)) {
        await session.close();
        if (!world.failed) return closed(world, counts, wasClean && !fresh) && !session.halfSealed;
      } else if (disk.crashAt < Infinity || random.chance(0.5)) {
        session.end();
        strike(world, counts, "between operations");
        return false;
      }
    }
    if (world.failed) await afterFailure(world, counts, session);
    else await drained(world, counts, session);
    return false;
  } catch (error) {
    if (error instanceof Violation || !disk.down) throw error;
    await settle();
    world.check();
    session.end();
    strike(world, counts, `in ${disk.crashedIn}`);
    return false;
  } finally {
    session.end();
    if (world.barriers + world.upkeep > 0 && world.log === undefined) await world.quiet();
    world.disarm();
    disk.space = Infinity;
  }
}

/** Nobody has the log open. */
async function restoreBetween(world: World, counts: Counts): Promise<void> {
  await world.restores.lookAgain();
  if (!world.config.restores || !world.random.chance(0.1)) return;
  try {
    await world.restores.restore(false);
  } catch (error) {
    if (!(error instanceof Crashed)) throw error;
    strike(world, counts, "in a restore");
    await world.restores.lookAgain();
  }
}

/** The log was closed, and the disk failed while it was cut or opened again: whoever opens it next finds it cut or not. */
function cutFailed(world: World, session: Session): false {
  session.end();
  world.log = undefined;
  world.disarm();
  if (world.random.chance(0.5)) world.die(world.random.chance(0.5));
  world.disk.crashAt = Infinity;
  return false;
}

/** The next process may have another number of cores. */
function changeCores(world: World): void {
  const { options } = world.config;
  const stripes = world.random.between(1, 4);
  if (stripes < options.stripes!) world.count("fewer cores than before");
  if (stripes > options.stripes!) world.count("more cores than before");
  options.stripes = stripes;
}

function closed(world: World, counts: Counts, wasClean: boolean): boolean {
  // A drop that failed in a chain that no core writes leaves its end to the next open.
  const { hadFailures } = world;
  const sealed = !hadFailures && isSealed(world, wasClean);
  world.log = undefined;
  world.disarm();
  countKind(counts, "close");
  // What a close says is durable needs no cache.
  if (world.random.chance(0.5)) world.die(true);
  world.disk.crashAt = Infinity;
  return sealed || (wasClean && !hadFailures);
}

/** Everybody has an answer, and then the process dies: with a disk that works, all of it is there again. */
async function drained(world: World, counts: Counts, session: Session): Promise<void> {
  await world.pump();
  await settle();
  world.check();
  session.end();
  strike(world, counts, "at rest");
}

async function afterFailure(world: World, counts: Counts, session: Session): Promise<void> {
  const { random, disk } = world;
  countKind(counts, disk.lastFailure);
  world.trace(`failed: ${disk.lastFailure}`);
  // From here on the disk works again, but the log must not believe it.
  if (random.chance(0.7)) world.disarm();
  if (session.allDurable) countKind(counts, "failed: seal of a chain without a stripe");
  else await session.poisoned();
  if (!disk.down) await world.outside?.look();
  if (random.chance(0.6)) {
    await session.closePoisoned();
    session.end();
    if (disk.down) throw new Crashed();
    if (random.chance(0.3)) world.die(true);
    world.log = undefined;
    disk.crashAt = Infinity;
  } else {
    session.end();
    strike(world, counts, "after a failure");
  }
}

/** What an open shows is what was promised. `closed`: the process before had closed the log. */
async function judgeOpened(world: World, log: DrivenLog, closed: boolean): Promise<void> {
  const { whole, checkpoints } = world;
  const { recovery } = log;
  world.trace(`opened: ${JSON.stringify(recovery)}`);
  checkpoints.cut(whole.cutsOf(recovery.cores));
  whole.opened(recovery, closed);
  if (log.durableLsn !== recovery.lastLsn || log.lastLsn !== 0)
    throw new Violation(
      `recovered up to ${recovery.lastLsn}, but durableLsn is ${log.durableLsn} and this writer's lastLsn ${log.lastLsn}`,
    );
  checkStart(world, log);
  await world.judge(log, (core) => lastOf(recovery, core), "recovered");
  if (world.config.upkeep) await checkpoints.judge(world, log);
  whole.recoveredEpoch(recovery.epoch);
  // What is recovered is promised by that.
  await world.outside?.look();
  if ((world.outside?.log.durableLsn ?? recovery.lastLsn) !== recovery.lastLsn)
    throw new Violation(`recovered up to LSN ${recovery.lastLsn}, and a follower is shown ${world.outside?.log.durableLsn}`);
}

/** Opens the log, as often as it takes, through crashes and errors, and checks what came back. */
async function recover(world: World, counts: Counts, wasClean: boolean): Promise<void> {
  const { random, disk } = world;
  const { nameChanges } = disk;
  const names = disk.names(DIRECTORY);
  for (let attempt = 0; ; attempt++) {
    const failures = disk.failures;
    if (random.chance(0.4)) disk.crashAt = disk.operations + random.between(1, random.pick([5, 15, 40]));
    if (attempt < FAULTY_ATTEMPTS_MAX && random.chance(0.3)) world.arm(true);
    if (attempt < FAULTY_ATTEMPTS_MAX && random.chance(0.05)) disk.space = random.below(20000);
    try {
      const log = await world.open();
      world.disarm();
      const closed = wasClean && attempt === 0;
      const { recovery } = log;
      if (closed) {
        if (!recovery.clean || recovery.torn !== undefined || recovery.copied !== undefined)
          throw new Violation(`closed properly, but recovery says ${JSON.stringify(recovery)}`);
        // A mark in an older segment that a former process left unfinished may be written, but nothing is made.
        // What was dropped and could not be removed goes now, and so do files that a former process did not finish.
        const now = disk.names(DIRECTORY);
        const removed = names.filter((name) => !now.includes(name));
        const known =
          now.every((name) => names.includes(name)) &&
          (world.config.upkeep || world.config.cuts || removed.every((name) => name.endsWith(NEW_SUFFIX)));
        if (disk.nameChanges !== nameChanges && !known) throw new Violation("opening a properly closed log made or removed files");
      }
      await judgeOpened(world, log, closed);
      disk.crashAt = Infinity;
      disk.space = Infinity;
      return;
    } catch (error) {
      world.disarm();
      disk.space = Infinity;
      if (error instanceof Violation) throw error;
      if (disk.down) {
        strike(world, counts, "in recovery");
      } else if (disk.failures > failures) {
        const code = codeOf(error) ?? String(error);
        if (!IO_CODES.includes(code))
          throw new Violation(
            `the disk failed while the log was opened (${disk.lastFailure}), and it says ${code}: ${(error as Error).message}`,
          );
        if (world.isLocked) throw new Violation("an open failed and left the lock behind");
        countKind(counts, `${disk.lastFailure} in recovery`);
        world.trace(`open failed: ${(error as Error).message}`);
        disk.crashAt = Infinity;
        if (random.chance(0.3)) world.die(random.chance(0.5));
      } else {
        throw new Violation(
          `nothing but crashes and errors happened, and the log cannot be opened: ${codeOf(error) ?? ""} ${(error as Error).stack}`,
        );
      }
    }
  }
}
