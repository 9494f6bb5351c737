// The corpus of the parsers' fuzzer (test/fuzz/harness.c explains a case), given to the shipped module: what libFuzzer
// keeps is one case for each way through the parsers. Each must be read without a trap, right at the end of memory, and
// be judged as the independent reader judges it.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import {
  ENTRY_KIND,
  FRAME_BAD_ENTRY,
  FRAME_BAD_HEADERS,
  FRAME_BAD_LAYOUT,
  FRAME_BAD_LSNS,
  FRAME_OK,
  KIND_VOID,
  WINDOW,
} from "../assembly/layout.js";
import { bindCore, coreModule, entrySeed, makeMemory } from "../src/core.js";
import { crc, frameRule } from "./support/independent-reader.js";

const CORPUS = join(process.cwd(), "test/fuzz/corpus");
const HEAD_BYTES = 24;
const FIND_STEP = 8;
/** What the module may say of a frame that breaks this rule of FORMAT.md; 0: none. */
const ANSWERS: Record<number, number[]> = {
  0: [FRAME_OK],
  5: [FRAME_BAD_LAYOUT],
  6: [FRAME_BAD_HEADERS],
  7: [FRAME_BAD_ENTRY],
  8: [FRAME_BAD_LAYOUT],
  9: [FRAME_BAD_LAYOUT, FRAME_BAD_LSNS],
  10: [FRAME_BAD_LSNS],
};

const core = bindCore(coreModule(), makeMemory(WINDOW + 65536));
core.x.crc32c_init();
const seed = entrySeed(core, new Uint8Array(16), 0);

/** A frame at offset 0 of a segment whose salt is 0, its header's checksum right. */
function frameOf(body: Uint8Array, firstLsn: number, entries: number, headersCrc: number, lsns: number): Uint8Array {
  const frame = Buffer.concat([Buffer.alloc(64), body]);
  frame.write("CLWF", "latin1");
  frame.writeUInt32LE(frame.length, 8);
  frame.writeUInt32LE(entries, 12);
  frame.writeBigUInt64LE(BigInt(firstLsn), 16);
  frame.writeUInt32LE(headersCrc, 56);
  frame.writeUInt32LE(lsns, 60);
  frame.writeUInt32LE(crc(new Uint8Array(16), frame.subarray(8, 64)), 4);
  return frame;
}

const seen = new Map<number, number>();

function replay(name: string): void {
  const file = readFileSync(join(CORPUS, name));
  const body = file.subarray(HEAD_BYTES);
  const at = core.bytes.length - body.length;
  core.bytes.set(body, at);
  const firstLsn = Math.max(Number(BigInt.asUintN(52, file.readBigUInt64LE(0))), 1);
  const entries = file.readUInt32LE(8);
  const headersCrc = file.readUInt32LE(12);
  const lsns = file.readUInt32LE(16);
  const word = file.readUInt32LE(20);

  assert.is(~core.x.crc32c_update(-1, at, body.length) >>> 0, crc(body), name);

  const answer = core.x.frame_verify(at, body.length, entries, headersCrc, seed, firstLsn, lsns, 0);
  const rule = frameRule(frameOf(body, firstLsn, entries, headersCrc, lsns), firstLsn);
  assert.ok(ANSWERS[rule]?.includes(answer), `${name}: the module says ${answer}, the independent reader rule ${rule}`);
  seen.set(answer, (seen.get(answer) ?? 0) + 1);

  const size = core.x.entry_verify(at, body.length, seed, firstLsn);
  if (size > 0) {
    const takes = body[ENTRY_KIND] === KIND_VOID ? body.readUInt32LE(16) : Number(body[ENTRY_KIND]! < KIND_VOID);
    const frame = frameOf(body.subarray(0, size), firstLsn, 1, crc(body.subarray(0, 16)), takes);
    assert.is(frameRule(frame, firstLsn), 0, `${name}: an entry that is whole is a frame that is valid`);
  } else {
    assert.ok([FRAME_BAD_LAYOUT, FRAME_BAD_ENTRY, FRAME_BAD_LSNS].includes(-size), name);
  }

  let place = 0;
  while (place + 4 <= body.length && body.readUInt32LE(place) !== word) place += FIND_STEP;
  assert.is(core.x.frame_find(at, core.bytes.length, FIND_STEP, word), place + 4 <= body.length ? at + place : 0, name);
}

test("every case of the corpus is judged by the shipped module as by the independent reader", () => {
  const names = readdirSync(CORPUS);
  for (const name of names) replay(name);
  console.log(`# ${names.length} cases`);
  // Each answer that there is, many times: a corpus that ends at the first check would be none.
  for (const answer of [FRAME_OK, FRAME_BAD_LAYOUT, FRAME_BAD_HEADERS, FRAME_BAD_ENTRY, FRAME_BAD_LSNS])
    assert.ok((seen.get(answer) ?? 0) > 0, `no case for answer ${answer}`);
});

test.run();
