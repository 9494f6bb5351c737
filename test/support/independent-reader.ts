// A reader of logs that was written from FORMAT.md alone. It imports nothing of the library, so that the
// two can be held against each other. Slow and simple: whole files in memory, checksums bit by bit.
// Comments name the sections and rules of FORMAT.md.

export interface ReadEntry {
  lsn: number;
  term: number;
  epoch: number;
  stripe: number;
  kind: string;
  timeNs: bigint;
  key: Uint8Array;
  value: Uint8Array;
}

export interface ReadSegment {
  file: string;
  number: number;
  /** Frames end here. */
  end: number;
  firstLsn: number;
  lastLsn: number;
  frames: { offset: number; firstLsn: number; lsns: number; promise: number }[];
  footer: Footer | undefined;
}

/** What FORMAT.md calls the answer; `bad` says where. */
export interface ReadLog {
  answer: "empty" | "clean" | "torn" | "corrupt" | "unknown version";
  bad?: { file: string; offset: number; why: string };
  /** Everything up to here is proven. */
  promise: number;
  lastLsn: number;
  segments: ReadSegment[];
  entries: ReadEntry[];
}

export interface Footer {
  endOffset: number;
  firstLsn: number;
  lastLsn: number;
  frames: number;
  userEntries: number;
  payloadBytes: number;
  voidLsns: number;
  terms: [number, number];
  epochs: [number, number];
  times: [bigint, bigint];
  index: [number, number][];
  continued: { number: number; salt: bigint } | undefined;
}

interface Header {
  logId: Uint8Array;
  salt: bigint;
  number: number;
  parentNumber: number;
  parentSalt: bigint;
  parentEnd: number;
  parentLastLsn: number;
  frameAlign: number;
  provenEnd: number;
  provenLsn: number;
}

/** Something that cannot be read on. */
class Bad extends Error {
  constructor(
    readonly answer: "corrupt" | "unknown version",
    readonly file: string,
    readonly offset: number,
    why: string,
  ) {
    super(why);
  }
}

// --- "Checksums" ----------------------------------------------------------------------------------

export function crc(...parts: Uint8Array[]): number {
  let register = 0xffffffff;
  for (const part of parts) {
    for (const byte of part) {
      register ^= byte;
      for (let bit = 0; bit < 8; bit++) register = register & 1 ? (register >>> 1) ^ 0x82f63b78 : register >>> 1;
    }
  }
  return (register ^ 0xffffffff) >>> 0;
}

function u64Bytes(n: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, n, true);
  return bytes;
}

const place = (salt: bigint, offset: number): Uint8Array => Buffer.concat([u64Bytes(salt), u64Bytes(BigInt(offset))]);
const up = (n: number, multiple: number): number => Math.ceil(n / multiple) * multiple;
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1");

class File {
  private readonly view: DataView;
  constructor(
    readonly name: string,
    readonly bytes: Uint8Array,
  ) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }
  get size(): number {
    return this.bytes.length;
  }
  u8 = (at: number): number => this.view.getUint8(at);
  u16 = (at: number): number => this.view.getUint16(at, true);
  u32 = (at: number): number => this.view.getUint32(at, true);
  long = (at: number): bigint => this.view.getBigUint64(at, true);
  u64 = (at: number): number => Number(this.long(at));
  i64 = (at: number): bigint => this.view.getBigInt64(at, true);
  part = (from: number, to: number): Uint8Array => this.bytes.subarray(from, to);
}

// --- "Segment file" -------------------------------------------------------------------------------

function readHeader(file: File, number: number): Header {
  const corrupt = (offset: number, why: string): Bad => new Bad("corrupt", file.name, offset, why);
  if (file.size < 256) throw corrupt(0, "header rule 1");
  if (text(file.part(0, 8)) !== "corewal\0") throw corrupt(0, "header rule 2");
  if (file.u32(28) !== crc(place(0n, 0), file.part(0, 28))) throw corrupt(0, "header rule 3");
  if (file.u32(8) !== 1) throw new Bad("unknown version", file.name, 8, `version ${file.u32(8)}`);
  if (file.u32(12) !== 256 || file.u32(16) !== 1) throw corrupt(12, "header rule 5");
  const salt = file.long(48);
  if (file.u32(252) !== crc(place(salt, 0), file.part(0, 252))) throw corrupt(32, "header rule 6");
  if (file.u64(64) !== number) throw corrupt(64, "header rule 7");
  return {
    logId: file.part(32, 48),
    salt,
    number,
    parentNumber: file.u64(72),
    parentSalt: file.long(80),
    parentEnd: file.u64(88),
    parentLastLsn: file.u64(96),
    frameAlign: file.u32(128),
    provenEnd: file.u64(144),
    provenLsn: file.u64(152),
  };
}

// --- "Frame" ----------------------------------------------------------------------------------------

const KINDS: Record<number, string> = { 1: "data", 2: "put", 3: "delete", 4: "commit", 16: "void" };

