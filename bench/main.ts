// npm run bench -- [--seconds N] [--directory DIR] [--json]

import { bench } from "./measure.js";
import { durableCells, DURABLE_HEADS, n, parseCommand, print, row } from "./print.js";

const { seconds, ...options } = parseCommand(5);
const report = await bench({
  ...options,
  roundMs: (seconds * 1000) / options.rounds / 12,
  reopenBytes: seconds >= 10 ? 2 ** 30 : 2 ** 24,
});
print(report, ({ durable, write, crc32c, reopen, onDisk }) => {
  row("durable, 100 bytes each", ...DURABLE_HEADS, "× raw loop");
  for (const f of durable) row(f.name, ...durableCells(f), n(f.ratio, 2));
  console.log();
  row("write() into the ring", "median ns", "p99 ns");
  for (const w of write) row(`${w.bytes} bytes`, n(w.medianNs), n(w.p99Ns));
  console.log();
  row("CRC32C", "GB/s");
  for (const c of crc32c) row(`${c.bytes} bytes`, n(c.gigabytesPerSecond, 2));
  console.log(`\nopening a properly closed log of ${n(reopen.bytes / 2 ** 20)} MiB: ${n(reopen.medianMs, 1)} ms`);
  console.log(`8 + 100 bytes on disk, 1,000 entries a frame: ${n(onDisk.bytesPerEntry, 2)} bytes`);
});
