// What keeps a log that is open small, and its state quick to rebuild: checkpoints, by hand or by themselves, and dropping
// what nobody needs any more. All of it is the opener's thread; the only thing on the append path is a new segment.

import { clearInterval, setInterval } from "node:timers";
import { CTL_EPOCH_DONE, CTL_EPOCH_LSN, LOG_OPEN } from "../assembly/layout.js";
import { Archiver } from "./archive.js";
import { banksOf, isClaimed, positionsOf, wordAt } from "./banks.js";
import { segmentPath } from "./chain.js";
import { Checkpointing, CheckpointReading, listCheckpoints } from "./checkpoints.js";
import type { Bounds } from "./cut.js";
import { Dropper, type DropOwner, type Limits } from "./drop.js";
import { currentEpoch } from "./epochs.js";
import { codeOf, CorewalError, fromSystem } from "./errors.js";
import { randomSalt, toNs } from "./chance.js";
import type { ResolvedOptions } from "./options.js";
import type { ChainReader } from "./read.js";
import { lsnVector } from "./positions.js";
import { Spares } from "./spares.js";
import { logStats } from "./stats.js";
import { sizeOf } from "./storage.js";
import type { CheckpointInfo, CheckpointState, DropReport, LogStats, Position, Topology } from "./types.js";
import { KeepAlive } from "./wait.js";

/** How often it is looked for what is due; for segments that have become too old more rarely. */
const TICK_MS = 250;
const RETAIN_MS = 10_000;

export const NOTHING_DONE: Readonly<LogStats["upkeep"]> = {
  checkpoints: 0,
  droppedSegments: 0,
  droppedBytes: 0,
  archived: 0,
  archiveBacklog: 0,
  failures: 0,
  lastFailure: undefined,
};

export interface UpkeepOwner extends Omit<DropOwner, "discard" | "discarded"> {
  readonly topology: Topology;
  readonly options: ResolvedOptions;
  readonly logId: Uint8Array;
  readonly term: number;
  advanceEpoch(): Promise<number>;
  durable(positions: number[]): Promise<void>;
  /** Last LSN given out in a chain. */
  lastLsn: (chain: number) => number;
}

export class Upkeep {
  readonly checkpoints: CheckpointReading;
  private readonly making: Checkpointing;
  private readonly dropper: Dropper;
  readonly spares: Spares;
  readonly archiver: Archiver | undefined;
  readonly figures: LogStats["upkeep"] = { ...NOTHING_DONE };
  private timer: ReturnType<typeof setInterval> | undefined;
  private busy = false;
  private held = false;
  private readonly alive = new Set<KeepAlive>();
  /** At the last checkpoint, or at open. */
  private since: { ms: number; entries: number; bytes: number };
  /** When the retention was looked at last, and how many segments had been begun and archived. */
  private retained = { begun: -1, ms: -Infinity };

  constructor(private readonly owner: UpkeepOwner) {
    const { storage, directory, topology, logId, term, chance, core } = owner;
    const log = {
      storage,
      directory,
      topology,
      logId,
      needsCheckpoint: () => this.needsCheckpoint(),
      bounds: () => this.bounds(),
      cut: () => this.cut(),
      positions: () => this.positions(),
      durable: (positions: number[]) => owner.durable(positions.slice(0, banksOf(core))),
      check: () => this.check(),
      now: () => chance.now(),
      head: () => ({ logId, topology, term, salt: randomSalt(chance), createdNs: toNs(chance.now()) }),
    };
    this.checkpoints = new CheckpointReading(log);
    this.making = new Checkpointing(log, this.checkpoints, owner.options.checkpoints.keep);
    this.since = this.now();
    const { segmentBytes, spareSegments, archive } = owner.options;
    const failed = (error: unknown): void => this.failed(error);
    if (archive !== undefined) this.archiver = new Archiver({ ...owner, archive, figures: this.figures, failed });
    this.spares = new Spares({ storage, directory, bytes: segmentBytes, keep: spareSegments, failed });
    this.dropper = new Dropper({ ...owner, discard: (path) => this.spares.discard(path), discarded: () => this.spares.discarded() });
  }

  /** What was dropped is held by a checkpoint only. */
  needsCheckpoint(): boolean {
    return this.owner.readers.some((reader) => reader.segments().at(-1)?.header.needsCheckpoint === true);
  }

