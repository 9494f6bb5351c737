// The programs of the threads: what src/ does around the module, step by step, with the waits made visible.
// writer: Producer (producer.ts), putBlocking (writer.ts), block (durable-waits.ts, other-cores.ts); advanceEpoch
// (epochs.ts); pump: Crew (crew.ts), ChainFlusher: Flusher (flusher.ts), of a chain that has its first segment. Two things
// are stricter here: nobody wakes up just to look again, as src/ does every 100 ms, but who waits for a barrier while
// threads may end; and a writer that has stalled is revoked at once or whenever time has passed, as the scenario says.

import * as L from "../../assembly/layout.js";
import { up } from "../support/rings.js";
import type { Ledger, Publication } from "./ledger.js";
import { PAUSES, TOLD, type Exports, type Instances, type Machine, type Program, type Step } from "./machine.js";

type Part<Result = number> = Generator<Step, Result, number>;

export interface WriterPlan {
  /** Entries of each publication, in order. */
  publications: number[];
  payloadBytes: number;
  bell: number;
  /** After each publication: waits until it is durable, without delay (1) or within the group's (0). */
  demand?: 0 | 1;
  /** In the end: waits until whatever has an LSN in the other chains is durable. */
  demandOthers?: boolean;
  /** What its clock shows, always. */
  clockNs?: number;
  /** Before each publication: looks which entries of all chains are durable. */
  looks?: boolean;
  /** After each publication: says so to whoever advances the epoch. */
  tells?: boolean;
  /** Advances the epoch before this publication. */
  advancesAt?: number;
  /** Gives its stripe back when it is through. */
  release?: boolean;
}

/** What all threads share, and this one's instances. */
export interface Place {
  instances: Instances;
  machine: Machine;
  ledger: Ledger;
  /** A thread may end anywhere. */
  deadly: boolean;
}

const stripeWord = ({ machine }: Place, bank: number, stripe: number, offset: number): number =>
  machine.bankAddress(bank) + L.STRIPE_BLOCKS + stripe * L.STRIPE_BYTES + offset;

const allBanks = ({ instances, ledger }: Place): Instances => instances.slice(0, ledger.setup.banks);

/** Atomics.wait. */
function* waitOn(x: Exports, at: number, value: number, wake: "must" | "may" | "timed"): Part {
  const found = yield () => x.host_load(at);
  return found === value ? yield { wait: at, wake } : 0;
}

/** Until another thread has written something: 0, or until time has passed: 1. */
function* pause(x: Exports): Part {
  yield () => x.host_load(PAUSES);
  return yield { pause: true };
}

// --- writers --------------------------------------------------------------------------------------

/** A writer with its stripe, as Producer has it. */
interface Owner {
  place: Place;
  x: Exports;
  name: string;
  bank: number;
  stripe: number;
  generation: number;
  plan: WriterPlan;
  /** The last that it has begun. */
  epoch: number;
}

/** Producer.claim. */
function* claim(place: Place, name: string, id: number, plan: WriterPlan): Part<Owner> {
  const { instances, ledger } = place;
  const { banks } = ledger.setup;
  for (;;) {
    for (let bank = 0; bank < banks; bank++) {
      if (banks > 1 && (yield () => instances[0]!.host_load(stripeWord(place, bank, 0, L.STRIPE_OWNER))) !== 0) continue;
      const x = instances[bank]!;
      const stripe = yield () => x.ring_claim(id);
      if (stripe < 0) continue;
      const generation = yield () => x.ring_generation(stripe);
      return { place, x, name, bank, stripe, generation, plan, epoch: 0 };
    }
    // Another one may still have to give it back.
    yield* pause(instances[0]!);
  }
}

