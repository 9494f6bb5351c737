// What checkpoints a log may show, by the public contract: the newest that was acknowledged or a newer one, its bytes
// whole, at a place between epochs, and what has to be replayed behind it. The states are what the simulator wrote.

import { codeOf } from "../../src/errors.js";
import type { CheckpointInfo, Entry, Log, StateWriter } from "../../src/types.js";
import { lastOf } from "./checks.js";
import { Violation } from "./oracle.js";
import { Crashed, type World } from "./world.js";

/** What one call of a state function has written. */
export interface State {
  id: number;
  /** Last LSN given out in each chain when the checkpoint was asked for. */
  before: number[];
  epoch: number;
  begin: number[];
  /** It holds everything up to here. */
  applied: number[];
  bytes: Uint8Array;
  /** The function has come to its end. */
  whole: boolean;
  /** It holds something that was cut off. */
  cut?: true;
}

interface Acknowledged {
  number: number;
  /** What has to be replayed begins behind this LSN of each chain. */
  begin: number[];
}

export class CheckpointOracle {
  /** By the id with which the bytes begin. */
  private readonly states = new Map<number, State>();
  private acknowledged: Acknowledged | undefined;
  /** What is behind these is to be cut off. */
  private mayEnd: (number | undefined)[] = [];
  /** The beginning was dropped for the reason that a checkpoint holds it. */
  needed = false;
  /** Warnings of checkpoints that were passed over. */
  readonly warnings: string[] = [];

  get newest(): Acknowledged | undefined {
    return this.acknowledged;
  }

  /** Nothing was cut after all. */
  putBack(newest: Acknowledged | undefined): void {
    this.mayEnd = [];
    this.acknowledged = newest;
  }

  /** Could there be one? */
  get possible(): boolean {
    return [...this.states.values()].some(({ whole }) => whole);
  }

  /** The state function is called. */
  begin(id: number, before: number[], hand: StateWriter, world: World): State {
    const { epoch, positions, lsn } = hand;
    const state: State = { id, before, epoch, begin: [...positions], applied: [], bytes: new Uint8Array(0), whole: false };
    before.forEach((asked, core) => {
      if ((positions[core] ?? 0) < asked)
        throw new Violation(`a checkpoint begins behind LSN ${positions[core]} of core ${core}, ${asked} was given out before it`);
    });
    if (lsn !== (world.whole.perCore ? 0 : positions[0]))
      throw new Violation(`a checkpoint's LSN is ${lsn}, its positions ${positions.join()}`);
    this.states.set(id, state);
    return state;
  }

  /** checkpoint() resolved. */
  acknowledge(info: CheckpointInfo, state: State): void {
    const { number, positions, endPositions, bytes, epoch } = info;
    if (number <= (this.acknowledged?.number ?? 0)) throw new Violation(`checkpoint ${number} comes after ${this.acknowledged!.number}`);
    if (positions.join() !== state.begin.join() || epoch !== state.epoch || bytes !== state.bytes.length)
      throw new Violation(`checkpoint ${number} is not what its function was told, or has written: ${JSON.stringify(info)}`);
    state.applied.forEach((lsn, core) => {
      if (lsn > (endPositions[core] ?? 0))
        throw new Violation(`checkpoint ${number} ends before what was applied, LSN ${lsn} of core ${core}`);
    });
    if (this.survives(info)) this.acknowledged = { number, begin: state.begin };
  }

  /** The first LSN that the newest acknowledged one needs; Infinity if there is none. */
  neededLsn(core: number): number {
    return this.acknowledged === undefined ? Infinity : (this.acknowledged.begin[core] ?? 0) + 1;
  }

  /**
   * The log is to be cut: `list` is what there is, and of that what holds something behind these LSNs may be gone from now on.
   * `making`: one that is being made may still take the place of another one.
   */
  allowEnd(list: CheckpointInfo[], wanted: (number | undefined)[], making: boolean): void {
    this.mayEnd = wanted;
    const { number: newest = 0 } = this.acknowledged ?? {};
    const left = making ? undefined : list.find((info) => info.number <= newest && this.survives(info));
    this.acknowledged = left && { number: left.number, begin: [...left.positions] };
  }

  private survives({ endPositions }: CheckpointInfo): boolean {
    return endPositions.every((lsn, core) => lsn <= (this.mayEnd[core] ?? Infinity));
  }

  /** The log was opened, and cut where these say: what holds something behind these LSNs must not be found. */
  cut(wanted: (number | undefined)[]): void {
    this.mayEnd = [];
    for (const state of this.states.values()) if (state.applied.some((lsn, core) => lsn > (wanted[core] ?? Infinity))) state.cut = true;
  }

  /** All that have a name can be replayed. */
  judgeList(list: CheckpointInfo[], log: Log, cores: number[]): void {
    const { acknowledged } = this;
    list.forEach(({ number, positions }, i) => {
      if (i > 0 && number >= list[i - 1]!.number) throw new Violation("checkpoints() is not in order");
      for (const core of cores) {
        const { firstLsn } = log.core(core);
        if (firstLsn > (positions[core] ?? 0) + 1)
          throw new Violation(
            `checkpoint ${number} needs what is behind LSN ${positions[core]} of core ${core}, which begins with ${firstLsn}`,
          );
      }
    });
    if (
      acknowledged !== undefined &&
      !list.some(({ number }) => number === acknowledged.number) &&
      (list[0]?.number ?? 0) <= acknowledged.number
    )
      throw new Violation(`checkpoint ${acknowledged.number} was acknowledged; now there are ${list.map(({ number }) => number).join()}`);
  }

