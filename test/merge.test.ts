// Reading over all chains of a per-core log, against a model that knows what was written and sorts it.

import { test } from "uvu";
import * as assert from "uvu/assert";
import fc from "fast-check";
import { MergedReader } from "../src/merge.js";
import { CorewalError } from "../src/errors.js";
import { ChainReader } from "../src/read.js";
import type { StorageFile } from "../src/storage.js";
import type { Entry, Kind, ReadOptions, Topology } from "../src/types.js";
import { refused, within } from "./support/expect.js";
import { parameters } from "./support/fuzzing.js";
import { MemoryStorage } from "./support/memory-storage.js";
import { ChainWriter, type Written } from "./support/merge-chains.js";

const DIRECTORY = "/log";
/** Of 2023: a double of milliseconds cannot tell 100 ns apart. */
const BASE_NS = 1_700_000_000_000_000_000n;

/** Counts files that are open. */
class CountedStorage extends MemoryStorage {
  opened = 0;
  opens = 0;
  override open(path: string): StorageFile {
    const file = super.open(path);
    this.opened++;
    this.opens++;
    let open = true;
    file.close = () => {
      if (open) this.opened--;
      open = false;
    };
    return file;
  }
}

// --- what is written ------------------------------------------------------------------------------------

/** A frame: entries that share their times by batches, perhaps a mark first or a hole in between. */
interface FramePlan {
  mark: boolean;
  /** Nanoseconds after the entry before. */
  batches: { after: number; count: number; hole: number }[];
  rotate: boolean;
  /** An empty frame follows. */
  empty: boolean;
}
interface LogPlan {
  /** For each chain and epoch the frames. */
  chains: { core: number; epochs: FramePlan[][]; behind: number }[];
  /** Closed properly: all ends are known. */
  sealed: boolean;
}

/** What the model knows of an entry. */
interface Expected {
  core: number;
  lsn: number;
  /** LSNs that it takes. */
  lsns: number;
  kind: Kind;
  epoch: number;
  timeNs: bigint;
  text: string;
  /** Last LSN of its frame; undefined if the frame has none. */
  frameLast: number | undefined;
  /** In a segment whose end readers know. */
  ended: boolean;
}

interface Built {
  storage: CountedStorage;
  /** In merge order. */
  expected: Expected[];
  writers: ChainWriter[];
  readers: ChainReader[];
  merged: MergedReader;
  /** What readers are told, by core. */
  durable: Map<number, number>;
}

const batchPlan = fc.record({
  after: fc.constantFrom(0, 0, 1, 2, 50),
  count: fc.integer({ min: 1, max: 4 }),
  hole: fc.constantFrom(0, 0, 0, 1, 3),
});
const framePlan: fc.Arbitrary<FramePlan> = fc.record({
  mark: fc.boolean(),
  batches: fc.array(batchPlan, { maxLength: 4 }),
  rotate: fc.constantFrom(false, false, false, true),
  empty: fc.constantFrom(false, false, true),
});
const logPlan: fc.Arbitrary<LogPlan> = fc.record({
  chains: fc.uniqueArray(fc.constantFrom(0, 1, 2, 3, 200, 255), { minLength: 1, maxLength: 5 }).chain((cores) =>
    fc.tuple(
      ...cores.map((core) =>
        fc.record({
          core: fc.constant(core),
          epochs: fc.array(fc.array(framePlan, { maxLength: 4 }), { maxLength: 3 }),
          behind: fc.constantFrom(0, 0, 0, 1, 2),
        }),
      ),
    ),
  ),
  sealed: fc.boolean(),
});

/** Every epoch has a thousand nanoseconds of its own. */
const epochTime = (epoch: number): bigint => BASE_NS + BigInt(epoch) * 1000n;