/** Producer.put: reserves, copies, publishes. An LSN or a RING_* code. */
function* put(owner: Owner, entries: number): Part {
  const { place, x, name, bank, stripe, generation, plan } = owner;
  const { machine, ledger } = place;
  const timeBytes = ledger.setup.banks > 1 ? L.TIME_BYTES : 0;
  const size = L.ENTRY_HEADER_BYTES + up(timeBytes + plan.payloadBytes, 8);
  const acknowledged: number[] = [];
  if (plan.looks) for (const other of allBanks(place)) acknowledged.push(yield () => other.log_durable_lsn());
  let publication: Publication | undefined;
  for (;;) {
    const first = yield () => x.ring_reserve(stripe, generation, size * entries, entries, plan.clockNs ?? 0);
    if (first <= 0) {
      if (publication !== undefined) ledger.end(publication, first, 0);
      return first;
    }
    const { numbers } = (publication ??= ledger.begin(name, bank, entries, acknowledged, owner.epoch));
    for (let i = 0, at = first; i < entries; i++) {
      const payload = machine.bankAddress(bank) + (yield () => x.ring_entry(stripe, at, plan.payloadBytes, 0, L.KIND_DATA));
      for (let word = 0; word < plan.payloadBytes; word += 4) yield () => x.host_put(payload + word, numbers[i]!);
      at = yield () => x.entry_end(machine.seed, at);
    }
    const lsn = yield () => x.ring_publish(stripe, generation, first, plan.bell);
    if (lsn === L.RING_EPOCH) continue;
    // Its own ring: nobody has written there since.
    const stamp = machine.cores[bank]!.view.getUint8(first - L.GROUP_HEADER_BYTES + L.GROUP_EPOCH);
    ledger.end(publication, lsn, stamp);
    return lsn;
  }
}

/** Waits for space if there is none. */
function* putBlocking(owner: Owner, entries: number): Part {
  const { place, x, bank, stripe } = owner;
  const headAt = stripeWord(place, bank, stripe, L.STRIPE_HEAD);
  for (let asked = false; ; asked = true) {
    const head = yield () => x.host_load(headAt);
    if (asked) yield () => x.ring_want_space(stripe);
    const lsn = yield* put(owner, entries);
    if (lsn !== L.RING_FULL) return lsn;
    if (asked) yield* waitOn(x, headAt, head, "must");
  }
}

/** DurableWaits.block. */
function* block({ instances, machine }: Place, bank: number, lsn: number, ask: (x: Exports) => void): Part {
  const x = instances[bank]!;
  const wakeAt = machine.bankAddress(bank) + L.CTL_WAKE;
  yield () => ask(x);
  for (;;) {
    const seen = yield () => x.host_load(wakeAt);
    if ((yield () => x.log_durable_lsn()) >= lsn) return 0;
    yield* waitOn(x, wakeAt, seen, "must");
  }
}

export function* writer(place: Place, name: string, id: number, plan: WriterPlan): Program {
  const owner = yield* claim(place, name, id, plan);
  const { x, bank, stripe } = owner;
  for (const [i, entries] of plan.publications.entries()) {
    if (i === plan.advancesAt) owner.epoch = yield* advance(place, place.ledger.through(name));
    const lsn = yield* putBlocking(owner, entries);
    if (plan.tells) yield () => x.host_store(TOLD + 4 * (id - 1), place.ledger.through(name).length);
    // Revoked: it may publish nothing any more, and finds that out again.
    if (lsn < 0) continue;
    const { demand } = plan;
    if (demand !== undefined) yield* block(place, bank, lsn + entries - 1, () => x.ring_demand(stripe, lsn + entries - 1, demand));
  }
  for (const [other, there] of allBanks(place).entries()) {
    if (!plan.demandOthers || other === bank) continue;
    const last = yield () => there.log_last_lsn();
    yield* block(place, other, last, () => there.ring_demand_other(last));
  }
  if (plan.release) yield () => x.ring_release(stripe, id);
}

// --- the epoch barrier ----------------------------------------------------------------------------

/** A thread that advances the epoch, and knows what these writers have told. */
export function* advancer(place: Place, writers: string[]): Program {
  const before: Publication[] = [];
  for (const [i, name] of writers.entries()) {
    const told = yield () => place.instances[0]!.host_load(TOLD + 4 * i);
    before.push(...place.ledger.through(name).slice(0, told));
  }
  yield* advance(place, before);
}

