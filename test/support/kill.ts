// The kill test: a process in full flight gets SIGKILL; whatever it had acknowledged must be there, and nothing
// else than a prefix of what was in flight. The log lives on from round to round.

import { closeSync, openSync, readSync } from "node:fs";
import * as assert from "uvu/assert";
import { openLog } from "../../src/index.js";
import type { LogOptions } from "../../src/options.js";
import type { Entry, Log, Topology } from "../../src/types.js";
import { within } from "./expect.js";
import { identify, operationAt } from "./kill-records.js";
import type { WriterTask } from "./kill-writer.js";
import { Random } from "./random.js";
import { freshPath } from "./scratch.js";
import { startProcess } from "./script.js";

export interface VictimTask extends WriterTask {
  directory: string;
  options: LogOptions;
  threads: number;
  /** The opener's writer id; its threads count on from there. */
  firstId: number;
}

/** What the victim said about one writer. */
interface Reported {
  /** The chain that it writes. */
  chain: number;
  /** Counters below this were begun. */
  begun: number;
  acknowledged: number;
  inFlight: number;
}

const IDS_A_ROUND = 8;
const CORES_MAX = 6;
const place = (chain: number, lsn: number): string => `LSN ${lsn} of chain ${chain}`;

class Evidence {
  readonly writers = new Map<number, Reported>();
  /** Place → writer and counter, only of what was acknowledged. */
  readonly acknowledged = new Map<string, string>();
  /** The epochs that an operation can be in: from one, and before another one. */
  readonly epochs = new Map<string, { from: number; before: number }>();
  /** The highest that began for somebody. */
  epoch = 0;
  private readonly written = new Map<string, number>();
  /** Operations that were acknowledged, in that order, and how many when an epoch was asked for; `earlier` of them are before some epoch. */
  private readonly done: { before: number }[] = [];
  private readonly asked = new Map<string, number>();
  private earlier = 0;

  constructor(private readonly perCore: boolean) {}

  line(text: string): void {
    const [what, ...numbers] = text.split(" ");
    const [id, first, count, lsn] = numbers.map(Number) as [number, number, number, number];
    const writer = this.writers.get(id) ?? { chain: 0, begun: 0, acknowledged: 0, inFlight: 0 };
    this.writers.set(id, writer);
    if (what === "core") {
      if (this.perCore) writer.chain = first;
    } else if (what === "lsn") {
      this.written.set(`${id} ${first}`, count);
    } else if (what === "advance") {
      this.asked.set(`${id} ${first}`, this.done.length);
    } else if (what === "epoch") {
      this.epoch = Math.max(this.epoch, count);
      for (const until = this.asked.get(`${id} ${first}`)!; this.earlier < until; this.earlier++) this.done[this.earlier]!.before = count;
    } else if (what === "begin") {
      writer.begun = first + count;
      writer.inFlight += count;
      this.epochs.set(`${id} ${first}`, { from: this.epoch, before: Infinity });
    } else {
      this.done.push(this.epochs.get(`${id} ${first}`)!);
      writer.inFlight -= count;
      writer.acknowledged += count;
      const separate = operationAt(id, first).way === "write";
      for (let i = 0; i < count; i++) {
        const at = place(writer.chain, separate ? (this.written.get(`${id} ${first + i}`) ?? lsn) : lsn - count + 1 + i);
        const name = `${id} ${first + i}`;
        assert.ok(!this.acknowledged.has(at), `${at} was given to ${name} and to ${this.acknowledged.get(at)}`);
        this.acknowledged.set(at, name);
      }
    }
  }

  merge(round: Evidence): void {
    for (const [id, reported] of round.writers) this.writers.set(id, reported);
    for (const [at, name] of round.acknowledged) {
      assert.ok(!this.acknowledged.has(at), `${at} was acknowledged before and was given again`);
      this.acknowledged.set(at, name);
    }
    for (const [operation, epochs] of round.epochs) this.epochs.set(operation, epochs);
    this.epoch = Math.max(this.epoch, round.epoch);
  }
}

/** Lets a victim run, kills it at a random moment. The round counts only if it was in full flight then. */
async function killOne(random: Random, task: VictimTask): Promise<{ evidence: Evidence; counts: boolean }> {
  const evidence = new Evidence(task.options.topology === "per-core");
  const report = openSync(task.report, "a+");
  const { child, ended } = startProcess("kill-victim", task);
  const chunk = Buffer.alloc(1 << 20);
  let rest = "";
  let at = 0;
  let countdown = random.below(random.pick([3, 100, 1000, 4000]));
  let armed = false;
  /** Takes in what was reported since the last look. */
  const look = (): void => {
    const bytes = readSync(report, chunk, 0, chunk.length, at);
    at += bytes;
    const lines = (rest + chunk.toString("latin1", 0, bytes)).split("\n");
    rest = lines.pop()!;
    lines.forEach((line) => evidence.line(line));
    const everybody = evidence.writers.size === task.threads + 1 && [...evidence.writers.values()].every((w) => w.acknowledged > 0);
    if (!everybody || armed || (countdown -= lines.length) > 0) return;
    armed = true;
    // A moment that no report is in step with.
    setTimeout(() => child.kill("SIGKILL"), random.fraction() * 4);
  };
  let over = false;
  const watched = (async () => {
    for (; !over; await new Promise((resolve) => setTimeout(resolve, 1))) look();
  })();
  const end = await within(ended, "the victim's end", 120_000).finally(() => (over = true));
  await watched;
  for (let before = -1; before !== at; look()) before = at;
  closeSync(report);
  assert.is(end.signal, "SIGKILL", `the victim ended by itself, code ${end.code}: ${end.err}`);
  const writers = [...evidence.writers.values()];
  return { evidence, counts: writers.every((w) => w.acknowledged > 0) && writers.some((w) => w.inFlight > 0) };
}

