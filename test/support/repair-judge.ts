// Repairs a damaged log in both ways, and checks each promise that a repair makes: what it says it would do is what it
// does, every entry is there as it was or is named as lost, nothing is deleted, and the log is a good one afterwards.

import { codeOf } from "../../src/errors.js";
import { ABANDON } from "../../src/log.js";
import type { RepairPolicy, RepairReport } from "../../src/rebuild.js";
import { repairLogOn } from "../../src/repair.js";
import type { LostRange } from "../../src/types.js";
import { verifyLogOn } from "../../src/verify.js";
import { appendEach, DIRECTORY, Fixed } from "./fixed-log.js";
import type { Files } from "./golden-cases.js";
import { readLog, type ReadEntry, type ReadLog } from "./independent-reader.js";
import { Violation } from "./oracle.js";

const REFUSED = "refused";
const SOUND = "nothing to repair";

export interface Repaired {
  outcome: string;
  /** User entries that are gone. */
  lost: number;
  report: RepairReport | undefined;
}

const repair = (fixed: Fixed, policy: RepairPolicy, dryRun: boolean): Promise<RepairReport> =>
  repairLogOn(DIRECTORY, { policy, dryRun }, fixed.environment());

const isIn = (lsn: number, ranges: LostRange[]): boolean => ranges.some(({ first, last }) => lsn >= first && lsn <= (last ?? Infinity));
const show = (e: ReadEntry): string =>
  JSON.stringify([e.lsn, e.term, e.kind, Buffer.from(e.key).toString("hex"), Buffer.from(e.value).toString("hex")]);

/** Throws a Violation if a promise is broken. `good` is the log before the damage. */
export async function judgeRepair(good: ReadLog, files: Files, policy: RepairPolicy): Promise<Repaired> {
  const fixed = new Fixed(files);
  const must = (fine: boolean, what: string): void => {
    if (!fine) throw new Violation(`repair --policy ${policy}: ${what}`);
  };
  const before = await verifyLogOn(fixed.storage, DIRECTORY);
  let dry: RepairReport;
  try {
    dry = await repair(fixed, policy, true);
  } catch (error) {
    must(codeOf(error) === "COREWAL_UNKNOWN_VERSION", `failed with ${codeOf(error)} ${(error as Error).stack}`);
    must(fixed.storage.changes === 0, "refused, but changed something");
    return { outcome: REFUSED, lost: 0, report: undefined };
  }
  must(fixed.storage.changes === 0, "a dry run changed something");
  must(dry.damaged === !before.ok, `says damaged: ${dry.damaged}, verify ${JSON.stringify(before.faults)}`);
  const report = await repair(fixed, policy, false);
  must(
    JSON.stringify({ ...report, dryRun: true }) === JSON.stringify(dry),
    `did ${JSON.stringify(report)}, would do ${JSON.stringify(dry)}`,
  );
  if (!report.damaged) return { outcome: SOUND, lost: 0, report };

  const after = await verifyLogOn(fixed.storage, DIRECTORY);
  must(after.ok && after.clean, `left ${JSON.stringify(after.faults)}, clean ${after.clean}`);
  const independent = readLog(fixed.files);
  must(independent.answer === "clean", `by FORMAT.md it is ${independent.answer}: ${JSON.stringify(independent.bad)}`);
  must(independent.lastLsn === report.lastLsn, `ends at ${independent.lastLsn}, not ${report.lastLsn}`);
  const there = new Map(independent.entries.filter((e) => e.kind !== "lost").map((e) => [e.lsn, show(e)]));
  let lost = 0;
  for (const entry of good.entries) {
    const kept = there.get(entry.lsn) === show(entry);
    if (kept) there.delete(entry.lsn);
    else if (isIn(entry.lsn, report.lost)) lost += entry.kind === "void" ? 0 : 1;
    else must(entry.lsn > good.promise && !kept, `LSN ${entry.lsn} is neither there nor named as lost: ${JSON.stringify(report)}`);
  }
  for (const [lsn, entry] of there)
    must(entry.includes('"void"') && isIn(lsn, report.lost), `LSN ${lsn} is ${entry}, which was never written`);
  if (policy === "truncate")
    must(report.lost.filter(({ last }) => last !== undefined).length <= 1 && report.saved === 0, "kept something behind the first fault");
  must(JSON.stringify(after.lost) === JSON.stringify(report.lost), `verify says that ${JSON.stringify(after.lost)} are lost`);
  keepsBytes(files, fixed.files, must);

  // It goes on: with the next LSN, in a term that no lost entry has had.
  const log = await fixed.open();
  const [lsn] = await appendEach(fixed, log, ["after the repair"]);
  must(lsn === report.lastLsn + 1, `goes on with LSN ${lsn}`);
  must(log.recovery.term > Math.max(...good.entries.map((e) => e.term)), `goes on in term ${log.recovery.term}`);
  log[ABANDON]();
  await (await fixed.open()).close();
  must((await verifyLogOn(fixed.storage, DIRECTORY)).ok, "is damaged again after one more life");
  must(!(await repair(fixed, policy, false)).damaged, "a second repair finds damage");
  return { outcome: lost === 0 ? "no entry lost" : "entries lost, and named", lost, report };
}

/** Of each file all bytes are somewhere: but for a footer that says something else now. */
export function keepsBytes(before: Files, after: Files, must: (fine: boolean, what: string) => void): void {
  for (const [name, bytes] of before) {
    const same = [...after].some(
      ([other, b]) => (other === name || other.startsWith(`${name}.removed-`)) && Buffer.compare(b, bytes) === 0,
    );
    const now = after.get(name);
    const frames = now === undefined ? 0 : Math.min(now.length - 256, bytes.length);
    must(
      same || (now !== undefined && endsWithFooter(bytes) && Buffer.compare(now.subarray(0, frames), bytes.subarray(0, frames)) === 0),
      `bytes of ${name} are gone`,
    );
  }
}

const endsWithFooter = (bytes: Uint8Array): boolean => Buffer.from(bytes.subarray(-256, -248)).toString() === "CWFOOTER";
