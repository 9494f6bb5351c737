// FORMAT.md, the golden files, the independent reader and the library say the same.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import * as layout from "../assembly/layout.js";
import { windowCore } from "../src/core.js";
import { decodeCommit } from "../src/entry.js";
import { seal } from "../src/footer.js";
import { emptySummary, encodeSegmentHeader, type SegmentHeader, type SegmentSummary } from "../src/segment.js";
import { CheckpointWriter } from "../src/checkpoint-file.js";
import type { Entry } from "../src/types.js";
import { verifyLogOn } from "../src/verify.js";
import { appendEach, DIRECTORY, Fixed, readAll } from "./support/fixed-log.js";
import { CASES, describe, GOLDEN, goldenFiles, show } from "./support/golden-cases.js";
import { crc, readCommit, readLog, type ReadEntry } from "./support/independent-reader.js";
import { MemoryStorage } from "./support/memory-storage.js";

const FORMAT = readFileSync(join(process.cwd(), "FORMAT.md"), "utf8");

// --- the worked example -----------------------------------------------------------------------------

/** Bytes of the example, each line checked to stand where it says. */
function workedExample(): Uint8Array {
  const [, block] = /## A worked example[\s\S]*?```\n([\s\S]*?)```/.exec(FORMAT)!;
  const bytes: number[] = [];
  for (const line of block!.split("\n")) {
    if (line === "" || line.startsWith("#")) continue;
    const match = /^([0-9a-f]{4}) {2}(?:00 × (\d+)|((?:[0-9a-f]{2} ?){1,16}))(?: |$)/.exec(line);
    assert.ok(match, `a line of the example cannot be read: ${line}`);
    assert.is(Number.parseInt(match[1]!, 16), bytes.length, `offset of: ${line}`);
    if (match[2] !== undefined) bytes.push(...new Array<number>(Number(match[2])).fill(0));
    else
      bytes.push(
        ...match[3]!
          .trim()
          .split(" ")
          .map((b) => Number.parseInt(b, 16)),
      );
  }
  return Uint8Array.from(bytes);
}

test("the worked example of FORMAT.md is the golden file and says what is written there", () => {
  const bytes = workedExample();
  const name = "000-0000000001.wal";
  assert.equal(bytes, goldenFiles("worked-example").get(name));
  const log = readLog(new Map([[name, bytes]]));
  assert.is(log.answer, "clean");
  assert.equal(
    log.entries.map(({ lsn, term, kind, timeNs, key, value }) => [
      lsn,
      term,
      kind,
      timeNs,
      Buffer.from(key).toString(),
      Buffer.from(value).toString(),
    ]),
    [
      [1, 1, "put", 1_704_067_200_000_000_000n, "key", "value"],
      [2, 1, "data", 1_704_067_200_000_000_000n, "", "hi"],
      [3, 1, "delete", 1_704_067_201_000_000_000n, "key", ""],
    ],
  );
  assert.equal(log.segments[0]!.footer?.index, [[1, 256]]);
});

// --- golden files ------------------------------------------------------------------------------------

const plain = (e: ReadEntry): unknown => [e.lsn, e.term, e.epoch, e.stripe, e.kind, Number(e.timeNs) / 1e6, show(e.key), show(e.value)];
const ours = (e: Entry): unknown => [
  e.lsn,
  e.term,
  e.epoch,
  e.core,
  e.kind,
  e.timestampMs,
  show(e.key ?? new Uint8Array(0)),
  show(e.value),
];

