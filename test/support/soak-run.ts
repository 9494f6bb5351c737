// The soak: logs that live through many processes, one after the other, loaded and closed and killed, while another
// process follows; the model is asked after each life. In the long lives memory, descriptors and threads are watched.

import { spawn, type ChildProcess } from "node:child_process";
import { closeSync, existsSync, openSync, readdirSync, readSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { openLog } from "../../src/index.js";
import type { LogOptions } from "../../src/options.js";
import { segmentNumbers } from "../../src/recover-chain.js";
import { nodeStorage } from "../../src/storage/node.js";
import { within } from "./expect.js";
import { Random } from "./random.js";
import type { TestRuntime } from "./runtimes.js";
import { freshPath } from "./scratch.js";
import { scriptPath, watchChild } from "./script.js";
import { judgeFlat, SAMPLES_MIN, type Sample, type Verdict } from "./soak-measure.js";
import { SoakModel } from "./soak-model.js";
import { doubleRecord, loseRecord } from "./soak-plants.js";

/** What can be wrong with intent. */
export const PLANTS = ["leak-descriptor", "leak-thread", "leak-buffer", "leak-heap", "lose-record", "double-record"] as const;
export type Plant = (typeof PLANTS)[number];

interface Task {
  report: string;
  /** Operations at once. */
  depth: number;
  bytesPerSecond: number;
  seed: number;
}

export interface VictimTask extends Task {
  directory: string;
  options: LogOptions;
  threads: number;
  /** The first writer's; the next ones have every second. */
  firstId: number;
  /** So many, and more until this time is over. */
  rounds: number;
  forMs: number;
  roundMs: number;
  /** After each round. */
  measure: boolean;
  /** In the middle of the last round. */
  ending: "close" | "exit";
  plant: Plant | undefined;
}

export interface WriterTask extends Task {
  id: number;
  asyncLog: boolean;
  ending: "close" | "forget" | "exit";
}

export interface SoakOptions {
  seconds: number;
  seed: number;
  runtime: TestRuntime;
  /** What its processes need to offer their garbage collector. */
  runtimeArgs: string[];
  plant?: Plant | undefined;
  progress(text: string): void;
}

export interface SoakResult {
  /** Lives whose log was as it must be, by how they ended. */
  lives: Map<string, number>;
  logs: number;
  acknowledged: number;
  entries: number;
  holes: number;
  /** What was compared from a third to another. */
  verdicts: (Verdict & { where: string })[];
  /** The first thing that was wrong; the log is kept. */
  failure: string | undefined;
}

/** Small enough that a disk does not notice; a new log is begun then. */
const LOG_BYTES_MAX = 48 * 2 ** 20;
const LIVES_MAX = 12;
/** A quarter of them ends by itself: that none of so many leaves anything to plant on is no matter of a slow machine. */
const LIVES_TO_PLANT_MAX = 60;
/** Beyond the time that a life was to last. */
const LIFE_TIMEOUT_MS = 180_000;
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** The lines that others write into a file. */
class Report {
  readonly file = freshPath("report");
  private readonly fd = openSync(this.file, "a+");
  private at = 0;
  private rest = "";
  private readonly chunk = Buffer.alloc(1 << 18);

  /** What has come since the last call. */
  lines(): string[] {
    const lines: string[] = [];
    for (let bytes; (bytes = readSync(this.fd, this.chunk, 0, this.chunk.length, this.at)) > 0;) {
      this.at += bytes;
      const parts = (this.rest + this.chunk.toString("latin1", 0, bytes)).split("\n");
      this.rest = parts.pop()!;
      lines.push(...parts);
    }
    return lines;
  }

  close(): void {
    closeSync(this.fd);
    rmSync(this.file);
  }
}

function options(random: Random, id: number): LogOptions {
  // Odd writers append large records.
  const ringBytes = id % 2 === 1 ? 65536 : random.pick([4096, 8192, 32768]);
  return {
    ringBytes,
    segmentBytes: random.pick([16384, 65536, 262144].filter((bytes) => bytes >= 2 * ringBytes)),
    stripes: 16,
    flusher: random.pick(["worker", "worker", "worker", "inline"]),
    durability: random.pick(["group", "group", "sync", "async"]),
    onFull: random.pick(["wait", "wait", "wait", "fail"]),
    ...(random.chance(0.4) ? { queueBytes: random.pick([0, 4096]) } : {}),
    maxDelayMs: random.pick([0, 0, 2]),
    flushIntervalMs: random.pick([1, 20, 100]),
    frameAlign: random.pick([64, 64, 512]),
    // A busy machine is no reason to take a thread for dead.
    writerStallMs: 60_000,
    exitTimeoutMs: 60_000,
  };
}

const bytesOf = (directory: string): number =>
  existsSync(directory)
    ? readdirSync(directory).reduce((sum, name) => sum + (statSync(join(directory, name), { throwIfNoEntry: false })?.size ?? 0), 0)
    : 0;

/** One log, the model of it, and whoever follows it. */
class SoakedLog {
  readonly directory = freshPath("soak");
  readonly model = new SoakModel();
  readonly readerSamples: Sample[] = [];
  private readonly readerReport = new Report();
  private readonly reader: { child: ChildProcess; ended: Promise<string> } | undefined;
  private followedTo = 0;
  private stopped = false;
  lives = 0;

  constructor(
    private readonly o: SoakOptions,
    random: Random,
  ) {
    // A reader would see at once what is planted for the model.
    if (o.plant === "lose-record" || o.plant === "double-record") return;
    this.reader = this.start("soak-reader", { directory: this.directory, report: this.readerReport.file, seed: random.bits() });
  }

  private start(script: string, task: object): { child: ChildProcess; ended: Promise<string> } {
    const { runtime, runtimeArgs } = this.o;
    const args = [...runtime.args, ...runtimeArgs, scriptPath(script), JSON.stringify(task)];
    const child = watchChild(spawn(runtime.command, args, { stdio: ["ignore", "ignore", "pipe"] }));
    let err = "";
    child.stderr.on("data", (chunk: Buffer) => (err = (err + chunk.toString()).slice(-4000)));
    const ended = new Promise<string>((resolve) =>
      child.on("close", (code, signal) => resolve(signal ?? (code === 0 ? "" : `code ${code}: ${err}`))),
    );
    return { child, ended };
  }

  /** A process opens it, works, and ends; then it is looked at. Gives how it ended. */
  async life(task: Omit<VictimTask, "report" | "directory">, killAfterMs: number | undefined, samples: Sample[]): Promise<string> {
    this.lives++;
    const report = new Report();
    const { child, ended } = this.start("soak-victim", { ...task, report: report.file, directory: this.directory });
    const take = (): void => this.take(report, samples);
    let over = false;
    const end = within(ended, "the end of a life", LIFE_TIMEOUT_MS + task.forMs).finally(() => (over = true));
    try {
      const timer = killAfterMs === undefined ? undefined : setTimeout(() => child.kill("SIGKILL"), killAfterMs);
      // Taken in meanwhile: what is wrong shows at once, and the file is no long one at the end.
      for (; !over; await Promise.race([end, pause(50)])) {
        take();
        this.listen();
      }
      clearTimeout(timer);
      const how = await end;
      take();
      if (how !== "" && !(how === "SIGKILL" && killAfterMs !== undefined)) throw new Error(`the process ended with ${how}`);
      return how === "" ? task.ending : killAfterMs! < 250 ? "kill at the start" : "kill";
    } finally {
      child.kill("SIGKILL");
      await ended;
      report.close();
    }
  }

  private take(report: Report, samples: Sample[]): void {
    for (const line of report.lines()) {
      if (line.startsWith("q ")) samples.push(JSON.parse(line.slice(2)) as Sample);
      else this.model.line(line);
    }
  }

  /** What the follower says. */
  private listen(): void {
    for (const line of this.readerReport.lines()) {
      if (line.startsWith("q ")) this.readerSamples.push(JSON.parse(line.slice(2)) as Sample);
      else this.model.line(line);
      if (line.startsWith("f ")) this.followedTo = Number(line.split(" ")[1]);
    }
  }

  /** Reads the whole log. Nobody has it open. */
  async check(): Promise<void> {
    this.listen();
    // The first process may have been killed before it wrote anything.
    if (!existsSync(this.directory) || segmentNumbers(nodeStorage, this.directory, 0).length === 0) {
      if (this.model.durableLsn > 0) throw new Error(`nothing is there, and LSN ${this.model.durableLsn} was durable`);
      return;
    }
    const log = await openLog(this.directory, { readOnly: true });
    await this.model.check(log.readBatches({ internal: true }), log.recovery.lastLsn);
    await log.close();
  }

  /** After a proper close the follower must come to the end. */
  async end(): Promise<void> {
    const come = async (): Promise<void> => {
      for (; this.followedTo < this.model.lastLsn; await pause(20)) this.listen();
    };
    if (this.reader !== undefined) await within(come(), `the follower's way to LSN ${this.model.lastLsn}`);
    await this.check();
    await this.stop();
    rmSync(this.directory, { recursive: true, force: true });
  }

  async stop(): Promise<void> {
    if (this.stopped) return;
    this.stopped = true;
    this.reader?.child.kill("SIGKILL");
    await this.reader?.ended;
    this.readerReport.close();
  }

  get bytes(): number {
    return bytesOf(this.directory);
  }
}

/** Soaks until the time is over; ends at the first thing that is wrong. */
export async function soak(o: SoakOptions): Promise<SoakResult> {
  const random = new Random(o.seed);
  const began = performance.now();
  const leftMs = (): number => o.seconds * 1000 - (performance.now() - began);
  const result: SoakResult = { lives: new Map(), logs: 0, acknowledged: 0, entries: 0, holes: 0, verdicts: [], failure: undefined };
  // As much time for one long life as for the short ones after it.
  const longMs = Math.min(Math.max((o.seconds * 1000) / 4, 6000), 120_000);
  let firstId = 0;
  let log: SoakedLog | undefined;

  const task = (): Omit<VictimTask, "report" | "directory"> => {
    firstId += 20_000 + random.below(2);
    return {
      options: options(random, firstId),
      threads: random.between(2, 4),
      firstId,
      depth: random.pick([1, 16, 16, 64]),
      bytesPerSecond: 2_000_000,
      seed: random.bits(),
      rounds: random.between(1, 4),
      forMs: 0,
      roundMs: random.between(50, 800),
      measure: false,
      ending: random.pick(["close", "exit"]),
      plant: undefined,
    };
  };
  const live = async (t: ReturnType<typeof task>, killAfterMs: number | undefined, samples: Sample[] = []): Promise<void> => {
    o.progress(`${result.logs + 1} logs, ${[...result.lives.values()].reduce((a, b) => a + b, 0)} lives, ${result.entries} entries`);
    const how = await log!.life(t, killAfterMs, samples);
    // Sometimes the next one opens it before anybody has looked.
    if (how !== "kill at the start" || random.chance(0.5)) await log!.check();
    result.lives.set(how, (result.lives.get(how) ?? 0) + 1);
  };
  const finish = async (): Promise<void> => {
    const { model } = log!;
    await log!.end();
    result.logs++;
    result.acknowledged += model.acknowledged;
    result.entries += model.lastLsn;
    result.holes += model.holes;
  };

  /** One process that works for long, then one that closes it. */
  const steady = async (): Promise<void> => {
    log = new SoakedLog(o, random.fork());
    const samples: Sample[] = [];
    const load = { rounds: SAMPLES_MIN + 1, forMs: longMs, roundMs: 400, depth: random.pick([16, 64]), bytesPerSecond: 200_000 };
    await live({ ...task(), ...load, measure: true, plant: o.plant }, undefined, samples);
    const { readerSamples } = log;
    result.verdicts.push(...judgeFlat(samples).map((v) => ({ ...v, where: "victim" })));
    if (readerSamples.length >= SAMPLES_MIN) result.verdicts.push(...judgeFlat(readerSamples).map((v) => ({ ...v, where: "reader" })));
    await live({ ...task(), rounds: 1, ending: "close" }, undefined);
    await finish();
    const bad = result.verdicts.filter(({ flat }) => !flat);
    if (bad.length > 0)
      throw new Error(bad.map(({ where, what, first, last }) => `${what} of the ${where} grew from ${first} to ${last}`).join("; "));
  };

  /** Makes the log wrong with intent, in what its lives have written; false if that is not enough yet. */
  const plantInto = async ({ directory, model, lives }: SoakedLog): Promise<boolean> => {
    const planted =
      model.durableLsn > 0 && (o.plant === "lose-record" ? loseRecord(directory, model.durableLsn) : await doubleRecord(directory));
    if (!planted && lives >= LIVES_TO_PLANT_MAX) throw new Error(`${lives} lives, and nowhere to plant ${o.plant}`);
    return planted;
  };

  /** Short lives of one log. With something to plant there are as many as it needs, however long they take. */
  const chaotic = async (untilMs: number): Promise<void> => {
    log = new SoakedLog(o, random.fork());
    const more = (): boolean => log!.lives < LIVES_MAX && log!.bytes < LOG_BYTES_MAX && leftMs() > untilMs;
    for (let planted = false; o.plant === undefined ? more() : !planted;) {
      const killAfterMs = random.pick([undefined, random.below(250), 250 + random.below(3000), 250 + random.below(3000)]);
      await live(task(), killAfterMs);
      if (o.plant !== undefined) planted = await plantInto(log);
    }
    await live({ ...task(), ending: "close" }, undefined);
    await finish();
  };

  try {
    do {
      if (o.plant?.startsWith("leak") !== false) await steady();
      for (const untilMs = leftMs() - longMs; !o.plant?.startsWith("leak") && leftMs() > Math.max(untilMs, 0);) await chaotic(untilMs);
    } while (leftMs() > 0);
  } catch (error) {
    result.failure = `${(error as Error).message}\n${log?.directory ?? ""}`;
    await log?.stop();
  }
  return result;
}
