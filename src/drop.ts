// Dropping the beginning of a log: whole segments that nobody needs any more, each chain by itself.
//
//   1. What may go: nothing that a reading still needs, that no checkpoint holds, or that is not archived yet.
//   2. The chain's flusher makes a segment whose header has the new floor. Rename, fsync of the directory: the commit
//      point. A chain of a core that no thread has any more gets that segment here.
//   3. Only then the files go, or become spares (spares.ts).
//
// A crash between 2 and 3 leaves files below the floor, which nobody looks at; the next open for writing removes them.

import { DROP_ASKED, DROP_DONE, DROP_FLOOR, DROP_LSN, DROP_NEEDS, DROP_RESULT, LOG_BARRIER_WAKE } from "../assembly/layout.js";
import { bankAddress, banksOf, isClaimed, ringDoorbells } from "./banks.js";
import { continueChain, segmentPath, type ChainIdentity } from "./chain.js";
import type { Core } from "./core.js";
import { randomSalt, toNs, type Chance } from "./chance.js";
import { mergeMarks } from "./marks.js";
import type { ChainReader } from "./read.js";
import type { Recovered } from "./recover-chain.js";
import { segmentNumbers } from "./recover-chain.js";
import { sizeOf, type Storage } from "./storage.js";
import type { DropReport } from "./types.js";
import { wordChange } from "./wait.js";

/** Nobody sees it when a thread is ended between what it changes and the bell: look again after so long. */
const LOOK_AGAIN_MS = 100;

export interface DropOwner {
  readonly core: Core;
  readonly storage: Storage;
  readonly directory: string;
  readonly chance: Chance;
  /** Of this thread, who claims a core for a moment where nobody has it. */
  readonly owner: number;
  identity(chain: number): ChainIdentity;
  /** Of each chain that was found or may come to be. */
  readonly readers: ChainReader[];
  /** What was found of the chain; its segments are added to. */
  found(chain: number): Recovered;
  /** The last LSN of a chain that is durable. */
  durableLsn(chain: number): number;
  /** Throws if the log has ended. */
  check(): void;
  /** An inline flusher's step. */
  pump?: (() => Promise<void>) | undefined;
  /** A file that is no longer part of the log: removes it, or gives it a spare's name. */
  discard(path: string): void;
  /** … and those names are durable. */
  discarded(): void;
}

/** What must stay, whatever is asked for. */
export interface Limits {
  /** The first LSN of a chain that somebody needs; Infinity if nobody does. */
  first: (chain: number) => number;
  /** What goes is held by a checkpoint only. */
  needsCheckpoint: boolean;
  /** Segments of a chain with this number and higher ones are not archived yet. */
  keptFrom: (chain: number) => number;
}

export class Dropper {
  private turn: Promise<unknown> = Promise.resolve();
  /** Chains whose last segment may or may not have come into being: nothing more is dropped of them. */
  private readonly uncertain = new Set<number>();

  constructor(private readonly owner: DropOwner) {}

  /** Drops segments that hold nothing from `wanted` on, an LSN for each chain; one call at a time. */
  before(wanted: number[], limits: () => Limits): Promise<DropReport> {
    const mine = this.turn.then(() => this.drop(wanted, limits()));
    this.turn = mine.catch(() => {});
    return mine;
  }

  /** Resolves when no call is under way. */
  async idle(): Promise<void> {
    await this.turn;
  }

  private async drop(wanted: number[], { first, needsCheckpoint, keptFrom }: Limits): Promise<DropReport> {
    const { owner } = this;
    const report: DropReport = { segments: 0, bytes: 0, cores: [] };
    for (const reader of owner.readers) {
      const { chain } = reader;
      owner.check();
      const lsn = Math.min(wanted[chain] ?? 1, first(chain), reader.heldLsn, owner.durableLsn(chain) + 1);
      const floor = await this.raise(reader, lsn, needsCheckpoint, keptFrom(chain));
      // Closed meanwhile: what is left the next open removes, or is removing.
      owner.check();
      if (floor > 0) {
        const { segments, bytes } = this.remove(chain, floor);
        report.segments += segments;
        report.bytes += bytes;
      }
      if (reader.segments().length > 0) report.cores.push({ core: chain, firstLsn: reader.firstLsn });
    }
    return report;
  }

