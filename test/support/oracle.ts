// What a log may show, by the public contract alone: the oracle of the simulator. It knows every operation
// that was asked for, which of them were acknowledged, and what earlier recoveries returned, and judges
// every reading by that. It knows nothing of files, frames or rings.

import { decodeCommit } from "../../src/entry.js";
import type { Entry, Kind } from "../../src/types.js";

/** The log broke its contract. Everything else that is thrown in a simulation is a bug of the simulator or an expected error. */
export class Violation extends Error {
  override readonly name = "Violation";
}

export interface Item {
  /** Unique over the whole run; stands in the first four bytes of the key or, if there is none, of the value. */
  id: number;
  kind: Kind;
  key: Uint8Array | undefined;
  value: Uint8Array;
  /** What was acknowledged before it was appended: a LSN for each core. */
  acked?: number[];
}

/** One call that appends: an entry, or a batch. */
export interface Operation {
  items: Item[];
  /** Who asked: operations of one writer get ascending LSNs. */
  writer: number;
  /** LSN of its first item; 0 while unknown. */
  first: number;
  term: number;
  /** The caller was told that it was not written. */
  refused: boolean;
  /** It is in one of these epochs: it was called in the first one, and known to be in the log in the last one. */
  epochs: { from: number; to: number };
}

export interface Settled {
  item: Item | undefined;
  term: number;
  epoch: number;
  timestampMs: number;
  /** It was dropped before it was ever recovered: nothing but its item is known, if that. */
  dropped?: true;
}

const ID_BYTES = 4;

export class Oracle {
  /** Every later reading must hold at least this much. */
  proven = 0;
  /** The term of the last log that was opened for writing. */
  term = 0;
  /** The beginning was dropped before this LSN, durably: no later reading may begin earlier … */
  firstLsn = 1;
  /** … or behind this one: nobody ever wanted more to be dropped. */
  mayBegin = 1;
  /** Somebody wanted everything behind this LSN to be gone: the next log may end there, or where it did. */
  private mayEnd: number | undefined;
  /** The log was cut there, and not read back since. */
  private cutAt: number | undefined;
  /** The highest term under which anything was ever durable: no later one may be the same. */
  private durableTerm = 0;
  /** LSNs that a simulated dead thread took with it: only these may be holes. */
  private readonly ghosts = new Set<number>();
  /** What is certain and will stay, by LSN - 1. */
  private settled: Settled[] = [];
  private operations: Operation[] = [];
  private byId = new Map<number, Operation>();
  private byLsn = new Map<number, Operation>();
  /** The last recovery's answer, until something is appended. */
  private returned: number | undefined;
  private provenBy = "";

  /** The same knowledge apart, for another future. */
  copy(): Oracle {
    const copy = new Oracle();
    const copies = new Map(this.operations.map((operation) => [operation, { ...operation, epochs: { ...operation.epochs } }]));
    copy.proven = this.proven;
    copy.term = this.term;
    copy.firstLsn = this.firstLsn;
    copy.mayBegin = this.mayBegin;
    copy.mayEnd = this.mayEnd;
    copy.cutAt = this.cutAt;
    copy.durableTerm = this.durableTerm;
    copy.returned = this.returned;
    copy.provenBy = this.provenBy;
    for (const lsn of this.ghosts) copy.ghosts.add(lsn);
    copy.settled = this.settled;
    copy.operations = [...copies.values()];
    for (const [id, operation] of this.byId) copy.byId.set(id, copies.get(operation)!);
    for (const [lsn, operation] of this.byLsn) copy.byLsn.set(lsn, copies.get(operation)!);
    return copy;
  }

  /** The same for oracles that will judge alike. */
  fingerprint(): string {
    const operations = this.operations.map(({ items, writer, first, term, refused, epochs }) => [
      items.map(({ id, acked }) => [id, acked]),
      writer,
      first,
      term,
      refused,
      epochs,
    ]);
    const settled = this.settled.map(({ item, term, epoch, timestampMs }) => [item?.id, item?.acked, term, epoch, timestampMs]);
    return JSON.stringify([
      this.proven,
      this.firstLsn,
      this.mayBegin,
      this.mayEnd,
      this.cutAt,
      this.term,
      this.durableTerm,
      this.returned,
      [...this.ghosts],
      operations,
      settled,
    ]);
  }

  get settledLsn(): number {
    return this.settled.length;
  }

  /** Of what was recovered under this LSN; -1 if that is not known. */
  epochOf(lsn: number): number {
    const known = this.settled[lsn - 1];
    return known === undefined || known.dropped ? -1 : known.epoch;
  }

  /** The content that was recovered under this LSN. */
  item(lsn: number): Item | undefined {
    return this.settled[lsn - 1]?.item;
  }

