// What a process of the simulator does to keep its log small: checkpoints, dropping the beginning, by hand and as the
// retention says, readings that hold what they need, and damage to checkpoints.

import { checkpointName } from "../../src/checkpoint-file.js";
import { codeOf } from "../../src/errors.js";
import { openLogWith } from "../../src/log.js";
import type { CheckpointInfo, CheckpointState, Entry } from "../../src/types.js";
import { IO_CODES } from "./checks.js";
import { whatIsFound, type State } from "./checkpoint-oracle.js";
import { OutsideFollower, type Follower } from "./follower.js";
import { inChain } from "./log-oracle.js";
import { Violation, writeId } from "./oracle.js";
import { Random } from "./random.js";
import { NO_FAULTS } from "./simulated-disk.js";
import { DIRECTORY, settle, type DrivenLog, type World } from "./world.js";

/** More than one block of a checkpoint holds. */
const LARGE_BYTES = 70_000;

export interface UpkeepHost {
  readonly world: World;
  readonly log: DrivenLog;
  /** Judges a promise's outcome, unless its process is dead by then. */
  listen<T>(promise: Promise<T>, resolved: (value: T) => void, rejected: (error: unknown) => void): void;
  explain(error: unknown): void;
  append(): void;
  isAlive(): boolean;
  isClosing(): boolean;
  follower(): Follower | undefined;
}

/** Half-way, as a user's function may. */
class NotToday extends Error {}

interface Plan {
  /** Bytes of each piece. */
  pieces: number[];
  /** Before which of them something else happens. */
  waits: boolean[];
  fails: boolean;
}

interface Held {
  core: number;
  from: number;
  iterator: AsyncIterator<Entry[]>;
  /** No drop had been decided when it began. */
  strict: boolean;
}

export class UpkeepSteps {
  private readonly gates: (() => void)[] = [];
  private released = false;
  private readonly held: Held[] = [];
  private dropping = 0;
  /** Of these, such that began before any checkpoint was acknowledged. */
  private unheld = 0;
  private readonly firstSeen = new Map<number, number>();
  private readonly cores: number[];

  constructor(private readonly host: UpkeepHost) {
    const { world, log } = host;
    this.cores = world.coresOf(log);
    world.archiving = (segment) =>
      world.archived.take(segment, world, () => (this.released ? Promise.resolve() : new Promise((resolve) => this.gates.push(resolve))));
    world.automatic = this.stateOf(() => ({ pieces: [20], waits: [], fails: false })).state;
    if (world.config.options.retention?.withoutCheckpoint) for (const core of this.cores) world.whole.of(core).allowBegin(Infinity);
  }

  /** Other things have happened meanwhile. */
  proceed(): void {
    this.gates.shift()?.();
  }

  /** Everybody is to have an answer; `forever`: from now on nobody waits for other things. */
  release(forever = false): void {
    this.released ||= forever;
    for (const open of this.gates.splice(0)) open();
  }

  end(): void {
    this.release(true);
    for (const { iterator } of this.held.splice(0)) void iterator.return!();
  }

  async step(): Promise<void> {
    const { world } = this.host;
    const { random, disk } = world;
    // A disk that cannot be read for a moment must not make anybody forget what is needed.
    if (random.chance(0.1) && this.host.follower() === undefined) return this.flaky();
    const roll = random.below(20);
    if (roll < 5) {
      for (let n = random.pick([1, 1, 1, 2]); n > 0; n--) this.checkpoint();
      if (disk.crashAt === Infinity && random.chance(0.3)) disk.crashAt = disk.operations + random.between(1, 30);
    } else if (roll < 9) {
      this.truncate();
      if (disk.crashAt === Infinity && random.chance(0.3)) disk.crashAt = disk.operations + random.between(1, 20);
    } else if (roll < 11) this.tick();
    else if (roll === 16) await this.lap();
    else if (roll === 17) await this.overtake();
    else if (roll >= 18 && world.config.options.archive !== undefined) await this.archiveAndDrop();
    else if (roll < 12) this.hold();
    else if (roll < 13) await this.readHeld();
    else if (roll < 15) await this.read();
    else await this.damage();
    // Whatever it is, it goes on while others do, or at once.
    if (random.chance(0.5)) await world.pump(random.pick([2, 10, 200]));
  }

  /** Whoever follows in another process holds nothing, and is told that he was too slow. */
  private async lap(): Promise<void> {
    const { world } = this.host;
    this.truncate(true);
    await world.pump();
    await world.still();
    if (world.disk.down || world.failed || world.outside === undefined) return;
    await world.outside.look();
    world.outside ??= await OutsideFollower.open(world, true);
  }

