// npm run bench:upkeep -- [--seconds N] [--directory DIR] [--json]

import { n, parseCommand, print, row } from "./print.js";
import { benchUpkeep } from "./upkeep-measure.js";

const MiB = 2 ** 20;
const { seconds, rounds, directory, onProgress } = parseCommand(5);
const report = await benchUpkeep({
  rounds,
  roundMs: (seconds * 1000) / rounds / 4,
  directory,
  logBytes: seconds >= 30 ? [64 * MiB, 1024 * MiB, 4096 * MiB] : [16 * MiB, 64 * MiB, 256 * MiB],
  onProgress,
});
print(report, ({ checkpoint, open, replay }) => {
  row("appends/s, 256 in flight", "alone", "beside", "ratio");
  row(
    `beside checkpoints of ${n(checkpoint.bytes / MiB)} MiB, one after the other`,
    n(checkpoint.alone),
    n(checkpoint.beside),
    n(checkpoint.ratio, 2),
  );
  console.log();
  row("opening, ms", "closed", "in use");
  for (const { bytes, closedMs, besideMs } of open) row(`${n(bytes / MiB)} MiB`, n(closedMs, 1), n(besideMs, 1));
  console.log();
  row("replay through readBatches(), 100 bytes each", "entries/s", "GB/s");
  row("sealed segments", n(replay.entriesPerSecond), n(replay.gigabytesPerSecond, 2));
});
