// A thread that dies at a chosen step of an append. The threads of the simulator are one, so its end is an exception
// that leaves shared memory as it was at that step: thrown by the test build of the module at its points (1 to 5, see
// assembly/ring.ts), or around its exports, before and after.

import { threadId } from "node:worker_threads";
import wasmPoints from "corewal:wasm-points";
import { RING_FULL } from "../../assembly/layout.js";
import { logGeometry } from "../../src/banks.js";
import { bindCore, makeMemory, type Core } from "../../src/core.js";
import { frameBytesMax, resolveOptions, type LogOptions } from "../../src/options.js";
import { DEATHS } from "./counts.js";

export type Death = (typeof DEATHS)[number];

class ThreadDeath extends Error {}

/** DEATHS in the order in which an append passes them: two before point 1, one after point 5. */
const POINT_BEFORE_PENDING = DEATHS.indexOf("before it is pending");
let doom: Death | undefined;
/** What other threads do when the one that appends reaches a point. */
let interruption: { point: number; run: () => void } | undefined;

/** The flusher has points as well, which are none of these. */
function reach(death: Death | undefined): void {
  if (doom === undefined || doom !== death) return;
  doom = undefined;
  throw new ThreadDeath(death);
}

function reachPoint(point: number): void {
  if (interruption?.point === point) {
    const { run } = interruption;
    interruption = undefined;
    run();
  }
  reach(DEATHS[POINT_BEFORE_PENDING + point - 1]);
}

const cores = new Map<string, Core>();
let compiled: WebAssembly.Module | undefined;

/**
 * A core whose threads are mortal, for one log after the other: making one costs more than a small log's whole life.
 * `other`: a second one, for a log that takes another one's place.
 */
export function mortalCore(options: LogOptions, other = false): Core {
  const resolved = resolveOptions(options);
  const { stripes, ringBytes, frameAlign, topology } = resolved;
  const banks = topology === "per-core" ? stripes : 1;
  const { totalBytes } = logGeometry(banks === 1 ? stripes : 1, ringBytes, frameBytesMax(resolved) + frameAlign, banks);
  const name = `${totalBytes} ${other}`;
  let core = cores.get(name);
  if (core === undefined) {
    compiled ??= new WebAssembly.Module(Buffer.from(wasmPoints, "base64"));
    core = dress(bindCore(compiled, makeMemory(totalBytes), reachPoint));
    core.x.crc32c_init();
    cores.set(name, core);
  }
  return core;
}

function dress(core: Core): Core {
  const { x } = core;
  const others = new Map<number, Core>();
  const at = (bank: number): Core => {
    const other = others.get(bank) ?? dress(core.at(bank));
    others.set(bank, other);
    return other;
  };
  const reserved = (at: number): number => {
    if (at > RING_FULL) reach("after it reserved");
    return at;
  };
  const halfCopied = (at: number): void => {
    if (doom !== "half copied") return;
    core.bytes.fill(0xdd, at, at + 4);
    reach("half copied");
  };
  const rung = (lsn: number): number => {
    reach("after the doorbell");
    return lsn;
  };
  return {
    ...core,
    // Of the first bank only: making one costs more than a small log's whole life.
    at,
    x: {
      ...x,
      ring_reserve: (...all) => reserved(x.ring_reserve(...all)),
      ring_reserve_entry: (...all) => reserved(x.ring_reserve_entry(...all)),
      ring_publish: (stripe, generation, at, bell) => (halfCopied(at), rung(x.ring_publish(stripe, generation, at, bell))),
      ring_publish_entry: (stripe, generation, at, bell) => (halfCopied(at), rung(x.ring_publish_entry(stripe, generation, at, bell))),
    },
  };
}

/** Runs an append of a thread that dies at that step, if it gets there. Returns whether it did. */
export function dieAt(death: Death, append: () => Promise<unknown>): { died: boolean; promise: Promise<unknown> } {
  doom = death;
  const promise = append();
  const died = doom === undefined;
  doom = undefined;
  if (died) promise.catch(() => {});
  return { died, promise };
}

/** Runs an append; others do something meanwhile, when it is at this point, if it gets there. Returns whether it did. */
export function interrupt(point: number, meanwhile: () => void, append: () => void): boolean {
  interruption = { point, run: meanwhile };
  append();
  const happened = interruption === undefined;
  interruption = undefined;
  return happened;
}

/** What an append has left behind at each step. */
export const tookLsns = (death: Death): boolean => DEATHS.indexOf(death) >= DEATHS.indexOf("with its LSNs");
export const published = (death: Death): boolean => DEATHS.indexOf(death) >= DEATHS.indexOf("published");

/** The opener's thread sees the end of another one, as onWorker in src/log.ts does. */
export function seeEnd(core: Core, stripe: number): void {
  core.x.ring_revoke(stripe);
  core.x.ring_release(stripe, threadId + 1);
  core.x.doorbell_ring_always();
}
