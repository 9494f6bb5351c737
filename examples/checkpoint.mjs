// A state that is rebuilt from its latest checkpoint and what was appended since, and a log that stays small.
//
//   node examples/checkpoint.mjs [DIRECTORY]

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openLog } from "corewal";

const directory = process.argv[2] ?? mkdtempSync(join(tmpdir(), "corewal-checkpoint-"));
const scores = new Map();
/** Setting a score twice does no harm, so the state need not be frozen while it is written. */
const apply = (player, score) => scores.set(player, score);

const log = await openLog(directory, {
  ringBytes: 65536,
  segmentBytes: 131072,
  // Segments go as soon as no checkpoint needs them.
  retention: { bytes: 0 },
});

const checkpoint = await log.readCheckpoint();
if (checkpoint !== undefined) {
  const pieces = [];
  for await (const bytes of checkpoint.stream) pieces.push(bytes);
  for (const [player, score] of JSON.parse(Buffer.concat(pieces).toString())) apply(player, score);
}
let replayed = 0;
for await (const { key, value } of log.replay()) {
  apply(Buffer.from(key).toString(), Number(Buffer.from(value).toString()));
  replayed++;
}
console.log(
  `${checkpoint === undefined ? "no checkpoint" : `checkpoint ${checkpoint.number}`}, ${replayed} entries replayed, ${scores.size} players`,
);

const before = scores.get("player 7") ?? 0;
for (let round = 1; round <= 3; round++) {
  const appends = [];
  for (let i = 0; i < 2000; i++) {
    const player = `player ${i % 100}`;
    apply(player, (scores.get(player) ?? 0) + 1);
    appends.push(log.append({ kind: "put", key: player, value: String(scores.get(player)).padStart(100) }));
  }
  await Promise.all(appends);
  await log.checkpoint(({ write }) => write(JSON.stringify([...scores])));
}
await log.append({ kind: "put", key: "player 7", value: "60".padStart(100) });
const { droppedSegments } = log.stats().upkeep;
console.log(
  `player 7: ${scores.get("player 7") - before} more; ${droppedSegments > 0 ? "old segments were dropped" : "nothing was dropped"}`,
);
console.log(`the log begins ${log.firstLsn > 1 ? "later than with LSN 1" : "with LSN 1"}`);
await log.close();
if (process.argv[2] === undefined) rmSync(directory, { recursive: true });
