// Real processes, watched and disturbed at the system calls: every acknowledgement followed its
// fsync (invariant 1), errors of the system poison (6, 7), and a kill at any call loses nothing acknowledged (1 to 3).

import { copyFileSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { SegmentScanner } from "../src/scan.js";
import { parseSegmentName, readSegmentHeader } from "../src/segment.js";
import { nodeStorage } from "../src/storage/node.js";
import { endSoon } from "./support/expect.js";
import { checkAfter } from "./support/fault-check.js";
import { here } from "./support/runtimes.js";
import { freshPath } from "./support/scratch.js";
import { CHANGES, hasStrace, traced, type Call } from "./support/strace.js";
import type { FaultTask } from "./workers/fault-victim.js";

const APPENDS = 24;
if (!hasStrace) console.log("# SKIPPED: strace is missing or may not trace here");

function watched(name: string, run: () => Promise<void>): void {
  if (hasStrace) test(name, run);
  else test.skip(name, run);
}

interface Ack {
  /** Place in the trace. */
  at: number;
  append: number;
  first: number;
  last: number;
}

function acksIn(calls: Call[]): Ack[] {
  return calls.flatMap(({ text }, at) => {
    const [, append, first, last] = /"ack (\d+) (\d+) (\d+)\\n"/.exec(text) ?? [];
    return append === undefined ? [] : [{ at, append: Number(append), first: Number(first), last: Number(last) }];
  });
}

/** Frames of a log that was closed: in which file and where each LSN is. */
function framesOf(directory: string): { path: string; offset: number; firstLsn: number; lsns: number }[] {
  return readdirSync(directory)
    .filter((name) => parseSegmentName(name) !== undefined)
    .flatMap((name) => {
      const path = join(directory, name);
      const file = nodeStorage.open(path, "read");
      const scanner = new SegmentScanner(file, readSegmentHeader(file), file.size());
      const frames = [];
      for (let frame = scanner.next(); frame !== undefined; frame = scanner.next())
        frames.push({ path, offset: frame.offset, firstLsn: frame.header.firstLsn, lsns: frame.header.lsns });
      scanner.close();
      file.close();
      return frames;
    });
}

/** Throws at the first acknowledgement that came before its frame, its file's name, was durable. */
function checkOrder(directory: string, calls: Call[]): number {
  const frames = framesOf(directory);
  const acks = acksIn(calls);
  const between = (from: number, to: number, holds: (call: Call) => boolean): boolean =>
    calls.slice(from + 1, to).some((c) => c.ok && holds(c));
  for (const { at, last } of acks) {
    const frame = frames.find(({ firstLsn, lsns }) => last >= firstLsn && last < firstLsn + lsns);
    if (frame === undefined) throw new Error(`LSN ${last} was acknowledged and is in no frame`);
    const { path, offset } = frame;
    const isHere = (call: Call): boolean => call.path === path || call.path === `${path}.new`;
    const written = calls.findLastIndex((c, i) => i < at && c.ok && c.name === "pwrite64" && isHere(c) && c.offset === offset);
    if (written < 0) throw new Error(`LSN ${last} was acknowledged before it was written`);
    if (!between(written, at, (c) => c.name === "fdatasync" && isHere(c))) throw new Error(`LSN ${last} was acknowledged before its fsync`);
    const renamed = calls.findIndex((c) => c.ok && c.name === "rename" && c.path === path);
    if (renamed < 0 || !between(renamed, at, (c) => c.name === "fsync" && c.path === directory))
      throw new Error(`LSN ${last} was acknowledged before the name of its segment was durable`);
  }
  const named = calls.findIndex((c) => c.ok && c.name.startsWith("link"));
  if (!between(-1, named, (c) => c.name === "fdatasync" && c.path === calls[named]!.from))
    throw new Error("the lock file had its name before its bytes were durable");
  return acks.length;
}

watched("invariant 1, in the trace of system calls: every acknowledgement followed its fsync and that of its segment's name", async () => {
  const directory = freshPath("traced");
  const task: FaultTask = { directory, appends: APPENDS };
  const { out, err, calls, status } = traced("fault-victim", task);
  assert.is(status, 0, err);
  assert.match(out, /closed\n$/);
  assert.is(checkOrder(directory, calls), APPENDS);
  assert.ok(calls.filter((c) => c.name === "rename").length > 1, "there was more than one segment");
  // Negative controls: the same trace without its fsyncs, and an fsync that only pretends.
  assert.throws(
    () =>
      checkOrder(
        directory,
        calls.filter((c) => c.name !== "fdatasync"),
      ),
    /before its fsync/,
  );
  assert.throws(
    () =>
      checkOrder(
        directory,
        calls.filter((c) => c.name !== "fsync"),
      ),
    /before the name of its segment/,
  );
  assert.throws(
    () =>
      checkOrder(
        directory,
        calls.filter((c) => !c.path.includes("corewal.lock.") || c.name !== "fdatasync"),
      ),
    /the lock file/,
  );
  const pretended = freshPath("pretended");
  const lie = traced("fault-victim", { directory: pretended, appends: APPENDS } satisfies FaultTask, "fdatasync:retval=0:when=4+");
  assert.match(lie.out, /closed\n$/);
  assert.throws(() => checkOrder(pretended, lie.calls), /before its fsync/);
});

for (const [inject, words] of [
  ["fdatasync:error=EIO:when=5+", /^append COREWAL_OUTCOME_UNKNOWN$/m],
  ["fdatasync:error=EIO:when=2", /^append COREWAL_OUTCOME_UNKNOWN$/m],
  ["pwrite64:error=ENOSPC:when=9+", /^append COREWAL_OUTCOME_UNKNOWN$/m],
  ["pwrite64:error=EDQUOT:when=9+", /^append COREWAL_OUTCOME_UNKNOWN$/m],
  ["pwrite64:error=EFBIG:when=9+", /^append COREWAL_OUTCOME_UNKNOWN$/m],
  ["rename:error=EROFS:when=2+", /^append COREWAL_OUTCOME_UNKNOWN$/m],
  ["fsync:error=EIO:when=2", /^append COREWAL_OUTCOME_UNKNOWN$/m],
] as const) {
  watched(`invariants 6 and 7: ${inject} poisons, and loses nothing acknowledged`, async () => {
    const directory = freshPath("fails");
    const { out, err } = traced("fault-victim", { directory, appends: APPENDS } satisfies FaultTask, inject);
    assert.match(out, words, err);
    assert.match(out, /^later COREWAL_POISONED$/m);
    assert.match(out, /^close COREWAL_POISONED$/m);
    await checkAfter(directory, out);
  });
}

watched("invariant 6: a lock that the disk does not take is none, and keeps nobody out", async () => {
  const directory = freshPath("no lock");
  const { out } = traced("fault-victim", { directory, appends: APPENDS } satisfies FaultTask, "fdatasync:error=EIO:when=1");
  assert.is(out, "open COREWAL_IO\n");
  await checkAfter(directory, out);
});

/** Calls that there are many of: each on Node; elsewhere each third, beginning anywhere, so all of them over some runs. */
const MANY = ["pwrite64", "fdatasync"];
const MANY_STEP = here.name === "node" ? 1 : 3;

/** Kills a victim at one call after the other, and says how often. */
async function killAtCalls(appends: number, prepare: (directory: string) => string): Promise<string> {
  const said: string[] = [];
  let acknowledged = 0;
  for (const name of CHANGES) {
    const step = MANY.includes(name) ? MANY_STEP : 1;
    let kills = 0;
    for (let n = 1 + (Date.now() % step); ; n += step, kills++) {
      const directory = freshPath("killed");
      const before = prepare(directory);
      const { out, signal, status } = traced("fault-victim", { directory, appends } satisfies FaultTask, `${name}:signal=KILL:when=${n}`);
      if (out.endsWith("closed\n")) break;
      assert.ok(signal === "SIGKILL" || status !== 0, `${name} ${n}: ${out}`);
      acknowledged += await checkAfter(directory, before + out);
    }
    if (kills > 0) said.push(`${kills} at ${name}`);
  }
  // pwrite64, fdatasync, fsync, rename, ftruncate, link, unlink
  assert.ok(said.length >= 7, `kills only ${said.join(", ")}`);
  return `${said.join(", ")}; ${acknowledged} appends were acknowledged before, none lost`;
}

watched("invariants 1, 2, 3: killed at the n-th system call of each kind, from open to close", async () => {
  console.log(`# kills: ${await killAtCalls(APPENDS, () => "")}`);
});

watched("invariants 1, 2, 3, 12: the same where the victim first recovers from an earlier kill", async () => {
  const killed = freshPath("killed");
  const { out } = traced("fault-victim", { directory: killed, appends: APPENDS } satisfies FaultTask, "fdatasync:signal=KILL:when=9");
  const copied = (directory: string): string => {
    mkdirSync(directory);
    for (const name of readdirSync(killed)) copyFileSync(join(killed, name), join(directory, name));
    return out;
  };
  console.log(`# kills after a kill: ${await killAtCalls(3, copied)}`);
});

test.after(endSoon);
test.run();
