// The writer's interface: what goes in, in which order, who may call what when, and how waits end.

import { test } from "uvu";
import * as assert from "uvu/assert";
import { attachLog, decodeCommit, openLog } from "../src/index.js";
import type { Input, LogHandle, Writer } from "../src/types.js";
import { drive, openInline, pump } from "./support/environment.js";
import { endSoon, readAll, refused, texts, within } from "./support/expect.js";
import { Random } from "./support/random.js";
import { freshPath } from "./support/scratch.js";
import { message, startThread } from "./support/script.js";

const SMALL = { ringBytes: 4096, segmentBytes: 16_384 };
const open = (options = {}) => openLog(freshPath("writer"), { ringBytes: 65_536, segmentBytes: 1 << 20, ...options });

// --- what goes in ----------------------------------------------------------------------------------------------------

test("all kinds and all sorts of bytes come back as they went in", async () => {
  const log = await open();
  const wide = new Uint8Array(100).map((_, i) => i);
  const shared = new Uint8Array(new SharedArrayBuffer(5)).fill(7);
  await log.append("text: grüße, 日本, 🎉");
  await log.append(wide.subarray(3, 20));
  await log.append(Buffer.from("a Buffer"));
  await log.append(shared);
  await log.append({ kind: "put", key: "k", value: "v" });
  await log.append({ kind: "put", key: wide.subarray(1, 2), value: "" });
  await log.append({ kind: "delete", key: "gone" });
  await log.append({ kind: "commit", offsets: { "topic-0": 5n, ü: -(2n ** 63n), __proto__x: 2n ** 63n - 1n }, watermark: -1n });
  await log.append({ kind: "commit", offsets: {} });
  await log.append("\ud800");
  const entries = await readAll(log);
  const text = (b: Uint8Array | undefined): string | undefined => b && Buffer.from(b).toString();
  assert.equal(
    entries.map((e) => e.lsn),
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
  );
  assert.equal(
    entries.map((e) => e.kind),
    ["data", "data", "data", "data", "put", "put", "delete", "commit", "commit", "data"],
  );
  assert.is(text(entries[0]!.value), "text: grüße, 日本, 🎉");
  assert.equal([...entries[1]!.value], [...wide.subarray(3, 20)]);
  assert.is(text(entries[2]!.value), "a Buffer");
  assert.equal([...entries[3]!.value], [7, 7, 7, 7, 7]);
  assert.equal([text(entries[4]!.key), text(entries[4]!.value)], ["k", "v"]);
  assert.equal([[...entries[5]!.key!], entries[5]!.value.length], [[1], 0]);
  assert.equal([text(entries[6]!.key), entries[6]!.value.length], ["gone", 0]);
  assert.is(entries[0]!.key, undefined);
  const commit = decodeCommit(entries[7]!);
  assert.equal({ ...commit.offsets }, { "topic-0": 5n, ü: -(2n ** 63n), __proto__x: 2n ** 63n - 1n });
  assert.is(commit.watermark, -1n);
  assert.is(decodeCommit(entries[8]!).watermark, undefined);
  assert.is(text(entries[9]!.value), "\ufffd");
  for (const e of entries) {
    assert.not.instance(e.value.buffer, SharedArrayBuffer);
    assert.ok(e.term === 1 && e.epoch === entries[0]!.epoch && e.core === 0 && e.timestampMs > 1.6e12);
  }
  await log.close();
});

/** What is no entry, and with which code it is refused. */
const WRONG: [unknown, string][] = [
  [undefined, "COREWAL_INVALID_INPUT"],
  [null, "COREWAL_INVALID_INPUT"],
  [5, "COREWAL_INVALID_INPUT"],
  [5n, "COREWAL_INVALID_INPUT"],
  [[1, 2], "COREWAL_INVALID_INPUT"],
  [{}, "COREWAL_INVALID_INPUT"],
  [new DataView(new ArrayBuffer(8)), "COREWAL_INVALID_INPUT"],
  [new ArrayBuffer(8), "COREWAL_INVALID_INPUT"],
  [new Uint16Array(2), "COREWAL_INVALID_INPUT"],
  [{ kind: "void" }, "COREWAL_INVALID_INPUT"],
  [{ kind: "data", value: "x" }, "COREWAL_INVALID_INPUT"],
  [{ kind: "put", key: "k" }, "COREWAL_INVALID_INPUT"],
  [{ kind: "put", key: 5, value: "v" }, "COREWAL_INVALID_INPUT"],
  [{ kind: "delete" }, "COREWAL_INVALID_INPUT"],
  [{ kind: "commit" }, "COREWAL_INVALID_INPUT"],
  [{ kind: "commit", offsets: { a: 5 } }, "COREWAL_INVALID_INPUT"],
  [{ kind: "commit", offsets: { a: 2n ** 63n } }, "COREWAL_INVALID_INPUT"],
  [{ kind: "commit", offsets: {}, watermark: 5 }, "COREWAL_INVALID_INPUT"],
  ["", "COREWAL_EMPTY"],
  [new Uint8Array(0), "COREWAL_EMPTY"],
  [{ kind: "put", key: "", value: "v" }, "COREWAL_EMPTY"],
  [{ kind: "delete", key: "" }, "COREWAL_EMPTY"],
  [new Uint8Array(1995), "COREWAL_ENTRY_TOO_LARGE"],
  ["é".repeat(998), "COREWAL_ENTRY_TOO_LARGE"],
  [{ kind: "put", key: "k", value: new Uint8Array(1994) }, "COREWAL_ENTRY_TOO_LARGE"],
];

