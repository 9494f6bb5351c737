// Places in a log: an LSN where there is one chain, else one for each core.

import { mistake, outOfRange, plainLsn } from "./errors.js";
import type { Position, Topology } from "./types.js";

/** As one LSN for each chain, by its number; holes where nothing is said. `method` is what was called with it. */
export function vectorOf(where: number | Position | number[], topology: Topology, method = "durable"): number[] {
  if (Array.isArray(where)) return where;
  if (typeof where === "object" && where !== null) {
    const vector: number[] = [];
    vector[topology === "striped" ? 0 : where.core] = where.lsn;
    return vector;
  }
  if (topology === "per-core") throw plainLsn(`${method}(lsn)`, `${method}({ core, lsn }) or ${method}(positions)`);
  return [where];
}

/** The same, each of them a whole number of at least `min`. */
export function lsnVector(where: number | Position | number[], topology: Topology, method: string, min: number): number[] {
  const vector = vectorOf(where, topology, method);
  vector.forEach((lsn: unknown) => {
    if (typeof lsn !== "number") throw mistake("COREWAL_INVALID_INPUT", `${method} takes LSNs, which are numbers, not ${typeof lsn}`);
    if (!Number.isInteger(lsn) || lsn < min)
      throw outOfRange("COREWAL_INVALID_INPUT", `${method} is given LSN ${lsn}: it must be a whole number from ${min} on`);
  });
  return vector;
}
