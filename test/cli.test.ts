// The command line, run as its user runs it: the bundled file in a process of its own.

import { spawn, spawnSync } from "node:child_process";
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Acknowledged, judge, sound } from "../src/cli/demo-check.js";
import { Records } from "../src/cli/demo-records.js";
import { openLog } from "../src/index.js";

const CLI = fileURLToPath(new URL("../src/cli.js", import.meta.url));
const place = mkdtempSync(join(tmpdir(), "corewal-cli-test-"));
let count = 0;
const fresh = () => join(place, `log${++count}`);

test.after(() => rmSync(place, { recursive: true, force: true }));

interface Ran {
  code: number | null;
  out: string;
  bytes: Buffer;
  err: string;
}

function corewal(args: string[], input: string | Buffer = ""): Ran {
  const r = spawnSync(process.execPath, [CLI, ...args], { input, maxBuffer: 1 << 28, env: { ...process.env, TMPDIR: place } });
  return { code: r.status, out: r.stdout.toString(), bytes: r.stdout, err: r.stderr.toString() };
}

/** The same without blocking: its input may break off, where spawnSync of some runtimes gives up. */
async function corewalAsync(args: string[], input: string | Buffer = ""): Promise<Ran> {
  const child = spawn(process.execPath, [CLI, ...args], { stdio: "pipe" });
  child.stdin.on("error", () => {}).end(input);
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  child.stdout.on("data", (d: Buffer) => out.push(d));
  child.stderr.on("data", (d: Buffer) => err.push(d));
  const code = await new Promise<number | null>((resolve) => child.on("close", resolve));
  const bytes = Buffer.concat(out);
  return { code, out: bytes.toString(), bytes, err: Buffer.concat(err).toString() };
}

/** Runs it and expects success without a word on stderr. */
function fine(args: string[], input?: string | Buffer): Ran {
  const ran = corewal(args, input);
  assert.is(ran.err, "");
  assert.is(ran.code, 0);
  return ran;
}

/** Wrong use: exit code 2, nothing on stdout, and words that match. Several at a time: most of it is starting Node. */
async function refused(...cases: [args: string[], words: RegExp, input?: string][]): Promise<void> {
  const next = cases.values();
  const take = async () => {
    for (const [args, words, input] of next) {
      const { code, out, err } = await corewalAsync(args, input);
      assert.is(code, 2, `${args.join(" ")}: ${err}`);
      assert.is(out, "");
      assert.match(err, words);
    }
  };
  await Promise.all([take(), take(), take(), take()]);
}

const jsonLines = (text: string) =>
  text
    .split("\n")
    .filter((l) => l !== "")
    .map((l) => JSON.parse(l) as Record<string, unknown>);

// --- help and wrong use ---------------------------------------------------------------------------------------------

test("help and version are data: on stdout, exit code 0", () => {
  assert.match(fine(["--help"]).out, /append[\s\S]*dump[\s\S]*verify[\s\S]*stat[\s\S]*demo/);
  assert.match(fine(["help"]).out, /Exit codes/);
  assert.match(fine(["--version"]).out, /^\d+\.\d+\.\d+\S*\n$/);
  for (const command of ["append", "dump", "verify", "stat", "demo"]) {
    assert.match(fine([command, "--help"]).out, new RegExp(`^Usage: corewal ${command} `));
  }
  assert.is(fine(["help", "dump"]).out, fine(["dump", "somewhere", "-h"]).out);
});

