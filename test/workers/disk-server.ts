// A disk in a process of its own, whose writes and flushes are recorded and can fail. It is a FUSE file system of two
// files, spoken over /dev/fuse without any library: `disk` is what a loop device turns into a block device, so that each
// write and flush of a real file system arrives here, one after the other; a line written to `control` is a note in the
// recording or a command. Started by test/support/recorded-disk.ts, which reads the recording. Never touches its own mount.

import { spawn } from "node:child_process";
import { openSync, read, readFileSync, writeSync } from "node:fs";
import { FLUSH, NOTE, RECORD_HEADER_BYTES, WRITE, type DiskTask } from "../support/recorded-disk.js";
import { task } from "../support/script.js";

const { base, mountPoint, recording } = task<DiskTask>();
const disk = readFileSync(base);
const tape = openSync(recording, "w");
const fuse = openSync("/dev/fuse", "r+");
/** What fails, until it is `healed`. */
const failing = { write: false, flush: false };

const [ENOENT, EIO, ENOSYS] = [2, 5, 38];
const [ROOT, DISK, CONTROL] = [1, 2, 3];
const FILES = new Map([
  ["disk", DISK],
  ["control", CONTROL],
]);

// --- the disk ----------------------------------------------------------------------------------------------------

function record(kind: number, offset: number, bytes: Uint8Array): void {
  const header = Buffer.alloc(RECORD_HEADER_BYTES);
  header[0] = kind;
  header.writeUInt32LE(bytes.length, 4);
  header.writeDoubleLE(offset, 8);
  writeSync(tape, Buffer.concat([header, bytes]));
}

function write(offset: number, bytes: Uint8Array): boolean {
  if (failing.write) return false;
  disk.set(bytes, offset);
  record(WRITE, offset, bytes);
  return true;
}

function flush(): boolean {
  if (!failing.flush) record(FLUSH, 0, new Uint8Array(0));
  return !failing.flush;
}

function command(line: string): void {
  if (line === "fail writes") failing.write = true;
  else if (line === "fail flushes") failing.flush = true;
  else if (line === "heal") failing.write = failing.flush = false;
  else record(NOTE, 0, Buffer.from(line));
}

// --- what the kernel asks: struct fuse_in_header, then the operation's own ------------------------------------------

/** The answer's bytes, or an error's number. */
type Answer = Buffer | number;
const DONE = Buffer.alloc(0);

/** struct fuse_attr at `at`. */
function attributes(answer: Buffer, at: number, node: number): Buffer {
  answer.writeBigUInt64LE(BigInt(node), at);
  answer.writeBigUInt64LE(BigInt(node === DISK ? disk.length : 0), at + 8);
  answer.writeUInt32LE(node === ROOT ? 0o40700 : 0o100600, at + 60);
  answer.writeUInt32LE(1, at + 64);
  answer.writeUInt32LE(4096, at + 80);
  return answer;
}

const OPERATIONS: Record<number, (node: number, given: Buffer) => Answer> = {
  // LOOKUP
  1(_, given) {
    const node = FILES.get(given.toString("latin1", 0, given.indexOf(0)));
    if (node === undefined) return ENOENT;
    const answer = attributes(Buffer.alloc(128), 40, node);
    answer.writeBigUInt64LE(BigInt(node), 0);
    return answer;
  },
  // GETATTR, SETATTR (an open that empties `control`)
  3: (node) => attributes(Buffer.alloc(104), 16, node),
  4: (node) => attributes(Buffer.alloc(104), 16, node),
  // OPEN: past the page cache (FOPEN_DIRECT_IO), so that nothing is held back; OPENDIR
  14: () => Buffer.from([0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]),
  27: () => Buffer.alloc(16),
  // READ
  15(node, given) {
    const offset = Number(given.readBigUInt64LE(8));
    return node === DISK ? disk.subarray(offset, offset + given.readUInt32LE(16)) : DONE;
  },
  // WRITE
  16(node, given) {
    const bytes = given.subarray(40, 40 + given.readUInt32LE(16));
    if (node === CONTROL) command(bytes.toString().trim());
    else if (!write(Number(given.readBigUInt64LE(8)), bytes)) return EIO;
    const answer = Buffer.alloc(8);
    answer.writeUInt32LE(bytes.length, 0);
    return answer;
  },
  // FSYNC: what a flush of the block device becomes
  20: (node) => (node !== DISK || flush() ? DONE : EIO),
  // RELEASE, RELEASEDIR
  18: () => DONE,
  29: () => DONE,
  // INIT: protocol 7.31, big writes (FUSE_BIG_WRITES, FUSE_MAX_PAGES) of at most 1 MiB
  26() {
    const answer = Buffer.alloc(64);
    answer.writeUInt32LE(7, 0);
    answer.writeUInt32LE(31, 4);
    answer.writeUInt32LE(131072, 8);
    answer.writeUInt32LE((1 << 5) | (1 << 22), 12);
    answer.writeUInt16LE(16, 16);
    answer.writeUInt16LE(12, 18);
    answer.writeUInt32LE(1 << 20, 20);
    answer.writeUInt32LE(1, 24);
    answer.writeUInt16LE(256, 28);
    return answer;
  },
};
/** FORGET, INTERRUPT, DESTROY, BATCH_FORGET: nobody waits for an answer. */
const UNANSWERED = [2, 36, 38, 42];

function serve(request: Buffer): void {
  const operation = request.readUInt32LE(4);
  if (UNANSWERED.includes(operation)) return;
  const answer = OPERATIONS[operation]?.(Number(request.readBigUInt64LE(16)), request.subarray(40)) ?? ENOSYS;
  const bytes = typeof answer === "number" ? DONE : answer;
  const header = Buffer.alloc(16);
  header.writeUInt32LE(header.length + bytes.length, 0);
  header.writeInt32LE(typeof answer === "number" ? -answer : 0, 4);
  request.copy(header, 8, 8, 16);
  writeSync(fuse, Buffer.concat([header, bytes]));
}

const request = Buffer.allocUnsafe((1 << 20) + 65536);
function next(): void {
  read(fuse, request, 0, request.length, null, (error, length) => {
    // EPERM: not mounted yet. ENODEV: unmounted. EINTR, EAGAIN, ENOENT: a request that was withdrawn.
    if (error?.code === "ENODEV") process.exit(0);
    if (error?.code === "EPERM") return void setTimeout(next, 2);
    if (error !== null && !["EINTR", "EAGAIN", "ENOENT"].includes(error.code ?? "")) throw error;
    if (error === null) serve(request.subarray(0, length));
    next();
  });
}
next();
spawn("mount", ["-i", "-t", "fuse", "-o", "fd=3,rootmode=40000,user_id=0,group_id=0", "corewal-disk", mountPoint], {
  stdio: ["ignore", "inherit", "inherit", fuse],
}).on("exit", (code) => {
  if (code === 0) console.log("mounted");
  else process.kill(process.pid, "SIGKILL");
});
// Whoever started this is gone: the kernel ends a file system that nobody serves. The thread that reads can be ended by nothing less.
process.stdin.resume().on("end", () => process.kill(process.pid, "SIGKILL"));
