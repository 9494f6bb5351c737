// Invariants 6 and 7: a failed write or fsync poisons, nothing is retried; a full disk loses nothing that was
// acknowledged, and after reopening with space the log works.

import { spawnSync } from "node:child_process";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { attachLog, openLog } from "../src/index.js";
import type { CorewalError, ErrorCode } from "../src/errors.js";
import type { LogOptions } from "../src/options.js";
import type { Log } from "../src/types.js";
import { drive, openInline, pump, systemError, WatchedStorage, type Step } from "./support/environment.js";
import { endSoon, refused, texts, within } from "./support/expect.js";
import { mountedAt, unmountLazily } from "./support/mounts.js";
import { freshDirectory, freshPath } from "./support/scratch.js";

const SMALL: LogOptions = { ringBytes: 4096, segmentBytes: 16_384 };
const codeOfCause = (error: CorewalError): string | undefined => (error.cause as CorewalError | undefined)?.code;

const watched = async (directory: string, options: LogOptions = {}): Promise<{ log: Log; storage: WatchedStorage }> => {
  const storage = new WatchedStorage();
  return { log: await openInline(directory, { ...SMALL, ...options }, { storage, manual: true }), storage };
};

for (const { what, error, expected } of [
  { what: "sync", error: "EIO", expected: "COREWAL_IO" },
  { what: "write", error: "EIO", expected: "COREWAL_IO" },
  { what: "write", error: "ENOSPC", expected: "COREWAL_DISK_FULL" },
  { what: "write", error: "EDQUOT", expected: "COREWAL_DISK_FULL" },
  { what: "sync", error: "ENOSPC", expected: "COREWAL_DISK_FULL" },
  { what: "write", error: "EROFS", expected: "COREWAL_NO_PERMISSION" },
  { what: "write", error: "EWHATEVER", expected: "COREWAL_IO" },
] as const) {
  test(`invariant 6, ancestor A, acknowledgement: ${error} of ${what} wakes everybody, poisons, and nothing is retried`, async () => {
    const directory = freshPath("poison");
    const { log, storage } = await watched(directory);
    const other = await attachLog(log.handle);
    const acknowledged = log.append("safe");
    assert.is(await drive(log, acknowledged), 1);
    const closed = refused(log.closed, "COREWAL_POISONED");
    const unknown = [
      log.append("a"),
      other.append("b"),
      log.appendBatch(["c", "d"]),
      other.durable(2),
      log.sync(),
      log.append("e", { durability: "sync", timeoutMs: 60_000 }),
    ];
    for (let i = 0; i < 3; i++) unknown.push(log.append("x".repeat(1100)));
    // These found the ring full: they were never written.
    const queued = [log.append("x".repeat(1500)), log.append("y")];
    const rejected = [
      ...unknown.map((p) => refused(p as Promise<unknown>, "COREWAL_OUTCOME_UNKNOWN")),
      ...queued.map((p) => p.catch((e: CorewalError) => e)),
    ];
    await new Promise(setImmediate);
    storage.before = (step) => {
      if (step.what === what) throw systemError(error);
    };
    pump(log);
    storage.before = () => {};
    const errors = (await within(Promise.all(rejected), "everybody learns of the failure")) as CorewalError[];
    for (const e of errors.slice(0, unknown.length)) {
      assert.is(codeOfCause(e), expected);
      assert.ok(e.lsn! >= 2);
    }
    for (const e of errors.slice(unknown.length)) assert.ok(["COREWAL_POISONED", "COREWAL_OUTCOME_UNKNOWN"].includes(e.code), e.code);
    await closed;
    assert.is(await acknowledged, 1);
    assert.is(log.durableLsn, 1, "nothing is published after the failure");

    const steps = storage.changes().length;
    for (let i = 0; i < 10; i++) pump(log);
    const code: ErrorCode = "COREWAL_POISONED";
    for (const writer of [log, other]) {
      assert.is(codeOfCause(await refused(writer.append("f"), code)), expected);
      await refused(writer.append(new Uint8Array(1)), code);
      await refused(() => writer.write("f"), code);
      await refused(() => writer.appendSync("f"), code);
      await refused(writer.appendBatch(["f"]), code);
      await refused(writer.sync(), code);
      await refused(writer.ready(), code);
    }
    await log.durable(1);
    await refused(log.durable(2), code);
    await refused(attachLog(log.handle), code);
    assert.equal(await texts(log), ["safe"], "what is durable can be read");
    await refused(other.close(), code);
    await refused(log.close(), code);
    await refused(log.close(), code);
    assert.equal(storage.changes().slice(steps), [], "nothing was written, synced or renamed after the failure");

    const again = await openLog(directory);
    assert.is((await texts(again))[0], "safe");
    assert.ok((await again.append("on")) >= 2);
    await again.close();
  });
}