function build(plan: LogPlan, topology: Topology = "per-core"): Built {
  const storage = new CountedStorage();
  storage.makeDirectory(DIRECTORY);
  const expected: Expected[] = [];
  const writers: ChainWriter[] = [];
  const durable = new Map<number, number>();
  const timed = topology === "per-core";
  for (const { core, epochs, behind } of plan.chains) {
    const writer = new ChainWriter(storage, DIRECTORY, core, { topology });
    writers.push(writer);
    let timeNs = 0n;
    let shownNs: bigint | undefined;
    const ends = [0];
    const mine: { entry: Expected; segment: number }[] = [];
    for (const [epoch, frames] of epochs.entries()) {
      timeNs = timeNs > epochTime(epoch) ? timeNs : epochTime(epoch);
      for (const { mark, batches, rotate, empty } of frames) {
        const written: Written[] = mark ? [{ kind: "epoch" }] : [];
        const kinds: ("put" | "data" | "delete")[] = ["put", "data", "delete"];
        for (const { after, count, hole } of batches) {
          timeNs += BigInt(after);
          for (let i = 0; i < count; i++) {
            const kind = kinds[written.length % 3]!;
            const key = kind === "data" ? undefined : Buffer.from(`k${written.length}`);
            const value = kind === "delete" ? undefined : Buffer.from(`${core}/${written.length}`.padEnd((written.length * 7) % 40, "."));
            written.push({ kind, timeNs, key, value });
          }
          if (hole > 0) written.push({ kind: "void", count: hole });
        }
        if (rotate) writer.rotate();
        let lsn = writer.lastLsn + 1;
        writer.frame(epoch, written);
        const frameLast = writer.lastLsn >= lsn ? writer.lastLsn : undefined;
        const first = written.find((w) => "timeNs" in w);
        shownNs ??= first !== undefined ? (first as { timeNs: bigint }).timeNs : writer.timeNs;
        for (const w of written) {
          if ("timeNs" in w) shownNs = w.timeNs;
          const lsns = w.kind === "void" ? w.count : w.kind === "epoch" ? 0 : 1;
          const text = "timeNs" in w ? `${Buffer.from(w.key ?? []).toString()}=${Buffer.from(w.value ?? []).toString()}` : "";
          const time = timed ? shownNs : writer.timeNs;
          mine.push({
            entry: { core, lsn, lsns, kind: w.kind, epoch, timeNs: time, text, frameLast, ended: true },
            segment: writer.segments.length,
          });
          lsn += lsns;
        }
        if (writer.lastLsn > ends.at(-1)!) ends.push(writer.lastLsn);
        if (empty) writer.frame(epoch, []);
      }
    }
    durable.set(core, ends.at(-1 - behind) ?? 0);
    for (const { entry, segment } of mine) expected.push({ ...entry, ended: plan.sealed || segment < writer.segments.length });
    if (plan.sealed) writer.close();
  }
  const readers = writers.map(
    ({ chain, segments }) =>
      new ChainReader(
        storage,
        DIRECTORY,
        chain,
        plan.sealed ? segments : [],
        () => durable.get(chain)!,
        !plan.sealed,
        () => {},
        { ended: () => true, watch: () => ({ more: Promise.resolve(), cancel: () => {} }) },
        timed,
      ),
  );
  // They are sorted by chains already, and sorting is stable.
  const order = (a: Expected, b: Expected): number =>
    a.epoch - b.epoch || (a.timeNs < b.timeNs ? -1 : a.timeNs > b.timeNs ? 1 : 0) || a.core - b.core;
  return { storage, expected: expected.sort(order), writers, readers, durable, merged: new MergedReader(readers, () => {}) };
}

interface Limits extends ReadOptions {
  from?: number[];
  to?: number[];
}

