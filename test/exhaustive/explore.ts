// Every way in which a short history can be cut off, and everything that can be on the disk then.
//
//   1. The last process of the history is run once for each operation of the disk that changes something: there it
//      ends, with that operation done, not done or done in part; or that operation fails.
//   2. What was not synced arrives or not: each subset of sectors, sizes and names, or as many as Limits allow. Or
//      only the process has died, and the cache is still there.
//   3. What is found then is a state. Each that is new is recovered and judged by the oracle, by verify and by the
//      independent reader; the log must take another entry and still have it after it was closed and opened again.
//   4. From each state the recovery itself, with an append after it, goes through 1 to 3 again.

import { NEW_SUFFIX } from "../../src/segment.js";
import { verifyLogOn } from "../../src/verify.js";
import type { Entry, RecoveryReport } from "../../src/types.js";
import { lastOf } from "../support/checks.js";
import { readLog } from "../support/independent-reader.js";
import { Violation } from "../support/oracle.js";
import { DIRECTORY } from "../support/world.js";
import { Choices, once, search, searchFaults, type Limits, type Searched } from "./choices.js";
import { comeBack, recover, type History } from "./histories.js";
import { emptyMachine, Machine, type Life, type State } from "./machine.js";
import { describePath, type Step } from "./path.js";

/** Of one level: the history's last process, and the recoveries from what it left. */
export interface LevelCounts extends Searched {
  /** States that processes of this level began with. */
  begun: number;
  /** Operations of the disk, in all of their lives if nothing disturbs them. */
  operations: number;
  /** Those of them at which a crash was tried, … */
  crashes: number;
  /** … and at which a failure was. */
  failures: number;
  /** What was left by the crashes and failures: each was recovered and judged, once. */
  states: number;
}

export interface Found {
  failure: string;
  path: string;
}

/** What is left out where there is too much. */
export interface Bounds {
  /** What each process does that comes after a crash, and so how many crashes there are: one more. */
  comeBack: Life[];
  limits: Limits[];
  /** The same for failures of an operation, each in all places: what it leaves half done, and what arrives then. */
  failureLimits: Limits[];
}

export const BOUNDS: Bounds = {
  comeBack: [recover],
  limits: [
    { all: 1024, deviations: 2 },
    { all: 64, deviations: 1 },
  ],
  failureLimits: [
    { all: 64, deviations: 1 },
    { all: 4, deviations: 0 },
  ],
};

/** For those who have an hour. */
export const DEEP: Bounds = {
  comeBack: [comeBack],
  limits: [
    { all: 4096, deviations: 2 },
    { all: 1024, deviations: 2 },
  ],
  failureLimits: [
    { all: 1024, deviations: 2 },
    { all: 64, deviations: 1 },
  ],
};

/** Operations that change nothing: a crash there is one at the next. */
const PASSIVE = /^(list|open|read|size|close) /;
/** Only these can be done in part. Others that were done and of which nobody knows are crashes at the next operation. */
const DIVISIBLE = /^write /;
/** Files that are being made are not told apart by what is in them: nobody opens them, which Machine watches. */
const unfinished = (name: string): boolean => name.endsWith(NEW_SUFFIX);

export class Explorer {
  readonly levels: LevelCounts[];
  /** It was over before everything was tried. */
  cut = false;
  /** How often a log was opened for writing. */
  opens = 0;
  /** States, and at which level each was met; what was met deeper may have to be gone on from. */
  private readonly known = new Map<string, number>();
  /** What crashes left, before any power was lost. */
  private readonly lefts = new Set<string>();
  private readonly runChoices = new Choices();
  private readonly lossChoices = new Choices();

  constructor(
    private readonly history: History,
    private readonly bounds: Bounds,
    /** Nothing more is begun when it is over. */
    private readonly over: () => boolean = () => false,
  ) {
    this.levels = [undefined, ...bounds.comeBack].map(() => ({
      begun: 0,
      operations: 0,
      crashes: 0,
      failures: 0,
      states: 0,
      paths: 0,
      bounded: 0,
    }));
  }

  /** Goes through everything; stops at the first state that is not as it must be. */
  async explore(): Promise<Found | undefined> {
    const path: Step[] = [];
    try {
      await this.expand(await this.begin(), path, 0);
      return undefined;
    } catch (error) {
      return { failure: explain(error), path: describePath(path) };
    }
  }

