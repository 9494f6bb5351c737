// A thread that waits for the flusher in its own way when the flusher dies, and says what it learned.

import { parentPort, workerData } from "node:worker_threads";
import { codeOf } from "../../src/errors.js";
import { attachLog, type LogHandle } from "../../src/index.js";

const { handle, way } = workerData as { handle: LogHandle; way: string };
const writer = await attachLog(handle);
const codes: string[] = [];
const learn = async (run: () => unknown): Promise<void> => {
  try {
    await run();
    codes.push("nothing");
  } catch (error) {
    codes.push(codeOf(error) ?? String(error));
  }
};
// Nobody can tell whether it blocks already: it waits until the flusher dies in any case.
parentPort!.postMessage("under way");
if (way === "in append") {
  await learn(() => writer.append("lost"));
  await learn(() => writer.closed);
} else if (way === "blocked in appendSync") {
  await learn(() => {
    for (;;) writer.appendSync("lost");
  });
} else {
  await learn(() => {
    for (;;) writer.write("x".repeat(10_000));
  });
}
await learn(() => writer.append("after"));
parentPort!.postMessage(codes);
process.exit(0);
