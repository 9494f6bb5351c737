// Checkpoint + replay = state. A checkpoint begins with a barrier, so that it has a place between all entries of all
// chains; the user writes the state, which may go on changing meanwhile; it gets its name once everything that it can
// hold is durable. Which of several counts: the newest that is whole and from which the log can be replayed.

import {
  checkCheckpoint,
  checkpointNumbers,
  checkpointPath,
  CheckpointWriter,
  readState,
  type CheckpointFacts,
  type CheckpointHead,
} from "./checkpoint-file.js";
import { attempt, codeOf, CorewalError, fromSystem, mistake } from "./errors.js";
import { corrupt } from "./segment.js";
import type { Storage } from "./storage.js";
import type { Bytes, Checkpoint, CheckpointInfo, CheckpointState, StateWriter, Topology } from "./types.js";

/** The log that the checkpoints are of, as it is now. */
export interface CheckpointedLog {
  readonly storage: Storage;
  readonly directory: string;
  /** Undefined if there is no log yet. */
  readonly logId: Uint8Array | undefined;
  readonly topology: Topology;
  /** What was dropped is held by a checkpoint only. */
  needsCheckpoint(): boolean;
  /** First LSN that is still there, and last one as far as that is known, of each chain by its number. */
  bounds(): { chain: number; firstLsn: number; lastLsn: number }[];
}

/** … and what it takes to make one. */
export interface CheckpointingLog extends CheckpointedLog {
  /** A barrier that is through: the epoch that began with it, and the last LSN before it in each chain. */
  cut(): Promise<{ epoch: number; positions: number[] }>;
  /** Last LSN that was given out, in each chain. */
  positions(): number[];
  durable(positions: number[]): Promise<void>;
  /** Throws if the log has ended. */
  check(): void;
  /** Unix time in milliseconds, fractional. */
  now(): number;
  head(): Omit<CheckpointHead, "number" | "epoch">;
}

/** So long a state is written without a pause, in milliseconds. */
const TURN_MS = 1;
/** While others append: the thread and the disk are theirs for so many times as long as they were the checkpoint's. */
const PACE = 12;

/** Names what is wrong with a checkpoint that is passed over; the log goes on with the one before. */
export function warn(text: string): void {
  process.emitWarning(text, { type: "CorewalWarning", code: "COREWAL_CHECKPOINT" });
}

export function infoOf({ number, epoch, begin, end, bytes, createdNs, topology }: CheckpointFacts, directory: string): CheckpointInfo {
  return {
    number,
    epoch,
    lsn: topology === "striped" ? (begin[0] ?? 0) : 0,
    positions: begin,
    endPositions: end,
    bytes,
    timestampMs: Number(createdNs) / 1e6,
    path: checkpointPath(directory, number),
  };
}

/** Newest first. */
function numbersOf(storage: Storage, directory: string): number[] {
  return attempt("looking for checkpoints", directory, () => checkpointNumbers(storage, directory));
}

/** Why a checkpoint that is whole cannot be used; undefined if it can. */
function unfit(facts: CheckpointFacts, log: CheckpointedLog): string | undefined {
  if (log.logId === undefined || !Buffer.from(facts.logId).equals(log.logId) || facts.topology !== log.topology)
    return "it is of another log";
  for (const { chain, firstLsn, lastLsn } of log.bounds()) {
    const where = log.topology === "per-core" ? ` of core ${chain}` : "";
    if ((facts.begin[chain] ?? 0) < firstLsn - 1) return `the entries${where} behind it have been dropped up to LSN ${firstLsn - 1}`;
    if ((facts.end[chain] ?? 0) > lastLsn)
      return `it holds entries${where} up to LSN ${facts.end[chain]}, and the log ends with LSN ${lastLsn}`;
  }
  return undefined;
}

/**
 * The newest checkpoint that is whole and fits the log, its state checked to the last byte; undefined if there is none and
 * the log is whole without. Throws COREWAL_CORRUPT if it is not, COREWAL_UNKNOWN_VERSION, COREWAL_IO if one cannot be read
 * and no other takes its place.
 */