/** What the model says that a reading shows. */
function shown(
  { expected, durable }: Built,
  { from = [], to = [], toEpoch = Infinity, toTimeMs = Infinity, internal }: Limits,
): Expected[] {
  return expected.filter((e) => {
    const control = e.kind === "void" || e.kind === "epoch";
    const end = durable.get(e.core)!;
    const last = e.lsn + Math.max(e.lsns, 1) - 1;
    // A frame without LSNs behind the durable one is shown where the end of its segment says that it is durable.
    const isDurable = e.frameLast !== undefined ? e.frameLast <= end : e.lsn <= end || (e.ended && e.lsn === end + 1);
    return (
      (internal || !control) &&
      // A hole covers both ends of a range that is upside down.
      (from[e.core] ?? 1) <= (to[e.core] ?? Infinity) &&
      isDurable &&
      last >= (from[e.core] ?? 1) &&
      e.lsn <= (to[e.core] ?? Infinity) &&
      e.epoch <= toEpoch &&
      Number(e.timeNs) / 1e6 <= toTimeMs
    );
  });
}

const plain = (e: Entry): object => ({
  core: e.core,
  lsn: e.lsn,
  kind: e.kind,
  epoch: e.epoch,
  timestampMs: e.timestampMs,
  text: e.kind === "void" || e.kind === "epoch" ? "" : `${Buffer.from(e.key ?? []).toString()}=${Buffer.from(e.value).toString()}`,
});
const model = ({ core, lsn, kind, epoch, timeNs, text }: Expected): object => ({
  core,
  lsn,
  kind,
  epoch,
  timestampMs: Number(timeNs) / 1e6,
  text,
});

async function readAll(reader: { batches(o?: ReadOptions): AsyncIterable<Entry[]> }, options?: ReadOptions): Promise<Entry[]> {
  const entries: Entry[] = [];
  for await (const batch of reader.batches(options)) entries.push(...batch);
  return entries;
}

/** What was read until it failed, and with what. */
async function readTo(source: AsyncIterable<Entry[]>): Promise<{ entries: Entry[]; error: unknown }> {
  const entries: Entry[] = [];
  try {
    for await (const batch of source) entries.push(...batch);
  } catch (error) {
    return { entries, error };
  }
  return { entries, error: undefined };
}

const put = (at: number, text = `${at}`): Written => ({
  kind: "put",
  timeNs: BASE_NS + BigInt(at),
  key: Buffer.from("k"),
  value: Buffer.from(text),
});

/** Chains whose entries have these times after BASE_NS, in frames; all in epoch 0. */
function chainsOf(
  times: Record<number, number[][]>,
  options: ConstructorParameters<typeof ChainWriter>[3] = {},
): { storage: CountedStorage; readers: ChainReader[]; merged: MergedReader; writers: ChainWriter[] } {
  const storage = new CountedStorage();
  storage.makeDirectory(DIRECTORY);
  const writers = Object.entries(times).map(([core, frames]) => {
    const writer = new ChainWriter(storage, DIRECTORY, Number(core), options);
    for (const frame of frames)
      writer.frame(
        0,
        frame.map((at) => put(at)),
      );
    return writer;
  });
  const readers = writers.map((w) => readerOf(storage, w));
  return { storage, readers, writers, merged: new MergedReader(readers, () => {}) };
}

function readerOf(storage: CountedStorage, writer: ChainWriter, durable = () => writer.lastLsn): ChainReader {
  const growth = { ended: () => true, watch: () => ({ more: Promise.resolve(), cancel: () => {} }) };
  return new ChainReader(storage, DIRECTORY, writer.chain, [], durable, true, () => {}, growth, true);
}

const names = (entries: Entry[]): string => entries.map(({ core, lsn }) => `${core}:${lsn}`).join(" ");

// --- against the model ----------------------------------------------------------------------------------

