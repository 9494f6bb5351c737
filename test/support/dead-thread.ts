// A thread that dies between taking LSNs and publishing them. No writer of ours can be stopped there from
// outside, so the words in shared memory are set by hand, as ring_publish would have left them.

import { CTL_NEXT_LSN, CTL_STRIPE_HIGH, STRIPE_BLOCKS, STRIPE_BYTES, STRIPE_OWNER, STRIPE_STATE } from "../../assembly/layout.js";
import type { Log } from "../../src/types.js";
import { memoryOf, type World } from "./world.js";

const PENDING = 1n << 32n;
const DEAD_OWNER = 4711;

/** Takes a free stripe and some LSNs that nobody will publish. False if there is no free stripe. */
export function haunt(world: World, log: Log): boolean {
  const { buffer } = memoryOf(log);
  const words = new Int32Array(buffer);
  const longs = new BigInt64Array(buffer);
  for (let stripe = 0; stripe < (world.config.options.stripes ?? 0); stripe++) {
    const block = STRIPE_BLOCKS + stripe * STRIPE_BYTES;
    if (Atomics.compareExchange(words, (block + STRIPE_OWNER) >> 2, 0, DEAD_OWNER) !== 0) continue;
    if (Atomics.load(words, CTL_STRIPE_HIGH >> 2) < stripe + 1) Atomics.store(words, CTL_STRIPE_HIGH >> 2, stripe + 1);
    Atomics.or(longs, (block + STRIPE_STATE) >> 3, PENDING);
    const count = world.random.between(1, 3);
    const first = Number(Atomics.add(longs, CTL_NEXT_LSN >> 3, BigInt(count)));
    world.oracle.lose(first, count);
    world.trace(`a thread dies with LSN ${first} to ${first + count - 1}`);
    return true;
  }
  return false;
}