  private async flaky(): Promise<void> {
    const { world } = this.host;
    const { faults } = world.disk;
    Object.assign(faults, { readError: 0.2, listError: 0.05 });
    world.count("upkeep while reading fails");
    if (world.random.chance(0.7)) this.truncate();
    else this.tick();
    await new Promise(setImmediate);
    await settle();
    Object.assign(faults, { readError: 0, listError: 0 });
  }

  /** What was archived may go, and then the power may. */
  private async archiveAndDrop(): Promise<void> {
    const { world } = this.host;
    this.tick();
    this.truncate(true);
    await world.pump();
    await world.still();
    if (world.disk.down || world.failed) return;
    this.truncate(true);
    await world.pump(world.random.below(60));
  }

  // --- checkpoints ---------------------------------------------------------------------------------

  private plan(): Plan {
    const { random } = this.host.world;
    const pieces = Array.from({ length: random.between(1, 4) }, () => random.pick([0, 7, 90, 600]));
    if (random.chance(0.02)) pieces.push(LARGE_BYTES);
    return { pieces, waits: pieces.map(() => random.chance(0.25)), fails: random.chance(0.15) };
  }

  private stateOf(planOf: () => Plan): { state: CheckpointState; written: () => State | undefined } {
    const { world, log } = this.host;
    const before = log.positions();
    let last: State | undefined;
    const state: CheckpointState = async (hand) => {
      const plan = planOf();
      const id = world.newId();
      const written = (last = world.checkpoints.begin(id, before, hand, world));
      written.applied = log.positions();
      const head = Buffer.alloc(4);
      writeId(head, id);
      const pieces: Uint8Array[] = [head, Buffer.from(JSON.stringify(written.applied))];
      for (const bytes of pieces) await hand.write(bytes);
      for (const [i, size] of plan.pieces.entries()) {
        if (plan.waits[i] && !this.released) await new Promise<void>((resolve) => this.gates.push(resolve));
        if (!this.host.isAlive()) throw new NotToday("the process is dead");
        const piece = new Random(id + i).fill(new Uint8Array(size));
        await hand.write(piece);
        pieces.push(piece.slice());
        piece.fill(0xee);
      }
      if (plan.fails) throw new NotToday("half-way");
      written.bytes = Buffer.concat(pieces);
      written.whole = true;
      // Once it is complete it may get its name, and whatever it holds may go.
      if (world.config.options.retention !== undefined)
        for (const core of this.cores) world.whole.of(core).allowBegin((written.begin[core] ?? 0) + 1);
    };
    return { state, written: () => last };
  }

  /** What comes behind a checkpoint that is being made is to be dropped. */
  private async overtake(): Promise<void> {
    const { world } = this.host;
    const stopped = (): boolean => world.disk.down || world.failed;
    this.checkpoint({ pieces: [7], waits: [true], fails: false });
    await world.pump();
    await world.still();
    if (stopped()) return;
    this.host.append();
    await world.pump();
    await world.still();
    if (stopped()) return;
    this.truncate(true);
    await world.pump();
  }

  /** Something that is under way when the log is cut. */
  async beforeCut(): Promise<void> {
    const { world } = this.host;
    const { random } = world;
    if (random.chance(0.4)) this.checkpoint();
    if (random.chance(0.2)) this.truncate();
    if (world.upkeep > 0) await world.pump(random.below(8));
  }

  private checkpoint(plan = this.plan()): void {
    const { world, log } = this.host;
    world.trace(`a checkpoint is asked for, positions ${log.positions().join()}, plan ${JSON.stringify(plan)}`);
    if (world.upkeep > 0) world.count("checkpoint while another one is made, or something is dropped");
    const { state, written } = this.stateOf(() => plan);
    const failing = (error: unknown): boolean => error instanceof NotToday;
    this.track(log.checkpoint(state), (info) => this.made(info, written()!), failing);
  }

  private made(info: CheckpointInfo, state: State): void {
    const { world, log } = this.host;
    world.trace(`checkpoint ${info.number} is made, at ${info.positions.join()}`);
    world.count(`checkpoint made, ${world.whole.topology}`);
    world.checkpoints.acknowledge(info, state);
    for (const [core, lsn] of info.endPositions.entries())
      if (lsn > 0 && lsn > log.core(core).durableLsn)
        throw new Violation(`checkpoint ${info.number} may hold LSN ${lsn} of core ${core}, which is not durable`);
    const { failures } = log.upkeep.figures;
    this.list((list) => {
      if (failures > 0 || this.host.isClosing()) return;
      const { keep = 2 } = world.config.options.checkpoints ?? {};
      if (list.length > keep) throw new Violation(`${list.length} checkpoints are kept, it should be ${keep}`);
    });
  }