/** Rules 1 and 2. */
function frameHeaderAt(file: File, header: Header, o: number, limit: number): boolean {
  return (
    o + 64 <= limit && text(file.part(o, o + 4)) === "CLWF" && file.u32(o + 4) === crc(place(header.salt, o), file.part(o + 8, o + 64))
  );
}

/** Rules 1 to 10. Returns the entries, or the number of the rule that is broken. */
function frameAt(file: File, header: Header, o: number, limit: number, n: number): ReadEntry[] | number {
  if (o + 64 > limit || text(file.part(o, o + 4)) !== "CLWF") return 1;
  if (!frameHeaderAt(file, header, o, limit)) return 2;
  const end = o + file.u32(o + 8);
  if (end - o < 64 || end > limit) return 3;
  const count = file.u32(o + 12);
  if (file.u64(o + 16) !== n) return 4;
  const places: number[] = [];
  let at = o + 64;
  for (let i = 0; i < count; i++) {
    if (at + 16 > end) return 5;
    const size = file.u32(at + 4);
    if (at + 16 + up(size, 8) > end || file.u32(at + 8) > size || file.u16(at + 14) !== 0) return 5;
    places.push(at);
    at += 16 + up(size, 8);
  }
  if (at !== end) return 5;
  if (file.u32(o + 56) !== crc(...places.map((p) => file.part(p, p + 16)))) return 6;
  const entries: ReadEntry[] = [];
  const lsns = file.u32(o + 60);
  let lsn = n;
  for (const p of places) {
    const size = file.u32(p + 4);
    const payload = file.part(p + 16, p + 16 + size);
    if (file.u32(p) !== crc(header.logId, file.part(o + 32, o + 40), file.part(p + 4, p + 16), payload, u64Bytes(BigInt(lsn)))) return 7;
    if (file.part(p + 16 + size, p + 16 + up(size, 8)).some((byte) => byte !== 0)) return 8;
    const kind = file.u8(p + 12);
    let takes = kind < 16 ? 1 : 0;
    if (kind === 0) return 9;
    if (kind === 16) {
      if (size !== 8) return 9;
      takes = file.u64(p + 16);
      if (takes < 1 || takes > lsns) return 9;
    }
    const keyBytes = file.u32(p + 8);
    entries.push({
      lsn,
      term: file.u64(o + 32),
      epoch: file.u64(o + 40),
      stripe: file.u8(p + 13),
      kind: KINDS[kind] ?? `kind ${kind}`,
      timeNs: file.i64(o + 48),
      key: payload.subarray(0, keyBytes),
      value: payload.subarray(keyBytes),
    });
    lsn += takes;
  }
  return lsn - n === lsns ? entries : 10;
}

/** Valid frames up to `limit`; fills the segment, and says where and why there is no further one. */
function readFrames(file: File, header: Header, limit: number, into: ReadEntry[]): { segment: ReadSegment; rule: number } {
  const segment: ReadSegment = {
    file: file.name,
    number: header.number,
    end: up(256, header.frameAlign),
    firstLsn: header.parentLastLsn + 1,
    lastLsn: header.parentLastLsn,
    frames: [],
    footer: undefined,
  };
  for (;;) {
    const o = segment.end;
    const found = frameAt(file, header, o, limit, segment.lastLsn + 1);
    if (typeof found === "number") return { segment, rule: found };
    into.push(...found);
    segment.frames.push({ offset: o, firstLsn: file.u64(o + 16), lsns: file.u32(o + 60), promise: file.u64(o + 24) });
    segment.lastLsn += file.u32(o + 60);
    segment.end = o + up(file.u32(o + 8), header.frameAlign);
  }
}

// --- "Footer" ---------------------------------------------------------------------------------------

function footerAt(file: File, header: Header, t: number): Footer | undefined {
  if (t < 256 || t + 192 > file.size || text(file.part(t, t + 8)) !== "CWFOOTER") return undefined;
  const endOffset = file.u64(t + 16);
  const count = file.u32(t + 12);
  if (endOffset < 256 || endOffset + up(16 * count, 64) !== t) return undefined;
  if (file.u32(t + 8) !== crc(place(header.salt, endOffset), file.part(endOffset, t + 8), new Uint8Array(4), file.part(t + 12, t + 192)))
    return undefined;
  if (file.u64(t + 24) !== header.number) return undefined;
  const m = t + 192;
  const marked =
    m + 64 <= file.size &&
    text(file.part(m, m + 8)) === "CWCONTIN" &&
    file.u32(m + 8) === crc(place(header.salt, m), file.part(m + 12, m + 64));
  return {
    endOffset,
    firstLsn: file.u64(t + 32),
    lastLsn: file.u64(t + 40),
    frames: file.u64(t + 48),
    userEntries: file.u64(t + 56),
    payloadBytes: file.u64(t + 64),
    voidLsns: file.u64(t + 72),
    terms: [file.u64(t + 80), file.u64(t + 88)],
    epochs: [file.u64(t + 96), file.u64(t + 104)],
    times: [file.i64(t + 112), file.i64(t + 120)],
    index: Array.from({ length: count }, (_, i) => [file.u64(endOffset + 16 * i), file.u64(endOffset + 16 * i + 8)]),
    continued: marked ? { number: file.u64(m + 16), salt: file.long(m + 24) } : undefined,
  };
}

