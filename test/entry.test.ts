// Entries through a whole log and back: every kind, odd sizes, strings that are no valid UTF-16, bytes that
// lie anywhere in the caller's memory.

import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { decodeCommit, prepare } from "../src/entry.js";
import { codeOf } from "../src/errors.js";
import { ABANDON } from "../src/log.js";
import type { Bytes, Entry, Input } from "../src/types.js";
import { drive, Fixed, readAll, type FixedLog } from "./support/fixed-log.js";
import { pattern } from "./support/golden-cases.js";
import { readLog } from "./support/independent-reader.js";

/** The largest lists below fit into one batch. */
const OPTIONS = { ringBytes: 131072, segmentBytes: 524288, maxEntryBytes: 16384 };

// --- what is appended ----------------------------------------------------------------------------------

/** Bytes at any alignment, as a view of their own, of a larger array, or of Node's pool. */
const views = (minLength: number): fc.Arbitrary<Uint8Array> =>
  fc
    .tuple(
      fc.oneof(
        fc.uint8Array({ minLength, maxLength: 40 }),
        fc.integer({ min: minLength, max: 1000 }).map((n) => pattern(n, n)),
      ),
      fc.nat(15),
      fc.constantFrom("own", "part", "pool"),
    )
    .map(([bytes, shift, where]) => {
      if (where === "own") return bytes;
      if (where === "pool") return Buffer.from(bytes);
      const around = new Uint8Array(bytes.length + 32).fill(0xcc);
      around.set(bytes, shift);
      return around.subarray(shift, shift + bytes.length);
    });
/** Code units one by one: half of an emoji, lone surrogates, zero. */
const units = fc
  .array(fc.oneof(fc.nat(0x7f), fc.integer({ min: 0x80, max: 0x7ff }), fc.integer({ min: 0xd800, max: 0xdfff }), fc.nat(0xffff)), {
    minLength: 1,
    maxLength: 60,
  })
  .map((codes) => String.fromCharCode(...codes));
const texts = fc.oneof(
  units,
  fc.string({ unit: "grapheme", minLength: 1, maxLength: 30 }),
  fc.constantFrom("🐟", "\ud83d", "\udc1f", "a\ud83dz", "\udc1f\ud83d", "\0", "e\u0301", "x".repeat(1500)),
);
const bytes = (minLength: number): fc.Arbitrary<Bytes> =>
  fc.oneof(views(minLength), minLength === 0 ? fc.oneof(texts, fc.constant("")) : texts);
const i64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
const inputs: fc.Arbitrary<Input> = fc.oneof(
  bytes(1),
  fc.record({ kind: fc.constant("put" as const), key: bytes(1), value: bytes(0) }),
  fc.record({ kind: fc.constant("delete" as const), key: bytes(1) }),
  fc.record({
    kind: fc.constant("commit" as const),
    offsets: fc.dictionary(fc.oneof(fc.string(), fc.constantFrom("__proto__", "constructor", "ü", "")), i64, { maxKeys: 5 }),
    watermark: fc.option(i64, { nil: undefined }),
  }),
);

const hex = (b: Bytes): string => Buffer.from(b as Uint8Array).toString("hex");

type Facts = [kind: string, key: string | undefined, value: unknown];

function expected(input: Input): Facts {
  if (typeof input === "string" || input instanceof Uint8Array) return ["data", undefined, hex(input)];
  if (input.kind === "put") return ["put", hex(input.key), hex(input.value)];
  if (input.kind === "delete") return ["delete", hex(input.key), ""];
  return ["commit", undefined, [Object.entries(input.offsets).sort(), input.watermark]];
}

function facts(entry: Entry): Facts {
  if (entry.kind !== "commit") return [entry.kind, entry.key && hex(entry.key), hex(entry.value)];
  const { offsets, watermark } = decodeCommit(entry);
  return [entry.kind, undefined, [Object.entries(offsets).sort(), watermark]];
}

/** The bytes are the caller's again: whatever he does with them is no concern of the log. */
function scribble(input: Input): void {
  for (const part of typeof input === "object" && !(input instanceof Uint8Array) ? Object.values(input) : [input])
    if (part instanceof Uint8Array) part.fill(0xee);
}

// --- round trips ---------------------------------------------------------------------------------------

