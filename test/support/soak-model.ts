// The model beside the soaked log: what its writers said, and whether what is read back may be that. It outlives the
// processes; its words are those of soak-load.ts, and these of the victim's main thread:
//
//   o TERM LSN FULL   opened, in this term, ends at this LSN; FULL is 1 if it refuses where there is no space
//   w WRITER          this thread is ended at any instruction: it may leave a hole
//   c                 the log is about to be closed, or the process to exit: what was accepted by now will be there
//   e TEXT            something is wrong

import type { Entry } from "../../src/types.js";
import { Digest, holeLsns, operationAt, type Identified } from "./soak-records.js";

interface WriterFacts {
  term: number;
  /** Appends may be refused for lack of space. */
  refusesFull: boolean;
  /** Counters below this were begun. */
  begun: number;
  /** The next one that may be in the log. */
  next: number;
  /** The stripe that it writes on. */
  core: number | undefined;
  /** Counters of calls that may be given up by timeout or signal. */
  impatient: Set<number>;
  /** Counters whose call has ended, and of those the ones that are nowhere, and those of which nobody knows. */
  settled: Set<number>;
  refused: Set<number>;
  doubtful: Set<number>;
}

const nameOf = (writer: number, counter: number): string => `${counter} of writer ${writer}`;

export class SoakModel {
  /** LSN → the record that somebody was told is there. */
  private readonly claims = new Map<number, string>();
  private readonly writers = new Map<number, WriterFacts>();
  /** Everything up to here must be there. */
  durableLsn = 0;
  /** Where the log ended when it was last looked at. */
  lastLsn = 0;
  private term = 0;
  /** The last one that somebody was told of something durable in: one that wrote nothing may come again. */
  private termWritten = 0;
  private refusesFull = false;
  private highestClaim = 0;
  /** Threads that were ended, and holes in the log. */
  private ended = 0;
  holes = 0;
  /** By last LSN of each entry: what the log was when it was last read. */
  private digests: (number | undefined)[] = [];
  private read = 0;
  /** What followers were shown, up to which LSN, and not compared yet. */
  private followed: [lsn: number, digest: number][] = [];

  get acknowledged(): number {
    return this.claims.size;
  }

  /** Takes in one line of a report. @throws Error if it cannot be */
  line(text: string): void {
    const [what, ...rest] = text.split(" ");
    const [id, first, count, lsn] = rest.map(Number) as [number, number, number, number];
    switch (what) {
      case "o":
        this.refusesFull = count === 1;
        return this.opened(id, first);
      case "b":
        return this.begin(id, first, count);
      case "a":
      case "d":
        this.settle(id, first, count);
        for (let i = 0; i < count; i++) this.claim(lsn + i, nameOf(id, first + i));
        if (what === "d") this.durable(lsn + count - 1);
        return;
      case "s":
        return this.durable(id);
      case "x":
        return this.settle(id, first, count, this.writer(id).refused);
      case "u":
        return this.settle(id, first, count, this.writer(id).doubtful);
      case "w":
        return void this.ended++;
      case "c":
        return this.durable(this.highestClaim);
      case "f":
        return void this.followed.push([id, first]);
      default:
        throw new Error(text.replace(/^e /, ""));
    }
  }

  private writer(id: number): WriterFacts {
    let facts = this.writers.get(id);
    if (facts === undefined) {
      facts = {
        term: this.term,
        refusesFull: this.refusesFull,
        begun: 0,
        next: 0,
        core: undefined,
        impatient: new Set(),
        settled: new Set(),
        refused: new Set(),
        doubtful: new Set(),
      };
      this.writers.set(id, facts);
    }
    return facts;
  }

  private durable(lsn: number): void {
    if (lsn <= this.durableLsn) return;
    this.durableLsn = lsn;
    this.termWritten = this.term;
  }

  private begin(id: number, first: number, count: number): void {
    const facts = this.writer(id);
    facts.begun = first + count;
    const { way, timeoutMs, abortMs } = operationAt(id, first);
    if ((way !== "append" && way !== "batch") || (timeoutMs ?? abortMs) === undefined) return;
    for (let counter = first; counter < first + count; counter++) facts.impatient.add(counter);
  }

  private settle(id: number, first: number, count: number, as?: Set<number>): void {
    const { settled } = this.writer(id);
    for (let counter = first; counter < first + count; counter++) {
      settled.add(counter);
      as?.add(counter);
    }
  }

  private claim(lsn: number, name: string): void {
    const other = this.claims.get(lsn);
    if (other !== undefined && other !== name) throw new Error(`LSN ${lsn} was given to ${other} and to ${name}`);
    this.claims.set(lsn, name);
    this.highestClaim = Math.max(this.highestClaim, lsn);
  }

  /** A process has opened the log for writing. What lies behind its end was lost, and its LSNs are given again. */
  private opened(term: number, lastLsn: number): void {
    if (term < this.term || term <= this.termWritten) throw new Error(`opened in term ${term} after term ${this.term}`);
    this.term = term;
    this.endsAt(lastLsn);
  }

