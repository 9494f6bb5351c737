// The peers: what people would use otherwise, at the same durability. Each operation puts one entry of 8 + 100
// bytes (corewal: 100) and is done when that is on the disk. The packages are installed in bench/ only, so
// the little that is used of them is declared here.

import { join } from "node:path";
import { append, checkedLog } from "./corewal.js";
import { inDirectory, inFlight, machine, median, PAYLOAD, ratio, rawLoop, record, runRounds } from "./rounds.js";
import type { Contender, Machine, Result, RoundOptions } from "./rounds.js";

interface LmdbOptions {
  path: string;
  encoding: "binary";
  keyEncoding: "binary";
  overlappingSync?: boolean;
  separateFlushed?: boolean;
}
export interface Lmdb {
  open(options: LmdbOptions): {
    put(key: Uint8Array, value: Uint8Array): Promise<boolean> & { flushed?: Promise<unknown> };
    readonly flushed: PromiseLike<unknown>;
    get(key: Uint8Array): Uint8Array | undefined;
    getCount(): number;
    close(): Promise<void>;
  };
}
export interface ClassicLevel {
  ClassicLevel: new (
    directory: string,
    options: { keyEncoding: "view"; valueEncoding: "view" },
  ) => {
    open(): Promise<void>;
    put(key: Uint8Array, value: Uint8Array, options: { sync: true }): Promise<void>;
    get(key: Uint8Array): Promise<Uint8Array | undefined>;
    keys(): { all(): Promise<Uint8Array[]> };
    close(): Promise<void>;
  };
}

/** An opened store: `put` resolves when the entry is on the disk. */
export interface Store {
  put(key: Uint8Array, value: Uint8Array): PromiseLike<unknown>;
  get(key: Uint8Array): Promise<Uint8Array | undefined>;
  count(): Promise<number>;
  close(): Promise<void>;
}
/** A way to use a peer. */
export interface Peer {
  name: string;
  open(directory: string): Promise<Store>;
}

/**
 * lmdb commits what one turn of the event loop puts as one transaction. `db.flushed` is a thenable that makes
 * promises anew for each waiter; `separateFlushed` gives all puts of a transaction one promise. Without
 * overlappingSync a commit is on the disk when it resolves.
 */
export function lmdbPeers(lmdb: Lmdb): Peer[] {
  const ways = [
    { name: "lmdb put, then flushed", options: {}, done: "db.flushed" },
    { name: "lmdb put().flushed", options: { separateFlushed: true }, done: "put.flushed" },
    { name: "lmdb put, overlappingSync off", options: { overlappingSync: false }, done: "put" },
  ];
  return ways.map(({ name, options, done }) => ({
    name,
    open(path) {
      const db = lmdb.open({ path, encoding: "binary", keyEncoding: "binary", ...options });
      return Promise.resolve({
        put(key: Uint8Array, value: Uint8Array): PromiseLike<unknown> {
          const put = db.put(key, value);
          return done === "put" ? put : done === "put.flushed" ? put.flushed! : db.flushed;
        },
        get: (key: Uint8Array) => Promise.resolve(db.get(key)),
        count: () => Promise.resolve(db.getCount()),
        close: () => db.close(),
      });
    },
  }));
}

export function classicLevelPeer({ ClassicLevel }: ClassicLevel): Peer {
  return {
    name: "classic-level put, sync",
    async open(directory) {
      const db = new ClassicLevel(directory, { keyEncoding: "view", valueEncoding: "view" });
      await db.open();
      return {
        put: (key, value) => db.put(key, value, { sync: true }),
        get: (key) => db.get(key),
        count: async () => (await db.keys().all()).length,
        close: () => db.close(),
      };
    },
  };
}

/** A peer as a contender, after it was seen to give back what it is given. */
async function contend(peer: Peer, directory: string, count: number): Promise<Contender> {
  const store = await peer.open(directory);
  let next = 0;
  /** 8 bytes, increasing. From the pool, so that making keys does not slow the peer down. */
  const key = (): Uint8Array => {
    const bytes = Buffer.allocUnsafe(8);
    bytes.writeUInt32BE(Math.floor(++next / 2 ** 32), 0);
    bytes.writeUInt32BE(next >>> 0, 4);
    return bytes;
  };
  const bytes = record();
  const checked = key();
  await store.put(checked, bytes);
  const back = await store.get(checked);
  if (back === undefined || Buffer.compare(back, bytes) !== 0) throw new Error(`${peer.name} did not give back what was put`);
  return {
    name: `${peer.name}, ${count} in flight`,
    run: (ms) => inFlight(count, ms, () => store.put(key(), bytes)),
    entries: () => store.count(),
    close: () => store.close(),
  };
}

export const IN_FLIGHT = [1, 16, 256, 4096];

export interface PeerFigure extends Result {
  inFlight: number;
  opsPerSecond: number;
  /** Against the raw loop, and against the first peer with as many in flight. */
  timesRaw: number;
  timesPeer: number;
}
export interface PeersReport {
  machine: Machine;
  payloadBytes: number;
  raw: Result;
  figures: PeerFigure[];
}

/** corewal and the peers in turn, for each number in flight. Ratios are to the first peer. */
export function benchPeers(peers: Peer[], options: RoundOptions): Promise<PeersReport> {
  return inDirectory(options.directory, async (directory) => {
    const contenders: Contender[] = [rawLoop(directory)];
    for (const count of IN_FLIGHT) {
      contenders.push(append(await checkedLog(join(directory, `corewal-${count}`)), count, "corewal append"));
      for (const [i, peer] of peers.entries()) contenders.push(await contend(peer, join(directory, `peer-${i}-${count}`), count));
    }
    const [raw, ...results] = await runRounds(contenders, options);
    const group = peers.length + 1;
    const figures = results.map((r, i) => ({
      ...r,
      inFlight: IN_FLIGHT[Math.floor(i / group)]!,
      opsPerSecond: median(r.rates),
      timesRaw: ratio(r, raw!),
      timesPeer: ratio(r, results[i - (i % group) + 1]!),
    }));
    return { machine: machine(), payloadBytes: PAYLOAD, raw: raw!, figures };
  });
}
