// Every reader of bytes, given bytes that nobody wrote: it never traps, hangs or reads outside, and what it throws is
// a judgement with a code. The module's own parsers are fuzzed once more, guided by coverage: test/fuzz/harness.c.

import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { FAULT_TEXT, FRAME_BAD_LSNS, WINDOW } from "../assembly/layout.js";
import { crc32c } from "../src/checksum.js";
import { bindCore, coreModule, makeMemory, windowCore } from "../src/core.js";
import { decodeEntries, encodeEntries } from "../src/encoding.js";
import { decodeCommit } from "../src/entry.js";
import { codeOf, CorewalError, errorFromText } from "../src/errors.js";
import { readFault } from "../src/fault.js";
import { decodeFrameHeader } from "../src/frame.js";
import { openLogWith } from "../src/log.js";
import { livenessOf } from "../src/lock-owner.js";
import { parseLock } from "../src/lock.js";
import { readFooter } from "../src/footer.js";
import { readSegmentHeader } from "../src/segment.js";
import type { Entry, Log } from "../src/types.js";
import { verifyLogOn } from "../src/verify.js";
import { DIRECTORY, drive, Fixed, readAll } from "./support/fixed-log.js";
import { change, changes, CountingStorage, forge, FuzzLog } from "./support/fuzz-logs.js";
import { judged, parameters, verdict, wasRead } from "./support/fuzzing.js";
import { readLog, type ReadLog } from "./support/independent-reader.js";
import { CASES, goldenFiles } from "./support/golden-cases.js";

const bytes = fc.oneof(fc.uint8Array({ maxLength: 64 }), fc.uint8Array({ maxLength: 2000 }));
const u32 = fc.nat(2 ** 32 - 1);

// --- whole logs -----------------------------------------------------------------------------------------

const LOGS = CASES.map(({ name }) => new FuzzLog(name, goldenFiles(name)));
const logs = fc.tuple(fc.constantFrom(...LOGS.keys()), changes);

/** A machine whose disk holds the changed log. */
function machine(index: number, what: Parameters<typeof change>[1]): Fixed {
  const fixed = new Fixed();
  fixed.storage = CountingStorage.holding(DIRECTORY, change(LOGS[index]!, what));
  return fixed;
}

const lastLsnOf = (chains: ReadLog["chains"], chain: number): number => chains.find((c) => c.chain === chain)!.lastLsn;

/** LSNs of entries of a chain that are given out: those of kinds that are known. */
const known = ({ segments, chains }: ReadLog, chain: number): number[] =>
  segments
    .filter((segment) => segment.chain === chain)
    .flatMap((segment) => segment.entries)
    // Marks behind the last entry are not given out before another one follows them.
    .filter(({ kind, lsn }) => !kind.startsWith("kind ") && (kind !== "epoch" || lsn <= lastLsnOf(chains, chain)))
    .map(({ lsn }) => lsn);

function ascending(entries: Entry[]): void {
  // A lost entry, and marks, have the LSN of what is behind them.
  const taking = entries.filter(({ kind }) => kind !== "lost" && kind !== "epoch");
  for (let i = 1; i < taking.length; i++) assert.ok(taking[i]!.lsn > taking[i - 1]!.lsn, "LSNs grow");
}

async function chainEntries(log: Log, core: number): Promise<Entry[]> {
  const entries: Entry[] = [];
  for await (const entry of log.core(core).read({ internal: true })) entries.push(entry);
  return entries;
}

