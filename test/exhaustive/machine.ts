// One life of a process, from a state that is given: what it does is written down in a script, what happens to it in
// a path of decisions. Where it ends is a state again.

import { codeOf } from "../../src/errors.js";
import { ABANDON } from "../../src/log.js";
import { NEW_SUFFIX } from "../../src/segment.js";
import type { Entry } from "../../src/types.js";
import { checkPoisoned } from "../support/checks.js";
import { newCounts } from "../support/counts.js";
import { inputOf, makeItem } from "../support/items.js";
import { Oracle, Violation, type Operation } from "../support/oracle.js";
import { Random } from "../support/random.js";
import { SimulatedDisk, type DiskOptions, type Faults } from "../support/simulated-disk.js";
import { Crashed, settle, World, type Config } from "../support/world.js";
import { FAULT, type Choices } from "./choices.js";

/** What survives a process: the disk and its cache, and what is known of the log. */
export interface State {
  disk: SimulatedDisk;
  oracle: Oracle;
  /** Processes that there were. */
  lives: number;
  /** Entries that were appended. */
  items: number;
}

export interface Settings {
  sectorBytes: DiskOptions["sectorBytes"];
  garbage: boolean;
  frameAlign: number;
  guest: boolean;
}

/** What a process does. */
export type Life = (machine: Machine) => Promise<void>;

const IO_CODES = ["COREWAL_IO", "COREWAL_DISK_FULL", "COREWAL_NO_PERMISSION"];

/** Faults of operations that change nothing. */
const READING = /^(read|list)/;

export function emptyMachine(settings: Settings, choices: Choices): State {
  const { sectorBytes, garbage } = settings;
  const disk = new SimulatedDisk(choices, { sectorBytes, garbage });
  return { disk, oracle: new Oracle(), lives: 0, items: 0 };
}

/** The log failed as it must, or the disk did: nothing more is to be done in this life. */
class Failed extends Error {}

export class Machine extends World {
  /** Crashes before this operation of the disk are left to other scripts. */
  from = 1;
  /** What the disk was asked for. */
  readonly operations: string[] = [];
  private alive = true;
  private armFaults: () => void = () => undefined;
  private waiting = 0;
  private items: number;

  constructor(
    private readonly state: State,
    settings: Settings,
    choices: Choices,
    trace?: (text: string) => void,
  ) {
    super(new Random(0), newCounts());
    const { lives } = state;
    const disk = state.disk.copy(choices);
    this.items = state.items;
    const config: Config = { ...this.config, options: optionsOf(settings), guest: settings.guest, sleeps: false, interleave: 0 };
    Object.assign(this, { disk, config, oracle: state.oracle.copy(), chance: new Random(lives), trace: trace ?? this.trace });
    // The same for all processes that come as the n-th, so that what they leave is the same more often.
    this.clockMs += lives * 10_000;
    disk.onOperation = (text) => {
      this.operations.push(text);
      this.armFaults();
      trace?.(`    ${String(this.operations.length).padStart(3)}  ${text}`);
      if (text.startsWith("open ") && text.endsWith(NEW_SUFFIX)) this.violation ??= new Violation(`${text}: nobody must look into that`);
    };
  }

  /** Lives until the script is over, the power goes or the disk fails. Throws what neither of them explains. */
  async live(life: Life): Promise<State> {
    try {
      await life(this);
    } catch (error) {
      if (error instanceof Violation || !(this.disk.down || this.disk.failures > 0)) throw error;
      if (!this.disk.down && !(error instanceof Failed) && !IO_CODES.includes(codeOf(error) ?? ""))
        throw new Violation(`the disk failed (${this.disk.lastFailure}), and the log says ${codeOf(error)}: ${(error as Error).message}`);
    }
    await settle();
    this.observe();
    this.check();
    this.alive = false;
    this.log?.[ABANDON]();
    return { disk: this.disk, oracle: this.oracle, lives: this.state.lives + 1, items: this.items };
  }

  // --- what scripts do ------------------------------------------------------------------------------

  /** Opens the log and compares what came back with what must have. */
  async start(): Promise<Entry[]> {
    const { disk, oracle } = this;
    const log = await this.open().catch((error: unknown) => {
      if (disk.down) throw new Crashed();
      if (this.isLocked) throw new Violation("an open failed and left the lock behind");
      throw error;
    });
    const { lastLsn, term } = log.recovery;
    oracle.opened(lastLsn, term);
    if (log.durableLsn !== lastLsn) throw new Violation(`recovered up to LSN ${lastLsn}, but durableLsn is ${log.durableLsn}`);
    const entries = await this.readAll(log);
    oracle.recovered(entries, lastLsn);
    await this.look();
    return entries;
  }

