// One checkpoint: a state that the user has written, between a header that says of which log it is and a trailer that
// says of which moment. FORMAT.md, "Checkpoint file".
//
//   | preamble, header 256 | block | block | … | positions | trailer 64 |
//
// It gets its name only when it is complete, fsynced, and everything that it may contain is durable in the log. So each
// one that has a name is whole, or was damaged afterwards.

import { placedChecksum } from "./core.js";
import { codeOf, CorewalError, fromSystem } from "./errors.js";
import { exactU64 } from "./frame.js";
import { CHAINS_MAX } from "./marks.js";
import { ascii, corrupt, encodePreamble, HEADER_BYTES, NEW_SUFFIX, requirePreamble, startsWith, TOPOLOGIES, viewOf } from "./segment.js";
import { readAll, writeAll, type Storage, type StorageFile } from "./storage.js";
import type { Topology } from "./types.js";

const KIND_CHECKPOINT = 2;
const BLOCK_HEAD_BYTES = 8;
/** Of the state in one block, at most. */
const BLOCK_BYTES_MAX = 65536;
const POSITION_BYTES = 16;
const TRAILER_MAGIC = "CWCHKPNT";
const TRAILER_BYTES = 64;

/** What a checkpoint says of itself. */
export interface CheckpointHead {
  logId: Uint8Array;
  salt: bigint;
  topology: Topology;
  number: number;
  term: number;
  /** That began with it. */
  epoch: number;
  createdNs: bigint;
}

export interface CheckpointFacts extends CheckpointHead {
  /** Of the state. */
  bytes: number;
  /** Last LSN before it, of each chain by its number: the state holds everything up to there. */
  begin: number[];
  /** Last LSN that had been given out when it was complete: the state holds nothing behind that. */
  end: number[];
}

// --- names ----------------------------------------------------------------------------------------

export function checkpointName(number: number): string {
  return `checkpoint-${String(number).padStart(10, "0")}.ckp`;
}

export function checkpointPath(directory: string, number: number): string {
  return `${directory}/${checkpointName(number)}`;
}

/** Numbers of all checkpoints, newest first. */
export function checkpointNumbers(storage: Storage, directory: string): number[] {
  return storage
    .list(directory)
    .flatMap((name) => /^checkpoint-(\d{10})\.ckp$/.exec(name)?.[1] ?? [])
    .map(Number)
    .sort((a, b) => b - a);
}

// --- writing --------------------------------------------------------------------------------------

function encodeHead(h: CheckpointHead): Uint8Array {
  const bytes = encodePreamble(KIND_CHECKPOINT);
  const v = viewOf(bytes);
  bytes.set(h.logId, 32);
  v.setBigUint64(48, h.salt, true);
  v.setUint32(56, TOPOLOGIES.indexOf(h.topology), true);
  v.setBigUint64(64, BigInt(h.number), true);
  v.setBigUint64(72, BigInt(h.term), true);
  v.setBigUint64(80, BigInt(h.epoch), true);
  v.setBigInt64(88, h.createdNs, true);
  v.setUint32(252, placedChecksum(h.salt, 0, bytes.subarray(0, 252)), true);
  return bytes;
}

/** Writes a checkpoint under a name that nobody looks at. */
export class CheckpointWriter {
  private readonly file: StorageFile;
  private readonly path: string;
  private offset = HEADER_BYTES;
  private bytes = 0;
  private readonly block = new Uint8Array(BLOCK_HEAD_BYTES + BLOCK_BYTES_MAX);
  private filled = 0;
  /** Its file is open, … */
  private isOpen = true;
  /** … and is being synced by somebody else: only then it may be closed. */
  private syncing = false;
  private abandoned = false;

  constructor(
    private readonly storage: Storage,
    private readonly directory: string,
    private readonly head: CheckpointHead,
  ) {
    this.path = checkpointPath(directory, head.number);
    this.file = storage.create(this.path + NEW_SUFFIX);
    try {
      writeAll(this.file, encodeHead(head), 0);
    } catch (error) {
      this.abandon();
      throw error;
    }
  }