  private list(more: (list: CheckpointInfo[]) => void = () => undefined): void {
    const { world, log } = this.host;
    let list: CheckpointInfo[];
    try {
      list = log.upkeep.list();
    } catch (error) {
      if (world.disk.down || world.disk.faults.readError > 0) return;
      throw error;
    }
    if (world.disk.down) return;
    world.checkpoints.judgeList(list, log, this.cores);
    more(list);
  }

  private async read(): Promise<void> {
    const { world, log } = this.host;
    await world.still();
    world.count("checkpoint read and log replayed");
    await world.checkpoints.judge(world, log);
  }

  // --- dropping -------------------------------------------------------------------------------------

  private truncate(all = false): void {
    const { world, log } = this.host;
    const { random } = world;
    const wanted: number[] = [];
    const durable = (core: number): number => log.core(core).durableLsn;
    for (const core of this.cores)
      if (all) wanted[core] = durable(core) + 1;
      else if (random.chance(0.7))
        wanted[core] = Math.max(1, random.chance(0.5) ? durable(core) + random.below(3) : random.between(1, durable(core) + 1));
    const one = random.pick(this.cores);
    const lsn = (wanted[one] ??= 1);
    const single = !all && random.chance(0.4);
    const where = single
      ? world.whole.perCore || random.chance(0.5)
        ? { core: one, lsn }
        : lsn
      : Array.from(wanted, (w: number | undefined) => w ?? 1);
    world.trace(`what is before ${JSON.stringify(where)} is to be dropped`);
    for (const core of this.cores) if (!single || core === one) world.whole.of(core).allowBegin(wanted[core] ?? 1);
    this.track(
      log.truncateBefore(where),
      (report) => {
        for (const { core, firstLsn } of report.cores)
          if (log.core(core).firstLsn < firstLsn)
            throw new Violation(`core ${core} was dropped before LSN ${firstLsn}, but it begins earlier`);
        if (report.segments > 0) world.count(`segments dropped, ${world.whole.topology}`);
        this.list();
      },
      () => false,
      world.checkpoints.newest === undefined,
    );
  }

  private tick(): void {
    const { world, log } = this.host;
    const { figures } = log.upkeep;
    const { droppedSegments, checkpoints, failures, archived } = figures;
    const { disk } = world;
    const away = world.archived.failures;
    const diskFailures = disk.failures;
    world.trace("upkeep looks for what is due");
    if (world.random.chance(0.5)) world.pass(10_000);
    this.track(
      log.upkeep.tick().then(() => log.upkeep.archiver?.idle()),
      () => {
        if (figures.archived > archived) world.count("segments archived");
        if (figures.droppedSegments > droppedSegments) world.count("segments dropped by the retention");
        if (figures.checkpoints > checkpoints) world.count("checkpoint made by itself");
        // Of a segment that was cut after it had been archived there are two, if the archive's cursor was lost.
        const other = world.config.cuts && figures.lastFailure?.startsWith("the archive has another");
        const unexplained = figures.failures - failures - (world.archived.failures - away);
        if (unexplained > 0 && !other && disk.failures === diskFailures && !world.failed && !disk.down)
          throw new Violation(`nothing failed, and yet: ${figures.lastFailure}`);
      },
      () => false,
      world.checkpoints.newest === undefined && world.config.options.retention?.withoutCheckpoint === true,
    );
  }

  private track<T>(promise: Promise<T>, resolved: (value: T) => void, expected: (error: unknown) => boolean, unheld = false): void {
    const { world } = this.host;
    const { disk } = world;
    const failures = disk.failures;
    world.upkeep++;
    this.dropping++;
    if (unheld) this.unheld++;
    const { life } = world;
    const done = (): void => {
      if (world.life === life || world.log === undefined) world.upkeep = Math.max(0, world.upkeep - 1);
      this.dropping--;
      if (unheld) this.unheld--;
    };
    // Seen before it is counted as done.
    const seen = promise.then(
      (value) => (this.observe(), value),
      (error: unknown) => {
        this.observe();
        throw error;
      },
    );
    seen.then(done, done);
    this.host.listen(seen, resolved, (error) => {
      const code = codeOf(error);
      if (expected(error) || disk.down) return;
      if (code === "COREWAL_CLOSED" && this.host.isClosing()) return;
      if (code === "COREWAL_POISONED" || code === "COREWAL_OUTCOME_UNKNOWN") return this.host.explain(error);
      if (!IO_CODES.includes(code ?? "") || disk.failures === failures) throw error;
      world.count("checkpoint or drop that met a broken disk");
    });
  }