const vector = fc.dictionary(fc.constantFrom("0", "1", "2", "3", "200", "255"), fc.nat(12));
const vectorOf = (d: Record<string, number>, min: number): number[] => {
  const v: number[] = [];
  for (const [core, lsn] of Object.entries(d)) v[Number(core)] = Math.max(lsn, min);
  return v;
};
const limits = fc.record(
  {
    from: vector.map((d) => vectorOf(d, 1)),
    to: vector.map((d) => vectorOf(d, 0)),
    toEpoch: fc.nat(2),
    /** In nanoseconds behind BASE_NS. */
    toTime: fc.nat(3000),
    internal: fc.boolean(),
  },
  { requiredKeys: [] },
);
const optionsOf = ({ toTime, ...rest }: { toTime?: number } & Limits): Limits =>
  toTime === undefined ? rest : { ...rest, toTimeMs: Number(BASE_NS + BigInt(toTime)) / 1e6 };

test("what is read is what was written, in order of epoch, time to the nanosecond, core, LSN, within the limits", () =>
  fc.assert(
    fc.asyncProperty(logPlan, limits, async (plan, asked) => {
      const built = build(plan);
      const options = optionsOf(asked);
      const expected = shown(built, options);
      assert.equal((await readAll(built.merged, options)).map(plain), expected.map(model));
      assert.is(built.storage.opened, plan.sealed ? 0 : built.writers.filter((w) => w.segments.length > 0).length, "files are closed");
      for (const { core, lsn, kind } of expected.filter((e) => e.kind !== "void" && e.kind !== "epoch").slice(0, 3))
        assert.is((await built.merged.get({ core, lsn }))?.kind, kind);
    }),
    parameters(400),
  ));

for (const topology of ["per-core", "striped"] as const) {
  test(`one chain of a ${topology} log alone, within the limits`, () =>
    fc.assert(
      fc.asyncProperty(logPlan, limits, async (plan, asked) => {
        const one = { ...plan, chains: plan.chains.slice(0, 1).map((c) => ({ ...c, core: 0 })) };
        const built = build(one, topology);
        const options = optionsOf(asked);
        const from = options.from?.[0];
        const to = options.to?.[0] === 0 ? undefined : options.to?.[0];
        const expected = shown(built, { ...options, from: [from ?? 1], to: [to ?? Infinity] });
        const found = await readAll(built.readers[0]!, { ...options, from, to });
        assert.equal(found.map(plain), expected.map(model));
      }),
      parameters(200),
    ));
}

// --- order ----------------------------------------------------------------------------------------------

test("equal times: the lower core first, and a batch that shares one time stays together", async () => {
  const { merged } = chainsOf({ 0: [[5, 5, 5, 9]], 1: [[5, 5]], 2: [[4, 5], [9]] });
  assert.is(names(await readAll(merged)), "2:1 0:1 0:2 0:3 1:1 1:2 2:2 0:4 2:3");
});

test("one nanosecond decides, which a double of milliseconds cannot hold", async () => {
  assert.is(Number(BASE_NS + 1n) / 1e6, Number(BASE_NS) / 1e6);
  const { merged } = chainsOf({ 0: [[1, 3, 5]], 1: [[0, 2, 4]] });
  assert.is(names(await readAll(merged)), "1:1 0:1 1:2 0:2 1:3 0:3");
});

test("times on both sides of a word's end, and before 1970", async () => {
  const storage = new CountedStorage();
  const writers = [0, 1].map((core) => new ChainWriter(storage, DIRECTORY, core));
  const times = [-(2n ** 32n) - 1n, -1n, 0n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 32n, 2n ** 62n];
  times.forEach((timeNs, i) => writers[(i + 1) % 2]!.frame(0, [{ kind: "data", timeNs, value: Buffer.from("x") }]));
  const merged = new MergedReader(
    writers.map((w) => readerOf(storage, w)),
    () => {},
  );
  const entries = await readAll(merged);
  assert.is(names(entries), "1:1 0:1 1:2 0:2 1:3 0:3 1:4");
  assert.equal(
    entries.map((e) => e.timestampMs),
    times.map((ns) => Number(ns) / 1e6),
  );
});

