// An archive that is a function, in the simulator: it is slow, it fails, and what it has said to have it keeps.

import type { SealedSegment } from "../../src/types.js";
import type { SimulatedDisk } from "./simulated-disk.js";
import { ARCHIVE, type World } from "./world.js";

export class ArchivedByFunction {
  private readonly segments = new Map<string, Uint8Array>();
  /** How often it failed. */
  failures = 0;

  /** `wait` resolves when other things have happened. */
  async take({ path, bytes }: SealedSegment, world: World, wait: () => Promise<void>): Promise<void> {
    const { random, disk } = world;
    const inode = disk.inode(path)!;
    if (random.chance(0.3)) await wait();
    if (random.chance(0.2)) {
      this.failures++;
      world.count("archive that was away");
      throw new Error("the archive is away");
    }
    const segment = new Uint8Array(bytes);
    inode.read(segment, 0);
    this.segments.set(path.slice(path.lastIndexOf("/") + 1), segment);
    world.count("segment archived by a function");
  }

  /** Lays its segments where restores look for them. */
  lay(disk: SimulatedDisk): void {
    if (this.segments.size === 0) return;
    disk.put(ARCHIVE, this.segments);
  }
}
