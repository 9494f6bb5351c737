// `corewal tail`: the last entries of a log, and with --follow what is appended from then on.

import { openLog } from "../index.js";
import type { Entry, Log } from "../types.js";
import { codeOf } from "../errors.js";
import { parse, UsageError, wholeNumber, type Command } from "./command.js";
import { formatFlags, formatHelp, printer, warnOfTear } from "./entries.js";
import { Output } from "./output.js";

const help = `Usage: corewal tail DIR [--follow] [--lines N | --from LSN] [--json | --raw]

Prints the last 10 entries of a log, of a per-core log merged. Changes nothing, also works while another process writes.

  --follow        go on with what is appended, by whatever process, until Ctrl-C; each core's entries as they become durable
  --lines N       the last N entries; 0 with --follow: only what is new
  --from LSN      everything from this one on, instead of the last entries; not of a per-core log
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
    const show = async (source: AsyncIterable<Entry[]>): Promise<void> => {
      for await (const entries of source) {
        for (const entry of entries) {
          add(output, entry);
          if (output.full) await output.flush();
        }
        // Whoever follows wants to see it now.
        if (follow) await output.flush();
      }
    };
    const { signal } = interrupt;
    if (log.recovery.topology === "striped") {
      await show(log.readBatches({ from: from ?? (await nthFromEnd(log, lines ?? LINES)), follow, signal }));
    } else {
      if (from !== undefined) throw new UsageError("--from: in a per-core log an LSN is one core's; use --lines, or dump --core N --from");
      // The last of them all are among the last of each core.
      const before = log.durablePositions();
      const last = await lastOf(
        log.readBatches({ from: await Promise.all(before.map((_, core) => nthFromEnd(log, lines ?? LINES, core))), to: before }),
        lines ?? LINES,
      );
      await show(oneBatch(last));
      if (follow)
        await Promise.all(
          log.recovery.cores.map(({ core }) => show(log.core(core).readBatches({ from: before[core]! + 1, follow, signal }))),
        );
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

/** LSN of the nth entry from the end of a chain; holes make the range longer than n. */
async function nthFromEnd(log: Log, n: number, core = 0): Promise<number> {
  const found = log.recovery.cores.find((c) => c.core === core);
  if (found === undefined) return 1;
  const chain = log.core(core);
  const { firstLsn } = found;
  const last = chain.durableLsn;
  if (last < firstLsn) return last + 1;
  for (let span = n; span > 0; span *= 2) {
    const from = Math.max(firstLsn, last - span + 1);
    const lsns: number[] = [];
    for await (const entries of chain.readBatches({ from, to: last })) for (const { lsn } of entries) lsns.push(lsn);
    if (lsns.length >= n) return lsns.at(-n)!;
    if (from === firstLsn) return from;
  }
  return last + 1;
}

async function lastOf(source: AsyncIterable<Entry[]>, n: number): Promise<Entry[]> {
  const all: Entry[] = [];
  for await (const entries of source) all.push(...entries);
  return n === 0 ? [] : all.slice(-n);
}

async function* oneBatch(entries: Entry[]): AsyncGenerator<Entry[]> {
  yield entries;
}

export const command: Command = { help, run };
