// A process that tries to take a lock (or to open a log) when it is told to. Many of them race.

import { createInterface } from "node:readline";
import { codeOf } from "../../src/errors.js";
import { openLog } from "../../src/index.js";
import { takeLock } from "../../src/lock.js";
import { task } from "../support/script.js";

const { directory, way } = task<{ directory: string; way: "lock" | "log" }>();
let release = async (): Promise<void> => {};

async function take(): Promise<void> {
  if (way === "lock") {
    const lock = takeLock(directory);
    release = async () => lock.release();
    return;
  }
  const log = await openLog(directory);
  await log.append(String(log.recovery.term));
  release = () => log.close();
}

const say = (word: string): void => console.log(word);
say("ready");
for await (const line of createInterface(process.stdin)) {
  if (line === "release") {
    await release();
    say("released");
  } else {
    await take().then(
      () => say("won"),
      (error: unknown) => say(codeOf(error) ?? String(error)),
    );
  }
}
