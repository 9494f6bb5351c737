// `repairLog`: its options and the lock; the work is in rebuild.ts.

import { directoryPath } from "./directory.js";
import { fromSystem } from "./errors.js";
import { realEnvironment, type Environment } from "./log.js";
import { checkNames, required } from "./options.js";
import { requireLog } from "./read-only.js";
import { rebuild, type RepairPolicy, type RepairReport } from "./rebuild.js";
import { requireDurableNames, requireRuntime } from "./runtime.js";

export type { RepairPolicy, RepairReport };

/**
 * Options of {@link repairLog}.
 *
 * @example
 * const options: RepairOptions = { policy: "skip", dryRun: true };
 * console.log(await repairLog("./data", options));
 */
export interface RepairOptions {
  /** What becomes of the log from the first fault on. There is no default: it is the caller's data. */
  policy: RepairPolicy;
  /** Only says what would be lost; changes nothing, but takes the lock. Default false. */
  dryRun?: boolean;
  /**
   * Called before each segment is read.
   *
   * @param done segments that were read before
   * @param total segments that there are
   */
  onProgress?: (done: number, total: number) => void;
}

/**
 * Makes a damaged log one that opens again, and says what that costs. Nothing is deleted: what is no longer part of the
 * log stays in the directory under other names (`removed`). LSNs of lost entries are never given again: `lost` control
 * entries keep them. A log without faults stays as it is.
 *
 * With `skip`, what is written anew needs as much space as everything behind the first fault. An interrupted repair has
 * changed nothing, or is complete: of a per-core log that holds for each chain, and the same repair again mends the rest.
 *
 * Each damaged chain of a per-core log is repaired by itself; chains without a fault stay as they are, also with `truncate`.
 * Of a chain that is missing as a whole, which others name, an empty one takes the place; `lost` says from LSN 1 on.
 *
 * @param directory a path or a file: URL
 * @param options the policy, see {@link RepairPolicy}
 * @returns what was found and done
 * @throws As a rejection. CorewalError COREWAL_LOCKED if the log is open for writing, COREWAL_NOT_A_LOG,
 *   COREWAL_UNKNOWN_VERSION if a newer corewal wrote some of it, COREWAL_DISK_FULL, COREWAL_NO_PERMISSION,
 *   COREWAL_LSN_EXHAUSTED, COREWAL_IO;
 *   TypeError COREWAL_INVALID_OPTION
 * @example
 * const { damaged, lost } = await repairLog("./data", { policy: "skip", dryRun: true });
 * if (damaged) console.error("would lose", lost);
 */
export function repairLog(directory: string | URL, options: RepairOptions): Promise<RepairReport> {
  return repairLogOn(directory, options, realEnvironment);
}

const NAMES = new Set<string>(["policy", "dryRun", "onProgress"] satisfies (keyof RepairOptions)[]);

/** @internal */
export async function repairLogOn(
  directory: string | URL,
  options: RepairOptions,
  environment: Pick<Environment, "storage" | "lock" | "now" | "randomBytes">,
): Promise<RepairReport> {
  checkNames(options, NAMES);
  const policy = required<RepairPolicy>("policy", options.policy, ["truncate", "skip"]);
  const dryRun = options.dryRun === undefined ? false : required<boolean>("dryRun", options.dryRun, [true, false]);
  const path = directoryPath(directory);
  requireRuntime();
  requireDurableNames();
  requireLog(environment.storage, path);
  const lock = environment.lock(path);
  try {
    return rebuild(environment.storage, path, policy, dryRun, environment, options.onProgress);
  } catch (error) {
    throw fromSystem(error, "repairing the log", path);
  } finally {
    lock.release();
  }
}
