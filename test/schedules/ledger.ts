// What the threads of one schedule were told and what came out of the rings: both must agree.

import * as L from "../../assembly/layout.js";
import { Failure, type Machine, type Setup } from "./machine.js";

/** A publication of a thread, its n-th; each of its entries holds its own number. */
export interface Publication {
  thread: string;
  bank: number;
  numbers: number[];
  fate: "under way" | "published" | "refused";
  firstLsn: number;
  /** The byte that its group was stamped with. */
  stamp: number;
  /** The durable LSN of each chain, as its thread had seen it before. */
  acknowledged: number[];
  /** The epoch that its thread had begun before. */
  epochMin: number;
}

/** An entry that came out, or a hole: number 0. */
interface Drained {
  number: number;
  epoch: number;
  time: number;
}

/** What stands in a chain, by LSN - 1. */
interface Chain {
  drained: Drained[];
  holes: number;
  epoch: number;
  time: number;
}

export class Ledger {
  private readonly publications: Publication[] = [];
  private readonly chains: Chain[];
  private readonly timed: boolean;
  /** Publications that were through before an epoch began. */
  private readonly barriers: { before: Publication[]; epoch: number }[] = [];
  /** The first chain's record: epochs below it lack nothing. */
  private complete = 0;
  private numbers = 0;

  constructor(
    private readonly machine: Machine,
    readonly setup: Setup,
  ) {
    this.chains = Array.from({ length: setup.banks }, () => ({ drained: [], holes: 0, epoch: setup.epoch, time: 0 }));
    this.timed = setup.banks > 1;
  }

  /** Begins a publication of `entries` entries. */
  begin(thread: string, bank: number, entries: number, acknowledged: number[], epochMin: number): Publication {
    const numbers = Array.from({ length: entries }, () => ++this.numbers);
    const publication: Publication = { thread, bank, numbers, fate: "under way", firstLsn: 0, stamp: 0, acknowledged, epochMin };
    this.publications.push(publication);
    return publication;
  }

  /** What ring_publish said. */
  end(publication: Publication, lsn: number, stamp: number): void {
    publication.fate = lsn > 0 ? "published" : "refused";
    publication.firstLsn = lsn;
    publication.stamp = stamp;
  }

  /** The publications of a thread that are through. */
  through(thread: string): Publication[] {
    return this.publications.filter((publication) => publication.thread === thread && publication.fate !== "under way");
  }

  /** An epoch was begun, and `durable` of each chain, after these were through. */
  advanced(before: Publication[], epoch: number, durable: number[]): void {
    for (const { thread, bank, numbers, firstLsn } of before)
      if (firstLsn + numbers.length - 1 > durable[bank]!)
        throw new Failure(
          `epoch ${epoch} was told to be begun before LSN ${firstLsn} of ${thread} was durable, which was published before`,
        );
    this.barriers.push({ before, epoch });
  }

  /** An epoch entry is durable in a chain. */
  marks(bank: number, epoch: number, complete: number): void {
    this.enter(bank, epoch);
    if (bank === 0) this.complete = Math.max(this.complete, complete);
  }

  private enter(bank: number, epoch: number): void {
    const chain = this.chains[bank]!;
    if (epoch < chain.epoch) throw new Failure(`a frame of epoch ${epoch} behind one of epoch ${chain.epoch}`);
    chain.epoch = epoch;
  }

  /** After a merge_fill that returned `bytes`: the frame's body must be whole, and go on where the last one ended. */
  frame(bank: number, bytes: number): void {
    const { frame, seed, cores } = this.machine;
    const { view, x } = cores[bank]!;
    const chain = this.chains[bank]!;
    const { drained } = chain;
    const first = Number(view.getBigInt64(L.MERGE_FIRST_LSN, true));
    const next = Number(view.getBigInt64(L.MERGE_NEXT_LSN, true));
    const entries = view.getUint32(L.MERGE_ENTRIES, true);
    const epoch = Number(view.getBigInt64(L.MERGE_EPOCH, true));
    if (first !== drained.length + 1) throw new Failure(`a frame begins at LSN ${first} instead of ${drained.length + 1}`);
    const fault = x.frame_verify(
      frame,
      bytes,
      entries,
      view.getUint32(L.MERGE_HEADERS_CRC, true),
      seed,
      first,
      next - first,
      this.timed ? L.TIME_BYTES : 0,
    );
    if (fault !== L.FRAME_OK) throw new Failure(`what was drained is not whole: fault ${fault}, LSN ${first} to ${next - 1}`);
    this.enter(bank, epoch);
    if (epoch < this.complete)
      throw new Failure(`a frame of epoch ${epoch} after everything before ${this.complete} was recorded as complete`);
    for (let at = frame; at < frame + bytes; at += L.ENTRY_HEADER_BYTES + ((view.getUint32(at + L.ENTRY_PAYLOAD_BYTES, true) + 7) & ~7)) {
      const payload = at + L.ENTRY_HEADER_BYTES;
      if (view.getUint8(at + L.ENTRY_KIND) === L.KIND_VOID) {
        const count = Number(view.getBigInt64(payload, true));
        for (let i = 0; i < count; i++) drained.push({ number: 0, epoch, time: chain.time });
        chain.holes += count;
        continue;
      }
      const time = this.timed ? Number(view.getBigInt64(payload, true)) : 0;
      if (time < chain.time) throw new Failure(`LSN ${drained.length + 1} has time ${time}, the one before it ${chain.time}`);
      chain.time = time;
      drained.push({ number: view.getUint32(payload + (this.timed ? L.TIME_BYTES : 0), true), epoch, time });
    }
  }