test("an epoch comes before a time", async () => {
  const { storage, writers } = chainsOf({ 0: [[1]], 1: [[2, 3]] });
  // Nobody writes such times; if somebody did, the epoch would decide.
  writers[0]!.frame(1, [put(1)]);
  writers[1]!.frame(1, [put(3)]);
  const merged = new MergedReader(
    writers.map((w) => readerOf(storage, w)),
    () => {},
  );
  assert.is(names(await readAll(merged)), "0:1 1:1 1:2 0:2 1:3");
  assert.is(names(await readAll(merged, { toEpoch: 0 })), "0:1 1:1 1:2");
});

test("batches of a merge hold 1,024 entries, however large frames are; 256 chains", async () => {
  const times: Record<number, number[][]> = {};
  for (let core = 0; core < 256; core++) times[core] = [Array.from({ length: 20 }, (_, i) => i * 256 + core), [20 * 256]];
  const { merged, storage } = chainsOf(times);
  const sizes: number[] = [];
  const all: Entry[] = [];
  const opened = storage.opened;
  for await (const batch of merged.batches()) {
    sizes.push(batch.length);
    all.push(...batch);
    assert.ok(storage.opened <= opened + 256, "a file for each chain");
  }
  assert.equal(sizes, [1024, 1024, 1024, 1024, 1024, 256]);
  assert.is(storage.opened, opened);
  const order = Array.from({ length: 20 * 256 }, (_, i) => `${i % 256}:${Math.floor(i / 256) + 1}`);
  assert.equal(names(all).split(" "), [...order, ...Array.from({ length: 256 }, (_, core) => `${core}:21`)]);
});

test("a run of one chain ends with the batch", async () => {
  const { merged } = chainsOf(
    { 0: [Array.from({ length: 3000 }, (_, i) => i)], 1: [[4000]] },
    { windowBytes: 2 ** 19, segmentBytes: 2 ** 20 },
  );
  const sizes: number[] = [];
  for await (const batch of merged.batches()) sizes.push(batch.length);
  assert.equal(sizes, [1024, 1024, 953]);
});

test("entries() gives one by one what batches() gives", async () => {
  const { merged } = chainsOf({ 0: [[1, 3]], 1: [[2], [4]] });
  const seen: Entry[] = [];
  for await (const entry of merged.entries()) seen.push(entry);
  assert.is(names(seen), "0:1 1:1 0:2 1:2");
});

// --- control entries ------------------------------------------------------------------------------------

test("control entries: never twice, never those before `from`, and holes, in merged order", async () => {
  const { storage, writers } = chainsOf({ 0: [[1, 2]], 1: [[1]] });
  const [a, b] = [writers[0]!, writers[1]!];
  a.frame(0, [put(3), { kind: "void", count: 2 }, put(8)]);
  a.frame(1, [{ kind: "epoch" }]);
  b.frame(1, [{ kind: "epoch" }, put(20)]);
  a.rotate();
  a.frame(1, [{ kind: "epoch" }, put(10)]);
  const merged = new MergedReader(
    writers.map((w) => readerOf(storage, w)),
    () => {},
  );
  const show = async (options: ReadOptions): Promise<string> =>
    (await readAll(merged, options)).map((e) => `${e.core}:${e.lsn}${e.kind === "put" ? "" : e.kind}`).join(" ");
  assert.is(await show({ internal: true }), "0:1 1:1 0:2 0:3 0:4void 0:6 1:2epoch 0:7epoch 0:7epoch 0:7 1:2");
  assert.is(await show({ internal: true, from: [7, 3] }), "0:7epoch 0:7epoch 0:7");
  assert.is(await show({ internal: true, from: [8, 2] }), "1:2epoch 1:2");
  assert.is(await show({ internal: true, from: [5, 3] }), "0:4void 0:6 0:7epoch 0:7epoch 0:7");
  assert.is(await show({ from: [4, 2] }), "0:6 0:7 1:2");
  assert.is(await show({ internal: true, to: [6, 0] }), "0:1 0:2 0:3 0:4void 0:6");
});

