// A file of the simulated disk: what programs see (the page cache), what the disk holds, and the list of
// writes in between. What a power loss or a failed fsync makes of that list is decided here, sector by
// sector. Sectors are atomic; which sectors arrive, and in which order, nobody knows.

import type { Hash } from "node:crypto";
import type { Random } from "./random.js";

const PAGE_BYTES = 4096;
const EMPTY = new Uint8Array(0);

/** A write or a truncation that was not yet synced. */
interface Change {
  /** Where `sectors` begins. */
  offset: number;
  /** Whole sectors as the cache showed them after the write; undefined for a truncation. */
  sectors: Uint8Array | undefined;
  /** It wrote more than zeros, so that its sectors hold something: also those in which only its last zeros stand. */
  uses: boolean;
  size: number;
  /** It cut bytes off: what comes after it cannot be on the disk without it. */
  cut: boolean;
  /** Its place among all changes of the disk, and the process that made it. */
  at: number;
  boot: number;
}

/** How likely a part of what is not synced is on the disk. */
export interface Survival {
  sectors: number;
  sizes: number;
  /** How likely a lost sector holds garbage instead of what was there: a write that was interrupted halfway. */
  garbage: number;
  /** Garbage only where the disk held nothing: whatever shared a sector with it was not promised to survive. */
  garbageSpares: boolean;
  /** Makes that garbage. */
  litter: (sector: Uint8Array, offset: number) => void;
}

/** What became of the changes that were not synced: first one lost and last one kept, of all changes of the disk. */
export interface Outcome {
  firstLost: number;
  lastKept: number;
}

/** Told of everything that happens, by its kind. */
export type Note = (kind: string) => void;

export class SimulatedInode {
  size = 0;
  /** Failed syncs so far. */
  errors = 0;
  #cache: Uint8Array = EMPTY;
  #disk: Uint8Array = EMPTY;
  #diskSize = 0;
  #changes: Change[] = [];
  /** Sectors of the disk that hold something, by their offsets. */
  readonly #used = new Set<number>();
  /** A sync failed: the cache shows what is neither on the disk nor waiting to be written. */
  forgotten = false;

  constructor(
    readonly sectorBytes: number,
    private readonly note: Note = () => {},
  ) {}

  /** Whether a power loss now could change anything. */
  get dirty(): boolean {
    return this.#changes.length > 0 || this.forgotten;
  }

  get diskSize(): number {
    return this.#diskSize;
  }

