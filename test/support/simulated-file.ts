// A file of the simulated disk: what programs see (the page cache), what the disk holds, and the list of
// writes in between. What a power loss or a failed fsync makes of that list is decided here, sector by
// sector. Sectors are atomic; which sectors arrive, and in which order, nobody knows.

import type { Random } from "./random.js";

const PAGE_BYTES = 4096;
const EMPTY = new Uint8Array(0);

/** A write or a truncation that was not yet synced. */
interface Change {
  /** Where `sectors` begins. */
  offset: number;
  /** Whole sectors as the cache showed them after the write; undefined for a truncation. */
  sectors: Uint8Array | undefined;
  size: number;
  /** It cut bytes off: what comes after it cannot be on the disk without it. */
  cut: boolean;
}

/** How likely a part of what is not synced is on the disk. */
export interface Survival {
  sectors: number;
  sizes: number;
  /** How likely a lost sector holds garbage instead of what was there: a write that was interrupted halfway. */
  garbage: number;
  /** Makes that garbage. */
  litter: (sector: Uint8Array, offset: number) => void;
}

export class SimulatedInode {
  size = 0;
  /** Failed syncs so far. */
  errors = 0;
  #cache: Uint8Array = EMPTY;
  #disk: Uint8Array = EMPTY;
  #diskSize = 0;
  #changes: Change[] = [];
  /** A sync failed: the cache shows what is neither on the disk nor waiting to be written. */
  forgotten = false;

  constructor(readonly sectorBytes: number) {}

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

  write(bytes: Uint8Array, offset: number): void {
    const end = offset + bytes.length;
    if (end > this.#cache.length) this.#cache = grown(this.#cache, end);
    this.#cache.set(bytes, offset);
    this.size = Math.max(this.size, end);
    const from = offset - (offset % this.sectorBytes);
    const to = end + ((this.sectorBytes - (end % this.sectorBytes)) % this.sectorBytes);
    this.#changes.push({ offset: from, sectors: this.#cache.slice(from, to), size: this.size, cut: false });
  }

  truncate(bytes: number): void {
    if (bytes === this.size) return;
    const cut = bytes < this.size;
    if (cut) this.#cache.fill(0, bytes, this.size);
    else if (bytes > this.#cache.length) this.#cache = grown(this.#cache, bytes);
    this.size = bytes;
    this.#changes.push({ offset: 0, sectors: undefined, size: bytes, cut });
  }

  /** A sync that succeeds. */
  sync(): void {
    for (const change of this.#changes) {
      if (change.cut) this.#cutDisk(change.size);
      if (change.sectors !== undefined) this.#store(change.offset, change.sectors);
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
  losePower(random: Random, survival: Survival): void {
    this.#settle(random, survival);
    if (this.#cache.length < this.#disk.length) this.#cache = new Uint8Array(this.#disk.length);
    this.#cache.set(this.#disk);
    this.#cache.fill(0, this.#disk.length);
    this.size = this.#diskSize;
    this.forgotten = false;
  }

  /** Damage: both images, as after a reboot from a disk that rots. */
  flip(offset: number, mask: number): void {
    this.#cache[offset]! ^= mask;
    this.#disk[offset]! ^= mask;
  }

  #settle(random: Random, survival: Survival): void {
    const lost = new Set<number>();
    let sizeLost = false;
    for (const change of this.#changes) {
      if (change.cut) {
        // Blocks that are cut off and written again are other blocks: without the cut, nothing later shows.
        if (sizeLost || !random.chance(survival.sizes)) break;
        this.#cutDisk(change.size);
        continue;
      }
      if (change.sectors !== undefined) this.#storeSome(change.offset, change.sectors, lost, random, survival);
      if (change.size <= this.#diskSize || sizeLost) continue;
      if (random.chance(survival.sizes)) this.#diskSize = change.size;
      else sizeLost = true;
    }
    this.#changes = [];
    // What was written beyond the end that survived cannot be seen, now or later.
    this.#disk.fill(0, Math.min(this.#diskSize, this.#disk.length));
  }

  /** A sector keeps its place in time: once one version was lost, so are the later ones of that sector. */
  #storeSome(offset: number, sectors: Uint8Array, lost: Set<number>, random: Random, survival: Survival): void {
    const step = this.sectorBytes;
    for (let at = 0; at < sectors.length; at += step) {
      if (lost.has(offset + at)) continue;
      const sector = sectors.subarray(at, at + step);
      if (random.chance(survival.sectors)) {
        this.#store(offset + at, sector);
      } else {
        lost.add(offset + at);
        if (!random.chance(survival.garbage)) continue;
        survival.litter(sector, offset + at);
        this.#store(offset + at, sector);
      }
    }
  }

  #store(offset: number, bytes: Uint8Array): void {
    if (offset + bytes.length > this.#disk.length) this.#disk = grown(this.#disk, offset + bytes.length);
    this.#disk.set(bytes, offset);
  }

  #cutDisk(bytes: number): void {
    this.#disk.fill(0, Math.min(bytes, this.#disk.length));
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