test("ancestor B, limits: what cannot be stored or read back is refused by every method, and takes no LSN", async () => {
  const log = await open(SMALL);
  for (const [input, code] of WRONG as [Input, "COREWAL_EMPTY"][]) {
    for (const error of [
      await refused(() => log.write(input), code),
      await refused(log.append(input), code),
      await refused(() => log.appendSync(input), code),
      await refused(log.appendBatch(["fine", input]), code),
    ]) {
      assert.ok(error instanceof TypeError || error instanceof RangeError, `${code} is a caller's mistake`);
    }
  }
  for (const batch of [undefined, "text", 5, {}, new Set(["a"])])
    await refused(log.appendBatch(batch as unknown as Input[]), "COREWAL_INVALID_INPUT");
  await refused(log.appendBatch([]), "COREWAL_EMPTY");
  await refused(log.appendBatch(["x".repeat(1000), "x".repeat(1000)]), "COREWAL_ENTRY_TOO_LARGE", /maxBatchBytes \(1994\)/);
  assert.is(log.lastLsn, 0);
  // The largest ones go, and come back.
  assert.is(await log.append(new Uint8Array(1994).fill(1)), 1);
  assert.equal(await log.appendBatch(["y".repeat(968), "y".repeat(976)]), { first: 2, last: 3 });
  assert.equal(
    (await readAll(log)).map((e) => e.value.length),
    [1994, 968, 976],
  );
  await log.close();
});

test("the caller's bytes are his again when the call returns", async () => {
  const log = await openInline(freshPath("writer"), SMALL, { manual: true });
  const bytes = new Uint8Array(1000);
  const appends: Promise<number>[] = [];
  // The first ones are in the ring, the others wait for space.
  for (let i = 0; i < 8; i++) {
    bytes.fill(i);
    appends.push(log.append(bytes));
  }
  bytes.fill(99);
  await drive(log, Promise.all(appends));
  assert.equal(
    (await readAll(log)).map((e) => [e.value[0], e.value[999]]),
    Array.from({ length: 8 }, (_, i) => [i, i]),
  );
  await log.close();
});

test("ancestor A, stalls: a small ring that wraps again and again never overwrites what was not drained", async () => {
  for (const flusher of ["worker", "inline"] as const) {
    const directory = freshPath("writer");
    const log = await openLog(directory, { ...SMALL, flusher });
    const random = new Random(5);
    const expected: string[] = [];
    const appends: Promise<unknown>[] = [];
    for (let i = 0; i < 1500; i++) {
      const text = `${i} `.padEnd(random.chance(0.1) ? random.between(1, 1900) : random.between(1, 100), "abcdefg");
      expected.push(text);
      if (i % 3 === 0) log.write(text);
      else appends.push(log.append(text));
      if (i % 50 === 0) await Promise.all(appends);
    }
    await log.close();
    await Promise.all(appends);
    assert.is(log.lastLsn, 1500);
    const reopened = await openLog(directory, { readOnly: true });
    assert.equal(await texts(reopened), expected);
  }
});

// --- order -----------------------------------------------------------------------------------------------------------

test("LSNs follow the order of calls, whatever the calls are, also while the ring is full", async () => {
  const log = await openInline(freshPath("writer"), SMALL, { manual: true });
  const filling = "x".repeat(900);
  const pending: Promise<number>[] = [];
  for (let i = 1; i <= 6; i++) pending.push(log.append(`${i} ${filling}`));
  const batch = log.appendBatch([`7 ${filling}`, `8 ${filling}`]);
  assert.is(log.write("9"), 9, "write() moves what waits in first");
  assert.is(log.appendSync("10"), 10);
  pending.push(log.append("11"));
  assert.equal(await drive(log, Promise.all(pending)), [1, 2, 3, 4, 5, 6, 11]);
  assert.equal(await batch, { first: 7, last: 8 });
  assert.equal(
    (await texts(log)).map((t) => t.split(" ")[0]),
    ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"],
  );
  await log.close();
});

