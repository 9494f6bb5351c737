// What chance and time are made of, so that a simulator can replay them.

export interface Chance {
  /** Unix time in milliseconds, fractional. */
  now: () => number;
  randomBytes: (bytes: number) => Uint8Array;
}

export function randomSalt(chance: Chance): bigint {
  const b = chance.randomBytes(8);
  return new DataView(b.buffer, b.byteOffset, 8).getBigUint64(0, true);
}

export const toNs = (ms: number): bigint => BigInt(Math.round(ms * 1e6));