  /** Where each chain begins now: not behind what somebody needs. */
  observe(): void {
    const { world, log } = this.host;
    if (!this.host.isAlive()) return;
    for (const core of this.cores) {
      const { firstLsn } = log.core(core);
      const before = this.firstSeen.get(core);
      if (firstLsn === before) continue;
      this.firstSeen.set(core, firstLsn);
      inChain(core, () => world.whole.of(core).begins(firstLsn, true));
      if (before === undefined) continue;
      if (this.unheld === 0 && world.checkpoints.newest !== undefined) world.checkpoints.needed = true;
      const beyond = (lsn: number, what: string): void => {
        if (firstLsn > lsn) throw new Violation(`core ${core} begins with LSN ${firstLsn} now, but ${what} needs LSN ${lsn}`);
      };
      const { newest } = world.checkpoints;
      // A newer one, made by itself, may have taken its place.
      if (newest !== undefined && world.disk.inode(`${DIRECTORY}/${checkpointName(newest.number)}`) !== undefined)
        beyond(world.checkpoints.neededLsn(core), "the newest checkpoint");
      for (const held of this.held) if (held.core === core && held.strict) beyond(held.from, "a reading under way");
      const follower = this.host.follower();
      if (follower?.core === core) beyond(follower.neededLsn, "a follower");
    }
  }

  // --- who reads meanwhile ----------------------------------------------------------------------------

  private hold(): void {
    const { world, log } = this.host;
    const core = world.random.pick(this.cores);
    const reader = log.core(core);
    const strict = this.dropping === 0;
    this.held.push({ core, from: reader.firstLsn, iterator: reader.readBatches({ internal: true })[Symbol.asyncIterator](), strict });
  }

  private async readHeld(): Promise<void> {
    const { world, log } = this.host;
    const held = this.held.shift();
    if (held === undefined) return;
    await world.still();
    const { durableLsn } = log.core(held.core);
    const entries: Entry[] = [];
    for (let next = await held.iterator.next(); !next.done; next = await held.iterator.next()) entries.push(...next.value);
    world.count("reading that was open while the log went on");
    const from = held.strict ? held.from : Math.max(held.from, entries[0]?.lsn ?? log.core(held.core).firstLsn);
    // Upkeep pumps meanwhile.
    const { length } = inChain(held.core, () => world.whole.of(held.core).judge(entries, undefined, from));
    if (length < durableLsn)
      throw new Violation(`core ${held.core} was durable up to LSN ${durableLsn}, and a reading of it ends at ${length}`);
  }

  // --- damage ---------------------------------------------------------------------------------------

  /** One bit of one checkpoint or of each of them: passed over for the next one; without any, the log says so if it must. */
  private async damage(): Promise<void> {
    const { world, log } = this.host;
    const { random, disk, checkpoints, config } = world;
    await world.still();
    const { faults } = disk;
    disk.faults = { ...NO_FAULTS };
    const flips: (() => void)[] = [];
    try {
      const numbers = log.upkeep.list().map(({ number }) => number);
      if (numbers.length === 0) return;
      const hurt = random.chance(checkpoints.needed ? 0.7 : 0.3) ? numbers : [random.pick(numbers)];
      for (const number of hurt) {
        const inode = disk.inode(`${DIRECTORY}/${checkpointName(number)}`)!;
        const [offset, mask] = [random.below(inode.size), 1 << random.below(8)];
        inode.flip(offset, mask);
        flips.push(() => inode.flip(offset, mask));
      }
      world.trace(`checkpoints ${hurt.join()} of ${numbers.join()} are damaged`);
      world.count(hurt.length === numbers.length ? "every checkpoint damaged" : "one checkpoint of several damaged");
      const outside = await openLogWith(DIRECTORY, { ...config.options, readOnly: true }, { ...world.environment(true), live: false });
      const found = await whatIsFound(outside);
      if (disk.down) return;
      const good = numbers.find((number) => !hurt.includes(number));
      const allowed: (number | string | undefined)[] =
        good !== undefined ? [good] : checkpoints.needed ? ["COREWAL_CORRUPT"] : [undefined, "COREWAL_CORRUPT"];
      if (!allowed.includes(found))
        throw new Violation(`checkpoints ${hurt.join()} of ${numbers.join()} are damaged, and ${found} is what is found`);
      if (hurt.includes(numbers[0]!) && checkpoints.warnings.length === 0)
        throw new Violation("a damaged checkpoint is passed over without a word");
      await outside.close();
    } finally {
      for (const flip of flips) flip();
      checkpoints.warnings.splice(0);
      disk.faults = faults;
    }
  }
}
