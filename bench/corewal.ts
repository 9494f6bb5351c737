// corewal as a contender of the benches.

import { openLog, type LogOptions } from "../src/index.js";
import type { Log } from "../src/types.js";
import { inFlight, oneByOne, PAYLOAD, record, type Contender } from "./rounds.js";

/** A log that was seen to keep what it is given, before anything is timed. */
export async function checkedLog(directory: string, options?: LogOptions): Promise<Log> {
  const log = await openLog(directory, options);
  const bytes = Uint8Array.from({ length: PAYLOAD }, (_, i) => i);
  const lsns = [log.appendSync(bytes), await log.append(bytes)];
  for (const lsn of lsns) {
    const entry = await log.core(0).get(lsn);
    if (entry === undefined || Buffer.compare(entry.value, bytes) !== 0) throw new Error(`entry ${lsn} did not come back as it was`);
  }
  return log;
}

const common = (log: Log): Pick<Contender, "entries" | "fsyncs" | "close"> => ({
  async entries() {
    let entries = 0;
    for await (const batch of log.readBatches()) entries += batch.length;
    return entries;
  },
  fsyncs: () => log.stats().fsyncs,
  close: () => log.close(),
});

export function appendSync(log: Log, where = ""): Contender {
  const bytes = record();
  return { name: `appendSync${where}`, run: (ms) => oneByOne(ms, () => log.appendSync(bytes)), ...common(log) };
}

export function append(log: Log, count: number, name = "append"): Contender {
  const bytes = record();
  return { name: `${name}, ${count} in flight`, run: (ms) => inFlight(count, ms, () => log.append(bytes)), ...common(log) };
}
