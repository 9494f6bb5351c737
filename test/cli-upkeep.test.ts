// `corewal checkpoint`, `truncate` and `restore`, run as their user runs them.

import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { attachLog, openLog, type CheckpointInfo, type DropReport, type RestoreReport, type StatReport } from "../src/index.js";
import { freshDirectory, freshPath } from "./support/scratch.js";

const CLI = fileURLToPath(new URL("../src/cli.js", import.meta.url));

function corewal(args: string[], input: string | Buffer = ""): { code: number | null; out: string; err: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [CLI, ...args], { input, encoding: "utf8", maxBuffer: 1 << 26 });
  return { code: status, out: stdout, err: stderr };
}

function fine(args: string[], input?: string | Buffer): string {
  const { code, out, err } = corewal(args, input);
  assert.equal([code, err], [0, ""]);
  return out;
}

function wrong(args: string[], code: number, words: RegExp): void {
  const ran = corewal(args);
  assert.is(ran.code, code, ran.err);
  assert.match(ran.err, words);
  assert.is(ran.out, "");
}

/** Small segments, lines of 300 bytes. */
async function filled(lines: number, directory = freshPath("log"), topology?: "per-core"): Promise<string> {
  const log = await openLog(directory, {
    ringBytes: 4096,
    segmentBytes: 16384,
    stripes: 2,
    ...(topology === undefined ? {} : { topology }),
  });
  const { lastLsn } = log.recovery;
  for (let i = 1; i <= lines; i++) await log.append(`line ${lastLsn + i} `.padEnd(300, "x"));
  await log.close();
  return directory;
}

test("checkpoint: standard input is the state; --read gives it back, --list and stat show it", async () => {
  const directory = await filled(10);
  assert.is(fine(["checkpoint", directory, "--list"]), "no checkpoints\n");
  assert.match(fine(["stat", directory]), /^checkpoints +none$/m);
  wrong(["checkpoint", directory, "--read"], 1, /no checkpoint/);
  assert.is(fine(["checkpoint", directory], "the state\n"), "checkpoint 1: 10 B, epoch 1, replayed behind LSN 10\n");
  const large = "0123456789".repeat(50_000);
  const made = JSON.parse(fine(["checkpoint", directory, "--json"], large)) as CheckpointInfo;
  assert.equal([made.number, made.lsn, made.bytes], [2, 10, 500_000]);
  assert.is(fine(["checkpoint", directory, "--read"]), large);
  const listed = JSON.parse(fine(["checkpoint", directory, "--list", "--json"])) as CheckpointInfo[];
  assert.equal(
    listed.map(({ number }) => number),
    [2, 1],
  );
  assert.match(fine(["checkpoint", directory, "--list"]), /^checkpoint .*\n +2 +10 +10 +2 +500 kB +20\d\d-[\s\S]*\n +1 +10 /);
  assert.match(fine(["stat", directory]), /^checkpoints +2$[\s\S]*^checkpoint +replayed behind LSN/m);
  assert.equal((JSON.parse(fine(["stat", directory, "--json"])) as StatReport).checkpoints, listed);
  assert.is(fine(["checkpoint", directory], ""), "checkpoint 3: 0 B, epoch 3, replayed behind LSN 10\n");
  wrong(["checkpoint", directory, "--read", "--list"], 2, /exclude each other/);
  wrong(["checkpoint", directory, "--read", "--json"], 2, /--json/);
  const none = freshPath("none");
  for (const flag of [[], ["--read"], ["--list"]]) wrong(["checkpoint", none, ...flag], 2, /no (log|directory)/);
  assert.is(existsSync(none), false);
});

test("truncate: drops whole segments before an LSN, never what a checkpoint needs, and says what went", async () => {
  const directory = await filled(200);
  fine(["checkpoint", directory], "state");
  await filled(100, directory);
  const report = JSON.parse(fine(["truncate", directory, "--before", "150", "--json"])) as DropReport;
  assert.ok(report.segments > 0 && report.bytes > 0);
  const first = report.cores[0]!.firstLsn;
  assert.ok(first > 1 && first <= 150);
  assert.match(fine(["stat", directory]), new RegExp(`^first LSN +${first}: what was before`, "m"));
  assert.match(fine(["dump", directory]), new RegExp(`^${first} `));
  assert.match(fine(["truncate", directory, "--before", "300"]), /^\d+ segments? dropped, .*; the log begins with LSN \d+\n$/);
  const { firstLsn } = JSON.parse(fine(["stat", directory, "--json"])) as StatReport;
  assert.ok(firstLsn > first && firstLsn <= 201, "the checkpoint is replayed from 201 on");
  assert.match(fine(["truncate", directory, "--before", "300"]), /^nothing dropped/);
  wrong(["truncate", directory], 2, /give either --before/);
  wrong(["truncate", directory, "--before", "1", "--after", "1"], 2, /give either --before/);
  wrong(["truncate", directory, "--before", "1,2"], 2, /one chain/);
  wrong(["truncate", directory, "--before", "x"], 2, /whole number/);
  wrong(["truncate", freshPath("none"), "--before", "1"], 2, /no directory/);
});

