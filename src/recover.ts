// The way back of a log: all of its chains (recover-chain.ts), what they say of each other, and which epochs are complete.
//
// In two passes: first every chain is found, and nothing is written. Only a log that is whole is then touched: chains
// that another one names are there, all are of one log, and whoever opens it has decided how it goes on.

import { segmentPath, type ChainIdentity } from "./chain.js";
import { CorewalError } from "./errors.js";
import { mergeMarks, NO_MARKS, type Marks } from "./marks.js";
import { chainNumbers, emptyChain, findChain, finishChain, type Recovered, type RecoverMode } from "./recover-chain.js";
import { corrupt } from "./segment.js";
import type { Storage } from "./storage.js";
import type { CoreRecovery, RecoveryReport, Topology } from "./types.js";

/** All chains of a log. What was found, before this open goes on; only `segments` hold what recovery made, too. */
export interface RecoveredLog {
  /** Undefined if there is no log, as is the next one. */
  topology: Topology | undefined;
  logId: Uint8Array | undefined;
  /** Log id of the log that this one was restored from. */
  origin: Uint8Array | undefined;
  /** Those that have segments, ascending. */
  chains: Recovered[];
  /** Highest found, 0 if none, as are the next two. */
  term: number;
  epoch: number;
  timeNs: bigint;
  /** All that were found, merged. */
  marks: Marks;
  /** Epochs below this one are complete; see FORMAT.md, "Epochs". */
  complete: number;
  /** Every chain was closed properly. */
  clean: boolean;
}

/** How the log goes on, once for all chains. */
export interface Decision {
  identity: (chain: number) => ChainIdentity;
  salt: () => bigint;
  nowNs: bigint;
}

/** Recovers a log. `decide` is called in mode `write` only, once, also if there is no log yet; if it throws, nothing was changed. */
export function recoverLog(
  storage: Storage,
  directory: string,
  mode: RecoverMode,
  decide: (found: RecoveredLog) => Decision,
): RecoveredLog {
  const chains = chainNumbers(storage, directory).map((chain) => findChain(storage, directory, chain, mode));
  const log = together(chains.map(({ found }) => found));
  requireOneLog(log, directory);
  // A process that was killed between rename and fsync of the directory leaves a name that only the cache
  // holds. Before anything relies on it, above all the parent's `continued` mark, or is shown, it is made durable.
  if (mode !== "live" && chains.some(({ found, unfinished }) => !found.clean || unfinished.length > 0)) storage.syncDirectory(directory);
  if (mode !== "write") return log;
  const { identity, salt, nowNs } = decide(log);
  for (const chain of chains) finishChain(storage, directory, chain, identity(chain.found.chain), salt, nowNs);
  return log;
}

/**
 * The identities of this open's segments: the log goes on a term higher, and, if it is per-core, in an epoch of its own,
 * since one that ended with a crash lacks what was lost with it, in some chains, and is never complete. A striped log stays
 * in its epoch: what was lost stood behind everything else.
 */
export function identitiesAfter(
  found: RecoveredLog,
  log: Pick<ChainIdentity, "directory" | "logId" | "topology" | "frameAlign" | "segmentBytes" | "spares">,
): Decision["identity"] {
  const term = found.term + 1;
  const perCore = log.topology === "per-core";
  const epoch = perCore && found.chains.length > 0 ? found.epoch + 1 : found.epoch;
  if (!Number.isSafeInteger(term) || !Number.isSafeInteger(epoch))
    throw new CorewalError(
      "COREWAL_LSN_EXHAUSTED",
      "the log has had every term or epoch that a number holds exactly (2^53): begin a new log",
    );
  const chains = found.chains.map(({ chain }) => chain);
  const marks = perCore ? { epoch, complete: found.complete, chains } : found.marks;
  return (chain) => {
    const { floor, needsCheckpoint, origin } = chainOf(found, chain);
    return { ...log, chain, term, epoch, marks, floor, needsCheckpoint, origin: origin ?? found.origin };
  };
}

/** A log stays what it was made as: whoever asks for another topology is refused. */
export function requireTopology(found: RecoveredLog, asked: Topology | undefined, directory: string): void {
  if (found.topology === undefined || asked === undefined || asked === found.topology) return;
  throw new CorewalError(
    "COREWAL_TOPOLOGY",
    `the log in ${directory} is ${found.topology}, which was decided when it was made: open it without the option topology, or with "${found.topology}"`,
  );
}

/** What was found of a chain: nothing, if it has no segments. */
export function chainOf(log: RecoveredLog, chain: number): Recovered {
  return log.chains.find((found) => found.chain === chain) ?? emptyChain(chain);
}

