// What a log of any topology may show: an oracle for each chain, and what holds between them: the order of the merge, and
// which epochs are complete.

import type { Entry, Log, RecoveryReport, Topology } from "../../src/types.js";
import { compare, Oracle, Violation, type Item, type Settled } from "./oracle.js";

export class LogOracle {
  private readonly chains = new Map([[0, new Oracle()]]);
  private term = 0;
  /** Everything below this epoch is durable: somebody who advanced it was told so. */
  private begun = 0;
  /** The highest epoch that the log called complete. */
  private complete = -1;
  /** What it called complete when it was opened after a kill: footers that say so may be in the cache only. */
  private inCache = -1;

  constructor(readonly topology: Topology = "striped") {}

  /** The same knowledge apart, for another future. */
  copy(): LogOracle {
    const copy = new LogOracle(this.topology);
    for (const [core, oracle] of this.chains) copy.chains.set(core, oracle.copy());
    copy.term = this.term;
    copy.begun = this.begun;
    copy.complete = this.complete;
    copy.inCache = this.inCache;
    return copy;
  }

  /** The same for oracles that will judge alike. */
  fingerprint(): string {
    return JSON.stringify([
      this.term,
      this.begun,
      this.complete,
      this.inCache,
      ...this.all.map(([core, oracle]) => [core, oracle.fingerprint()]),
    ]);
  }

  get perCore(): boolean {
    return this.topology === "per-core";
  }

  /** The oracle of a chain. */
  of(core: number): Oracle {
    let oracle = this.chains.get(core);
    if (oracle === undefined) {
      if (!this.perCore) throw new Violation(`a striped log has a chain ${core}`);
      this.chains.set(core, (oracle = new Oracle()));
      oracle.term = this.term;
    }
    return oracle;
  }

  /** Every chain that anybody wrote to, or tried to. */
  get cores(): number[] {
    return this.all.map(([core]) => core);
  }

  private get all(): [number, Oracle][] {
    return [...this.chains];
  }

  /** Something must be there whatever happens. */
  get exists(): boolean {
    return this.all.some(([, { proven }]) => proven > 0);
  }

  /** advanceEpoch() resolved with this one. */
  prove(epoch: number): void {
    this.begun = Math.max(this.begun, epoch);
  }

  /** Notes for each item what is acknowledged before it is appended. */
  stamp(items: Item[], log: Log): void {
    const acked = log.durablePositions();
    for (const { core, lastLsn } of log.recovery.cores) acked[core] = Math.max(acked[core] ?? 0, lastLsn);
    for (const item of items) item.acked = acked;
  }

  /** Everything behind these LSNs is to go, of each chain that is named: until the next log is opened it may be there or not. */
  allowEnd(wanted: (number | undefined)[]): void {
    for (const [core, oracle] of this.all) oracle.allowEnd(wanted[core]);
  }

  /** Of a log that ends with these: the LSNs behind which it was cut, of each chain that was. */
  cutsOf(cores: { core: number; lastLsn: number }[]): (number | undefined)[] {
    const cuts: (number | undefined)[] = [];
    for (const [core, oracle] of this.all) {
      const lastLsn = cores.find((other) => other.core === core)?.lastLsn ?? 0;
      if (oracle.isCut(lastLsn)) cuts[core] = lastLsn;
    }
    return cuts;
  }

  /** A log was opened for writing. `closed`: the process before it had closed it. */
  opened({ cores, term, epoch, completeEpoch }: RecoveryReport, closed: boolean): void {
    for (const { core, firstLsn } of cores) inChain(core, () => this.of(core).begins(firstLsn, true));
    const lastLsn = (core: number): number => cores.find((other) => other.core === core)?.lastLsn ?? 0;
    // What was cut off, of whatever chain, nobody has to follow.
    this.cutsOf(cores).forEach((lsn, core) => this.all.forEach(([, oracle]) => oracle.forgetAcked(core, lsn!)));
    for (const [core, oracle] of this.all) inChain(core, () => oracle.opened(lastLsn(core), term));
    this.term = term;
    this.judgeComplete(cores, epoch, completeEpoch);
    if (completeEpoch < this.begun - 1)
      throw new Violation(`epoch ${this.begun} had begun, and everything before it was durable; now ${completeEpoch} is called complete`);
    if (epoch < this.begun) throw new Violation(`epoch ${this.begun} had begun, the log goes on in epoch ${epoch}`);
    // Of a striped log, an epoch that was complete at a proper close goes on.
    if (this.perCore && completeEpoch < this.complete)
      throw new Violation(`epoch ${this.complete} was complete, now only ${completeEpoch} is`);
    if (this.perCore && completeEpoch >= epoch)
      throw new Violation(`epoch ${completeEpoch} is complete, but the log goes on in epoch ${epoch}`);
    // That everything is complete, footers say, which may be in the cache only if the process died while it wrote them; a
    // later one that writes nothing changes nothing.
    if (completeEpoch < epoch - 1 || (closed && completeEpoch !== this.inCache)) this.tellComplete(completeEpoch);
    else this.inCache = completeEpoch;
  }

