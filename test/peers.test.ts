// The bench of the peers, tiny, with peers made here: the real ones are installed by `npm run bench:peers` only.

import { test } from "uvu";
import * as assert from "uvu/assert";
import { benchPeers, IN_FLIGHT, lmdbPeers, type Lmdb, type Peer, type Store } from "../bench/peers.js";
import { freshPath } from "./support/scratch.js";

/** Keeps entries in memory, and "durable" is the next turn. */
function memoryStore(): Store {
  const entries = new Map<string, Uint8Array>();
  return {
    put(key, value) {
      entries.set(Buffer.from(key).toString("hex"), value);
      return new Promise((resolve) => setImmediate(resolve));
    },
    get: (key) => Promise.resolve(entries.get(Buffer.from(key).toString("hex"))),
    count: () => Promise.resolve(entries.size),
    close: () => Promise.resolve(),
  };
}

const peer = (name: string, change?: (store: Store) => Partial<Store>): Peer => ({
  name,
  open() {
    const store = memoryStore();
    return Promise.resolve({ ...store, ...change?.(store) });
  },
});

const run = (peers: Peer[]): ReturnType<typeof benchPeers> => benchPeers(peers, { roundMs: 5, rounds: 2, directory: freshPath("peers") });

test("corewal stands beside each peer, for each number in flight, with its ratio to the first one", async () => {
  const { figures, raw } = await run([peer("one"), peer("two")]);
  assert.is(figures.length, 3 * IN_FLIGHT.length);
  assert.ok(raw.rates.length === 2 && raw.fsyncs! > 0);
  IN_FLIGHT.forEach((count, i) => {
    const group = figures.slice(3 * i, 3 * i + 3);
    assert.equal(
      group.map((f) => f.name),
      ["corewal append", "one", "two"].map((name) => `${name}, ${count} in flight`),
    );
    assert.is(group[1]!.timesPeer, 1);
    assert.is(group[1]!.fsyncs, undefined);
    assert.ok(group.every((f) => f.inFlight === count && f.opsPerSecond > 0 && f.timesRaw > 0 && f.timesPeer > 0 && f.p99Us >= f.p50Us));
    assert.ok(group[0]!.fsyncs! > 0 && group[0]!.opsPerFsync! > 0);
  });
});

test("a peer that gives back something else is not timed, and one that loses an entry is found out", async () => {
  const other = peer("forgetful", () => ({ get: () => Promise.resolve(new Uint8Array(100)) }));
  await run([other]).then(
    () => assert.unreachable(),
    (error: Error) => assert.match(error.message, /forgetful did not give back/),
  );
  let puts = 0;
  const lossy = peer("lossy", (store) => ({ put: (key, value) => (++puts === 100 ? Promise.resolve() : store.put(key, value)) }));
  await run([lossy]).then(
    () => assert.unreachable(),
    (error: Error) => assert.match(error.message, /lossy, \d+ in flight holds \d+ entries/),
  );
});

test("lmdb is waited for until its entry is on the disk, in each of the ways to use it", async () => {
  const waited: string[] = [];
  const thenable = (what: string): PromiseLike<unknown> => ({
    then: (done) => (waited.push(what), Promise.resolve(true).then(done)),
  });
  const lmdb: Lmdb = {
    open: ({ overlappingSync = true, separateFlushed = false }) => ({
      put: () =>
        Object.assign(thenable(overlappingSync ? "committed" : "durable"), separateFlushed && { flushed: thenable("durable") }) as never,
      flushed: thenable("durable"),
      get: () => undefined,
      getCount: () => 0,
      close: () => Promise.resolve(),
    }),
  };
  for (const way of lmdbPeers(lmdb)) await (await way.open("")).put(new Uint8Array(8), new Uint8Array(100));
  assert.equal(waited, ["durable", "durable", "durable"]);
});

test.run();
