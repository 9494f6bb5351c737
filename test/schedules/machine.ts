// Threads that take turns: each has its own instances of the instrumented module over one memory, one for each bank, and a
// program that calls them. Before each atomic access somebody chooses who goes next; a thread that has to wait is unwound out of the
// module (Asyncify) and rewound when its turn comes. Plain accesses are no such place: where they matter they are
// ordered by atomic ones, and where they are not, that is a race and found as one.

import instrumented from "corewal:schedule";
import * as L from "../../assembly/layout.js";
import { clearControl, initLog, logGeometry, type Geometry } from "../../src/banks.js";
import { bindCore, coreModule, makeMemory, type Core, type CoreExports } from "../../src/core.js";
import { History, type StateNumber } from "./history.js";
import { placeName } from "./places.js";
import { Races, type Race } from "./races.js";

/** What the module exports, and the host's own accesses of shared words (scripts/instrument.mjs). */
export interface Exports extends CoreExports {
  host_load(at: number): number;
  host_store(at: number, value: number): void;
  host_exchange(at: number, value: number): number;
  host_notify(at: number, count: number): number;
  host_load64(at: number): number;
  host_store64(at: number, value: number): void;
  host_cmpxchg64(at: number, expected: number, value: number): number;
  /** Plain, as what follows. */
  host_put(at: number, value: number): void;
  host_get64(at: number): number;
  host_put64(at: number, value: number): void;
}

/** A thread's instances: index is the bank. Addresses of the host's accesses are absolute. */
export type Instances = readonly Exports[];

interface Asyncified extends Exports {
  asyncify_start_unwind(stack: number): void;
  asyncify_stop_unwind(): void;
  asyncify_start_rewind(stack: number): void;
  asyncify_stop_rewind(): void;
}

/**
 * What a program does next: a call into the module; a wait for a notification of a word, which either must come, may
 * come, or is over some time; a pause until another thread has written something or time has passed, right after a load
 * of PAUSES; the end of another thread, wherever it stands. The answer is the call's result, or 1 if the time was over, else 0.
 */
export type Step = (() => number | void) | { wait: number; wake: "must" | "may" | "timed" } | { pause: true } | { end: number };
export type Program = Generator<Step, void, number>;

export interface Setup {
  /** One for each core of a per-core log; a striped log has one. */
  banks: 1 | 2;
  /** How many threads pump them. */
  pumps: number;
  /** Of each bank. */
  stripes: number;
  ringBytes: number;
  /** Where tail and head of each ring begin. */
  start: number;
  /** In which the log begins. */
  epoch: number;
}

/** Chooses one of `count` threads, or throws KNOWN. Before an access of the word `at` 0 is the one that runs and could go on. */
export type Choose = (count: number, at?: number) => number;

export class Failure extends Error {}
/** Thrown, and its message returned, where a schedule has come to a state from which everything was explored before. */
export const KNOWN = new Error("known");

/** A word that nobody uses. Who is about to pause loads it: a place to be preempted, with which every write conflicts. */
export const PAUSES = 0;

/** Words that nobody uses either, one for each writer: how many of its publications are through, for whoever asks. */
export const TOLD = 4;

const THREADS_MAX = 5;
const BANKS_MAX = 2;
const STRIPES_MAX = 4;
const RING_BYTES_MAX = 256;
const FRAME_BYTES = 4096;
const STACK_BYTES = 1024;
/** More than any schedule here needs: threads that chase each other for ever. */
const STEPS_MAX = 20_000;
/** No site has this number. */
const TIME_PASSED = -2;

type State = "ready" | "waiting" | "pausing" | "over";
const STATES: State[] = ["ready", "waiting", "pausing", "over"];

class Thread {
  state: State = "over";
  program!: Program;
  name = "";
  /** The call that it is in the middle of, or is about to make. */
  call: (() => number | void) | undefined;
  unwinding = false;
  rewinding = false;
  suspended = false;
  answer = 0;
  waitsAt = 0;
  wake: "must" | "may" | "timed" = "must";
  /** The word whose access it was preempted before, and whether that is a write; -1: none, or another one conflicted. */
  preemptedAt = -1;
  preemptedWrite = false;
  instances: Asyncified[] = [];
  /** The one in which it is suspended. */
  inside!: Asyncified;

  constructor(
    readonly index: number,
    readonly stack: number,
  ) {}
}

