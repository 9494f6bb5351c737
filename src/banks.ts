// How a log's memory is laid out: one bank with all stripes, or one for each core (assembly/bank.ts). And what goes to all
// banks at once.

import {
  CRC_TABLES,
  CRC_TABLES_BYTES,
  CTL_CORE,
  CTL_DOORBELL,
  CTL_DURABLE_LSN,
  CTL_ENTRY_SEED,
  CTL_EPOCH_DONE,
  CTL_EPOCH_LSN,
  CTL_NEXT_LSN,
  CTL_RINGS,
  CTL_RING_BYTES,
  CTL_SLEEP,
  CTL_STATE,
  CTL_STRIPES,
  CTL_STRIPE_HIGH,
  CTL_TIME_BYTES,
  LOG_ACKED_NS,
  LOG_ANCHOR_NS,
  LOG_BANKS,
  LOG_BANK_BYTES,
  LOG_CHAINS,
  LOG_CHAINS_ADDED,
  LOG_COMPLETE,
  LOG_CORES,
  LOG_EPOCH,
  LOG_OPEN,
  LOG_PUMPS,
  LOG_RECORDED,
  MERGE_EPOCH,
  MERGE_NEXT_LSN,
  SLEEP_AWAKE,
  STRIPE_BLOCKS,
  STRIPE_BYTES,
  STRIPE_HEAD,
  STRIPE_OWNER,
  STRIPE_STATE,
  TIME_BYTES,
} from "../assembly/layout.js";
import { PAGE, type Core } from "./core.js";

export interface Geometry {
  /** Stripes of a bank. */
  stripes: number;
  /** Addresses in each bank: of the first ring, and of the frame buffer. */
  rings: number;
  frame: number;
  bankBytes: number;
  banks: number;
  totalBytes: number;
}

/** `frameBytes` for each bank's frame buffer. */
export function logGeometry(stripes: number, ringBytes: number, frameBytes: number, banks = 1): Geometry {
  const rings = alignPage(STRIPE_BLOCKS + stripes * STRIPE_BYTES);
  const frame = rings + stripes * ringBytes;
  const bankBytes = alignPage(frame + frameBytes);
  return { stripes, rings, frame, bankBytes, banks, totalBytes: (banks - 1) * bankBytes + frame + frameBytes };
}

const alignPage = (bytes: number): number => Math.ceil(bytes / PAGE) * PAGE;

/** Makes a memory that was used before look new; cheaper than a new one, which only the simulator needs. */
export function clearControl({ log }: Core, { banks, bankBytes, stripes }: Geometry): void {
  const end = STRIPE_BLOCKS + STRIPE_BYTES * stripes;
  log.bytes.fill(0, 0, CRC_TABLES);
  for (let bank = 0; bank < banks; bank++)
    log.bytes.fill(0, bank * bankBytes + (bank === 0 ? CRC_TABLES + CRC_TABLES_BYTES : 0), bank * bankBytes + end);
}

export interface LogStart {
  ringBytes: number;
  /** CRC32C register after log id and term. */
  entrySeed: number;
  /** The next LSN of each bank's chain. */
  nextLsn: (bank: number) => number;
  /** Each entry has a time of its own. Default: no. */
  timed?: boolean;
  /** Above every time in the log. Default 0. */
  anchorNs?: bigint;
  /** How many threads pump. Default 1. */
  pumps?: number;
  /** Default 0. */
  epoch?: number;
  /** Epochs below it are complete. Default 0. */
  complete?: number;
  /** Chains that exist. Default: none. */
  chains?: number[];
}

/** Writes geometry, identity and where to go on into a memory that is new. */
export function initLog({ log }: Core, geometry: Geometry, start: LogStart): void {
  const { stripes, rings, bankBytes, banks } = geometry;
  const { ringBytes, entrySeed, nextLsn, timed = false, anchorNs = 0n, pumps = 1, epoch = 0, complete = 0, chains = [] } = start;
  const { i32, i64, bytes } = log;
  for (let bank = 0; bank < banks; bank++) {
    const at = bank * bankBytes;
    const next = BigInt(nextLsn(bank));
    i32[(at + CTL_STRIPES) >> 2] = stripes;
    i32[(at + CTL_RINGS) >> 2] = rings;
    i32[(at + CTL_RING_BYTES) >> 2] = ringBytes;
    i32[(at + CTL_ENTRY_SEED) >> 2] = entrySeed;
    i32[(at + CTL_DOORBELL) >> 2] = (bank % pumps) * bankBytes + CTL_SLEEP;
    i32[(at + CTL_CORE) >> 2] = bank;
    i32[(at + CTL_TIME_BYTES) >> 2] = timed ? TIME_BYTES : 0;
    i64[(at + CTL_NEXT_LSN) >> 3] = next;
    i64[(at + CTL_DURABLE_LSN) >> 3] = next - 1n;
    i64[(at + MERGE_NEXT_LSN) >> 3] = next;
    i64[(at + MERGE_EPOCH) >> 3] = i64[(at + CTL_EPOCH_DONE) >> 3] = BigInt(epoch);
    i64[(at + CTL_EPOCH_LSN) >> 3] = next - 1n;
  }
  i64[LOG_EPOCH >> 3] = i64[LOG_RECORDED >> 3] = BigInt(epoch);
  i64[LOG_COMPLETE >> 3] = BigInt(complete);
  i64[LOG_ACKED_NS >> 3] = i64[LOG_ANCHOR_NS >> 3] = anchorNs;
  i32[LOG_BANKS >> 2] = banks;
  i32[LOG_BANK_BYTES >> 2] = bankBytes;
  i32[LOG_PUMPS >> 2] = pumps;
  for (const chain of chains) bytes[LOG_CHAINS + (chain >> 3)]! |= 1 << (chain & 7);
  Atomics.store(i32, CTL_STATE >> 2, LOG_OPEN);
}