  /** `epoch` is the one that is present. */
  begin(writer: number, items: Item[], epoch = 0): Operation {
    const epochs = { from: epoch, to: Infinity };
    const operation: Operation = { items, writer, first: 0, term: this.term, refused: false, epochs };
    this.operations.push(operation);
    for (const item of items) if (item.id !== 0) this.byId.set(item.id, operation);
    this.returned = undefined;
    return operation;
  }

  /** A thread died after it had taken these LSNs. */
  lose(first: number, count: number): void {
    for (let lsn = first; lsn < first + count; lsn++) this.ghosts.add(lsn);
    this.returned = undefined;
  }

  /** The log named the LSN of an operation; `epoch` is the one that is present. */
  learn(operation: Operation, first: number, epoch = Infinity): void {
    operation.epochs.to = Math.min(operation.epochs.to, epoch);
    if (operation.first === first) return;
    if (operation.first !== 0) throw new Violation(`LSN ${operation.first} became ${first}`);
    if (operation.refused) throw new Violation(`LSN ${first} for an operation that was refused`);
    if (first <= this.settled.length) throw new Violation(`LSN ${first} is given again although ${this.settled.length} were recovered`);
    operation.first = first;
    for (let lsn = first; lsn < first + operation.items.length; lsn++) {
      if (this.byLsn.has(lsn)) throw new Violation(`LSN ${lsn} is given twice`);
      this.byLsn.set(lsn, operation);
    }
  }

  /** The log said, in whatever way, that everything up to `lsn` is durable. */
  prove(lsn: number, by: string): void {
    if (lsn <= this.proven) return;
    this.proven = lsn;
    this.provenBy = by;
    this.durableTerm = Math.max(this.durableTerm, this.term);
  }

  /** A reading begins with this LSN. `durable`: so will every later one. */
  begins(firstLsn: number, durable: boolean): void {
    if (firstLsn < this.firstLsn) throw new Violation(`the log began with LSN ${this.firstLsn}, now with ${firstLsn}`);
    if (firstLsn > this.mayBegin)
      throw new Violation(`the log begins with LSN ${firstLsn}, and nothing from ${this.mayBegin} on may be dropped`);
    if (durable) this.firstLsn = firstLsn;
  }

  /** Everything before this LSN may be dropped, by whatever wish. */
  allowBegin(lsn: number): void {
    this.mayBegin = Math.max(this.mayBegin, lsn);
  }

  /** Everything behind this LSN is to go; undefined: it stays. */
  allowEnd(lsn: number | undefined): void {
    this.mayEnd = lsn;
    if (lsn !== undefined) this.returned = undefined;
  }

  /** Whether a log that ends there was cut, as somebody wanted, as far as anybody can tell. */
  isCut(lastLsn: number): boolean {
    return lastLsn === this.mayEnd;
  }

  /** Everything behind this LSN has ceased to exist, and will be given again. */
  cut(lsn: number): void {
    this.proven = lsn;
    this.provenBy = "kept by a cut";
    this.settled = this.settled.slice(0, lsn);
    this.mayBegin = Math.max(this.firstLsn, Math.min(this.mayBegin, lsn + 1));
    this.cutAt = lsn;
  }

  /** Of this core, what was acknowledged behind this LSN is no longer: what was appended after it has nothing to follow. */
  forgetAcked(core: number, lsn: number): void {
    const without = (item: Item): Item => ({ ...item, acked: item.acked!.with(core, lsn) });
    const knows = (item: Item | undefined): item is Item => (item?.acked?.[core] ?? 0) > lsn;
    this.settled = this.settled.map((one) => (knows(one.item) ? { ...one, item: without(one.item) } : one));
    for (const operation of this.operations) operation.items = operation.items.map((item) => (knows(item) ? without(item) : item));
  }

  /** A log was opened for writing and says that it holds everything up to `lastLsn`. */
  opened(lastLsn: number, term: number): void {
    if (this.isCut(lastLsn)) this.cut(lastLsn);
    this.mayEnd = undefined;
    if (term <= this.durableTerm) throw new Violation(`the term is ${term}, but entries of term ${this.durableTerm} were durable before`);
    if (lastLsn < this.proven) throw new Violation(`recovered up to LSN ${lastLsn}, but ${this.proven} was durable (${this.provenBy})`);
    if (this.returned !== undefined && this.returned !== lastLsn) {
      throw new Violation(
        `recovered up to LSN ${lastLsn}, but the recovery before it ended at ${this.returned} and nothing was appended since`,
      );
    }
    // What was recovered has the term of a former open, which was proven with it.
    this.prove(lastLsn, "recovered");
    this.returned = lastLsn;
    this.term = term;
  }

