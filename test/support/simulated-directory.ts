// A directory of the simulated disk: the names that programs see, the names that the disk holds, and the
// operations in between. Fsync of a file says nothing about its name; a rename is atomic, but whether it
// arrives before or after another operation on other names is the file system's business.

import type { Random } from "./random.js";
import type { Note, Outcome, SimulatedInode } from "./simulated-file.js";

interface NameChange {
  name: string;
  /** What the name stands for from now on; undefined: nothing. */
  inode: SimulatedInode | undefined;
  /** A rename: this name is gone at the same instant. */
  from: string | undefined;
  /** Its place among all changes of the disk. */
  at: number;
}

export class SimulatedDirectory {
  /** What programs see. */
  names = new Map<string, SimulatedInode>();
  #disk = new Map<string, SimulatedInode>();
  #changes: NameChange[] = [];

  constructor(private readonly note: Note = () => {}) {}

  get dirty(): boolean {
    return this.#changes.length > 0;
  }

  link(name: string, inode: SimulatedInode, at = 0): void {
    this.names.set(name, inode);
    this.#changes.push({ name, inode, from: undefined, at });
  }

  unlink(name: string, at = 0): void {
    this.names.delete(name);
    this.#changes.push({ name, inode: undefined, from: undefined, at });
  }

  rename(from: string, to: string, at = 0): void {
    const inode = this.names.get(from)!;
    this.names.delete(from);
    this.names.set(to, inode);
    this.#changes.push({ name: to, inode, from, at });
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

  losePower(random: Random, keep: number, ordered: boolean): Outcome {
    const before = this.#changes;
    const lost = this.#settle(random, keep, ordered);
    for (const { inode, from } of lost) {
      if (inode === undefined) this.note("removal of a file lost");
      else if (from !== undefined) this.note("rename lost");
      else this.note("new file lost");
      if (inode?.dirty === false) this.note("name lost of a file that was synced");
    }
    this.#changes = [];
    this.names = new Map(this.#disk);
    const firstLost = lost[0]?.at ?? Infinity;
    const lastKept = before.findLast((change) => !lost.includes(change))?.at ?? -1;
    if (firstLost < lastKept) this.note("names kept out of order");
    return { firstLost, lastKept };
  }

  copy(inodeOf: (inode: SimulatedInode) => SimulatedInode): SimulatedDirectory {
    const copy = new SimulatedDirectory();
    for (const [name, inode] of this.names) copy.names.set(name, inodeOf(inode));
    for (const [name, inode] of this.#disk) copy.#disk.set(name, inodeOf(inode));
    copy.#changes = this.#changes.map((change) => ({ ...change, inode: change.inode && inodeOf(change.inode) }));
    return copy;
  }

  /** What it shows, what it holds and what is in between, files by the numbers that `idOf` gives them. */
  describe(idOf: (inode: SimulatedInode) => number, ignored: (name: string) => boolean): string {
    const numberOf = (name: string, inode: SimulatedInode | undefined): string =>
      `${name}=${inode && (ignored(name) ? "any" : idOf(inode))}`;
    const list = (names: Map<string, SimulatedInode>): string =>
      [...names.keys()]
        .sort()
        .map((name) => numberOf(name, names.get(name)))
        .join();
    const changes = this.#changes.map(({ name, inode, from }) => `${numberOf(name, inode)} ${from}`);
    return `${list(this.names)};${list(this.#disk)};${changes.join()}`;
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