  read(into: Uint8Array, offset: number): number {
    const count = Math.max(0, Math.min(into.length, this.size - offset));
    if (count > 0) into.set(this.#cache.subarray(offset, offset + count));
    return count;
  }

  write(bytes: Uint8Array, offset: number, at = 0, boot = 0): void {
    const end = offset + bytes.length;
    if (end > this.#cache.length) this.#cache = grown(this.#cache, end);
    this.#cache.set(bytes, offset);
    this.size = Math.max(this.size, end);
    const from = offset - (offset % this.sectorBytes);
    const to = end + ((this.sectorBytes - (end % this.sectorBytes)) % this.sectorBytes);
    const uses = bytes.some((byte) => byte !== 0);
    this.#changes.push({ offset: from, sectors: this.#cache.slice(from, to), uses, size: this.size, cut: false, at, boot });
  }

  truncate(bytes: number, at = 0, boot = 0): void {
    if (bytes === this.size) return;
    const cut = bytes < this.size;
    if (cut) this.#cache.fill(0, bytes, this.size);
    else if (bytes > this.#cache.length) this.#cache = grown(this.#cache, bytes);
    this.size = bytes;
    this.#changes.push({ offset: 0, sectors: undefined, uses: false, size: bytes, cut, at, boot });
  }

  /** A sync that succeeds. */
  sync(): void {
    for (const change of this.#changes) {
      if (change.cut) this.#cutDisk(change.size);
      if (change.sectors !== undefined) this.#store(change.offset, change.sectors, change.uses);
      this.#diskSize = change.size;
    }
    this.#changes = [];
  }

  /** A sync that fails, as Linux does it: some pages are written, the rest is dropped and marked clean. */
  failSync(random: Random, survival: Survival): void {
    if (this.#changes.length === 0) return;
    this.#settle(random, survival);
    this.forgotten = true;
  }

  /** The power is gone: the disk holds what it holds, and that is what the next boot sees. */
  losePower(random: Random, survival: Survival, boot = 0): Outcome {
    const outcome = this.#settle(random, survival, boot);
    if (this.#cache.length < this.#disk.length) this.#cache = new Uint8Array(this.#disk.length);
    this.#cache.set(this.#disk);
    this.#cache.fill(0, this.#disk.length);
    this.size = this.#diskSize;
    this.forgotten = false;
    return outcome;
  }

  /** A file of its own with the same contents, on the disk as well. */
  settled(): SimulatedInode {
    const copy = new SimulatedInode(this.sectorBytes);
    copy.#disk = this.#cache.slice();
    copy.#diskSize = this.size;
    return copy;
  }

  /** What the disk holds at a place, synced or not. */
  readDisk(into: Uint8Array, offset: number): void {
    into.fill(0);
    into.set(this.#disk.subarray(offset, offset + into.length));
  }

  /** The same state, apart. */
  copy(): SimulatedInode {
    const copy = new SimulatedInode(this.sectorBytes, this.note);
    copy.size = this.size;
    copy.errors = this.errors;
    copy.forgotten = this.forgotten;
    copy.#cache = this.#cache.slice();
    copy.#disk = this.#disk.slice();
    copy.#diskSize = this.#diskSize;
    for (const offset of this.#used) copy.#used.add(offset);
    copy.#changes = this.#changes.map((change) => ({ ...change, sectors: change.sectors?.slice() }));
    return copy;
  }

  /** Everything that decides what can still become of it. */
  fingerprint(hash: Hash, garbage = false): void {
    if (garbage) hash.update([...this.#used].join());
    hash.update(`${this.size} ${this.forgotten} ${this.#diskSize} ${this.#changes.length} `).update(this.#cache.subarray(0, this.size));
    if (!this.dirty) return;
    hash.update(this.#disk);
    for (const { offset, sectors, size, cut } of this.#changes) hash.update(`${offset} ${size} ${cut}`).update(sectors ?? EMPTY);
  }

  /** Damage: both images, as after a reboot from a disk that rots. */
  flip(offset: number, mask: number): void {
    this.#cache[offset]! ^= mask;
    this.#disk[offset]! ^= mask;
  }

  #settle(random: Random, survival: Survival, boot = Infinity): Outcome {
    const lost = new Set<number>();
    let sizeLost = false;
    let dataLost = false;
    let firstLost = Infinity;
    let lastKept = -1;
    for (const [i, change] of this.#changes.entries()) {
      if (change.cut) {
        // Blocks that are cut off and written again are other blocks: without the cut, nothing later shows.
        if (sizeLost || !random.chance(survival.sizes)) {
          this.note("truncation lost");
          firstLost = Math.min(firstLost, change.at);
          if (this.#changes.length > i + 1) this.note("writes lost behind a lost truncation");
          break;
        }
        this.#cutDisk(change.size);
        lastKept = change.at;
        continue;
      }
      if (change.sectors !== undefined) {
        const kept = this.#storeSome(change, lost, random, survival);
        const all = change.sectors.length / this.sectorBytes;
        if (kept > 0) {
          lastKept = change.at;
          if (firstLost < change.at) this.note("writes to a file kept out of order");
        }
        if (kept < all) {
          dataLost = true;
          firstLost = Math.min(firstLost, change.at);
          this.note(kept > 0 ? "write torn" : "write lost");
          if (change.boot < boot) this.note("write lost that had survived a kill");
        }
      }
      if (change.size <= this.#diskSize || sizeLost) continue;
      if (random.chance(survival.sizes)) {
        this.#diskSize = change.size;
        if (dataLost) this.note("size kept without data");
      } else {
        sizeLost = true;
        firstLost = Math.min(firstLost, change.at);
        if (!dataLost) this.note("data kept without size");
      }
    }
    this.#changes = [];
    // What was written beyond the end that survived cannot be seen, now or later.
    this.#disk.fill(0, Math.min(this.#diskSize, this.#disk.length));
    return { firstLost, lastKept };
  }

  /** A sector keeps its place in time: once one version was lost, so are the later ones of that sector. Gives how many are kept. */
  #storeSome(change: Change, lost: Set<number>, random: Random, survival: Survival): number {
    const { offset, sectors = EMPTY, uses } = change;
    const step = this.sectorBytes;
    let kept = 0;
    for (let at = 0; at < sectors.length; at += step) {
      if (lost.has(offset + at)) continue;
      const sector = sectors.subarray(at, at + step);
      if (random.chance(survival.sectors)) {
        this.#store(offset + at, sector, uses);
        kept++;
      } else {
        lost.add(offset + at);
        if (survival.garbage === 0 || (survival.garbageSpares && this.#used.has(offset + at)) || !random.chance(survival.garbage)) {
          if (this.#holds(offset + at, step)) this.note("older contents of a sector came back");
          continue;
        }
        survival.litter(sector, offset + at);
        this.#store(offset + at, sector, false);
      }
    }
    return kept;
  }

  /** Is anything but zeros there, on the disk? */
  #holds(offset: number, bytes: number): boolean {
    const end = Math.min(offset + bytes, this.#disk.length);
    for (let i = offset; i < end; i++) if (this.#disk[i] !== 0) return true;
    return false;
  }

  #store(offset: number, bytes: Uint8Array, uses: boolean): void {
    if (uses) for (let at = 0; at < bytes.length; at += this.sectorBytes) this.#used.add(offset + at);
    if (offset + bytes.length > this.#disk.length) this.#disk = grown(this.#disk, offset + bytes.length);
    this.#disk.set(bytes, offset);
  }

  #cutDisk(bytes: number): void {
    this.#disk.fill(0, Math.min(bytes, this.#disk.length));
    for (const offset of this.#used) if (offset >= bytes) this.#used.delete(offset);
    this.#diskSize = bytes;
  }
}

/** Room for `bytes`, in whole pages, zero beyond what was there. */
function grown(bytes: Uint8Array, needed: number): Uint8Array {
  let capacity = Math.max(PAGE_BYTES, bytes.length);
  while (capacity < needed) capacity *= 2;
  const larger = new Uint8Array(capacity);
  larger.set(bytes);
  return larger;
}
