// `corewal dump`: entries in LSN order.

import { openLog } from "../index.js";
import { parse, UsageError, wholeNumber, type Command } from "./command.js";
import { formatFlags, formatHelp, printer, warnOfTear } from "./entries.js";
import { Output } from "./output.js";
import { startProgress } from "./progress.js";

const help = `Usage: corewal dump DIR [--from LSN] [--to LSN] [--json | --raw]

Prints the entries of a log in LSN order. Changes nothing, also works while another process writes.

  --from LSN   begin with this one
  --to LSN     end with this one
${formatHelp}`;

const flags = {
  from: { type: "string" },
  to: { type: "string" },
  ...formatFlags,
} as const;

async function run(argv: string[]): Promise<number> {
  const parsed = parse(argv, flags, ["DIR"]);
  const from = wholeNumber("--from", parsed.flags.from);
  const to = wholeNumber("--to", parsed.flags.to);
  if (from !== undefined && to !== undefined && from > to) throw new UsageError(`--from ${from} is beyond --to ${to}`);
  const add = printer(parsed.flags);

  const log = await openLog(parsed.args[0]!, { readOnly: true });
  try {
    warnOfTear(log.recovery, "dump");
    const first = Math.max(from ?? 1, log.recovery.firstLsn);
    const total = Math.max(0, Math.min(to ?? Infinity, log.durableLsn) - first + 1);
    // A bar would be torn apart by entries on the same terminal.
    const progress = process.stdout.isTTY ? undefined : await startProgress("dump", total, "entries");
    const output = new Output();
    try {
      for await (const entries of log.readBatches({ from, to })) {
        for (const entry of entries) {
          add(output, entry);
          if (output.full) await output.flush();
        }
        const last = entries.at(-1);
        if (last !== undefined) progress?.update(last.lsn - first + 1);
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

export const command: Command = { help, run };