  /** Where each chain that has a segment begins and ends. */
  bounds(): Bounds[] {
    const { readers, lastLsn } = this.owner;
    const there = readers.filter((reader) => reader.segments().length > 0);
    return there.map(({ chain, firstLsn }) => ({ chain, firstLsn, lastLsn: lastLsn(chain) }));
  }

  /** Looks from time to time for what is due, if anything can ever be. Does not keep the process. */
  start(): void {
    const { retention, checkpoints, archive } = this.owner.options;
    if (retention === undefined && checkpoints.state === undefined && archive === undefined) return;
    this.timer = setInterval(() => void this.tick(), TICK_MS);
    this.timer.unref();
  }

  /** The log is about to end. */
  stop(): void {
    clearInterval(this.timer);
    this.archiver?.stop();
    this.spares.stop();
  }

  /** Nothing more is done, as if the process had been killed. For tests. */
  abandon(): void {
    clearInterval(this.timer);
    this.archiver?.stop();
    this.spares.abandon();
  }

  /**
   * The log is to be cut: from now on no checkpoint is finished, and takes the place of one that survives the cut, and nothing
   * is dropped. Resolves when that is so.
   */
  async hold(): Promise<void> {
    this.held = true;
    this.making.stop();
    await this.dropper.idle();
  }

  /** … or it is not to be cut after all. */
  goOn(): void {
    this.held = false;
  }

  private check(): void {
    if (this.held) throw new CorewalError("COREWAL_CLOSED", "the log is being cut: go on with the one that truncateAfter resolves with");
    this.owner.check();
  }

  /** Touches nothing on the disk from now on. */
  end(): void {
    this.stop();
    this.making.stop();
    for (const alive of this.alive) alive.close();
  }

  /** Keeps the process until it is done, or the log has ended. */
  private async awake<T>(run: () => Promise<T>): Promise<T> {
    const alive = new KeepAlive();
    this.alive.add(alive);
    alive.hold(true);
    try {
      return await run();
    } finally {
      this.alive.delete(alive);
      alive.close();
    }
  }

  /** Does what is due. What fails is told by stats(), and tried again when it is due again. For tests. */
  tick(): Promise<void> {
    if (this.owner.core.x.log_state() !== LOG_OPEN) this.stop();
    else if (!this.busy) return this.due();
    return Promise.resolve();
  }

  private due(): Promise<void> {
    this.busy = true;
    return this.work()
      .catch((error: unknown) => this.failed(error))
      .finally(() => (this.busy = false));
  }

  private failed(error: unknown): void {
    if (codeOf(error) === "COREWAL_CLOSED") return;
    this.figures.failures++;
    this.figures.lastFailure = error instanceof Error ? error.message : String(error);
  }

  private async work(): Promise<void> {
    const { chance, options } = this.owner;
    const { state } = options.checkpoints;
    if (state !== undefined && this.checkpointDue()) {
      // Also if it fails: the next one is due as much later.
      this.since = this.now();
      await this.checkpoint(state);
    }
    // Beside it: nobody knows how long an archive takes.
    this.archiver?.tick();
    const begun = logStats(this.owner.core, 0).segmentsBegun + this.figures.archived;
    if (begun === this.retained.begun && chance.now() - this.retained.ms < RETAIN_MS) return;
    this.retained = { begun, ms: chance.now() };
    await this.retain();
  }

  private now(): { ms: number; entries: number; bytes: number } {
    const { entries, payloadBytes } = logStats(this.owner.core, 0);
    return { ms: this.owner.chance.now(), entries, bytes: payloadBytes };
  }

  private checkpointDue(): boolean {
    const { everyMs, everyEntries, everyBytes } = this.owner.options.checkpoints;
    const { since } = this;
    const now = this.now();
    if (now.entries === since.entries) return false;
    return now.ms - since.ms >= everyMs || now.entries - since.entries >= everyEntries || now.bytes - since.bytes >= everyBytes;
  }

  /** Of all chains, also those that no core of this open writes. */
  private positions(): number[] {
    const { core, readers } = this.owner;
    const vector = positionsOf(core);
    for (const { chain } of readers) if (chain >= vector.length) vector[chain] = this.owner.lastLsn(chain);
    return Array.from(vector, (lsn: number | undefined) => lsn ?? 0);
  }