  /** … and this was read then. */
  recoveredEpoch(epoch: number): void {
    for (const [core, { settledEpoch }] of this.all) {
      if (this.perCore ? settledEpoch >= epoch : settledEpoch > epoch)
        throw new Violation(`the log goes on in epoch ${epoch}, but core ${core} has entries of epoch ${settledEpoch}`);
    }
  }

  tellComplete(epoch: number): void {
    this.complete = Math.max(this.complete, epoch);
  }

  /** Nothing may be missing in any chain that was published in a complete epoch. */
  judgeComplete(cores: { core: number; lastLsn: number }[], epoch: number, completeEpoch: number): void {
    // A striped log goes on in the epoch that a proper close completed, and leaves no trace of what it loses in there.
    const complete = this.perCore ? completeEpoch : Math.min(completeEpoch, epoch - 1);
    for (const [core, oracle] of this.all)
      inChain(core, () => oracle.requireEpoch(complete, cores.find((other) => other.core === core)?.lastLsn ?? 0));
  }

  /** Judges a reading of all chains, merged, against readings of each: all entries, once, in order. */
  judgeMerge(entries: Entry[], lists: Map<number, Settled[]>, firstLsn: (core: number) => number): void {
    /** LSN of the next entry of each chain. */
    const next = new Map<number, number>();
    const goOn = (core: number, lsn: number): void => {
      const list = lists.get(core)!;
      while (lsn <= list.length && list[lsn - 1]!.item === undefined) lsn++;
      next.set(core, lsn);
    };
    for (const core of lists.keys()) goOn(core, firstLsn(core));
    let before: Entry | undefined;
    for (const entry of entries) {
      const { core, lsn, epoch, timestampMs } = entry;
      if (entry.kind === "epoch" || entry.kind === "void") continue;
      const what = `in the merge, LSN ${lsn} of core ${core}`;
      if (next.get(core) !== lsn) throw new Violation(`${what} stands where LSN ${next.get(core)} belongs`);
      const item = lists.get(core)![lsn - 1]!.item!;
      compare(entry, item);
      if (before !== undefined && epoch < before.epoch)
        throw new Violation(`${what} has epoch ${epoch}, LSN ${before.lsn} of core ${before.core} before it ${before.epoch}`);
      if (before !== undefined && timestampMs < before.timestampMs)
        throw new Violation(
          `${what}, epoch ${epoch}, is ${before.timestampMs - timestampMs} ms older than LSN ${before.lsn} of core ${before.core} before it, epoch ${before.epoch}`,
        );
      for (const [other, acked = 0] of item.acked?.entries() ?? []) {
        const later = next.get(other) ?? Infinity;
        // What is durable and not promised yet, nobody outside is shown.
        if (later <= acked && later <= lists.get(other)!.length)
          throw new Violation(`${what} comes before LSN ${later} of core ${other}, which was acknowledged before it was appended`);
      }
      goOn(core, lsn + 1);
      before = entry;
    }
    for (const [core, lsn] of next) if (lsn <= lists.get(core)!.length) throw new Violation(`the merge lacks LSN ${lsn} of core ${core}`);
  }
}

/** Says of which chain a violation is. */
export function inChain<T>(core: number, judge: () => T): T {
  try {
    return judge();
  } catch (error) {
    if (error instanceof Violation && core !== 0) error.message = `core ${core}: ${error.message}`;
    throw error;
  }
}