function together(chains: Recovered[]): RecoveredLog {
  const header = chains[0]?.segments.at(-1)!.header;
  const log: RecoveredLog = {
    topology: header?.topology,
    logId: header?.logId,
    origin: header?.origin,
    chains,
    term: 0,
    epoch: 0,
    timeNs: 0n,
    marks: NO_MARKS,
    complete: 0,
    clean: true,
  };
  for (const chain of chains) {
    log.term = Math.max(log.term, chain.term);
    log.epoch = Math.max(log.epoch, chain.epoch);
    if (chain.timeNs > log.timeNs) log.timeNs = chain.timeNs;
    log.marks = mergeMarks(log.marks, chain.marks);
    log.clean &&= chain.clean;
  }
  if (header !== undefined) log.complete = completeOf(log);
  return log;
}

/** Chains of one log agree, and none is missing. */
function requireOneLog({ topology, logId, chains, marks }: RecoveredLog, directory: string): void {
  for (const { chain, segments } of chains) {
    const { header } = segments.at(-1)!;
    const path = segmentPath(directory, header);
    if (header.topology !== topology)
      throw corrupt(`the log is ${topology}, but chain ${chain} is of one that is ${header.topology}`, path, 56);
    if (topology === "striped" && chain !== 0)
      throw corrupt(`chain ${chain} is in a log that is striped, which has chain 0 only`, path, 60);
    if (!Buffer.from(header.logId).equals(logId!))
      throw corrupt(`chain ${chain} is of another log than chain ${chains[0]!.chain}`, path, 32);
  }
  // The first chain is made before any other one, which it then names.
  const named = topology === "per-core" && chains.length > 0 ? [0, ...marks.chains] : marks.chains;
  const missing = named.find((chain) => !chains.some((found) => found.chain === chain));
  if (missing === undefined) return;
  const witness = chains.find((found) => missing === 0 || found.marks.chains.includes(missing))!;
  throw corrupt(
    `chain ${missing} has no segment, but chain ${witness.chain} says that it had one`,
    segmentPath(directory, { chain: missing, number: 1 }),
    0,
  );
}

/**
 * Epochs below which number are complete. Whoever advances the epoch has that recorded in the marks of the first chain, once
 * the barrier was passed by all. If the last open ended properly, the epoch in which it did is complete, also where chains
 * that it did not write have still the end that a crash gave them. A repair closes what it made, and proves nothing.
 */
function completeOf({ topology, chains, epoch, marks }: RecoveredLog): number {
  const term = Math.max(...chains.flatMap(({ segments }) => segments.map(({ header }) => header.term)));
  const closed = chains.every(({ segments, clean }) => {
    const { header } = segments.at(-1)!;
    return header.term < term || (clean && !header.cutsParent);
  });
  if (closed) return epoch + 1;
  // What stands before the first entry of an epoch in the only chain was durable before it.
  return topology === "striped" ? epoch : marks.complete;
}

// --- what the user is told ------------------------------------------------------------------------

/** `now` is what this open goes on with. */
export function reportOf(
  found: RecoveredLog,
  now: { term: number; epoch: number; topology: Topology | undefined },
  durationMs: number,
  repaired?: RecoveryReport["repaired"],
): RecoveryReport {
  const topology = now.topology ?? "striped";
  const cores = (topology === "striped" ? [chainOf(found, 0)] : found.chains).map(coreReport);
  const first = coreReport(chainOf(found, 0));
  return {
    topology,
    clean: found.clean,
    created: found.chains.length === 0,
    segments: cores.reduce((sum, core) => sum + core.segments, 0),
    firstLsn: first.firstLsn,
    lastLsn: first.lastLsn,
    term: now.term,
    epoch: now.epoch,
    completeEpoch: found.complete - 1,
    scannedBytes: cores.reduce((sum, core) => sum + core.scannedBytes, 0),
    copied: cores.find((core) => core.copied !== undefined)?.copied,
    torn: cores.find((core) => core.torn !== undefined)?.torn,
    cores,
    repaired,
    restoredFrom: found.origin === undefined ? undefined : Buffer.from(found.origin).toString("hex"),
    durationMs,
  };
}

function coreReport({ chain, segments, lastLsn, scannedBytes, clean, copied, torn }: Recovered): CoreRecovery {
  const firstLsn = (segments[0]?.header.parentLastLsn ?? 0) + 1;
  return { core: chain, segments: segments.length, firstLsn, lastLsn, scannedBytes, clean, copied, torn };
}
