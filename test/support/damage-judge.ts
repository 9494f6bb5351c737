// What corewal says of a damaged log, opened for reading, verified, and opened for writing, and whether it may say
// that: the same entries, a loud error, or a cut that is reported as one and hides nothing that is still promised.

import type { Core } from "../../src/core.js";
import { codeOf } from "../../src/errors.js";
import { ABANDON, openLogWith } from "../../src/log.js";
import type { Entry, Log, RecoveryReport } from "../../src/types.js";
import { verifyLogOn } from "../../src/verify.js";
import type { DamageCase } from "./damage-cases.js";
import { DIRECTORY, Fixed, SMALL, type FixedLog } from "./fixed-log.js";
import type { Files } from "./golden-cases.js";
import { insidesOf } from "./insides.js";
import { readLog, type ReadEntry, type ReadLog } from "./independent-reader.js";
import { Violation } from "./oracle.js";

const LOUD = ["COREWAL_CORRUPT", "COREWAL_UNKNOWN_VERSION"];

export const SAME = "the same entries";
export const OPEN_ERROR = "an error when opened";
export const READ_ERROR = "an error when read";
export const TORN = "a torn tail above every promise";
const CRASH = "a cut like a crash's: unclean, and the last LSN says so";

type Ends = ReadonlyMap<number, number>;

/** What is said of a log as a whole. */
interface Answer {
  /** Last LSN of each chain that has one. */
  ends: string;
  epoch: number;
  /** Epochs below it are complete. */
  complete: number;
  clean: boolean;
}

const ERROR: Answer = { ends: "", epoch: 0, complete: 0, clean: false };
const endsOf = (chains: { core: number; lastLsn: number }[]): Ends =>
  new Map(chains.flatMap(({ core, lastLsn }) => (lastLsn === 0 ? [] : [[core, lastLsn]])));
const textOf = (ends: Ends): string => [...ends].map(([chain, lsn]) => (chain === 0 ? `${lsn}` : `${lsn} of core ${chain}`)).join(", ");

/** By FORMAT.md alone. */
function answerOf({ answer, chains, complete }: ReadLog): Answer {
  const ends = textOf(endsOf(chains.map(({ chain, lastLsn }) => ({ core: chain, lastLsn }))));
  return { ends, epoch: Math.max(0, ...chains.map(({ epoch }) => epoch)), complete, clean: answer === "clean" };
}

export class Judge {
  private readonly good: ReadLog;
  private readonly answer: Answer;
  private readonly chainOf: ReadonlyMap<ReadEntry, number>;
  /** Of closed logs: a new one for each case would cost more than everything else. */
  private core: Core | undefined;

  constructor(readonly files: Files) {
    this.good = readLog(files);
    this.answer = answerOf(this.good);
    this.chainOf = new Map(this.good.segments.flatMap(({ chain, entries }) => entries.map((entry) => [entry, chain])));
  }

  /** Some entries are covered by no promise yet. */
  get unproven(): boolean {
    return this.good.chains.some(({ promise, lastLsn }) => promise < lastLsn);
  }

  /** Throws a Violation if anything is lost or invented without a word. Returns what was said. */
  async judge(damage: DamageCase): Promise<string> {
    const files = damage.make();
    try {
      return await this.judgeFiles(files);
    } catch (error) {
      if (error instanceof Violation) throw new Violation(`${damage.what}: ${error.message}`);
      throw new Violation(`${damage.what}: unexpected ${codeOf(error) ?? ""} ${(error as Error).stack}`);
    }
  }

  private async judgeFiles(files: Files): Promise<string> {
    const fixed = new Fixed(files);
    const read = await this.open(files, () => fixed.readOnly());
    const report = await verifyLogOn(fixed.storage, DIRECTORY);
    if (fixed.storage.changes > 0) throw new Violation("reading or verifying changed something");
    if (report.ok && (read.outcome === OPEN_ERROR || read.outcome === READ_ERROR))
      throw new Violation(`${read.outcome}, but verify says that all is well`);
    const ends = textOf(endsOf(report.cores));
    if (report.ok && (ends !== read.ends || report.clean !== read.clean))
      throw new Violation(`verify says ${ends}, clean ${report.clean}; opening says ${read.ends}, clean ${read.clean}`);
    const written = await this.open(files, async () => {
      const { core } = this;
      const log = (await openLogWith(DIRECTORY, SMALL, { ...fixed.environment(), ...(core === undefined ? {} : { core }) })) as FixedLog;
      this.core = insidesOf(log).core;
      return log;
    });
    if (JSON.stringify(written) !== JSON.stringify(read))
      throw new Violation(`opened for reading: ${JSON.stringify(read)}, for writing: ${JSON.stringify(written)}`);
    return read.outcome;
  }

