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
}

/** Number of the record and core, as u32, and its LSN, as a double. */
export const REPORT_BYTES = 16;
/** POSIX writes a pipe's 4,096 bytes in one go: the threads' reports never mix. */
const REPORTS_PER_WRITE = 4096 / REPORT_BYTES;

export async function work({ handle, records: shared, inFlight, thread, threads }: Share): Promise<void> {
  try {
    const records = new Records(shared);
    const writer = await attachLog(handle);
    const reports = new Reports(writer.ownCore);
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

  constructor(core: number) {
    this.#core = core;
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

  write(): void {
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
  }
}
