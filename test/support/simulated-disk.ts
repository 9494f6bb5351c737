// A disk in memory that fails in every way that POSIX allows, at any chosen operation, and the same way
// again from the same seed. `crashAt` counts storage operations: that one is done half or not at all, throws
// PowerLoss, and so does everything after it until reboot() (the power was lost: the cache is gone) or
// restart() (only the process was killed: the cache is still there, open files are not).
//
// What really happened is told to `note`, by kind, so that a simulation can count what it has seen.
//
// Not simulated: hardware that lies about fsync, sectors that tear, and damage to sectors that were not
// being written. The design does not promise to survive those.

import { createHash } from "node:crypto";
import type { Storage, StorageFile } from "../../src/storage.js";
import { NO_FAULTS, type DiskOptions, type Faults } from "./disk-faults.js";
import type { Random } from "./random.js";
import { SimulatedDirectory } from "./simulated-directory.js";
import { SimulatedInode, type Note, type Outcome, type Survival } from "./simulated-file.js";

export { NO_FAULTS, type DiskOptions, type Faults };

export type Operation =
  | "list"
  | "open"
  | "create"
  | "rename"
  | "remove"
  | "sync directory"
  | "make directory"
  | "write"
  | "read"
  | "size"
  | "truncate"
  | "sync"
  | "close";

/** Thrown by the operation at which the power goes, or the process dies, and by every later one. */
export class PowerLoss extends Error {
  readonly code = "EIO";
}

export class SimulatedDisk implements Storage {
  readonly options: DiskOptions;
  faults: Faults = { ...NO_FAULTS };
  /** Operation (as counted by `operations`) at which everything ends. */
  crashAt = Infinity;
  operations = 0;
  /** Operations that changed contents or names, or tried to; a sync is none. */
  mutations = 0;
  /** Of those, files made, renamed or removed. */
  nameChanges = 0;
  /** Injected failures, and the last one. Short writes do not count: nobody was told of an error. */
  failures = 0;
  lastFailure = "";
  /** Bytes by which files may still grow. */
  space = Infinity;
  /** Where the crash struck. */
  crashedIn = "";
  /** Told of every operation, for replays. */
  onOperation: ((text: string) => void) | undefined;
  /** What no program may do. */
  misuse: string | undefined;
  /** Told of every injected failure. */
  onFailure: ((path: string) => void) | undefined;
  /** What decides; a simulation may give it another stream for each life. */
  random: Random;
  /** Called before each operation is done: what other threads do meanwhile. */
  meanwhile: ((operation: Operation) => void) | undefined;
  readonly #note: Note;
  /** Changes so far, of contents and names. */
  #changes = 0;
  /** Files that no name leads to any more: their blocks may turn up in others. */
  readonly #freed: SimulatedInode[] = [];
  readonly #directories = new Map<string, SimulatedDirectory>();
  readonly #inodes = new Set<SimulatedInode>();
  #down = false;
  #boot = 0;

  constructor(random: Random, options: Partial<DiskOptions> = {}, note: Note = () => {}) {
    this.random = random;
    this.#note = note;
    this.options = {
      sectorBytes: 512,
      fsyncAlso: "nothing",
      orderedNames: false,
      garbage: false,
      garbageInUnused: false,
      eachFile: false,
      overwriteWhenFull: true,
      ...options,
    };
  }

  /** Between the crash and the reboot. */
  get down(): boolean {
    return this.#down;
  }

