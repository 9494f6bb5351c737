// What the benches have in common on the command line: options, progress, tables.

import { parseArgs } from "node:util";
import { median, type Machine, type Result, type RoundOptions } from "./rounds.js";

let json = false;

export function parseCommand(rounds: number): Omit<RoundOptions, "roundMs"> & { seconds: number } {
  const { values } = parseArgs({
    options: { seconds: { type: "string", default: "30" }, directory: { type: "string" }, json: { type: "boolean", default: false } },
  });
  const seconds = Number(values.seconds);
  if (!(seconds > 0)) throw new RangeError(`--seconds is ${values.seconds}: it must be a number above 0`);
  json = values.json;
  const onProgress: RoundOptions["onProgress"] = (done, total, what) =>
    process.stderr.isTTY && process.stderr.write(`\r\x1b[K${done + 1} of ${total}: ${what}`);
  return { seconds, rounds, directory: values.directory, onProgress };
}

export function n(value: number, digits = 0): string {
  return value.toLocaleString("en", { maximumFractionDigits: digits, minimumFractionDigits: digits });
}

export function row(name: string, ...cells: string[]): void {
  console.log(name.padEnd(46) + cells.map((c) => c.padStart(11)).join(""));
}

export const DURABLE_HEADS = ["ops/s", "p50 µs", "p99 µs", "fsyncs", "ops/fsync"];

export function durableCells(r: Result): string[] {
  const known = (value: number | undefined, digits: number): string => (value === undefined ? "?" : n(value, digits));
  return [n(median(r.rates)), n(r.p50Us), n(r.p99Us), known(r.fsyncs, 0), known(r.opsPerFsync, 1)];
}

/** The whole report as JSON if that was asked for, else the machine and then the tables. */
export function print<T extends { machine: Machine }>(report: T, tables: (report: T) => void): void {
  if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");
  if (json) {
    console.log(JSON.stringify(report, null, 2));
    return;
  }
  const { cpu, cores, os, runtime } = report.machine;
  console.log(`${cpu}, ${cores} cores, ${os}, ${runtime}\n`);
  tables(report);
}
