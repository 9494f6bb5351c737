// Following a log that another process writes: what was promised, each entry once, through rotation, close, kill and
// reopening; and what is damaged is reported, not waited for.

import type { ChildProcess } from "node:child_process";
import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { openLog } from "../src/index.js";
import type { LogOptions } from "../src/options.js";
import type { Entry, Log, ReadOptions } from "../src/types.js";
import { endSoon, readAll, refused, textOf, until, within } from "./support/expect.js";
import { freshPath } from "./support/scratch.js";
import { killChildren, startProcess } from "./support/script.js";

const SMALL: LogOptions = { ringBytes: 4096, segmentBytes: 16_384 };

/** A process that writes; `said` has its lines so far. */
class Writer {
  readonly said: string[] = [];
  private readonly child: ChildProcess;
  private readonly ended: Promise<unknown>;

  constructor(directory: string, options: LogOptions = SMALL) {
    const { child, ended } = startProcess("obedient-writer", { directory, options });
    this.child = child;
    this.ended = ended;
    let rest = "";
    child.stdout!.on("data", (chunk: Buffer) => {
      const lines = (rest + chunk.toString()).split("\n");
      rest = lines.pop()!;
      this.said.push(...lines);
    });
  }

  /** The highest LSN that it has called durable. */
  get durable(): number {
    return Number(/\d+/.exec(this.said.findLast((line) => line.startsWith("durable")) ?? "0")![0]);
  }

  async opened(): Promise<number> {
    await until(() => this.said.length > 0, "the writer's open");
    return Number(this.said[0]!.split(" ")[1]);
  }

  async do(command: string): Promise<void> {
    const before = this.said.length;
    this.child.stdin!.write(`${command}\n`);
    await until(() => this.said.length > before, `the writer's answer to "${command}"`);
  }

  async close(): Promise<void> {
    await this.do("close");
    this.child.stdin!.end();
    await within(this.ended);
  }

  async kill(): Promise<void> {
    this.child.kill("SIGKILL");
    await within(this.ended);
  }
}

function follow(log: Log, options: ReadOptions = {}): { seen: Entry[]; ended: Promise<void> } {
  const seen: Entry[] = [];
  const run = async (): Promise<void> => {
    for await (const entry of log.read({ follow: true, ...options })) seen.push(entry);
  };
  const ended = run();
  ended.catch(() => {});
  return { seen, ended };
}

const reached = (seen: Entry[], lsn: number): Promise<void> => until(() => (seen.at(-1)?.lsn ?? 0) >= lsn, `LSN ${lsn} is shown`);

/** Every entry once, in order, and the same that the log holds in the end. */
async function compare(directory: string, seen: Entry[], from = 1): Promise<void> {
  const log = await openLog(directory, { readOnly: true });
  const there = (await readAll(log, { from })).map((e) => `${e.lsn} ${e.term} ${textOf(e)}`);
  await log.close();
  assert.equal(
    seen.map((e) => `${e.lsn} ${e.term} ${textOf(e)}`),
    there.slice(0, seen.length),
  );
}

test("a follower sees what another process appends, through rotation, a clean close and the next writer", async () => {
  const directory = freshPath("outside");
  let writer = new Writer(directory);
  await writer.opened();
  await refused(openLog(directory, { readOnly: true }), "COREWAL_NOT_A_LOG");
  await writer.do("append 10");
  const log = await openLog(directory, { readOnly: true });
  const all = follow(log);
  const part = follow(log, { from: 500, to: 600 });
  await reached(all.seen, 10);
  assert.is(log.durableLsn, 10);
  let durable = 10;
  for (const count of [1, 1, 300, 1, 700]) {
    await writer.do(`append ${count}`);
    durable += count;
    // Each time it comes to rest the last entry is proven as well.
    await reached(all.seen, durable);
  }
  await within(part.ended);
  assert.equal([part.seen[0]!.lsn, part.seen.at(-1)!.lsn, part.seen.length], [500, 600, 101]);
  await writer.do("append 5");
  await writer.close();
  await reached(all.seen, durable + 5);
  for (let round = 0; round < 2; round++) {
    writer = new Writer(directory);
    assert.is(await writer.opened(), log.durableLsn);
    await writer.do("append 400");
    await reached(all.seen, log.durableLsn);
    await writer.close();
  }
  await reached(all.seen, durable + 805);
  assert.ok(readdirSync(directory).filter((name) => name.endsWith(".wal")).length > 5);
  // What it has learned holds for every reading of this log.
  assert.is((await log.get(durable + 805))?.lsn, durable + 805);
  assert.is((await readAll(log)).length, durable + 805);
  await log.close();
  await within(all.ended);
  assert.is(all.seen.length, durable + 805);
  await compare(directory, all.seen);
});