  /** A sync failed since the last boot: the cache shows what the disk does not hold, and calls it clean. */
  get lies(): boolean {
    return [...this.#inodes].some((inode) => inode.forgotten);
  }

  /** Power is lost, now or at the operation before, and comes back. */
  reboot(): void {
    const boot = this.#boot;
    this.restart();
    const { random, options } = this;
    const inodes = [...this.#inodes];
    const survivalOf = (): Survival => ({
      sectors: random.pick([0, 0.5, 0.9, 1]),
      sizes: random.pick([0, 0.5, 0.9, 1]),
      garbage: options.garbage || options.garbageInUnused ? random.pick([0, 0.2, 1]) : 0,
      garbageSpares: !options.garbage,
      litter: (sector, offset) => this.#litter(sector, offset, inodes),
    });
    const survival = survivalOf();
    const names = random.pick([0, 0.5, 0.9, 1]);
    const before = this.#named();
    // Names first: which of them led to a file that was synced is known as long as nothing is settled.
    const outcomes = [...this.#directories.values()].map((directory) => directory.losePower(random, names, options.orderedNames));
    for (const inode of inodes) outcomes.push(inode.losePower(random, options.eachFile ? survivalOf() : survival, boot));
    this.#inodes.clear();
    if (outOfOrder(outcomes)) this.#note("changes of different files and names kept out of order");
    const after = this.#named();
    for (const inode of before) if (!after.has(inode)) this.#free(inode);
  }

  /** What an interrupted write, or a new block of a file, may hold: noise, or what stood on the disk, here or elsewhere. */
  #litter(sector: Uint8Array, offset: number, inodes: SimulatedInode[]): void {
    const { random } = this;
    const roll = random.below(3);
    if (roll === 1) {
      this.#note("sector with the contents of another file");
      random.pick(inodes).readDisk(sector, offset);
    } else if (roll === 2 && this.#freed.length > 0) {
      this.#note("sector with the contents of a deleted file");
      random.pick(this.#freed).readDisk(sector, offset);
    } else {
      this.#note("sector with noise");
      random.fill(sector);
    }
  }

  #free(inode: SimulatedInode): void {
    this.#freed.push(inode);
    if (this.#freed.length > FREED_MAX) this.#freed.shift();
  }

  #named(): Set<SimulatedInode> {
    return new Set([...this.#directories.values()].flatMap(({ names }) => [...names.values()]));
  }

  /** The process is dead, the machine is not: files that were open are closed, the cache stays. */
  restart(): void {
    this.#down = false;
    this.#boot++;
    this.crashAt = Infinity;
  }

  /** The same disk apart, contents and what is not synced yet, for another process and another future. */
  copy(random: Random): SimulatedDisk {
    const copy = new SimulatedDisk(random, this.options, this.#note);
    copy.#changes = this.#changes;
    const copies = new Map<SimulatedInode, SimulatedInode>();
    const copyOf = (inode: SimulatedInode): SimulatedInode => {
      if (!copies.has(inode)) copies.set(inode, inode.copy());
      return copies.get(inode)!;
    };
    for (const [path, directory] of this.#directories) copy.#directories.set(path, directory.copy(copyOf));
    for (const inode of this.#inodes) copy.#inodes.add(copyOf(inode));
    copy.#freed.push(...this.#freed.map(copyOf));
    return copy;
  }

  /** The same for disks that nobody can tell apart, now or later, who never looks into files with an ignored name. */
  fingerprint(ignored: (name: string) => boolean = () => false): string {
    const hash = createHash("sha1");
    const garbage = this.options.garbage || this.options.garbageInUnused;
    const ids = new Map<SimulatedInode, number>();
    const idOf = (inode: SimulatedInode): number => {
      if (!ids.has(inode)) {
        ids.set(inode, ids.size);
        inode.fingerprint(hash, garbage);
      }
      return ids.get(inode)!;
    };
    for (const [path, directory] of this.#directories) hash.update(`${path}:${directory.describe(idOf, ignored)}`);
    if (garbage) for (const inode of this.#freed) inode.fingerprint(hash, garbage);
    return hash.digest("base64");
  }

  // --- what tests ask ----------------------------------------------------------------------------

  /** The inode behind a path, to look at it or damage it behind the log's back. */
  inode(path: string): SimulatedInode | undefined {
    return this.#directories.get(directoryOf(path))?.names.get(nameOf(path));
  }

  /** Their names only. */
  names(directory: string): string[] {
    return [...(this.#directories.get(directory)?.names.keys() ?? [])];
  }

  /** The files of a directory as another program would find them; none if there is no such directory. No operation of the disk. */
  files(directory: string): Map<string, Uint8Array> {
    const files = new Map<string, Uint8Array>();
    for (const [name, inode] of this.#directories.get(directory)?.names ?? []) {
      const bytes = new Uint8Array(inode.size);
      inode.read(bytes, 0);
      files.set(name, bytes);
    }
    return files;
  }

  /** A directory with these files in it, durable, from another place. */
  put(path: string, files: Map<string, Uint8Array>): void {
    const directory = new SimulatedDirectory(this.#note);
    for (const [name, bytes] of files) {
      const inode = new SimulatedInode(this.options.sectorBytes, this.#note);
      inode.write(bytes, 0, ++this.#changes, this.#boot);
      inode.sync();
      directory.link(name, inode, this.#changes);
    }
    directory.sync();
    this.#directories.set(path, directory);
  }

  /** A directory that a test is done with, as if it had never been. */
  forget(directory: string): void {
    for (const inode of this.#directories.get(directory)?.names.values() ?? []) this.#inodes.delete(inode);
    this.#directories.delete(directory);
  }

  // --- Storage -----------------------------------------------------------------------------------

  list(directory: string): string[] {
    return this.#run("list", directory, () => {
      const { names } = this.#directory(directory);
      this.#fail(this.faults.listError, "EIO", "list", directory);
      return [...names.keys()];
    });
  }

  open(path: string, access: "read" | "write"): StorageFile {
    return this.#run("open", path, () => {
      const inode = this.#directory(directoryOf(path)).names.get(nameOf(path));
      if (inode === undefined) throw failure("ENOENT", "open", path);
      if (access === "read") this.#fail(this.faults.readError, "EIO", "open", path);
      else this.#fail(this.faults.openError, "EMFILE", "open for writing", path);
      return new Handle(this, path, inode, access === "write");
    });
  }

  create(path: string): StorageFile {
    return this.#run("create", path, () => {
      const directory = this.#directory(directoryOf(path));
      this.#fail(this.faults.nameError, "EIO", "create", path);
      let inode = directory.names.get(nameOf(path));
      if (inode === undefined) {
        this.#fail(this.space <= 0 ? 1 : this.faults.noSpace, "ENOSPC", "create", path);
        inode = new SimulatedInode(this.options.sectorBytes, this.#note);
        directory.link(nameOf(path), inode, ++this.#changes);
      } else {
        this.#free(inode.settled());
        inode.truncate(0, ++this.#changes, this.#boot);
        this.#inodes.add(inode);
      }
      return new Handle(this, path, inode, true);
    });
  }

  rename(from: string, to: string): void {
    this.#run("rename", `${from} to ${nameOf(to)}`, () => {
      if (directoryOf(from) !== directoryOf(to)) throw failure("EXDEV", "rename", from);
      const directory = this.#directory(directoryOf(from));
      if (!directory.names.has(nameOf(from))) throw failure("ENOENT", "rename", from);
      this.#fail(this.faults.nameError, "EIO", "rename", from);
      directory.rename(nameOf(from), nameOf(to), ++this.#changes);
    });
  }

  remove(path: string): void {
    this.#run("remove", path, () => {
      const directory = this.#directory(directoryOf(path));
      if (!directory.names.has(nameOf(path))) throw failure("ENOENT", "remove", path);
      this.#fail(this.faults.nameError, "EIO", "remove", path);
      this.#free(directory.names.get(nameOf(path))!);
      directory.unlink(nameOf(path), ++this.#changes);
    });
  }

  syncDirectory(path: string): void {
    this.#run("sync directory", path, () => {
      const directory = this.#directory(path);
      if (this.random.chance(this.faults.directorySyncError)) {
        directory.failSync(this.random, this.random.fraction(), this.options.orderedNames);
        this.#fail(1, "EIO", "sync directory", path);
      }
      directory.sync();
    });
  }

  makeDirectory(path: string): void {
    this.#run("make directory", path, () => {
      this.#fail(this.faults.nameError, "EIO", "make directory", path);
      for (let at = path; at !== "" && at !== "/"; at = directoryOf(at)) {
        if (!this.#directories.has(at)) this.#directories.set(at, new SimulatedDirectory(this.#note));
      }
    });
  }

  // --- files, called by their handles ------------------------------------------------------------

  /** @internal */
  onFile<T>(operation: Operation, handle: Handle, action: () => T, details = ""): T {
    if (handle.boot !== this.#boot) throw failure("EBADF", `${operation} through a handle of a dead process`, handle.path);
    return this.#run(operation, handle.path + details, action);
  }

  /** @internal */
  get boot(): number {
    return this.#boot;
  }

  /** @internal */
  writeFile(path: string, inode: SimulatedInode, bytes: Uint8Array, offset: number): number {
    const { faults } = this;
    let count = bytes.length;
    // The half that a dying process had written.
    if (this.#down) count = this.random.between(0, count);
    this.#fail(faults.writeError, "EIO", "write", path);
    if (this.random.chance(faults.noSpace)) {
      count = this.random.below(count);
      if (count === 0 || this.random.chance(0.5)) this.#fail(1, "ENOSPC", "write", path);
    } else if (this.random.chance(faults.shortWrite) && count > 1) {
      count = this.random.between(1, count - 1);
      this.#note("short write");
    }
    if (this.space < Infinity) {
      const growth = offset + count - inode.size;
      if (growth > this.space) count -= growth - Math.max(0, this.space);
      if (!this.options.overwriteWhenFull && this.space <= 0) count = 0;
      if (count <= 0) this.#fail(1, "ENOSPC", "write", path);
      this.space -= Math.max(0, offset + count - inode.size);
    }
    if (count > 0) {
      inode.write(count === bytes.length ? bytes : bytes.subarray(0, count), offset, ++this.#changes, this.#boot);
      this.#inodes.add(inode);
    }
    return count;
  }

  /** @internal */
  truncateFile(path: string, inode: SimulatedInode, bytes: number): void {
    this.#fail(this.faults.writeError, "EIO", "truncate", path);
    if (bytes > inode.size) {
      if (bytes - inode.size > this.space) this.#fail(1, "ENOSPC", "truncate", path);
      this.space -= bytes - inode.size;
    }
    inode.truncate(bytes, ++this.#changes, this.#boot);
    this.#inodes.add(inode);
  }

  /** @internal */
  syncFile(handle: Handle): void {
    const { path, inode } = handle;
    // A crash in the middle of a sync: some of it arrived, which reboot() decides like for any other write.
    if (this.#down) return;
    if (this.random.chance(this.faults.syncError)) {
      const keep = this.random.pick([0, 0.5, 0.9]);
      handle.errorsSeen = ++inode.errors;
      inode.failSync(this.random, { sectors: keep, sizes: keep, garbage: 0, garbageSpares: true, litter: () => undefined });
      this.#fail(1, "EIO", "sync", path);
    }
    inode.sync();
    if (handle.errorsSeen < inode.errors) {
      // Somebody else's sync failed meanwhile: everybody who has the file open is told, once.
      handle.errorsSeen = inode.errors;
      this.#fail(1, "EIO", "sync", path);
    }
    if (this.options.fsyncAlso === "nothing") return;
    const directory = this.#directory(directoryOf(path));
    if (this.options.fsyncAlso === "own name") directory.syncNamesOf(inode);
    else directory.sync();
  }

  /** @internal */
  sizeOf(path: string, inode: SimulatedInode): number {
    this.#fail(this.faults.readError, "EIO", "size", path);
    return inode.size;
  }

  /** @internal */
  closeFile(handle: Handle): void {
    // What a dead process had open is closed by the system.
    if (this.#down || handle.boot !== this.#boot) return;
    this.#run("close", handle.path, () => {
      if (handle.writable) this.#fail(this.faults.closeError, "EIO", "close", handle.path);
    });
  }

  /** @internal */
  readFile(path: string, inode: SimulatedInode, into: Uint8Array, offset: number): number {
    this.#fail(this.faults.readError, "EIO", "read", path);
    return inode.read(into, offset);
  }

  // --- the clockwork -----------------------------------------------------------------------------

  #run<T>(operation: Operation, path: string, action: () => T): T {
    if (this.#down) throw new PowerLoss(`${operation} ${path} after the crash`);
    if (MUTATIONS.has(operation)) this.mutations++;
    if (operation === "create" || operation === "rename" || operation === "remove") this.nameChanges++;
    this.onOperation?.(`${operation} ${path}`);
    this.meanwhile?.(operation);
    if (++this.operations !== this.crashAt) return action();
    this.#down = true;
    this.crashedIn = operation;
    // It may have been done before the lights went out; nobody was told.
    if (MUTATIONS.has(operation) && this.random.chance(0.5)) {
      const { faults, failures, lastFailure } = this;
      this.faults = { ...NO_FAULTS };
      try {
        action();
      } catch {
        // It would have failed anyway.
      }
      Object.assign(this, { faults, failures, lastFailure });
    }
    throw new PowerLoss(`${operation} ${path} at operation ${this.operations}`);
  }

  #fail(probability: number, code: string, operation: string, path: string): void {
    if (probability < 1 && !this.random.chance(probability)) return;
    this.failures++;
    this.lastFailure = `${code} in ${operation}`;
    this.#note(`failed: ${this.lastFailure}`);
    this.onFailure?.(path);
    throw failure(code, operation, path);
  }

  #directory(path: string): SimulatedDirectory {
    const directory = this.#directories.get(path);
    if (directory === undefined) throw failure("ENOENT", "look up", path);
    return directory;
  }
}

/** Deleted files whose contents are remembered. */
const FREED_MAX = 4;

/** Something survived that came after something else that did not. */
const outOfOrder = (outcomes: Outcome[]): boolean => outcomes.some((a) => outcomes.some((b) => a !== b && a.firstLost < b.lastKept));

const MUTATIONS: ReadonlySet<Operation> = new Set<Operation>(["create", "rename", "remove", "make directory", "write", "truncate"]);

class Handle implements StorageFile {
  readonly boot: number;
  errorsSeen: number;
  #closed = false;

  constructor(
    readonly disk: SimulatedDisk,
    readonly path: string,
    readonly inode: SimulatedInode,
    readonly writable: boolean,
  ) {
    this.boot = disk.boot;
    this.errorsSeen = inode.errors;
  }

  write(bytes: Uint8Array, offset: number): number {
    this.#check("write", true);
    return this.disk.onFile(
      "write",
      this,
      () => this.disk.writeFile(this.path, this.inode, bytes, offset),
      ` ${bytes.length} at ${offset}`,
    );
  }

  read(into: Uint8Array, offset: number): number {
    this.#check("read", false);
    return this.disk.onFile("read", this, () => this.disk.readFile(this.path, this.inode, into, offset));
  }

  size(): number {
    this.#check("size", false);
    return this.disk.onFile("size", this, () => this.disk.sizeOf(this.path, this.inode));
  }

  truncate(bytes: number): void {
    this.#check("truncate", true);
    this.disk.onFile("truncate", this, () => this.disk.truncateFile(this.path, this.inode, bytes), ` to ${bytes}`);
  }

  sync(): void {
    this.#check("sync", false);
    this.disk.onFile("sync", this, () => this.disk.syncFile(this));
  }

  close(): void {
    if (this.#closed) {
      // By then its number may be another file's.
      this.disk.misuse ??= `${this.path} is closed twice`;
      throw failure("EBADF", "close twice", this.path);
    }
    this.#closed = true;
    this.disk.closeFile(this);
  }

  #check(operation: string, write: boolean): void {
    if (this.#closed) throw failure("EBADF", `${operation} after close`, this.path);
    if (write && !this.writable) throw failure("EBADF", `${operation} of a file opened for reading`, this.path);
  }
}

function failure(code: string, operation: string, path: string): Error {
  return Object.assign(new Error(`${code}: simulated, ${operation} ${path}`), { code });
}

const directoryOf = (path: string): string => path.slice(0, path.lastIndexOf("/")) || "/";
const nameOf = (path: string): string => path.slice(path.lastIndexOf("/") + 1);