/** Compares the whole log with everything that is known. Gives the names of its records by place. */
async function check(log: Log, known: Evidence, before: ReadonlyMap<string, string>): Promise<Map<string, string>> {
  const names = new Map<string, string>();
  const next = new Map<number, number>();
  /** Of each chain: its last LSN so far, and the batch that it is in. */
  const chains = new Map<number, { lsn: number; batch: { writer: number; until: number } | undefined }>();
  const { topology, completeEpoch } = log.recovery;
  assert.ok(completeEpoch >= known.epoch - 1, `epoch ${known.epoch} had begun, and now only ${completeEpoch} is complete`);
  for await (const entries of log.readBatches({ internal: true })) {
    for (const entry of entries) {
      if (entry.kind === "epoch") continue;
      const number = topology === "per-core" ? entry.core : 0;
      const chain = chains.get(number) ?? { lsn: 0, batch: undefined };
      chains.set(number, chain);
      const at = place(number, entry.lsn);
      assert.is(entry.lsn, ++chain.lsn, `LSNs are dense: ${at}`);
      const { writer, counter, operation } = identifyEntry(entry);
      const name = `${writer} ${counter}`;
      const reported = known.writers.get(writer);
      assert.ok(reported !== undefined && counter < reported.begun, `record ${name} at ${at} was never appended`);
      assert.is(number, reported.chain, `record ${name} is in the chain of its core, at ${at}`);
      // Missing, doubled or reordered: each shows here.
      assert.is(counter, next.get(writer) ?? 0, `records of writer ${writer} come in order, at ${at}`);
      next.set(writer, counter + 1);
      const { batch } = chain;
      if (batch !== undefined) assert.is(writer, batch.writer, `the batch of writer ${batch.writer} is interrupted at ${at}`);
      chain.batch =
        operation.way === "batch" && counter + 1 < operation.first + operation.count
          ? { writer, until: operation.first + operation.count }
          : undefined;
      const epochs = known.epochs.get(`${writer} ${operation.first}`)!;
      assert.ok(
        entry.epoch >= epochs.from && entry.epoch < epochs.before,
        `record ${name}, of an epoch from ${epochs.from} and before ${epochs.before}, is in epoch ${entry.epoch}`,
      );
      names.set(at, name);
    }
  }
  for (const [number, { batch }] of chains) assert.is(batch, undefined, `chain ${number} ends within a batch of writer ${batch?.writer}`);
  for (const [at, name] of known.acknowledged) assert.is(names.get(at), name, `acknowledged record ${name} is at ${at}`);
  for (const [at, name] of before) assert.is(names.get(at), name, `what one recovery showed at ${at} stays`);
  return names;
}

function identifyEntry(entry: Entry): ReturnType<typeof identify> {
  assert.is(entry.kind, "data", `LSN ${entry.lsn} is a hole, and no writer died before the process did`);
  try {
    return identify(entry.value);
  } catch (cause) {
    throw new Error(`LSN ${entry.lsn}: ${(cause as Error).message}`);
  }
}

/** Prints its seed; the same seed gives the same choices, if not the same schedule. */
export async function killRounds(rounds: number, topology: Topology, seed = Date.now() % 2 ** 31): Promise<void> {
  const random = new Random(seed);
  const directory = freshPath("kill");
  const perCore = topology === "per-core";
  const known = new Evidence(perCore);
  let names: ReadonlyMap<string, string> = new Map();
  let term = 0;
  let repeated = 0;
  const cores = { fewer: 0, more: 0 };
  for (let round = 1; round <= rounds;) {
    const threads = random.between(1, 4);
    // Stalls are the noise of a busy machine here, not deaths.
    const options: LogOptions = {
      topology,
      ringBytes: 131072,
      segmentBytes: 1 << 20,
      stripes: perCore ? random.between(threads + 1, CORES_MAX) : 8,
      writerStallMs: 60_000,
      flusher: random.chance(0.25) ? "inline" : "worker",
    };
    const victim: VictimTask = {
      directory,
      report: freshPath("report"),
      options,
      threads,
      firstId: (round + repeated) * IDS_A_ROUND,
      depth: random.pick([1, 4, 16, 64]),
      epochEvery: random.pick([0, 20, 200]),
    };
    const where = `seed ${seed}, round ${round}, ${JSON.stringify({ ...victim, directory: undefined })}`;
    try {
      const { evidence, counts } = await killOne(random, victim);
      if (counts) round++;
      else repeated++;
      assert.ok(repeated <= rounds + 10, "most rounds are in full flight");
      known.merge(evidence);
      for (const readOnly of random.pick([[!perCore], [false], [true, false]])) {
        const fewer = round % 2 === 0;
        const stripes = !perCore ? 8 : fewer ? random.between(1, threads) : options.stripes! + random.between(1, 2);
        const log = await openLog(directory, readOnly ? { readOnly } : { ...options, stripes });
        names = await check(log, known, names);
        if (!readOnly) {
          assert.ok(log.recovery.term > term, `term ${log.recovery.term} follows ${term}`);
          term = log.recovery.term;
          cores[fewer ? "fewer" : "more"]++;
        }
        await log.close();
      }
    } catch (cause) {
      throw new Error(`${where}: ${(cause as Error).message}`, { cause });
    }
  }
  const opened = perCore ? `, opened with fewer cores ${cores.fewer} times, with more ${cores.more} times` : "";
  console.log(
    `# seed ${seed}, ${topology}: ${rounds} kills in full flight${repeated > 0 ? ` (${repeated} more were not)` : ""}, ${known.acknowledged.size} records acknowledged, ${names.size} in the log, none lost; epoch ${known.epoch} began${opened}`,
  );
}