  /** More of the state; the caller's bytes are his again when it returns. */
  write(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length;) {
      const some = bytes.subarray(at, at + BLOCK_BYTES_MAX - this.filled);
      this.block.set(some, BLOCK_HEAD_BYTES + this.filled);
      this.filled += some.length;
      at += some.length;
      if (this.filled === BLOCK_BYTES_MAX) this.flush();
    }
    this.bytes += bytes.length;
  }

  private flush(): void {
    if (this.filled === 0) return;
    const block = this.block.subarray(0, BLOCK_HEAD_BYTES + this.filled);
    const v = viewOf(block);
    v.setUint32(4, this.filled, true);
    v.setUint32(0, placedChecksum(this.head.salt, this.offset, block.subarray(4)), true);
    writeAll(this.file, block, this.offset);
    this.offset += block.length;
    this.filled = 0;
  }

  /** The state is complete. It is on the disk when this resolves, and nobody knows of it yet. */
  async finish(begin: number[], end: number[]): Promise<CheckpointFacts> {
    this.flush();
    const chains = Math.max(begin.length, end.length);
    const bytes = new Uint8Array(chains * POSITION_BYTES + TRAILER_BYTES);
    const v = viewOf(bytes);
    for (let chain = 0; chain < chains; chain++) {
      v.setBigUint64(chain * POSITION_BYTES, BigInt(begin[chain] ?? 0), true);
      v.setBigUint64(chain * POSITION_BYTES + 8, BigInt(end[chain] ?? 0), true);
    }
    const t = chains * POSITION_BYTES;
    bytes.set(ascii(TRAILER_MAGIC), t);
    v.setUint32(t + 12, chains, true);
    v.setBigUint64(t + 16, BigInt(this.offset), true);
    v.setBigUint64(t + 24, BigInt(this.bytes), true);
    v.setBigUint64(t + 32, BigInt(this.head.number), true);
    v.setUint32(t + 8, placedChecksum(this.head.salt, this.offset, bytes), true);
    writeAll(this.file, bytes, this.offset);
    if (this.file.syncLater === undefined) this.file.sync();
    else {
      this.syncing = true;
      try {
        await this.file.syncLater();
      } finally {
        this.syncing = false;
        if (this.abandoned) this.close();
      }
    }
    this.close();
    return { ...this.head, bytes: this.bytes, begin, end };
  }

  /** The commit point: from now on it is the newest one. */
  commit(): void {
    this.storage.rename(this.path + NEW_SUFFIX, this.path);
    this.storage.syncDirectory(this.directory);
  }

  /** Once: by then its number may be another file's. */
  private close(): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    this.file.close();
  }

  /** Leaves no file behind, if the disk allows that; nothing would look at it. */
  abandon(): void {
    if (this.abandoned) return;
    this.abandoned = true;
    for (const step of [() => this.syncing || this.close(), () => this.storage.remove(this.path + NEW_SUFFIX)]) {
      try {
        step();
      } catch {
        // The disk is as it is: the first cause counts.
      }
    }
  }
}

// --- reading --------------------------------------------------------------------------------------

/** Opens a checkpoint and reads what it says of itself. Throws COREWAL_CORRUPT, COREWAL_UNKNOWN_VERSION. */
function open(storage: Storage, directory: string, number: number): { file: StorageFile; facts: CheckpointFacts; blocksEnd: number } {
  const file = storage.open(checkpointPath(directory, number), "read");
  try {
    const head = new Uint8Array(HEADER_BYTES);
    readAll(file, head, 0);
    requirePreamble(head, file.path, "checkpoint");
    const v = viewOf(head);
    const salt = v.getBigUint64(48, true);
    const topology = TOPOLOGIES[v.getUint32(56, true)];
    const intact = v.getUint32(16, true) === KIND_CHECKPOINT && v.getUint32(252, true) === placedChecksum(salt, 0, head.subarray(0, 252));
    if (!intact || topology === undefined || Number(v.getBigUint64(64, true)) !== number)
      throw corrupt("the checkpoint's header is damaged", file.path, 32);
    const trailer = trailerOf(file, salt, number);
    const facts: CheckpointFacts = {
      logId: head.slice(32, 48),
      salt,
      topology,
      number,
      term: u64(v, 72, file),
      epoch: u64(v, 80, file),
      createdNs: v.getBigInt64(88, true),
      ...trailer.facts,
    };
    return { file, facts, blocksEnd: trailer.at };
  } catch (error) {
    file.close();
    throw error;
  }
}