test("wrong use of every command: exit code 2 and a line that helps", async () => {
  const dir = fresh();
  await refused(
    [[], /Usage/],
    [["dmup", dir], /did you mean dump\?/],
    [["constructor"], /no command/],
    [["--verbose"], /no flag "--verbose"/],
    ...["append", "dump", "verify", "stat"].flatMap((command): [string[], RegExp][] => [
      [[command], /DIR is missing[\s\S]*Usage: corewal/],
      [[command, ""], /DIR is empty/],
      [[command, dir, "more"], /"more" is one argument too many/],
      [[command, dir, "--jsn"], /no flag --jsn, did you mean --json\?/],
      [[command, dir, "-x"], /no flag -x/],
    ]),
    [["append", dir, "--workers", "0"], /--workers is "0": it must be a whole number from 1 to 64/],
    [["append", dir, "--workers", "65"], /from 1 to 64/],
    [["append", dir, "--workers", "two"], /--workers/],
    [["append", dir, "--workers"], /--workers/],
    [["append", dir, "--durability", "maybe"], /must be group, sync or async/],
    [["append", dir, "--topology", "ring"], /must be striped or per-core/],
    [["dump", dir, "--to-time", "soon"], /a time is like/],
    [["dump", dir, "--core", "-1"], /--core/],
    ...["0", "1.5", "x", "", "1e3", "9007199254740992", "-1"].flatMap((bad): [string[], RegExp][] => [
      [["dump", dir, "--from", bad], /--from/],
      [["dump", dir, "--to", bad], /--to/],
    ]),
    [["dump", dir, "--from", "5", "--to", "4"], /--from 5 is beyond --to 4/],
    [["dump", dir, "--json", "--raw"], /exclude each other/],
    [["demo", join(place, "no such file")], /cannot read/],
    [["demo", place], /cannot read/],
    [["demo", "--fast"], /no flag --fast/],
  );
  assert.not.ok(existsSync(dir), "nothing was created");
});

test("reading where there is no log: exit code 2, nothing is created", async () => {
  const missing = join(fresh(), "deeper");
  const empty = fresh();
  mkdirSync(empty);
  const file = fresh();
  writeFileSync(file, "not a directory");
  await refused(
    ...["dump", "verify", "stat"].flatMap((command) =>
      [missing, empty, file].map((dir): [string[], RegExp] => [[command, dir], /COREWAL_NOT_A_LOG/]),
    ),
    [["stat", missing, "--watch"], /COREWAL_NOT_A_LOG/],
    [["append", file], /COREWAL_NOT_A_LOG/, "line\n"],
  );
  assert.not.ok(existsSync(missing));
  assert.equal(readdirSync(empty), []);
  assert.is(readFileSync(file, "utf8"), "not a directory");
});

// --- append and dump ------------------------------------------------------------------------------------------------

test("append makes each line an entry; dump --raw gives the same bytes back", () => {
  const dir = join(fresh(), "made", "on", "the way");
  const input = Buffer.concat([
    Buffer.from("plain\nwith CR\r\n tab\tand ünïcode 🦀\n"),
    Buffer.of(0, 255, 254, 128, 10),
    Buffer.from("no newline at the end"),
  ]);
  const ran = fine(["append", dir, "--json"], input);
  const report = JSON.parse(ran.out) as Record<string, number>;
  assert.equal(Object.keys(report), ["entries", "bytes", "firstLsn", "lastLsn", "seconds", "skippedEmpty"]);
  assert.is(report["entries"], 5);
  assert.is(report["bytes"], input.length - 4);
  assert.is(report["firstLsn"], 1);
  assert.is(report["lastLsn"], 5);
  assert.is(report["skippedEmpty"], 0);
  assert.ok(report["seconds"]! > 0);
  assert.ok(fine(["dump", dir, "--raw"]).bytes.equals(Buffer.concat([input, Buffer.from("\n")])));
  const again = JSON.parse(fine(["append", dir, "--json"], "sixth\n").out) as Record<string, number>;
  assert.is(again["firstLsn"], 6);
  assert.is(again["lastLsn"], 6);
  assert.match(fine(["append", dir], "seventh\n").out, /^1 entry, 7 B, LSN 7 to 7, durable in /);
});

