// Places in a log: an LSN where there is one chain, else one for each core.

import { plainLsn } from "./errors.js";
import type { Position, Topology } from "./types.js";

/** As one LSN for each chain, by its number; holes where nothing is said. */
export function vectorOf(where: number | Position | number[], topology: Topology): number[] {
  if (Array.isArray(where)) return where;
  if (typeof where === "object" && where !== null) {
    const vector: number[] = [];
    vector[topology === "striped" ? 0 : where.core] = where.lsn;
    return vector;
  }
  if (topology === "per-core") throw plainLsn("durable(lsn)", "durable({ core, lsn }) or durable(positions)");
  return [where];
}
