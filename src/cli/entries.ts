// How the commands print entries: for people, as JSON lines, or as the bytes that went in.

import { isUtf8 } from "node:buffer";
import { decodeCommit } from "../index.js";
import type { Entry, RecoveryReport } from "../types.js";
import { UsageError } from "./command.js";
import { harmless, size, time } from "./format.js";
import { complain, type Output } from "./output.js";

/** Their flags, and what --help says of them. */
export const formatFlags = { json: { type: "boolean" }, raw: { type: "boolean" } } as const;
export const formatHelp = `\
  --json          one object a line: {lsn, term, epoch, core, kind, timestampMs, encoding, key, value};
                  encoding is utf8 or base64 and says how value is written; a key that is not UTF-8 comes as base64
                  with keyEncoding
  --raw           each value as it is, and a newline: what "append" was given
`;

const NEWLINE = Uint8Array.of(10);
/** On a terminal a longer value is cut; in a file or a pipe it never is. */
const SHOWN_CHARACTERS = 160;

export type Printer = (output: Output, entry: Entry) => void;

/** The printer that --json and --raw ask for. */
export function printer({ json, raw }: { json?: boolean; raw?: boolean }): Printer {
  if (raw && json) throw new UsageError("--json and --raw exclude each other");
  return raw ? addRaw : json ? addJson : addHuman(process.stdout.isTTY === true);
}

export function warnOfTear({ torn }: RecoveryReport, command: string): void {
  if (torn !== undefined)
    complain(`torn tail: ${size(torn.bytes)} at offset ${torn.offset} of ${torn.file}, never acknowledged, left out`, command);
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

function addHuman(cut: boolean): Printer {
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
