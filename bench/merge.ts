// npm run bench:merge -- [--entries N] [--rounds N] [--directory DIR] [--json]

import { loadavg, uptime } from "node:os";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { benchMerge } from "./merge-measure.js";
import { n, row } from "./print.js";

const { values } = parseArgs({
  options: {
    entries: { type: "string", default: "2000000" },
    rounds: { type: "string", default: "5" },
    directory: { type: "string" },
    json: { type: "boolean", default: false },
  },
});
const load = loadavg();
const report = await benchMerge({
  entries: Number(values.entries),
  rounds: Number(values.rounds),
  directory: values.directory,
  script: fileURLToPath(new URL("merge-read.js", import.meta.url)),
  onProgress: (done, total, what) => process.stderr.isTTY && process.stderr.write(`\r\x1b[K${done + 1} of ${total}: ${what}`),
});
if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");
if (values.json) {
  console.log(JSON.stringify({ ...report, load }, null, 2));
} else {
  const { cpu, cores, os, runtime } = report.machine;
  console.log(`${cpu}, ${cores} cores, ${os}, ${runtime}; load ${load.map((l) => n(l, 1)).join(" ")}, up ${n(uptime() / 60)} minutes`);
  console.log(
    `${n(report.entries)} entries of 8 + 100 bytes through readBatches(), ${values.rounds} processes each, cold: its first reading\n`,
  );
  row("", "entries/s", "fastest", "cold", "MB/s", "peak MiB");
  for (const f of report.figures)
    row(f.name, n(f.entriesPerSecond), n(f.fastest), n(f.cold), n(f.megabytesPerSecond), n(f.maxRssBytes / 2 ** 20));
}
