// What a simulated disk may do to whoever uses it, and what kind of disk and file system it is.

/** Probabilities, each for one operation. */
export interface Faults {
  writeError: number;
  /** A write that returns fewer bytes than it was given. */
  shortWrite: number;
  /** ENOSPC, after a part was written if the write had been tried before. */
  noSpace: number;
  syncError: number;
  directorySyncError: number;
  /** Reading a file, its size, opening it for reading. */
  readError: number;
  /** Opening a file for writing: too many are open. */
  openError: number;
  /** Closing a file that was open for writing; it is closed all the same. */
  closeError: number;
  /** Reading a directory. */
  listError: number;
  /** create, rename, remove and making a directory. */
  nameError: number;
}

export const NO_FAULTS: Readonly<Faults> = {
  writeError: 0,
  shortWrite: 0,
  noSpace: 0,
  syncError: 0,
  directorySyncError: 0,
  readError: 0,
  openError: 0,
  closeError: 0,
  listError: 0,
  nameError: 0,
};

export interface DiskOptions {
  /** What is written whole or not at all. */
  sectorBytes: 512 | 4096;
  /** What else the fsync of a file makes durable: nothing (POSIX), its own name, every name so far (ext4's journal). */
  fsyncAlso: "nothing" | "own name" | "all names";
  /** Names survive in the order in which they were changed, as with a journal; otherwise each for itself. */
  orderedNames: boolean;
  /** Lost sectors may hold garbage. Only fair to logs whose frames do not share sectors. */
  garbage: boolean;
  /** … or only those that held nothing before, which is fair to every log. */
  garbageInUnused: boolean;
  /** Each file survives a power loss by a chance of its own: all of one and nothing of another. */
  eachFile: boolean;
  /** With a full disk, bytes that exist can be overwritten (ext4, xfs; not btrfs). */
  overwriteWhenFull: boolean;
}
