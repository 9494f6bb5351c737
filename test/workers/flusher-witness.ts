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
const underWay = (): void => parentPort!.postMessage("under way");
if (way === "in append") {
  const lost = learn(() => writer.append("lost"));
  underWay();
  await lost;
  await learn(() => writer.closed);
  // Nobody can tell whether the others block already: they do until the flusher dies in any case.
} else if (way === "blocked in appendSync") {
  underWay();
  await learn(() => {
    for (;;) writer.appendSync("lost");
  });
} else {
  underWay();
  await learn(() => {
    for (;;) writer.write("x".repeat(10_000));
  });
}
await learn(() => writer.append("after"));
parentPort!.postMessage(codes);
process.exit(0);
