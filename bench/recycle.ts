// npm run bench:recycle -- [--seconds N] [--directory DIR] [--json]

import { n, parseCommand, print, row } from "./print.js";
import { benchRecycle } from "./recycle-measure.js";

const { seconds, ...options } = parseCommand(9);
const report = await benchRecycle({ ...options, roundMs: (seconds * 1000) / (options.rounds + 1) });
print(report, ({ figures, ratio, frames, frameBytes, segmentBytes }) => {
  row(`segments of ${n(segmentBytes / 2 ** 20)} MiB`, "begin ms", "zeros ms", "frame p50 µs", "p99 µs");
  for (const f of figures) row(f.name, n(f.beginMs, 2), n(f.zerosMs, 2), n(f.frameP50Us), n(f.frameP99Us));
  console.log(
    `\na frame (write of ${n(frameBytes)} bytes + fsync, ${n(frames)} of each) in a spare: × ${n(ratio, 2)} of one in a new file`,
  );
});