test("every writer has its own order, all share the LSNs, and each entry names its stripe", async () => {
  const log = await open();
  const writers = [log, await attachLog(log.handle), await attachLog(log.handle)];
  const lsns = await Promise.all(Array.from({ length: 300 }, (_, i) => writers[i % 3]!.append(`${i % 3} ${i}`)));
  assert.equal(
    [...lsns].sort((a, b) => a - b),
    Array.from({ length: 300 }, (_, i) => i + 1),
  );
  for (const w of [0, 1, 2]) {
    const own = (await readAll(log)).filter((e) => e.core === w).map((e) => Number(Buffer.from(e.value).toString().split(" ")[1]));
    assert.equal(
      own,
      Array.from({ length: 100 }, (_, i) => 3 * i + w),
    );
  }
  assert.equal(
    writers.map((w) => w.lastLsn),
    [0, 1, 2].map((w) => Math.max(...lsns.filter((_, i) => i % 3 === w))),
  );
  await log.close();
});

// --- who may call ------------------------------------------------------------------------------------------------------

async function refusesEverything(writer: Writer, code: "COREWAL_CLOSED"): Promise<void> {
  await refused(() => writer.write("x"), code);
  await refused(writer.append("x"), code);
  await refused(writer.append(new Uint8Array(3)), code);
  await refused(() => writer.appendSync("x"), code);
  await refused(writer.appendBatch(["x", "y"]), code);
  await refused(writer.ready(), code);
  await refused(writer.sync(), code);
}

test("after close every method says COREWAL_CLOSED; close and closed go on working", async () => {
  const log = await open();
  const attached = await attachLog(log.handle);
  await log.append("a");
  await attached.append("b");
  await attached.close();
  await attached.close();
  await attached.closed;
  await refusesEverything(attached, "COREWAL_CLOSED");
  const other = await attachLog(log.handle);
  await Promise.all([log.close(), log.close()]);
  await log.close();
  await log.closed;
  await other.closed;
  await refusesEverything(log, "COREWAL_CLOSED");
  await refusesEverything(other, "COREWAL_CLOSED");
  await refused(readAll(log), "COREWAL_CLOSED");
  await refused(log.get(1), "COREWAL_CLOSED");
  await other.close();
  assert.is(log.stats().state, "closed");
  assert.is(log.durableLsn, 2);
});

test("await using closes, and what was appended before close is there", async () => {
  const path = freshPath("dispose");
  const log = await openLog(path);
  const appended = log.append("a");
  log.write("b");
  await log[Symbol.asyncDispose]();
  assert.is(await appended, 1);
  const again = await openLog(path);
  assert.ok(again.recovery.clean);
  assert.equal(await texts(again), ["a", "b"]);
  await again.close();
});

test("a handle of a closed log is stale; what is no handle is refused", async () => {
  const log = await open();
  const { handle } = log;
  await log.close();
  const error = await refused(attachLog(handle), "COREWAL_STALE_HANDLE");
  assert.match(error.message, /open it again/);
  for (const wrong of [
    undefined,
    null,
    5,
    "handle",
    {},
    { corewal: 1 },
    { ...handle, memory: new WebAssembly.Memory({ initial: 1 } as never) },
    { ...handle, module: undefined },
  ]) {
    await refused(attachLog(wrong as unknown as LogHandle), "COREWAL_INVALID_INPUT", /log\.handle/);
  }
});

test("a handle can be used again and again, also as a clone, until the stripes are used up; a closed writer's stripe is free again", async () => {
  const log = await open({ stripes: 3 });
  const writers = [await attachLog(log.handle), await attachLog(structuredClone(log.handle))];
  await refused(attachLog(log.handle), "COREWAL_NO_STRIPE", /stripes/);
  assert.equal(log.stats().stripes, { total: 3, used: 3 });
  await writers[0]!.append("a");
  await writers[0]!.close();
  const worker = startThread("attach-and", { handle: log.handle, then: "end" });
  assert.is(await within(message(worker)), 2, "a thread takes the free stripe");
  await log.close();
});

test("many logs and writers in one process are no leak that Node warns of", async () => {
  const warnings: string[] = [];
  const onWarning = (w: Error): void => void warnings.push(w.message);
  process.on("warning", onWarning);
  const logs = await Promise.all(Array.from({ length: 12 }, () => open({ flusher: "inline" })));
  const { signal } = new AbortController();
  await Promise.all(Array.from({ length: 20 }, () => logs[0]!.append("x", { signal })));
  await Promise.all(logs.map((log) => log.close()));
  await new Promise(setImmediate);
  process.off("warning", onWarning);
  assert.equal(warnings, []);
});

