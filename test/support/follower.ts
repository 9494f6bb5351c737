// Somebody who follows a log all the time, in the simulator: in the process that writes, or in another one that
// outlives it. What it was shown is judged like any other reading, and must never have to be taken back.

import { codeOf, type CorewalError } from "../../src/errors.js";
import { openLogWith, PUMP } from "../../src/log.js";
import type { Storage, StorageFile } from "../../src/storage.js";
import type { Entry, Log } from "../../src/types.js";
import { Violation, voidCount } from "./oracle.js";
import { NO_FAULTS, type SimulatedDisk } from "./simulated-disk.js";
import { Crashed, DIRECTORY, settle, type DrivenLog, type World } from "./world.js";

export class Follower {
  readonly entries: Entry[] = [];
  private ended: unknown;
  /** Where it begins. */
  readonly from: number;
  private readonly reading: AsyncIterator<Entry[]>;

  constructor(
    readonly world: World,
    readonly log: Log,
    /** Which chain it follows; in a striped log the whole. */
    readonly core = 0,
  ) {
    this.from = log.core(core).firstLsn;
    this.reading = (world.whole.perCore ? log.core(core) : log).readBatches({ follow: true, internal: true })[Symbol.asyncIterator]();
    this.run().then(
      () => (this.ended = "closed"),
      (error: unknown) => (this.ended = error),
    );
  }

  private async run(): Promise<void> {
    for (let next = await this.reading.next(); !next.done; next = await this.reading.next()) this.entries.push(...next.value);
  }

  /** Lets it read as far as it can: it pauses after each batch. Then it must have shown everything up to durableLsn. */
  async check(ending?: "closed" | "COREWAL_POISONED"): Promise<void> {
    for (let before = -1; before !== this.entries.length + this.durableLsn;) {
      this.refresh();
      before = this.entries.length + this.durableLsn;
      await new Promise(setImmediate);
      await settle();
    }
    const { ended, world } = this;
    if (world.disk.down) throw new Crashed();
    // Flushers step while somebody reads or advances an epoch.
    if (ending === undefined && world.failed) return;
    const now = ended === undefined ? undefined : ended === "closed" ? ended : codeOf(ended);
    if (now === "COREWAL_READER_LAPPED" && this.mayBeLapped) {
      return void world.whole.of(this.core).judge(this.entries, undefined, this.from);
    }
    if (now === "COREWAL_READER_CUT" && this.cuts.includes(this.cutLsn)) {
      return void world.whole.of(this.core).judge(
        this.entries.filter((entry) => entry.lsn + (entry.kind === "void" ? voidCount(entry) : 1) - 1 <= this.cutLsn),
        undefined,
        this.from,
      );
    }
    if (now !== ending) throw new Violation(`a follower should be ${ending ?? "waiting"} and is ${now}: ${(ended as Error)?.stack}`);
    world.whole.of(this.core).judge(this.entries, this.durableLsn, this.from);
  }

  /** What goes on meanwhile is seen by whoever writes. */
  protected refresh(): void {}

  /** Something was dropped since it began, and it held nothing. */
  protected get mayBeLapped(): boolean {
    return false;
  }

  /** Where somebody wanted the log to be cut since it began. */
  readonly cuts: number[] = [];

  private get cutLsn(): number {
    return (this.ended as CorewalError).lsn!;
  }

  /** What it was shown is no longer there. */
  get isCut(): boolean {
    return codeOf(this.ended) === "COREWAL_READER_CUT";
  }

  /** It has to begin again. */
  get isLapped(): boolean {
    return codeOf(this.ended) === "COREWAL_READER_LAPPED";
  }

  protected get hasEnded(): boolean {
    return this.ended !== undefined;
  }

  private get durableLsn(): number {
    return this.log.core(this.core).durableLsn;
  }

  /** What it still needs: what is before may be dropped. */
  get neededLsn(): number {
    return (this.entries.at(-1)?.lsn ?? this.from - 1) + 1;
  }

  stop(): void {
    void this.reading.return!();
  }
}

/** The disk as another process has it: no failure, crash or end of the one that writes comes to it. */
function outsideOf(disk: SimulatedDisk): Storage {
  const calm = <T>(run: () => T): T => {
    const { faults, crashAt, operations, meanwhile } = disk;
    Object.assign(disk, { faults: { ...NO_FAULTS }, crashAt: Infinity, meanwhile: undefined });
    try {
      return run();
    } finally {
      Object.assign(disk, { faults, crashAt, operations, meanwhile });
    }
  };
  const never = (): never => {
    throw new Violation("a follower in another process changed something");
  };
  return {
    list: (directory) => calm(() => disk.list(directory)),
    open: (path, access) => {
      if (access === "write") never();
      const file = (): StorageFile => disk.open(path, "read");
      calm(file);
      // Whoever has a file open reads on when it is removed.
      const inode = disk.inode(path)!;
      return {
        path,
        read: (into, offset) => inode.read(into, offset),
        size: () => inode.size,
        write: never,
        truncate: never,
        sync: () => calm(() => file().sync()),
        close: () => {},
      };
    },
    syncDirectory: (path) => calm(() => disk.syncDirectory(path)),
    create: never,
    rename: never,
    remove: never,
    makeDirectory: never,
  };
}

/** In another process, as long as the machine has power. */
export class OutsideFollower extends Follower {
  /** `live`: somebody may be writing, so that only what is promised is shown from the beginning. */
  static async open(world: World, live: boolean): Promise<OutsideFollower> {
    const environment = { ...world.environment(true), storage: outsideOf(world.disk), live };
    const log = await openLogWith(DIRECTORY, { ...world.config.options, readOnly: true }, environment);
    const follower = new OutsideFollower(world, log);
    await follower.look();
    return follower;
  }

  /** Looks once and reads. Whatever it is shown must stay. */
  async look(): Promise<void> {
    this.world.count("follower in another process looked");
    try {
      await this.check();
    } catch (error) {
      // The machine went down while it read.
      if (error instanceof Crashed && this.hasEnded) this.leave();
      throw error;
    }
    if (this.isCut) {
      this.world.count("follower in another process was cut off");
      return this.leave();
    }
    this.world.oracle.prove(this.log.durableLsn, "shown to a follower in another process");
    if (!this.isLapped) return;
    this.world.count("follower in another process was lapped");
    this.leave();
  }

  private leave(): void {
    if (this.world.outside === this) this.world.outside = undefined;
    this.stop();
  }

  protected override refresh(): void {
    (this.log as DrivenLog)[PUMP]();
  }

  protected override get mayBeLapped(): boolean {
    const { mayBegin } = this.world.oracle;
    // Segments without entries hold nothing that anybody could want to keep.
    return mayBegin > this.from || mayBegin >= this.neededLsn;
  }

  override stop(): void {
    super.stop();
    void this.log.close();
  }
}

/** Whoever follows in the process itself has seen everything durable. */
export async function checkFollower(world: World, follower: Follower | undefined): Promise<void> {
  // What the guest has flushed is told at the flusher's next step.
  await world.pump(1);
  if (world.disk.down) throw new Crashed();
  if (!world.failed) await follower?.check();
}

/** … and whoever follows in another process what is promised; if there is nobody, somebody begins. */
export async function checkFollowers(world: World, follower: Follower | undefined): Promise<void> {
  await checkFollower(world, follower);
  if (world.outside !== undefined) await world.outside.look();
  else if (world.oracle.proven > 0 && !world.whole.perCore) world.outside = await OutsideFollower.open(world, true);
}