export class Machine {
  /** The module as it ships over the same memory, one for each bank, for whoever looks on: its accesses are nobody's. */
  readonly cores: Core[];
  /** Address of each bank's frame buffer, in the bank. */
  readonly frame: number;
  readonly frameBytes = FRAME_BYTES;
  readonly seed: number;
  steps = 0;
  /** Words whose atomic accesses conflict, by any thread in any schedule so far since forget(): 1. */
  readonly contended: Uint8Array;
  contendedCount = 0;
  private readonly readers: Uint8Array;
  private readonly writers: Uint8Array;
  private readonly geometry: Geometry;
  private readonly threads: Thread[];
  private readonly races: Races;
  private readonly history: History;
  /** Shared memory as `prepared` begins. */
  private readonly initial: Int32Array;
  private prepared: Setup | undefined;
  private readonly states = new Uint8Array(THREADS_MAX);
  /** Index of the thread before whose access somebody chooses; -1: nobody runs. */
  private running = -1;
  /**
   * Leaves out schedules that come to the same as others. Who was preempted before an access goes on only after another
   * thread's access that conflicts with it; otherwise it might as well have been preempted later, or not at all.
   */
  thrifty = false;
  private active: Thread[] = [];
  private next: Thread | undefined;
  private choose!: Choose;
  private trace: ((text: string) => void) | undefined;
  private stepsEnd = 0;

  constructor() {
    const { from, bytes } = instrumented.unwatched;
    if (from !== L.CRC_TABLES || bytes !== L.CRC_TABLES_BYTES) throw new Error("scripts/instrument.mjs has another place for the tables");
    const geometry = (this.geometry = logGeometry(STRIPES_MAX, RING_BYTES_MAX, FRAME_BYTES, BANKS_MAX));
    this.frame = geometry.frame;
    const memory = makeMemory(geometry.totalBytes + THREADS_MAX * STACK_BYTES);
    const core = bindCore(coreModule(), memory);
    this.cores = Array.from({ length: BANKS_MAX }, (_, bank) => core.at(this.bankAddress(bank)));
    core.x.crc32c_init();
    this.seed = core.x.crc32c_update(-1, this.frame, 24);
    const watchedBytes = this.bankAddress(BANKS_MAX - 1) + this.frame;
    this.contended = new Uint8Array(watchedBytes >> 2);
    this.readers = new Uint8Array(watchedBytes >> 2);
    this.writers = new Uint8Array(watchedBytes >> 2);
    this.races = new Races(THREADS_MAX, watchedBytes);
    this.history = new History(THREADS_MAX, watchedBytes >> 2);
    this.initial = new Int32Array(watchedBytes >> 2);
    const module = new WebAssembly.Module(Buffer.from(instrumented.wasm, "base64"));
    this.threads = Array.from({ length: THREADS_MAX }, (_, i) => {
      const thread = new Thread(i, geometry.totalBytes + i * STACK_BYTES);
      for (let bank = 0; bank < BANKS_MAX; bank++) {
        const schedule = {
          point: (site: number, at: number): void => this.point(thread, bank, site, at),
          atomic: (site: number, at: number, wrote: number): void => this.atomic(thread, site, at, wrote),
          plain: (site: number, at: number, bytes: number): void => this.plain(thread, site, at, bytes),
        };
        const imports = { env: { memory, bank: this.bankAddress(bank) }, schedule };
        thread.instances.push(new WebAssembly.Instance(module, imports).exports as Asyncified);
      }
      return thread;
    });
  }

  bankAddress(bank: number): number {
    return bank * this.geometry.bankBytes;
  }

  /** One schedule of these programs, from new rings on, and a check of what it left. Returns what went wrong, if anything did. */
  run(
    setup: Setup,
    programs: [string, (instances: Instances) => Program][],
    choose: Choose,
    check: () => void,
    trace?: (text: string) => void,
  ): string | undefined {
    this.prepare(setup);
    this.choose = choose;
    this.trace = trace;
    this.next = undefined;
    this.stepsEnd = this.steps + STEPS_MAX;
    this.active = programs.map(([name, program], i) => {
      const thread = this.threads[i]!;
      thread.name = name;
      thread.state = "ready";
      thread.program = program(thread.instances);
      thread.call = undefined;
      thread.suspended = thread.rewinding = false;
      thread.answer = 0;
      thread.preemptedAt = -1;
      return thread;
    });
    try {
      for (let thread = this.whoever(); thread !== undefined; thread = this.next ?? this.whoever()) {
        this.next = undefined;
        this.advance(thread);
      }
      check();
      return undefined;
    } catch (error) {
      if (error === KNOWN) return KNOWN.message;
      return error instanceof Failure ? error.message : `an error: ${String(error)}`;
    }
  }