  /** Goes one way only, and says what happens on it. */
  async replay(path: Step[], trace: (text: string) => void): Promise<string | undefined> {
    try {
      let state = await this.begin(trace);
      for (const [level, step] of path.entries()) {
        trace(`process ${state.lives + 1}`);
        const { from } = await this.count(state, this.life(level));
        this.runChoices.begin(step.run);
        const left = await this.live(state, level, step.at, from, trace);
        trace(left.disk.crashedIn === "" ? `it ends (${left.disk.lastFailure || "nothing failed"})` : `it ends in ${left.disk.crashedIn}`);
        if (step.end === undefined) return undefined;
        this.lossChoices.begin(step.loss);
        state = this.end(left, step.end);
        for (const [name, bytes] of state.disk.files(DIRECTORY)) trace(`after ${step.end}: ${name}, ${bytes.length} bytes`);
      }
      await this.check(state, trace);
      return undefined;
    } catch (error) {
      return explain(error);
    }
  }

  /** What the history's last process finds. */
  private async begin(trace?: (text: string) => void): Promise<State> {
    let state = emptyMachine(this.history.settings, this.runChoices);
    for (const { life, end, settings } of this.history.before) {
      this.runChoices.begin([]);
      const left = await this.machine(state, trace, settings).live(life);
      this.lossChoices.begin([]);
      state = this.end(left, end);
    }
    return state;
  }

  private life(level: number): Life {
    return level === 0 ? this.history.life : this.bounds.comeBack[level - 1]!;
  }

  private machine(state: State, trace?: (text: string) => void, settings = this.history.settings): Machine {
    this.opens++;
    return new Machine(state, settings, this.runChoices, trace);
  }

  /** Lives up to its end; failures come from operation `from` on only. */
  private live(state: State, level: number, at: Step["at"], from: number, trace?: (text: string) => void): Promise<State> {
    const machine = this.machine(state, trace);
    // Reads that fail in every second recovery would say nothing new.
    if (at === "failure") machine.failFrom(from, level === 0);
    else if (at !== "end") machine.disk.crashAt = at;
    return machine.live(this.life(level));
  }

  /** What is there after the process, and with `power` the cache, is gone. */
  private end(left: State, end: "exit" | "power"): State {
    const disk = left.disk.copy(this.lossChoices);
    if (end === "power") disk.reboot();
    else disk.restart();
    return { ...left, disk };
  }

  private async expand(state: State, path: Step[], level: number): Promise<void> {
    const counts = this.levels[level]!;
    const limits = this.bounds.limits[level]!;
    const { from, operations } = await this.count(state, this.life(level));
    counts.begun++;
    counts.operations += operations.length;
    const after = async (left: State, step: Step): Promise<void> => {
      const oracle = `${left.oracle.fingerprint()} ${left.closed} ${left.checkpoint} ${JSON.stringify(left.restored)} ${left.cut}`;
      const fingerprint = `${level} ${left.disk.fingerprint(unfinished)} ${oracle}`;
      if (this.lefts.has(fingerprint)) return;
      this.lefts.add(fingerprint);
      step.end = "exit";
      await this.visit(this.end(left, "exit"), oracle, path, level);
      step.end = "power";
      for (const loss of search(this.lossChoices, limits, counts)) {
        step.loss = loss;
        await this.visit(this.end(left, "power"), oracle, path, level);
      }
    };
    for (const at of [...operations.keys()].map((i) => i + 1).concat(operations.length + 1)) {
      if (at < from || PASSIVE.test(operations[at - 1] ?? "")) continue;
      counts.crashes++;
      for (const run of DIVISIBLE.test(operations[at - 1] ?? "")
        ? search(this.runChoices, limits, { paths: 0, bounded: 0 })
        : once(this.runChoices)) {
        const step: Step = { at: at > operations.length ? "end" : at, run, end: undefined, loss: [] };
        path[level] = step;
        await after(await this.live(state, level, step.at, from), step);
      }
    }
    for (const run of searchFaults(this.runChoices, this.bounds.failureLimits[level]!, { paths: 0, bounded: 0 })) {
      const step: Step = { at: "failure", run, end: undefined, loss: [] };
      path[level] = step;
      const left = await this.live(state, level, "failure", from);
      if (left.disk.failures === 0) continue;
      counts.failures++;
      await after(left, step);
    }
    path.length = level;
  }

  /** The operations of an undisturbed life, and from which on the power may go. */
  private async count(state: State, life: Life): Promise<{ readonly from: number; readonly operations: readonly string[] }> {
    this.runChoices.begin([]);
    const machine = this.machine(state);
    await machine.live(life);
    return machine;
  }

  /** A state that may have been seen. */
  private async visit(state: State, oracle: string, path: Step[], level: number): Promise<void> {
    const fingerprint = `${state.disk.fingerprint(unfinished)} ${oracle}`;
    const known = this.known.get(fingerprint);
    if (known !== undefined && known <= level) return;
    this.cut ||= this.over();
    if (this.cut) return;
    this.known.set(fingerprint, level);
    this.levels[level]!.states++;
    const { made, counts, faults } = this.runChoices;
    if (known === undefined) await this.check(state);
    else this.levels[known]!.states--;
    if (level < this.bounds.comeBack.length) {
      const loss = [this.lossChoices.made, this.lossChoices.counts, this.lossChoices.faults] as const;
      await this.expand(state, path, level + 1);
      [this.lossChoices.made, this.lossChoices.counts, this.lossChoices.faults] = loss;
    }
    Object.assign(this.runChoices, { made, counts, faults });
    // Timers and rejections of what has ended have their turn.
    await new Promise((resolve) => setImmediate(resolve));
  }