test("a mark that a follower saw in a segment, and that was copied to the next one, comes once", async () => {
  const storage = new CountedStorage();
  const writer = new ChainWriter(storage, DIRECTORY, 0);
  writer.frame(0, [put(1)]);
  const mark = writer.frame(1, [{ kind: "epoch" }]);
  writer.frame(1, [{ kind: "epoch" }]);
  let durable = 1;
  const waits: (() => void)[] = [];
  const reader = new ChainReader(
    storage,
    DIRECTORY,
    0,
    [],
    () => durable,
    true,
    () => {},
    {
      ended: () => durable === 3,
      watch: () => ({ more: new Promise<void>((resolve) => waits.push(resolve)), cancel: () => {} }),
    },
    true,
  );
  const source = reader.entries({ internal: true, follow: true })[Symbol.asyncIterator]();
  const kinds: (string | undefined)[] = [];
  const kindOf = (result: IteratorResult<Entry, undefined>): string | undefined => result.value?.kind;
  kinds.push(kindOf(await source.next()));
  const next = source.next();
  await new Promise(setImmediate);
  // The writer is killed, and the next one copies both forward; what the follower has read ahead is gone from the file.
  writer.rotate(mark);
  writer.frame(1, [{ kind: "epoch" }]);
  writer.frame(1, [{ kind: "epoch" }]);
  writer.frame(1, [put(5), put(6)]);
  durable = 3;
  for (const wake of waits) wake();
  kinds.push(kindOf(await within(next)));
  for (let n = await source.next(); !n.done; n = await source.next()) kinds.push(n.value.kind);
  assert.equal(kinds, ["put", "epoch", "epoch", "put", "put"]);
});

// --- ends -----------------------------------------------------------------------------------------------

test("a reading ends where each chain was durable at its first step, not when it was made", async () => {
  const { storage, writers } = chainsOf({ 0: [[1], [3]], 1: [[2], [4]] });
  const durable = [1, 1];
  let asked = 0;
  const merged = new MergedReader(
    writers.map((w, i) => readerOf(storage, w, () => (asked++, durable[i]!))),
    () => {},
  );
  const source = merged.batches()[Symbol.asyncIterator]();
  assert.is(asked, 0);
  durable[0] = 2;
  const first = await source.next();
  const once = asked;
  durable[1] = 2;
  assert.is(names(first.value as Entry[]), "0:1 1:1 0:2");
  assert.equal(await source.next(), { done: true, value: undefined });
  assert.is(asked, once, "asked again after the first step");
});

test("nothing is opened before the first step, and no chain of which nothing is wanted", async () => {
  const { storage, merged } = chainsOf({ 0: [[1]], 1: [[2]], 2: [[3]] });
  const { opens } = storage;
  const source = merged.batches({ to: [0, 1, 0] })[Symbol.asyncIterator]();
  assert.is(storage.opens, opens);
  assert.is(names((await source.next()).value as Entry[]), "1:1");
  // Its header, then the segment itself.
  assert.is(storage.opens, opens + 2);
});

test("toTimeMs includes what has this timestamp, in all cores", async () => {
  const { merged } = chainsOf({ 0: [[0, 2_000_000, 4_000_000]], 1: [[1_000_000, 2_000_000, 3_000_000]] });
  const { timestampMs } = (await merged.get({ core: 0, lsn: 2 }))!;
  assert.is(names(await readAll(merged, { toTimeMs: timestampMs })), "0:1 1:1 0:2 1:2");
  assert.is(names(await readAll(merged, { toTimeMs: timestampMs - 0.5 })), "0:1 1:1");
  assert.is(names(await readAll(merged, { toTimeMs: -1 })), "");
});