test("restore: says what it will contain, then makes it; to an LSN, a time, an epoch", async () => {
  const directory = await filled(50);
  const dump = fine(["dump", directory, "--raw"]).split("\n");
  const out = freshPath("out");
  const dry = fine(["restore", directory, "--to-lsn", "20", "--out", out, "--dry-run"]);
  assert.match(
    dry,
    /^would contain +20 entries, 6\.00 kB, the last of 20\d\d-.*\nLSN +1 to 20\nepoch +0\ncheckpoint +none\nof log +[0-9a-f]{32}\nwindow +LSN 0, .* to +LSN 50, /,
  );
  assert.is(existsSync(out), false);
  const done = fine(["restore", directory, "--to-lsn", "20", "--out", out]);
  assert.match(done, /^will contain +20 entries[\s\S]*\nrestored in \d/);
  assert.is(fine(["dump", out, "--raw"]), `${dump.slice(0, 20).join("\n")}\n`);
  assert.match(fine(["verify", out]), /^sound +20 entries/);
  assert.match(fine(["stat", out]), /^restored +from log [0-9a-f]{32}$/m);

  const times = fine(["dump", directory, "--json"])
    .trim()
    .split("\n")
    .map((text) => (JSON.parse(text) as { timestampMs: number }).timestampMs);
  const byTime = JSON.parse(
    fine(["restore", directory, "--to-time", String(times[29]), "--out", freshPath("out"), "--json"]),
  ) as RestoreReport;
  assert.equal([byTime.dryRun, byTime.entries, byTime.lastTimeMs], [false, 30, times[29]]);
  const iso = new Date(Math.ceil(times[49]!)).toISOString();
  assert.match(fine(["restore", directory, "--to-time", iso, "--out", freshPath("out"), "--dry-run"]), /^would contain +50 entries/);
  assert.is(
    (JSON.parse(fine(["restore", directory, "--to-epoch", "0", "--out", freshPath("out"), "--dry-run", "--json"])) as RestoreReport)
      .entries,
    50,
  );
  assert.match(fine(["restore", directory, "--out", freshPath("out")]), /50 entries/);

  wrong(
    ["restore", directory, "--to-lsn", "51", "--out", freshPath("never")],
    1,
    /LSN 51 is beyond LSN 50.*goes from .*COREWAL_OUT_OF_WINDOW/,
  );
  wrong(["restore", directory, "--to-epoch", "1", "--out", freshPath("never")], 1, /COREWAL_OUT_OF_WINDOW/);
  wrong(["restore", directory, "--to-time", "2999-01-01", "--out", freshPath("never")], 1, /COREWAL_OUT_OF_WINDOW/);
  wrong(["restore", directory, "--to-time", "soon", "--out", freshPath("never")], 2, /a time is like/);
  wrong(["restore", directory, "--to-lsn", "5"], 2, /--out is missing/);
  wrong(["restore", directory, "--to-lsn", "5", "--to-epoch", "0", "--out", freshPath("never")], 2, /exclude each other/);
  wrong(["restore", directory, "--to-lsn", "5", "--out", out], 2, /holds a log already/);
  wrong(["restore", freshPath("none"), "--to-lsn", "5", "--out", freshPath("never")], 2, /no directory/);
});

test("restore: an archive reaches further back, a checkpoint takes the place of what is gone", async () => {
  const directory = await filled(200);
  fine(["checkpoint", directory], "state at 200");
  await filled(50, directory);
  const archive = freshDirectory("archive");
  spawnSync("cp", [
    ...readdirSync(directory)
      .filter((name) => name.endsWith(".wal"))
      .map((name) => `${directory}/${name}`),
    archive,
  ]);
  fine(["truncate", directory, "--before", "250"]);
  wrong(["restore", directory, "--to-lsn", "100", "--out", freshPath("never")], 1, /is gone.*goes from \(LSN 200, .*archive/);
  const out = freshPath("out");
  assert.match(fine(["restore", directory, "--to-lsn", "220", "--out", out]), /^checkpoint +1, 12 B, replayed behind LSN 200$/m);
  assert.is(fine(["checkpoint", out, "--read"]), "state at 200");
  const back = freshPath("out");
  assert.match(fine(["restore", directory, "--to-lsn", "100", "--out", back, "--archive", archive]), /^LSN +1 to 100\n/m);
  assert.match(fine(["verify", back]), /^sound +100 entries/);
});

test("truncate --after: cuts the end off behind an LSN", async () => {
  const directory = freshPath("cut");
  const log = await openLog(directory);
  await log.appendBatch(["one", "two", "three", "four"]);
  await log.close();
  assert.is(fine(["truncate", directory, "--after", "3"]), "1 LSN cut off; the log ends with LSN 3\n");
  assert.equal(JSON.parse(fine(["truncate", directory, "--after", "1", "--json"])), { cut: 2, cores: [{ core: 0, lastLsn: 1 }] });
  assert.is(fine(["dump", directory, "--raw"]), "one\n");
  wrong(["truncate", directory, "--after", "2"], 2, /the log ends with LSN 1/);
  assert.is(fine(["dump", directory, "--raw"]), "one\n");
});

test("restore and truncate of a per-core log take an LSN for each core", async () => {
  const directory = freshPath("cores");
  const log = await openLog(directory, { topology: "per-core", stripes: 3 });
  const other = await attachLog(log.handle);
  for (let i = 1; i <= 5; i++) {
    await log.append(`a${i}`);
    await other.append(`b${i}`);
  }
  await other.close();
  await log.close();
  const out = freshPath("out");
  assert.match(fine(["restore", directory, "--to-lsn", "2,4", "--out", out]), /^core 0 +1 to 2\ncore 1 +1 to 4\n/m);
  assert.is(fine(["dump", out, "--raw"]), "a1\nb1\na2\nb2\nb3\nb4\n");
  wrong(["restore", directory, "--to-lsn", "2", "--out", freshPath("never")], 2, /one for each core/);
  wrong(["truncate", directory, "--before", "2"], 2, /one for each core/);
  assert.match(fine(["truncate", directory, "--before", "3,0"]), /^nothing dropped.*core 0 LSN 1, core 1 LSN 1\n$/);
  const single = await filled(5, freshPath("cores"), "per-core");
  assert.match(fine(["restore", single, "--to-lsn", "2", "--out", freshPath("out")]), /^core 0 +1 to 2$/m);
});

test.run();
