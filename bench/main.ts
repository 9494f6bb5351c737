// npm run bench -- [--seconds N] [--json]

import { parseArgs } from "node:util";
import { bench } from "./measure.js";

const { values } = parseArgs({
  options: { seconds: { type: "string", default: "30" }, directory: { type: "string" }, json: { type: "boolean", default: false } },
});
const rounds = 5;
const seconds = Number(values.seconds);
if (!(seconds > 0)) throw new RangeError(`--seconds is ${values.seconds}: it must be a number above 0`);
const report = await bench({
  roundMs: (seconds * 1000) / rounds / 12,
  rounds,
  directory: values.directory,
  reopenBytes: seconds >= 10 ? 2 ** 30 : 2 ** 24,
  onProgress: (done, total, what) => process.stderr.isTTY && process.stderr.write(`\r\x1b[K${done + 1} of ${total}: ${what}`),
});
if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");
if (values.json) {
  console.log(JSON.stringify(report, null, 2));
} else {
  const n = (value: number | undefined, digits = 0): string =>
    (value ?? 0).toLocaleString("en", { maximumFractionDigits: digits, minimumFractionDigits: digits });
  const row = (name: string, ...cells: string[]): void => console.log(name.padEnd(38) + cells.map((c) => c.padStart(13)).join(""));
  const { machine } = report;
  console.log(`${machine.cpu}, ${machine.cores} cores, ${machine.os}, ${machine.runtime}\n`);
  row("durable, 100 bytes each", "ops/s", "× raw loop", "p50 µs", "p99 µs", "fsyncs", "ops/fsync");
  for (const f of report.durable)
    row(f.name, n(f.opsPerSecond), n(f.ratio, 2), n(f.p50Us), n(f.p99Us), n(f.fsyncs), n(f.entriesPerFsync, 1));
  console.log();
  row("write() into the ring", "median ns", "p99 ns");
  for (const w of report.write) row(`${w.bytes} bytes`, n(w.medianNs), n(w.p99Ns));
  console.log();
  row("CRC32C", "GB/s");
  for (const c of report.crc32c) row(`${c.bytes} bytes`, n(c.gigabytesPerSecond, 2));
  console.log(`\nopening a properly closed log of ${n(report.reopen.bytes / 2 ** 20)} MiB: ${n(report.reopen.medianMs, 1)} ms`);
  console.log(`8 + 100 bytes on disk, 1,000 entries a frame: ${n(report.onDisk.bytesPerEntry, 2)} bytes`);
}
