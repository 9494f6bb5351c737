// `corewal truncate`: drops the beginning of a log.

import { directoryPath } from "../directory.js";
import { openLog } from "../index.js";
import { requireLog } from "../read-only.js";
import { nodeStorage } from "../storage/node.js";
import type { DropReport, Topology } from "../types.js";
import { lsnList, parse, UsageError, type Command } from "./command.js";
import { counted, size } from "./format.js";
import { print } from "./output.js";

const help = `Usage: corewal truncate DIR --before LSN[,LSN…] [--json]

Drops the beginning of a log: segments in which nothing is from this LSN on. Never what a checkpoint needs to be replayed.
What is dropped is deleted: copy it first, if you may want to restore from it. Nobody may have the log open for writing.

  --before LSN   the first LSN to keep; of a per-core log one for each core: --before 1200,980
  --json         print the report as JSON
`;

const flags = { before: { type: "string" }, json: { type: "boolean" } } as const;

async function run(argv: string[]): Promise<number> {
  const { flags: f, args } = parse(argv, flags, ["DIR"]);
  const before = lsnList("--before", f.before);
  if (before === undefined) throw new UsageError("--before is missing: the first LSN to keep");
  return dropBeginning(args[0]!, before, f.json === true);
}

async function dropBeginning(directory: string, before: number[], json: boolean): Promise<number> {
  // Opening would make a log where there is none.
  requireLog(nodeStorage, directoryPath(directory));
  const log = await openLog(directory);
  let report: DropReport;
  const { topology } = log.recovery;
  try {
    if (topology === "striped" && before.length > 1) throw new UsageError("--before names several LSNs, but a striped log has one chain");
    if (topology === "per-core" && before.length < 2 && log.recovery.cores.length > 1)
      throw new UsageError("in a per-core log an LSN is one core's: give one for each core, --before LSN,LSN…");
    // In a vector 1 drops nothing, as 0 does, which is what one writes for a core that has none.
    report = await log.truncateBefore(topology === "striped" ? before[0]! : before.map((lsn) => Math.max(1, lsn)));
  } finally {
    await log.close();
  }
  return print(json ? `${JSON.stringify(report)}\n` : inWords(report, topology));
}

function inWords({ segments, bytes, cores }: DropReport, topology: Topology): string {
  const begins = cores.map(({ core, firstLsn }) => `${topology === "per-core" ? `core ${core} ` : ""}LSN ${firstLsn}`).join(", ");
  const what = segments === 0 ? "nothing dropped: no whole segment could go" : `${counted(segments, "segment")} dropped, ${size(bytes)}`;
  return `${what}; the log begins with ${begins}\n`;
}

export const command: Command = { help, run };