test("ancestor A, acknowledgement: one flush's error reaches nobody whom an earlier flush has served", async () => {
  const { log, storage } = await watched(freshPath("poison"));
  const first = log.append("a");
  await new Promise(setImmediate);
  // The second flush fails before the first one's waiters had their turn.
  assert.ok(pump(log));
  const second = log.append("b");
  void log.sync().catch(() => {});
  storage.before = ({ what }) => {
    if (what === "sync") throw systemError("EIO");
  };
  log.write("c");
  const rejected = refused(second, "COREWAL_OUTCOME_UNKNOWN");
  await Promise.resolve();
  for (let i = 0; i < 3; i++) pump(log);
  await new Promise(setImmediate);
  for (let i = 0; i < 3; i++) pump(log);
  assert.is(await within(first), 1);
  await rejected;
  await refused(log.close(), "COREWAL_POISONED");
});

/** How the disk is full: from the n-th write on nothing, or only half of it, fits. */
for (const half of [false, true]) {
  test(`invariant 7, ancestor A, recovery: a disk that is full at any write${half ? ", after half of it," : ""} loses nothing acknowledged; with space the log goes on`, async () => {
    for (let n = 1; ; n++) {
      const directory = freshPath("full");
      const storage = new WatchedStorage();
      let writes = 0;
      let failed = false;
      storage.before = (step: Step) => {
        if (step.what !== "write" || ++writes < (half ? n + 1 : n)) return;
        failed = true;
        throw systemError("ENOSPC");
      };
      storage.shorten = (step) => (half && writes === n ? Math.floor(step.bytes! / 2) : undefined);
      const acknowledged: string[] = [];
      const append = async (log: Log): Promise<void> => {
        for (let i = 0; i < 14; i++) {
          const text = `${acknowledged.length} `.padEnd(1500, "x");
          await drive(log, log.append(text));
          acknowledged.push(text);
        }
      };
      let log: Log | undefined;
      try {
        log = await openInline(directory, SMALL, { storage, manual: true });
        await append(log);
        await log.close();
      } catch (error) {
        const { code, cause } = error as CorewalError;
        assert.ok(
          code === "COREWAL_DISK_FULL" ||
            ((code === "COREWAL_OUTCOME_UNKNOWN" || code === "COREWAL_POISONED") && (cause as CorewalError).code === "COREWAL_DISK_FULL"),
          `write ${n}: ${code}`,
        );
        await log?.close().catch(() => {});
      }
      const end = !failed;
      // Still full: it may open or say so, but takes nothing from what is there.
      const full = await openInline(directory, SMALL, { storage, manual: true }).catch((e: CorewalError) => e);
      if (full instanceof Error) assert.is(full.code, "COREWAL_DISK_FULL");
      else await full.close().catch((e: CorewalError) => assert.is(e.code, "COREWAL_POISONED"));
      // There is space again.
      const again = await openInline(directory, SMALL);
      const found = await texts(again);
      assert.equal(found.slice(0, acknowledged.length), acknowledged, `write ${n}`);
      assert.ok(found.length <= acknowledged.length + 1);
      assert.is(await again.append("space"), found.length + 1);
      await again.close();
      if (end) {
        assert.ok(n > 20, `the disk was full at each of ${n - 1} writes`);
        break;
      }
    }
  });
}

test("invariant 7: a real full disk", async () => {
  const directory = freshDirectory("tmpfs");
  const mounted = process.getuid?.() === 0 && spawnSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", directory]).status === 0;
  if (!mounted) {
    console.log("# a real full disk: skipped, no right to mount a tmpfs");
    return;
  }
  mountedAt(directory);
  try {
    for (const flusher of ["worker", "inline"] as const) {
      const at = `${directory}/${flusher}`;
      const acknowledged: number[] = [];
      const log = await openLog(at, { flusher, segmentBytes: 262_144, ringBytes: 65_536 });
      const error = await refused(async () => {
        for (let i = 0; ; i++) acknowledged.push(await log.append(`${i} `.padEnd(5000, "x")));
      }, "COREWAL_OUTCOME_UNKNOWN");
      assert.is(codeOfCause(error), "COREWAL_DISK_FULL");
      await refused(log.close(), "COREWAL_POISONED");
      assert.ok(acknowledged.length > 10);
      assert.is(spawnSync("mount", ["-o", "remount,size=8m", directory]).status, 0);
      const again = await openLog(at, { flusher, segmentBytes: 262_144, ringBytes: 65_536 });
      const found = await texts(again);
      assert.ok(found.length >= acknowledged.length);
      found.forEach((text, i) => assert.is(text.trim().split(" ")[0], String(i)));
      await again.append("space");
      await again.close();
      assert.is(spawnSync("sh", ["-c", `rm -rf "${at}" && mount -o remount,size=1m "${directory}"`]).status, 0);
    }
  } finally {
    unmountLazily(directory);
  }
});

test.after(endSoon);
test.run();
