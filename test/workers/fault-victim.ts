// Appends one thing after the other and says what was acknowledged, and how it ended; the system around it may fail.
// Begins where the log that it finds ends.

import { appendFileSync, writeSync } from "node:fs";
import { codeOf } from "../../src/errors.js";
import { openLog } from "../../src/index.js";
import { task } from "../support/script.js";

export interface FaultTask {
  directory: string;
  appends: number;
  /** After so many, writes a line to a file: how the disk below is told to fail. */
  tell?: { after: number; file: string; line: string };
}

/** Every third is a batch; so large that a segment holds a few only. */
export const valuesOf = (i: number): string[] =>
  Array.from({ length: i % 3 === 0 ? 3 : 1 }, (_, j) => `append ${i}.${j} ${"x".repeat((i * 311) % 1200)}`);

const say = (text: string): void => void writeSync(1, `${text}\n`);

async function run({ directory, appends, tell }: FaultTask): Promise<void> {
  const log = await openLog(directory, { segmentBytes: 16384, ringBytes: 8192 });
  try {
    let i = 1;
    for (let there = log.recovery.lastLsn; there > 0; i++) there -= valuesOf(i).length;
    for (const end = i + appends; i < end; i++) {
      const { first, last } = await log.appendBatch(valuesOf(i));
      say(`ack ${i} ${first} ${last}`);
      if (i === tell?.after) appendFileSync(tell.file, tell.line);
    }
  } catch (error) {
    say(`append ${codeOf(error)}`);
    await log.append("later").catch((later: unknown) => say(`later ${codeOf(later)}`));
  }
  await log.close().then(
    () => say("closed"),
    (error: unknown) => say(`close ${codeOf(error)}`),
  );
}

if (process.argv[2]?.startsWith("{"))
  await run(task<FaultTask>()).catch((error: unknown) => {
    say(`open ${codeOf(error)}`);
  });