/** Advances the epoch after these were through. */
function* advance(place: Place, before: Publication[]): Part {
  const epoch = yield* advanceEpoch(place);
  const durable: number[] = [];
  for (const x of allBanks(place)) durable.push(yield () => x.log_durable_lsn());
  const published = before.filter(({ fate }) => fate === "published");
  place.ledger.advanced(published, epoch, durable);
  return epoch;
}

function* advanceEpoch(place: Place): Part {
  const x = place.instances[0]!;
  const epoch = yield () => x.host_load64(L.LOG_EPOCH);
  yield* barrier(place, epoch);
  yield () => x.host_cmpxchg64(L.LOG_EPOCH, epoch, epoch + 1);
  yield* barrier(place, epoch + 1);
  return epoch + 1;
}

function* barrier(place: Place, epoch: number): Part {
  const x = place.instances[0]!;
  for (;;) {
    const seen = yield () => x.host_load(L.LOG_BARRIER_WAKE);
    if ((yield () => x.host_load64(L.LOG_RECORDED)) >= epoch) return 0;
    if (yield* haveBegun(place, epoch)) yield* raise(x, L.LOG_COMPLETE, epoch);
    yield* ringDoorbells(place);
    yield* waitOn(x, L.LOG_BARRIER_WAKE, seen, place.deadly ? "timed" : "must");
  }
}

function* haveBegun({ instances, machine }: Place, epoch: number): Part<boolean> {
  const x = instances[0]!;
  for (let bank = 0; bank < (yield () => x.host_load(L.LOG_CORES)); bank++) {
    const at = machine.bankAddress(bank);
    if ((yield () => x.host_load(at + L.CTL_STRIPE_HIGH)) > 0 && (yield () => x.host_load64(at + L.CTL_EPOCH_DONE)) < epoch) return false;
  }
  return true;
}

function* raise(x: Exports, at: number, value: number): Part {
  for (let seen = yield () => x.host_load64(at); seen < value;) {
    const expected = seen;
    const before = yield () => x.host_cmpxchg64(at, expected, value);
    if (before === seen) break;
    seen = before;
  }
  return 0;
}

function* ringDoorbells({ instances, machine, ledger }: Place): Part {
  const x = instances[0]!;
  for (let pump = 0; pump < ledger.setup.pumps; pump++) {
    const bell = machine.bankAddress(pump) + L.CTL_SLEEP;
    if ((yield () => x.host_exchange(bell, L.SLEEP_AWAKE)) !== L.SLEEP_AWAKE) yield () => x.host_notify(bell, 1);
  }
  return 0;
}

// --- flushers -------------------------------------------------------------------------------------

export interface FlusherPlan {
  /** Revokes the stripes that are pending: as soon as it sees one, or when nothing else happens. */
  revoke: "at once" | "late";
  /** Bytes of a frame's body. */
  capacityBytes: number;
  /** A planted bug: it lies down without looking again. */
  hasty?: boolean;
}

/** Beside the SLEEP_* states: it waits for a writer that is pending. */
const STALLED = 3;

class ChainFlusher {
  /** Time has passed: what nobody waits for is flushed as well. */
  due = false;
  private stalled: number[] | undefined;
  private late: Set<number> | undefined;
  private barrierLsn: number | undefined;
  private complete: number;
  private readonly x: Exports;

  constructor(
    private readonly place: Place,
    private readonly plan: FlusherPlan,
    readonly bank: number,
  ) {
    this.x = place.instances[bank]!;
    this.complete = place.ledger.setup.epoch;
  }

  private address(word: number): number {
    return this.place.machine.bankAddress(this.bank) + word;
  }

  /** Of the flusher's own words, as the last fill left them. */
  private own(word: number): number {
    return this.place.machine.cores[this.bank]!.i32[word >> 2]!;
  }

  private get next(): number {
    return Number(this.place.machine.cores[this.bank]!.view.getBigInt64(L.MERGE_NEXT_LSN, true));
  }

