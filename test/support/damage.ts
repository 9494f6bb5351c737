// Damage, as opposed to crashes: one bit of a log is flipped whose entries are all proven, by a footer or by
// the promise of a later frame. Either the log says so, or the bit did not matter and everything is still
// there. Never anything in between.

import { codeOf } from "../../src/errors.js";
import { openLogWith } from "../../src/log.js";
import { inputOf, makeItem } from "./items.js";
import { Violation } from "./oracle.js";
import { countKind, type Counts } from "./counts.js";
import { DIRECTORY, type DrivenLog, type World } from "./world.js";

const LOUD = ["COREWAL_CORRUPT", "COREWAL_UNKNOWN_VERSION", "COREWAL_NOT_A_LOG"];
const FLIPS = 6;

/** Appends, proves and leaves the log, closed or not, then flips bits. The run is over after this. */
export async function checkDamage(world: World, counts: Counts): Promise<void> {
  const { random, disk, oracle, config } = world;
  const log = await world.open();
  oracle.opened(log.recovery.lastLsn, log.recovery.term);
  oracle.recovered(await world.readAll(log), log.recovery.lastLsn, log.firstLsn);
  for (let n = random.between(1, 4); n > 0; n--) {
    const operation = oracle.begin(0, [makeItem(random, world.newId(), config.size(random), "data")]);
    oracle.learn(operation, await world.drive(log.append(inputOf(operation.items[0]!), { durability: "sync" })));
  }
  const last = log.lastLsn;
  const how = random.chance(0.5) ? await close(world, log) : await proveAndKill(world, log);
  if (how === undefined) return;
  const files = disk.list(DIRECTORY).filter((name) => name.endsWith(".wal"));
  for (let flip = 0; flip <= FLIPS; flip++) {
    // The last one is opened for writing, which may change the disk.
    const readOnly = flip < FLIPS;
    const path = `${DIRECTORY}/${random.pick(files)}`;
    const inode = disk.inode(path)!;
    const offset = random.below(random.chance(0.5) ? inode.size : Math.min(inode.size, 2048));
    const mask = 1 << random.below(8);
    inode.flip(offset, mask);
    const what = `log ${how}, bit ${mask} at offset ${offset} of ${path} (${inode.size} bytes) flipped, opened for ${readOnly ? "reading" : "writing"}`;
    world.trace(what);
    try {
      const opened = readOnly
        ? await openLogWith(DIRECTORY, { ...config.options, readOnly: true }, world.environment(true))
        : await world.open();
      const entries = await world.readAll(opened);
      const end = opened.recovery.lastLsn;
      if (end !== last) throw new Violation(`${what}: the log ends at LSN ${end} instead of ${last} without a word`);
      oracle.judge(entries, end, opened.firstLsn);
      countKind(counts, "damage that did not matter");
    } catch (error) {
      if (!LOUD.includes(codeOf(error) ?? "")) throw error;
      countKind(counts, "damage that was found");
    }
    if (readOnly) inode.flip(offset, mask);
  }
}

async function close(world: World, log: DrivenLog): Promise<string> {
  await world.drive(log.close());
  world.log = undefined;
  return "closed";
}

/** Waits until an idle frame has proven the last entries, then kills the process. */
async function proveAndKill(world: World, log: DrivenLog): Promise<string | undefined> {
  await world.pump();
  const { frames } = log.stats();
  world.pass(100);
  await world.pump();
  // A full segment has no room for the proof: then the last frame may be cut without a word.
  const proven = log.stats().frames > frames;
  world.die(false);
  return proven ? "left open" : undefined;
}