function chooseCheckpoint(log: CheckpointedLog): CheckpointFacts | undefined {
  const { storage, directory } = log;
  const numbers = numbersOf(storage, directory);
  let unread: Error | undefined;
  for (const number of numbers) {
    const path = checkpointPath(directory, number);
    try {
      const facts = checkCheckpoint(storage, directory, number, true);
      const why = unfit(facts, log);
      if (why === undefined) return facts;
      warn(`checkpoint ${number} is not used: ${why} (${path})`);
    } catch (error) {
      if (codeOf(error) === "COREWAL_UNKNOWN_VERSION") throw error;
      const why = fromSystem(error, "reading the checkpoint", path);
      if (why.code !== "COREWAL_CORRUPT") unread ??= why;
      warn(`checkpoint ${number} is not used: ${why.message}`);
    }
  }
  if (unread !== undefined && log.needsCheckpoint()) throw unread;
  if (log.needsCheckpoint())
    throw corrupt(
      "the beginning of the log has been dropped, and there is no checkpoint left that holds what was in it",
      checkpointPath(directory, numbers[0] ?? 1),
      0,
    );
  return undefined;
}

/**
 * All of them that say of themselves what they are, newest first; nothing is said of their states. One that cannot be read
 * now may be whole all the same: throws COREWAL_IO.
 */
export function listCheckpoints(storage: Storage, directory: string): CheckpointInfo[] {
  return factsOfAll(storage, directory, ["COREWAL_CORRUPT", "COREWAL_UNKNOWN_VERSION"]).map((facts) => infoOf(facts, directory));
}

function factsOfAll(storage: Storage, directory: string, passedOver: string[]): CheckpointFacts[] {
  return numbersOf(storage, directory).flatMap((number) => {
    try {
      return checkCheckpoint(storage, directory, number, false);
    } catch (error) {
      if (passedOver.includes(codeOf(error) ?? "")) return [];
      throw fromSystem(error, "reading the checkpoint", checkpointPath(directory, number));
    }
  });
}

/** A log's checkpoints, for whoever reads them. */
export class CheckpointReading {
  /** Chosen once: reading the state and replaying what follows must mean the same one. */
  private chosen: { facts: CheckpointFacts | undefined } | undefined;

  constructor(private readonly log: CheckpointedLog) {}

  /** The one that counts. */
  choose(): CheckpointFacts | undefined {
    return (this.chosen ??= { facts: chooseCheckpoint(this.log) }).facts;
  }

  /** There is a newer one. */
  renew(facts: CheckpointFacts): void {
    this.chosen = { facts };
  }

  async read(): Promise<Checkpoint | undefined> {
    const { storage, directory } = this.log;
    const facts = this.choose();
    if (facts === undefined) return undefined;
    const stream = (): AsyncIterator<Uint8Array> => readState(storage, directory, facts.number);
    return { ...infoOf(facts, directory), stream: { [Symbol.asyncIterator]: stream } };
  }
}

/** … and for whoever makes them. One at a time: others wait for their turn. */
export class Checkpointing {
  private turn: Promise<unknown> = Promise.resolve();
  /** The one that is being made, to give it up. */
  private giveUp: (() => void) | undefined;
  /** Of the one that is being made: it begins behind these places, or later. */
  private begin: number[] | undefined;

  constructor(
    private readonly log: CheckpointingLog,
    private readonly reading: CheckpointReading,
    private readonly keep: number,
  ) {}

  make(state: CheckpointState): Promise<CheckpointInfo> {
    if (typeof state !== "function")
      return Promise.reject(mistake("COREWAL_INVALID_INPUT", "checkpoint() takes a function that writes the state"));
    const mine = this.turn.then(() => this.write(state));
    this.turn = mine.catch(() => {});
    return mine;
  }

  /** The log ends: whoever opens it next must not meet the one that is being made. */
  stop(): void {
    this.giveUp?.();
  }

  private async write(state: CheckpointState): Promise<CheckpointInfo> {
    const { log } = this;
    log.check();
    try {
      this.begin = log.positions();
      return await this.writeHeld(state);
    } finally {
      this.begin = undefined;
    }
  }

