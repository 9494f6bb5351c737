// `corewal bench`: what this machine's disk can do, and what corewal makes of it, with one thread and with several.

import { closeSync, fdatasyncSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { availableParallelism, cpus, release, tmpdir, type } from "node:os";
import { join } from "node:path";
import { attempt } from "../errors.js";
import { runtime } from "../runtime.js";
import { TOPOLOGIES } from "../segment.js";
import type { Topology } from "../types.js";
import { asPage, asText, type Section } from "./bench-page.js";
import { measureThreads, type ThreadRates } from "./bench-threads.js";
import { oneOf, ownVersion, parse, wholeNumber, type Command } from "./command.js";
import { counted, size, thousands } from "./format.js";
import { atExit, print } from "./output.js";
import { startProgress } from "./progress.js";
import { measureSpeeds, speedRow, SPEED_HEADS, SPEEDS, type Speed } from "./speed.js";

const help = `Usage: corewal bench [DIR] [--threads N] [--topology T] [--bytes N] [--rounds N] [--json] [--report FILE.html]

Measures this machine's disk and corewal on it, in a directory of its own below DIR (without DIR: the system's temporary
directory, $TMPDIR), which it removes: entries that become durable with each durability, then one thread and several with
each topology. What is compared takes turns, so that a busy moment hits all of it. Takes about half a minute.

  --threads N         how many threads write at once, 1 to 64 (default: 2)
  --topology T        only striped, or only per-core; both by default
  --bytes N           payload of each entry, 1 to 65,536 (default: 100)
  --rounds N          how often everything takes its turn, 1 to 100 (default: 3): more give steadier medians
  --json              print all figures as one JSON object
  --report FILE.html  also write them as a page with bars
`;

const flags = {
  threads: { type: "string" },
  topology: { type: "string" },
  bytes: { type: "string" },
  rounds: { type: "string" },
  json: { type: "boolean" },
  report: { type: "string" },
} as const;

const BLOCK_BYTES = 1024 * 1024;
const BLOCKS = 64;

interface Report {
  machine: { cpu: string; cores: number; os: string; runtime: string; corewal: string };
  entryBytes: number;
  rounds: number;
  /** Of a plain file: 1 MiB a write, one fdatasync at the end. */
  disk: { megabytesPerSecond: number };
  durability: { name: string; inFlight: number; entriesPerSecond: number; entriesPerFsync: number }[];
  /** Entries a second, medians of all rounds. */
  threads: { topology: Topology; threads: number; ring: number; durable: number; read: number }[];
}

async function run(argv: string[], { entry }: { entry: string }): Promise<number> {
  const parsed = parse(argv, flags, [], ["DIR"]);
  const threads = wholeNumber("--threads", parsed.flags.threads, 64) ?? 2;
  const entryBytes = wholeNumber("--bytes", parsed.flags.bytes, 65_536) ?? 100;
  const rounds = wholeNumber("--rounds", parsed.flags.rounds, 100) ?? 3;
  const topology = oneOf("--topology", parsed.flags.topology, TOPOLOGIES);
  const topologies = topology === undefined ? TOPOLOGIES : [topology];
  const below = parsed.args[0] ?? tmpdir();
  const dir = attempt("preparing the bench", below, () => mkdtempSync(join(below, "corewal-bench-")));
  atExit(() => rmSync(dir, { recursive: true, force: true }));

  const counts = threads === 1 ? [1] : [1, threads];
  const contenders = topologies.flatMap((t) => counts.map((count) => ({ topology: t, threads: count })));
  const progress = await startProgress("bench", rounds * (1 + SPEEDS + contenders.length), "steps");
  let steps = 0;
  const step = <T>(result: T): T => {
    progress.update(++steps);
    return result;
  };
  const disk: number[] = [];
  const speeds = new Map<string, Speed[]>();
  const rates: ThreadRates[] = [];
  try {
    for (let round = 0; round < rounds; round++) {
      disk.push(step(diskRate(dir)));
      for await (const speed of measureSpeeds(dir, supplyOf(entryBytes))) {
        const key = `${speed.name} ${speed.inFlight}`;
        speeds.set(key, [...(speeds.get(key) ?? []), step(speed)]);
      }
      for (const c of contenders) rates.push(step(await measureThreads({ entry, dir, threads: c.threads, entryBytes }, c.topology)));
    }
  } finally {
    progress.stop();
  }

  const together = [...speeds.values()].map(medianSpeed);
  const report: Report = {
    machine: {
      cpu: cpus()[0]?.model ?? "unknown",
      cores: availableParallelism(),
      os: `${type()} ${release()}`,
      runtime: `${runtime.name} ${runtime.version}`,
      corewal: ownVersion(entry),
    },
    entryBytes,
    rounds,
    disk: { megabytesPerSecond: median(disk) },
    durability: together.map(({ name, inFlight, entries, seconds, fsyncs }) => ({
      name: name.replace(" (*)", ""),
      inFlight,
      entriesPerSecond: entries / seconds,
      entriesPerFsync: entries / Math.max(1, fsyncs),
    })),
    threads: contenders.map((c) => {
      const mine = rates.filter((r) => r.topology === c.topology && r.threads === c.threads);
      const middle = (what: "ring" | "durable" | "read"): number => median(mine.flatMap((r) => r[what]));
      return { ...c, ring: middle("ring"), durable: middle("durable"), read: middle("read") };
    }),
  };
  const sections = [durabilitySection(together), ...threadSections(report)];
  const facts = factsOf(report);
  const { report: page } = parsed.flags;
  if (page !== undefined) attempt("writing the report", page, () => writeFileSync(page, asPage("corewal bench", facts, sections)));
  if (parsed.flags.json === true) return print(`${JSON.stringify(report)}\n`);
  return print(`${[facts.join("\n"), ...sections.map(asText)].join("\n\n")}\n`);
}

/** Different bytes in each entry, so that no disk can save itself the work. */
function supplyOf(bytes: number) {
  const count = 1024;
  const all = crypto.getRandomValues(new Uint8Array(Math.min(65_536, count + bytes)));
  return { count, at: (index: number) => all.subarray(index % (all.length - bytes + 1)).subarray(0, bytes) };
}

/** Megabytes a second. */
function diskRate(dir: string): number {
  const file = join(dir, "disk");
  const block = new Uint8Array(BLOCK_BYTES).fill(7);
  const fd = openSync(file, "wx");
  const begin = performance.now();
  for (let n = 0; n < BLOCKS; n++) writeSync(fd, block);
  fdatasyncSync(fd);
  const seconds = (performance.now() - begin) / 1000;
  closeSync(fd);
  rmSync(file);
  return (BLOCKS * BLOCK_BYTES) / seconds / 1e6;
}

const median = (values: number[]): number => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!;

/** The round whose rate is the middle one. */
function medianSpeed(rounds: Speed[]): Speed {
  return [...rounds].sort((a, b) => a.entries / a.seconds - b.entries / b.seconds)[Math.floor(rounds.length / 2)]!;
}

function factsOf({ machine, entryBytes, rounds, disk }: Report): string[] {
  const { cpu, cores, os, runtime, corewal } = machine;
  return [
    `corewal ${corewal}, ${runtime}, ${os}, ${cpu}, ${counted(cores, "core")}`,
    `entries of ${counted(entryBytes, "byte")}, medians of ${counted(rounds, "round")}`,
    `the disk alone: ${size(disk.megabytesPerSecond * 1e6)}/s, 1 MiB at a time`,
  ];
}

function durabilitySection(speeds: Speed[]): Section {
  return {
    title: "One thread: entries that become durable",
    heads: SPEED_HEADS,
    rows: speeds.map((speed) => ({ cells: speedRow(speed), bar: speed.entries / speed.seconds })),
    note: "(*) node:fs alone: no checksums, no recovery, no group commit. sync, group: acknowledged when fsynced; async: when in the ring.",
  };
}

function threadSections({ threads }: Report): Section[] {
  const section = (title: string, what: "ring" | "durable" | "read", heads: string[], note?: string): Section => ({
    title,
    heads: ["topology", "threads", "entries/s", ...heads],
    rows: threads.map((row) => ({
      cells: [row.topology, thousands(row.threads), thousands(row[what]), ...(heads.length > 0 ? [timesOne(row)] : [])],
      bar: row[what],
    })),
    ...(note === undefined ? {} : { note }),
  });
  const timesOne = ({ topology, ring }: Report["threads"][number]): string =>
    `${(ring / threads.find((row) => row.topology === topology)!.ring).toFixed(2)} ×`;
  return [
    section("write() into the rings, which hold the whole run", "ring", ["× one thread"]),
    section("Durable, with rings that are kept full", "durable", [], "per-core: two flusher threads, as is the default"),
    section("Read again, in batches", "read", [], "per-core: the chains are merged into one order"),
  ];
}

export const command: Command = { help, run };
