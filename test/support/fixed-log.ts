// A log in memory whose clock and chance are fixed, so that the same calls give the same bytes. The
// flusher is pumped by hand: nothing happens on its own.

import { ABANDON, openLogWith, PUMP, type Environment } from "../../src/log.js";
import type { LogOptions } from "../../src/options.js";
import type { Entry, Input, Log, Writer } from "../../src/types.js";
import { MemoryStorage } from "./memory-storage.js";

export const DIRECTORY = "/log";
/** Small segments, one tiny ring: what golden files are made with. */
export const SMALL: LogOptions = { flusher: "inline", stripes: 4, ringBytes: 4096, segmentBytes: 16384, frameAlign: 64 };

export interface FixedLog extends Log {
  [PUMP](): boolean;
  [ABANDON](): void;
}

/** One machine: its storage outlives the logs that are opened on it. */
export class Fixed {
  /** Unix time in milliseconds; moves only when told to. 2024-01-01T00:00:00Z */
  nowMs = 1_704_067_200_000;
  storage: MemoryStorage;
  /** What is drawn next, before anything else. */
  readonly draws: Uint8Array[] = [];
  private drawn = 0;

  constructor(files?: ReadonlyMap<string, Uint8Array>) {
    this.storage = files === undefined ? new MemoryStorage() : MemoryStorage.of(DIRECTORY, files);
  }

  get files(): Map<string, Uint8Array> {
    return this.storage.files(DIRECTORY);
  }

  environment(): Environment {
    return {
      storage: this.storage,
      lock: () => ({ release: () => undefined }),
      now: () => this.nowMs,
      // Not random at all: each call gives other bytes, always the same ones.
      randomBytes: (count) => this.draws.shift() ?? Uint8Array.from({ length: count }, (_, i) => (0xa0 + 17 * ++this.drawn + 29 * i) & 255),
      clock: () => {
        const since = this.nowMs;
        return () => (this.nowMs - since) * 1e6;
      },
      manual: true,
    };
  }

  async open(options: LogOptions = {}): Promise<FixedLog> {
    return (await openLogWith(DIRECTORY, { ...SMALL, ...options }, this.environment())) as FixedLog;
  }

  readOnly(): Promise<Log> {
    return openLogWith(DIRECTORY, { readOnly: true }, this.environment());
  }
}

/** Pumps until the promise is settled. */
export async function drive<T>(log: FixedLog, promise: Promise<T>): Promise<T> {
  let settled = false;
  const done = (): void => void (settled = true);
  promise.then(done, done);
  for (let i = 0; i < 10_000 && !settled; i++) {
    log[PUMP]();
    for (let turn = 0; turn < 8; turn++) await Promise.resolve();
  }
  if (!settled) throw new Error("the log never settled a promise");
  return promise;
}

/** Appends one after the other, by the log's own writer if no other is given, each in a frame of its own; the clock goes on by a second for each. */
export async function appendEach(fixed: Fixed, log: FixedLog, inputs: Input[], writer: Writer = log): Promise<number[]> {
  const lsns: number[] = [];
  for (const input of inputs) {
    lsns.push(await drive(log, writer.append(input)));
    fixed.nowMs += 1000;
  }
  return lsns;
}

export async function readAll(log: Log, internal = false): Promise<Entry[]> {
  const entries: Entry[] = [];
  for await (const entry of log.read({ internal })) entries.push(entry);
  return entries;
}
