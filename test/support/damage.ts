// Damage, as opposed to crashes: one bit of a properly closed log is flipped. Either the log says so, or the
// bit did not matter and everything is still there. Never anything in between.

import { codeOf } from "../../src/errors.js";
import { openLogWith } from "../../src/log.js";
import { inputOf, makeItem } from "./items.js";
import { Violation } from "./oracle.js";
import type { Counts } from "./simulation.js";
import { DIRECTORY, type World } from "./world.js";

const LOUD = ["COREWAL_CORRUPT", "COREWAL_UNKNOWN_VERSION", "COREWAL_NOT_A_LOG"];
const FLIPS = 6;

/** Opens and closes the log, then flips bits. The run is over after this. */
export async function checkDamage(world: World, counts: Counts): Promise<void> {
  const { random, disk, oracle, config } = world;
  const log = await world.open();
  oracle.opened(log.recovery.lastLsn, log.recovery.term);
  oracle.recovered(await world.readAll(log), log.recovery.lastLsn);
  // One more entry, so that this open has a segment to seal.
  const operation = oracle.begin(0, [makeItem(random, world.newId(), 100, "data")]);
  oracle.learn(operation, await world.drive(log.append(inputOf(operation.items[0]!))));
  await world.drive(log.close());
  world.log = undefined;
  const last = log.lastLsn;
  const files = disk.list(DIRECTORY).filter((name) => name.endsWith(".wal"));
  for (let flip = 0; flip <= FLIPS; flip++) {
    // The last one is opened for writing, which may change the disk.
    const readOnly = flip < FLIPS;
    const path = `${DIRECTORY}/${random.pick(files)}`;
    const inode = disk.inode(path)!;
    const offset = random.below(inode.size);
    const mask = 1 << random.below(8);
    inode.flip(offset, mask);
    const what = `bit ${mask} at offset ${offset} of ${path} (${inode.size} bytes) flipped, opened for ${readOnly ? "reading" : "writing"}`;
    world.trace(what);
    try {
      const opened = readOnly ? await openLogWith(DIRECTORY, { ...config.options, readOnly: true }, world.environment(true)) : await world.open();
      const entries = await world.readAll(opened);
      const end = opened.recovery.lastLsn;
      // Whoever only reads cannot tell a log without a footer from one that is being written.
      if (end !== last && (opened.recovery.clean || !readOnly)) throw new Violation(`${what}: the log ends at LSN ${end} instead of ${last} without a word`);
      oracle.judge(entries, end);
      count(counts, "damage that did not matter");
    } catch (error) {
      if (!LOUD.includes(codeOf(error) ?? "")) throw error;
      count(counts, "damage that was found");
    }
    if (readOnly) inode.flip(offset, mask);
  }
}

function count(counts: Counts, kind: string): void {
  counts.kinds.set(kind, (counts.kinds.get(kind) ?? 0) + 1);
}