  /** A place between all entries: the barrier's. Another one that comes in between only makes it later. */
  private async cut(): Promise<{ epoch: number; positions: number[] }> {
    const { core } = this.owner;
    for (;;) {
      const epoch = await this.owner.advanceEpoch();
      const positions = this.positions();
      const banks = Array.from({ length: banksOf(core) }, (_, bank) => bank).filter((bank) => isClaimed(core, bank));
      for (const bank of banks) positions[bank] = wordAt(core, bank, CTL_EPOCH_LSN);
      const begun = banks.every((bank) => wordAt(core, bank, CTL_EPOCH_DONE) === epoch);
      if (begun && currentEpoch(core) === epoch) return { epoch, positions };
    }
  }

  async checkpoint(state: CheckpointState): Promise<CheckpointInfo> {
    return this.awake(async () => {
      const info = await this.making.make(state);
      this.figures.checkpoints++;
      this.since = this.now();
      // It is made, whatever becomes of what it replaces: that goes next time.
      try {
        this.check();
        this.making.prune();
        await this.retain();
      } catch (error) {
        this.failed(error);
      }
      return info;
    });
  }

  list(): CheckpointInfo[] {
    return listCheckpoints(this.owner.storage, this.owner.directory);
  }

  /** Drops what nobody needs before these places, by the user's own wish: also where no checkpoint holds it. */
  async truncateBefore(where: number | Position | number[]): Promise<DropReport> {
    const wanted = lsnVector(where, this.owner.topology, "truncateBefore", 1);
    return this.awake(() => this.drop(wanted));
  }

  private async drop(wanted: number[]): Promise<DropReport> {
    this.check();
    try {
      const report = await this.dropper.before(wanted, () => this.limits());
      this.figures.droppedSegments += report.segments;
      this.figures.droppedBytes += report.bytes;
      return report;
    } catch (error) {
      throw fromSystem(error, "dropping the beginning of the log", this.owner.directory);
    }
  }

  private limits(): Limits {
    const { first, hasCheckpoint } = this.making.needed();
    const keptFrom = (chain: number): number => this.archiver?.keptFrom(chain) ?? Infinity;
    return { first, needsCheckpoint: hasCheckpoint, keptFrom };
  }

  /** Drops what the retention says, if a checkpoint holds it or the user wants it so. */
  async retain(): Promise<void> {
    const { owner } = this;
    const { retention } = owner.options;
    if (retention === undefined) return;
    const limits = this.limits();
    if (!limits.needsCheckpoint && !retention.withoutCheckpoint) return;
    await this.drop(wantedBy(retention, owner));
  }
}

type Retention = NonNullable<ResolvedOptions["retention"]>;

/** For each chain the first LSN that the retention wants to keep: segments that are too old, or too many, may go. */
function wantedBy({ bytes, ageMs }: Retention, { readers, storage, directory, chance }: UpkeepOwner): number[] {
  const wanted: number[] = [];
  const old = ageMs === Infinity ? 0n : toNs(chance.now() - ageMs);
  const chains = readers.map((reader) => ({ reader, segments: sizesOf(reader, storage, directory) }));
  // The bytes are the whole log's: the oldest segments go first, of whichever chain.
  let excess = chains.flatMap(({ segments }) => segments).reduce((sum, segment) => sum + segment.bytes, 0) - bytes;
  const all = chains.flatMap(({ reader, segments }) => segments.slice(0, -1).map((segment) => ({ ...segment, chain: reader.chain })));
  for (const { chain, endNs, nextLsn, bytes: size } of all.sort((a, b) => Number(a.endNs - b.endNs))) {
    if (excess <= 0 && endNs >= old) continue;
    wanted[chain] = Math.max(wanted[chain] ?? 1, nextLsn);
    excess -= size;
  }
  return wanted;
}

/** Each segment with the time at which the next one was begun. */
function sizesOf(
  reader: ChainReader,
  storage: DropOwner["storage"],
  directory: string,
): { bytes: number; endNs: bigint; nextLsn: number }[] {
  const segments = reader.segments();
  return segments.map(({ header }, i) => {
    const next = segments[i + 1]?.header;
    return {
      bytes: sizeOf(storage, segmentPath(directory, header)),
      endNs: next?.createdNs ?? 0n,
      nextLsn: (next?.parentLastLsn ?? Infinity) + 1,
    };
  });
}
