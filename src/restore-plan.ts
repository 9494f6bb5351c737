// What a restore will contain, before a byte of it is written: where each chain ends, and with which checkpoint the log
// begins if its beginning is gone. Sealed segments that stay whole are not read for that.

import { ENTRY_HEADER_BYTES, KIND_VOID, TIME_BYTES } from "../assembly/layout.js";
import { checkCheckpoint, checkpointPath, type CheckpointFacts } from "./checkpoint-file.js";
import { eachEntry } from "./entry.js";
import { codeOf, CorewalError, fromSystem } from "./errors.js";
import { keptFrames, lastLsnUntil, msOf, placeOf, type Limit, type Source, type SourceChain } from "./restore-source.js";
import { frameFacts } from "./scan.js";

/**
 * A place in a log that can be restored to.
 *
 * @example
 * const { window } = await restoreLog("./data", { out: "./restored", dryRun: true });
 * const { positions, epoch, timeMs }: RestorePlace = window.last;
 * console.log(positions, epoch, timeMs);
 */
export interface RestorePlace {
  /** Last LSN of each core: element i is core i's. In a striped log one element. */
  positions: number[];
  /** What `toEpoch` may be. */
  epoch: number;
  /** What `toTimeMs` may be; undefined while the log has no entries. */
  timeMs: number | undefined;
}

/** Where to; nothing: everything. */
export type Target = { lsns: number[] } | { epoch: number } | { timeMs: number } | undefined;

export interface ChainPlan {
  from: SourceChain;
  limit: Limit;
  lastLsn: number;
  entries: number;
  /** Keys and values. */
  bytes: number;
  /** Highest of the frames; -1 if none is kept. */
  epoch: number;
  timeNs: bigint;
  /** Of segments, that are read for it. */
  readBytes: number;
}

export interface Plan {
  source: Source;
  chains: ChainPlan[];
  checkpoint: CheckpointFacts | undefined;
  /** Of the log that is made. */
  epoch: number;
  window: { first: RestorePlace; last: RestorePlace };
}

/** Throws COREWAL_OUT_OF_WINDOW, COREWAL_CORRUPT. `passedOver` is told why a checkpoint is not used. */
export function planRestore(source: Source, target: Target, passedOver: (text: string) => void): Plan {
  const window = windowOf(source);
  const refuse = (why: string): CorewalError => outOfWindow(source, window, why);
  requireBefore(source, target, window.last, refuse);
  const chains = source.chains.map((from) => planChain(source, from, limitOf(source, from, target)));
  const { timeMs } = window.first ?? {};
  if (target !== undefined && "timeMs" in target && timeMs !== undefined && target.timeMs < timeMs)
    throw refuse(`${timeOf(target.timeMs)} is before what can be restored`);
  for (const { from, limit } of chains)
    if (limit.lsn < from.firstLsn - 1)
      throw refuse(`LSN ${limit.lsn}${ofCore(source, from)} is gone: the segments begin with LSN ${from.firstLsn}`);

  // Where nothing of a chain is left, nobody knows whether what was dropped reaches beyond the target.
  const vague =
    chains.some(({ from, lastLsn }) => from.firstLsn > 1 && lastLsn < from.firstLsn) && target !== undefined && !("lsns" in target);
  const needed = vague || missing(source).length > 0;
  const fit = source.checkpoints.filter(({ facts }) => facts !== undefined && fits(facts, chains, vague ? target : undefined));
  if (needed && fit.length === 0) {
    const damage = source.checkpoints.find(({ error }) => error !== undefined)?.error;
    if (window.first === undefined && damage !== undefined) throw fromSystem(damage, "reading the checkpoint", source.directory);
    throw refuse("what stood before the first entry is in no checkpoint that ends before there");
  }
  const checkpoint = newestWhole(
    source,
    fit.map(({ facts }) => facts!),
    needed,
    passedOver,
  );
  const epoch = Math.max(
    0,
    ...chains.map((chain) => chain.epoch),
    ...(chains.every((chain) => chain.epoch < 0) && checkpoint ? [checkpoint.epoch] : []),
  );
  return { source, chains, checkpoint, epoch, window: { first: window.first ?? window.last, last: window.last } };
}

// --- each chain -------------------------------------------------------------------------------------

function limitOf(source: Source, from: SourceChain, target: Target): Limit {
  if (target === undefined) return { lsn: Infinity, epoch: Infinity };
  if ("lsns" in target) return { lsn: target.lsns[from.chain] ?? 0, epoch: Infinity };
  if ("epoch" in target) return { lsn: Infinity, epoch: target.epoch };
  return { lsn: lastLsnUntil(source, from, target.timeMs), epoch: Infinity };
}