  /** What it will need is not dropped meanwhile. */
  private async writeHeld(state: CheckpointState): Promise<CheckpointInfo> {
    const { log } = this;
    const { storage, directory } = log;
    const { epoch, positions } = await log.cut();
    this.begin = positions;
    log.check();
    const number = (numbersOf(storage, directory)[0] ?? 0) + 1;
    let facts: CheckpointFacts;
    const path = checkpointPath(directory, number);
    const guard = <T>(run: () => T): T => attempt("writing the checkpoint", path, run);
    const writer = guard(() => new CheckpointWriter(storage, directory, { ...log.head(), number, epoch }));
    const place = { epoch, positions, lsn: log.topology === "striped" ? positions[0]! : 0 };
    const hand = new Hand(place, (bytes) => guard(() => writer.write(bytes)), new Pace(log));
    this.giveUp = () => {
      hand.end();
      writer.abandon();
    };
    try {
      await state(hand);
      hand.end();
      log.check();
      const end = log.positions();
      facts = await writer.finish(positions, end).catch((error: unknown) => {
        throw fromSystem(error, "writing the checkpoint", path);
      });
      await log.durable(end);
      log.check();
      guard(() => writer.commit());
    } catch (error) {
      this.giveUp();
      throw error;
    } finally {
      this.giveUp = undefined;
    }
    this.reading.renew(facts);
    return infoOf(facts, directory);
  }

  /** The newest so many stay. Whichever of them a crash leaves over goes next time. */
  prune(): void {
    const { storage, directory } = this.log;
    const old = numbersOf(storage, directory).slice(this.keep);
    for (const number of old.reverse()) storage.remove(checkpointPath(directory, number));
    if (old.length > 0) storage.syncDirectory(directory);
  }

  /**
   * The first LSN of a chain that one of the checkpoints needs to be replayed, also the one that is being made: the very
   * first of a chain that it does not know.
   */
  needed(): { first: (chain: number) => number; hasCheckpoint: boolean } {
    const { storage, directory } = this.log;
    // One that cannot be used holds nothing; one that cannot be read now, or by this version, may be needed.
    const all = factsOfAll(storage, directory, ["COREWAL_CORRUPT"]).filter((facts) => unfit(facts, this.log) === undefined);
    const begins = all.map(({ begin }) => begin);
    if (this.begin !== undefined) begins.push(this.begin);
    const first = (chain: number): number => Math.min(Infinity, ...begins.map((begin) => begin[chain] ?? 0)) + 1;
    return { first, hasCheckpoint: all.length > 0 };
  }
}

/** Leaves the thread to others from time to time: for one turn of the event loop, and if they append, for longer. */
class Pace {
  private spentMs = 0;

  constructor(private readonly log: Pick<CheckpointingLog, "positions" | "now">) {}

  async after(work: () => void): Promise<void> {
    const { log } = this;
    const begin = log.now();
    work();
    this.spentMs += log.now() - begin;
    if (this.spentMs < TURN_MS) return;
    const pauseMs = PACE * this.spentMs;
    this.spentMs = 0;
    const before = log.positions();
    await new Promise(setImmediate);
    if (log.positions().some((lsn, chain) => lsn !== before[chain])) await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
}

/** What the user's function gets: good until it has ended. */
class Hand implements StateWriter {
  readonly epoch: number;
  readonly lsn: number;
  readonly positions: number[];
  private over = false;

  constructor(
    { epoch, lsn, positions }: Pick<StateWriter, "epoch" | "lsn" | "positions">,
    private readonly take: (bytes: Uint8Array) => void,
    private readonly pace: Pace,
  ) {
    this.epoch = epoch;
    this.lsn = lsn;
    this.positions = positions;
  }

  /** Bound, so that it can be passed on by itself. */
  readonly write = async (bytes: Bytes): Promise<void> => {
    if (this.over) throw new CorewalError("COREWAL_CLOSED", "the checkpoint has ended: write before the function that makes it resolves");
    if (typeof bytes !== "string" && !(bytes instanceof Uint8Array))
      throw mistake("COREWAL_INVALID_INPUT", `a state is written in bytes, a Uint8Array or a string, not ${typeof bytes}`);
    const piece = typeof bytes === "string" ? Buffer.from(bytes) : bytes;
    await this.pace.after(() => this.take(piece));
  };

  end(): void {
    this.over = true;
  }
}