test("a follower outlives writers that are killed: everything acknowledged is shown once the next one has opened", async () => {
  const directory = freshPath("killed");
  const first = new Writer(directory);
  await first.opened();
  await first.do("append 1");
  const log = await openLog(directory, { readOnly: true });
  const { seen, ended } = follow(log);
  await first.kill();
  for (let round = 0; round < 6; round++) {
    const writer = new Writer(directory);
    await writer.opened();
    void writer.do("flood").catch(() => {});
    const from = log.durableLsn;
    await until(() => writer.durable > from + 100 + round * 50, "a flood");
    await writer.kill();
    // Whatever follows, nothing that was shown before may go.
    const acknowledged = writer.durable;
    const next = new Writer(directory);
    const recovered = await next.opened();
    assert.ok(recovered >= acknowledged);
    await next.do("append 1");
    await reached(seen, recovered + 1);
    assert.is(seen.length, recovered + 1);
    if (round % 2 === 0) await next.kill();
    else await next.close();
  }
  await log.close();
  await within(ended);
  await compare(directory, seen);
});

test("where nobody writes a follower waits, and a writer that comes wakes it; break, abort and close end the wait", async () => {
  const directory = freshPath("nobody");
  const before = await openLog(directory, SMALL);
  await before.append("one");
  await before.close();
  const log = await openLog(directory, { readOnly: true });
  const controller = new AbortController();
  const [waiting, aborted] = [follow(log), follow(log, { signal: controller.signal })];
  const returned = log.read({ follow: true })[Symbol.asyncIterator]();
  await returned.next();
  const next = returned.next();
  await new Promise((resolve) => setTimeout(resolve, 150));
  await returned.return!();
  assert.equal(await within(next), { done: true, value: undefined });
  controller.abort();
  await refused(aborted.ended, "COREWAL_ABORTED");
  const after = await openLog(directory, SMALL);
  await after.append("two");
  await reached(waiting.seen, 2);
  await after.close();
  await log.close();
  await within(waiting.ended);
  assert.equal(waiting.seen.map(textOf), ["one", "two"]);
  await refused(log.read({ follow: true })[Symbol.asyncIterator]().next(), "COREWAL_CLOSED");
});

// --- damage ---------------------------------------------------------------------------------------------------------

/** The highest segment of a log. */
function lastSegment(directory: string): string {
  const name = readdirSync(directory)
    .filter((n) => n.endsWith(".wal"))
    .sort()
    .at(-1)!;
  return join(directory, name);
}

/** A log as it was after its first entry, with a follower that waits there; and the file as it was later. */
async function grown(): Promise<{ log: Log; seen: Entry[]; ended: Promise<void>; file: string; later: Buffer; directory: string }> {
  const source = freshPath("source");
  const directory = freshPath("copy");
  const writer = await openLog(source, SMALL);
  await writer.append("first");
  await writer.append("second");
  cpSync(source, directory, { recursive: true });
  for (let i = 0; i < 5; i++) await writer.append(`later ${i}`);
  const later = readFileSync(lastSegment(source));
  await writer.close();
  const log = await openLog(directory, { readOnly: true });
  const { seen, ended } = follow(log);
  await until(() => seen.length > 0, "the first entry");
  return { log, seen, ended, file: lastSegment(directory), later, directory };
}

test("a frame that arrives byte by byte is waited for, whatever part of it is there", async () => {
  const { log, seen, ended, file, later } = await grown();
  const now = readFileSync(file);
  const differs = [...now.keys()].filter((at) => now[at] !== later[at]);
  for (const at of differs) {
    now[at] = later[at]!;
    writeFileSync(file, now);
    // The follower looks between any two bytes.
    if (at % 3 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await reached(seen, 6);
  await log.close();
  await within(ended);
  assert.equal(seen.slice(0, 6).map(textOf), ["first", "second", "later 0", "later 1", "later 2", "later 3"]);
});

test("damage below a promise is reported, not waited for: in every byte of a frame header, and in an entry", async () => {
  const cases = [...Array.from({ length: 16 }, (_, i) => i * 4), 64 + 16 + 2];
  const find = (bytes: Buffer, text: string): number => bytes.indexOf(text) - 16 - 64;
  const base = await grown();
  await base.log.close();
  await Promise.all(
    cases.map(async (at) => {
      const directory = freshPath("damaged");
      cpSync(base.directory, directory, { recursive: true });
      const log = await openLog(directory, { readOnly: true });
      const { seen, ended } = follow(log);
      await until(() => seen.length > 0, "the first entry");
      const bytes = Buffer.from(base.later);
      bytes[find(bytes, "later 2") + at]! ^= 1;
      writeFileSync(lastSegment(directory), bytes);
      const error = await refused(ended, "COREWAL_CORRUPT");
      assert.is(error.lsn, 5, error.message);
      assert.equal(seen.map(textOf), ["first", "second", "later 0", "later 1"].slice(0, seen.length));
      await log.close();
    }),
  );
});

test("a log that is removed, or another one in its place, is reported", async () => {
  const gone = await grown();
  rmSync(gone.directory, { recursive: true });
  await refused(gone.ended, "COREWAL_CORRUPT", /gone/);
  const replaced = await grown();
  rmSync(replaced.directory, { recursive: true });
  const other = await openLog(replaced.directory, SMALL);
  await other.append("of another log");
  await refused(replaced.ended, "COREWAL_CORRUPT");
  await other.close();
});

test.after(killChildren);
test.after(endSoon);
test.run();