test("every input comes back as it was, and the caller's bytes are his when the call returns", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(inputs, { minLength: 1, maxLength: 12 }), fc.constantFrom("append", "write", "batch"), async (list, how) => {
      const fixed = new Fixed();
      const log = await fixed.open(OPTIONS);
      const facts0 = list.map(expected);
      let done: Promise<unknown>;
      if (how === "batch") done = log.appendBatch(list);
      else if (how === "append") done = Promise.all(list.map((input) => log.append(input)));
      else done = (list.forEach((input) => void log.write(input)), log.sync());
      list.forEach(scribble);
      await drive(log, done);
      const entries = await readAll(log);
      assert.equal(entries.map(facts), facts0);
      assert.equal(
        entries.map((e) => e.lsn),
        list.map((_, i) => i + 1),
      );
      const independent = readLog(fixed.files).entries;
      assert.equal(
        independent.map((e) => [e.kind, hex(e.key), hex(e.value)]),
        entries.map((e) => [e.kind, hex(e.key ?? new Uint8Array(0)), hex(e.value)]),
      );
      log[ABANDON]();
    }),
    { numRuns: 150 },
  );
});

test("every size from 1 to 600 at every alignment comes back, also beyond 256 bytes, where copies are aligned first", async () => {
  const fixed = new Fixed();
  const log = await fixed.open({ ringBytes: 4 * 1024 * 1024, segmentBytes: 64 * 1024 * 1024 });
  const around = pattern(1024, 5);
  for (let size = 1; size <= 600; size++) log.write(around.subarray(size % 8, (size % 8) + size));
  await drive(log, log.sync());
  let size = 0;
  for await (const entry of log.read()) {
    size++;
    assert.ok(Buffer.from(entry.value).equals(around.subarray(size % 8, (size % 8) + size)), `size ${size}`);
  }
  assert.is(size, 600);
  await log.close();
});

test("what was read is plain memory, and stays as it was while reading and writing go on", async () => {
  const fixed = new Fixed();
  const log = await fixed.open(OPTIONS);
  await drive(log, Promise.all([log.append("kept"), log.append({ kind: "put", key: "kept key", value: "kept value" })]));
  const kept = await readAll(log);
  for (let i = 0; i < 50; i++) await drive(log, log.append(pattern(2000, i)));
  await readAll(log);
  assert.equal(
    kept.map((e) => Buffer.from(e.value).toString()),
    ["kept", "kept value"],
  );
  assert.is(Buffer.from(kept[1]!.key!).toString(), "kept key");
  for (const e of kept) assert.not(e.value.buffer instanceof SharedArrayBuffer);
  await log.close();
});

// --- limits ----------------------------------------------------------------------------------------------

async function code(log: FixedLog, input: unknown): Promise<[string, string | undefined]> {
  const error = await log.append(input as Input).then(
    () => new Error("accepted"),
    (e: unknown) => e as Error,
  );
  return [error.constructor.name, codeOf(error)];
}

test("ancestor B: an entry too large to be read back was accepted", async () => {
  const fixed = new Fixed();
  const log = await fixed.open({ maxEntryBytes: 100 });
  await drive(log, log.append(pattern(100, 1)));
  await drive(log, log.append({ kind: "put", key: pattern(60, 2), value: pattern(40, 3) }));
  assert.equal(await code(log, pattern(101, 1)), ["RangeError", "COREWAL_ENTRY_TOO_LARGE"]);
  assert.equal(await code(log, { kind: "put", key: pattern(61, 2), value: pattern(40, 3) }), ["RangeError", "COREWAL_ENTRY_TOO_LARGE"]);
  // Counted in UTF-8, lone surrogates as the three bytes that they become.
  assert.equal(await code(log, "\ud800".repeat(34)), ["RangeError", "COREWAL_ENTRY_TOO_LARGE"]);
  await drive(log, log.append("\ud800".repeat(33)));
  assert.is((await readAll(log)).at(-1)!.value.length, 99);
  await log.close();
});