// --- all banks ------------------------------------------------------------------------------------

export const banksOf = ({ log }: Core): number => log.i32[LOG_BANKS >> 2]!;

/** Address of a bank. */
export const bankAddress = ({ log }: Core, bank: number): number => bank * log.i32[LOG_BANK_BYTES >> 2]!;

/** Banks that a thread has ever owned a stripe of are below this one. */
export const banksClaimed = ({ log }: Core): number => Atomics.load(log.i32, LOG_CORES >> 2);

/** This is one of them. Whoever is the first to take a stripe of a bank readies the bank before he says so. */
export function isClaimed(core: Core, bank: number): boolean {
  return bank < banksClaimed(core) && Atomics.load(core.log.i32, (bankAddress(core, bank) + CTL_STRIPE_HIGH) >> 2) > 0;
}

export const isTimed = (core: Core): boolean => core.i32[CTL_TIME_BYTES >> 2] !== 0;

/** A word of a bank that is an LSN or an epoch. */
export function wordAt(core: Core, bank: number, word: number): number {
  return Number(Atomics.load(core.log.i64, (bankAddress(core, bank) + word) >> 3));
}

/** Last LSN that was given out in each chain: index is the core. */
export function positionsOf(core: Core): number[] {
  return Array.from({ length: banksOf(core) }, (_, bank) => wordAt(core, bank, CTL_NEXT_LSN) - 1);
}

/** Everything in a chain up to here is durable. */
export const durableOf = (core: Core, bank: number): number => wordAt(core, bank, CTL_DURABLE_LSN);

/** A word of stripe `stripe` of a bank, as an index into `core.log.i32`. */
export function stripeWord(core: Core, bank: number, stripe: number, word: number): number {
  return (bankAddress(core, bank) + STRIPE_BLOCKS + stripe * STRIPE_BYTES + word) >> 2;
}

/** Bank and stripe of each stripe that has an owner, or of those of one owner: also of one that ended while it claimed. */
export function* ownedStripes(core: Core, owner?: number): Generator<{ bank: number; stripe: number }> {
  const stripes = core.log.i32[CTL_STRIPES >> 2]!;
  for (let bank = 0; bank < banksOf(core); bank++) {
    for (let stripe = 0; stripe < stripes; stripe++) {
      const found = Atomics.load(core.log.i32, stripeWord(core, bank, stripe, STRIPE_OWNER));
      if (owner === undefined ? found !== 0 : found === owner) yield { bank, stripe };
    }
  }
}

/** Wakes each thread that pumps. */
export function ringDoorbells(core: Core): void {
  const { i32 } = core.log;
  for (let pump = 0; pump < i32[LOG_PUMPS >> 2]!; pump++) {
    const bell = (bankAddress(core, pump) + CTL_SLEEP) >> 2;
    if (Atomics.exchange(i32, bell, SLEEP_AWAKE) !== SLEEP_AWAKE) Atomics.notify(i32, bell, 1);
  }
}

/**
 * The same whatever the doorbells say: a thread that was ended inside doorbell_ring may have changed one without
 * notifying, and every other one would take the flusher for awake. For whoever sees a thread's end.
 */
export function ringDoorbellsAlways(core: Core): void {
  for (let pump = 0; pump < core.log.i32[LOG_PUMPS >> 2]!; pump++) core.at(bankAddress(core, pump)).x.doorbell_ring_always();
}

/** Wakes writers that wait for space in their rings. */
export function wakeBlocked(core: Core): void {
  const { i32 } = core.log;
  for (let bank = 0; bank < banksClaimed(core); bank++) {
    const high = Atomics.load(i32, (bankAddress(core, bank) + CTL_STRIPE_HIGH) >> 2);
    for (let stripe = 0; stripe < high; stripe++) Atomics.notify(i32, stripeWord(core, bank, stripe, STRIPE_HEAD));
  }
}

/** Bytes in rings, published and not yet taken out. */
export function ringBytesUsed(core: Core): number {
  const { i32 } = core.log;
  let used = 0;
  for (let bank = 0; bank < banksClaimed(core); bank++) {
    const high = Atomics.load(i32, (bankAddress(core, bank) + CTL_STRIPE_HIGH) >> 2);
    for (let stripe = 0; stripe < high; stripe++) {
      const head = Atomics.load(i32, stripeWord(core, bank, stripe, STRIPE_HEAD));
      // The tail is the low half of the state word.
      used += (Atomics.load(i32, stripeWord(core, bank, stripe, STRIPE_STATE)) - head) >>> 0;
    }
  }
  return used;
}

/** Chains that have a segment, as far as their flushers have said, ascending. */
export function chainsOf({ log }: Core): number[] {
  const chains: number[] = [];
  for (let word = 0; word < 8; word++) {
    const bits = Atomics.load(log.i32, (LOG_CHAINS >> 2) + word);
    for (let bit = 0; bit < 32; bit++) if (bits & (1 << bit)) chains.push(word * 32 + bit);
  }
  return chains;
}

export function hasChain({ log }: Core, chain: number): boolean {
  return (Atomics.load(log.i32, (LOG_CHAINS >> 2) + (chain >> 5)) & (1 << (chain & 31))) !== 0;
}

/** How often that has changed since the log was opened. */
export const chainsAdded = ({ log }: Core): number => Atomics.load(log.i32, LOG_CHAINS_ADDED >> 2);

/** A chain has got its first segment. */
export function addChain({ log }: Core, chain: number): void {
  Atomics.or(log.i32, (LOG_CHAINS >> 2) + (chain >> 5), 1 << (chain & 31));
  Atomics.add(log.i32, LOG_CHAINS_ADDED >> 2, 1);
}
