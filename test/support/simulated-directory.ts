// A directory of the simulated disk: the names that programs see, the names that the disk holds, and the
// operations in between. Fsync of a file says nothing about its name; a rename is atomic, but whether it
// arrives before or after another operation on other names is the file system's business.

import type { Random } from "./random.js";
import type { SimulatedInode } from "./simulated-file.js";

interface NameChange {
  name: string;
  /** What the name stands for from now on; undefined: nothing. */
  inode: SimulatedInode | undefined;
  /** A rename: this name is gone at the same instant. */
  from: string | undefined;
}

export class SimulatedDirectory {
  /** What programs see. */
  names = new Map<string, SimulatedInode>();
  #disk = new Map<string, SimulatedInode>();
  #changes: NameChange[] = [];

  get dirty(): boolean {
    return this.#changes.length > 0;
  }

  link(name: string, inode: SimulatedInode): void {
    this.names.set(name, inode);
    this.#changes.push({ name, inode, from: undefined });
  }

  unlink(name: string): void {
    this.names.delete(name);
    this.#changes.push({ name, inode: undefined, from: undefined });
  }

  rename(from: string, to: string): void {
    const inode = this.names.get(from)!;
    this.names.delete(from);
    this.names.set(to, inode);
    this.#changes.push({ name: to, inode, from });
  }

  sync(): void {
    for (const change of this.#changes) this.#apply(change);
    this.#changes = [];
  }

  /** Some file systems make a file's own name durable with its contents. */
  syncNamesOf(inode: SimulatedInode): void {
    const wanted = new Set<string>();
    for (const change of this.#changes) if (change.inode === inode) wanted.add(change.name).add(change.from ?? change.name);
    const rest: NameChange[] = [];
    for (const change of this.#changes) {
      if (wanted.has(change.name)) this.#apply(change);
      else rest.push(change);
    }
    this.#changes = rest;
  }

  /** Fails: some changes are on the disk, the others still wait (a directory is metadata, it is not forgotten like data). */
  failSync(random: Random, keep: number, ordered: boolean): void {
    this.#changes = this.#settle(random, keep, ordered);
  }

  losePower(random: Random, keep: number, ordered: boolean): void {
    this.#settle(random, keep, ordered);
    this.#changes = [];
    this.names = new Map(this.#disk);
  }

  /** Applies what survives, returns what does not. `ordered`: as with a journal, nothing survives what came before it. */
  #settle(random: Random, keep: number, ordered: boolean): NameChange[] {
    const lost: NameChange[] = [];
    const lostNames = new Set<string>();
    for (const change of this.#changes) {
      const depends = ordered ? lost.length > 0 : lostNames.has(change.name) || (change.from !== undefined && lostNames.has(change.from));
      if (!depends && random.chance(keep)) {
        this.#apply(change);
        continue;
      }
      lost.push(change);
      lostNames.add(change.name);
      if (change.from !== undefined) lostNames.add(change.from);
    }
    return lost;
  }

  #apply(change: NameChange): void {
    if (change.inode === undefined) this.#disk.delete(change.name);
    else this.#disk.set(change.name, change.inode);
    if (change.from !== undefined) this.#disk.delete(change.from);
  }
}