  /** Makes the floor durable, if that is due; returns it, 0 if there is none. */
  private async raise(reader: ChainReader, lsn: number, needsCheckpoint: boolean, keptFrom: number): Promise<number> {
    const segments = reader.segments();
    if (segments.length === 0 || this.uncertain.has(reader.chain)) return 0;
    // A segment ends where the next one begins; how far the last one goes, its flusher knows.
    const stays = segments.findIndex(
      ({ header }, i) => i + 1 === segments.length || header.number >= keptFrom || segments[i + 1]!.header.parentLastLsn >= lsn,
    );
    const last = segments.at(-1)!.header;
    // Not even if it is empty: then nothing goes on account of its LSNs.
    if (last.number >= keptFrom) lsn = Math.min(lsn, last.parentLastLsn);
    const before = segments[0]!.header.number;
    const wanted = segments[stays]!.header.number;
    const whole =
      wanted === last.number && this.owner.durableLsn(reader.chain) < lsn && this.owner.durableLsn(reader.chain) > last.parentLastLsn;
    if (wanted === before && !whole) return last.floor;
    const { core } = this.owner;
    const floor =
      reader.chain < banksOf(core)
        ? await this.ask(reader.chain, wanted, lsn, needsCheckpoint)
        : this.retire(reader, wanted, lsn, needsCheckpoint);
    reader.segments();
    reader.forget(floor);
    return floor;
  }

  /** The chain's flusher does it, before it writes more. */
  private async ask(chain: number, floor: number, lsn: number, needsCheckpoint: boolean): Promise<number> {
    const { owner } = this;
    const core = owner.core.at(bankAddress(owner.core, chain));
    const { i32, i64 } = core;
    // A core that no thread has taken since the log was opened has no flusher.
    const stripe = isClaimed(core, chain) ? -1 : core.x.ring_claim(owner.owner);
    try {
      i64[DROP_FLOOR >> 3] = BigInt(floor);
      i64[DROP_LSN >> 3] = BigInt(lsn);
      i32[DROP_NEEDS >> 2] = Number(needsCheckpoint);
      const request = Atomics.add(i32, DROP_ASKED >> 2, 1) + 1;
      for (;;) {
        const seen = Atomics.load(core.log.i32, LOG_BARRIER_WAKE >> 2);
        if (Atomics.load(i32, DROP_DONE >> 2) === request) return Number(i64[DROP_RESULT >> 3]!);
        owner.check();
        ringDoorbells(core);
        if (owner.pump !== undefined) await owner.pump();
        else await wordChange(core.log.i32, LOG_BARRIER_WAKE >> 2, seen, LOOK_AGAIN_MS);
      }
    } finally {
      if (stripe >= 0) core.x.ring_release(stripe, owner.owner);
    }
  }

  /**
   * No core writes the chain any more. Its new segment is of the last one's term, and so says nothing of this open; if
   * recovery made the last one, it is sealed with that when the log is closed.
   */
  private retire({ chain }: ChainReader, wanted: number, lsn: number, needsCheckpoint: boolean): number {
    const { storage, chance } = this.owner;
    const found = this.owner.found(chain);
    const tail = found.segments.at(-1)!;
    const { number, term, epoch, marks } = tail.header;
    const floor = wanted === number && tail.summary.lastLsn < lsn ? number + 1 : wanted;
    const identity = {
      ...this.owner.identity(chain),
      term,
      epoch: Math.max(epoch, tail.summary.maxEpoch),
      marks: mergeMarks(marks, tail.summary.marks),
      floor,
      needsCheckpoint,
    };
    const now = toNs(chance.now());
    const createdNs = now > found.timeNs ? now : found.timeNs;
    this.uncertain.add(chain);
    // A log that was closed stays so, and with it the epoch that was complete then.
    const sealed = found.copied === undefined;
    const { segment, file } = continueChain(storage, identity, tail, randomSalt(chance), createdNs, undefined, sealed);
    file.close();
    found.segments.push(segment);
    this.uncertain.delete(chain);
    return floor;
  }

  /** Also what an earlier open has left. */
  private remove(chain: number, floor: number): { segments: number; bytes: number } {
    const { storage, directory } = this.owner;
    const below = filesBelow(storage, directory, chain, floor);
    let bytes = 0;
    for (const path of below) {
      bytes += sizeOf(storage, path);
      this.owner.discard(path);
    }
    if (below.length > 0) {
      storage.syncDirectory(directory);
      this.owner.discarded();
    }
    return { segments: below.length, bytes };
  }
}

/** What a process that was killed has left below the floor. */
export function removeLeftovers(storage: Storage, directory: string, { chain, floor }: Recovered): void {
  if (floor > 0) for (const path of filesBelow(storage, directory, chain, floor)) storage.remove(path);
}

/** The lowest first: whoever looks at the names meanwhile finds a chain without gaps. */
function filesBelow(storage: Storage, directory: string, chain: number, floor: number): string[] {
  const numbers = segmentNumbers(storage, directory, chain).filter((number) => number < floor);
  return numbers.reverse().map((number) => segmentPath(directory, { chain, number }));
}