  /** Recovers what is there, and goes on with it. */
  private async check(state: State, trace?: (text: string) => void): Promise<void> {
    this.runChoices.begin([]);
    const files = state.disk.files(DIRECTORY);
    const verified = await this.verify(state);
    let before: RecoveryReport | undefined;
    let machine = this.machine(state, trace);
    const left = await machine.live(async (m) => {
      const entries = await m.start();
      before = m.log!.recovery;
      if (verified !== undefined && verified !== endsOf(before.cores))
        throw new Violation(`verify says that the log ends at ${verified}, recovered up to ${endsOf(before.cores)}`);
      readAgain(files, entries, before, ["empty", "torn", "clean"]);
      await m.judgeOthers();
      if (this.history.settings.archive) {
        // Only what is archived may go.
        await m.archive();
        await m.drop(100);
      }
      await m.each(() => m.append(48));
      await m.flush();
      await m.close();
    });
    // What a close says is durable needs no cache.
    left.disk.reboot();
    machine = this.machine(left, trace);
    await machine.live(async (m) => {
      const again = await m.start();
      const { recovery } = m.log!;
      // A chain that nobody writes any more keeps the end that a crash gave it, if all of it was proven.
      if (!recovery.clean && left.closed) throw new Violation("the log was closed, and recovery says that it was not");
      if (recovery.completeEpoch < before!.epoch)
        throw new Violation(`the log was closed in epoch ${before!.epoch}, and only ${recovery.completeEpoch} is complete`);
      const written = m.log!.positions().length;
      const ends = recovery.cores.map(({ core }) => ({ core, lastLsn: lastOf(before!, core) + Number(core < written) }));
      if (endsOf(recovery.cores) !== endsOf(ends))
        throw new Violation(`one was appended to each chain, after ${endsOf(before!.cores)}: now they end at ${endsOf(recovery.cores)}`);
      readAgain(m.disk.files(DIRECTORY), again, recovery, [recovery.clean ? "clean" : "torn"]);
      await m.judgeOthers();
    });
    await this.verify(left);
  }

  /** Where verify says that the chains end; undefined if there is none. It syncs, so it gets a disk of its own. */
  private async verify({ disk }: State): Promise<string | undefined> {
    if (![...disk.files(DIRECTORY).keys()].some((name) => name.endsWith(".wal"))) return undefined;
    const report = await verifyLogOn(disk.copy(this.lossChoices), DIRECTORY);
    if (!report.ok) throw new Violation(`verify says: ${report.faults.map(({ message }) => message).join("; ")}`);
    return endsOf(report.cores);
  }
}

const endsOf = (cores: { core: number; lastLsn: number }[]): string =>
  cores.flatMap(({ core, lastLsn }) => (lastLsn === 0 ? [] : `LSN ${lastLsn} of core ${core}`)).join(", ");

/** The independent reader sees the same. */
function readAgain(files: Map<string, Uint8Array>, entries: Entry[], { cores, completeEpoch }: RecoveryReport, answers: string[]): void {
  const log = readLog(files);
  if (!answers.includes(log.answer))
    throw new Violation(`the independent reader says ${log.answer}: ${log.bad?.why} (${log.bad?.file} at ${log.bad?.offset})`);
  const ends = endsOf(log.chains.map(({ chain, lastLsn }) => ({ core: chain, lastLsn })));
  if (ends !== endsOf(cores)) throw new Violation(`the independent reader ends at ${ends}, the log at ${endsOf(cores)}`);
  if (log.complete !== completeEpoch + 1)
    throw new Violation(`for the independent reader epoch ${log.complete - 1} is complete, for the log ${completeEpoch}`);
  // Epoch entries behind the last LSN are read by nobody who has the log open for writing.
  const [found, read] = [log.entries.filter(({ kind }) => kind !== "epoch"), entries.filter(({ kind }) => kind !== "epoch")];
  const same = found.every((entry, i) => {
    const other = read[i];
    const named = other?.lsn === entry.lsn && other.core === entry.stripe && other.term === entry.term && other.epoch === entry.epoch;
    return named && Buffer.compare(entry.value, other.value) === 0;
  });
  if (!same || found.length !== read.length) throw new Violation("the independent reader finds other entries than the log");
}

function explain(error: unknown): string {
  const e = error as Error;
  return e instanceof Violation ? e.message : `unexpected: ${e.stack}`;
}
