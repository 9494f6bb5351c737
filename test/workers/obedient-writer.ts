// A process that has a log open for writing and does what its standard input says, a line at a time.

import { createInterface } from "node:readline";
import { openLog } from "../../src/index.js";
import type { LogOptions } from "../../src/options.js";
import { task } from "../support/script.js";

const { directory, options } = task<{ directory: string; options: LogOptions }>();
const say = (word: unknown): void => console.log(String(word));
const log = await openLog(directory, options);
let count = 0;
const value = (): string => `term ${log.recovery.term}, ${count++} `.padEnd(count % 150, "x");
const many = (n: number): Promise<number[]> => Promise.all(Array.from({ length: n }, () => log.append(value())));

say(`open ${log.recovery.lastLsn}`);
for await (const line of createInterface(process.stdin)) {
  const [word, number] = line.split(" ");
  if (word === "append") {
    await many(Number(number));
    say(`durable ${log.durableLsn}`);
  } else if (word === "flood") {
    // Until it is killed.
    for (;;) {
      await many(1 + (count % 40));
      say(`durable ${log.durableLsn}`);
    }
  } else {
    await log.close();
    say("closed");
    process.stdin.destroy();
    break;
  }
}
