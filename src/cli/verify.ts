// `corewal verify`: reads every byte of a log, changes nothing, and names each fault with file, offset and LSN.

import { verifyLog, type VerifyReport } from "../verify.js";
import { parse, type Command } from "./command.js";
import { coreOf, counted, entriesOf, harmless, paintFor, rangeOf, size } from "./format.js";
import { print } from "./output.js";

const help = `Usage: corewal verify DIR [--json]

Reads every byte of a log and checks it; changes nothing. While another process writes, the log is judged up to
what that process has promised to be durable. A torn tail, the rest of a write that was interrupted and that nobody
was told of, is reported and is no fault.

  --json   print the report as JSON

Exit code 0 if the log is sound, 1 if not, 2 if there is no log.
`;

async function run(argv: string[]): Promise<number> {
  const parsed = parse(argv, { json: { type: "boolean" } }, ["DIR"]);
  const report = await verifyLog(parsed.args[0]!);
  // Before anything is printed: the answer stands also when nobody reads the words.
  process.exitCode = report.ok ? 0 : 1;
  print(parsed.flags.json ? `${JSON.stringify(report)}\n` : inWords(report));
  return report.ok ? 0 : 1;
}

function inWords(r: VerifyReport): string {
  const paint = paintFor(process.stdout);
  const range = r.lastLsn >= r.firstLsn ? `, LSN ${r.firstLsn} to ${r.lastLsn}` : "";
  // Its chains are numbered by cores; a striped log has one chain, and faults of others are named by their files.
  const perCore = r.cores.some(({ core }) => core > 0);
  const lines = [
    `${r.ok ? paint.green("sound") : paint.red("damaged")}  ${entriesOf(r.entries)}${range} in ${counted(r.frames, "frame")}, ${counted(r.segments, "segment")}, ${size(r.bytes)}`,
  ];
  if (r.live) lines.push("in use: judged up to what its writer has promised");
  else if (!r.clean) lines.push("not closed properly: the next open recovers it");
  for (const { torn } of r.cores)
    if (torn) lines.push(`torn tail: ${size(torn.bytes)} at offset ${torn.offset} of ${harmless(torn.file)}, never acknowledged`);
  for (const range of r.lost) lines.push(`lost in an earlier repair: ${coreOf(range.core)}${rangeOf(range)}`);
  for (const f of r.faults) {
    lines.push(
      `${paint.red(f.kind)}  ${perCore ? coreOf(f.core) : ""}${harmless(f.file)}  offset ${f.offset}  LSN ${f.lsn}  ${harmless(f.message)}`,
    );
  }
  if (r.faults.length > 0 && !r.live) lines.push("what would be lost: corewal repair DIR --policy skip --dry-run, which changes nothing");
  return `${lines.join("\n")}\n`;
}

export const command: Command = { help, run };
