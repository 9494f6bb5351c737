// `corewal append`: standard input, cut into blocks of whole lines, goes to worker threads that append them. At most
// two blocks are with a worker, so a slow disk slows the reading down instead of filling the memory.

import { fstatSync } from "node:fs";
import type { Readable } from "node:stream";
import type { Worker } from "node:worker_threads";
import { codeOf, errorFromText } from "../errors.js";
import { openLog } from "../index.js";
import { TOPOLOGIES } from "../segment.js";
import type { Durability, Log, LogHandle, Topology } from "../types.js";
import type { FromWorker, ToWorker } from "./append-worker.js";
import { Failure, oneOf, parse, wholeNumber, type Command } from "./command.js";
import { counted, duration, entriesOf, size, thousands } from "./format.js";
import { BlockCutter } from "./lines.js";
import { complain, print } from "./output.js";
import { startProgress, type Progress } from "./progress.js";
import { startWorker } from "./roles.js";

const help = `Usage: corewal append DIR [--workers N] [--durability D] [--topology T] [--json]

Appends each line of standard input, without its newline, as one entry. Ends when all of them are durable.
Makes the log if there is none. Empty lines cannot be entries: they are skipped and counted.

  --workers N      spread the lines over N threads, 1 to 64; with 1 (the default) the order of the lines is kept
  --durability D   group (default): each block of lines becomes durable as soon as possible, while more is read
                   sync: a worker takes its next block of lines only when the last one is durable
                   async: durable within a tenth of a second, and at the end
  --topology T     of a new log: striped (default), all threads into one chain of files; per-core, each thread into a
                   chain of its own, with LSNs of its own
  --json           print {entries, bytes, firstLsn, lastLsn, seconds, skippedEmpty} instead of a sentence; of a per-core
                   log firstLsn and lastLsn are 0, and cores is a list of {core, firstLsn, lastLsn}
`;

const WORKERS_MAX = 64;
/** Whole lines that make a block worth sending while the workers are busy. */
const BLOCK_BYTES = 256 * 1024;
/** One that the worker writes and one that waits for it: it never runs dry. */
const BLOCKS_PER_WORKER = 2;

const flags = {
  workers: { type: "string" },
  topology: { type: "string" },
  durability: { type: "string" },
  json: { type: "boolean" },
} as const;

async function run(argv: string[], { entry }: { entry: string }): Promise<number> {
  const parsed = parse(argv, flags, ["DIR"]);
  const workers = wholeNumber("--workers", parsed.flags.workers, WORKERS_MAX) ?? 1;
  const durability = oneOf("--durability", parsed.flags.durability, ["group", "sync", "async"]) ?? "group";
  const topology = oneOf("--topology", parsed.flags.topology, TOPOLOGIES);
  if (process.stdin.isTTY) complain("reading lines from the terminal; Ctrl-D ends", "append");

  const begin = performance.now();
  // One stripe more than workers: the log's opener has its own.
  const log = await openLog(parsed.args[0]!, { durability, stripes: workers + 1, ...(topology === undefined ? {} : { topology }) });
  const progress = await startProgress("append", inputBytes(), "bytes");
  let load: Load | undefined;
  let failure: Error | undefined;
  try {
    load = new Load(entry, workers, log.handle, durability, progress);
    await load.feed(process.stdin);
  } catch (error) {
    failure = error as Error;
  } finally {
    progress.stop();
    await load?.stop();
    // A poisoned log does not close, and says why: that is the better explanation.
    await log.close().catch((error: Error) => (failure = failure === undefined || codeOf(failure) === undefined ? error : failure));
  }
  const seconds = (performance.now() - begin) / 1000;
  // Before anything is printed: the answer stands also when nobody reads it.
  process.exitCode = failure === undefined ? 0 : 1;
  const known = failure === undefined || failure instanceof LineTooLong;
  if (known && load !== undefined) report(load.total, load.cores, log.recovery.topology, seconds, parsed.flags.json === true);
  if (failure instanceof LineTooLong) {
    complain(failure.message, "append");
    return 1;
  }
  if (failure === undefined) return 0;
  complain(durableOfThisRun(log), "append");
  throw failure;
}

function durableOfThisRun(log: Log): string {
  const { cores, topology } = log.recovery;
  const parts = log.durablePositions().flatMap((last, core) => {
    const before = cores.find((c) => c.core === core)?.lastLsn ?? 0;
    return last > before ? `${topology === "per-core" ? `core ${core} ` : ""}LSN ${before + 1} to ${last}` : [];
  });
  return parts.length === 0 ? "nothing of this run is known to be durable" : `${parts.join(", ")} of this run are durable`;
}

