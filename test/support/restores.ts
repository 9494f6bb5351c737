// Restores in the simulator: of a log that somebody writes, or of one that nobody has open, to any place, with and without
// its archive, through crashes and errors. Whatever happens, there is no log at the other place, or exactly the one that
// was asked for, and its beginning is in the archive or in a checkpoint.

import { codeOf } from "../../src/errors.js";
import { openLogWith, type Environment } from "../../src/log.js";
import { restoreLogOn, type RestoreOptions, type RestoreReport } from "../../src/restore.js";
import type { Entry, Log } from "../../src/types.js";
import { verifyLogOn } from "../../src/verify.js";
import { IO_CODES, lastOf } from "./checks.js";
import { Violation, voidCount } from "./oracle.js";
import { Random } from "./random.js";
import { NO_FAULTS } from "./simulated-disk.js";
import { ARCHIVE, Crashed, DIRECTORY, type DrivenLog, type World } from "./world.js";

const OUT = "/disk/restored";

type Target = Pick<RestoreOptions, "toLsn" | "toTimeMs" | "toEpoch">;

/** What a chain shows: element i is LSN first + i; undefined is a hole. */
interface Chain {
  core: number;
  first: number;
  entries: (Entry | undefined)[];
}

/** The log as it is when it is restored. */
interface Seen {
  chains: Chain[];
  completeEpoch: number;
  target: Target;
  /** Somebody has it open: less is shown than is durable. */
  live: boolean;
}

const lastLsn = ({ first, entries }: Chain): number => first + entries.length - 1;

export class Restores {
  /** One that was interrupted: nobody knows whether it came to its end. */
  private pending: Seen | undefined;

  constructor(private readonly world: World) {}

  /** The power has gone, and nothing else goes wrong: log and archive together have everything. */
  async restoreAll(): Promise<void> {
    const { world } = this;
    world.die(true);
    await this.lookAgain();
    await this.restore(false, true);
  }

  /** Restores the log as it is, if there is one. `live`: somebody has it open. `all`: all of it, undisturbed. */
  async restore(live: boolean, all = false): Promise<void> {
    const { world } = this;
    const { disk, random, whole } = world;
    // What a cache that lies shows need not stay.
    if (!whole.exists || disk.lies) return;
    await world.readOnly(live);
    const seen = await this.calm(() => this.look(live));
    if (all) seen.target = {};
    const { target } = seen;
    world.trace(`the log is restored: ${JSON.stringify(target)}, of ${seen.chains.map((c) => `${c.first} to ${lastLsn(c)}`).join()}`);
    world.archived.lay(disk);
    // As long as nothing was archived there may be none.
    const options: RestoreOptions = { out: OUT, ...target, ...(disk.names(ARCHIVE).length > 0 && { archive: ARCHIVE }) };
    await this.dryRun(options, seen, live);
    const { faults, failures } = disk;
    if (!live && !all && random.chance(0.3)) world.arm(random.chance(0.5));
    if (!all && disk.crashAt === Infinity && random.chance(0.5)) disk.crashAt = disk.operations + (await this.chooseCrash(options, live));
    this.pending = seen;
    let report: RestoreReport;
    try {
      report = await restoreLogOn(DIRECTORY, options, this.environment(live));
    } catch (error) {
      if (disk.down) throw new Crashed();
      const code = codeOf(error);
      if (code === "COREWAL_OUT_OF_WINDOW" && !this.mustWork(seen)) {
        this.pending = undefined;
        return world.count("restore that was refused");
      }
      if (disk.failures === failures || !IO_CODES.includes(code ?? "")) throw error;
      world.count("restore that met a broken disk");
      return await this.lookAgain();
    } finally {
      disk.faults = faults;
      if (!live && !disk.down) disk.crashAt = Infinity;
    }
    this.pending = undefined;
    world.count(`restored, ${live ? "while somebody writes" : "nobody writing"}`);
    const { cores, entries } = await this.calm(() => this.judge(seen));
    if (report.entries !== entries || JSON.stringify(report.cores) !== JSON.stringify(cores))
      throw new Violation(`restored are ${entries} entries of ${JSON.stringify(cores)}, the report says ${JSON.stringify(report)}`);
    if (!live) await this.calm(() => this.goOn());
    disk.forget(OUT);
  }

  /** After a crash or an error: there is the whole log, or none; where there is none, the next restore begins. */
  async lookAgain(): Promise<void> {
    const { pending, world } = this;
    if (pending === undefined) return;
    this.pending = undefined;
    if (!(await this.calm(() => this.isThere()))) return world.count("restore that was undone");
    world.count("restore that was done when it was interrupted");
    await this.calm(() => this.judge(pending));
    world.disk.forget(OUT);
  }