  /** SLEEP_AWAKE if there is work, else how deep it may sleep. */
  *rest(): Part {
    const { x } = this;
    const durable = yield () => x.log_durable_lsn();
    const waiting = (yield () => x.log_last_lsn()) >= this.next;
    const due = (yield* this.epochDue()) || (yield* this.recordDue());
    if (!waiting && !due) {
      this.stalled = undefined;
      return L.SLEEP_IDLE;
    }
    if (this.stalled !== undefined || this.due || due) return L.SLEEP_AWAKE;
    if ((yield () => x.merge_demand(1)) > durable || (yield () => x.merge_pressed())) return L.SLEEP_AWAKE;
    return (yield () => x.merge_demand(0)) > durable ? L.SLEEP_AWAKE : L.SLEEP_TIMED;
  }

  /** At most one flush. `passed`: time has passed since it stalled. */
  *step(passed: boolean): Part {
    const sleep = yield* this.rest();
    if (sleep !== L.SLEEP_AWAKE) return sleep;
    yield* this.joinEpoch();
    const epochDue = yield* this.epochDue();
    if (epochDue) yield* this.lookForLate();
    if (yield* this.flush(passed)) return L.SLEEP_AWAKE;
    if (epochDue) yield* this.beginEpoch(passed);
    else if ((yield () => this.x.log_last_lsn()) < this.next && (yield* this.recordDue())) yield* this.record(yield* this.epoch());
    return this.stalled === undefined ? L.SLEEP_AWAKE : STALLED;
  }

  private *flush(passed: boolean): Part<boolean> {
    const { x, bank, plan } = this;
    const { machine, ledger } = this.place;
    const bytes = yield () => x.merge_fill(machine.frame, plan.capacityBytes);
    if (bytes === 0) {
      yield* this.waitForPending(this.own(L.MERGE_PENDING) !== 0, passed);
      return false;
    }
    this.stalled = undefined;
    ledger.frame(bank, bytes);
    const next = this.next;
    yield () => x.log_publish_durable(next - 1);
    this.due = this.own(L.MERGE_MORE) !== 0;
    return true;
  }

  private *waitForPending(pending: boolean, passed: boolean): Part {
    const { x, plan } = this;
    const { stalled } = this;
    this.stalled = undefined;
    if (!pending) return 0;
    const atOnce = plan.revoke === "at once";
    if (!atOnce && stalled !== undefined && !passed) {
      this.stalled = stalled;
      return 0;
    }
    const states: number[] = [];
    for (let s = 0; s < this.place.ledger.setup.stripes; s++) {
      const at = stripeWord(this.place, this.bank, s, L.STRIPE_STATE);
      states.push(yield () => x.host_load64(at));
    }
    if (!atOnce && stalled === undefined) {
      this.stalled = states;
      return 0;
    }
    for (const [s, state] of states.entries())
      if ((atOnce || state === stalled![s]) && (yield () => x.ring_pending(s))) yield () => x.ring_revoke(s);
    return 0;
  }

  // --- epochs

  /** The epoch of the frames that it writes: its own, once it is there. */
  private *epoch(): Part {
    return yield () => this.x.host_get64(this.address(L.MERGE_EPOCH));
  }

  private *epochDue(): Part<boolean> {
    return (yield () => this.x.host_load64(L.LOG_EPOCH)) > (yield* this.epoch());
  }

  /** A core that nobody had taken at the last barrier. */
  private *joinEpoch(): Part {
    const epoch = yield () => this.x.host_load64(L.LOG_RECORDED);
    if (epoch <= (yield* this.epoch())) return 0;
    yield* this.record(epoch);
    return yield* this.begun(epoch);
  }

  private *begun(epoch: number): Part {
    const { x } = this;
    this.late = this.barrierLsn = this.stalled = undefined;
    yield () => x.host_put64(this.address(L.MERGE_EPOCH), epoch);
    yield () => x.host_store64(this.address(L.CTL_EPOCH_DONE), epoch);
    yield () => x.log_barrier_wake();
    return 0;
  }

  private *lookForLate(): Part {
    const { x } = this;
    if (this.barrierLsn !== undefined) return 0;
    if (this.late === undefined) {
      const stripes = yield () => x.host_load(this.address(L.CTL_STRIPE_HIGH));
      this.late = new Set(Array.from({ length: stripes }, (_, stripe) => stripe));
    }
    for (const stripe of this.late) if ((yield () => x.ring_pending(stripe)) === 0) this.late.delete(stripe);
    if (this.late.size === 0) this.barrierLsn = (yield () => x.log_last_lsn()) + 1;
    return 0;
  }

