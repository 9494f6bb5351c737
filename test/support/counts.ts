// What a simulation has done so far.

export interface Counts {
  seeds: number;
  /** A process ended, by whatever, and another one recovered. */
  cycles: number;
  /** How processes ended, and what else was tried. */
  kinds: Map<string, number>;
}

export const newCounts = (): Counts => ({ seeds: 0, cycles: 0, kinds: new Map() });

export function countKind(counts: Counts, kind: string): void {
  counts.kinds.set(kind, (counts.kinds.get(kind) ?? 0) + 1);
}
