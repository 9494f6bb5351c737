// The kill test: a process in full flight gets SIGKILL; whatever it had acknowledged must be there, and nothing
// else than a prefix of what was in flight. The log lives on from round to round.

import { closeSync, openSync, readSync } from "node:fs";
import * as assert from "uvu/assert";
import { openLog } from "../../src/index.js";
import type { LogOptions } from "../../src/options.js";
import type { Entry, Log } from "../../src/types.js";
import { within } from "./expect.js";
import { identify, operationAt } from "./kill-records.js";
import { Random } from "./random.js";
import { freshPath } from "./scratch.js";
import { startProcess } from "./script.js";

export interface VictimTask {
  directory: string;
  /** File for what its writers say. */
  report: string;
  options: LogOptions;
  threads: number;
  /** The opener's writer id; its threads count on from there. */
  firstId: number;
  depth: number;
}

/** What the victim said about one writer. */
interface Reported {
  /** Counters below this were begun. */
  begun: number;
  acknowledged: number;
  inFlight: number;
}

const IDS_A_ROUND = 8;

class Evidence {
  readonly writers = new Map<number, Reported>();
  /** LSN → writer and counter, only of what was acknowledged. */
  readonly acknowledged = new Map<number, string>();
  private readonly written = new Map<string, number>();

  line(text: string): void {
    const [what, ...numbers] = text.split(" ");
    const [id, first, count, lsn] = numbers.map(Number) as [number, number, number, number];
    const writer = this.writers.get(id) ?? { begun: 0, acknowledged: 0, inFlight: 0 };
    this.writers.set(id, writer);
    if (what === "lsn") {
      this.written.set(`${id} ${first}`, count);
    } else if (what === "begin") {
      writer.begun = first + count;
      writer.inFlight += count;
    } else {
      writer.inFlight -= count;
      writer.acknowledged += count;
      const separate = operationAt(id, first).way === "write";
      for (let i = 0; i < count; i++) {
        const at = separate ? (this.written.get(`${id} ${first + i}`) ?? lsn) : lsn - count + 1 + i;
        const name = `${id} ${first + i}`;
        assert.ok(!this.acknowledged.has(at), `LSN ${at} was given to ${name} and to ${this.acknowledged.get(at)}`);
        this.acknowledged.set(at, name);
      }
    }
  }

  merge(round: Evidence): void {
    for (const [id, reported] of round.writers) this.writers.set(id, reported);
    for (const [lsn, name] of round.acknowledged) {
      assert.ok(!this.acknowledged.has(lsn), `LSN ${lsn} was acknowledged before and was given again`);
      this.acknowledged.set(lsn, name);
    }
  }
}

/** Lets a victim run, kills it at a random moment. The round counts only if it was in full flight then. */
async function killOne(random: Random, task: VictimTask): Promise<{ evidence: Evidence; counts: boolean }> {
  const evidence = new Evidence();
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

/** Compares the whole log with everything that is known. Gives the names of its records by LSN. */
async function check(log: Log, known: Evidence, before: string[]): Promise<string[]> {
  const names: string[] = [];
  const next = new Map<number, number>();
  let batch: { writer: number; until: number } | undefined;
  for await (const entries of log.readBatches({ internal: true })) {
    for (const entry of entries) {
      assert.is(entry.lsn, names.length + 1, `LSNs are dense: ${entry.lsn} follows ${names.length}`);
      const { writer, counter, operation } = identifyEntry(entry);
      const name = `${writer} ${counter}`;
      const reported = known.writers.get(writer);
      assert.ok(reported !== undefined && counter < reported.begun, `record ${name} at LSN ${entry.lsn} was never appended`);
      // Missing, doubled or reordered: each shows here.
      assert.is(counter, next.get(writer) ?? 0, `records of writer ${writer} come in order, at LSN ${entry.lsn}`);
      next.set(writer, counter + 1);
      if (batch !== undefined) assert.is(writer, batch.writer, `the batch of writer ${batch.writer} is interrupted at LSN ${entry.lsn}`);
      batch =
        operation.way === "batch" && counter + 1 < operation.first + operation.count
          ? { writer, until: operation.first + operation.count }
          : undefined;
      names.push(name);
    }
  }
  assert.is(batch, undefined, `the log ends within a batch of writer ${batch?.writer}`);
  for (const [lsn, name] of known.acknowledged) assert.is(names[lsn - 1], name, `acknowledged record ${name} is at LSN ${lsn}`);
  assert.ok(names.length >= before.length, "what one recovery showed must stay");
  before.forEach((name, i) => assert.is(names[i], name, `what one recovery showed at LSN ${i + 1} stays`));
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
export async function killRounds(rounds: number, seed = Date.now() % 2 ** 31): Promise<void> {
  const random = new Random(seed);
  const directory = freshPath("kill");
  const known = new Evidence();
  let names: string[] = [];
  let term = 0;
  let repeated = 0;
  for (let round = 1; round <= rounds;) {
    // Stalls are the noise of a busy machine here, not deaths.
    const options: LogOptions = {
      ringBytes: 131072,
      segmentBytes: 1 << 20,
      stripes: 8,
      writerStallMs: 60_000,
      flusher: random.chance(0.25) ? "inline" : "worker",
    };
    const victim: VictimTask = {
      directory,
      report: freshPath("report"),
      options,
      threads: random.between(1, 4),
      firstId: (round + repeated) * IDS_A_ROUND,
      depth: random.pick([1, 4, 16, 64]),
    };
    const where = `seed ${seed}, round ${round}, ${JSON.stringify({ ...victim, directory: undefined })}`;
    try {
      const { evidence, counts } = await killOne(random, victim);
      if (counts) round++;
      else repeated++;
      assert.ok(repeated <= rounds + 10, "most rounds are in full flight");
      known.merge(evidence);
      for (const readOnly of random.pick([[true], [false], [true, false]])) {
        const log = await openLog(directory, readOnly ? { readOnly } : options);
        names = await check(log, known, names);
        if (!readOnly) {
          assert.ok(log.recovery.term > term, `term ${log.recovery.term} follows ${term}`);
          term = log.recovery.term;
        }
        await log.close();
      }
    } catch (cause) {
      throw new Error(`${where}: ${(cause as Error).message}`, { cause });
    }
  }
  console.log(
    `# seed ${seed}: ${rounds} kills in full flight${repeated > 0 ? ` (${repeated} more were not)` : ""}, ${known.acknowledged.size} records acknowledged, ${names.length} in the log, none lost`,
  );
}
