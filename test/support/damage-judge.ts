// What corewal says of a damaged log, opened for reading, verified, and opened for writing, and whether it may say
// that: the same entries, a loud error, or a cut that is reported as one and hides nothing that is still promised.

import type { Core } from "../../src/core.js";
import { codeOf } from "../../src/errors.js";
import { ABANDON, openLogWith } from "../../src/log.js";
import type { Entry, Log } from "../../src/types.js";
import { verifyLogOn } from "../../src/verify.js";
import type { DamageCase } from "./damage-cases.js";
import { DIRECTORY, Fixed, SMALL, type FixedLog } from "./fixed-log.js";
import type { Files } from "./golden-cases.js";
import { insidesOf } from "./insides.js";
import { readLog, type ReadLog } from "./independent-reader.js";
import { Violation } from "./oracle.js";

const LOUD = ["COREWAL_CORRUPT", "COREWAL_UNKNOWN_VERSION"];

export const SAME = "the same entries";
export const OPEN_ERROR = "an error when opened";
export const READ_ERROR = "an error when read";
export const TORN = "a torn tail above every promise";
const CRASH = "a cut like a crash's: unclean, and the last LSN says so";

/** How one opening ended. */
interface Answer {
  outcome: string;
  lastLsn: number;
  clean: boolean;
}

/** Of closed logs: a new one for each case would cost more than everything else. */
let core: Core | undefined;

export class Judge {
  private readonly good: ReadLog;

  constructor(readonly files: Files) {
    this.good = readLog(files);
  }

  /** Some entries are covered by no promise yet. */
  get unproven(): boolean {
    return this.good.promise < this.good.lastLsn;
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
    if (report.ok && (report.lastLsn !== read.lastLsn || report.clean !== read.clean))
      throw new Violation(`verify says ${report.lastLsn}, clean ${report.clean}; opening says ${read.lastLsn}, clean ${read.clean}`);
    const written = await this.open(files, async () => {
      const log = (await openLogWith(DIRECTORY, SMALL, { ...fixed.environment(), ...(core === undefined ? {} : { core }) })) as FixedLog;
      core = insidesOf(log).core;
      return log;
    });
    if (written.outcome !== read.outcome || written.lastLsn !== read.lastLsn || written.clean !== read.clean)
      throw new Violation(`opened for reading: ${JSON.stringify(read)}, for writing: ${JSON.stringify(written)}`);
    return read.outcome;
  }

  private async open(files: Files, open: () => Promise<Log>): Promise<Answer> {
    let log: Log;
    try {
      log = await open();
    } catch (error) {
      return { outcome: this.loud(error, OPEN_ERROR), lastLsn: 0, clean: false };
    }
    const { lastLsn, clean } = log.recovery;
    let at = 0;
    try {
      try {
        for await (const batch of log.readBatches({ internal: true })) for (const entry of batch) this.compare(entry, at++);
      } catch (error) {
        return { outcome: this.loud(error, READ_ERROR), lastLsn, clean };
      }
    } finally {
      if (ABANDON in log) (log as FixedLog)[ABANDON]();
      else await log.close();
    }
    if (lastLsn > this.good.lastLsn) throw new Violation(`ends at LSN ${lastLsn} instead of ${this.good.lastLsn}`);
    const expected = this.good.entries.filter((e) => e.lsn <= lastLsn).length;
    if (at !== expected) throw new Violation(`ends at LSN ${lastLsn}, but gives ${at} entries instead of ${expected}`);
    return { outcome: this.outcome(files, lastLsn, clean), lastLsn, clean };
  }

  private outcome(files: Files, lastLsn: number, clean: boolean): string {
    if (lastLsn === this.good.lastLsn) return SAME;
    if (clean) throw new Violation(`ends at LSN ${lastLsn} instead of ${this.good.lastLsn} and calls that clean`);
    if (lastLsn >= this.good.promise) return TORN;
    // The promise must have gone with the entries: whoever looks by FORMAT.md alone must not find it either.
    const { answer, lastLsn: end } = readLog(files);
    if (answer !== "torn" || end !== lastLsn)
      throw new Violation(`ends at LSN ${lastLsn}, below a promise; by FORMAT.md it is ${answer} and ends at ${end}`);
    return CRASH;
  }

  private loud(error: unknown, outcome: string): string {
    if (error instanceof Violation || !LOUD.includes(codeOf(error) ?? "")) throw error;
    return outcome;
  }

  private compare(entry: Entry, at: number): void {
    const good = this.good.entries[at];
    if (
      good === undefined ||
      entry.lsn !== good.lsn ||
      entry.term !== good.term ||
      entry.epoch !== good.epoch ||
      entry.core !== good.stripe ||
      entry.kind !== good.kind ||
      entry.timestampMs !== Number(good.timeNs) / 1e6 ||
      Buffer.compare(entry.key ?? new Uint8Array(0), good.key) !== 0 ||
      Buffer.compare(entry.value, good.value) !== 0
    )
      throw new Violation(`gives ${entry.kind} LSN ${entry.lsn} as entry ${at + 1}, which was never written there`);
  }
}
