// Processes that end in one way or another with a log open; exit.test.ts and lock.test.ts say what must be left.

import { writeSync } from "node:fs";
import { setTimeout as later } from "node:timers";
import { attachLog, openLog } from "../../src/index.js";
import type { LogOptions } from "../../src/options.js";
import { startThread, task } from "../support/script.js";

export interface ExitTask {
  directory: string;
  what: keyof typeof CASES;
  options?: LogOptions;
}

const COUNT = 100;
/** At once, also if the process ends in the next moment. */
const say = (text: string): void => void writeSync(1, `${text}\n`);

const CASES = {
  /** Nothing appended: the process has no reason to stay. */
  async open() {
    await openHere();
  },
  async "append and wait"() {
    const log = await openHere();
    await log.append("first");
    say("appended");
    setInterval(() => {}, 1000);
  },
  /** Nobody awaits: the event loop alone keeps the process until the promises are settled. */
  async "pending appends"() {
    const log = await openHere();
    for (let i = 0; i < COUNT; i++) void log.append(String(i)).then(() => i === COUNT - 1 && say("acknowledged"));
  },
  /** Only promises, no handle of its own: Node would exit 13, or 0 silently. */
  async awaiting() {
    const log = await openHere();
    for (let i = 0; i < COUNT; i++) await log.append(String(i));
    await log.sync();
    await log.durable(COUNT);
    await log.appendBatch([String(COUNT)]);
    say("end reached");
  },
  async "async appends"() {
    const log = await openHere();
    for (let i = 0; i < COUNT; i++) await log.append(String(i));
    say("accepted");
  },
  async "async appends, process.exit"() {
    const log = await openHere();
    for (let i = 0; i < COUNT; i++) await log.append(String(i));
    say("accepted");
    process.exit(0);
  },
  async "async appends, uncaught throw"() {
    const log = await openHere();
    for (let i = 0; i < COUNT; i++) await log.append(String(i));
    say("accepted");
    setImmediate(() => {
      throw new Error("made up by a test");
    });
  },
  async "async appends, unhandled rejection"() {
    const log = await openHere();
    for (let i = 0; i < COUNT; i++) await log.append(String(i));
    say("accepted");
    void Promise.reject(new Error("made up by a test"));
  },
  async "writes, process.exit"() {
    const log = await openHere();
    for (let i = 0; i < COUNT; i++) log.write(String(i));
    say("accepted");
    process.exit(0);
  },
  async "idle after appends"() {
    const log = await openHere();
    await log.append("first");
    say("appended");
  },
  /** Nobody but the follower has anything to wait for. */
  async follower() {
    const log = await openHere();
    await log.append("first");
    later(() => void log.append("second"), 50).unref();
    for await (const { lsn } of log.read({ follow: true })) {
      say(String(lsn));
      if (lsn === 2) break;
    }
    say("ended");
  },
  async "attached thread ends"() {
    const log = await openHere();
    const worker = startThread("attach-and", { handle: log.handle, then: "end" });
    worker.once("exit", () => say(`stripes used: ${log.stats().stripes.used}`));
  },
  async "attached thread waits, process.exit"() {
    const log = await openHere();
    const worker = startThread("attach-and", { handle: log.handle, then: "wait" });
    worker.once("message", () => process.exit(0));
  },
  /** An unref'ed thread must not keep the process, and the log must not either. */
  async "attached thread waits, unref"() {
    const log = await openHere();
    const worker = startThread("attach-and", { handle: log.handle, then: "wait" });
    worker.once("message", () => worker.unref());
  },
  async "attach that is refused"() {
    const log = await openHere();
    for (let i = 0; i < 2; i++) await attachLog(log.handle).catch((error: { code: string }) => say(error.code));
    log.write("first");
  },
  async "signal handlers"() {
    const log = await openHere();
    await log.append("first");
    const signals = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR2", "SIGPIPE", "SIGBREAK"];
    say(
      `handlers: ${signals.reduce((n, s) => n + process.listenerCount(s), 0)} ${process.listenerCount("uncaughtException")} ${process.listenerCount("unhandledRejection")}`,
    );
    setInterval(() => {}, 1000);
  },
  async "poisoned, awaiting closed"() {
    const log = await openHere();
    await (log as unknown as { parts: { workers: [{ terminate(): Promise<void> }] } }).parts.workers[0].terminate();
    // Never asked for: must not be an unhandled rejection.
    void log.closed;
    await log.append("no").catch((error: { code: string }) => say(error.code));
  },
};

const { directory, what, options } = task<ExitTask>();
const openHere = () => openLog(directory, options);
await CASES[what]();