test("toTimeMs ends the reading: what lies behind it is not looked at", async () => {
  const { storage, writers, merged } = chainsOf({ 0: [[1_000_000], [3_000_000]], 1: [[2_000_000]] });
  // Not the frame that says so, but the one behind it.
  harm(storage, 0, writers[0]!.frame(0, [put(4_000_000)]) + 64 + 20);
  const toTimeMs = Number(BASE_NS + 2_000_000n) / 1e6;
  assert.is(names(await readAll(merged, { toTimeMs })), "0:1 1:1");
  await refused(readAll(merged), "COREWAL_CORRUPT");
});

test("return() in the middle and breaking a loop close every file; so do next() calls at once", async () => {
  const many = Array.from({ length: 3000 }, (_, i) => i);
  const { storage, merged } = chainsOf({ 0: [many], 1: [many], 2: [many] }, { windowBytes: 2 ** 19, segmentBytes: 2 ** 20 });
  const before = storage.opened;
  const source = merged.batches()[Symbol.asyncIterator]();
  const results = await Promise.all([source.next(), source.next(), source.next()]);
  assert.is(storage.opened, before + 3);
  const alone = (await readAll(merged)).slice(0, 3072);
  assert.is(names(results.flatMap((r) => r.value as Entry[])), names(alone));
  assert.equal(await source.return!(), { done: true, value: undefined });
  assert.is(storage.opened, before);
  assert.equal(await source.next(), { done: true, value: undefined });
  for await (const entry of merged.entries()) if (entry.lsn === 5) break;
  assert.is(storage.opened, before);
  const entries = merged.entries()[Symbol.asyncIterator]();
  const singly = await Promise.all(Array.from({ length: 2000 }, () => entries.next()));
  assert.is(names(singly.map((r) => r.value as Entry)), names(alone.slice(0, 2000)));
  await entries.return!();
  assert.is(storage.opened, before);
});

test("a signal ends the reading before its next batch, and a closed log is told at once", async () => {
  const many = Array.from({ length: 2000 }, (_, i) => i);
  const { storage, readers, merged } = chainsOf({ 0: [many], 1: [many] }, { windowBytes: 2 ** 19, segmentBytes: 2 ** 20 });
  const before = storage.opened;
  const abort = new AbortController();
  const source = merged.batches({ signal: abort.signal })[Symbol.asyncIterator]();
  assert.is(((await source.next()).value as Entry[]).length, 1024);
  abort.abort(new Error("enough"));
  const error = await refused(source.next(), "COREWAL_ABORTED");
  assert.is((error.cause as Error).message, "enough");
  assert.is(storage.opened, before);
  assert.equal(await source.next(), { done: true, value: undefined });
  const closed = new MergedReader(readers, () => {
    throw new CorewalError("COREWAL_CLOSED", "the log is closed: open it again");
  });
  await refused(closed.batches()[Symbol.asyncIterator]().next(), "COREWAL_CLOSED");
  await refused(closed.get({ core: 0, lsn: 1 }), "COREWAL_CLOSED");
});

test("a chain that comes into being later is part of the readings that begin then", async () => {
  const { storage, readers, merged } = chainsOf({ 1: [[1], [3]] });
  assert.is(names(await readAll(merged)), "1:1 1:2");
  assert.is(await merged.get({ core: 0, lsn: 1 }), undefined);
  const writer = new ChainWriter(storage, DIRECTORY, 0);
  readers.push(readerOf(storage, writer));
  assert.is(names(await readAll(merged)), "1:1 1:2");
  writer.frame(0, [put(2)]);
  assert.is(names(await readAll(merged)), "1:1 0:1 1:2");
  assert.is(names(await readAll(new MergedReader([], () => {}))), "");
});

// --- damage ---------------------------------------------------------------------------------------------

/** A byte of the chain's file is another one. */
function harm(storage: CountedStorage, core: number, offset: number): void {
  const name = storage.list(DIRECTORY).find((n) => n.startsWith(String(core).padStart(3, "0")))!;
  const file = storage.open(`${DIRECTORY}/${name}`);
  const byte = new Uint8Array(1);
  file.read(byte, offset);
  file.write(Uint8Array.of(byte[0]! ^ 1), offset);
  file.close();
}

