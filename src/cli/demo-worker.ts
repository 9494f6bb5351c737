// A thread of the demo's victim: appends its share of the records and reports each acknowledgement, after it came,
// straight to the process that will kill this one.

import { writeSync } from "node:fs";
import { parentPort } from "node:worker_threads";
import { codeOf, errorToText } from "../errors.js";
import { attachLog } from "../index.js";
import type { LogHandle } from "../types.js";
import { Records, type SharedRecords } from "./demo-records.js";
import { keepInFlight } from "./in-flight.js";

export interface Share {
  handle: LogHandle;
  records: SharedRecords;
  inFlight: number;
  /** This thread takes the records `thread`, `thread + threads`, … */
  thread: number;
  threads: number;
  /** One word: 1 while a thread writes reports. */
  pipe: SharedArrayBuffer;
}

/** Number of the record and core, as u32, and its LSN, as a double. */
export const REPORT_BYTES = 16;
const REPORTS_PER_WRITE = 4096 / REPORT_BYTES;

export async function work({ handle, records: shared, inFlight, thread, threads, pipe }: Share): Promise<void> {
  try {
    const records = new Records(shared);
    const writer = await attachLog(handle);
    const reports = new Reports(writer.ownCore, new Int32Array(pipe));
    let next = thread;
    await keepInFlight(inFlight, () => {
      if (next >= records.count) return undefined;
      const index = next;
      next += threads;
      return writer.append({ kind: "put", key: String(index), value: records.at(index) }).then((lsn) => reports.add(index, lsn));
    });
    reports.write();
    await writer.close();
    parentPort!.postMessage({ ended: true });
  } catch (error) {
    parentPort!.postMessage({ error: errorToText(error) });
  }
}

/** What is reported was acknowledged before: the kernel keeps it, whatever happens to this process. */
class Reports {
  readonly #bytes = new DataView(new ArrayBuffer(REPORTS_PER_WRITE * REPORT_BYTES));
  readonly #core: number;
  #count = 0;
  #planned = false;

  readonly #pipe: Int32Array;

  constructor(core: number, pipe: Int32Array) {
    this.#core = core;
    this.#pipe = pipe;
  }

  add(index: number, lsn: number): void {
    const at = this.#count * REPORT_BYTES;
    this.#bytes.setUint32(at, index, true);
    this.#bytes.setUint32(at + 4, this.#core, true);
    this.#bytes.setFloat64(at + 8, lsn, true);
    if (++this.#count === REPORTS_PER_WRITE) return this.write();
    if (this.#planned) return;
    this.#planned = true;
    // One fsync acknowledges many appends at once: they share a write.
    queueMicrotask(() => {
      this.#planned = false;
      this.write();
    });
  }

  /** Whole, whatever the pipe is: on Deno it is a socket, which may take a part only. */
  write(): void {
    while (Atomics.compareExchange(this.#pipe, 0, 0, 1) !== 0) Atomics.wait(this.#pipe, 0, 1);
    let bytes = new Uint8Array(this.#bytes.buffer, 0, this.#count * REPORT_BYTES);
    while (bytes.length > 0) {
      try {
        bytes = bytes.subarray(writeSync(1, bytes));
      } catch (error) {
        if (codeOf(error) !== "EAGAIN") throw error;
        // The reader is behind and the pipe does not block.
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
      }
    }
    this.#count = 0;
    Atomics.store(this.#pipe, 0, 0);
    Atomics.notify(this.#pipe, 0, 1);
  }
}
