// `corewal dump`: entries in the log's order: by LSN, or in a per-core log by epoch, time, core and LSN.

import { directoryPath } from "../directory.js";
import { decodeEntries } from "../entry.js";
import { openLog } from "../index.js";
import { nodeStorage } from "../storage/node.js";
import type { Entry } from "../types.js";
import { inspect } from "../verify.js";
import { countFrom0, parse, timeOf, UsageError, wholeNumber, type Command } from "./command.js";
import { formatFlags, formatHelp, printer, warnOfTear, type Printer } from "./entries.js";
import { harmless, rangeOf } from "./format.js";
import { complain, Output } from "./output.js";
import { startProgress } from "./progress.js";

const help = `Usage: corewal dump DIR [--core N] [--from LSN] [--to LSN] [--to-epoch E] [--to-time T] [--json | --raw] [--past-damage]

Prints the entries of a log in LSN order, those of a per-core log merged: by epoch, time, core and LSN. Changes nothing,
also works while another process writes.

  --core N        of a per-core log this core's entries only, in LSN order
  --from LSN      begin with this one; of a per-core log with --core only, whose LSN it is
  --to LSN        end with this one; likewise
  --to-epoch E    end with this epoch
  --to-time T     end with what was written at this time: 2026-01-31T12:00:00.5Z, or milliseconds since 1970
  --past-damage   go on behind damage: print every entry that is whole, and say on stderr which are lost
${formatHelp}
Exit code 1 if something is damaged, also with --past-damage.
`;

const flags = {
  core: { type: "string" },
  from: { type: "string" },
  to: { type: "string" },
  "to-epoch": { type: "string" },
  "to-time": { type: "string" },
  "past-damage": { type: "boolean" },
  ...formatFlags,
} as const;

async function run(argv: string[]): Promise<number> {
  const parsed = parse(argv, flags, ["DIR"]);
  const from = wholeNumber("--from", parsed.flags.from);
  const to = wholeNumber("--to", parsed.flags.to);
  if (from !== undefined && to !== undefined && from > to) throw new UsageError(`--from ${from} is beyond --to ${to}`);
  const add = printer(parsed.flags);
  const core = countFrom0("--core", parsed.flags.core);
  const toEpoch = countFrom0("--to-epoch", parsed.flags["to-epoch"]);
  const toTimeMs = timeOf("--to-time", parsed.flags["to-time"]);
  if (parsed.flags["past-damage"] && (core ?? toEpoch ?? toTimeMs) !== undefined)
    throw new UsageError("--past-damage goes through all files: it cannot be limited by --core, --to-epoch or --to-time");
  if (parsed.flags["past-damage"]) return pastDamage(parsed.args[0]!, from ?? 1, to ?? Infinity, add);

  const log = await openLog(parsed.args[0]!, { readOnly: true });
  try {
    warnOfTear(log.recovery, "dump");
    const perCore = log.recovery.topology === "per-core";
    if (perCore && core === undefined && (from ?? to) !== undefined)
      throw new UsageError("in a per-core log an LSN is one core's: give --core N with --from and --to");
    const cores = log.recovery.cores.filter((c) => core === undefined || c.core === core);
    if (core !== undefined && cores.length === 0) throw new UsageError(`there is no core ${core} in this log`);
    const total = cores.reduce((sum, c) => sum + Math.max(0, Math.min(to ?? Infinity, c.lastLsn) - Math.max(from ?? 1, c.firstLsn) + 1), 0);
    let count = 0;
    const limits = { ...(toEpoch === undefined ? {} : { toEpoch }), ...(toTimeMs === undefined ? {} : { toTimeMs }) };
    // A bar would be torn apart by entries on the same terminal.
    const progress = process.stdout.isTTY ? undefined : await startProgress("dump", total, "entries");
    const output = new Output();
    try {
      for await (const entries of core === undefined
        ? log.readBatches({ from, to, ...limits })
        : log.core(core).readBatches({ from, to, ...limits })) {
        for (const entry of entries) {
          add(output, entry);
          if (output.full) await output.flush();
        }
        progress?.update((count += entries.length));
      }
    } finally {
      progress?.stop();
      // What was read before a fault is good: it comes out also when the reading ends with an error.
      await output.flush();
    }
  } finally {
    await log.close();
  }
  return 0;
}

async function pastDamage(directory: string, from: number, to: number, add: Printer): Promise<number> {
  const { salvage } = inspect(nodeStorage, directoryPath(directory));
  const output = new Output();
  let damaged = false;
  for (const { finding } of salvage.findings()) {
    if (finding.is === "fault") {
      damaged = true;
      const { file, offset, message } = finding.fault;
      complain(`${harmless(message)}, offset ${offset} of ${harmless(file)}`, "dump");
    } else if (finding.is === "lost") {
      complain(`${rangeOf(finding)} lost`, "dump");
    } else {
      const entries: Entry[] = [];
      const { core, at, header } =
        finding.is === "frame" ? { core: finding.scanner.window, at: finding.frame.at, header: finding.frame.header } : finding.entries;
      decodeEntries(core, at, header, from, to, false, entries, salvage.found.topology === "per-core");
      for (const entry of entries) add(output, entry);
      if (output.full) await output.flush();
    }
  }
  await output.flush();
  return damaged ? 1 : 0;
}

export const command: Command = { help, run };