  /** The log ends at `lastLsn` and says that this epoch is complete: nothing is missing that was published up to its end. */
  requireEpoch(epoch: number, lastLsn: number): void {
    if (lastLsn === this.cutAt || lastLsn === this.mayEnd) return;
    for (const { refused, first, items, epochs } of this.operations) {
      const last = first + items.length - 1;
      if (!refused && first !== 0 && epochs.to <= epoch && last > lastLsn)
        throw new Violation(
          `epoch ${epoch} is complete, but LSN ${last}, published in epoch ${epochs.to}, is missing: the last is ${lastLsn}`,
        );
    }
  }

  /** The highest epoch of what was recovered. */
  get settledEpoch(): number {
    return this.settled.at(-1)?.epoch ?? -1;
  }

  /** Everything that was recovered, read back. What was in flight and is not here may never come. */
  recovered(entries: Entry[], lastLsn: number, firstLsn = 1): Settled[] {
    this.settled = this.judge(entries, lastLsn, firstLsn);
    this.durableTerm = Math.max(this.durableTerm, this.settled.at(-1)?.term ?? 0);
    this.operations = [];
    this.byId.clear();
    this.byLsn.clear();
    this.ghosts.clear();
    this.cutAt = undefined;
    return this.settled;
  }

  /**
   * Judges a reading from firstLsn to lastLsn, or wherever it ends, control entries included: every LSN once, in order, with what
   * was appended under it and nothing else, batches whole, operations of one writer in their order.
   */
  judge(entries: Entry[], lastLsn: number | undefined, firstLsn = 1): Settled[] {
    const list = this.before(firstLsn);
    for (const entry of entries) {
      // Takes no LSN.
      if (entry.kind === "epoch") continue;
      const lsn = list.length + 1;
      if (entry.lsn !== lsn) throw new Violation(`LSN ${entry.lsn} stands where ${lsn} belongs`);
      if (entry.kind === "void") {
        for (let n = voidCount(entry); n > 0; n--) list.push(this.hole(entry, list.length + 1));
      } else {
        const known = this.settled[lsn - 1];
        const item = known === undefined ? this.find(entry, lsn) : known.item;
        if (item !== undefined) compare(entry, item);
        else if (!known?.dropped) throw new Violation(`LSN ${lsn} was a hole and is now ${describe(entry)}`);
        list.push({ item, term: entry.term, epoch: entry.epoch, timestampMs: entry.timestampMs });
      }
    }
    if (list.length !== (lastLsn ?? list.length))
      throw new Violation(`the log says that it ends at LSN ${lastLsn}, reading it ends at ${list.length}`);
    this.checkStamps(list);
    this.checkOrder(list, firstLsn);
    return list;
  }

  /** Judges an entry alone, whatever stands around it: what is known of its LSN. */
  judgeOne(entry: Entry): void {
    const known = this.settled[entry.lsn - 1];
    const operation = this.byLsn.get(entry.lsn);
    const item = known === undefined ? operation?.items[entry.lsn - operation.first] : known.item;
    if (item !== undefined) compare(entry, item);
    else if (known !== undefined && !known.dropped) throw new Violation(`LSN ${entry.lsn} was a hole and is now ${describe(entry)}`);
  }

  /** What was dropped. */
  private before(firstLsn: number): Settled[] {
    const list = this.settled.slice(0, firstLsn - 1);
    for (let lsn = list.length + 1; lsn < firstLsn; lsn++) {
      const operation = this.byLsn.get(lsn);
      list.push({ item: operation?.items[lsn - operation.first], term: 0, epoch: 0, timestampMs: 0, dropped: true });
    }
    return list;
  }

  private hole(entry: Entry, lsn: number): Settled {
    const known = this.settled[lsn - 1];
    if (known === undefined ? !this.ghosts.has(lsn) : known.item !== undefined)
      throw new Violation(`LSN ${lsn} is a hole, and no writer died there`);
    return { item: undefined, term: entry.term, epoch: entry.epoch, timestampMs: entry.timestampMs };
  }

  /** The item in flight that this entry shows. */
  private find(entry: Entry, lsn: number): Item {
    const named = this.byLsn.get(lsn);
    if (named !== undefined) return named.items[lsn - named.first]!;
    const id = idOf(entry);
    const operation = this.byId.get(id);
    if (operation === undefined)
      throw new Violation(`LSN ${lsn} is ${describe(entry)} with id ${id}, which was never appended, or was lost before`);
    if (operation.refused) throw new Violation(`LSN ${lsn} is id ${id}, whose append was refused`);
    const index = operation.items.findIndex((item) => item.id === id);
    this.learn(operation, lsn - index);
    return operation.items[index]!;
  }