  /** Reads the checkpoint that counts, and what has to be replayed. `live`: beside the process that writes. */
  async judge(world: World, log: Log, live = false): Promise<void> {
    try {
      await this.judgeAll(world, log, live);
    } catch (error) {
      if (!world.disk.down) throw error;
      this.warnings.splice(0);
      throw new Crashed();
    }
  }

  private async judgeAll(world: World, log: Log, live: boolean): Promise<void> {
    const cores = world.coresOf(log);
    this.judgeList(await log.checkpoints(), log, cores);
    const warned = this.warnings.length;
    const checkpoint = await log.readCheckpoint();
    if (this.warnings.length > warned) throw new Violation(`nothing is damaged, and yet: ${this.warnings.at(-1)}`);
    if (checkpoint === undefined) {
      if (this.acknowledged !== undefined)
        throw new Violation(`checkpoint ${this.acknowledged.number} was acknowledged, and none is found`);
    } else {
      await this.judgeState(checkpoint.number, checkpoint, checkpoint.stream, log, live);
    }
    await this.judgeReplay(world, log, cores, checkpoint);
  }

  /** What this checkpoint's bytes are: a state that was written to its end, where it says. */
  private async stateOf(number: number, { positions, epoch }: CheckpointInfo, stream: AsyncIterable<Uint8Array>): Promise<State> {
    const pieces: Uint8Array[] = [];
    for await (const piece of stream) pieces.push(piece);
    const bytes = Buffer.concat(pieces);
    const state = bytes.length < 4 ? undefined : this.states.get(bytes.readUInt32LE(0));
    if (!state?.whole || Buffer.compare(bytes, state.bytes) !== 0)
      throw new Violation(`the state of checkpoint ${number}, ${bytes.length} bytes, is none that was written to its end`);
    if (state.cut) throw new Violation(`checkpoint ${number} holds LSNs ${state.applied.join()}, of which some were cut off`);
    if (positions.join() !== state.begin.join() || epoch !== state.epoch)
      throw new Violation(`checkpoint ${number} says that it begins behind ${positions.join()}, it was ${state.begin.join()}`);
    return state;
  }

  /** Of a log that was restored: the newest checkpoint that fits, and what has to be replayed behind it. `all`: nothing was left out. */
  async judgeRestored(world: World, log: Log, all: boolean): Promise<void> {
    const cores = log.recovery.cores.map(({ core }) => core);
    const checkpoint = await log.readCheckpoint();
    if (checkpoint === undefined && all && this.acknowledged !== undefined)
      throw new Violation(`all was restored, but not checkpoint ${this.acknowledged.number}`);
    if (checkpoint !== undefined) {
      const { applied } = await this.stateOf(checkpoint.number, checkpoint, checkpoint.stream);
      applied.forEach((lsn, core) => {
        if (lsn > lastOf(log.recovery, core))
          throw new Violation(`the restored log's checkpoint holds LSN ${lsn} of core ${core}, which is not there`);
      });
    }
    await this.judgeReplay(world, log, cores, checkpoint);
  }

  private async judgeState(
    number: number,
    info: CheckpointInfo,
    stream: AsyncIterable<Uint8Array>,
    log: Log,
    live: boolean,
  ): Promise<void> {
    if (number < (this.acknowledged?.number ?? 0))
      throw new Violation(`checkpoint ${this.acknowledged!.number} was acknowledged, and ${number} is what is found`);
    const state = await this.stateOf(number, info, stream);
    state.applied.forEach((lsn, core) => {
      // While somebody writes, less is shown than is durable.
      if (!live && lsn > 0 && lsn > log.core(core).durableLsn)
        throw new Violation(`checkpoint ${number} holds LSN ${lsn} of core ${core}, which is not there`);
    });
  }

  /** Everything behind the checkpoint, and nothing before it. */
  private async judgeReplay(world: World, log: Log, cores: number[], checkpoint: CheckpointInfo | undefined): Promise<void> {
    const replayed = new Map<number, Entry[]>(cores.map((core) => [core, []]));
    for await (const entry of log.replay()) replayed.get(world.whole.perCore ? entry.core : 0)!.push(entry);
    for (const core of cores) {
      const begin = checkpoint?.positions[core] ?? 0;
      const expected: Entry[] = [];
      const from = checkpoint === undefined ? undefined : begin + 1;
      for await (const batch of log.core(core).readBatches({ from })) expected.push(...batch.filter(({ kind }) => kind !== "void"));
      const list = replayed.get(core)!.filter(({ kind }) => kind !== "void");
      const what = `of core ${core}, behind checkpoint ${checkpoint?.number ?? "none"} at LSN ${begin},`;
      expected.forEach(({ lsn, value }, i) => {
        if (list[i]?.lsn !== lsn || Buffer.compare(list[i].value, value) !== 0)
          throw new Violation(`${what} LSN ${lsn} is to be replayed, and it is ${list[i]?.lsn}`);
      });
      if (list.length > expected.length) throw new Violation(`${what} LSN ${list[expected.length]!.lsn} is replayed as well`);
      if (checkpoint === undefined) continue;
      const early = list.find(({ epoch }) => epoch < checkpoint.epoch);
      if (early !== undefined)
        throw new Violation(`${what} LSN ${early.lsn} has epoch ${early.epoch}, the checkpoint began with ${checkpoint.epoch}`);
      const before = world.whole.of(core).epochOf(begin);
      if (before >= checkpoint.epoch)
        throw new Violation(`${what} that LSN has epoch ${before}, the checkpoint began with ${checkpoint.epoch}`);
    }
  }
}

/** What a reading of a damaged checkpoint says: its number, nothing, or the error's code. */
export async function whatIsFound(log: Log): Promise<number | string | undefined> {
  try {
    return (await log.readCheckpoint())?.number;
  } catch (error) {
    const code = codeOf(error);
    if (code === undefined) throw error;
    return code;
  }
}