test("one worker keeps the order of the lines; dump selects by LSN", () => {
  const dir = fresh();
  const lines = Array.from({ length: 50_000 }, (_, i) => `line ${i + 1} ${"x".repeat(i % 97)}`);
  const input = `${lines.join("\n")}\n`;
  fine(["append", dir], input);
  assert.ok(fine(["dump", dir, "--raw"]).out === input);
  assert.is(fine(["dump", dir, "--raw", "--from", "2", "--to", "3"]).out, `${lines[1]}\n${lines[2]}\n`);
  assert.is(fine(["dump", dir, "--raw", "--from", "50000"]).out, `${lines[49_999]}\n`);
  assert.is(fine(["dump", dir, "--raw", "--to", "1"]).out, `${lines[0]}\n`);
  assert.is(fine(["dump", dir, "--raw", "--from", "50001"]).out, "");
});

for (const durability of ["sync", "group", "async"]) {
  test(`several workers append every line exactly once, in the order of their blocks (${durability})`, () => {
    const dir = fresh();
    const lines = Array.from({ length: 40_000 }, (_, i) => `${i} ${"y".repeat(i % 61)}`);
    const report = JSON.parse(
      fine(["append", dir, "--workers", "4", "--durability", durability, "--topology", "striped", "--json"], lines.join("\n")).out,
    ) as Record<string, number>;
    assert.is(report["entries"], lines.length);
    assert.is(
      report["bytes"],
      lines.reduce((n, l) => n + l.length, 0),
    );
    assert.is(report["firstLsn"], 1);
    assert.is(report["lastLsn"], lines.length);
    const back = fine(["dump", dir, "--raw"]).out.split("\n").slice(0, -1);
    assert.equal(back.sort(), [...lines].sort());
    const cores = new Set(jsonLines(fine(["dump", dir, "--json"]).out).map((e) => e["core"]));
    assert.ok(cores.size > 1, "more than one stripe wrote");
  });
}

test("empty lines are skipped, counted and mentioned", () => {
  const dir = fresh();
  const ran = corewal(["append", dir, "--json"], "\n\na\n\nb\n\n");
  assert.is(ran.code, 0);
  assert.match(ran.err, /4 empty lines skipped/);
  const report = JSON.parse(ran.out) as Record<string, number>;
  assert.is(report["entries"], 2);
  assert.is(report["skippedEmpty"], 4);
  assert.is(fine(["dump", dir, "--raw"]).out, "a\nb\n");
});

test("no lines at all: nothing appended, exit code 0", () => {
  const dir = fresh();
  const report = JSON.parse(fine(["append", dir, "--json"], "").out) as Record<string, number>;
  assert.is(report["entries"], 0);
  assert.is(report["lastLsn"], 0);
});

const MAX = 1024 * 1024;

test("a line that is too long: exit code 1 with its number, what stood before it is durable and counted", async () => {
  for (const [name, long] of [
    ["with an end", `${"z".repeat(MAX + 1)}\nafter\n`],
    ["without an end", "z".repeat(MAX + 1)],
    ["far too long", `${"z".repeat(5 * MAX)}\nafter\n`],
  ] as const) {
    const dir = fresh();
    const ran = await corewalAsync(["append", dir, "--json"], `one\n\nthree\n${long}`);
    assert.is(ran.code, 1, name);
    assert.match(ran.err, /line 4 is .* 1,048,576/);
    const report = JSON.parse(ran.out) as Record<string, number>;
    assert.is(report["entries"], 2);
    assert.is(report["skippedEmpty"], 1);
    assert.is(fine(["dump", dir, "--raw"]).out, "one\nthree\n");
  }
  const dir = fresh();
  const longest = "z".repeat(MAX);
  fine(["append", dir], `${longest}\n${longest}`);
  assert.ok(fine(["dump", dir, "--raw"]).out === `${longest}\n${longest}\n`, "the longest that fits");
  const many = Array.from({ length: 30_000 }, (_, i) => `line ${i}`);
  const ran = await corewalAsync(["append", fresh(), "--workers", "3"], `${many.join("\n")}\n${longest}z\n${many.join("\n")}`);
  assert.is(ran.code, 1);
  assert.match(ran.err, /line 30,001 is 1,048,577 bytes/);
});