  /** Runs it with a disk that works. */
  private async calm<T>(run: () => Promise<T>): Promise<T> {
    const { disk } = this.world;
    const { faults, crashAt } = disk;
    const from = disk.operations;
    Object.assign(disk, { faults: { ...NO_FAULTS }, crashAt: Infinity });
    try {
      return await run();
    } finally {
      Object.assign(disk, { faults, crashAt: crashAt + disk.operations - from });
    }
  }

  private environment(live: boolean): Environment {
    return { ...this.world.environment(true), lock: () => ({ release: () => undefined }), live };
  }

  private open(directory: string, live: boolean): Promise<Log> {
    return openLogWith(directory, { ...this.world.config.options, readOnly: true }, { ...this.world.environment(true), live });
  }

  private async isThere(): Promise<boolean> {
    try {
      await (await this.open(OUT, false)).close();
      return true;
    } catch (error) {
      if (codeOf(error) !== "COREWAL_NOT_A_LOG") throw error;
      return false;
    }
  }

  // --- the source -----------------------------------------------------------------------------------

  private async look(live: boolean): Promise<Seen> {
    const log = await this.open(DIRECTORY, live);
    const chains = await this.chainsOf(log);
    const { completeEpoch } = log.recovery;
    await log.close();
    return { chains, completeEpoch, target: this.chooseTarget(chains, completeEpoch), live };
  }

  private async chainsOf(log: Log): Promise<Chain[]> {
    const chains: Chain[] = [];
    for (const { core } of log.recovery.cores) {
      const chain = log.core(core);
      const entries: Chain["entries"] = [];
      for (const entry of await this.world.readAll(chain)) {
        if (entry.kind === "void") for (let n = voidCount(entry); n > 0; n--) entries.push(undefined);
        else if (entry.kind !== "epoch") entries.push(entry);
      }
      chains.push({ core, first: chain.firstLsn, entries });
    }
    return chains;
  }

  private chooseTarget(chains: Chain[], completeEpoch: number): Target {
    const { random, whole } = this.world;
    const roll = random.below(5);
    if (roll === 0 || chains.length === 0) return {};
    if (roll < 3) {
      const lsns: number[] = [];
      for (const chain of chains)
        lsns[chain.core] = random.between(Math.max(0, chain.first - 2), lastLsn(chain) + Number(random.chance(0.1)));
      return { toLsn: whole.perCore ? Array.from(lsns, (lsn: number | undefined) => lsn ?? 0) : lsns[0]! };
    }
    if (roll === 3) return { toEpoch: Math.max(0, completeEpoch + 1 - random.below(4)) };
    const times = chains.flatMap(({ entries }) => entries.flatMap((entry) => entry?.timestampMs ?? []));
    return times.length === 0 ? {} : { toTimeMs: Math.max(0, random.pick(times) + random.pick([0, 0, -0.5, 0.5])) };
  }

  /** Somewhere between what is there and what was promised: no reason to refuse it. */
  private mustWork({ chains, completeEpoch, target }: Seen): boolean {
    const { toLsn, toTimeMs, toEpoch } = target;
    if (toLsn === undefined && toTimeMs === undefined && toEpoch === undefined) return true;
    // What was dropped may be needed, and is in a checkpoint that is behind the place.
    if (this.world.config.options.archive === undefined && chains.some(({ first }) => first > 1)) return false;
    if (toEpoch !== undefined) return toEpoch <= completeEpoch;
    if (toLsn !== undefined)
      return [toLsn].flat().every((lsn, core) => lsn <= Math.max(0, ...chains.filter((c) => c.core === core).map(lastLsn)));
    const times = chains.flatMap(({ entries }) => entries.flatMap((entry) => entry?.timestampMs ?? []));
    // With an archive there may be earlier ones.
    return toTimeMs! >= Math.min(...times) && toTimeMs! <= Math.max(...times);
  }

  private async dryRun(options: RestoreOptions, seen: Seen, live: boolean): Promise<void> {
    if (this.world.random.chance(0.7)) return;
    const { disk } = this.world;
    const { mutations } = disk;
    await this.calm(async () => {
      try {
        await restoreLogOn(DIRECTORY, { ...options, dryRun: true }, this.environment(live));
      } catch (error) {
        if (codeOf(error) !== "COREWAL_OUT_OF_WINDOW" || this.mustWork(seen)) throw error;
      }
    });
    if (disk.mutations !== mutations) throw new Violation("a dry run changed the disk");
  }

  /** Anywhere, or where names are given and the marker goes: how many operations there are until then, another disk tells. */
  private async chooseCrash(options: RestoreOptions, live: boolean): Promise<number> {
    const { disk, random } = this.world;
    if (random.chance(0.5)) return random.between(1, 60);
    const storage = disk.copy(new Random(1));
    try {
      await restoreLogOn(DIRECTORY, options, { ...this.environment(live), storage });
    } catch (error) {
      if (codeOf(error) !== "COREWAL_OUT_OF_WINDOW") throw error;
    }
    return Math.max(1, storage.operations - random.below(12));
  }

  // --- what was made --------------------------------------------------------------------------------