// --- "Reading a log" --------------------------------------------------------------------------------

/** Reads a whole log from its files, by name. Nobody may be writing. */
export function readLog(files: ReadonlyMap<string, Uint8Array>): ReadLog {
  const log: ReadLog = { answer: "empty", promise: 0, lastLsn: 0, segments: [], entries: [] };
  try {
    walk(files, log);
  } catch (error) {
    if (!(error instanceof Bad)) throw error;
    log.answer = error.answer;
    log.bad = { file: error.file, offset: error.offset, why: error.message };
  }
  return log;
}

function walk(files: ReadonlyMap<string, Uint8Array>, log: ReadLog): void {
  // Step 1.
  const name = (number: number): string => `000-${String(number).padStart(10, "0")}.wal`;
  const numbers = [...files.keys()].filter((n) => /^000-\d{10}\.wal$/.test(n)).map((n) => Number(n.slice(4, 14)));
  if (numbers.length === 0) return;
  const open = (number: number): { file: File; header: Header } => {
    const bytes = files.get(name(number));
    if (bytes === undefined) throw new Bad("corrupt", name(number), 0, "the segment is missing");
    const file = new File(name(number), bytes);
    return { file, header: readHeader(file, number) };
  };
  // Step 2.
  const chain = [open(Math.max(...numbers))];
  for (let child = chain[0]!; child.header.parentNumber !== 0; child = chain[0]!) {
    const parent = open(child.header.parentNumber);
    if (parent.header.salt !== child.header.parentSalt || !Buffer.from(parent.header.logId).equals(child.header.logId))
      throw new Bad("corrupt", parent.file.name, 48, "not the parent");
    chain.unshift(parent);
  }
  chain.forEach((link, i) => {
    const { file, header } = link;
    const child = chain[i + 1]?.header;
    const footer = footerAt(file, header, file.size - 256);
    if (child !== undefined && footer !== undefined) {
      const { continued } = footer;
      if (footer.endOffset !== child.parentEnd || footer.lastLsn !== child.parentLastLsn)
        throw new Bad("corrupt", file.name, footer.endOffset, "footer and child disagree");
      if (continued !== undefined && (continued.number !== child.number || continued.salt !== child.salt))
        throw new Bad("corrupt", file.name, footer.endOffset, "mark and child disagree");
    }
    const end = child?.parentEnd ?? footer?.endOffset;
    const { segment, rule } = readFrames(file, header, Math.min(end ?? file.size, file.size), log.entries);
    segment.footer = footer;
    log.segments.push(segment);
    log.lastLsn = segment.lastLsn;
    if (end !== undefined && segment.end !== end) throw new Bad("corrupt", file.name, segment.end, `frame rule ${rule}`);
    if (child !== undefined && segment.lastLsn !== child.parentLastLsn)
      throw new Bad("corrupt", file.name, segment.end, "ends with another LSN");
    if (child === undefined) judgeEnd(file, header, segment, rule, log);
  });
}

/** Steps 3 to 5 for the highest segment. */
function judgeEnd(file: File, header: Header, segment: ReadSegment, rule: number, log: ReadLog): void {
  const e = segment.end;
  let promise = Math.max(header.provenLsn, ...segment.frames.map((f) => f.promise));
  let { footer } = segment;
  if (footer !== undefined) promise = Math.max(promise, footer.lastLsn);
  for (let at = up(e, 64); footer === undefined && at < file.size; at += 64) {
    if (frameHeaderAt(file, header, at, file.size)) promise = Math.max(promise, file.u64(at + 24));
    const found = footerAt(file, header, at);
    promise = Math.max(promise, found?.lastLsn ?? 0);
    if (found?.endOffset === e) segment.footer = found;
  }
  footer = segment.footer;
  log.promise = promise;
  if (footer?.continued !== undefined) throw new Bad("corrupt", file.name, footer.endOffset, "the next segment is missing");
  if (promise > segment.lastLsn || header.provenEnd > e)
    throw new Bad("corrupt", file.name, e, `frame rule ${rule} where something was durable`);
  log.answer = footer === undefined ? "torn" : "clean";
}

/** "Commit value". */
export function readCommit(value: Uint8Array): { offsets: [string, bigint][]; watermark: bigint | undefined } {
  const v = new DataView(value.buffer, value.byteOffset, value.byteLength);
  const offsets: [string, bigint][] = [];
  let at = 16;
  for (let i = 0; i < v.getUint32(4, true); i++) {
    const nameBytes = v.getUint32(at + 8, true);
    offsets.push([Buffer.from(value.subarray(at + 12, at + 12 + nameBytes)).toString(), v.getBigInt64(at, true)]);
    at += 12 + nameBytes;
  }
  if (at !== value.length) throw new Error("bytes are left");
  return { offsets, watermark: v.getUint32(0, true) & 1 ? v.getBigInt64(8, true) : undefined };
}