/** Size of standard input if it is a file. */
function inputBytes(): number | undefined {
  try {
    const input = fstatSync(0);
    return input.isFile() ? input.size : undefined;
  } catch {
    return undefined; // it is closed: the reading finds no lines
  }
}

function report(total: Total, ranges: Map<number, Range>, topology: Topology, seconds: number, json: boolean): void {
  const { entries, bytes, skippedEmpty } = total;
  const perCore = topology === "per-core";
  // LSNs of several cores do not make one range.
  const { firstLsn, lastLsn } = perCore ? { firstLsn: 0, lastLsn: 0 } : total;
  const cores = [...ranges].sort(([a], [b]) => a - b).map(([core, range]) => ({ core, ...range }));
  if (skippedEmpty > 0) complain(`${counted(skippedEmpty, "empty line")} skipped: an entry cannot be empty`, "append");
  if (json) {
    const summary = { entries, bytes, firstLsn, lastLsn, seconds: Number(seconds.toFixed(6)), skippedEmpty };
    print(`${JSON.stringify(perCore ? { ...summary, cores } : summary)}\n`);
  } else if (entries === 0) {
    print("nothing to append\n");
  } else {
    const where = perCore ? counted(cores.length, "core") : `LSN ${firstLsn} to ${lastLsn}`;
    print(`${entriesOf(entries)}, ${size(bytes)}, ${where}, durable in ${duration(seconds * 1000)} (${thousands(entries / seconds)}/s)\n`);
  }
}

class LineTooLong extends Failure {}

interface Range {
  firstLsn: number;
  lastLsn: number;
}

interface Total extends Range {
  entries: number;
  bytes: number;
  skippedEmpty: number;
}

function widen(range: Range, { firstLsn, lastLsn }: Range): void {
  range.firstLsn = range.firstLsn === 0 ? firstLsn : Math.min(range.firstLsn, firstLsn);
  range.lastLsn = Math.max(range.lastLsn, lastLsn);
}

/** The threads, and what is on its way to them. */
class Load {
  readonly total: Total = { entries: 0, bytes: 0, firstLsn: 0, lastLsn: 0, skippedEmpty: 0 };
  /** Of each core that wrote, or stripe. */
  readonly cores = new Map<number, Range>();
  readonly #crew: { worker: Worker; blocks: number; ended: boolean }[] = [];
  readonly #cutter = new BlockCutter();
  readonly #maxEntryBytes: number;
  readonly #progress: Progress;
  /** Lines in each block, once its worker has said so: they give a bad line its number. */
  readonly #linesOfBlock: number[] = [];
  #blocksSent = 0;
  #bytesDone = 0;
  #failure: Error | undefined;
  #tooLong: { block: number; line: number; bytes: number } | undefined;
  #stopping = false;
  /** No more can be sent: ends the wait for more input. */
  #stop: () => void = () => {};
  /** Wakes whoever waits for the threads. */
  #changed: () => void = () => {};

