// `corewal tail`: the last entries of a log, and with --follow what is appended from then on.

import { openLog } from "../index.js";
import type { Log } from "../types.js";
import { codeOf } from "../errors.js";
import { parse, UsageError, wholeNumber, type Command } from "./command.js";
import { formatFlags, formatHelp, printer, warnOfTear } from "./entries.js";
import { Output } from "./output.js";

const help = `Usage: corewal tail DIR [--follow] [--lines N | --from LSN] [--json | --raw]

Prints the last 10 entries of a log. Changes nothing, also works while another process writes.

  --follow     go on with what is appended, by whatever process, until Ctrl-C
  --lines N    the last N entries; 0 with --follow: only what is new
  --from LSN   everything from this one on, instead of the last entries
${formatHelp}`;

const flags = {
  follow: { type: "boolean" },
  lines: { type: "string" },
  from: { type: "string" },
  ...formatFlags,
} as const;

const LINES = 10;

async function run(argv: string[]): Promise<number> {
  const parsed = parse(argv, flags, ["DIR"]);
  const { follow } = parsed.flags;
  const lines = parsed.flags.lines === "0" ? 0 : wholeNumber("--lines", parsed.flags.lines);
  const from = wholeNumber("--from", parsed.flags.from);
  if (lines !== undefined && from !== undefined) throw new UsageError("--lines and --from exclude each other");
  const add = printer(parsed.flags);

  const interrupt = new AbortController();
  if (follow) process.once("SIGINT", () => interrupt.abort());
  const log = await openLog(parsed.args[0]!, { readOnly: true });
  const output = new Output();
  try {
    warnOfTear(log.recovery, "tail");
    const reading = { from: from ?? (await nthFromEnd(log, lines ?? LINES)), follow, signal: interrupt.signal };
    for await (const entries of log.readBatches(reading)) {
      for (const entry of entries) {
        add(output, entry);
        if (output.full) await output.flush();
      }
      // Whoever follows wants to see it now.
      if (follow) await output.flush();
    }
  } catch (error) {
    if (!interrupt.signal.aborted || codeOf(error) !== "COREWAL_ABORTED") throw error;
  } finally {
    // What was read before a fault is good: it comes out also when the reading ends with an error.
    await output.flush();
    await log.close();
  }
  return 0;
}

/** LSN of the nth entry from the end; holes make the range longer than n. */
async function nthFromEnd(log: Log, n: number): Promise<number> {
  const last = log.durableLsn;
  if (last < log.recovery.firstLsn) return last + 1;
  for (let span = n; span > 0; span *= 2) {
    const from = Math.max(log.recovery.firstLsn, last - span + 1);
    const lsns: number[] = [];
    for await (const entries of log.readBatches({ from, to: last })) for (const { lsn } of entries) lsns.push(lsn);
    if (lsns.length >= n) return lsns.at(-n)!;
    if (from === log.recovery.firstLsn) return from;
  }
  return last + 1;
}

export const command: Command = { help, run };
