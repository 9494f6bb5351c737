// `corewal repair`: what a damaged log is worth, said before and after.

import { repairLog, type RepairReport } from "../repair.js";
import { oneOf, parse, UsageError, type Command } from "./command.js";
import { coreOf, counted, entriesOf, harmless, paintFor, rangeOf } from "./format.js";
import { print } from "./output.js";

const help = `Usage: corewal repair DIR --policy truncate|skip [--dry-run] [--json]

Makes a damaged log open again, and says what is lost. Nobody may have it open for writing. Nothing is deleted: files that
are no longer part of the log, and a copy of the one that is cut, stay in DIR as *.wal.removed-N. A log without faults is
left as it is.

  --policy truncate   the log ends before the first fault; everything behind is lost; in a per-core log each damaged chain,
                      while the others stay as they are
  --policy skip       only what cannot be read is lost, whatever is whole behind it stays
  --dry-run           only say what would be lost, change nothing
  --json              print the report as JSON

Make a copy of DIR first if you can. Exit code 0 if the log is sound now, or would be, 1 if the repair failed.
`;

const flags = {
  policy: { type: "string" },
  "dry-run": { type: "boolean" },
  json: { type: "boolean" },
} as const;

async function run(argv: string[]): Promise<number> {
  const parsed = parse(argv, flags, ["DIR"]);
  const policy = oneOf("--policy", parsed.flags.policy, ["truncate", "skip"]);
  if (policy === undefined)
    throw new UsageError("--policy is missing: truncate ends the log before the first fault, skip leaves out what cannot be read");
  const report = await repairLog(parsed.args[0]!, { policy, dryRun: parsed.flags["dry-run"] === true });
  return print(parsed.flags.json ? `${JSON.stringify(report)}\n` : inWords(report));
}

function inWords(r: RepairReport): string {
  const paint = paintFor(process.stdout);
  const would = r.dryRun ? "would be " : "";
  const perCore = r.cores.some(({ core }) => core > 0);
  const lines = r.damaged
    ? [r.dryRun ? paint.yellow("damaged, nothing was changed") : paint.green("repaired")]
    : [paint.green("sound: nothing to repair")];
  for (const f of r.faults)
    lines.push(`fault  ${perCore ? coreOf(f.core) : ""}${harmless(f.file)}  offset ${f.offset}  ${harmless(f.message)}`);
  for (const range of r.lost) lines.push(`${would}lost  ${coreOf(range.core)}${rangeOf(range)}`);
  if (r.damaged && r.lost.length === 0) lines.push("no entry is lost");
  if (r.saved > 0) lines.push(`${entriesOf(r.saved)} behind the first fault ${r.dryRun ? "would stay" : "stay"}`);
  for (const { from, to } of r.removed) lines.push(`${would}kept  ${harmless(from)} as ${harmless(to)}`);
  const ends = perCore ? r.cores.map(({ core, lastLsn }) => `core ${core} at LSN ${lastLsn}`).join(", ") : `at LSN ${r.lastLsn}`;
  lines.push(
    `${r.dryRun ? "the log would end" : "the log ends"} ${ends}${r.faults.length > 1 ? `, after ${counted(r.faults.length, "fault")}` : ""}`,
  );
  return `${lines.join("\n")}\n`;
}

export const command: Command = { help, run };
