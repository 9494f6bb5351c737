// One runner of a relay: opens a log that other runtimes have written, checks every entry, adds its own from two
// threads, and either closes the log or waits to be killed.

import { Worker, isMainThread, workerData } from "node:worker_threads";
import { attachLog, openLog, verifyLog, type LogHandle, type Writer } from "../../src/index.js";
import { scriptPath, task } from "../support/script.js";

export interface RelayTask {
  directory: string;
  /** Who writes now. */
  name: string;
  /** Entries of each thread. */
  count: number;
  /** Runners before, in order. */
  before: string[];
  end: "close" | "kill" | "read only";
}

async function write(writer: Writer, name: string, thread: number, count: number): Promise<void> {
  const inFlight: Promise<unknown>[] = [];
  for (let i = 0; i < count; i++) {
    const value = `${name} ${thread} ${i} ${"x".repeat((i * 37) % 300)}`;
    inFlight.push(i % 3 === 0 ? writer.append({ kind: "put", key: `${name}/${thread}/${i}`, value }) : writer.append(value));
  }
  inFlight.push(writer.appendBatch([`${name} ${thread} ${count}`, `${name} ${thread} ${count + 1}`]));
  await Promise.all(inFlight);
}

async function check(directory: string, { before, count }: RelayTask): Promise<void> {
  const log = await openLog(directory, { readOnly: true });
  const next = new Map<string, number>();
  let entries = 0;
  for await (const { value, key, lsn } of log.read()) {
    const [name, thread, i] = Buffer.from(value).toString().split(" ");
    const writer = `${name} ${thread}`;
    if ((next.get(writer) ?? 0) !== Number(i)) throw new Error(`LSN ${lsn}: ${writer} has entry ${i} after ${next.get(writer)}`);
    if (key !== undefined && Buffer.from(key).toString() !== `${name}/${thread}/${i}`) throw new Error(`LSN ${lsn} has another key`);
    next.set(writer, Number(i) + 1);
    entries++;
  }
  if (entries !== before.length * 2 * (count + 2)) throw new Error(`${entries} entries after ${before.length} runners`);
  await log.close();
  const { ok } = await verifyLog(directory);
  if (!ok) throw new Error("verify finds faults");
}

if (isMainThread) {
  const given = task<RelayTask>();
  const { directory, name, count, before, end } = given;
  if (before.length > 0) await check(directory, given);
  if (end === "read only") {
    console.log("checked");
  } else {
    const log = await openLog(directory, { ringBytes: 65536, segmentBytes: 1 << 18, durability: "group" });
    const worker = new Worker(scriptPath("relay"), { workerData: { handle: log.handle, name, count } });
    const ended = new Promise((resolve, reject) => worker.once("exit", resolve).once("error", reject));
    await Promise.all([write(log, name, 0, count), ended]);
    if (end === "close") await log.close();
    console.log("written");
    if (end === "kill") setInterval(() => {}, 1000);
  }
} else {
  const { handle, name, count } = workerData as { handle: LogHandle; name: string; count: number };
  const writer = await attachLog(handle);
  await write(writer, name, 1, count);
  await writer.close();
}