  /** When nothing moves any more: what is wrong. `mayDie`: a thread was ended or a stripe revoked, so there may be holes. */
  check(mayDie: boolean): void {
    const found = new Map<number, { bank: number; lsn: number; entry: Drained }>();
    this.chains.forEach((chain, bank) => this.checkChain(chain, bank, mayDie, found));
    let unpublished = 0;
    const latest = new Map<string, number>();
    for (const publication of this.publications) {
      const { thread, bank, numbers, fate, firstLsn } = publication;
      const there = numbers.flatMap((number) => found.get(number) ?? []);
      if (there.length > 0 && there.length < numbers.length) throw new Failure(`a publication of ${thread} was drained in part`);
      if (there.length === 0) {
        if (fate === "published") throw new Failure(`LSN ${firstLsn}, published by ${thread}, was never drained`);
        unpublished += numbers.length;
        continue;
      }
      const first = there[0]!;
      if (fate === "refused")
        throw new Failure(`an entry of ${thread} was drained as LSN ${first.lsn} though its writer was told that it was not written`);
      there.forEach(({ lsn, bank: foundIn }, i) => {
        if (lsn !== first.lsn + i || foundIn !== bank || (fate === "published" && first.lsn !== firstLsn))
          throw new Failure(`${thread} was told LSN ${firstLsn}, and entry ${numbers[i]} was drained as ${lsn}`);
      });
      if (first.lsn < (latest.get(thread) ?? 0)) throw new Failure(`entries of ${thread} were drained out of order`);
      latest.set(thread, there.at(-1)!.lsn);
      this.checkOrder(publication, first.entry);
      for (const number of numbers) found.delete(number);
    }
    if (found.size > 0) throw new Failure(`entry ${[...found.keys()][0]} came out of nowhere`);
    const holes = this.chains.reduce((sum, chain) => sum + chain.holes, 0);
    if (holes > (mayDie ? unpublished : 0)) throw new Failure(`${holes} LSNs are holes, ${unpublished} entries were not published`);
    this.checkEpochs();
  }

  private checkChain(chain: Chain, bank: number, mayDie: boolean, found: Map<number, { bank: number; lsn: number; entry: Drained }>): void {
    const { drained } = chain;
    const { x } = this.machine.cores[bank]!;
    const last = x.log_last_lsn();
    // A writer that was revoked may take an LSN after the flusher lay down. It is a hole that nobody waits for.
    if (mayDie) chain.holes += last - drained.length;
    else if (drained.length !== last)
      throw new Failure(`lost doorbell: the flusher sleeps, ${last} LSNs were given out and ${drained.length} drained`);
    for (let s = 0; s < this.setup.stripes; s++)
      if (x.ring_used(s) !== 0) throw new Failure(`${x.ring_used(s)} bytes are left in ring ${bank + s}`);
    drained.forEach((entry, i) => {
      if (entry.number === 0) return;
      const before = found.get(entry.number);
      if (before !== undefined) throw new Failure(`entry ${entry.number} was drained twice, as LSN ${before.lsn} and ${i + 1}`);
      found.set(entry.number, { bank, lsn: i + 1, entry });
    });
  }

  /** Where an entry stands among those of other chains. */
  private checkOrder({ thread, fate, firstLsn, stamp, acknowledged, epochMin }: Publication, { epoch, time }: Drained): void {
    const name = `LSN ${firstLsn} of ${thread}`;
    if (epoch < epochMin) throw new Failure(`${name} is in epoch ${epoch}, and its thread had begun ${epochMin} before`);
    // Where stripes share a chain, an earlier stamp may come later.
    const behind = (epoch - stamp) & 0xff;
    if (fate === "published" && (this.timed ? behind > 0 : behind > 0x7f))
      throw new Failure(`${name} is in a frame of epoch ${epoch}, and was stamped ${stamp}`);
    if (!this.timed) return;
    acknowledged.forEach((lsn, bank) => {
      const last = this.chains[bank]!.drained[lsn - 1];
      if (last !== undefined && last.number > 0 && last.time >= time)
        throw new Failure(`${name} has time ${time}, and LSN ${lsn} of chain ${bank}, durable before it was appended, ${last.time}`);
    });
  }

  private checkEpochs(): void {
    const all = this.chains.flatMap(({ drained }) => drained.filter(({ number }) => number > 0));
    const of = new Map(all.map((entry) => [entry.number, entry]));
    for (const { before, epoch } of this.barriers)
      for (const { thread, numbers, firstLsn } of before)
        if (of.get(numbers[0]!)!.epoch >= epoch)
          throw new Failure(
            `LSN ${firstLsn} of ${thread} was published before epoch ${epoch} and is in epoch ${of.get(numbers[0]!)!.epoch}`,
          );
    if (!this.timed) return;
    let newest = -1;
    let newestBefore = -1;
    let current = -1;
    for (const { epoch, time } of all.sort((a, b) => a.epoch - b.epoch)) {
      if (epoch !== current) [current, newestBefore] = [epoch, newest];
      if (time <= newestBefore) throw new Failure(`an entry of epoch ${epoch} has time ${time}, one of an earlier epoch ${newestBefore}`);
      newest = Math.max(newest, time);
    }
  }
}
