// The programs of the threads: what src/ does around the module, step by step, with the waits made visible.
// writer: Producer (producer.ts), putBlocking (writer.ts), block (durable-waits.ts); flusher: step, rest, lieDown
// (flusher.ts). Two things are stricter here: nobody wakes up just to look again, as src/ does every 100 ms, and a
// writer that has stalled is revoked at once or whenever time has passed, as the scenario says.

import * as L from "../../assembly/layout.js";
import { up } from "../support/rings.js";
import type { Ledger } from "./ledger.js";
import { PAUSES, type Exports, type Machine, type Program, type Step } from "./machine.js";

type Part = Generator<Step, number, number>;

export interface WriterPlan {
  /** Entries of each publication, in order. */
  publications: number[];
  payloadBytes: number;
  bell: number;
  /** After each publication: waits until it is durable, without delay (1) or within the group's (0). */
  demand?: 0 | 1;
  /** Gives its stripe back when it is through. */
  release?: boolean;
}

const stripeWord = (stripe: number, offset: number): number => L.STRIPE_BLOCKS + stripe * L.STRIPE_BYTES + offset;

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

/** A writer with its stripe, as Producer has it. */
interface Owner {
  x: Exports;
  ledger: Ledger;
  seed: number;
  name: string;
  stripe: number;
  generation: number;
  plan: WriterPlan;
}

/** Producer.put: reserves, copies, publishes. An LSN or a RING_* code. */
function* put({ x, ledger, seed, name, stripe, generation, plan }: Owner, entries: number): Part {
  const size = L.ENTRY_HEADER_BYTES + up(plan.payloadBytes, 8);
  const first = yield () => x.ring_reserve(stripe, generation, size * entries, entries, 0);
  if (first <= 0) return first;
  const publication = ledger.begin(name, entries);
  for (let i = 0, at = first; i < entries; i++) {
    const payload = yield () => x.ring_entry(stripe, at, plan.payloadBytes, 0, L.KIND_DATA);
    for (let word = 0; word < plan.payloadBytes; word += 4) yield () => x.host_put(payload + word, publication.numbers[i]!);
    at = yield () => x.entry_end(seed, at);
  }
  const lsn = yield () => x.ring_publish(stripe, generation, first, plan.bell);
  ledger.end(publication, lsn);
  return lsn;
}

/** Waits for space if there is none. */
function* putBlocking(owner: Owner, entries: number): Part {
  const { x, stripe } = owner;
  const headAt = stripeWord(stripe, L.STRIPE_HEAD);
  for (let asked = false; ; asked = true) {
    const head = yield () => x.host_load(headAt);
    if (asked) yield () => x.ring_want_space(stripe);
    const lsn = yield* put(owner, entries);
    if (lsn !== L.RING_FULL) return lsn;
    if (asked) yield* waitOn(x, headAt, head, "must");
  }
}

/** DurableWaits.block. */
function* block(x: Exports, stripe: number, lsn: number, immediate: number): Part {
  yield () => x.ring_demand(stripe, lsn, immediate);
  for (;;) {
    const seen = yield () => x.host_load(L.CTL_WAKE);
    if ((yield () => x.log_durable_lsn()) >= lsn) return 0;
    yield* waitOn(x, L.CTL_WAKE, seen, "must");
  }
}

export function* writer(x: Exports, machine: Machine, ledger: Ledger, name: string, id: number, plan: WriterPlan): Program {
  let stripe: number;
  // Another one may still have to give it back.
  while ((stripe = yield () => x.ring_claim(id)) < 0) yield* pause(x);
  const generation = yield () => x.ring_generation(stripe);
  const owner: Owner = { x, ledger, seed: machine.seed, name, stripe, generation, plan };
  for (const entries of plan.publications) {
    const lsn = yield* putBlocking(owner, entries);
    // Revoked: it may publish nothing any more, and finds that out again.
    if (lsn < 0) continue;
    if (plan.demand !== undefined) yield* block(x, stripe, lsn + entries - 1, plan.demand);
  }
  if (plan.release) yield () => x.ring_release(stripe, id);
}

export interface FlusherPlan {
  /** Revokes the stripes that are pending: as soon as it sees one, or when nothing else happens. */
  revoke: "at once" | "late";
  /** Bytes of a frame's body. */
  capacityBytes: number;
  /** A planted bug: it lies down without looking again. */
  hasty?: boolean;
}

export function* flusher(x: Exports, machine: Machine, ledger: Ledger, plan: FlusherPlan): Program {
  const { core, frame } = machine;
  let due = false;
  let stalled = false;
  // Flusher.rest: 0 if there is work, else how deep it may sleep.
  function* rest(): Part {
    const durable = yield () => x.log_durable_lsn();
    const last = yield () => x.log_last_lsn();
    if (last < Number(core.view.getBigInt64(L.MERGE_NEXT_LSN, true))) return L.SLEEP_IDLE;
    if (stalled || due) return L.SLEEP_AWAKE;
    if ((yield () => x.merge_demand(1)) > durable || (yield () => x.merge_pressed())) return L.SLEEP_AWAKE;
    return (yield () => x.merge_demand(0)) > durable ? L.SLEEP_AWAKE : L.SLEEP_TIMED;
  }
  for (;;) {
    const sleep = yield* rest();
    if (sleep === L.SLEEP_AWAKE) {
      const bytes = yield () => x.merge_fill(frame, plan.capacityBytes);
      const pending = core.i32[L.MERGE_PENDING >> 2] !== 0;
      if (bytes > 0) {
        ledger.frame(bytes);
        const next = Number(core.view.getBigInt64(L.MERGE_NEXT_LSN, true));
        yield () => x.log_publish_durable(next - 1);
        stalled = false;
        due = core.i32[L.MERGE_MORE >> 2] !== 0;
      } else if (!pending) {
        stalled = false;
      } else if (plan.revoke === "at once" || (yield* pause(x)) === 1) {
        for (let s = 0; s < ledger.stripes; s++) if (yield () => x.ring_pending(s)) yield () => x.ring_revoke(s);
        stalled = false;
      } else {
        stalled = true;
      }
      continue;
    }
    // lieDown.
    yield () => x.host_store(L.CTL_SLEEP, sleep);
    if (plan.hasty || (yield* rest()) === sleep)
      due = (yield* waitOn(x, L.CTL_SLEEP, sleep, sleep === L.SLEEP_TIMED ? "timed" : "may")) === 1;
    yield () => x.host_store(L.CTL_SLEEP, L.SLEEP_AWAKE);
  }
}

/** The opener, which sees the end of a worker and takes its stripes away (onWorker in log.ts). */
export function* supervisor(x: Exports, ledger: Ledger, victim: number, owner: number): Program {
  // It comes at any moment.
  yield () => x.log_state();
  yield { end: victim };
  for (let s = 0; s < ledger.stripes; s++) {
    if ((yield () => x.host_load(stripeWord(s, L.STRIPE_OWNER))) !== owner) continue;
    yield () => x.ring_revoke(s);
    yield () => x.ring_release(s, owner);
  }
  yield () => x.doorbell_ring_always();
}
