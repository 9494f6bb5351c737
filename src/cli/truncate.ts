// `corewal truncate`: drops the beginning of a log, or cuts off its end.

import { directoryPath } from "../directory.js";
import { openLog } from "../index.js";
import { requireLog } from "../read-only.js";
import { nodeStorage } from "../storage/node.js";
import type { DropReport, RecoveryReport, Topology } from "../types.js";
import { lsnList, parse, UsageError, type Command } from "./command.js";
import { counted, size } from "./format.js";
import { print } from "./output.js";

const help = `Usage: corewal truncate DIR --before LSN[,LSN…] | --after LSN[,LSN…] [--json]

Drops the beginning of a log: segments in which nothing is from this LSN on. Never what a checkpoint needs to be replayed.
Or cuts off its end, exactly behind an LSN: checkpoints that hold something of what goes are removed, and those LSNs will be
given again, with a higher term. Either way what goes is deleted: copy it first, if you may want to restore from it. Nobody
may have the log open for writing.

  --before LSN   the first LSN to keep; of a per-core log one for each core: --before 1200,980
  --after LSN    the last LSN to keep, 0 for none; of a per-core log one for each core
  --json         print the report as JSON: {segments, bytes, cores}, after a cut {cut, cores}
`;

const flags = { before: { type: "string" }, after: { type: "string" }, json: { type: "boolean" } } as const;

async function run(argv: string[]): Promise<number> {
  const { flags: f, args } = parse(argv, flags, ["DIR"]);
  const before = lsnList("--before", f.before);
  const after = lsnList("--after", f.after);
  if ((before === undefined) === (after === undefined))
    throw new UsageError("give either --before, the first LSN to keep, or --after, the last one");
  // Opening would make a log where there is none.
  requireLog(nodeStorage, directoryPath(args[0]!));
  return before !== undefined ? dropBeginning(args[0]!, before, f.json === true) : cutEnd(args[0]!, after!, f.json === true);
}

/** As many LSNs as the topology wants. */
function requireVector(flag: string, lsns: number[], { topology, cores }: Pick<RecoveryReport, "topology" | "cores">): void {
  if (topology === "striped" && lsns.length > 1) throw new UsageError(`${flag} names several LSNs, but a striped log has one chain`);
  if (topology === "per-core" && lsns.length < 2 && cores.length > 1)
    throw new UsageError(`in a per-core log an LSN is one core's: give one for each core, ${flag} LSN,LSN…`);
}

async function cutEnd(directory: string, after: number[], json: boolean): Promise<number> {
  let log = await openLog(directory);
  try {
    const { topology, cores } = log.recovery;
    requireVector("--after", after, log.recovery);
    log = await log.truncateAfter(topology === "striped" ? after[0]! : after);
    const now = log.recovery.cores.map(({ core, lastLsn }) => ({ core, lastLsn }));
    const lsns = cores.reduce((sum, { core, lastLsn }) => sum + lastLsn - (now.find((n) => n.core === core)?.lastLsn ?? 0), 0);
    if (json) return print(`${JSON.stringify({ cut: lsns, cores: now })}\n`);
    const ends = now.map(({ core, lastLsn }) => `${topology === "per-core" ? `core ${core} ` : ""}LSN ${lastLsn}`).join(", ");
    return print(`${counted(lsns, "LSN")} cut off; the log ends with ${ends}\n`);
  } finally {
    await log.close();
  }
}

async function dropBeginning(directory: string, before: number[], json: boolean): Promise<number> {
  const log = await openLog(directory);
  let report: DropReport;
  const { topology } = log.recovery;
  try {
    requireVector("--before", before, log.recovery);
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
