// What the commands share: their shape, their arguments, and the mistake that ends with exit code 2.

import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";

export interface Context {
  /** The file that this process and its workers start from: import.meta.url of cli.ts. */
  entry: string;
}

export interface Command {
  /** What --help prints; the first line is the usage. */
  help: string;
  /** Does the work and gives the exit code. Throws UsageError for wrong use. */
  run(argv: string[], context: Context): Promise<number>;
}

/** Wrong use: exit code 2, with the usage line. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** Something went wrong that words explain better than a stack: exit code 1. */
export class Failure extends Error {
  override readonly name = "Failure";
}

type Flags = Record<string, { type: "string" | "boolean" }>;
type Values<F extends Flags> = { [Name in keyof F]?: F[Name]["type"] extends "string" ? string : boolean };

/** Flags and positional arguments; anything unknown, missing or too much is a UsageError. */
export function parse<F extends Flags>(
  argv: string[],
  flags: F,
  required: string[],
  optional: string[] = [],
): { flags: Values<F>; args: string[] } {
  let parsed: { values: object; positionals: string[] };
  try {
    parsed = parseArgs({ args: argv, options: flags, allowPositionals: true, strict: true });
  } catch (error) {
    // Node explains at length how to pass a value that starts with a dash; its first sentence names the flag.
    const text = (error as Error).message.split(/\. |\n/, 1)[0]!;
    const unknown = /^Unknown option '(-*)([^']*)'/.exec(text);
    if (unknown) throw new UsageError(`there is no flag ${unknown[1]}${unknown[2]}${suggest(unknown[2]!, Object.keys(flags), "--")}`);
    throw new UsageError(text.replace(/^Option /, "flag "));
  }
  const given = parsed.positionals;
  const missing = required[given.length];
  if (missing !== undefined) throw new UsageError(`${missing} is missing`);
  const extra = given[required.length + optional.length];
  if (extra !== undefined) throw new UsageError(`${JSON.stringify(extra)} is one argument too many`);
  if (given.includes("")) throw new UsageError(`${[...required, ...optional][given.indexOf("")]} is empty`);
  return { flags: parsed.values, args: given };
}

/** A flag's value as a positive whole number. */
export function wholeNumber(flag: string, text: string | undefined, max: number = Number.MAX_SAFE_INTEGER): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < 1 || value > max) {
    throw new UsageError(
      `${flag} is ${JSON.stringify(text)}: it must be a whole number from 1${max === Number.MAX_SAFE_INTEGER ? "" : ` to ${max}`}`,
    );
  }
  return value;
}

/** The same, 0 included. */
export function countFrom0(flag: string, text: string | undefined): number | undefined {
  return text === "0" ? 0 : wholeNumber(flag, text);
}

/** A flag's value as positions: one LSN, or one for each core. */
export function lsnList(flag: string, text: string | undefined): number[] | undefined {
  return text?.split(",").map((part) => countFrom0(flag, part)!);
}

/** A flag's value as a time, Unix time in milliseconds. */
export function timeOf(flag: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const ms = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Date.parse(text);
  if (Number.isNaN(ms)) throw new UsageError(`${flag} ${text}: a time is like 2026-01-31T12:00:00Z, or milliseconds since 1970`);
  return ms;
}

export function oneOf<T extends string>(flag: string, text: string | undefined, allowed: readonly T[]): T | undefined {
  if (text === undefined || allowed.includes(text as T)) return text as T | undefined;
  throw new UsageError(`${flag} is ${JSON.stringify(text)}: it must be ${allowed.join(", ").replace(/, ([^,]*)$/, " or $1")}`);
}

/** ", did you mean …?" for a name at most two edits away; otherwise nothing. */
export function suggest(name: string, known: string[], prefix = ""): string {
  const near = known.map((k) => ({ k, d: distance(name, k) })).sort((a, b) => a.d - b.d)[0];
  return near !== undefined && near.d <= 2 && near.d < near.k.length ? `, did you mean ${prefix}${near.k}?` : "";
}

/** Levenshtein's distance, one row at a time. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)));
    }
    row = next;
  }
  return row[b.length]!;
}

/** The version of the package that this file is part of, wherever the build has put it. */
export function ownVersion(entry: string): string {
  for (let dir = new URL(".", entry); ; dir = new URL("..", dir)) {
    try {
      const found = JSON.parse(readFileSync(new URL("package.json", dir), "utf8")) as { name?: string; version?: string };
      if (found.name === "corewal" && found.version !== undefined) return found.version;
    } catch {
      // none here: look one directory up
    }
    if (new URL("..", dir).href === dir.href) return "unknown";
  }
}
