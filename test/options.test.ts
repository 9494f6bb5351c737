// Every option: its default, its limits, wrong types, and how options must fit together. The error names option
// and value. And the same for the options of single calls.

import { readdirSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { openLog } from "../src/index.js";
import { frameBytesMax, resolveOptions, type LogOptions, type ResolvedOptions } from "../src/options.js";
import type { ReadOptions, Wait } from "../src/types.js";
import { endSoon, refused } from "./support/expect.js";
import { freshDirectory, freshPath } from "./support/scratch.js";

const MiB = 1 << 20;
const TYPES = [null, "5", true, {}, [], 5n, Symbol("5"), () => 5];

/** Numbers: [least, most], and whether it must be whole or a power of two. */
const NUMBERS: Partial<Record<keyof LogOptions, [number, number, "whole" | "power of two" | "any"]>> = {
  maxDelayMs: [0, 10_000, "any"],
  maxBytes: [1, 1024 * MiB, "whole"],
  flushIntervalMs: [1, 60_000, "any"],
  segmentBytes: [16_384, 1024 * MiB, "whole"],
  ringBytes: [4096, 256 * MiB, "power of two"],
  stripes: [1, 256, "whole"],
  flusherThreads: [1, 16, "whole"],
  maxEntryBytes: [1, 2 * MiB - 54, "whole"],
  maxBatchBytes: [1, 2 * MiB - 54, "whole"],
  fullTimeoutMs: [1, 3_600_000, "any"],
  queueBytes: [0, 1024 * MiB, "whole"],
  writerStallMs: [1, 60_000, "any"],
  exitTimeoutMs: [0, 600_000, "any"],
  spareSegments: [0, 64, "whole"],
  frameAlign: [64, 65_536, "power of two"],
};

const CHOICES: Partial<Record<keyof LogOptions, unknown[]>> = {
  topology: ["striped", "per-core"],
  durability: ["sync", "group", "async"],
  flusher: ["worker", "inline"],
  onFull: ["wait", "fail"],
  readOnly: [true, false],
  createIfMissing: [true, false],
  onCorruption: ["fail", "truncate", "skip"],
};

const DEFAULTS: ResolvedOptions = {
  topology: undefined,
  durability: "group",
  flusher: "worker",
  flusherThreads: undefined,
  maxDelayMs: 0,
  maxBytes: MiB,
  flushIntervalMs: 100,
  segmentBytes: 64 * MiB,
  ringBytes: 4 * MiB,
  stripes: 64,
  maxEntryBytes: MiB,
  maxBatchBytes: 2 * MiB - 54,
  onFull: "wait",
  fullTimeoutMs: 30_000,
  queueBytes: 4 * MiB,
  writerStallMs: 1000,
  exitTimeoutMs: 5000,
  readOnly: false,
  createIfMissing: true,
  onCorruption: "fail",
  checkpoints: { keep: 2, state: undefined, everyMs: Infinity, everyBytes: Infinity, everyEntries: Infinity },
  retention: undefined,
  archive: undefined,
  spareSegments: 2,
  frameAlign: 64,
};

/** What else must be given so that a limit can be reached. */
const COMPANY: Partial<Record<keyof LogOptions, LogOptions>> = {
  ringBytes: { stripes: 1, segmentBytes: 1024 * MiB },
  segmentBytes: { ringBytes: 4096 },
};

function refuses(name: string, value: unknown): void {
  try {
    resolveOptions({ ...COMPANY[name as keyof LogOptions], [name]: value });
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    assert.is(code, "COREWAL_INVALID_OPTION", message);
    assert.ok(error instanceof TypeError || error instanceof RangeError, `${name}: a caller's mistake is a TypeError or RangeError`);
    assert.ok(message.includes(`option ${name} is `), message);
    const shown = typeof value === "number" ? String(value) : typeof value === "string" ? JSON.stringify(value) : undefined;
    if (shown !== undefined && !Number.isNaN(value))
      assert.ok(message.includes(shown) || message.includes("null"), `${message} says ${shown}`);
    return;
  }
  assert.unreachable(`option ${name} accepts ${String(value)}`);
}

test("every option has a test, and its documented default", () => {
  assert.equal(resolveOptions(), DEFAULTS);
  assert.equal(resolveOptions({}), DEFAULTS);
  // Those that are objects: checkpoints.test.ts, archive.test.ts.
  const objects = ["checkpoints", "retention", "archive"];
  assert.equal([...Object.keys(NUMBERS), ...Object.keys(CHOICES), ...objects].sort(), Object.keys(DEFAULTS).sort());
  const all = Object.fromEntries(Object.keys(DEFAULTS).map((name) => [name, undefined])) as LogOptions;
  assert.equal(resolveOptions(all), DEFAULTS, "undefined means the default");
});

for (const [name, [least, most, form]] of Object.entries(NUMBERS)) {
  test(`option ${name}: ${form} number from ${least} to ${most}`, () => {
    for (const value of [least, most])
      assert.is(resolveOptions({ ...COMPANY[name as keyof LogOptions], [name]: value })[name as keyof LogOptions], value);
    for (const value of [least - 1, most + 1, -1, -Infinity, Infinity, NaN, 2 ** 53, ...TYPES]) refuses(name, value);
    if (form !== "any") refuses(name, least + 0.5);
    else assert.is(resolveOptions({ [name]: least + 0.5 })[name as keyof LogOptions], least + 0.5);
    if (form === "power of two") refuses(name, least * 3);
  });
}

for (const [name, allowed] of Object.entries(CHOICES)) {
  test(`option ${name}: one of ${allowed.join(", ")}`, () => {
    for (const value of allowed) assert.is(resolveOptions({ [name]: value })[name as keyof LogOptions], value);
    for (const value of ["", "other", "toString", 0, 1, NaN, null, {}, [], 5n, "true"]) refuses(name, value);
  });
}

test("options that do not fit together are refused", () => {
  const together = (options: LogOptions, words: RegExp): void => {
    assert.throws(
      () => resolveOptions(options),
      (error: Error & { code: string }) => error.code === "COREWAL_INVALID_OPTION" && words.test(error.message),
      JSON.stringify(options),
    );
  };
  together({ ringBytes: 16_384, segmentBytes: 16_384 }, /ringBytes is 16384: .* half of segmentBytes \(16384\)/);
  together({ frameAlign: 4096, segmentBytes: 32_768, ringBytes: 4096 }, /frameAlign is 4096: .*segmentBytes \(32768\)/);
  together({ stripes: 256, ringBytes: 16 * MiB }, /stripes \(256\) and ringBytes \(16777216\)/);
  together({ ringBytes: 4096, maxEntryBytes: 2048 }, /maxEntryBytes is 2048: .* 1994/);
  together({ ringBytes: 4096, maxBatchBytes: 2048 }, /maxBatchBytes/);
  assert.is(resolveOptions({ ringBytes: 4096 }).maxEntryBytes, 1994, "the default follows the ring");
});

test("ancestor A, recovery: a flush is never larger than what a reader takes: the largest batch fits a frame, and two frames a segment", () => {
  for (const [ringBytes, segmentBytes] of [
    [4096, 16_384],
    [8192, 16_384],
    [65_536, 1 << 20],
    [4 * MiB, 64 * MiB],
    [256 * MiB, 1024 * MiB],
  ] as const) {
    const o = resolveOptions({ ringBytes, segmentBytes, stripes: 1 });
    assert.ok(o.maxBatchBytes + 64 < frameBytesMax(o), `${ringBytes}: batch ${o.maxBatchBytes}, frame ${frameBytesMax(o)}`);
    assert.ok(2 * frameBytesMax(o) < segmentBytes);
  }
});

test("options that do not exist, and options that are no object, are refused", async () => {
  const directory = freshDirectory("options");
  await refused(openLog(directory, { segmentByte: 5 } as LogOptions), "COREWAL_INVALID_OPTION", /segmentByte does not exist.*segmentBytes/);
  for (const options of [null, 5, "sync", true])
    await refused(openLog(directory, options as unknown as LogOptions), "COREWAL_INVALID_OPTION");
  assert.equal(readdirSync(directory), [], "and nothing was made");
});

test("a directory is a path or a file: URL", async () => {
  for (const directory of ["", "a\0b", undefined, null, 5, {}, [], new URL("https://example.com/log")]) {
    await refused(openLog(directory as string), "COREWAL_INVALID_OPTION", /directory/);
  }
  const url = new URL(`file://${freshPath("by url")}`);
  const log = await openLog(url);
  await log.append("x");
  await log.close();
  assert.is((await openLog(url, { readOnly: true })).recovery.lastLsn, 1);
});

test("how to wait and how to read are checked as well, and nothing is written", async () => {
  const log = await openLog(freshPath("calls"));
  const waits: unknown[] = [
    null,
    5,
    "sync",
    { durability: "none" },
    { durability: "toString" },
    { durability: null },
    { timeoutMs: -1 },
    { timeoutMs: NaN },
    { timeoutMs: "5" },
    { timeoutMs: null },
    { signal: {} },
    { signal: null },
    { signal: 5 },
  ];
  for (const wait of waits as Wait[]) {
    await refused(log.append("x", wait), "COREWAL_INVALID_OPTION");
    await refused(log.appendBatch(["x"], wait), "COREWAL_INVALID_OPTION");
    await refused(() => log.appendSync("x", wait), "COREWAL_INVALID_OPTION");
    await refused(log.durable(0, wait), "COREWAL_INVALID_OPTION");
    await refused(log.sync(wait), "COREWAL_INVALID_OPTION");
  }
  assert.is(log.lastLsn, 0);
  const reads: unknown[] = [
    null,
    5,
    { from: 0 },
    { from: -1 },
    { from: 1.5 },
    { from: "1" },
    { from: NaN },
    { to: 0 },
    { to: 5n },
    { form: 1 },
    { signal: {} },
    { internal: "yes" },
  ];
  for (const options of reads as ReadOptions[]) {
    await refused(async () => {
      for await (const entry of log.read(options)) assert.unreachable(`${entry.lsn}`);
    }, "COREWAL_INVALID_OPTION");
  }
  for (const lsn of [0, -1, 1.5, NaN, "1", 1n]) await refused(log.get(lsn as number), "COREWAL_INVALID_OPTION");
  assert.is(await log.get(1), undefined);
  await log.close();
});

test.after(endSoon);
test.run();