  private endsAt(lastLsn: number): void {
    if (lastLsn < this.durableLsn) throw new Error(`the log ends at LSN ${lastLsn}, and ${this.durableLsn} was durable`);
    if (lastLsn < this.read) throw new Error(`the log ends at LSN ${lastLsn}, and ${this.read} was shown before`);
    for (let lsn = this.highestClaim; lsn > lastLsn; lsn--) this.claims.delete(lsn);
    this.highestClaim = Math.min(this.highestClaim, lastLsn);
    this.lastLsn = lastLsn;
  }

  /** Compares the whole log, holes included, with everything that is known. Nobody may be writing. */
  async check(batches: AsyncIterable<Entry[]>, lastLsn: number): Promise<void> {
    this.endsAt(lastLsn);
    for (const facts of this.writers.values()) facts.next = 0;
    const digest = new Digest();
    const before = { term: 0, timestampMs: 0 };
    let batch: Identified | undefined;
    this.holes = 0;
    for await (const entries of batches) {
      for (const entry of entries) {
        const first = entry.lsn;
        const record = digest.add(entry);
        this.termWritten = Math.max(this.termWritten, entry.term);
        if (entry.term < before.term || entry.timestampMs < before.timestampMs) throw new Error(`term or time goes back at LSN ${first}`);
        Object.assign(before, { term: entry.term, timestampMs: entry.timestampMs });
        const rest = batch && batch.counter + 1 < batch.operation.first + batch.operation.count ? batch : undefined;
        if (rest && (record?.writer !== rest.writer || record.counter !== rest.counter + 1))
          throw new Error(`a batch of writer ${rest.writer} is interrupted at LSN ${first}`);
        batch = record?.operation.way === "batch" ? record : undefined;
        if (batch !== undefined && rest === undefined && batch.counter !== batch.operation.first)
          throw new Error(`a batch of writer ${batch.writer} lacks its beginning at LSN ${first}`);
        if (record === undefined) this.hole(entry);
        else this.record(entry, record);
        this.shown(digest, first);
      }
    }
    if (batch !== undefined && batch.counter + 1 < batch.operation.first + batch.operation.count)
      throw new Error(`the log ends within a batch of writer ${batch.writer}`);
    if (digest.lastLsn !== lastLsn) throw new Error(`the log ends at LSN ${lastLsn}, and reading it at ${digest.lastLsn}`);
    this.read = lastLsn;
    for (const [lsn, value] of this.followed.splice(0)) {
      if (lsn > lastLsn) throw new Error(`a follower was shown LSN ${lsn}, and the log ends at ${lastLsn}`);
      if (this.digests[lsn] !== value) throw new Error(`a follower was shown something else than the log holds up to LSN ${lsn}`);
    }
  }

  private record({ lsn, term, core }: Entry, { writer, counter }: Identified): void {
    const name = nameOf(writer, counter);
    const facts = this.writers.get(writer);
    if (facts === undefined || counter >= facts.begun) throw new Error(`LSN ${lsn} holds ${name}, which was never appended`);
    if (facts.refused.has(counter)) throw new Error(`LSN ${lsn} holds ${name}, which was refused`);
    if (counter < facts.next) throw new Error(`LSN ${lsn} holds ${name} behind ${facts.next - 1}: doubled or out of order`);
    for (let missing = facts.next; missing < counter; missing++) this.mayBeMissing(facts, writer, missing, counter);
    facts.next = counter + 1;
    if (term !== facts.term) throw new Error(`LSN ${lsn} holds ${name} in term ${term} instead of ${facts.term}`);
    if (core !== (facts.core ??= core)) throw new Error(`LSN ${lsn} holds ${name} on stripe ${core} instead of ${facts.core}`);
    const claimed = this.claims.get(lsn);
    if (claimed !== undefined && claimed !== name) throw new Error(`LSN ${lsn} holds ${name} instead of ${claimed}`);
    this.claims.set(lsn, name);
    this.highestClaim = Math.max(this.highestClaim, lsn);
  }

  /** What is missing before a later record of the same thread was refused, or given up while it had no LSN. */
  private mayBeMissing(facts: WriterFacts, writer: number, missing: number, next: number): void {
    if (facts.refused.has(missing) || facts.doubtful.has(missing)) return;
    // The refusal may not have come to be reported.
    if (!facts.settled.has(missing) && (facts.refusesFull || facts.impatient.has(missing))) return;
    throw new Error(`${nameOf(writer, missing)} is missing, and ${next} is there`);
  }

  private hole(entry: Entry): void {
    this.holes++;
    if (this.holes > this.ended)
      throw new Error(`LSN ${entry.lsn} is a hole; there are ${this.holes}, and ${this.ended} threads were ended`);
    for (let lsn = entry.lsn; lsn < entry.lsn + holeLsns(entry); lsn++) {
      const claimed = this.claims.get(lsn);
      if (claimed !== undefined) throw new Error(`LSN ${lsn} is a hole instead of ${claimed}`);
    }
  }

  /** What one look showed must stay. */
  private shown({ lastLsn, value }: Digest, first: number): void {
    if (lastLsn <= this.read && this.digests[lastLsn] !== value) throw new Error(`LSN ${first} is another one than was shown before`);
    this.digests[lastLsn] = value;
  }
}
