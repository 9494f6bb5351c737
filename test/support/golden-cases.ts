// How the golden files were made: each case is a small story on a fixed machine, told again by every test
// run, which must give the very same bytes. golden-write.ts wrote them down once; version 1 never changes.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { ABANDON, attachLog, PUMP } from "../../src/log.js";
import { CTL_NEXT_LSN } from "../../assembly/layout.js";
import type { Input, Writer } from "../../src/types.js";
import { repairLogOn } from "../../src/repair.js";
import { appendEach, DIRECTORY, drive, Fixed, type FixedLog } from "./fixed-log.js";
import { readCommit, type ReadLog } from "./independent-reader.js";

export const GOLDEN = join(process.cwd(), "test/golden/v1");

export type Files = Map<string, Uint8Array>;

export interface GoldenCase {
  name: string;
  what: string;
  make: () => Promise<Files>;
}

/** `size` bytes that tell where they come from. */
export function pattern(size: number, seed: number): Uint8Array {
  return Uint8Array.from({ length: size }, (_, i) => (seed * 31 + i) & 255);
}

/** Puts, deletes and data of 0 to 17 bytes, as far as they may be empty, and commits. */
function everyKind(): Input[] {
  const inputs: Input[] = [];
  for (let size = 0; size <= 17; size++) {
    if (size > 0) inputs.push(pattern(size, size));
    inputs.push({ kind: "put", key: pattern(1 + ((size * 5) % 17), 100 + size), value: pattern(size, 200 + size) });
    if (size > 0) inputs.push({ kind: "delete", key: pattern(size, 50 + size) });
  }
  inputs.push({ kind: "commit", offsets: {} });
  inputs.push({ kind: "commit", offsets: { orders: 42n, "zahlungen-ü": -(2n ** 63n) }, watermark: 1_704_067_200_000n });
  inputs.push({ kind: "commit", offsets: { "": 2n ** 63n - 1n }, watermark: -1n });
  inputs.push("text: ünïcödé 🐟");
  return inputs;
}

async function inBatches(fixed: Fixed, log: FixedLog, inputs: Input[], size: number): Promise<void> {
  for (let at = 0; at < inputs.length; at += size) {
    await drive(log, log.appendBatch(inputs.slice(at, at + size)));
    fixed.nowMs += 1000;
  }
}

/** LSNs that a writer took before it died: nobody will publish them. */
export function loseLsns(log: FixedLog, count: number): void {
  Atomics.add(new BigInt64Array((log.handle.memory as WebAssembly.Memory).buffer), CTL_NEXT_LSN >> 3, BigInt(count));
}

async function tornLog(): Promise<Fixed> {
  const fixed = new Fixed();
  const log = await fixed.open();
  await appendEach(fixed, log, ["proven", "also proven", "valid, but nothing proves it"]);
  const { end, file } = lastFrame(fixed);
  await appendEach(fixed, log, [pattern(300, 7)]);
  log[ABANDON]();
  // The last frame reached the disk in part: its header is still zero, so nothing proves the one before.
  const files = fixed.files;
  files.get(file)!.fill(0, end, end + 64);
  return Object.assign(new Fixed(files), { nowMs: fixed.nowMs });
}

/** Two cores with entries of every kind in two epochs, of which the first one is complete. */
async function twoCores(fixed: Fixed): Promise<{ log: FixedLog; other: Writer }> {
  const log = await fixed.open({ topology: "per-core", stripes: 2 });
  const other = await attachLog(log.handle);
  await appendEach(fixed, log, ["core 0, epoch 0", { kind: "put", key: "key", value: "value" }]);
  await appendEach(fixed, log, [pattern(40, 1)], other);
  await drive(log, other.appendBatch(["of one batch", "of one time", { kind: "delete", key: "key" }]));
  fixed.nowMs += 1000;
  await log.advanceEpoch();
  await appendEach(fixed, log, [{ kind: "commit", offsets: { orders: 42n } }], other);
  await appendEach(fixed, log, ["core 0, epoch 1"]);
  return { log, other };
}

/** Where the frames of the only segment end, by the zeros behind them. */
function lastFrame(fixed: Fixed): { file: string; end: number } {
  const [file, bytes] = [...fixed.files].at(-1)!;
  let end = bytes.length;
  while (bytes[end - 1] === 0) end--;
  return { file, end: Math.ceil(end / 64) * 64 };
}

