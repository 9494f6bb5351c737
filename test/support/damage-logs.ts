// The logs whose every byte is damaged: several segments each, in each way that a log can have been left.

import { ABANDON, attachLog, PUMP } from "../../src/log.js";
import { appendEach, drive, Fixed, type FixedLog } from "./fixed-log.js";
import { name } from "./damaged-logs.js";
import { loseLsns, pattern, type Files } from "./golden-cases.js";

/** Two lives that close properly, then one that ends as it likes. */
async function thirdLife(end: (log: FixedLog, fixed: Fixed) => Promise<void> | void): Promise<Files> {
  const fixed = new Fixed();
  for (let life = 0; life < 2; life++) {
    const log = await fixed.open();
    await appendEach(fixed, log, [pattern(30, life), { kind: "put", key: `key ${life}`, value: pattern(9, life) }]);
    await log.close();
  }
  const log = await fixed.open();
  await drive(log, log.appendBatch([pattern(50, 5), { kind: "delete", key: "key 0" }, pattern(200, 6)]));
  await appendEach(fixed, log, [pattern(90, 7), pattern(700, 8)]);
  await end(log, fixed);
  return fixed.files;
}

const killed = (): Promise<Files> => thirdLife((log) => log[ABANDON]());

/** Holes in the middle and at the end, of a log that is closed and of one that is killed. */
async function holes(end: (log: FixedLog) => Promise<void> | void): Promise<Files> {
  const fixed = new Fixed();
  for (let life = 0; life < 2; life++) {
    const log = await fixed.open();
    await appendEach(fixed, log, [pattern(20, life)]);
    loseLsns(log, 3);
    await appendEach(fixed, log, [pattern(40, life + 4)]);
    loseLsns(log, 2);
    await (life === 0 ? log.close() : end(log));
  }
  return fixed.files;
}

/** Killed, opened, killed: the last frame was copied forward; then, if wanted, two more frames. */
async function copied(more: boolean): Promise<Files> {
  const fixed = new Fixed(await killed());
  const log = await fixed.open();
  if (more) await appendEach(fixed, log, [pattern(60, 11), pattern(400, 12)]);
  log[ABANDON]();
  return fixed.files;
}

/** A crash came between the name of the segment that goes on and the sealing of the one before. */
async function parentUnsealed(): Promise<Files> {
  const before = await killed();
  const files = await copied(false);
  return files.set(name(before.size), before.get(name(before.size))!);
}

/** Full segments: the first, large one is sealed since the next frame had no room in it; the second is killed. */
async function rotated(): Promise<Files> {
  const fixed = new Fixed();
  const log = await fixed.open();
  const large = Array.from({ length: 8 }, (_, i) => pattern(1900, i));
  await appendEach(fixed, log, [...large, pattern(150, 8), { kind: "put", key: "next", value: pattern(40, 9) }, pattern(200, 10)]);
  log[ABANDON]();
  if (fixed.files.size !== 2) throw new Error(`there are ${fixed.files.size} segments: it was to rotate once`);
  return fixed.files;
}

/** Two chains of three segments each. In the last life an epoch begins, which an empty frame promises, and one core goes on. */
async function cores(end: (log: FixedLog) => Promise<void> | void): Promise<Files> {
  const fixed = new Fixed();
  for (let life = 0; ; life++) {
    const log = await fixed.open({ topology: "per-core", stripes: 2 });
    const other = await attachLog(log.handle);
    await appendEach(fixed, log, [pattern(30, life)]);
    await appendEach(fixed, log, [{ kind: "put", key: `key ${life}`, value: pattern(9, life) }], other);
    if (life < 2) {
      await log.close();
      continue;
    }
    await log.advanceEpoch();
    fixed.nowMs += 1000;
    log[PUMP]();
    await drive(log, log.appendBatch([pattern(50, 5), { kind: "delete", key: "key 0" }]));
    await end(log);
    return fixed.files;
  }
}

/** Of cores. */
export const CORE_LOGS: [what: string, make: () => Promise<Files>][] = [
  ["per core, closed", () => cores((log) => log.close())],
  ["per core, killed", () => cores((log) => log[ABANDON]())],
];

export const LOGS: [what: string, make: () => Promise<Files>][] = [
  ["closed", () => thirdLife((log) => log.close())],
  ["killed", killed],
  [
    "killed while idle",
    () =>
      thirdLife((log) => {
        log[PUMP]();
        log[ABANDON]();
      }),
  ],
  ["copied forward", () => copied(false)],
  ["copied forward, then appended to", () => copied(true)],
  ["copied forward, its parent not yet sealed", parentUnsealed],
  ["rotated, then killed", rotated],
  ["closed with holes", () => holes((log) => log.close())],
  ["killed with holes", () => holes((log) => log[ABANDON]())],
];