  constructor(entry: string, workers: number, handle: LogHandle, durability: Durability, progress: Progress) {
    this.#progress = progress;
    this.#maxEntryBytes = handle.options.maxEntryBytes;
    for (let i = 0; i < workers; i++) {
      const worker = startWorker(entry, "append", { handle, durability });
      const member = { worker, blocks: 0, ended: false };
      worker.on("message", (message: FromWorker) => this.#hear(member, message));
      worker.on("error", (error) => this.#fail(error));
      worker.on("exit", () => {
        if (!member.ended && !this.#stopping) this.#fail(new Failure("a worker thread ended before its work was done"));
      });
      this.#crew.push(member);
    }
  }

  /** Ends when every line is durable. */
  async feed(input: Readable): Promise<void> {
    const pieces = (input as AsyncIterable<Uint8Array>)[Symbol.asyncIterator]();
    while (!this.#over() && this.#cutter.unfinished <= this.#maxEntryBytes) {
      // A failure need not wait for the next line. (No race with one promise for all: that would keep every piece.)
      const piece = await new Promise<IteratorResult<Uint8Array> | undefined>((resolve, reject) => {
        this.#stop = () => resolve(undefined);
        pieces.next().then(resolve, reject);
      });
      if (piece === undefined || piece.done === true) break;
      this.#cutter.push(piece.value);
      this.#send();
      await this.#until(() => this.#cutter.ready < BLOCK_BYTES);
    }
    // Some runtimes go on waiting for a line that nobody wants any more: that must not keep the process.
    input.destroy();
    (input as { unref?: () => void }).unref?.();
    await this.#until(() => this.#cutter.ready === 0);
    const unfinished = this.#cutter.unfinished;
    if (unfinished > 0 && unfinished <= this.#maxEntryBytes && !this.#over()) {
      await this.#until(() => this.#least().blocks < BLOCKS_PER_WORKER);
      if (!this.#over()) this.#post(this.#least(), this.#cutter.cut(true));
    }
    await this.#until(() => this.#crew.every((m) => m.blocks === 0), false);
    for (const { worker } of this.#crew) worker.postMessage({ end: true } satisfies ToWorker);
    await this.#until(() => this.#crew.every((m) => m.ended), false);
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#tooLong !== undefined) {
      const { block, line, bytes } = this.#tooLong;
      this.#refuse(this.#linesBefore(block) + line, `is ${thousands(bytes)} bytes long`);
    }
    if (unfinished > this.#maxEntryBytes) {
      this.#refuse(this.#linesBefore(this.#blocksSent) + 1, `is longer than ${thousands(unfinished - 1)} bytes`);
    }
  }

  /** Ends the threads, whatever they do. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await Promise.all(this.#crew.map(({ worker }) => worker.terminate()));
  }

  #refuse(line: number, what: string): never {
    throw new LineTooLong(
      `line ${thousands(line)} ${what}: an entry takes at most ${thousands(this.#maxEntryBytes)}; ` +
        `the lines before it are durable (${entriesOf(this.total.entries)} in all)`,
    );
  }

  #linesBefore(block: number): number {
    return this.#linesOfBlock.slice(0, block).reduce((a, b) => a + b, 0);
  }

  #least() {
    return this.#crew.reduce((a, b) => (b.blocks < a.blocks ? b : a));
  }

  /** Sends what is ready: at once to an idle worker, so that a slow stream is not kept waiting; else as large blocks. */
  #send(): void {
    if (this.#over()) return;
    while (this.#cutter.ready > 0) {
      const member = this.#least();
      if (member.blocks > 0 && (member.blocks >= BLOCKS_PER_WORKER || this.#cutter.ready < BLOCK_BYTES)) return;
      this.#post(member, this.#cutter.cut());
    }
  }

  #post(member: { worker: Worker; blocks: number }, block: Uint8Array): void {
    member.blocks++;
    const buffer = block.buffer as ArrayBuffer;
    member.worker.postMessage({ id: this.#blocksSent++, block: buffer } satisfies ToWorker, [buffer]);
  }

  #hear(member: { blocks: number; ended: boolean }, message: FromWorker): void {
    if ("error" in message) return this.#fail(errorFromText(message.error));
    if ("ended" in message) {
      member.ended = true;
    } else {
      member.blocks--;
      this.#linesOfBlock[message.id] = message.lines;
      this.#bytesDone += message.blockBytes;
      this.#progress.update(this.#bytesDone);
      const t = this.total;
      if (message.entries > 0) {
        widen(t, message);
        const core = this.cores.get(message.core) ?? { firstLsn: 0, lastLsn: 0 };
        widen(core, message);
        this.cores.set(message.core, core);
      }
      t.entries += message.entries;
      t.bytes += message.bytes;
      t.skippedEmpty += message.skippedEmpty;
      const bad = message.tooLong;
      // Several threads may each meet one: the first in the input counts.
      if (bad !== undefined && (this.#tooLong === undefined || message.id < this.#tooLong.block)) {
        this.#tooLong = { block: message.id, ...bad };
        this.#stop();
      }
      this.#send();
    }
    this.#changed();
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    this.#stop();
    this.#changed();
  }

  /** True when no more may be sent. */
  #over(): boolean {
    return this.#failure !== undefined || this.#tooLong !== undefined;
  }

  /** Waits for a condition; gives up when a thread has failed, and, unless told not to, at a line that is too long. */
  async #until(done: () => boolean, orTooLong = true): Promise<void> {
    while (!done() && this.#failure === undefined && !(orTooLong && this.#tooLong !== undefined)) {
      await new Promise<void>((resolve) => (this.#changed = resolve));
    }
  }
}

export const command: Command = { help, run };
