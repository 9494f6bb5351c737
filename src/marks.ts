// What a chain says of the epochs and of the other chains: 56 bytes in a segment's header, in its footer, and as the
// value of an epoch entry. All zero in a striped log whose epoch was never advanced. FORMAT.md, "Marks".
//
//   | epoch u64 | complete u64 | 0 u64 | chains, one bit each, 32 bytes |

import { exactU64 } from "./frame.js";

export interface Marks {
  /** The epoch that the chain is in. */
  epoch: number;
  /** Epochs below this one are complete: every chain had all of them on the disk when the next one was recorded. */
  complete: number;
  /** Chains that have segments, ascending: each of them must be there. */
  chains: number[];
}

export const MARKS_BYTES = 56;
const CHAINS_AT = 24;
export const CHAINS_MAX = 256;

export const NO_MARKS: Marks = { epoch: 0, complete: 0, chains: [] };

/** What both say together: the higher epoch counts, and every chain that one of them names. */
export function mergeMarks(a: Marks, b: Marks): Marks {
  return {
    epoch: Math.max(a.epoch, b.epoch),
    complete: Math.max(a.complete, b.complete),
    chains: [...new Set([...a.chains, ...b.chains])].sort((x, y) => x - y),
  };
}

export function sameMarks(a: Marks, b: Marks): boolean {
  const numbers = a.epoch === b.epoch && a.complete === b.complete;
  return numbers && a.chains.length === b.chains.length && a.chains.every((chain, i) => chain === b.chains[i]);
}

/** Writes them into `bytes`, which are zeros, at `at`. */
export function encodeMarks({ epoch, complete, chains }: Marks, bytes: Uint8Array, at: number): void {
  const v = new DataView(bytes.buffer, bytes.byteOffset + at, MARKS_BYTES);
  v.setBigUint64(0, BigInt(epoch), true);
  v.setBigUint64(8, BigInt(complete), true);
  for (const chain of chains) bytes[at + CHAINS_AT + (chain >> 3)]! |= 1 << (chain & 7);
}

/** The marks at `at`; undefined if a number in them is one that nobody writes. */
export function decodeMarks(bytes: Uint8Array, at: number): Marks | undefined {
  const v = new DataView(bytes.buffer, bytes.byteOffset + at, MARKS_BYTES);
  const epoch = exactU64(v, 0);
  const complete = exactU64(v, 8);
  if (epoch === undefined || complete === undefined) return undefined;
  const chains: number[] = [];
  for (let chain = 0; chain < CHAINS_MAX; chain++) if (bytes[at + CHAINS_AT + (chain >> 3)]! & (1 << (chain & 7))) chains.push(chain);
  return { epoch, complete, chains };
}