function planChain(source: Source, from: SourceChain, limit: Limit): ChainPlan {
  const plan: ChainPlan = { from, limit, lastLsn: from.firstLsn - 1, entries: 0, bytes: 0, epoch: -1, timeNs: 0n, readBytes: 0 };
  const timeBytes = source.topology === "per-core" ? TIME_BYTES : 0;
  const add = (lastLsn: number, entries: number, payloadBytes: number, epoch: number, timeNs: bigint): void => {
    plan.lastLsn = lastLsn;
    plan.entries += entries;
    plan.bytes += payloadBytes - entries * timeBytes;
    plan.epoch = Math.max(plan.epoch, epoch);
    if (timeNs > plan.timeNs) plan.timeNs = timeNs;
  };
  for (const [i, { header, summary: s, endOffset }] of from.segments.entries()) {
    if (header.parentLastLsn >= limit.lsn) break;
    plan.readBytes += endOffset;
    if (s.lastLsn < limit.lsn && s.maxEpoch <= limit.epoch) {
      if (s.frames > 0) add(s.lastLsn, s.entries, s.payloadBytes, s.maxEpoch, s.maxTimeNs);
      continue;
    }
    for (const { core, at, header: h } of keptFrames(source, from, limit, i, i)) {
      const { userEntries, payloadBytes } = frameFacts(core, at, h, 0);
      add(h.firstLsn + h.lsns - 1, userEntries, payloadBytes, h.epoch, h.timeNs);
    }
    break;
  }
  return plan;
}

// --- the checkpoint ---------------------------------------------------------------------------------

/** Chains whose beginning is held by a checkpoint only. */
const missing = ({ chains }: Source): SourceChain[] => chains.filter(({ firstLsn, dropped }) => firstLsn > 1 && !dropped);

/** It holds nothing behind the target, and everything that is gone. */
function fits(facts: CheckpointFacts, chains: ChainPlan[], vague: Target): boolean {
  if (vague !== undefined && "epoch" in vague && facts.epoch > vague.epoch + 1) return false;
  if (vague !== undefined && "timeMs" in vague && msOf(facts.createdNs) > vague.timeMs) return false;
  return chains.every(
    ({ from: { chain, firstLsn }, lastLsn }) => (facts.end[chain] ?? 0) <= lastLsn && (facts.begin[chain] ?? 0) >= firstLsn - 1,
  );
}

/** The newest one whose state is whole. One that is not needed is only passed over. */
function newestWhole(
  { directory, storage }: Source,
  fit: CheckpointFacts[],
  needed: boolean,
  passedOver: (text: string) => void,
): CheckpointFacts | undefined {
  let first: unknown;
  for (const { number } of fit) {
    try {
      return checkCheckpoint(storage, directory, number, true);
    } catch (error) {
      if (codeOf(error) === "COREWAL_UNKNOWN_VERSION") throw error;
      first ??= error;
      passedOver(
        `checkpoint ${number} is not used: ${fromSystem(error, "reading the checkpoint", checkpointPath(directory, number)).message}`,
      );
    }
  }
  if (needed) throw first;
  return undefined;
}

// --- the window -------------------------------------------------------------------------------------

interface Window {
  /** Undefined: nothing can be restored. */
  first: RestorePlace | undefined;
  last: RestorePlace;
}

function windowOf(source: Source): Window {
  const { chains, complete } = source;
  const times = chains.flatMap(({ segments }) =>
    segments.filter(({ summary }) => summary.frames > 0).map(({ summary }) => summary.maxTimeNs),
  );
  const last = { positions: vector(chains, ({ lastLsn }) => lastLsn), epoch: complete - 1, timeMs: newest(times) };
  return { first: firstOf(source), last };
}