test("a slow stream becomes durable while it runs, and ends well", async () => {
  const dir = fresh();
  const child = spawn(process.execPath, [CLI, "append", dir, "--json"], { stdio: ["pipe", "pipe", "inherit"] });
  let out = "";
  child.stdout.on("data", (d: Buffer) => (out += d.toString()));
  const ended = new Promise((resolve) => child.on("close", resolve));
  child.stdin.write("first\nsec");
  const deadline = Date.now() + 20_000;
  while (corewal(["dump", dir, "--raw"]).out !== "first\n") {
    assert.ok(Date.now() < deadline, "the first line is in the log");
    await new Promise(setImmediate); // some runtimes write to a pipe only between turns
  }
  child.stdin.end("ond\nthird");
  assert.is(await ended, 0);
  assert.is(jsonLines(out)[0]!["entries"], 3);
  assert.is(fine(["dump", dir, "--raw"]).out, "first\nsecond\nthird\n");
});

test("append to a log that another process holds: exit code 1, the log is untouched", async () => {
  const dir = fresh();
  const log = await openLog(dir);
  await log.append("mine");
  const ran = corewal(["append", dir], "theirs\n");
  assert.is(ran.code, 1);
  assert.match(ran.err, /COREWAL_LOCKED/);
  assert.is(ran.out, "");
  await log.close();
  assert.is(fine(["dump", dir, "--raw"]).out, "mine\n");
});

test("dump --json: one object a line, bytes that are no UTF-8 as base64", async () => {
  const dir = fresh();
  const log = await openLog(dir);
  const bytes = Uint8Array.of(0xff, 0, 0x80);
  await log.append('text "with" quotes\nand 🦀');
  await log.append(bytes);
  await log.append({ kind: "put", key: "clé", value: "value" });
  await log.append({ kind: "put", key: bytes, value: bytes });
  await log.append({ kind: "delete", key: "clé" });
  await log.append({ kind: "commit", offsets: { topic: 7n, other: -1n }, watermark: 9n });
  await log.close();
  const [text, binary, put, binaryPut, del, commit] = jsonLines(fine(["dump", dir, "--json"]).out);
  assert.equal(Object.keys(text!), ["lsn", "term", "epoch", "core", "kind", "timestampMs", "encoding", "value"]);
  assert.is(text!["lsn"], 1);
  assert.is(text!["kind"], "data");
  assert.is(text!["value"], 'text "with" quotes\nand 🦀');
  assert.ok(Math.abs((text!["timestampMs"] as number) - Date.now()) < 60_000);
  assert.is(binary!["encoding"], "base64");
  assert.is(binary!["value"], "/wCA");
  assert.is(put!["key"], "clé");
  assert.is(put!["keyEncoding"], undefined);
  assert.is(put!["value"], "value");
  assert.is(binaryPut!["keyEncoding"], "base64");
  assert.is(binaryPut!["key"], "/wCA");
  assert.is(del!["kind"], "delete");
  assert.is(del!["key"], "clé");
  assert.is(commit!["kind"], "commit");

  const human = fine(["dump", dir]).out.split("\n");
  assert.match(human[0]!, /^1 {2}\d{4}-.*Z {2}data {2}text "with" quotes\\nand 🦀$/);
  assert.match(human[1]!, /0xff0080$/);
  assert.match(human[2]!, /put {2}clé = {2}value$/);
  assert.match(human[4]!, /delete {2}clé$/);
  assert.match(human[5]!, /commit {2}(topic=7 other=-1|other=-1 topic=7) watermark 9$/);
});

