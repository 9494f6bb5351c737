// What one thread of the process that will be killed does: append for ever, and report into a file, first
// what it is about to append, then, after the promise resolved, the LSN that it got. (A file, since on Deno a
// descriptor that one thread inherited is none in another; what was written survives the process.)

import { openSync, writeSync } from "node:fs";
import type { Writer } from "../../src/types.js";
import { operationAt, recordBytes } from "./kill-records.js";

export interface WriterTask {
  /** File for what the writers say. */
  report: string;
  /** Operations in flight. */
  depth: number;
  /** The epoch is advanced before one of so many of them; 0: never. */
  epochEvery: number;
}

/** Ends only with the process. */
export async function appendForEver(writer: Writer, id: number, { depth, report, epochEvery }: WriterTask): Promise<void> {
  const fd = openSync(report, "a");
  const say = (line: string): void => void writeSync(fd, `${line}\n`);
  const inFlight = new Set<Promise<void>>();
  say(`core ${id} ${writer.ownCore}`);
  for (let counter = 0, operations = 1; ; operations++) {
    if (epochEvery > 0 && operations % epochEvery === 0) {
      const name = `${id} ${operations}`;
      say(`advance ${name}`);
      inFlight.add(writer.advanceEpoch().then((epoch) => say(`epoch ${name} ${epoch}`)));
    }
    const operation = operationAt(id, counter);
    const { first, count } = operation;
    counter += count;
    say(`begin ${id} ${first} ${count}`);
    const records = Array.from({ length: count }, (_, i) => recordBytes(id, first + i, operation));
    const done = (lsn: number): void => say(`done ${id} ${first} ${count} ${lsn}`);
    if (operation.way === "write") {
      let lsn = 0;
      for (const record of records) {
        const got = writer.write(record);
        // Other threads' entries may stand between: each has an LSN of its own.
        if (count > 1) say(`lsn ${id} ${first + records.indexOf(record)} ${got}`);
        lsn = got;
      }
      const last = lsn;
      inFlight.add(writer.sync().then(() => done(last)));
    } else if (operation.way === "batch") {
      inFlight.add(writer.appendBatch(records).then(({ last }) => done(last)));
    } else {
      inFlight.add(writer.append(records[0]!, operation.way === "sync" ? { durability: "sync" } : undefined).then(done));
    }
    records.forEach((r) => r.fill(0xee)); // the caller's bytes are his again
    if (inFlight.size < depth) continue;
    const all = [...inFlight];
    await Promise.race(all.map((p) => p.then(() => inFlight.delete(p))));
  }
}