function firstOf(source: Source): RestorePlace | undefined {
  const { chains } = source;
  if (missing(source).length > 0) {
    const whole = chains.map((from) => planChainEnd(from));
    const oldest = source.checkpoints.findLast(({ facts }) => facts !== undefined && fits(facts, whole, undefined))?.facts;
    if (oldest === undefined) return undefined;
    const places = chains.map((from) => placeOf(source, from, oldest.end[from.chain] ?? 0));
    // What is gone was appended before the checkpoint was made.
    return {
      positions: vector(chains, ({ chain }) => oldest.end[chain] ?? 0),
      epoch: Math.max(...places.map((place) => place?.epoch ?? oldest.epoch - 1)),
      timeMs: newest(places.map((place, i) => place?.timeNs ?? (chains[i]!.firstLsn > 1 ? oldest.createdNs : 0n))),
    };
  }
  const entries = chains.map((from) => ({ from, place: firstEntry(source, from) }));
  // Where a beginning was dropped, and no checkpoint tells of it, something must be left.
  const begun = entries.filter(({ from }) => from.firstLsn > 1).flatMap(({ place }) => place ?? []);
  const all = entries.flatMap(({ place }) => place ?? []);
  const earliest = all.reduce<bigint | undefined>((min, { timeNs }) => (min === undefined || timeNs < min ? timeNs : min), undefined);
  return {
    positions: vector(chains, ({ firstLsn }) => firstLsn - 1),
    epoch: Math.max(0, ...begun.map(({ epoch }) => epoch)),
    timeMs: begun.length > 0 ? newest(begun.map(({ timeNs }) => timeNs)) : earliest === undefined ? undefined : msOf(earliest),
  };
}

/** As if all of it were kept. */
const planChainEnd = (from: SourceChain): ChainPlan => ({
  from,
  limit: { lsn: Infinity, epoch: Infinity },
  lastLsn: from.lastLsn,
  entries: 0,
  bytes: 0,
  epoch: 0,
  timeNs: 0n,
  readBytes: 0,
});

function firstEntry(source: Source, from: SourceChain): { epoch: number; timeNs: bigint } | undefined {
  for (const { core, at, header } of keptFrames(source, from, { lsn: Infinity, epoch: Infinity })) {
    if (header.lsns === 0) continue;
    let { timeNs } = header;
    if (source.topology === "per-core")
      eachEntry(core, at, header, (p, _lsn, _lsns, kind) => {
        if (kind < KIND_VOID) timeNs = core.view.getBigInt64(p + ENTRY_HEADER_BYTES, true);
        return kind >= KIND_VOID;
      });
    return { epoch: header.epoch, timeNs };
  }
  return undefined;
}

const newest = (times: bigint[]): number | undefined => {
  const known = times.filter((timeNs) => timeNs > 0n);
  return known.length === 0 ? undefined : msOf(known.reduce((a, b) => (a > b ? a : b)));
};

/** By the chains' numbers. */
export function vector(chains: SourceChain[], lsnOf: (chain: SourceChain) => number): number[] {
  const positions: number[] = [];
  for (const chain of chains) positions[chain.chain] = lsnOf(chain);
  return Array.from(positions, (lsn: number | undefined) => lsn ?? 0);
}

/** Is the target where the log has not come yet? */
function requireBefore(source: Source, target: Target, last: RestorePlace, refuse: (why: string) => CorewalError): void {
  if (target === undefined) return;
  if ("lsns" in target) {
    target.lsns.forEach((lsn, core) => {
      const end = last.positions[core] ?? 0;
      if (lsn > end)
        throw refuse(`LSN ${lsn}${source.topology === "per-core" ? ` of core ${core}` : ""} is beyond LSN ${end}, the last one`);
    });
  } else if ("epoch" in target) {
    if (target.epoch > last.epoch) throw refuse(`epoch ${target.epoch} is not complete`);
  } else if (last.timeMs === undefined || target.timeMs > Math.ceil(last.timeMs)) {
    // Times are shown in whole milliseconds.
    throw refuse(`nobody knows what would have been appended until ${timeOf(target.timeMs)}; without a target everything is restored`);
  }
}

function outOfWindow({ directory, topology }: Source, { first, last }: Window, why: string): CorewalError {
  const place = ({ positions, epoch, timeMs }: RestorePlace): string =>
    `LSN ${topology === "striped" ? positions[0] : `[${positions.join(", ")}]`}${epoch < 0 ? "" : `, epoch ${epoch}`}${timeMs === undefined ? "" : `, ${timeOf(timeMs)}`}`;
  const range =
    first === undefined
      ? "nothing can be restored"
      : `what can be restored goes from (${place(first)}) to (${place(last)}); an archive of dropped segments may reach further back`;
  return new CorewalError("COREWAL_OUT_OF_WINDOW", `${why}: ${range}`, { file: directory });
}

function timeOf(ms: number): string {
  const date = new Date(Math.ceil(ms));
  return Number.isNaN(date.getTime()) ? String(ms) : date.toISOString();
}

const ofCore = ({ topology }: Source, { chain }: SourceChain): string => (topology === "per-core" ? ` of core ${chain}` : "");