test("a log with changed fields, checksums right again: reading it gives entries or a judgement", () =>
  fc.assert(
    fc.asyncProperty(logs, fc.boolean(), async ([index, what], live) => {
      const fixed = machine(index, what);
      const before = fixed.files;
      const independent = readLog(before);
      // Opening and reading trust footers, verify does not: what it passes, the independent reader must read the same.
      const { ok, clean, lastLsn } = await verifyLogOn(fixed.storage, DIRECTORY).catch(() => ({ ok: false, clean: false, lastLsn: 0 }));
      if (ok) {
        assert.equal(independent.bad, undefined);
        assert.equal([clean ? "clean" : "torn", lastLsn], [independent.answer, independent.lastLsn]);
      }
      try {
        const log = await openLogWith(DIRECTORY, { readOnly: true }, { ...fixed.environment(), live });
        // In which order they come in together depends on times, which are whatever was written over them.
        const together = await readAll(log, true);
        let count = 0;
        for (const { core } of log.recovery.cores) {
          const entries = await chainEntries(log, core);
          count += entries.length;
          ascending(entries);
          if (!ok || live) continue;
          assert.equal(
            entries.map(({ lsn }) => lsn),
            known(independent, core),
          );
          // The index of a footer leads to each of them.
          for (const { lsn, kind } of entries)
            if (kind !== "void" && kind !== "lost" && kind !== "epoch") assert.is((await log.get({ core, lsn }))?.lsn, lsn);
        }
        assert.is(together.length, count);
        await log.close();
        wasRead();
      } catch (error) {
        verdict(error);
        if (!live) assert.ok(!ok && independent.answer !== "clean" && independent.answer !== "torn", "no false alarm");
      }
      assert.equal(fixed.files, before, "nothing was changed");
    }),
    parameters(600),
  ));

const SEALED = LOGS.filter(({ segments }) => segments.at(-1)!.footer !== undefined);

test("a sealed segment whose header calls more durable than it holds is damaged, however much more", () =>
  fc.assert(
    fc.asyncProperty(fc.constantFrom(...SEALED), fc.boolean(), fc.bigInt({ min: 1n, max: 2n ** 40n }), async (log, lsn, more) => {
      const { endOffset, lastLsn } = log.segments.at(-1)!.footer!;
      const fixed = new Fixed();
      fixed.storage = CountingStorage.holding(
        DIRECTORY,
        lsn ? forge(log, "header", 152, BigInt(lastLsn) + more) : forge(log, "header", 144, BigInt(endOffset) + more),
      );
      try {
        await openLogWith(DIRECTORY, { readOnly: true }, { ...fixed.environment(), live: false });
        assert.unreachable("it was opened");
      } catch (error) {
        assert.is(codeOf(error), "COREWAL_CORRUPT");
      }
    }),
    parameters(30),
  ));

/** Where the numbers in a footer stand that say what the frames hold, from the first LSN to the latest time. */
const SUMMARY = Array.from({ length: 12 }, (_, i) => 32 + 8 * i);

test("a footer that says something else than the frames hold is found by verify, whichever number it is", () =>
  fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...SEALED),
      fc.oneof(fc.constantFrom(-1n, 1n), fc.bigInt({ min: 2n, max: 2n ** 40n })),
      async (log, step) => {
        for (const offset of SUMMARY) {
          const files = forge(log, "footer", offset, (before) => (before + step < 0n ? before - step : before + step));
          const { ok } = await verifyLogOn(CountingStorage.holding(DIRECTORY, files), DIRECTORY);
          assert.not.ok(ok, `the number at ${offset} in the footer of ${log.name} is another one by ${step}`);
        }
      },
    ),
    parameters(30),
  ));

test("… verify names faults instead of throwing, and none of them is a failure of its own", () =>
  fc.assert(
    fc.asyncProperty(logs, async ([index, what]) => {
      const { storage } = machine(index, what);
      const report = await verifyLogOn(storage, DIRECTORY).catch(verdict);
      for (const fault of report?.faults ?? []) assert.is.not(fault.kind, "io", fault.message);
    }),
    parameters(300),
  ));

test("… opened for writing it goes on, and what was appended is there afterwards, or it is judged", () =>
  fc.assert(
    fc.asyncProperty(logs, async ([index, what]) => {
      const fixed = machine(index, what);
      let lsn;
      try {
        const log = await fixed.open();
        lsn = await drive(log, log.append("one more"));
        await drive(log, log.close());
      } catch (error) {
        return verdict(error, "COREWAL_LSN_EXHAUSTED");
      }
      const again = await fixed.readOnly();
      // Other chains, which were not written, may still have a torn end.
      assert.is(again.recovery.cores[0]!.clean, true);
      assert.is(again.recovery.lastLsn, lsn);
      await again.close();
      wasRead();
    }),
    parameters(150),
  ));