  /** The state in which somebody chooses. */
  reached(): StateNumber {
    this.active.forEach(({ state, preemptedAt }, i) => (this.states[i] = STATES.indexOf(state) + (preemptedAt < 0 ? 0 : STATES.length)));
    return this.history.number(this.states, this.active.length, this.running);
  }

  /** Another scenario begins: which words conflict is not known yet. */
  forget(): void {
    this.contended.fill(0);
    this.contended[PAUSES >> 2] = 1;
    this.readers.fill(0);
    this.writers.fill(0);
    this.contendedCount = 0;
  }

  private prepare(setup: Setup): void {
    const { cores, races, initial } = this;
    const core = cores[0]!;
    if (setup === this.prepared) {
      // What the last schedule touched.
      for (const word of races.touched) core.i32[word] = initial[word]!;
    } else {
      const { banks, pumps, stripes, ringBytes, start, epoch } = setup;
      const { rings } = this.geometry;
      clearControl(core, this.geometry);
      const timed = banks > 1;
      const geometry = { ...this.geometry, stripes, banks };
      initLog(core, geometry, { ringBytes, entrySeed: this.seed, nextLsn: () => 1, pumps, timed, epoch, complete: epoch });
      for (const { bytes, view } of cores) {
        bytes.fill(0, rings, rings + STRIPES_MAX * RING_BYTES_MAX);
        for (let s = 0; s < stripes; s++) {
          const block = L.STRIPE_BLOCKS + s * L.STRIPE_BYTES;
          view.setUint32(block + L.STRIPE_STATE, start, true);
          view.setUint32(block + L.STRIPE_HEAD, start, true);
        }
      }
      initial.set(core.i32.subarray(0, initial.length));
      this.prepared = setup;
    }
    races.reset();
    this.history.reset();
  }

  /** Runs a thread until somebody else is to go on, or it has to wait, or is through. */
  private advance(thread: Thread): void {
    if (thread.suspended) {
      thread.suspended = false;
      thread.rewinding = true;
      thread.inside.asyncify_start_rewind(thread.stack);
    }
    for (;;) {
      if (thread.call !== undefined) {
        const result = thread.call();
        if (thread.unwinding) {
          thread.inside.asyncify_stop_unwind();
          thread.unwinding = false;
          thread.suspended = true;
          return;
        }
        thread.call = undefined;
        thread.answer = result ?? 0;
      }
      const { done, value } = thread.program.next(thread.answer);
      thread.answer = 0;
      if (done) {
        thread.state = "over";
        return;
      }
      if (typeof value === "function") {
        thread.call = value;
      } else if ("end" in value) {
        const ended = this.active[value.end]!;
        ended.state = "over";
        this.races.joined(thread.index, ended.index);
        this.history.join(thread.index, ended.index);
        this.trace?.(`${thread.name}: sees the end of ${ended.name}`);
      } else {
        thread.state = "pause" in value ? "pausing" : "waiting";
        // Any write ends the pause, so it conflicts with all of them.
        if ("pause" in value) for (const other of this.active) if (other.preemptedWrite) other.preemptedAt = -1;
        if ("wait" in value) {
          thread.waitsAt = value.wait;
          thread.wake = value.wake;
        }
        this.trace?.(`${thread.name}: ${"wait" in value ? `waits on ${this.place(value.wait)}` : "pauses"}`);
        return;
      }
    }
  }

  /** Nobody runs: one of those who could, or whoever can after a while. Undefined: all are through, or may sleep for ever. */
  private whoever(): Thread | undefined {
    let ready = this.active.filter(({ state }) => state === "ready");
    if (ready.length === 0) {
      const passed = this.active.filter(({ state }) => state === "pausing");
      const stuck = this.active.filter(({ state, wake }) => state === "waiting" && wake === "must");
      if (passed.length === 0 && stuck.length > 0) {
        const texts = this.active.filter(({ state }) => state === "waiting").map((t) => `${t.name} on ${this.place(t.waitsAt)}`);
        throw new Failure(`lost wake-up: nobody runs, and there wait ${texts.join(", ")}`);
      }
      ready = passed.length > 0 ? passed : this.active.filter(({ state, wake }) => state === "waiting" && wake === "timed");
      for (const thread of ready) {
        thread.state = "ready";
        thread.answer = 1;
        this.history.note(thread.index, TIME_PASSED);
      }
      // Time that passes without anything happening is a step as well.
      this.count();
    }
    this.running = -1;
    const useful = ready.filter(({ preemptedAt }) => preemptedAt < 0);
    if (useful.length === 0 && ready.length > 0) throw KNOWN;
    return useful.length < 2 ? useful[0] : useful[this.choose(useful.length)];
  }