for (const { name, make } of CASES) {
  test(`golden ${name}: the independent reader reads what was written down`, () => {
    const expected = JSON.parse(readFileSync(join(GOLDEN, `${name}.json`), "utf8")) as { what?: string };
    delete expected.what;
    assert.equal(describe(readLog(goldenFiles(name))), expected);
  });

  test(`golden ${name}: the library reads the same, for writing, for reading and for verifying`, async () => {
    const independent = readLog(goldenFiles(name));
    const fixed = new Fixed(goldenFiles(name));
    const readOnly = await fixed.readOnly();
    assert.is(readOnly.recovery.clean, independent.answer === "clean");
    assert.is(readOnly.recovery.completeEpoch, independent.complete - 1);
    const chainOf = ({ stripe }: ReadEntry): number => (independent.topology === "per-core" ? stripe : 0);
    for (const { chain, promise, lastLsn } of independent.chains) {
      const { durableLsn } = readOnly.core(chain);
      assert.ok(durableLsn >= promise && durableLsn <= lastLsn);
    }
    const durable = independent.entries.filter((e) => e.lsn <= readOnly.core(chainOf(e)).durableLsn);
    assert.equal((await readAll(readOnly, true)).map(ours), durable.map(plain));
    await readOnly.close();
    const report = await verifyLogOn(fixed.storage, DIRECTORY, {});
    assert.equal(report.faults, []);
    assert.is(fixed.storage.changes, 0, "a read-only open changed something");

    const log = await fixed.open();
    assert.is(log.recovery.completeEpoch, independent.complete - 1);
    assert.equal(
      log.recovery.cores.map(({ core, lastLsn }) => [core, lastLsn]),
      independent.chains.map(({ chain, lastLsn }) => [chain, lastLsn]),
    );
    const entries = await readAll(log, true);
    assert.equal(entries.map(ours), independent.entries.map(plain));
    for (const entry of entries.filter((e) => e.kind === "commit")) {
      const { offsets, watermark } = readCommit(entry.value);
      const decoded = decodeCommit(entry);
      assert.equal(Object.entries(decoded.offsets), offsets);
      assert.is(decoded.watermark, watermark);
    }
    await log.close();
    // What recovery wrote is as readable as what it found.
    assert.equal(readLog(fixed.files).entries.map(plain), independent.entries.map(plain));
  });

  test(`golden ${name}: the same calls give the same bytes; if not, the format has changed and needs a new version`, async () => {
    const made = await make();
    const golden = goldenFiles(name);
    assert.equal([...made.keys()], [...golden.keys()]);
    for (const [file, bytes] of golden) {
      const differs = made.get(file)!.findIndex((byte, i) => byte !== bytes[i]);
      assert.is(differs, -1, `${file} differs from offset ${differs} on`);
      assert.is(made.get(file)!.length, bytes.length, `${file} has another size`);
    }
  });
}

test("the independent reader rejects what it should: one bit of every byte of the worked example flipped", () => {
  const name = "000-0000000001.wal";
  const good = workedExample();
  const expected = readLog(new Map([[name, good]]));
  for (let at = 0; at < good.length; at++) {
    const bytes = good.slice();
    bytes[at]! ^= 1 << (at % 8);
    const log = readLog(new Map([[name, bytes]]));
    const same = JSON.stringify(describe({ ...log, segments: [] })) === JSON.stringify(describe({ ...expected, segments: [] }));
    // Zeros between frames and the mark prove nothing; a lost footer is told by the answer.
    const harmless = (at >= 0x170 && at < 0x180) || (at >= 0x1d8 && at < 0x200) || at >= 0x300;
    if (harmless) assert.ok(same, `offset ${at} should not matter`);
    else assert.is.not(log.answer, "clean", `offset ${at}: not noticed`);
  }
});

// --- offset tables -----------------------------------------------------------------------------------

interface Row {
  offset: number;
  size: number;
  name: string;
}