  /** Appends an entry for each size, one after the other, and waits for none. */
  async append(...sizes: number[]): Promise<void> {
    for (const size of sizes) {
      const operation = this.begin(size);
      this.track(operation, this.log!.append(inputOf(operation.items[0]!)));
    }
    await this.look();
  }

  async appendBatch(...sizes: number[]): Promise<void> {
    const operation = this.begin(...sizes);
    const promise = this.log!.appendBatch(operation.items.map(inputOf));
    this.track(
      operation,
      promise.then(({ first }) => first),
    );
    await this.look();
  }

  /** In the ring, and nobody waits for it. */
  async write(size: number): Promise<void> {
    const operation = this.begin(size);
    this.oracle.learn(operation, this.log!.write(inputOf(operation.items[0]!)));
    await this.look();
  }

  async appendSync(size: number): Promise<void> {
    const operation = this.begin(size);
    try {
      const lsn = this.log!.appendSync(inputOf(operation.items[0]!));
      this.oracle.learn(operation, lsn);
      this.oracle.prove(lsn, "appendSync");
    } catch (error) {
      this.rejected(operation, error);
    }
    await this.look();
  }

  /** Everything is flushed, and everybody has an answer. */
  async flush(): Promise<void> {
    await this.pump();
    await this.look();
    if (this.waiting > 0) throw new Violation(`nothing failed, and ${this.waiting} appends have no answer`);
  }

  /** Nobody appends for a while: an empty frame proves the last one. */
  async idle(): Promise<void> {
    this.pass(20);
    await this.flush();
  }

  async close(): Promise<void> {
    const { log } = this;
    const { lastLsn } = log!;
    const closed = log!.close();
    await this.drive(closed).catch(async (error: unknown) => {
      await this.look();
      throw error;
    });
    await this.look();
    this.oracle.prove(lastLsn, "close()");
    if (this.isLocked) throw new Violation("the log is closed and still holds its lock");
  }

  /** From an operation on each may fail if the path says so; reads only with `reading`. */
  failFrom(operation: number, reading: boolean): void {
    this.armFaults = () => {
      if (this.operations.length !== operation) return;
      const { faults } = this.disk;
      for (const name of Object.keys(faults) as (keyof Faults)[]) faults[name] = reading || !READING.test(name) ? FAULT : 0;
    };
  }

  /** From here on the power may go. */
  mark(): void {
    this.from = this.disk.operations + 1;
  }

  // --- what is seen of it ---------------------------------------------------------------------------

  /** What a look at the log tells; ends this life if there is nothing more to do. */
  private async look(): Promise<void> {
    await settle();
    this.observe();
    this.check();
    if (this.disk.down) throw new Crashed();
    if (!this.failed) return;
    if (this.log!.stats().state === "open") await this.pump();
    await settle();
    this.check();
    if (this.waiting > 0) throw new Violation(`the disk failed (${this.disk.lastFailure}), and ${this.waiting} appends have no answer`);
    await checkPoisoned(this, this.log!, [this.log!]);
    throw new Failed();
  }

  private observe(): void {
    if (this.alive && this.log !== undefined) this.oracle.prove(this.log.durableLsn, "durableLsn");
  }

  private begin(...sizes: number[]): Operation {
    const items = sizes.map((size) => makeItem(this.random, ++this.items, size, "data"));
    this.trace(`  appends ${items.map(({ id }) => id).join(" ")}, ${sizes.join(" ")} bytes`);
    return this.oracle.begin(this.state.lives, items);
  }

  private track(operation: Operation, promise: Promise<number>): void {
    this.waiting++;
    const judged =
      <T>(judge: (value: T) => void) =>
      (value: T): void => {
        if (!this.alive) return;
        this.waiting--;
        try {
          judge(value);
        } catch (error) {
          this.violation ??= error as Error;
        }
      };
    promise.then(
      judged((first) => {
        const last = first + operation.items.length - 1;
        this.trace(`  ${first} to ${last} acknowledged`);
        this.oracle.learn(operation, first);
        if (this.log!.durableLsn < last) throw new Violation(`LSN ${last} is acknowledged, but durableLsn is ${this.log!.durableLsn}`);
        this.oracle.prove(last, "append");
      }),
      judged((error: unknown) => this.rejected(operation, error)),
    );
  }

  private rejected(operation: Operation, error: unknown): void {
    const code = codeOf(error);
    if (!this.disk.down && !this.failed) throw new Violation(`nothing failed, and yet: ${(error as Error).stack}`);
    if (code === "COREWAL_POISONED") operation.refused = true;
    else if (code !== "COREWAL_OUTCOME_UNKNOWN") throw error;
  }
}

function optionsOf({ frameAlign }: Settings): Config["options"] {
  return { flusher: "inline", stripes: 2, ringBytes: 4096, segmentBytes: 16384, frameAlign, flushIntervalMs: 10, writerStallMs: 20 };
}
