// How to read, as callers say it, and as it was checked.

import { mistake, outOfRange } from "./errors.js";
import type { ReadOptions } from "./types.js";

/** How to read one chain. */
export interface CheckedOptions {
  from: number;
  to: number;
  toEpoch: number;
  toTimeMs: number;
  follow: boolean;
  internal: boolean;
  signal: AbortSignal | undefined;
}

const KNOWN = ["from", "to", "toEpoch", "toTimeMs", "follow", "internal", "signal"];

export function checkOptions(o: ReadOptions): CheckedOptions {
  const common = checkCommon(o);
  return { from: lsnOption("from", o.from, 1) ?? 1, to: lsnOption("to", o.to, 1) ?? Infinity, ...common };
}

export function lsnOption(name: string, value: unknown, min: number): number | undefined {
  if (value === undefined) return undefined;
  if (typeof value !== "number") throw mistake("COREWAL_INVALID_OPTION", `option ${name} is an LSN, a number, not ${typeof value}`);
  if (value !== Infinity && (!Number.isInteger(value) || value < min))
    throw outOfRange("COREWAL_INVALID_OPTION", `option ${name} is ${value}: an LSN is a whole number from ${min} on`);
  return value;
}

/** What means the same for one chain and for all of them. */
export function checkCommon(o: ReadOptions): Omit<CheckedOptions, "from" | "to"> {
  if (typeof o !== "object" || o === null) throw mistake("COREWAL_INVALID_OPTION", `how to read is an object { ${KNOWN.join(", ")} }`);
  for (const name of Object.keys(o))
    if (!KNOWN.includes(name))
      throw mistake("COREWAL_INVALID_OPTION", `option ${name} of reading does not exist; there are ${KNOWN.join(", ")}`);
  const flag = (name: string, value: boolean | undefined): boolean => {
    if (value !== undefined && typeof value !== "boolean")
      throw mistake("COREWAL_INVALID_OPTION", `option ${name} is ${String(value)}: it must be true or false`);
    return value === true;
  };
  const { toEpoch = Infinity, toTimeMs = Infinity } = o;
  if (typeof toEpoch !== "number") throw mistake("COREWAL_INVALID_OPTION", `option toEpoch is a number, not ${typeof toEpoch}`);
  if (toEpoch !== Infinity && (!Number.isInteger(toEpoch) || toEpoch < 0))
    throw outOfRange("COREWAL_INVALID_OPTION", `option toEpoch is ${toEpoch}: an epoch is a whole number from 0 on`);
  if (typeof toTimeMs !== "number")
    throw mistake("COREWAL_INVALID_OPTION", `option toTimeMs is a number of milliseconds, not ${typeof toTimeMs}`);
  if (Number.isNaN(toTimeMs))
    throw outOfRange("COREWAL_INVALID_OPTION", "option toTimeMs is NaN: it must be a number of milliseconds since 1970");
  if (o.signal !== undefined && !(o.signal instanceof AbortSignal))
    throw mistake("COREWAL_INVALID_OPTION", "option signal must be an AbortSignal");
  return { toEpoch, toTimeMs, follow: flag("follow", o.follow), internal: flag("internal", o.internal), signal: o.signal };
}
