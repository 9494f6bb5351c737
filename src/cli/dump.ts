// `corewal dump`: entries in LSN order, for people, as JSON lines, or as the bytes that went in.

import { isUtf8 } from "node:buffer";
import { decodeCommit, openLog } from "../index.js";
import type { Entry, RecoveryReport } from "../types.js";
import { parse, UsageError, wholeNumber, type Command } from "./command.js";
import { harmless, size, time } from "./format.js";
import { complain, Output } from "./output.js";
import { startProgress } from "./progress.js";

const help = `Usage: corewal dump DIR [--from LSN] [--to LSN] [--json | --raw]

Prints the entries of a log in LSN order. Changes nothing, also works while another process writes.

  --from LSN   begin with this one
  --to LSN     end with this one
  --json       one object a line: {lsn, term, epoch, core, kind, timestampMs, encoding, key, value};
               encoding is utf8 or base64 and says how value is written; a key that is not UTF-8 comes as base64
               with keyEncoding
  --raw        each value as it is, and a newline: what "append" was given
`;

const flags = {
  from: { type: "string" },
  to: { type: "string" },
  json: { type: "boolean" },
  raw: { type: "boolean" },
} as const;

const NEWLINE = Uint8Array.of(10);
/** On a terminal a longer value is cut; in a file or a pipe it never is. */
const SHOWN_CHARACTERS = 160;

async function run(argv: string[]): Promise<number> {
  const parsed = parse(argv, flags, ["DIR"]);
  const from = wholeNumber("--from", parsed.flags.from);
  const to = wholeNumber("--to", parsed.flags.to);
  if (from !== undefined && to !== undefined && from > to) throw new UsageError(`--from ${from} is beyond --to ${to}`);
  if (parsed.flags.json && parsed.flags.raw) throw new UsageError("--json and --raw exclude each other");
  const add = parsed.flags.raw ? addRaw : parsed.flags.json ? addJson : addHuman(process.stdout.isTTY === true);

  const log = await openLog(parsed.args[0]!, { readOnly: true });
  try {
    warn(log.recovery);
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

function warn({ torn }: RecoveryReport): void {
  if (torn !== undefined)
    complain(`torn tail: ${size(torn.bytes)} at offset ${torn.offset} of ${torn.file}, never acknowledged, left out`, "dump");
}

function addRaw(output: Output, entry: Entry): void {
  output.add(entry.value);
  output.add(NEWLINE);
}

function addJson(output: Output, { lsn, term, epoch, core, kind, timestampMs, key, value }: Entry): void {
  const utf8 = isUtf8(value);
  const object: Record<string, unknown> = { lsn, term, epoch, core, kind, timestampMs, encoding: utf8 ? "utf8" : "base64" };
  if (key !== undefined) {
    const keyUtf8 = isUtf8(key);
    if (!keyUtf8) object["keyEncoding"] = "base64";
    object["key"] = textOf(key, keyUtf8);
  }
  object["value"] = textOf(value, utf8);
  output.addText(`${JSON.stringify(object)}\n`);
}

function textOf(bytes: Uint8Array, utf8: boolean): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString(utf8 ? "utf8" : "base64");
}

function addHuman(cut: boolean): (output: Output, entry: Entry) => void {
  const shown = (bytes: Uint8Array) => {
    const text = isUtf8(bytes) ? harmless(textOf(bytes, true)) : `0x${Buffer.from(bytes).toString("hex")}`;
    return cut && text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}… (${size(bytes.length)})` : text;
  };
  return (output, entry) => {
    const { lsn, kind, timestampMs, key, value } = entry;
    const parts = [String(lsn), time(timestampMs), kind];
    if (key !== undefined) parts.push(kind === "put" ? `${shown(key)} =` : shown(key));
    if (kind === "commit") parts.push(offsetsOf(entry));
    else if (kind !== "delete") parts.push(shown(value));
    output.addText(`${parts.join("  ")}\n`);
  };
}

function offsetsOf(entry: Entry): string {
  const { offsets, watermark } = decodeCommit(entry);
  const parts = Object.entries(offsets).map(([name, offset]) => `${harmless(name)}=${offset}`);
  if (watermark !== undefined) parts.push(`watermark ${watermark}`);
  return parts.join(" ");
}

export const command: Command = { help, run };
