// Processes that race for a lock, on this runtime or another: each waits for the word, and says how it went.

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import * as assert from "uvu/assert";
import { within } from "./expect.js";
import { here, type TestRuntime } from "./runtimes.js";
import { scriptPath, watchChild } from "./script.js";

export interface Racer {
  pid: number;
  go(): void;
  /** "won", or the code of the refusal. */
  next(): Promise<string>;
  /** The winner gives up: `release` properly, `kill` without a word. */
  end(how: "release" | "kill"): Promise<void>;
}

/** A process that waits for the word, then tries to take the lock. */
export async function racer(directory: string, way: "lock" | "log", on: TestRuntime = here): Promise<Racer> {
  const child = watchChild(
    spawn(on.command, [...on.args, scriptPath("lock-racer"), JSON.stringify({ directory, way })], { stdio: ["pipe", "pipe", "inherit"] }),
  );
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  const next = async (): Promise<string> => {
    const line = await within(lines.next(), "a racer's answer");
    if (line.done === true) throw new Error("a racer ended by itself");
    return line.value;
  };
  assert.is(await next(), "ready");
  const gone = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  return {
    pid: child.pid!,
    go: () => child.stdin.write("go\n"),
    next,
    async end(how) {
      if (how === "kill") {
        child.kill("SIGKILL");
        await within(gone, "a killed racer");
      } else {
        child.stdin.write("release\n");
        assert.is(await next(), "released");
      }
    },
  };
}

/** All at once; exactly one wins. */
export async function race(racers: Racer[], what: string): Promise<Racer> {
  racers.forEach((r) => r.go());
  const answers = await Promise.all(racers.map((r) => r.next()));
  const winners = racers.filter((_, i) => answers[i] === "won");
  assert.is(winners.length, 1, `${what}: ${answers.join(", ")}`);
  assert.ok(
    answers.every((a) => a === "won" || a === "COREWAL_LOCKED"),
    answers.join(", "),
  );
  return winners[0]!;
}
