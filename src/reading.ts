// Reading a log of either topology: one chain in LSN order, or several, merged.

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
    private readonly chains: Chain[],
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