  private checkStamps(list: Settled[]): void {
    for (let i = 0; i < list.length; i++) {
      const now = list[i]!;
      if (now.dropped) continue;
      const before = list[i - 1]?.dropped ? undefined : list[i - 1];
      const lsn = i + 1;
      if (before !== undefined && now.term < before.term)
        throw new Violation(`LSN ${lsn} has term ${now.term}, the one before it ${before.term}`);
      if (before !== undefined && now.epoch < before.epoch)
        throw new Violation(`LSN ${lsn} has epoch ${now.epoch}, the one before it ${before.epoch}`);
      if (before !== undefined && now.timestampMs < before.timestampMs) throw new Violation(`LSN ${lsn} is older than the one before it`);
      const known = this.settled[i]?.dropped ? undefined : this.settled[i];
      if (known !== undefined && (known.term !== now.term || known.timestampMs !== now.timestampMs)) {
        throw new Violation(`LSN ${lsn} had term ${known.term} and time ${known.timestampMs}, now ${now.term} and ${now.timestampMs}`);
      }
      if (known !== undefined && known.epoch !== now.epoch) throw new Violation(`LSN ${lsn} had epoch ${known.epoch}, now ${now.epoch}`);
      const operation = this.byLsn.get(lsn);
      if (operation !== undefined && i >= this.settled.length && operation.term !== now.term) {
        throw new Violation(`LSN ${lsn} was appended in term ${operation.term} and is read with term ${now.term}`);
      }
      if (operation !== undefined && i >= this.settled.length && !(now.epoch >= operation.epochs.from && now.epoch <= operation.epochs.to))
        throw new Violation(
          `LSN ${lsn} was appended in epoch ${operation.epochs.from} to ${operation.epochs.to} and is read with epoch ${now.epoch}`,
        );
    }
  }

  /** Of each writer, what is there is the beginning of what it appended; batches are whole. */
  private checkOrder(list: Settled[], firstLsn: number): void {
    // What was dropped before anybody was told of its LSN is not missing.
    let vague = false;
    for (let lsn = this.settled.length + 1; lsn < firstLsn; lsn++) vague ||= !this.byLsn.has(lsn) && !this.ghosts.has(lsn);
    const last = new Map<number, number>();
    const missing = new Set<number>();
    for (const { writer, refused, first, items } of this.operations) {
      if (refused) continue;
      if (first === 0 && vague) continue;
      if (first === 0 || first > list.length) {
        missing.add(writer);
        continue;
      }
      if (missing.has(writer)) throw new Violation(`LSN ${first} is there, but not what the same writer appended before it`);
      if (first <= (last.get(writer) ?? 0))
        throw new Violation(`LSN ${first} and ${last.get(writer)} are in the wrong order: one writer appended them the other way round`);
      if (first + items.length - 1 > list.length && list.length !== this.cutAt && list.length !== this.mayEnd)
        throw new Violation(
          `of the batch from LSN ${first} to ${first + items.length - 1} only a part is there: the log ends at ${list.length}`,
        );
      last.set(writer, first + items.length - 1);
    }
  }
}

/** How many LSNs a void entry takes. */
export function voidCount(entry: Entry): number {
  return Number(new DataView(entry.value.buffer, entry.value.byteOffset, 8).getBigUint64(0, true));
}

function idOf(entry: Entry): number {
  if (entry.kind === "commit") return Number(decodeCommit(entry).watermark ?? -1n);
  const bytes = entry.key ?? entry.value;
  return bytes.length < ID_BYTES ? -1 : readId(bytes);
}

function readId(bytes: Uint8Array): number {
  return (bytes[0]! | (bytes[1]! << 8) | (bytes[2]! << 16) | (bytes[3]! << 24)) >>> 0;
}

export function writeId(bytes: Uint8Array, id: number): void {
  for (let i = 0; i < ID_BYTES; i++) bytes[i] = id >>> (i * 8);
}

export function compare(entry: Entry, item: Item): void {
  if (entry.kind !== item.kind)
    throw new Violation(`LSN ${entry.lsn} is ${describe(entry)}, it was appended as ${item.kind} with id ${item.id}`);
  if (item.kind === "commit") {
    const { offsets, watermark } = decodeCommit(entry);
    if (watermark !== BigInt(item.id) || offsets["topic"] !== -BigInt(item.id))
      throw new Violation(`the commit at LSN ${entry.lsn} says ${watermark}, not ${item.id}`);
  } else if (!same(entry.key, item.key) || !same(entry.value, item.value)) {
    throw new Violation(
      `LSN ${entry.lsn} is ${describe(entry)}, not the bytes that were appended (id ${item.id}, ${item.value.length} bytes)`,
    );
  }
}

function same(a: Uint8Array | undefined, b: Uint8Array | undefined): boolean {
  return a === undefined || b === undefined ? a === b : Buffer.compare(a, b) === 0;
}

function describe(entry: Entry): string {
  const key = entry.key === undefined ? "" : `key ${Buffer.from(entry.key).toString("hex").slice(0, 16)}, `;
  return `${entry.kind} (${key}${entry.value.length} bytes ${Buffer.from(entry.value).toString("hex").slice(0, 16)}…)`;
}