test("a caller's mistakes are told at once, with a code, and leave nothing behind", async () => {
  const log = await new Fixed().open(OPTIONS);
  const wrong: [unknown, string, string][] = [
    ["", "RangeError", "COREWAL_EMPTY"],
    [new Uint8Array(0), "RangeError", "COREWAL_EMPTY"],
    [{ kind: "put", key: "", value: "v" }, "RangeError", "COREWAL_EMPTY"],
    [{ kind: "delete", key: new Uint8Array(0) }, "RangeError", "COREWAL_EMPTY"],
    [{ kind: "put", key: "k" }, "TypeError", "COREWAL_INVALID_INPUT"],
    [{ kind: "delete" }, "TypeError", "COREWAL_INVALID_INPUT"],
    [{ kind: "void" }, "TypeError", "COREWAL_INVALID_INPUT"],
    [{ kind: "data", value: "x" }, "TypeError", "COREWAL_INVALID_INPUT"],
    [{ kind: "commit", offsets: { a: 1 } }, "TypeError", "COREWAL_INVALID_INPUT"],
    [{ kind: "commit", offsets: { a: 2n ** 63n } }, "RangeError", "COREWAL_INVALID_INPUT"],
    [{ kind: "commit", offsets: {}, watermark: -(2n ** 63n) - 1n }, "RangeError", "COREWAL_INVALID_INPUT"],
    [{ kind: "commit" }, "TypeError", "COREWAL_INVALID_INPUT"],
    [null, "TypeError", "COREWAL_INVALID_INPUT"],
    [undefined, "TypeError", "COREWAL_INVALID_INPUT"],
    [42, "TypeError", "COREWAL_INVALID_INPUT"],
    [new Uint16Array(4), "TypeError", "COREWAL_INVALID_INPUT"],
    [new ArrayBuffer(4), "TypeError", "COREWAL_INVALID_INPUT"],
  ];
  for (const [input, name, expectedCode] of wrong) assert.equal(await code(log, input), [name, expectedCode]);
  assert.is(log.lastLsn, 0);
  assert.equal(await readAll(log), []);
  await log.close();
});

test("decodeCommit: every cut of a commit's value is an error, never other offsets", () => {
  const { value } = prepare({ kind: "commit", offsets: { first: 1n, second: -2n }, watermark: 3n }, 1000);
  const entry = (v: Uint8Array): Entry => ({ lsn: 1, term: 1, epoch: 0, core: 0, kind: "commit", timestampMs: 0, value: v });
  assert.equal({ ...decodeCommit(entry(value as Uint8Array)).offsets }, { first: 1n, second: -2n });
  for (let size = 0; size < value.length; size++) {
    const error = (() => {
      try {
        return decodeCommit(entry((value as Uint8Array).subarray(0, size)));
      } catch (e) {
        return e;
      }
    })();
    assert.is(codeOf(error), "COREWAL_CORRUPT", `${size} bytes`);
  }
});

test("fuzzing: decodeCommit takes no bytes behind the names, no name twice, and none that is no UTF-8", () => {
  const { value } = prepare({ kind: "commit", offsets: { a: 1n, b: 2n } }, 1000);
  const wrong: [what: string, value: Uint8Array][] = [
    ["a byte behind", Uint8Array.from([...(value as Uint8Array), 0])],
    ["twice", Uint8Array.from(value as Uint8Array, (byte) => (byte === 0x62 ? 0x61 : byte))],
    ["no UTF-8", Uint8Array.from(value as Uint8Array, (byte) => (byte === 0x62 ? 0xff : byte))],
  ];
  for (const [what, bytes] of wrong) {
    const entry: Entry = { lsn: 1, term: 1, epoch: 0, core: 0, kind: "commit", timestampMs: 0, value: bytes };
    assert.throws(
      () => decodeCommit(entry),
      (error: unknown) => codeOf(error) === "COREWAL_CORRUPT",
      what,
    );
  }
});

test("decodeCommit: names of an object's own machinery are names like others", () => {
  const offsets = Object.fromEntries(
    ["__proto__", "toString", "hasOwnProperty", "constructor", "\ufeff", ""].map((n, i) => [n, BigInt(i)]),
  );
  const { value } = prepare({ kind: "commit", offsets }, 1000);
  const decoded = decodeCommit({ lsn: 1, term: 1, epoch: 0, core: 0, kind: "commit", timestampMs: 0, value: value as Uint8Array });
  assert.equal(Object.entries(decoded.offsets), Object.entries(offsets));
  assert.is(Object.keys(offsets).length, 6);
});

test.run();