// --- how waits end -------------------------------------------------------------------------------------------------------

test("abort and timeout end the wait, not the entry", async () => {
  const log = await openInline(freshPath("writer"), {}, { manual: true });
  const gone = new AbortController();
  const why = new Error("why");
  gone.abort(why);
  const before = await refused(log.append("never", { signal: gone.signal }), "COREWAL_ABORTED", /nothing was written/);
  assert.is(before.cause, why);
  assert.is(log.lastLsn, 0);
  const later = new AbortController();
  const waits = [
    log.append("a", { signal: later.signal }),
    log.appendBatch(["b", "c"], { signal: later.signal }),
    log.durable(1, { signal: later.signal }),
    log.sync({ signal: later.signal }),
  ];
  const codes = waits.map((w) => refused(w as Promise<unknown>, "COREWAL_ABORTED", /may still become durable/));
  await new Promise(setImmediate);
  later.abort(why);
  const errors = await Promise.all(codes);
  assert.equal(
    errors.map((e) => e.lsn),
    [1, 3, 1, 3],
  );
  assert.ok(errors.every((e) => e.cause === why));
  const timedOut = await refused(log.append("d", { timeoutMs: 1 }), "COREWAL_TIMEOUT", /longer than 1 ms/);
  assert.is(timedOut.lsn, 4);
  await refused(log.sync({ timeoutMs: 0 }), "COREWAL_TIMEOUT");
  assert.is(log.durableLsn, 0);
  assert.is(await drive(log, log.sync()), 4);
  assert.equal(await texts(log), ["a", "b", "c", "d"]);
  await log.close();
});

test("a wait that may take very long does take it", async () => {
  const log = await openInline(freshPath("writer"), {}, { manual: true });
  const appended = Promise.all([2 ** 31, 2 ** 40, Infinity].map((timeoutMs) => log.append("x", { timeoutMs })));
  appended.catch(() => {});
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(await drive(log, appended), [1, 2, 3]);
  await log.close();
});

test("waits that have ended leave no timer behind", async () => {
  const log = await openInline(freshPath("writer"), SMALL, { manual: true });
  const { setTimeout, clearTimeout } = globalThis;
  const timers = new Set<unknown>();
  globalThis.setTimeout = ((...args: Parameters<typeof setTimeout>) => {
    const timer = setTimeout(...args);
    timers.add(timer);
    return timer;
  }) as typeof setTimeout;
  globalThis.clearTimeout = (timer) => {
    timers.delete(timer);
    clearTimeout(timer);
  };
  const signal = new AbortController().signal;
  const appends = Promise.all(Array.from({ length: 8 }, () => log.append(new Uint8Array(1000), { timeoutMs: 3_600_000, signal })));
  Object.assign(globalThis, { setTimeout });
  assert.ok(timers.size > 0);
  await drive(log, appends);
  Object.assign(globalThis, { clearTimeout });
  assert.is(timers.size, 0);
  await log.close();
});

test("durable: at once, later, never", async () => {
  const log = await openInline(freshPath("writer"), {}, { manual: true });
  await log.durable(0);
  for (const lsn of [1, -1, 1.5, NaN, Infinity, "1", undefined]) await refused(log.durable(lsn as number), "COREWAL_INVALID_INPUT");
  const lsn = log.write("a");
  const other = await attachLog(log.handle);
  other.write("b");
  let settled = false;
  const both = Promise.all([log.durable(lsn), other.durable(lsn), other.sync()]).then((r) => ((settled = true), r));
  await new Promise(setImmediate);
  assert.not.ok(settled);
  assert.is((await drive(log, both))[2], 2, "sync() covers all writers");
  await log.durable(2);
  await log.close();
});

test("appendSync is durable when it returns, also from a thread", async () => {
  const log = await open({ durability: "async", flushIntervalMs: 60_000 });
  const lsn = log.appendSync("a");
  assert.is(log.durableLsn, lsn);
  const inline = await open({ durability: "async", flushIntervalMs: 60_000, flusher: "inline" });
  assert.is(inline.appendSync("a", { timeoutMs: 30_000 }), 1);
  assert.is(inline.durableLsn, 1);
  await inline.close();
  await log.close();
});

test("ready resolves at once while there is space, and later when there was none", async () => {
  const log = await openInline(freshPath("writer"), SMALL, { manual: true });
  await log.ready();
  for (let i = 0; i < 3; i++) log.write(new Uint8Array(1000));
  let settled = false;
  const ready = log.ready().then(() => (settled = true));
  for (let i = 0; i < 5; i++) await new Promise(setImmediate);
  assert.not.ok(settled);
  await drive(log, ready);
  assert.is(log.stats().ringBytesUsed, 0);
  pump(log);
  await log.close();
});

test.after(endSoon);
test.run();
