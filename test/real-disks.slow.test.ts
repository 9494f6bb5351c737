// Real file systems that fail: below them a disk that answers EIO, disks that are full, files that may not grow. Each
// poisons, and loses nothing acknowledged (invariants 1, 2, 6, 7). Power cuts on them: test/power-cuts.ts.

import { spawnSync } from "node:child_process";
import { closeSync, openSync, rmSync, truncateSync, writeSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { codeOf } from "../src/errors.js";
import { openLog } from "../src/index.js";
import { endSoon, texts, within } from "./support/expect.js";
import { checkAfter, checkFound } from "./support/fault-check.js";
import { cannotMount, FILE_SYSTEMS, imagesInMemory, mountNew, unmount } from "./support/mounts.js";
import { RecordedDisk } from "./support/recorded-disk.js";
import { here } from "./support/runtimes.js";
import { freshPath } from "./support/scratch.js";
import { killChildren, scriptPath, startProcess } from "./support/script.js";
import type { FaultTask } from "./workers/fault-victim.js";

/** More than any of these disks takes. */
const MANY = 5000;

imagesInMemory();

function possible(impossible: string | undefined, name: string, run: () => Promise<void>): void {
  if (impossible === undefined) {
    test(name, run);
  } else {
    console.log(`# SKIPPED, ${impossible}: ${name}`);
    test.skip(name, run);
  }
}

function poisoned(out: string, err: string): void {
  assert.match(out, /^append COREWAL_OUTCOME_UNKNOWN$/m, err);
  assert.match(out, /^later COREWAL_POISONED$/m);
  assert.match(out, /^close COREWAL_POISONED$/m);
}

for (const fileSystem of FILE_SYSTEMS) {
  for (const line of ["fail writes", "fail flushes"]) {
    possible(RecordedDisk.impossible(fileSystem), `invariants 1, 2, 6: EIO below ${fileSystem}, ${line}`, async () => {
      const disk = await RecordedDisk.start(fileSystem);
      try {
        const directory = join(disk.mount(), "log");
        const task: FaultTask = { directory, appends: MANY, tell: { after: 20, file: disk.control, line } };
        const { out, err } = await within(startProcess("fault-victim", task).ended);
        poisoned(out, err);
        disk.say("heal");
        disk.unmount();
        const acknowledged = await checkAfter(join(disk.mount(), "log"), out);
        assert.ok(acknowledged >= 20, out);
      } finally {
        await disk.end();
      }
    });
  }
}

/** A file that leaves so many bytes of the file system free. */
function fill(file: string, free: number): void {
  const fd = openSync(file, "w");
  const chunk = Buffer.alloc(4096, 1);
  let bytes = 0;
  try {
    for (;;) bytes += writeSync(fd, chunk);
  } catch (error) {
    assert.is(codeOf(error), "ENOSPC");
  }
  closeSync(fd);
  truncateSync(file, bytes - free);
}

for (const fileSystem of ["ext4", "xfs", "btrfs", "tmpfs"] as const) {
  possible(cannotMount(fileSystem), `invariant 7: a small ${fileSystem} that fills up`, async () => {
    // Small steps, so that it is full at other calls: when a segment is made, filled ahead, written.
    for (let round = 0; round < 3; round++) {
      const place = mountNew(fileSystem);
      try {
        const directory = join(place, "log");
        const ballast = join(place, "ballast");
        fill(ballast, 200_000 + round * 6000);
        const { out, err } = await within(startProcess("fault-victim", { directory, appends: MANY } satisfies FaultTask).ended);
        poisoned(out, err);
        await using readOnly = await openLog(directory, { readOnly: true });
        const shown = checkFound(await texts(readOnly), out);
        await readOnly.close();
        assert.ok(shown > 10, out);
        // Still full: it opens, or says why not.
        const again = await openLog(directory, { segmentBytes: 16384, ringBytes: 8192 }).catch((error: unknown) => {
          assert.is(codeOf(error), "COREWAL_DISK_FULL");
        });
        await again?.close();
        rmSync(ballast);
        await checkAfter(directory, out);
      } finally {
        unmount(place);
      }
    }
  });
}

/** A victim whose files may have so many blocks of 512 bytes: at the first more it gets SIGXFSZ, and EFBIG if it ignores that. */
function limited(directory: string, blocks: number, before = ""): { out: string; err: string; signal: string | null } {
  const task: FaultTask = { directory, appends: MANY };
  const script = `${before} ulimit -f ${blocks}; exec "$@"`;
  const command = [here.command, ...here.args, scriptPath("fault-victim"), JSON.stringify(task)];
  const { stdout, stderr, signal } = spawnSync("sh", ["-c", script, "sh", ...command], { encoding: "utf8", timeout: 60_000 });
  return { out: stdout, err: stderr, signal };
}

for (const blocks of [4, 12, 20]) {
  test(`invariants 1, 2, 6: ulimit -f ${blocks}: a file that may not grow poisons`, async () => {
    const directory = freshPath("limited");
    const { out, err } = limited(directory, blocks, "trap '' XFSZ;");
    poisoned(out, err);
    await checkAfter(directory, out);
  });
}

test("invariants 1, 2: ulimit -f that ends the process, where the runtime lets it", async () => {
  const directory = freshPath("ended");
  const { out, err, signal } = limited(directory, 12);
  if (signal === null) poisoned(out, err);
  else assert.is(signal, "SIGXFSZ");
  await checkAfter(directory, out);
});

test.after(killChildren);
test.after(endSoon);
test.run();