  private count(): void {
    if (++this.steps > this.stepsEnd) throw new Failure(`no end after ${STEPS_MAX} steps`);
  }

  /** Before an atomic access. */
  private point(thread: Thread, bank: number, site: number, at: number): void {
    if (thread.rewinding) {
      thread.rewinding = false;
      thread.inside.asyncify_stop_rewind();
      return;
    }
    this.count();
    const { active } = this;
    let others = 0;
    for (const other of active) if (other !== thread && other.state === "ready" && other.preemptedAt < 0) others++;
    if (others === 0) return;
    this.running = thread.index;
    let choice = this.choose(others + 1, at);
    if (choice === 0) return;
    for (const other of active) {
      if (other === thread || other.state !== "ready" || other.preemptedAt >= 0 || --choice > 0) continue;
      this.next = other;
      break;
    }
    if (this.thrifty) {
      thread.preemptedAt = at >> 2;
      thread.preemptedWrite = instrumented.sites[site]!.kind !== "load";
    }
    const { i32 } = this.cores[0]!;
    i32[thread.stack >> 2] = thread.stack + 8;
    i32[(thread.stack + 4) >> 2] = thread.stack + STACK_BYTES;
    thread.unwinding = true;
    thread.inside = thread.instances[bank]!;
    thread.inside.asyncify_start_unwind(thread.stack);
  }

  /** After an atomic access. */
  private atomic(thread: Thread, site: number, at: number, wrote: number): void {
    const { kind, bytes } = instrumented.sites[site]!;
    if (this.trace !== undefined) this.traceAccess(thread, site, at, kind === "cmpxchg" && wrote === 0 ? " (found another value)" : "");
    this.contend(thread.index, at >> 2, wrote !== 0);
    this.history.access(thread.index, site, at >> 2, kind !== "store" && kind !== "notify", wrote !== 0 && kind !== "notify");
    // A notification changes what a wait finds, also where nobody waits yet.
    const writes = wrote !== 0 || kind === "notify";
    for (const other of this.active) {
      if (other === thread || other.preemptedAt < 0) continue;
      if (other.preemptedAt === at >> 2 ? writes || other.preemptedWrite : writes && other.preemptedAt === PAUSES >> 2)
        other.preemptedAt = -1;
    }
    if (kind === "notify") {
      for (const other of this.active) {
        if (other.state !== "waiting" || other.waitsAt !== at) continue;
        other.state = "ready";
        if (wrote === 1) break;
      }
      return;
    }
    this.found(this.races.atomic(thread.index, at, bytes, kind !== "store", wrote !== 0), thread, site);
    if (wrote !== 0) for (const other of this.active) if (other.state === "pausing" && other !== thread) other.state = "ready";
  }

  private contend(thread: number, word: number, wrote: boolean): void {
    if (this.contended[word] === 1) return;
    const all = (this.readers[word]! |= 1 << thread);
    const writers = (this.writers[word]! |= wrote ? 1 << thread : 0);
    // Several touch it, and one of them writes.
    if (writers === 0 || (all & (all - 1)) === 0) return;
    this.contended[word] = 1;
    this.contendedCount++;
  }

  private plain(thread: Thread, site: number, at: number, bytes: number): void {
    // A frame is its flusher's alone.
    if (at % this.geometry.bankBytes >= this.frame) return;
    if (this.trace !== undefined) this.traceAccess(thread, site, at, "");
    this.found(this.races.plain(thread.index, at, bytes, instrumented.sites[site]!.kind === "store"), thread, site);
  }

  private found(race: Race | undefined, thread: Thread, site: number): void {
    if (race === undefined) return;
    const { where, text } = instrumented.sites[site]!;
    throw new Failure(
      `race: ${race.now} of ${this.place(race.at)} by ${thread.name} (${where}: ${text}), not ordered after a ${race.before} by ${this.active[race.other]!.name}`,
    );
  }

  private place(at: number): string {
    return placeName(at, this.geometry.bankBytes);
  }

  private traceAccess(thread: Thread, site: number, at: number, end: string): void {
    const { where, text, bytes } = instrumented.sites[site]!;
    const { view } = this.cores[0]!;
    const value = bytes === 8 ? view.getBigUint64(at, true) : view.getUint32(at, true);
    this.trace!(`${thread.name}: ${where} ${text} ${this.place(at)} = ${value}${end}`);
  }
}