test("arbitrary bytes as a segment", () =>
  fc.assert(
    fc.property(bytes, (content) => {
      const file = CountingStorage.holding(DIRECTORY, new Map([["f", content]])).open(`${DIRECTORY}/f`);
      assert.is(
        judged(() => readSegmentHeader(file)),
        undefined,
      );
      const header = readSegmentHeader(CountingStorage.holding("/g", LOGS[0]!.files).open(`/g/${[...LOGS[0]!.files.keys()][0]!}`));
      assert.is(readFooter(file, header), undefined);
    }),
    parameters(300),
  ));

// --- the module, at the very end of its memory ------------------------------------------------------------

test("the shipped module reads nothing behind the bytes that it is given: they end with its memory", () => {
  const core = bindCore(coreModule(), makeMemory(WINDOW + 65536));
  core.x.crc32c_init();
  const end = core.bytes.length;
  fc.assert(
    fc.property(bytes, u32, u32, u32, fc.maxSafeNat(), u32, (content, entries, headersCrc, seed, lsn, lsns) => {
      const at = end - content.length;
      core.bytes.set(content, at);
      const frame = core.x.frame_verify(at, content.length, entries, headersCrc, seed, lsn, lsns, lsns & 8);
      assert.ok(frame >= 0 && frame <= FRAME_BAD_LSNS);
      const entry = core.x.entry_verify(at, content.length, seed, lsn);
      assert.ok(entry >= -FRAME_BAD_LSNS && entry !== 0 && entry <= content.length);
      const found = core.x.frame_find(at, end, 1 + (entries % 64), headersCrc);
      assert.ok(found === 0 || (found >= at && found + 4 <= end));
      assert.is(~core.x.crc32c_update(-1, at, content.length) >>> 0, crc32c(content));
      if (content.length >= 64) assert.is(decodeFrameHeader(core, at, 1n, lsn), undefined);
    }),
    parameters(2000),
  );
});

// --- corewal/core -----------------------------------------------------------------------------------------

test("decodeEntries: entries with a changed header and the checksum right again", () =>
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ minLength: 1, maxLength: 30 }), { minLength: 1, maxLength: 4 }),
      fc.constantFrom(1, 2 ** 32, 2 ** 53 - 2 ** 31),
      fc.array(fc.record({ at: fc.nat(200), value: fc.oneof(fc.nat(255), fc.constantFrom(0, 16, 255)) }), { maxLength: 4 }),
      fc.option(fc.nat(200), { nil: undefined }),
      (values, firstLsn, edits, cut) => {
        let content = encodeEntries(values, { firstLsn });
        for (const { at, value } of edits) content[at % content.length] = value;
        mendEntries(content, firstLsn);
        if (cut !== undefined) content = content.subarray(0, cut % content.length);
        const entries = judged(() => decodeEntries(content, { firstLsn }));
        if (entries !== undefined) ascending(entries);
        if (edits.length === 0 && cut === undefined)
          assert.equal(
            entries?.map(({ value }) => value),
            values,
          );
      },
    ),
    parameters(1000),
  ));

/** Gives each entry its checksum, as far as lengths lead. */
function mendEntries(content: Uint8Array, firstLsn: number): void {
  const v = new DataView(content.buffer, content.byteOffset, content.length);
  let lsn = BigInt(firstLsn);
  for (let p = 0; p + 16 <= content.length;) {
    const payload = v.getUint32(p + 4, true);
    if (p + 16 + payload > content.length) return;
    const end = Buffer.alloc(8);
    end.writeBigUInt64LE(BigInt.asUintN(64, lsn));
    v.setUint32(p, crc32c(Buffer.concat([new Uint8Array(24), content.subarray(p + 4, p + 16 + payload), end])), true);
    const kind = content[p + 12]!;
    if (kind === 16 && payload >= 8) lsn += v.getBigUint64(p + 16, true);
    else if (kind < 16) lsn++;
    p += 16 + ((payload + 7) & ~7);
  }
}

