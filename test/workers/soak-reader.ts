// A process beside those that the soak loads and kills: follows one log from its beginning through all of their lives,
// opens it for reading again and again, and says what it was shown.

import { codeOf } from "../../src/errors.js";
import { openLog, statLog, verifyLog, type Log } from "../../src/index.js";
import { Random } from "../support/random.js";
import { task } from "../support/script.js";
import { reportInto } from "../support/soak-load.js";
import { measure, type Sample } from "../support/soak-measure.js";
import { Digest, identify } from "../support/soak-records.js";

const { directory, report, seed } = task<{ directory: string; report: string; seed: number }>();
const say = reportInto(report);
const random = new Random(seed);
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

async function follow(log: Log): Promise<never> {
  const digest = new Digest();
  for await (const entries of log.readBatches({ follow: true, internal: true })) {
    for (const entry of entries) digest.add(entry);
    say(`f ${digest.lastLsn} ${digest.value}`);
  }
  throw new Error("following has ended");
}

/** One opening: some entries from somewhere to the end, one for itself. */
async function look(): Promise<void> {
  const log = await openLog(directory, { readOnly: true });
  const last = log.recovery.lastLsn;
  const digest = new Digest();
  // One from the middle of a hole is given the whole hole.
  let from = Math.max(last - random.below(2000), 1);
  for await (const entries of log.readBatches({ from, internal: true })) {
    if (digest.lastLsn === 0) digest.lastLsn = (from = entries[0]!.lsn) - 1;
    for (const entry of entries) digest.add(entry);
  }
  if (last > 0 && digest.lastLsn !== last) throw new Error(`reading ends at LSN ${digest.lastLsn}, the log at ${last}`);
  const one = last === 0 ? undefined : await log.get(random.between(1, last));
  if (one !== undefined) identify(one);
  await log.close();
  if (random.chance(0.2)) {
    const { ok, faults } = await verifyLog(directory);
    if (!ok) throw new Error(`verify finds ${JSON.stringify(faults)}`);
    await statLog(directory);
  }
}

try {
  let log: Log | undefined;
  while (log === undefined) {
    log = await openLog(directory, { readOnly: true }).catch((error: unknown) => {
      // Nobody has begun it yet.
      if (codeOf(error) !== "COREWAL_NOT_A_LOG") throw error;
      return undefined;
    });
    await pause(10);
  }
  const opened = log;
  const following = follow(opened);
  let before: Sample | undefined;
  for (let n = 1; ; n++) {
    await Promise.race([following, look()]);
    if (n % 4 === 0) {
      before = await measure(before, () => opened.stats());
      say(`q ${JSON.stringify(before)}`);
    }
    await pause(random.below(150));
  }
} catch (error) {
  say(`e reader: ${String((error as Error).stack).replaceAll("\n", " ")}`);
  process.exit(1);
}