function u64(v: DataView, at: number, file: StorageFile): number {
  const value = exactU64(v, at);
  if (value === undefined) throw corrupt("the checkpoint has a number that is too large", file.path, at);
  return value;
}

function trailerOf(
  file: StorageFile,
  salt: bigint,
  number: number,
): { at: number; facts: Pick<CheckpointFacts, "bytes" | "begin" | "end"> } {
  const damaged = (): CorewalError => corrupt("the checkpoint's trailer is damaged", file.path, file.size() - TRAILER_BYTES);
  const last = new Uint8Array(TRAILER_BYTES);
  if (!readAll(file, last, file.size() - TRAILER_BYTES) || !startsWith(last, TRAILER_MAGIC)) throw damaged();
  const chains = viewOf(last).getUint32(12, true);
  const at = file.size() - TRAILER_BYTES - chains * POSITION_BYTES;
  if (chains > CHAINS_MAX || at < HEADER_BYTES) throw damaged();
  const bytes = new Uint8Array(chains * POSITION_BYTES + TRAILER_BYTES);
  readAll(file, bytes, at);
  const v = viewOf(bytes);
  const t = chains * POSITION_BYTES;
  const checksum = v.getUint32(t + 8, true);
  v.setUint32(t + 8, 0, true);
  if (checksum !== placedChecksum(salt, at, bytes) || u64(v, t + 16, file) !== at || u64(v, t + 32, file) !== number) throw damaged();
  const column = (from: number): number[] => Array.from({ length: chains }, (_, chain) => u64(v, chain * POSITION_BYTES + from, file));
  return { at, facts: { bytes: u64(v, t + 24, file), begin: column(0), end: column(8) } };
}

/** The state, block by block, each checked before it is given out; `take` may keep the bytes. */
function* blocks({ file, facts, blocksEnd }: ReturnType<typeof open>): Generator<Uint8Array> {
  let left = facts.bytes;
  for (let offset = HEADER_BYTES; offset < blocksEnd;) {
    const head = new Uint8Array(BLOCK_HEAD_BYTES);
    readAll(file, head, offset);
    const bytes = viewOf(head).getUint32(4, true);
    const whole = bytes > 0 && bytes <= BLOCK_BYTES_MAX && offset + BLOCK_HEAD_BYTES + bytes <= blocksEnd;
    const block = new Uint8Array(whole ? BLOCK_HEAD_BYTES + bytes : 0);
    if (
      !whole ||
      !readAll(file, block, offset) ||
      viewOf(block).getUint32(0, true) !== placedChecksum(facts.salt, offset, block.subarray(4))
    )
      throw corrupt("the checkpoint's state is damaged", file.path, offset);
    left -= bytes;
    offset += block.length;
    yield block.subarray(BLOCK_HEAD_BYTES);
  }
  if (left !== 0) throw corrupt("the checkpoint's state is not complete", file.path, blocksEnd);
}

/** Reads what a checkpoint says of itself; with `whole` also its state. Throws COREWAL_CORRUPT, COREWAL_UNKNOWN_VERSION, COREWAL_IO. */
export function checkCheckpoint(storage: Storage, directory: string, number: number, whole: boolean): CheckpointFacts {
  const opened = open(storage, directory, number);
  try {
    if (whole) for (const block of blocks(opened)) void block;
    return opened.facts;
  } finally {
    opened.file.close();
  }
}

/** The state of a checkpoint. Throws COREWAL_CORRUPT at the first block that is damaged. */
export async function* readState(storage: Storage, directory: string, number: number): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    const opened = open(storage, directory, number);
    try {
      for (const block of blocks(opened)) yield block;
    } finally {
      opened.file.close();
    }
  } catch (error) {
    if (codeOf(error) === undefined) throw error;
    throw fromSystem(error, "reading the checkpoint", checkpointPath(directory, number));
  }
}