export const CASES: GoldenCase[] = [
  {
    name: "worked-example",
    what: "the example of FORMAT.md, whose bytes were made by hand",
    async make() {
      const fixed = new Fixed();
      fixed.draws.push(
        Uint8Array.from({ length: 16 }, (_, i) => 0x10 + i),
        new Uint8Array(8),
        Uint8Array.of(0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x01),
      );
      const log = await fixed.open();
      await drive(log, log.appendBatch([{ kind: "put", key: "key", value: "value" }, "hi"]));
      fixed.nowMs += 1000;
      await drive(log, log.append({ kind: "delete", key: "key" }));
      await log.close();
      return fixed.files;
    },
  },
  {
    name: "chain",
    what: "opened and closed three times: three segments, two of them continued, terms 1 to 3",
    async make() {
      const fixed = new Fixed();
      for (let open = 1; open <= 3; open++) {
        const log = await fixed.open();
        await appendEach(fixed, log, [`open ${open}, first`, { kind: "put", key: `key ${open}`, value: pattern(40, open) }]);
        await log.close();
      }
      return fixed.files;
    },
  },
  {
    name: "rotated",
    what: "one open that filled two segments and began a third",
    async make() {
      const fixed = new Fixed();
      const log = await fixed.open({ ringBytes: 8192 });
      await appendEach(
        fixed,
        log,
        Array.from({ length: 9 }, (_, i) => pattern(4000, i)),
      );
      await log.close();
      return fixed.files;
    },
  },
  {
    name: "killed",
    what: "killed while idle: zeros ahead, and an empty frame that proves the last one",
    async make() {
      const fixed = new Fixed();
      const log = await fixed.open();
      await appendEach(fixed, log, ["one", "two"]);
      log[PUMP]();
      log[ABANDON]();
      return fixed.files;
    },
  },
  {
    name: "torn",
    what: "two proven frames, one valid that nothing proves, one torn",
    make: async () => (await tornLog()).files,
  },
  {
    name: "copied",
    what: "the torn log opened again and killed: the unproven frame was copied forward, the tear cut off",
    async make() {
      const fixed = await tornLog();
      const log = await fixed.open();
      log[ABANDON]();
      return fixed.files;
    },
  },
  {
    name: "voids",
    what: "LSNs that were taken and never written: before, between and behind others, and alone",
    async make() {
      const fixed = new Fixed();
      const log = await fixed.open();
      loseLsns(log, 2);
      await appendEach(fixed, log, ["LSN 3"]);
      const first = log.append("LSN 4");
      loseLsns(log, 3);
      const second = log.append("LSN 8");
      loseLsns(log, 1);
      await drive(log, Promise.all([first, second]));
      fixed.nowMs += 1000;
      loseLsns(log, 70_000);
      await log.close();
      return fixed.files;
    },
  },
  ...(["truncate", "skip"] as const).map((policy) => ({
    name: `repaired-${policy}`,
    what: `the first frame of the second of three segments damaged, repaired with ${policy}, appended to`,
    async make(): Promise<Files> {
      const chain = CASES.find(({ name }) => name === "chain")!;
      const files = await chain.make();
      const second = files.get("000-0000000002.wal")!;
      second[256 + 64 + 16]! ^= 1;
      const fixed = new Fixed(files);
      await repairLogOn(DIRECTORY, { policy }, fixed.environment());
      const log = await fixed.open();
      await appendEach(fixed, log, ["after the repair"]);
      await log.close();
      return new Map([...fixed.files].filter(([name]) => name.endsWith(".wal")));
    },
  })),
  {
    name: "kinds",
    what: "every kind, sizes 0 to 17, in batches of seven, frames at multiples of 64",
    async make() {
      const fixed = new Fixed();
      const log = await fixed.open();
      await inBatches(fixed, log, everyKind(), 7);
      await log.close();
      return fixed.files;
    },
  },
  {
    name: "aligned",
    what: "the same in batches of twenty, frames at multiples of 4096",
    async make() {
      const fixed = new Fixed();
      const log = await fixed.open({ frameAlign: 4096, segmentBytes: 65536 });
      await inBatches(fixed, log, everyKind(), 20);
      await log.close();
      return fixed.files;
    },
  },
  {
    name: "per-core",
    what: "two cores, two epochs, closed: both are complete",
    async make() {
      const fixed = new Fixed();
      const { log } = await twoCores(fixed);
      await log.close();
      return fixed.files;
    },
  },
  {
    name: "per-core-killed",
    what: "the same, killed in a third epoch: the second one is complete, core 0 ends with a promise, core 1 without",
    async make() {
      const fixed = new Fixed();
      const { log, other } = await twoCores(fixed);
      await log.advanceEpoch();
      await appendEach(fixed, log, ["core 0, epoch 2"]);
      log[PUMP]();
      await appendEach(fixed, log, ["core 1, epoch 2"], other);
      log[ABANDON]();
      return fixed.files;
    },
  },
];

export function goldenFiles(name: string): Files {
  const folder = join(GOLDEN, name);
  return new Map(
    readdirSync(folder)
      .filter((f) => f.endsWith(".wal"))
      .sort()
      .map((f) => [f, Uint8Array.from(readFileSync(join(folder, f)))]),
  );
}

/** What the independent reader says, in a form that can be written down and compared. */
export function describe({ topology, complete, chains, ...log }: ReadLog): unknown {
  // Of a striped log what was written down before there were others.
  const perCore = topology === "per-core";
  return JSON.parse(
    JSON.stringify(
      {
        ...log,
        ...(perCore ? { topology, complete, chains } : {}),
        segments: log.segments.map(({ file, chain, number, end, firstLsn, lastLsn, frames, footer }) => ({
          file,
          ...(perCore ? { chain } : {}),
          number,
          end,
          firstLsn,
          lastLsn,
          frames: frames.map((f) => `${f.offset}: LSN ${f.firstLsn} + ${f.lsns}, promise ${f.promise}`),
          footer: footer === undefined ? null : { ...footer, ...(perCore ? {} : { marks: undefined }) },
        })),
        entries: log.entries.map(({ key, value, ...rest }) => {
          const bytes = rest.kind === "commit" ? readCommit(value) : { value: show(value) };
          return { ...rest, ...(key.length > 0 ? { key: show(key) } : {}), ...bytes };
        }),
      },
      (_, value: unknown) => (typeof value === "bigint" ? `${value}` : value),
    ),
  );
}

/** Hexadecimal; of long ones the beginning, the length and the sum of all bytes. */
export function show(bytes: Uint8Array): string {
  const hex = Buffer.from(bytes).toString("hex");
  return bytes.length <= 64 ? hex : `${hex.slice(0, 32)}… ${bytes.length} bytes, sum ${bytes.reduce((a, b) => a + b, 0)}`;
}
