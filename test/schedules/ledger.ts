// What the threads of one schedule were told and what came out of the rings: both must agree.

import * as L from "../../assembly/layout.js";
import { Failure, type Machine } from "./machine.js";

/** A publication of a thread, its n-th; each of its entries holds its own number. */
interface Publication {
  thread: string;
  numbers: number[];
  fate: "under way" | "published" | "refused";
  firstLsn: number;
}

export class Ledger {
  private readonly publications: Publication[] = [];
  /** Number of the entry that came out under each LSN, 0 for a hole. */
  private readonly drained: number[] = [];
  private numbers = 0;
  private holes = 0;

  constructor(
    private readonly machine: Machine,
    readonly stripes: number,
  ) {}

  /** Begins a publication of `entries` entries. */
  begin(thread: string, entries: number): Publication {
    const numbers = Array.from({ length: entries }, () => ++this.numbers);
    const publication: Publication = { thread, numbers, fate: "under way", firstLsn: 0 };
    this.publications.push(publication);
    return publication;
  }

  /** What ring_publish said. */
  end(publication: Publication, lsn: number): void {
    publication.fate = lsn > 0 ? "published" : "refused";
    publication.firstLsn = lsn;
  }

  /** After a merge_fill that returned `bytes`: the frame's body must be whole, and go on where the last one ended. */
  frame(bytes: number): void {
    const { core, frame, seed } = this.machine;
    const { view, x } = core;
    const first = Number(view.getBigInt64(L.MERGE_FIRST_LSN, true));
    const next = Number(view.getBigInt64(L.MERGE_NEXT_LSN, true));
    const entries = view.getUint32(L.MERGE_ENTRIES, true);
    if (first !== this.drained.length + 1) throw new Failure(`a frame begins at LSN ${first} instead of ${this.drained.length + 1}`);
    const fault = x.frame_verify(frame, bytes, entries, view.getUint32(L.MERGE_HEADERS_CRC, true), seed, first, next - first, 0);
    if (fault !== L.FRAME_OK) throw new Failure(`what was drained is not whole: fault ${fault}, LSN ${first} to ${next - 1}`);
    for (let at = frame; at < frame + bytes; at += L.ENTRY_HEADER_BYTES + ((view.getUint32(at + L.ENTRY_PAYLOAD_BYTES, true) + 7) & ~7)) {
      if (view.getUint8(at + L.ENTRY_KIND) === L.KIND_VOID) {
        const count = Number(view.getBigInt64(at + L.ENTRY_HEADER_BYTES, true));
        for (let i = 0; i < count; i++) this.drained.push(0);
        this.holes += count;
      } else {
        this.drained.push(view.getUint32(at + L.ENTRY_HEADER_BYTES, true));
      }
    }
  }

  /** When nothing moves any more: what is wrong. `mayDie`: a thread was ended or a stripe revoked, so there may be holes. */
  check(mayDie: boolean): void {
    const { x } = this.machine.core;
    const last = x.log_last_lsn();
    // A writer that was revoked may take an LSN after the flusher lay down. It is a hole that nobody waits for.
    if (mayDie) this.holes += last - this.drained.length;
    else if (this.drained.length !== last)
      throw new Failure(`lost doorbell: the flusher sleeps, ${last} LSNs were given out and ${this.drained.length} drained`);
    for (let s = 0; s < this.stripes; s++) if (x.ring_used(s) !== 0) throw new Failure(`${x.ring_used(s)} bytes are left in ring ${s}`);
    const byNumber = new Map<number, number>();
    this.drained.forEach((number, i) => {
      if (number === 0) return;
      if (byNumber.has(number)) throw new Failure(`entry ${number} was drained twice, as LSN ${byNumber.get(number)} and ${i + 1}`);
      byNumber.set(number, i + 1);
    });
    const latest = new Map<string, number>();
    let unpublished = 0;
    for (const { thread, numbers, fate, firstLsn } of this.publications) {
      const lsns = numbers.map((number) => byNumber.get(number));
      const there = lsns.filter((lsn) => lsn !== undefined);
      if (there.length > 0 && there.length < numbers.length) throw new Failure(`a publication of ${thread} was drained in part`);
      if (there.length === 0) {
        if (fate === "published") throw new Failure(`LSN ${firstLsn}, published by ${thread}, was never drained`);
        unpublished += numbers.length;
        continue;
      }
      if (fate === "refused")
        throw new Failure(`an entry of ${thread} was drained as LSN ${there[0]} though its writer was told that it was not written`);
      lsns.forEach((lsn, i) => {
        if (lsn !== there[0]! + i || (fate === "published" && there[0] !== firstLsn))
          throw new Failure(`${thread} was told LSN ${firstLsn}, and entry ${numbers[i]} was drained as ${lsn}`);
      });
      if (there[0]! < (latest.get(thread) ?? 0)) throw new Failure(`entries of ${thread} were drained out of order`);
      latest.set(thread, there.at(-1)!);
      there.forEach((_, i) => byNumber.delete(numbers[i]!));
    }
    if (byNumber.size > 0) throw new Failure(`entry ${[...byNumber.keys()][0]} came out of nowhere`);
    if (this.holes > (mayDie ? unpublished : 0))
      throw new Failure(`${this.holes} LSNs are holes, ${unpublished} entries were not published`);
  }
}