  private async open(files: Files, open: () => Promise<Log>): Promise<Answer & { outcome: string }> {
    let log: Log;
    try {
      log = await open();
    } catch (error) {
      return { outcome: this.loud(error, OPEN_ERROR), ...ERROR };
    }
    const ends = endsOf(log.recovery.cores);
    const answer = answerIn(log.recovery, textOf(ends), ABANDON in log);
    let at = 0;
    try {
      try {
        for await (const batch of log.readBatches({ internal: true })) for (const entry of batch) at = this.compare(entry, at, ends);
      } catch (error) {
        return { outcome: this.loud(error, READ_ERROR), ...answer };
      }
    } finally {
      if (ABANDON in log) (log as FixedLog)[ABANDON]();
      else await log.close();
    }
    for (const { chain, lastLsn } of this.good.chains)
      if ((ends.get(chain) ?? 0) > lastLsn) throw new Violation(`ends at LSN ${answer.ends} instead of ${this.answer.ends}`);
    while (this.isCut(at, ends)) at++;
    if (at < this.good.entries.length)
      throw new Violation(`ends at LSN ${answer.ends}, but gives ${at} of ${this.good.entries.length} entries`);
    return { outcome: this.outcome(files, ends, answer), ...answer };
  }

  private outcome(files: Files, ends: Ends, answer: Answer): string {
    const { good } = this;
    if (answer.complete > good.complete) throw new Violation(`calls epoch ${answer.complete - 1} complete, ${good.complete - 1} was`);
    const whole = answer.ends === this.answer.ends;
    const epochs = answer.epoch === this.answer.epoch && answer.complete === good.complete;
    if (whole && epochs) return SAME;
    if (answer.clean)
      throw new Violation(
        whole
          ? `is in epoch ${answer.epoch}, ${answer.complete - 1} complete, instead of ${this.answer.epoch} and ${good.complete - 1}, and calls that clean`
          : `ends at LSN ${answer.ends} instead of ${this.answer.ends} and calls that clean`,
      );
    const promised = good.chains.every(({ chain, promise }) => (ends.get(chain) ?? 0) >= promise);
    if (promised && epochs) return TORN;
    // A promise must have gone with the entries: whoever looks by FORMAT.md alone must not find it either.
    const read = readLog(files);
    if (read.answer !== "torn" || JSON.stringify(answerOf(read)) !== JSON.stringify(answer))
      throw new Violation(
        `ends at LSN ${answer.ends}, below a promise; by FORMAT.md it is ${read.answer} and ends at ${answerOf(read).ends}, epoch ${answerOf(read).epoch}`,
      );
    return whole ? SAME : promised ? TORN : CRASH;
  }

  private loud(error: unknown, outcome: string): string {
    if (error instanceof Violation || !LOUD.includes(codeOf(error) ?? "")) throw error;
    return outcome;
  }

  /** Is this entry cut off? An epoch's beginning behind the last LSN may be shown or not. */
  private isCut(at: number, ends: Ends): boolean {
    const entry = this.good.entries[at];
    return entry !== undefined && entry.lsn > (ends.get(this.chainOf.get(entry)!) ?? 0);
  }

  /** Gives the place of the entry that comes next. */
  private compare(entry: Entry, from: number, ends: Ends): number {
    let at = from;
    while (!isSame(entry, this.good.entries[at]) && this.isCut(at, ends)) at++;
    if (!isSame(entry, this.good.entries[at]))
      throw new Violation(`gives ${entry.kind} LSN ${entry.lsn} as entry ${at + 1}, which was never written there`);
    return at + 1;
  }
}

/** `written`: it was opened for writing, and a per-core log then goes on in the next epoch. */
function answerIn({ topology, epoch, completeEpoch, clean }: RecoveryReport, ends: string, written: boolean): Answer {
  return { ends, epoch: epoch - Number(written && topology === "per-core"), complete: completeEpoch + 1, clean };
}

function isSame(entry: Entry, good: ReadEntry | undefined): boolean {
  return (
    good !== undefined &&
    entry.lsn === good.lsn &&
    entry.term === good.term &&
    entry.epoch === good.epoch &&
    entry.core === good.stripe &&
    entry.kind === good.kind &&
    entry.timestampMs === Number(good.timeNs) / 1e6 &&
    Buffer.compare(entry.key ?? new Uint8Array(0), good.key) === 0 &&
    Buffer.compare(entry.value, good.value) === 0
  );
}
