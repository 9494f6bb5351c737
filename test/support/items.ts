// What the simulator appends: entries that can be told apart, of every kind and size, and the inputs for them.

import { FRAME_HEADER_BYTES, WINDOW } from "../../assembly/layout.js";
import { windowCore } from "../../src/core.js";
import { encodeFrameHeader } from "../../src/frame.js";
import type { Input } from "../../src/types.js";
import { Random } from "./random.js";
import { writeId, type Item } from "./oracle.js";

const NOISE = new Random(7).fill(new Uint8Array(8192)) as Uint8Array<ArrayBuffer>;
/** Of a batch with the headers of its entries, for rings of 4 KiB. */
const BATCH_BYTES = 1900;
const NOTHING = new Uint8Array(0);

/** `size` bytes that begin with the id and go on with bytes that belong to it. */
function payload(id: number, size: number): Uint8Array {
  const from = (id * 61) % 4096;
  const bytes = NOISE.slice(from, from + Math.max(4, size));
  writeId(bytes, id);
  return bytes;
}

export function makeItem(random: Random, id: number, size: number, kinds: "data" | "all"): Item {
  const roll = kinds === "data" ? 0 : random.below(10);
  if (roll < 6) return { id, kind: "data", key: undefined, value: payload(id, size) };
  if (roll < 8)
    return { id, kind: "put", key: payload(id, random.between(4, 20)), value: random.chance(0.1) ? NOTHING : payload(id, size) };
  if (roll < 9) return { id, kind: "delete", key: payload(id, random.between(4, 20)), value: NOTHING };
  return { id, kind: "commit", key: undefined, value: NOTHING };
}

/** One to six items that fit into a batch, with some air. */
export function makeBatch(random: Random, newId: () => number, size: () => number): Item[] {
  const items: Item[] = [];
  let bytes = 0;
  for (let n = random.between(1, 6); n > 0; n--) {
    const item = makeItem(random, newId(), size(), "all");
    bytes += 64 + (item.key?.length ?? 0) + item.value.length;
    if (items.length > 0 && bytes > BATCH_BYTES) break;
    items.push(item);
  }
  return items;
}

/** One byte: nothing but its LSN says which one it is. */
export function makeTiny(random: Random): Item {
  return { id: 0, kind: "data", key: undefined, value: random.fill(new Uint8Array(1)) };
}

/**
 * Bytes that look like frame headers with a huge promise, each for the very place where it will stand if the
 * payload begins at `offset` of its file: only the segment's salt, which no caller knows, tells them apart.
 */
export function makeForgery(id: number, offset: number, size: number): Item {
  const core = windowCore(FRAME_HEADER_BYTES);
  const item: Item = { id, kind: "data", key: undefined, value: payload(id, size) };
  const step = FRAME_HEADER_BYTES;
  for (let at = step - (offset % step); at + step <= size; at += step) {
    if (at < 4) continue;
    const header = {
      bytes: step,
      entries: 0,
      firstLsn: 1,
      durableLsn: 2 ** 40,
      term: 1,
      epoch: 0,
      durableEpoch: 0,
      timeNs: 0n,
      headersCrc: 0,
      lsns: 0,
    };
    encodeFrameHeader(core, WINDOW, header, 0n, offset + at);
    item.value.set(core.bytes.subarray(WINDOW, WINDOW + step), at);
  }
  return item;
}

/** As a caller would pass it; the log must not keep the caller's bytes. */
export function inputOf(item: Item): Input {
  switch (item.kind) {
    case "put":
      return { kind: "put", key: item.key!.slice(), value: item.value.slice() };
    case "delete":
      return { kind: "delete", key: item.key!.slice() };
    case "commit":
      return { kind: "commit", offsets: { topic: -BigInt(item.id) }, watermark: BigInt(item.id) };
    default:
      return item.value.slice();
  }
}

/** Overwrites the caller's bytes: they were his again when the call returned. */
export function scribble(input: Input): void {
  if (typeof input === "string") return;
  if (input instanceof Uint8Array) input.fill(0xee);
  else if (input.kind !== "commit") {
    (input.key as Uint8Array).fill(0xee);
    if (input.kind === "put") (input.value as Uint8Array).fill(0xee);
  }
}
