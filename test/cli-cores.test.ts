// The command line on per-core logs.

import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { attachLog, openLog } from "../src/index.js";
import { freshPath } from "./support/scratch.js";

const CLI = fileURLToPath(new URL("../src/cli.js", import.meta.url));

function corewal(args: string[], input = ""): { code: number | null; out: string; err: string } {
  const r = spawnSync(process.execPath, [CLI, ...args], { input, encoding: "utf8", maxBuffer: 1 << 26 });
  return { code: r.status, out: r.stdout, err: r.stderr };
}

function fine(args: string[], input?: string): string {
  const { code, out, err } = corewal(args, input);
  assert.is(code, 0, err);
  return out;
}

function wrong(args: string[], words: RegExp): void {
  const { code, out, err } = corewal(args);
  assert.equal([code, out], [2, ""]);
  assert.match(err, words);
}

test("append spreads lines over cores; dump merges them, or shows one; stat, verify, repair and tail know them", async () => {
  const dir = freshPath("cli-cores");
  const lines = Array.from({ length: 20_000 }, (_, i) => `line ${i} ${"x".repeat(50)}`);
  const done = JSON.parse(fine(["append", dir, "--workers", "2", "--topology", "per-core", "--json"], `${lines.join("\n")}\n`)) as {
    entries: number;
    firstLsn: number;
    lastLsn: number;
    cores: { core: number; firstLsn: number; lastLsn: number }[];
  };
  assert.equal([done.entries, done.firstLsn, done.lastLsn], [lines.length, 0, 0]);
  assert.is(
    done.cores.reduce((sum, { firstLsn, lastLsn }) => sum + lastLsn - firstLsn + 1, 0),
    lines.length,
  );
  const { core, lastLsn } = done.cores[0]!;
  assert.equal(fine(["dump", dir, "--raw"]).trimEnd().split("\n").sort(), [...lines].sort());
  const own = fine(["dump", dir, "--core", String(core), "--from", "2", "--json"])
    .trimEnd()
    .split("\n");
  assert.is(own.length, lastLsn - 1);
  assert.is((JSON.parse(own[0]!) as { lsn: number }).lsn, 2);
  wrong(["dump", dir, "--from", "2"], /give --core N/);
  wrong(["dump", dir, "--core", "9"], /no core 9/);
  wrong(["tail", dir, "--from", "2"], /one core's/);
  assert.equal(
    fine(["tail", dir, "--lines", "3", "--raw"]),
    fine(["dump", dir, "--raw"]).trimEnd().split("\n").slice(-3).join("\n") + "\n",
  );
  assert.equal(fine(["dump", dir, "--past-damage", "--raw"]).trimEnd().split("\n").sort(), [...lines].sort());
  assert.match(fine(["stat", dir]), /topology +per-core/);
  assert.match(fine(["verify", dir]), /^sound/);
  assert.match(fine(["repair", dir, "--policy", "truncate"]), /nothing to repair/);
  // Without --topology the log's own; another one is refused.
  assert.match(fine(["append", dir], "one more\n"), /1 core, durable/);
  const { code, err } = corewal(["append", dir, "--topology", "striped"], "no\n");
  assert.is(code, 1);
  assert.match(err, /per-core/);
});

test("dump ends with an epoch or a time", async () => {
  const dir = freshPath("cli-cores");
  const log = await openLog(dir, { topology: "per-core", stripes: 2, ringBytes: 65536 });
  const other = await attachLog(log.handle);
  await log.append("a");
  await other.append("b");
  await log.advanceEpoch();
  await log.append("c");
  await log.close();
  assert.is(fine(["dump", dir, "--to-epoch", "0", "--raw"]), "a\nb\n");
  assert.is(fine(["dump", dir, "--to-epoch", "1", "--raw"]), "a\nb\nc\n");
  assert.is(fine(["dump", dir, "--to-time", "2020-01-01T00:00:00Z", "--raw"]), "");
  assert.is(fine(["dump", dir, "--to-time", String(Date.now() + 1000), "--raw"]), "a\nb\nc\n");
});

test.run();