  private async judge(seen: Seen): Promise<Pick<RestoreReport, "cores" | "entries">> {
    const { world } = this;
    const { config, whole, checkpoints } = world;
    await this.verify();
    const log = await this.open(OUT, false);
    const { recovery } = log;
    if (!recovery.clean) throw new Violation("the restored log is not clean");
    if (recovery.restoredFrom === undefined) throw new Violation("the restored log does not know where it is from");
    const chains = await this.chainsOf(log);
    let entries = 0;
    for (const chain of chains) {
      const { core, first } = chain;
      if (config.options.archive !== undefined && first > 1)
        throw new Violation(`every segment was archived, and core ${core} is restored from LSN ${first} on`);
      if (lastLsn(chain) !== lastOf(recovery, core))
        throw new Violation(`core ${core} was restored up to LSN ${lastOf(recovery, core)}, reading it ends at ${lastLsn(chain)}`);
      const source = seen.chains.find((other) => other.core === core);
      if (source === undefined) throw new Violation(`the restored log has a core ${core}, the log has none`);
      chain.entries.forEach((entry, i) => {
        if (entry !== undefined) entries++;
        const lsn = first + i;
        // Of what was dropped only the oracle knows.
        if (lsn >= source.first) compare(core, lsn, entry, source.entries[lsn - source.first]);
        else if (entry !== undefined) whole.of(core).judgeOne(entry);
      });
    }
    for (const source of seen.chains)
      this.judgeEnd(
        source,
        chains.find(({ core }) => core === source.core),
        seen.target,
      );
    if (config.upkeep) await checkpoints.judgeRestored(world, log, Object.keys(seen.target).length === 0 && !seen.live);
    await log.close();
    return { cores: recovery.cores.map(({ core, firstLsn, lastLsn: last }) => ({ core, firstLsn, lastLsn: last })), entries };
  }

  private async verify(): Promise<void> {
    const { disk, random } = this.world;
    if (!random.chance(0.3)) return;
    const { faults } = await verifyLogOn(disk.copy(new Random(1)), OUT);
    if (faults.length > 0) throw new Violation(`in the restored log: ${faults.map(({ message }) => message).join("; ")}`);
  }

  /** Everything up to the target, and nothing behind it. */
  private judgeEnd(source: Chain, chain: Chain | undefined, { toLsn, toTimeMs, toEpoch }: Target): void {
    const { core } = source;
    const end = chain === undefined ? source.first - 1 : lastLsn(chain);
    if (toEpoch === undefined && toTimeMs === undefined) {
      const wanted = toLsn === undefined ? lastLsn(source) : ([toLsn].flat()[core] ?? 0);
      if (end !== wanted) throw new Violation(`core ${core} was to be restored up to LSN ${wanted}, and ends at ${end}`);
      return;
    }
    source.entries.forEach((entry, i) => {
      if (entry === undefined) return;
      const wanted = toEpoch === undefined ? entry.timestampMs <= toTimeMs! : entry.epoch <= toEpoch;
      if (wanted !== source.first + i <= end)
        throw new Violation(
          `core ${core} was restored up to LSN ${end}; LSN ${entry.lsn} is of epoch ${entry.epoch} and time ${entry.timestampMs}, the target ${toEpoch ?? toTimeMs}`,
        );
    });
  }

  /** Whoever opens it goes on where it ends. */
  private async goOn(): Promise<void> {
    const { world } = this;
    const options = { ...world.config.options, archive: undefined, retention: undefined, checkpoints: undefined };
    const environment = { ...world.environment(), storage: world.disk, lock: () => ({ release: () => undefined }) };
    const log = (await openLogWith(OUT, options, environment)) as DrivenLog;
    const { lastLsn: last, epoch } = log.recovery;
    const lsn = log.appendSync("on");
    if (lsn !== last + 1) throw new Violation(`the restored log ended at LSN ${last}, and goes on with ${lsn}`);
    const entry = await log.get(world.whole.perCore ? { core: 0, lsn } : lsn);
    if (entry === undefined || entry.epoch < epoch)
      throw new Violation(`LSN ${lsn} of the restored log is in epoch ${entry?.epoch}, it was ${epoch}`);
    await log.close();
    await this.verify();
  }
}

function compare(core: number, lsn: number, entry: Entry | undefined, other: Entry | undefined): void {
  const text = (e: Entry | undefined): string =>
    e === undefined
      ? "a hole"
      : JSON.stringify([
          e.kind,
          e.term,
          e.epoch,
          e.timestampMs,
          Buffer.from(e.key ?? []).toString("hex"),
          Buffer.from(e.value).toString("hex"),
        ]);
  if (entry?.lsn === other?.lsn && text(entry) === text(other)) return;
  throw new Violation(`LSN ${lsn} of core ${core} was restored as ${text(entry).slice(0, 120)}; it is ${text(other).slice(0, 120)}`);
}
