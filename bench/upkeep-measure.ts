// What checkpoints cost the appends beside them, what opening costs by the size of the log, how fast entries are replayed.

import { join } from "node:path";
import { openLog } from "../src/index.js";
import { inDirectory, inFlight, machine, median, record, type Machine } from "./rounds.js";

export interface UpkeepOptions {
  rounds: number;
  roundMs: number;
  directory?: string | undefined;
  /** Sizes of the logs that are opened, bytes, ascending; the last one is replayed. */
  logBytes: number[];
  onProgress?: ((done: number, total: number, what: string) => void) | undefined;
}

export interface UpkeepReport {
  machine: Machine;
  /** Appends a second with 256 in flight, alone and beside checkpoints that follow each other; the ratio is round against round. */
  checkpoint: { alone: number; beside: number; ratio: number; bytes: number; made: number };
  /** openLog of a log that was closed properly, and, to read it, of one that another process writes. */
  open: { bytes: number; closedMs: number; besideMs: number }[];
  /** readBatches over sealed segments, 100-byte entries. */
  replay: { entriesPerSecond: number; gigabytesPerSecond: number };
}

/** Of a state, in pieces such as a map of a million small values would be written in. */
const STATE_BYTES = 64 * 1024 * 1024;
const PIECE_BYTES = 64 * 1024;
const IN_FLIGHT = 256;

export function benchUpkeep(options: UpkeepOptions): Promise<UpkeepReport> {
  return inDirectory(options.directory, async (directory) => {
    const checkpoint = await benchCheckpoint(directory, options);
    const { open, replay } = await benchOpen(directory, options);
    return { machine: machine(), checkpoint, open, replay };
  });
}

async function benchCheckpoint(directory: string, { rounds, roundMs, onProgress }: UpkeepOptions): Promise<UpkeepReport["checkpoint"]> {
  const log = await openLog(join(directory, "checkpoint"), { retention: { bytes: 0 } });
  const bytes = record();
  const piece = new Uint8Array(PIECE_BYTES).fill(7);
  const rates: { alone: number; beside: number }[] = [];
  let made = 0;
  const appends = async (): Promise<number> => {
    const { ops, ms } = await inFlight(IN_FLIGHT, roundMs, () => log.append(bytes));
    return (ops / ms) * 1000;
  };
  await appends();
  for (let round = 0; round < rounds; round++) {
    onProgress?.(round, rounds, "appends beside checkpoints");
    const alone = await appends();
    let over = false;
    const checkpoints = (async () => {
      while (!over) {
        await log.checkpoint(async ({ write }) => {
          for (let written = 0; written < STATE_BYTES && !over; written += PIECE_BYTES) await write(piece);
        });
        made++;
      }
    })();
    const beside = await appends();
    over = true;
    await checkpoints;
    rates.push({ alone, beside });
  }
  await log.close();
  return {
    alone: median(rates.map(({ alone }) => alone)),
    beside: median(rates.map(({ beside }) => beside)),
    ratio: median(rates.map(({ alone, beside }) => beside / alone)),
    bytes: STATE_BYTES,
    made,
  };
}

async function benchOpen(
  directory: string,
  { rounds, logBytes, onProgress }: UpkeepOptions,
): Promise<Pick<UpkeepReport, "open" | "replay">> {
  const path = join(directory, "open");
  const value = new Uint8Array(100).fill(7);
  const open: UpkeepReport["open"] = [];
  let written = 0;
  for (const bytes of logBytes) {
    onProgress?.(open.length, logBytes.length, `a log of ${Math.round(bytes / 2 ** 20)} MiB`);
    const log = await openLog(path, { durability: "async" });
    // Header and padding of an entry: 120 bytes each on the disk.
    for (; written < bytes; written += 120) log.write(value);
    await log.close();
    const closedMs: number[] = [];
    const besideMs: number[] = [];
    for (let i = 0; i < rounds; i++) {
      closedMs.push(await timed(() => openLog(path)));
      const again = await openLog(path);
      await again.append(value);
      besideMs.push(await timed(() => openLog(path, { readOnly: true })));
      await again.close();
    }
    open.push({ bytes, closedMs: median(closedMs), besideMs: median(besideMs) });
  }
  const log = await openLog(path, { readOnly: true });
  const rates: number[] = [];
  for (let i = 0; i <= rounds; i++) {
    onProgress?.(i, rounds, "replay");
    let entries = 0;
    const begin = performance.now();
    for await (const batch of log.readBatches()) {
      for (const entry of batch) entries += Number(entry.value.length === value.length);
    }
    // The first reading compiles the code.
    if (i > 0) rates.push((entries / (performance.now() - begin)) * 1000);
  }
  await log.close();
  return { open, replay: { entriesPerSecond: median(rates), gigabytesPerSecond: (median(rates) * value.length) / 1e9 } };
}

async function timed(open: () => ReturnType<typeof openLog>): Promise<number> {
  const begin = performance.now();
  const log = await open();
  const ms = performance.now() - begin;
  await log.close();
  return ms;
}