test("damage in one chain: what comes before it in all of them is given out, then the error, then nothing", () =>
  fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(fc.array(fc.nat(50), { minLength: 1, maxLength: 5 }), { minLength: 1, maxLength: 6 }), {
        minLength: 1,
        maxLength: 4,
      }),
      fc.nat(),
      fc.nat(),
      async (chains, which, where) => {
        const sorted = chains.map((frames) => {
          const times = frames.flat().sort((a, b) => a - b);
          return frames.map((frame) => times.splice(0, frame.length));
        });
        const { storage, merged, writers } = chainsOf({ ...sorted });
        const core = which % chains.length;
        const frame = where % sorted[core]!.length;
        const whole = await readAll(merged);
        const good = sorted[core]!.slice(0, frame).flat().length;
        // Behind the last good entry of that chain nobody knows what comes next.
        const count = good === 0 ? 0 : whole.findIndex((e) => e.core === core && e.lsn === good) + 1;
        const again = new ChainWriter(new MemoryStorage(), DIRECTORY, core);
        const offsets = sorted[core]!.map((times) =>
          again.frame(
            0,
            times.map((at) => put(at)),
          ),
        );
        harm(storage, core, offsets[frame]! + 64 + 20);
        const opened = storage.opened;
        const source = merged.batches()[Symbol.asyncIterator]();
        const { entries, error } = await readTo({ [Symbol.asyncIterator]: () => source });
        assert.is(names(entries), names(whole.slice(0, count)));
        assert.is((error as CorewalError).code, "COREWAL_CORRUPT");
        assert.is((error as CorewalError).lsn, good + 1);
        assert.is(storage.opened, opened, "files are closed");
        assert.equal(await source.next(), { done: true, value: undefined });
        assert.is(writers.length, chains.length);
      },
    ),
    parameters(200),
  ));

// --- mistakes -------------------------------------------------------------------------------------------

test("a plain LSN and following are refused with what to do instead; bad options with their names", async () => {
  const { merged } = chainsOf({ 0: [[1]] });
  await refused(() => merged.batches({ from: 1 }), "COREWAL_TOPOLOGY", /vector|core\(i\)/);
  await refused(() => merged.entries({ to: 1 }), "COREWAL_TOPOLOGY", /vector/);
  await refused(() => merged.entries({ follow: true }), "COREWAL_TOPOLOGY", /core\(i\)/);
  await refused(merged.get(1 as never), "COREWAL_TOPOLOGY", /core: ?|\{ core, lsn: 1 \}/);
  for (const bad of [{ from: [0] }, { from: [1.5] }, { to: [-1] }, { toEpoch: -1 }, { toEpoch: 0.5 }, { toTimeMs: NaN }, { to: [NaN] }])
    assert.instance(await refused(() => merged.batches(bad), "COREWAL_INVALID_OPTION"), RangeError);
  const wrong = [{ from: ["1"] }, { from: "1" }, { to: {} }, { toEpoch: "1" }, { toTimeMs: 1n }, { nope: 1 }, { follow: 1 }, { signal: 1 }];
  for (const bad of wrong) assert.instance(await refused(() => merged.batches(bad as never), "COREWAL_INVALID_OPTION"), TypeError);
  for (const bad of [
    { core: -1, lsn: 1 },
    { core: 0, lsn: 0 },
    { core: 0.5, lsn: 1 },
  ])
    assert.instance(await refused(merged.get(bad), "COREWAL_INVALID_INPUT"), RangeError);
  for (const bad of [undefined, null, "1", { core: 0 }, { lsn: 1 }])
    assert.instance(await refused(merged.get(bad as never), "COREWAL_INVALID_INPUT"), TypeError);
});

test.run();