/** The table under a heading: its fields by name, without what follows the colon. */
function table(heading: string): Row[] {
  const section = FORMAT.split(/^#+ /m).find((part) => part.startsWith(`${heading}\n`));
  assert.ok(section, `FORMAT.md has no section ${heading}`);
  const rows: Row[] = [];
  for (const line of section.split("\n")) {
    const cells = line.split("|").map((cell) => cell.trim());
    if (/^\d+$/.test(cells[1] ?? "") && /^\d+$/.test(cells[2] ?? ""))
      rows.push({ offset: Number(cells[1]), size: Number(cells[2]), name: cells[3]!.split(/[:;]/)[0]! });
  }
  assert.ok(rows.length > 0, heading);
  return rows;
}

/** No gap, no overlap, `bytes` in all. */
function gapless(heading: string, from: number, bytes: number): Row[] {
  const rows = table(heading);
  let at = from;
  for (const row of rows) {
    assert.is(row.offset, at, `${heading}, ${row.name}`);
    at += row.size;
  }
  assert.is(at, bytes, heading);
  return rows;
}

const offsets = (rows: Row[]): Record<string, number> => Object.fromEntries(rows.map((r) => [r.name, r.offset]));

test("FORMAT.md's tables of frame header, entry and kinds are the constants of layout.ts", () => {
  const {
    FRAME_CRC,
    FRAME_BYTES,
    FRAME_ENTRIES,
    FRAME_DURABLE_EPOCH,
    FRAME_FIRST_LSN,
    FRAME_DURABLE_LSN,
    FRAME_TERM,
    FRAME_EPOCH,
    FRAME_TIME_NS,
    FRAME_HEADERS_CRC,
    FRAME_LSNS,
  } = layout;
  assert.equal(offsets(gapless("Frame header", 0, layout.FRAME_HEADER_BYTES)), {
    magic: 0,
    "frame checksum": FRAME_CRC,
    bytes: FRAME_BYTES,
    entries: FRAME_ENTRIES,
    "durable epoch": FRAME_DURABLE_EPOCH,
    "first LSN": FRAME_FIRST_LSN,
    "durable LSN": FRAME_DURABLE_LSN,
    term: FRAME_TERM,
    epoch: FRAME_EPOCH,
    time: FRAME_TIME_NS,
    "entry headers checksum": FRAME_HEADERS_CRC,
    LSNs: FRAME_LSNS,
  });
  assert.is(layout.FRAME_MAGIC, Number(/`CLWF`, (0x[0-9A-F]{8})/.exec(FORMAT)![1]));
  assert.equal(offsets(gapless("Entry", 0, layout.ENTRY_HEADER_BYTES)), {
    "entry checksum": layout.ENTRY_CRC,
    "payload bytes": layout.ENTRY_PAYLOAD_BYTES,
    "key bytes": layout.ENTRY_KEY_BYTES,
    kind: layout.ENTRY_KIND,
    stripe: layout.ENTRY_STRIPE,
    zero: layout.ENTRY_RESERVED,
  });
  for (const kind of ["data", "put", "delete", "commit", "void", "lost", "epoch"] as const) {
    const [, number] = new RegExp(`^\\| *(\\d+) *\\| *${kind} *\\|`, "m").exec(FORMAT)!;
    assert.is(Number(number), layout[`KIND_${kind.toUpperCase()}` as keyof typeof layout], kind);
  }
});

const HEADER: SegmentHeader = {
  logId: Uint8Array.from({ length: 16 }, (_, i) => i + 1),
  salt: 0x0807060504030201n,
  topology: "per-core",
  chain: 7,
  number: 11,
  parentNumber: 12,
  parentSalt: 13n,
  parentEnd: 14,
  parentLastLsn: 15,
  term: 16,
  epoch: 17,
  createdNs: 18n,
  frameAlign: 128,
  segmentBytes: 20,
  provenEnd: 21,
  provenLsn: 22,
  cutsParent: false,
  marks: { epoch: 41, complete: 42, chains: [0, 9] },
  floor: 43,
  needsCheckpoint: true,
  origin: Uint8Array.from({ length: 16 }, (_, i) => i + 50),
};

test("FORMAT.md's tables of preamble and segment header are what is written", () => {
  const bytes = encodeSegmentHeader(HEADER);
  const v = new DataView(bytes.buffer);
  gapless("Preamble", 0, 32);
  const at = offsets(gapless("Segment header", 32, 256));
  const u64 = (name: string): bigint => v.getBigUint64(at[name]!, true);
  assert.equal(bytes.slice(at["log id"], at["log id"]! + 16), HEADER.logId);
  assert.is(u64("salt"), HEADER.salt);
  assert.is(v.getUint32(at["topology"]!, true), 1);
  assert.is(v.getUint32(at["chain"]!, true), 7);
  checkMarks(bytes, at["marks"]!);
  ["number", "parent number", "parent salt", "parent end", "parent last LSN", "term", "epoch", "created"].forEach((name, i) =>
    assert.is(u64(name), BigInt(11 + i), name),
  );
  assert.is(u64("floor"), 43n);
  assert.equal(bytes.slice(at["origin"], at["origin"]! + 16), HEADER.origin);
  assert.is(v.getUint32(at["frame align"]!, true), 128);
  ["segment bytes", "proven end", "proven LSN"].forEach((name, i) => assert.is(u64(name), BigInt(20 + i), name));
  assert.is(v.getUint32(at["header checksum"]!, true), crc(bytes.slice(48, 56), new Uint8Array(8), bytes.slice(0, 252)));
  assert.is(v.getUint32(28, true), crc(new Uint8Array(16), bytes.slice(0, 28)));
});

function checkMarks(bytes: Uint8Array, from: number): void {
  const v = new DataView(bytes.buffer);
  const at = offsets(gapless("Marks", 0, 56));
  ["epoch", "complete"].forEach((name, i) => assert.is(v.getBigUint64(from + at[name]!, true), BigInt(41 + i), name));
  assert.equal([...bytes.slice(from + at["chains"]!, from + at["chains"]! + 3)], [1, 2, 0]);
}

test("FORMAT.md's tables of a checkpoint are what is written", async () => {
  const storage = new MemoryStorage();
  const head = { logId: HEADER.logId, salt: HEADER.salt, topology: "per-core" as const, number: 64, term: 72, epoch: 80, createdNs: 88n };
  const writer = new CheckpointWriter(storage, "/log", head);
  writer.write(Buffer.from("the state"));
  await writer.finish([1, 2], [3, 4]);
  writer.commit();
  const file = storage.open("/log/checkpoint-0000000064.ckp");
  const bytes = new Uint8Array(file.size());
  file.read(bytes, 0);
  const v = new DataView(bytes.buffer);
  const u64 = (at: number): bigint => v.getBigUint64(at, true);
  const placed = (offset: number, ...parts: Uint8Array[]): number => {
    const salted = new DataView(new ArrayBuffer(16));
    salted.setBigUint64(0, HEADER.salt, true);
    salted.setBigUint64(8, BigInt(offset), true);
    return crc(new Uint8Array(salted.buffer), ...parts);
  };
  const at = offsets(gapless("Checkpoint header", 32, 256));
  assert.is(v.getUint32(16, true), 2);
  assert.equal(bytes.slice(at["log id"], at["log id"]! + 16), HEADER.logId);
  assert.is(u64(at["salt"]!), HEADER.salt);
  assert.is(v.getUint32(at["topology"]!, true), 1);
  for (const name of ["number", "term", "epoch", "created"]) assert.is(u64(at[name]!), BigInt(at[name]!), name);
  assert.is(v.getUint32(252, true), placed(0, bytes.slice(0, 252)));

  assert.is(v.getUint32(256, true), placed(256, bytes.slice(260, 264 + 9)));
  assert.is(v.getUint32(260, true), 9);
  assert.is(Buffer.from(bytes.slice(264, 273)).toString(), "the state");
  assert.equal(
    [0, 8, 16, 24].map((o) => u64(273 + o)),
    [1n, 3n, 2n, 4n],
  );
  const t = 273 + 32;
  const place = offsets(gapless("Checkpoint trailer", 0, 64));
  assert.is(bytes.length, t + 64);
  assert.is(Buffer.from(bytes.slice(t, t + 8)).toString(), "CWCHKPNT");
  assert.is(v.getUint32(t + place["count"]!, true), 2);
  assert.is(u64(t + place["blocks end"]!), 273n);
  assert.is(u64(t + place["bytes"]!), 9n);
  assert.is(u64(t + place["number"]!), 64n);
  const zeroed = bytes.slice(273);
  const sum = v.getUint32(t + 8, true);
  zeroed.fill(0, 32 + 8, 32 + 12);
  assert.is(sum, placed(273, zeroed));
});

test("FORMAT.md's tables of trailer and mark are what is written", () => {
  const storage = new MemoryStorage();
  const file = storage.create("/f");
  const summary: SegmentSummary = {
    ...emptySummary(3),
    ...{
      lastLsn: 4,
      frames: 5,
      entries: 6,
      payloadBytes: 7,
      voidLsns: 8,
      minTerm: 9,
      maxTerm: 10,
      minEpoch: 11,
      maxEpoch: 12,
      minTimeNs: 13n,
      maxTimeNs: 14n,
    },
    marks: HEADER.marks,
    index: [1, 2, 3, 4, 5].map((n) => [n, n * 100]),
  };
  seal(file, HEADER, 1024, summary, { number: 77, salt: 78n });
  const bytes = new Uint8Array(file.size());
  file.read(bytes, 0);
  const v = new DataView(bytes.buffer);
  const t = 1024 + 128; // five pairs, up to a multiple of 64
  assert.is(bytes.length, t + 192 + 64);
  const at = offsets(gapless("Trailer", 0, 192));
  assert.is(v.getUint32(t + at["count"]!, true), 5);
  checkMarks(bytes, t + at["marks"]!);
  assert.is(v.getBigUint64(t + at["end offset"]!, true), 1024n);
  assert.is(v.getBigUint64(t + at["number"]!, true), 11n);
  const names = [
    "first LSN",
    "last LSN",
    "frames",
    "user entries",
    "payload bytes",
    "void LSNs",
    "lowest term",
    "highest term",
    "lowest epoch",
    "highest epoch",
    "earliest time",
    "latest time",
  ];
  names.forEach((name, i) => assert.is(v.getBigUint64(t + at[name]!, true), BigInt(3 + i), name));
  const mark = offsets(gapless("Mark", 0, 64));
  assert.is(v.getBigUint64(t + 192 + mark["next number"]!, true), 77n);
  assert.is(v.getBigUint64(t + 192 + mark["next salt"]!, true), 78n);
});

// --- checksum -----------------------------------------------------------------------------------------

test("CRC32C is that of RFC 3720, B.4, in the module and in the independent reader", () => {
  const core = windowCore(4096);
  const sum = (bytes: Uint8Array): number => {
    core.bytes.set(bytes, layout.WINDOW);
    return ~core.x.crc32c_update(-1, layout.WINDOW, bytes.length) >>> 0;
  };
  const read = "01c00000000000000000000000000000140000000000040000000014000000182800000000000000020000000000000000";
  const vectors: [number, Uint8Array][] = [
    [0x8a9136aa, new Uint8Array(32)],
    [0x62a8ab43, new Uint8Array(32).fill(0xff)],
    [0x46dd794e, Uint8Array.from({ length: 32 }, (_, i) => i)],
    [0x113fdb5c, Uint8Array.from({ length: 32 }, (_, i) => 31 - i)],
    [0xd9963a56, Buffer.from(read.slice(0, 96), "hex")],
    [0xe3069283, Buffer.from("123456789")],
    [0, new Uint8Array(0)],
  ];
  for (const [expected, bytes] of vectors) {
    assert.is(sum(bytes), expected);
    assert.is(crc(bytes), expected);
  }
  for (const text of ["0xE3069283", "0x8A9136AA", "0x82F63B78"]) assert.ok(FORMAT.includes(text));
});

test("the first frame of a segment promises the epoch that the segment's header records", async () => {
  const fixed = new Fixed();
  const log = await fixed.open();
  await log.advanceEpoch();
  await appendEach(fixed, log, ["one"]);
  const [first] = readLog(fixed.files).segments[0]!.frames;
  assert.equal([first!.epoch, first!.durableEpoch], [1, 1]);
  await log.close();
});

test.run();
