// What one thread of the soak's victim does: append at random, and report into a file, which survives the process.
//
//   b WRITER FIRST COUNT         is about to append these records
//   a WRITER FIRST COUNT LSN     they are accepted, from this LSN on: durable with everything before the next durable one
//   d WRITER FIRST COUNT LSN     the same, and durable
//   s LSN                        everything up to here is durable
//   x WRITER FIRST COUNT         they were refused: they are nowhere, for ever
//   u WRITER FIRST COUNT         the log was closed meanwhile: they may be there or not

import { openSync, writeSync } from "node:fs";
import { codeOf, type CorewalError } from "../../src/errors.js";
import type { Input, Wait, Writer } from "../../src/types.js";
import type { Random } from "./random.js";
import { bytesOf, operationAt, recordOf, type Operation } from "./soak-records.js";

export interface Load {
  writer: Writer;
  id: number;
  /** Operations at once. */
  depth: number;
  /** Over all rounds of its thread; a quarter of it comes at full speed at first. */
  bytesPerSecond: number;
  random: Random;
  /** The log calls an append done before it is durable, unless the call asks for more. */
  asyncLog: boolean;
  /** Looked at before each operation. */
  stopped: () => boolean;
  say: (line: string) => void;
}

/** A file that several threads and processes can write lines into. */
export function reportInto(file: string): (line: string) => void {
  const fd = openSync(file, "a");
  return (line) => void writeSync(fd, `${line}\n`);
}

/** Appends until it is told to stop or the log is closed; then waits for what is under way. */
export async function load(task: Load): Promise<void> {
  const { id, depth, bytesPerSecond, random, stopped, say } = task;
  const inFlight = new Set<Promise<void>>();
  const began = performance.now();
  let bytes = -bytesPerSecond / 4;
  let closed = false;
  for (let counter = 0; !closed && !stopped();) {
    const operation = operationAt(id, counter);
    counter += operation.count;
    say(`b ${id} ${operation.first} ${operation.count}`);
    const records = Array.from({ length: operation.count }, (_, i) => recordOf(id, operation.first + i, operation));
    for (const record of records) bytes += bytesOf(record);
    const done: Promise<void> = run(task, operation, records)
      .catch((error: unknown) => {
        const code = codeOf(error);
        if (code === "COREWAL_CLOSED") closed = true;
        settleFailed(id, operation, error, say);
      })
      .finally(() => inFlight.delete(done));
    inFlight.add(done);
    while (inFlight.size >= depth) await Promise.race(inFlight);
    const aheadMs = (bytes / bytesPerSecond) * 1000 - (performance.now() - began);
    if (aheadMs > 0) await new Promise((resolve) => setTimeout(resolve, Math.min(aheadMs, random.below(30))));
    // An inline flusher and the readers live in this event loop, too.
    else if (random.chance(0.02)) await new Promise(setImmediate);
  }
  await Promise.all(inFlight);
}

/** Resolves when everything was reported that it can say about the operation; rejects where that is an error's to say. */
async function run({ writer, id, asyncLog, say }: Load, operation: Operation, records: Input[]): Promise<void> {
  const { first, count, way, durability, timeoutMs, abortMs } = operation;
  const about = `${id} ${first} ${count}`;
  const lazily = asyncLog && (durability ?? "async") === "async";
  switch (way) {
    case "append":
    case "batch": {
      const { wait, over } = patience({ durability, timeoutMs }, abortMs);
      try {
        const lsn = way === "append" ? await writer.append(records[0]!, wait) : (await writer.appendBatch(records, wait)).first;
        say(`${lazily ? "a" : "d"} ${about} ${lsn}`);
      } finally {
        over();
      }
      return;
    }
    case "appendSync":
      return say(`d ${about} ${writer.appendSync(records[0]!)}`);
    default: {
      let last = 0;
      records.forEach((record, i) => {
        try {
          last = writer.write(record);
          say(`a ${id} ${first + i} 1 ${last}`);
        } catch (error) {
          settleFailed(id, { ...operation, first: first + i, count: 1 }, error, say);
        }
      });
      if (way === "sync") return say(`s ${await writer.sync()}`);
      if (way === "durable" && last > 0) {
        await writer.durable(last);
        say(`s ${last}`);
      }
    }
  }
}

/** Options of a call that may be given up, and what takes the timer back. */
function patience(wait: Wait, abortMs: number | undefined): { wait: Wait; over: () => void } {
  if (abortMs === undefined) return { wait, over: () => undefined };
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(), abortMs);
  return { wait: { ...wait, signal: controller.signal }, over: () => clearTimeout(timer) };
}

/** What an error says about where the records are. */
function settleFailed(id: number, { first, count }: Operation, error: unknown, say: Load["say"]): void {
  const about = `${id} ${first} ${count}`;
  const { lsn } = error as CorewalError;
  switch (codeOf(error)) {
    case "COREWAL_ABORTED":
    case "COREWAL_TIMEOUT":
      // Without an LSN it was still waiting for space.
      return say(lsn === undefined ? `x ${about}` : `a ${about} ${lsn - count + 1}`);
    case "COREWAL_FULL":
    case "COREWAL_REVOKED":
      return say(`x ${about}`);
    case "COREWAL_CLOSED":
      return say(`u ${about}`);
    default:
      say(`e writer ${id}: ${String((error as Error)?.stack).replaceAll("\n", " ")}`);
  }
}
