// `corewal repair` and `corewal dump --past-damage`, run as their user runs them, on a log on a real disk.

import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { decodeLost, openLog, repairLog, type RepairOptions } from "../src/index.js";
import { freshPath } from "./support/scratch.js";

const CLI = fileURLToPath(new URL("../src/cli.js", import.meta.url));

function corewal(...args: string[]): { code: number | null; out: string; err: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [CLI, ...args], { encoding: "utf8" });
  return { code: status, out: stdout, err: stderr };
}

/** Five entries, each in a frame of its own; the third is damaged. */
async function damaged(): Promise<string> {
  const directory = freshPath("repair");
  const log = await openLog(directory);
  for (const word of ["one", "two", "three", "four", "five"]) await log.append(word);
  await log.close();
  const file = join(directory, "000-0000000001.wal");
  const bytes = readFileSync(file);
  bytes[bytes.indexOf("three")]! ^= 1;
  writeFileSync(file, bytes);
  return directory;
}

test("dump --past-damage: every whole entry, the lost one on stderr, exit code 1; without, it ends at the damage", async () => {
  const directory = await damaged();
  const stopped = corewal("dump", directory, "--raw");
  assert.is(stopped.code, 1);
  assert.is(stopped.out, "one\ntwo\n");
  const past = corewal("dump", directory, "--raw", "--past-damage");
  assert.is(past.code, 1);
  assert.is(past.out, "one\ntwo\nfour\nfive\n");
  assert.match(past.err, /an entry is damaged.*000-0000000001\.wal/);
  assert.match(past.err, /LSN 3 lost/);
  const part = corewal("dump", directory, "--raw", "--past-damage", "--from", "2", "--to", "4");
  assert.is(part.out, "two\nfour\n");
});

test("repair wants a policy; a dry run says what would be lost and changes nothing", async () => {
  const directory = await damaged();
  const without = corewal("repair", directory);
  assert.is(without.code, 2);
  assert.match(without.err, /--policy is missing: truncate .* skip /);
  assert.match(corewal("repair", directory, "--policy", "guess").err, /truncate or skip/);
  const before = readdirSync(directory).filter((name) => name.includes(".wal"));
  const dry = corewal("repair", directory, "--policy", "skip", "--dry-run");
  assert.is(dry.code, 0);
  assert.match(dry.out, /damaged, nothing was changed[\s\S]*would be lost {2}LSN 3\n2 entries behind the first fault would stay/);
  assert.equal(
    readdirSync(directory).filter((name) => name.includes(".wal")),
    before,
  );
  assert.is(corewal("repair", freshPath("none"), "--policy", "skip").code, 2);
});

test("repair --policy skip and truncate: what is said is what is there, also to verify and to programs", async () => {
  for (const [policy, words, lost] of [
    ["skip", "one\ntwo\nfour\nfive\n", { first: 3, last: 3 }],
    ["truncate", "one\ntwo\n", { first: 3, last: 5 }],
  ] as const) {
    const directory = await damaged();
    const repaired = corewal("repair", directory, "--policy", policy, "--json");
    assert.is(repaired.code, 0, repaired.err);
    const report = JSON.parse(repaired.out) as Awaited<ReturnType<typeof repairLog>>;
    assert.equal(report.lost, [lost]);
    assert.equal(readdirSync(directory).includes("000-0000000001.wal.removed-1"), true);
    assert.is(corewal("dump", directory, "--raw").out, words);
    const verified = corewal("verify", directory);
    assert.is(verified.code, 0);
    assert.match(verified.out, /lost in an earlier repair: LSN 3/);
    assert.match(corewal("repair", directory, "--policy", policy).out, /^sound: nothing to repair/);
    const log = await openLog(directory);
    assert.is(await log.append("six"), 6);
    const found: unknown[] = [];
    for await (const entry of log.read({ internal: true })) if (entry.kind === "lost") found.push(decodeLost(entry));
    assert.equal(found, [lost]);
    await log.close();
  }
});

test("repair: a log that is open for writing is refused, and so are options that do not exist", async () => {
  const directory = await damaged();
  await repairLog(directory, { policy: "skip" });
  const log = await openLog(directory);
  const refusal = corewal("repair", directory, "--policy", "skip");
  assert.is(refusal.code, 1);
  assert.match(refusal.err, /COREWAL_LOCKED/);
  await log.close();
  for (const options of [undefined, {}, { policy: "guess" }, { policy: "skip", dryRun: 1 }, { policy: "skip", force: true }]) {
    const error = await repairLog(directory, options as RepairOptions).then(
      () => undefined,
      (e: unknown) => e as { code: string },
    );
    assert.is(error?.code, "COREWAL_INVALID_OPTION", JSON.stringify(options));
  }
  const readOnly = await openLog(directory, { readOnly: true, onCorruption: "skip" }).then(
    () => undefined,
    (e: unknown) => e as { code: string; message: string },
  );
  assert.match(readOnly?.message ?? "", /onCorruption.*readOnly/);
});

test.run();
