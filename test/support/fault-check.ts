// What test/workers/fault-victim.ts leaves behind when the system around it has failed or killed it.

import * as assert from "uvu/assert";
import { openLog } from "../../src/index.js";
import { valuesOf } from "../workers/fault-victim.js";
import { texts } from "./expect.js";

/** What was acknowledged is there, then a prefix of the rest; batches are whole; the log works again. */
export async function checkAfter(directory: string, out: string): Promise<number> {
  // Closed also after a failure, or what it is on could not be unmounted.
  await using log = await openLog(directory, { segmentBytes: 16384, ringBytes: 8192 });
  const acknowledged = checkFound(await texts(log), out);
  await log.append("goes on");
  await log.close();
  return acknowledged;
}

/** Gives the number of appends that were acknowledged. `out` may be of several victims, one after the other. */
export function checkFound(found: string[], out: string): number {
  const acknowledged = Math.max(0, ...[...out.matchAll(/^ack (\d+) /gm)].map(([, append]) => Number(append)));
  const expected: string[] = [];
  for (let i = 1; expected.length < found.length || i <= acknowledged; i++) expected.push(...valuesOf(i));
  const label = (value: string): string => value.slice(0, value.lastIndexOf(" "));
  assert.equal(found.map(label), expected.map(label));
  assert.ok(
    found.every((value, i) => value === expected[i]),
    "each byte is as it was appended",
  );
  return acknowledged;
}
