// `corewal tail`, run as its user runs it: the last entries, and what comes after them.

import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { closeSync, existsSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { CTL_NEXT_LSN } from "../assembly/layout.js";
import { openLog } from "../src/index.js";
import { endSoon, until, within } from "./support/expect.js";
import { freshDirectory, freshPath } from "./support/scratch.js";
import { killChildren, startProcess, watchChild } from "./support/script.js";

const CLI = fileURLToPath(new URL("../src/cli.js", import.meta.url));

function corewal(...args: string[]): { code: number | null; out: string; err: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [CLI, ...args], { encoding: "utf8" });
  return { code: status, out: stdout, err: stderr };
}

interface Running {
  child: ChildProcess;
  out: () => string;
  err: () => string;
  ended: Promise<number | null>;
}

function start(...args: string[]): Running {
  const child = watchChild(spawn(process.execPath, [CLI, ...args], { stdio: ["ignore", "pipe", "pipe"] }));
  let out = "";
  let err = "";
  child.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (err += chunk.toString()));
  const ended = new Promise<number | null>((resolve) => child.on("close", resolve));
  return { child, out: () => out, err: () => err, ended };
}

/** A closed log with the entries "line 1" to "line N". */
async function filled(count: number): Promise<string> {
  const directory = freshPath("tail");
  const log = await openLog(directory);
  for (let i = 1; i <= count; i++) log.write(`line ${i}`);
  await log.close();
  return directory;
}

const lines = (from: number, to: number): string => Array.from({ length: to - from + 1 }, (_, i) => `line ${from + i}\n`).join("");

test("tail prints the last 10 entries, or as many as asked for, or everything from an LSN on", async () => {
  const directory = await filled(3000);
  for (const [args, expected] of [
    [[], lines(2991, 3000)],
    [["--lines", "3"], lines(2998, 3000)],
    [["--lines", "2000"], lines(1001, 3000)],
    [["--lines", "5000"], lines(1, 3000)],
    [["--lines", "0"], ""],
    [["--from", "2999"], lines(2999, 3000)],
    [["--from", "4000"], ""],
  ] as const)
    assert.equal(corewal("tail", directory, "--raw", ...args), { code: 0, out: expected, err: "" }, args.join(" "));
  assert.match(corewal("tail", directory, "--lines", "1").out, /^3000 {2}\d{4}-.*Z {2}data {2}line 3000\n$/);
  assert.is((JSON.parse(corewal("tail", directory, "--lines", "1", "--json").out) as { lsn: number }).lsn, 3000);
  assert.equal(corewal("tail", await filled(2), "--raw"), { code: 0, out: lines(1, 2), err: "" });
});

test("tail of a log whose only frame was torn prints nothing", async () => {
  const directory = freshPath("torn");
  const { child, ended } = startProcess("exit-case", { directory, what: "append and wait" });
  await within(new Promise((resolve) => child.stdout!.once("data", resolve)));
  child.kill("SIGKILL");
  await within(ended);
  const fd = openSync(join(directory, "000-0000000001.wal"), "r+");
  writeSync(fd, new Uint8Array(1024), 0, 1024, 256);
  closeSync(fd);
  const { code, out } = corewal("tail", directory);
  assert.equal({ code, out }, { code: 0, out: "" });
});

test("tail counts entries, not LSNs: holes among the last ones do not shorten it", async () => {
  const directory = freshPath("holes");
  const log = await openLog(directory);
  for (let i = 1; i <= 20; i++) log.write(`line ${i}`);
  // A writer that takes LSNs and dies: what its thread would have done, step by step.
  const { core } = (log as unknown as { parts: { core: { i32: Int32Array } } }).parts;
  await log.sync();
  Atomics.add(new BigInt64Array(core.i32.buffer), CTL_NEXT_LSN >> 3, 15n);
  log.write("line 21");
  await log.close();
  assert.equal(corewal("tail", directory, "--raw", "--lines", "3"), { code: 0, out: lines(19, 21), err: "" });
});

test("tail --follow goes on with what another process appends, until Ctrl-C: exit code 0", async () => {
  const directory = await filled(20);
  const tail = start("tail", directory, "--follow", "--lines", "2", "--raw");
  const fromNow = start("tail", directory, "--follow", "--lines", "0", "--json");
  await until(() => tail.out() === lines(19, 20), "the last lines");
  const log = await openLog(directory);
  for (let i = 21; i <= 40; i++) {
    await log.append(`line ${i}`);
    if (i % 10 === 0) await until(() => tail.out() === lines(19, i), `line ${i}`);
  }
  await log.close();
  const again = await openLog(directory);
  await again.append("line 41");
  await until(() => tail.out() === lines(19, 41) && fromNow.out().includes('"line 41"'), "the next writer's line");
  await again.close();
  for (const { child, ended, err } of [tail, fromNow]) {
    child.kill("SIGINT");
    const code = await within(ended);
    // Deno says of a child that it sent a signal to, whatever became of it, that the signal ended it.
    if (process.versions["deno"] === undefined) assert.is(code, 0, err());
    assert.is(err(), "");
  }
  // Whenever the second one came to its place, it missed nothing from there on.
  const seen = fromNow
    .out()
    .trim()
    .split("\n")
    .map((line) => (JSON.parse(line) as { lsn: number }).lsn);
  assert.equal(
    seen,
    Array.from({ length: seen.length }, (_, i) => 41 - seen.length + 1 + i),
  );
});

test("tail --follow ends quietly when its reader goes away", async () => {
  const directory = await filled(3);
  const tail = start("tail", directory, "--follow", "--raw");
  await until(() => tail.out() === lines(1, 3), "the lines");
  tail.child.stdout!.destroy();
  const log = await openLog(directory);
  let over = false;
  void tail.ended.then(() => (over = true));
  while (!over) {
    await log.append("into nothing");
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.is(await tail.ended, 0);
  assert.is(tail.err(), "");
  await log.close();
});

test("wrong use: exit code 2, and nothing is created", async () => {
  const missing = freshPath("missing");
  for (const [args, words] of [
    [[], /DIR is missing/],
    [[missing], /COREWAL_NOT_A_LOG/],
    [[missing, "--follow"], /COREWAL_NOT_A_LOG/],
    [[freshDirectory("empty")], /COREWAL_NOT_A_LOG/],
    [[missing, "--lines", "-1"], /--lines/],
    [[missing, "--lines", "x"], /--lines is "x"/],
    [[missing, "--from", "0"], /--from/],
    [[missing, "--from", "1", "--lines", "1"], /--lines and --from exclude each other/],
    [[missing, "--json", "--raw"], /exclude each other/],
    [[missing, "--folow"], /did you mean --follow\?/],
  ] as [string[], RegExp][]) {
    const { code, out, err } = corewal("tail", ...args);
    assert.is(code, 2, err);
    assert.is(out, "");
    assert.match(err, words);
  }
  assert.not.ok(existsSync(missing));
  assert.match(corewal("tail", "--help").out, /^Usage: corewal tail /);
});

test.after(killChildren);
test.after(endSoon);
test.run();
