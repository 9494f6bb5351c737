// A worker thread of `corewal append`: splits its blocks into lines and appends them through a stripe of its own.

import { parentPort } from "node:worker_threads";
import { codeOf, errorToText } from "../errors.js";
import { attachLog } from "../index.js";
import type { Durability, LogHandle, Writer } from "../types.js";
import { eachLine } from "./lines.js";

/** A bare ArrayBuffer: Deno 2.9 takes 30 ms to pass on a Uint8Array of 256 KiB, element by element it seems. */
export type ToWorker = { id: number; block: ArrayBuffer } | { end: true };

export interface BlockDone {
  id: number;
  /** Whose LSNs these are. */
  core: number;
  /** Lines looked at, empty ones included. */
  lines: number;
  blockBytes: number;
  entries: number;
  bytes: number;
  firstLsn: number;
  lastLsn: number;
  skippedEmpty: number;
  /** Where it stopped: the line's number in this block, from 1. */
  tooLong?: { line: number; bytes: number };
}

export type FromWorker = BlockDone | { ended: true } | { error: string };

export async function work({ handle, durability }: { handle: LogHandle; durability: Durability }): Promise<void> {
  const port = parentPort!;
  const say = (message: FromWorker) => port.postMessage(message);
  const fail = (error: unknown) => say({ error: errorToText(error) });
  try {
    const writer = await attachLog(handle);
    const syncer = new Syncer(writer, durability);
    let stopped = false;
    let turn = Promise.resolve();
    const take = async (message: ToWorker) => {
      if ("end" in message) {
        await writer.sync();
        await writer.close();
        say({ ended: true }); // the other side ends this thread: Deno's port has no close()
        return;
      }
      // After a line that is too long nothing of this thread may follow: the input's order would have a gap.
      const done = appendLines(writer, message.id, stopped ? new Uint8Array() : new Uint8Array(message.block));
      stopped ||= done.tooLong !== undefined;
      await syncer.after();
      say(done);
    };
    port.on("message", (message: ToWorker) => {
      turn = turn.then(() => take(message)).catch(fail);
    });
  } catch (error) {
    fail(error);
  }
}

/** `write` blocks this thread while the ring is full: that is the backpressure. */
function appendLines(writer: Writer, id: number, block: Uint8Array): BlockDone {
  const done: BlockDone = {
    id,
    core: writer.ownCore,
    lines: 0,
    blockBytes: block.length,
    entries: 0,
    bytes: 0,
    firstLsn: 0,
    lastLsn: 0,
    skippedEmpty: 0,
  };
  eachLine(block, (begin, end) => {
    done.lines++;
    if (begin === end) {
      done.skippedEmpty++;
      return true;
    }
    try {
      done.lastLsn = writer.write(block.subarray(begin, end));
    } catch (error) {
      if (codeOf(error) !== "COREWAL_ENTRY_TOO_LARGE") throw error;
      done.tooLong = { line: done.lines, bytes: end - begin };
      return false;
    }
    if (done.entries === 0) done.firstLsn = done.lastLsn;
    done.entries++;
    done.bytes += end - begin;
    return true;
  });
  return done;
}

/** What the durability means between blocks; the end is always durable. */
class Syncer {
  readonly #writer: Writer;
  readonly #durability: Durability;
  #running = false;
  #again = false;
  #failed: { error: unknown } | undefined;

  constructor(writer: Writer, durability: Durability) {
    this.#writer = writer;
    this.#durability = durability;
  }

  async after(): Promise<void> {
    if (this.#failed !== undefined) throw this.#failed.error;
    if (this.#durability === "sync") await this.#writer.sync();
    // Not waited for: the next block goes on meanwhile.
    else if (this.#durability === "group") void this.#inBackground();
  }

  /** One sync at a time: blocks that come meanwhile share the next. */
  async #inBackground(): Promise<void> {
    this.#again = true;
    if (this.#running) return;
    this.#running = true;
    try {
      while (this.#again) {
        this.#again = false;
        await this.#writer.sync();
      }
    } catch (error) {
      this.#failed = { error };
    }
    this.#running = false;
  }
}