  private *beginEpoch(passed: boolean): Part {
    if (this.barrierLsn === undefined) return yield* this.waitForPending(true, passed);
    if (this.next < this.barrierLsn && this.own(L.MERGE_AHEAD) === 0) return 0;
    const epoch = (yield* this.epoch()) + 1;
    yield* this.record(epoch);
    return yield* this.begun(epoch);
  }

  private *recordDue(): Part<boolean> {
    return this.bank === 0 && (yield () => this.x.host_load64(L.LOG_COMPLETE)) > this.complete;
  }

  private *record(epoch: number): Part {
    const { x } = this;
    const complete = yield () => x.host_load64(L.LOG_COMPLETE);
    this.place.ledger.marks(this.bank, epoch, complete);
    this.complete = Math.max(this.complete, complete);
    if (this.bank !== 0 || complete === 0) return 0;
    yield () => x.host_store64(L.LOG_RECORDED, complete);
    yield () => x.log_barrier_wake();
    return 0;
  }
}

/** A thread that pumps. */
export function* pump(place: Place, plan: FlusherPlan, number: number): Program {
  const { machine } = place;
  const { pumps } = place.ledger.setup;
  const x = place.instances[number]!;
  const sleepAt = machine.bankAddress(number) + L.CTL_SLEEP;
  const flushers: ChainFlusher[] = [];
  /** A bank that was claimed and has no flusher yet; -1: none. */
  function* missing(): Part {
    const claimed = yield () => x.host_load(L.LOG_CORES);
    for (let bank = number; bank < claimed; bank += pumps) {
      if (flushers.some((flusher) => flusher.bank === bank)) continue;
      if ((yield () => x.host_load(machine.bankAddress(bank) + L.CTL_STRIPE_HIGH)) > 0) return bank;
    }
    return -1;
  }
  for (let passed = false; ;) {
    for (let bank: number; (bank = yield* missing()) >= 0;) flushers.push(new ChainFlusher(place, plan, bank));
    const sleeps: number[] = [];
    for (const flusher of flushers) sleeps.push(yield* flusher.step(passed));
    passed = false;
    if (sleeps.includes(L.SLEEP_AWAKE)) continue;
    if (sleeps.includes(STALLED)) {
      passed = (yield* pause(x)) === 1;
      continue;
    }
    // lieDown.
    const sleep = sleeps.includes(L.SLEEP_TIMED) ? L.SLEEP_TIMED : L.SLEEP_IDLE;
    yield () => x.host_store(sleepAt, sleep);
    let again = false;
    if (!plan.hasty) {
      const rests: number[] = [];
      for (const flusher of flushers) rests.push(yield* flusher.rest());
      again = rests.includes(L.SLEEP_AWAKE) || rests.includes(L.SLEEP_TIMED) !== (sleep === L.SLEEP_TIMED) || (yield* missing()) >= 0;
    }
    if (!again && (yield* waitOn(x, sleepAt, sleep, sleep === L.SLEEP_TIMED ? "timed" : "may")) === 1)
      for (const [i, flusher] of flushers.entries()) flusher.due ||= sleeps[i] === L.SLEEP_TIMED;
    yield () => x.host_store(sleepAt, L.SLEEP_AWAKE);
  }
}

/** The opener, which sees the end of a worker and takes its stripes away (onWorker in open-log.ts). */
export function* supervisor(place: Place, victim: number, owner: number): Program {
  const { instances, ledger } = place;
  // It comes at any moment.
  yield () => instances[0]!.log_state();
  yield { end: victim };
  for (let bank = 0; bank < ledger.setup.banks; bank++) {
    const x = instances[bank]!;
    for (let s = 0; s < ledger.setup.stripes; s++) {
      if ((yield () => x.host_load(stripeWord(place, bank, s, L.STRIPE_OWNER))) !== owner) continue;
      yield () => x.ring_revoke(s);
      yield () => x.ring_release(s, owner);
    }
  }
  for (const x of instances.slice(0, ledger.setup.pumps)) yield () => x.doorbell_ring_always();
}
