// What the victims of the power cuts append: the process and its n-th append say what it must be, byte for byte.

import type { LogOptions } from "../../src/options.js";
import { Random } from "./random.js";

/** Small, so that a few dozen appends fill a segment. */
export const POWER_OPTIONS: LogOptions = { segmentBytes: 32768, ringBytes: 16384, stripes: 2 };

/** Every third is a batch. */
export function recordsOf(life: number, append: number): string[] {
  const random = new Random(life * 1_000_003 + append);
  return Array.from({ length: append % 3 === 0 ? random.between(2, 5) : 1 }, (_, i) => {
    const noise = Buffer.from(random.fill(new Uint8Array(random.below(random.pick([30, 300, 1000])))));
    return `${life}.${append}.${i} ${noise.toString("base64")}`;
  });
}