test("arbitrary bytes as entries and as a fault in shared memory", () => {
  const core = windowCore(65536);
  return fc.assert(
    fc.property(bytes, u32, (content, length) => {
      if (content.length > 0) {
        assert.is(
          judged(() => decodeEntries(content, { firstLsn: 1 })),
          undefined,
        );
      }
      core.bytes.set(content, FAULT_TEXT + 4);
      core.view.setUint32(FAULT_TEXT, length, true);
      assert.instance(readFault(core), CorewalError);
    }),
    parameters(300),
  );
});

// --- commits ----------------------------------------------------------------------------------------------

const commit = (value: Uint8Array): Entry => ({ lsn: 1, term: 1, epoch: 0, core: 0, kind: "commit", timestampMs: 0, value });
const i64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
const offsets = fc.dictionary(fc.oneof(fc.string(), fc.constantFrom("__proto__", "7", "ü")), i64, { maxKeys: 4 });

/** The value of a commit entry as it would be written. */
function encode(input: ReturnType<typeof decodeCommit>): Uint8Array {
  return decodeEntries(encodeEntries([{ kind: "commit", ...input }], { firstLsn: 1 }), { firstLsn: 1 })[0]!.value;
}

test("decodeCommit: what it accepts it has read whole", () =>
  fc.assert(
    fc.property(
      fc.oneof(
        bytes,
        fc
          .tuple(
            offsets,
            fc.option(i64, { nil: undefined }),
            fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 3 }),
            fc.nat(200),
            fc.oneof({ weight: 9, arbitrary: fc.constant(new Uint8Array(0)) }, fc.uint8Array({ minLength: 1, maxLength: 8 })),
          )
          .map(([names, watermark, edits, cut, rest]) => {
            const value = encode({ offsets: names, watermark });
            for (const [at, byte] of edits) value[at % value.length] = byte;
            return cut < value.length && edits.length > 1 ? value.slice(0, cut) : Uint8Array.from([...value, ...rest]);
          }),
      ),
      (value) => {
        const decoded = judged(() => decodeCommit(commit(value)));
        if (decoded === undefined) return;
        const again = encode(decoded);
        assert.is(again.length, value.length, "nothing is left out");
        // Flags that are not known yet, and a watermark that does not count, are passed over.
        assert.equal(decodeCommit(commit(again)), decoded);
      },
    ),
    parameters(1000),
  ));

// --- texts ------------------------------------------------------------------------------------------------

const text = fc.oneof({ weight: 9, arbitrary: fc.string() }, fc.anything());
const owner = fc.record(
  { pid: fc.oneof(fc.integer(), fc.anything()), host: text, boot: text, pidNamespace: text, started: text, since: text },
  { requiredKeys: ["pid", "host", "boot", "pidNamespace"] },
);
const json = fc.oneof(
  fc.json(),
  owner.map((o) => JSON.stringify(o) ?? ""),
  fc.string(),
);

test("lock file: any text is a lock or unreadable", () => {
  const me = { pid: 1, host: "h", boot: "b", pidNamespace: "n", started: "1", since: "" };
  const asked: unknown[] = [];
  const view = { me, alive: (pid: number) => asked.push(pid) > 0, started: () => "1", unlocked: () => undefined };
  return fc.assert(
    fc.property(fc.constantFrom("H", "R", ""), json, (first, text) => {
      asked.length = 0;
      const lock = parseLock(first + text);
      if (lock?.owner === undefined) return;
      const liveness = livenessOf({ ...lock.owner, host: "h", boot: "b", pidNamespace: "n" }, view);
      assert.ok(["held", "dead", "unknown"].includes(liveness));
      for (const pid of asked) assert.ok(Number.isInteger(pid) && (pid as number) > 0, `asked for process ${String(pid)}`);
    }),
    parameters(1000),
  );
});

test("an error as text, from another thread: any text is an error with a code of ours", () =>
  fc.assert(
    fc.property(
      fc.oneof(
        json,
        fc.record({ code: fc.anything(), message: fc.anything(), lsn: fc.anything() }).map((o) => JSON.stringify(o)),
      ),
      (text) => {
        const error = errorFromText(text);
        assert.instance(error, CorewalError);
        assert.match(error.code, /^COREWAL_[A-Z_]+$/);
      },
    ),
    parameters(1000),
  ));

test.run();