test("dump for people shows no control characters: a log cannot talk to the terminal", () => {
  const dir = fresh();
  fine(["append", dir], "\x1b[2Jgone\x07 \u202eback\u009b31m\\\n");
  assert.match(fine(["dump", dir]).out, /data {2}\\x1b\[2Jgone\\x07 \\u202eback\\x9b31m\\\\\n$/);
});

test("a reader of stdout that goes away ends dump quietly with 0", async () => {
  const dir = fresh();
  fine(["append", dir], `${Array.from({ length: 60_000 }, (_, i) => `line ${i} ${"w".repeat(80)}`).join("\n")}\n`);
  for (const format of ["--raw", "--json"]) {
    const child = spawn(process.execPath, [CLI, "dump", dir, format], { stdio: ["ignore", "pipe", "pipe"] });
    let err = "";
    child.stderr.on("data", (d: Buffer) => (err += d.toString()));
    child.stdout.once("data", () => child.stdout.destroy());
    const code = await new Promise((resolve) => child.on("close", resolve));
    assert.is(err, "");
    assert.is(code, 0);
  }
});

// --- verify and stat ------------------------------------------------------------------------------------------------

const segmentsOf = (dir: string) => (JSON.parse(fine(["stat", dir, "--json"]).out) as { segments: { path: string }[] }).segments;

test("verify: a sound log is 0, a damaged one 1 with file, offset, LSN and kind", () => {
  const dir = fresh();
  fine(["append", dir], "a first line\na second line\n");
  const sound = JSON.parse(fine(["verify", dir, "--json"]).out) as Record<string, unknown>;
  assert.is(sound["ok"], true);
  assert.is(sound["clean"], true);
  assert.is(sound["entries"], 2);
  assert.is(sound["firstLsn"], 1);
  assert.is(sound["lastLsn"], 2);
  assert.equal(sound["faults"], []);
  assert.match(fine(["verify", dir]).out, /^sound {2}2 entries, LSN 1 to 2 /);

  const name = segmentsOf(dir)[0]!.path;
  const file = existsSync(name) ? name : join(dir, name);
  const bytes = readFileSync(file);
  const at = bytes.indexOf("second");
  assert.ok(at > 0);
  bytes[at]! ^= 1;
  writeFileSync(file, bytes);
  const before = statSync(file).mtimeMs;
  const ran = corewal(["verify", dir, "--json"]);
  assert.is(ran.code, 1);
  const report = JSON.parse(ran.out) as { ok: boolean; faults: Record<string, unknown>[] };
  assert.is(report.ok, false);
  assert.ok(report.faults.length > 0);
  assert.is(typeof report.faults[0]!["file"], "string");
  assert.is(typeof report.faults[0]!["offset"], "number");
  assert.is(typeof report.faults[0]!["lsn"], "number");
  assert.is(typeof report.faults[0]!["kind"], "string");
  const words = corewal(["verify", dir]);
  assert.is(words.code, 1);
  assert.match(words.out, /^damaged/);
  assert.is(corewal(["dump", dir]).code, 1);
  assert.is(statSync(file).mtimeMs, before, "reading changed nothing");
});

test("verify and stat while a process writes: live, judged up to its promise, holder named", async () => {
  const dir = fresh();
  const log = await openLog(dir);
  await log.append("live");
  const verified = JSON.parse(fine(["verify", dir, "--json"]).out) as Record<string, unknown>;
  assert.is(verified["ok"], true);
  assert.is(verified["live"], true);
  const stat = JSON.parse(fine(["stat", dir, "--json"]).out) as { live: boolean; lock: { held: boolean; owner: { pid: number } } };
  assert.is(stat.live, true);
  assert.is(stat.lock.held, true);
  assert.is(stat.lock.owner.pid, process.pid);
  assert.match(fine(["stat", dir]).out, new RegExp(`in use[\\s\\S]*process ${process.pid} on `));
  await log.close();
  const closed = JSON.parse(fine(["stat", dir, "--json"]).out) as { live: boolean; clean: boolean; lastLsn: number };
  assert.is(closed.live, false);
  assert.is(closed.clean, true);
  assert.is(closed.lastLsn, 1);
  assert.match(fine(["stat", dir]).out, /closed properly[\s\S]*LSN 1 to 1/);
});

test("after a crash in the middle of a write: the torn tail is reported, left out, no fault", async () => {
  const dir = fresh();
  const child = spawn(process.execPath, [CLI, "append", dir], { stdio: ["pipe", "ignore", "inherit"] });
  child.stdin.on("error", () => {}).write("one\ntwo\n");
  const deadline = Date.now() + 20_000;
  while (corewal(["dump", dir, "--raw"]).out !== "one\ntwo\n") {
    assert.ok(Date.now() < deadline, "the lines are in the log");
    await new Promise(setImmediate);
  }
  child.kill("SIGKILL");
  await new Promise((resolve) => child.on("close", resolve));
  const { segments } = JSON.parse(fine(["stat", dir, "--json"]).out) as { segments: { path: string; endOffset: number }[] };
  const { path, endOffset } = segments.at(-1)!;
  const fd = openSync(path, "r+");
  writeSync(fd, Buffer.alloc(1000, 7), 0, 1000, endOffset);
  closeSync(fd);

  const report = JSON.parse(fine(["verify", dir, "--json"]).out) as { ok: boolean; clean: boolean; torn: { offset: number } };
  assert.is(report.ok, true);
  assert.is(report.clean, false);
  assert.is(report.torn.offset, endOffset);
  assert.match(fine(["verify", dir]).out, /torn tail: .* never acknowledged/);
  const stat = fine(["stat", dir]).out;
  assert.match(stat, /not closed properly/);
  assert.match(stat, new RegExp(`nobody: process ${child.pid} .* has ended without closing`));
  assert.match(stat, /torn tail .* never acknowledged/);
  const dump = corewal(["dump", dir, "--raw"]);
  assert.is(dump.code, 0);
  assert.is(dump.out, "one\ntwo\n");
  assert.match(dump.err, /torn tail/);
  fine(["append", dir], "three\n");
  assert.is(fine(["dump", dir, "--raw"]).out, "one\ntwo\nthree\n");
  assert.match(fine(["stat", dir]).out, /closed properly/);
});

test("stat --watch repeats until its reader goes away", async () => {
  const dir = fresh();
  fine(["append", dir], "line\n");
  const child = spawn(process.execPath, [CLI, "stat", dir, "--watch", "--json"], { stdio: ["ignore", "pipe", "inherit"] });
  let out = "";
  child.stdout.on("data", (d: Buffer) => {
    out += d.toString();
    if (jsonLines(out).length === 2) child.stdout.destroy();
  });
  const code = await new Promise((resolve) => child.on("close", resolve));
  assert.is(code, 0);
  assert.is(jsonLines(out)[1]!["lastLsn"], 1);
});

// --- demo -----------------------------------------------------------------------------------------------------------

test("demo kills its own loading process and finds every acknowledged record again", () => {
  const file = join(place, "lines");
  writeFileSync(file, Array.from({ length: 300 }, (_, i) => `record ${i} ${"v".repeat(i % 50)}`).join("\n"));
  const before = readdirSync(place).sort();
  const ran = fine(["demo", file]);
  const [striped, perCore] = ran.out.split(/^per-core: /m);
  for (const out of [striped!, perCore!]) {
    const [, kept, acknowledged] = /✓ ([\d,]+) of ([\d,]+) acknowledged records are there/.exec(out)!;
    assert.is(kept, acknowledged);
    assert.ok(Number(kept!.replace(/,/g, "")) >= 10_000);
    assert.match(out, /0 invented, 0 twice, 0 wrong/);
    assert.match(out, /20,100 of 20,100 records, each once/);
    assert.match(out, /verify +✓/);
  }
  // A thread that starts late may have nothing under way when the kill comes.
  assert.match(perCore!, /entries of [234] cores recovered/);
  assert.match(ran.out, /async +4,096 +[\d,]+ /);
  assert.not.match(ran.out, /\x1b/, "no colours in a pipe");
  assert.equal(readdirSync(place).sort(), before, "its directory is gone");
});

test("the demo's judge of a per-core log: an LSN of another core is another place", async () => {
  const records = Records.of(Buffer.from(Array.from({ length: 20_000 }, (_, i) => `record ${i}\n`).join("")));
  const log = await openLog(fresh(), { topology: "per-core" });
  const acks = new Acknowledged(records.count);
  acks.add(0, 0, await log.append({ kind: "put", key: "0", value: records.at(0) }));
  assert.ok(sound(await judge(log, records, acks)));
  acks.cores[0] = 1;
  assert.is((await judge(log, records, acks)).wrong, 1);
  await log.close();
});

test("demo of a file without lines: exit code 2", async () => {
  const file = join(place, "no lines");
  writeFileSync(file, "\n\n\n");
  await refused([["demo", file], /no lines/]);
});

test("the demo's judge finds each kind of loss that is planted", async () => {
  const records = Records.of(Buffer.from(Array.from({ length: 20_000 }, (_, i) => `record ${i}\n`).join("")));
  const log = await openLog(fresh());
  const put = (index: number, value: Uint8Array = records.at(index)) => log.append({ kind: "put", key: String(index), value });
  const acks = new Acknowledged(records.count);
  for (const index of [0, 1, 2]) acks.add(index, 0, await put(index));
  await put(3);
  assert.ok(sound(await judge(log, records, acks)), "all is well so far");

  acks.add(4, 0, await put(4, Buffer.from("record 5"))); // other bytes
  await put(5);
  acks.add(5, 0, log.lastLsn + 1); // acknowledged under another LSN
  await put(1); // twice
  await put(20_000, records.at(0)); // invented: no such number
  await log.append(records.at(6)); // invented: no number at all
  acks.add(7, 0, 1000); // missing
  const verdict = await judge(log, records, acks);
  await log.close();
  assert.not.ok(sound(verdict));
  const { there, ...counts } = verdict;
  assert.equal(counts, { recovered: 9, kept: 3, unacknowledged: 1, missing: 1, wrong: 2, twice: 1, invented: 2 });
  assert.equal([...there.subarray(0, 8)], [1, 1, 1, 1, 1, 1, 0, 0]);
});

// --- bench ----------------------------------------------------------------------------------------------------------

test("bench measures both topologies, prints JSON, writes a page of its own, and leaves nothing", () => {
  const dir = fresh();
  mkdirSync(dir);
  const page = join(place, "bench.html");
  const ran = fine(["bench", dir, "--rounds", "1", "--bytes", "1000", "--json", "--report", page]);
  interface Rates {
    topology: string;
    threads: number;
    ring: number;
    durable: number;
    read: number;
  }
  const report = JSON.parse(ran.out) as { entryBytes: number; durability: { entriesPerSecond: number }[]; threads: Rates[] };
  assert.is(report.entryBytes, 1000);
  assert.is(report.durability.length, 6);
  for (const { entriesPerSecond } of report.durability) assert.ok(entriesPerSecond > 0);
  assert.equal(
    report.threads.map(({ topology, threads }) => `${topology} ${threads}`),
    ["striped 1", "striped 2", "per-core 1", "per-core 2"],
  );
  for (const { ring, durable, read } of report.threads) assert.ok(ring > 0 && durable > 0 && read > 0);
  const html = readFileSync(page, "utf8");
  assert.match(html, /^<!doctype html>/);
  assert.is(html.match(/<div style="width:/g)!.length, 6 + 3 * 4);
  assert.not.match(html, /<script|https?:|src=/, "it needs no other file");
  assert.equal(readdirSync(dir), []);
});

test("bench: wrong flags and places that cannot be written to are refused, and say why", async () => {
  await refused([["bench", "--threads", "0"], /--threads is "0"/]);
  await refused([["bench", "--topology", "ring"], /--topology is "ring": it must be striped or per-core/]);
  await refused([["bench", "--bytes", "65537"], /from 1 to 65536/]);
  const ran = corewal(["bench", join(place, "nowhere", "at all")]);
  assert.is(ran.code, 1);
  assert.match(ran.err, /preparing the bench/);
});

test.run();
