// Reading a log of either topology: one chain in LSN order, or several, merged.

import type { CheckpointFacts } from "./checkpoint-file.js";
import { outOfRange, plainLsn } from "./errors.js";
import { MergedReader } from "./merge.js";
import type { ChainReader } from "./read.js";
import type { CoreReadOptions, Entry, LogCore, Position, ReadOptions, Topology } from "./types.js";

/** What a log knows of one of its chains. */
export interface Chain {
  reader: ChainReader;
  lastLsn: () => number;
  durableLsn: () => number;
  bytes: () => number;
}

export class LogReading {
  private readonly merged: MergedReader | undefined;

  constructor(
    topology: Topology,
    readonly chains: readonly Chain[],
    check: () => void,
  ) {
    const readers = chains.map(({ reader }) => reader);
    this.merged = topology === "per-core" ? new MergedReader(readers, check) : undefined;
  }

  private get whole(): ChainReader {
    return this.chains[0]!.reader;
  }

  entries(options?: ReadOptions): AsyncIterable<Entry> {
    return (this.merged ?? this.whole).entries(options);
  }

  batches(options?: ReadOptions): AsyncIterable<Entry[]> {
    return (this.merged ?? this.whole).batches(options);
  }

  /** What follows a checkpoint, which is chosen at the first step; everything, if there is none. */
  replay(options: Omit<ReadOptions, "from"> = {}, choose: () => CheckpointFacts | undefined): AsyncIterable<Entry> {
    // Refused at once, as by the others.
    this.entries(options);
    const begin = (): AsyncIterator<Entry> => {
      const places = choose()?.begin;
      const from = this.merged === undefined ? places && places[0]! + 1 : places?.map((lsn) => lsn + 1);
      return this.entries(from === undefined ? options : { ...options, from })[Symbol.asyncIterator]();
    };
    return {
      [Symbol.asyncIterator]() {
        let inner: AsyncIterator<Entry> | undefined;
        const end: IteratorResult<Entry> = { done: true, value: undefined };
        return {
          async next(): Promise<IteratorResult<Entry>> {
            return (inner ??= begin()).next();
          },
          return: async () => (await inner?.return?.()) ?? end,
        };
      },
    };
  }

  async get(where: number | Position): Promise<Entry | undefined> {
    if (this.merged === undefined) return this.whole.get(typeof where === "object" && where !== null ? where.lsn : where);
    if (typeof where === "number") throw plainLsn(`get(${where})`, `get({ core, lsn: ${where} }), or get of log.core(i)`);
    return this.merged.get(where);
  }

  core(number: number): LogCore {
    const chain = this.chains.find(({ reader }) => reader.chain === number);
    if (chain === undefined) {
      const known = this.chains.map(({ reader }) => reader.chain).join(", ");
      throw outOfRange("COREWAL_INVALID_INPUT", `there is no core ${String(number)} in this log; there are ${known}`);
    }
    return new ReadCore(chain);
  }
}

class ReadCore implements LogCore {
  constructor(private readonly chain: Chain) {}

  get core(): number {
    return this.chain.reader.chain;
  }
  get firstLsn(): number {
    return this.chain.reader.firstLsn;
  }
  get lastLsn(): number {
    return this.chain.lastLsn();
  }
  get durableLsn(): number {
    return this.chain.durableLsn();
  }
  get bytes(): number {
    return this.chain.bytes();
  }
  read(options?: CoreReadOptions): AsyncIterable<Entry> {
    return this.chain.reader.entries(options);
  }
  readBatches(options?: CoreReadOptions): AsyncIterable<Entry[]> {
    return this.chain.reader.batches(options);
  }
  get(lsn: number): Promise<Entry | undefined> {
    return this.chain.reader.get(lsn);
  }
}
