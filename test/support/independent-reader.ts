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
  chain: number;
  number: number;
  /** Frames end here. */
  end: number;
  firstLsn: number;
  lastLsn: number;
  frames: { offset: number; firstLsn: number; lsns: number; promise: number; entries: number; epoch: number; durableEpoch: number }[];
  entries: ReadEntry[];
  footer: Footer | undefined;
}

export interface ReadMarks {
  epoch: number;
  complete: number;
  chains: number[];
}

export interface ReadChain {
  chain: number;
  answer: "clean" | "torn";
  /** Everything up to here is proven. */
  promise: number;
  lastLsn: number;
  /** Highest of headers, frames and footers. */
  epoch: number;
}

/** What FORMAT.md calls the answer; `bad` says where. */
export interface ReadLog {
  answer: "empty" | "clean" | "torn" | "corrupt" | "unknown version";
  bad?: { file: string; offset: number; why: string };
  topology?: "striped" | "per-core";
  /** Everything up to here is proven, in the first chain. */
  promise: number;
  /** Of the first chain. */
  lastLsn: number;
  /** The epoch before this one is the highest complete one. */
  complete: number;
  chains: ReadChain[];
  segments: ReadSegment[];
  /** In the order of "Several chains". */
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
  marks: ReadMarks;
  continued: { number: number; salt: bigint } | undefined;
}

interface Header {
  logId: Uint8Array;
  salt: bigint;
  topology: number;
  chain: number;
  term: number;
  epoch: number;
  marks: ReadMarks;
  number: number;
  floor: number;
  parentNumber: number;
  parentSalt: bigint;
  parentEnd: number;
  parentLastLsn: number;
  frameAlign: number;
  provenEnd: number;
  provenLsn: number;
  cutsParent: boolean;
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
  exact = (at: number): boolean => this.long(at) < 2n ** 53n;
  i64 = (at: number): bigint => this.view.getBigInt64(at, true);
  part = (from: number, to: number): Uint8Array => this.bytes.subarray(from, to);
}

// --- "Marks" ----------------------------------------------------------------------------------------

function marksIn(bytes: Uint8Array): ReadMarks {
  const v = new DataView(bytes.buffer, bytes.byteOffset, 56);
  const chains = Array.from({ length: 256 }, (_, c) => c).filter((c) => (v.getUint8(24 + Math.floor(c / 8)) >> (c % 8)) & 1);
  return { epoch: Number(v.getBigUint64(0, true)), complete: Number(v.getBigUint64(8, true)), chains };
}

/** What an epoch entry says: its payload has no key, whatever its key bytes are. */
function marksOf({ kind, key, value }: ReadEntry): ReadMarks | undefined {
  return kind === "epoch" && key.length + value.length === 56 ? marksIn(Buffer.concat([key, value])) : undefined;
}

/** "Put together". */
function together(all: ReadMarks[]): ReadMarks {
  return {
    epoch: Math.max(0, ...all.map((m) => m.epoch)),
    complete: Math.max(0, ...all.map((m) => m.complete)),
    chains: [...new Set(all.flatMap((m) => m.chains))],
  };
}

// --- "Segment file" -------------------------------------------------------------------------------

function readHeader(file: File, chain: number, number: number): Header {
  const corrupt = (offset: number, why: string): Bad => new Bad("corrupt", file.name, offset, why);
  if (file.size < 256) throw corrupt(0, "header rule 1");
  if (text(file.part(0, 8)) !== "corewal\0") throw corrupt(0, "header rule 2");
  if (file.u32(28) !== crc(place(0n, 0), file.part(0, 28))) throw corrupt(0, "header rule 3");
  if (file.u32(8) !== 1) throw new Bad("unknown version", file.name, 8, `version ${file.u32(8)}`);
  if (file.u32(12) !== 256 || file.u32(16) !== 1) throw corrupt(12, "header rule 5");
  const salt = file.long(48);
  if (file.u32(252) !== crc(place(salt, 0), file.part(0, 252))) throw corrupt(32, "header rule 6");
  if (file.u32(56) > 1) throw new Bad("unknown version", file.name, 56, `topology ${file.u32(56)}`);
  if (file.u64(64) !== number || file.u32(60) !== chain) throw corrupt(64, "header rule 7");
  if (![6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16].includes(Math.log2(file.u32(128)))) throw corrupt(128, "header rule 8");
  if (file.u64(72) >= number || file.u64(224) > number) throw corrupt(72, "header rule 9");
  const inexact = [64, 72, 88, 96, 104, 112, 136, 144, 152, 168, 176, 224].find((at) => !file.exact(at));
  if (inexact !== undefined) throw corrupt(inexact, "header rule 10");
  return {
    logId: file.part(32, 48),
    salt,
    topology: file.u32(56),
    chain,
    term: file.u64(104),
    epoch: file.u64(112),
    marks: marksIn(file.part(168, 224)),
    number,
    parentNumber: file.u64(72),
    parentSalt: file.long(80),
    parentEnd: file.u64(88),
    parentLastLsn: file.u64(96),
    frameAlign: file.u32(128),
    provenEnd: file.u64(144),
    provenLsn: file.u64(152),
    cutsParent: (file.u32(160) & 1) === 1,
    floor: file.u64(224),
  };
}

// --- "Frame" ----------------------------------------------------------------------------------------

const KINDS: Record<number, string> = { 1: "data", 2: "put", 3: "delete", 4: "commit", 16: "void", 17: "lost", 18: "epoch" };

/** Rules 1 and 2. */
function frameHeaderAt(file: File, header: Pick<Header, "salt">, o: number, limit: number): boolean {
  return (
    o + 64 <= limit &&
    text(file.part(o, o + 4)) === "CLWF" &&
    file.u32(o + 4) === crc(place(header.salt, o), file.part(o + 8, o + 64)) &&
    [16, 24, 32, 40].every((at) => file.exact(o + at)) &&
    file.long(o + 16) + BigInt(file.u32(o + 60)) < 2n ** 53n
  );
}

/** "Epochs": of the frame header at o. */
const durableEpochAt = (file: File, o: number): number => Math.max(0, file.u64(o + 40) - ((file.u64(o + 40) - file.u8(o + 15)) & 255));

/** Rules 1 to 10. Returns the entries, or the number of the rule that is broken. */
function frameAt(
  file: File,
  header: Pick<Header, "logId" | "salt" | "topology">,
  o: number,
  limit: number,
  n: number,
): ReadEntry[] | number {
  if (o + 64 > limit || text(file.part(o, o + 4)) !== "CLWF") return 1;
  if (!frameHeaderAt(file, header, o, limit)) return 2;
  const end = o + file.u32(o + 8);
  if (end - o < 64 || end - o > 2 ** 30 || end > limit) return 3;
  const count = file.u32(o + 12) % 2 ** 24;
  if (file.u64(o + 16) !== n || file.u64(o + 24) >= n) return 4;
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
    const timed = header.topology === 1 && kind < 16;
    if (timed && 8 + keyBytes > size) return 9;
    const body = timed ? payload.subarray(8) : payload;
    entries.push({
      lsn,
      term: file.u64(o + 32),
      epoch: file.u64(o + 40),
      stripe: file.u8(p + 13),
      kind: KINDS[kind] ?? `kind ${kind}`,
      timeNs: timed ? file.i64(p + 16) : file.i64(o + 48),
      key: body.subarray(0, keyBytes),
      value: body.subarray(keyBytes),
    });
    lsn += takes;
  }
  return lsn - n === lsns ? entries : 10;
}

/** The first of the rules 1 to 10 that the frame in `bytes` breaks, 0 if none: at offset 0, log id and salt zero, `n` due. */
export function frameRule(bytes: Uint8Array, n: number): number {
  const found = frameAt(new File("", bytes), { logId: new Uint8Array(16), salt: 0n, topology: 0 }, 0, bytes.length, n);
  return typeof found === "number" ? found : 0;
}

/** Valid frames up to `limit`; fills the segment, and says where and why there is no further one. */
function readFrames(file: File, header: Header, limit: number): { segment: ReadSegment; rule: number } {
  const segment: ReadSegment = {
    file: file.name,
    chain: header.chain,
    number: header.number,
    end: up(256, header.frameAlign),
    firstLsn: header.parentLastLsn + 1,
    lastLsn: header.parentLastLsn,
    frames: [],
    entries: [],
    footer: undefined,
  };
  for (;;) {
    const o = segment.end;
    const found = frameAt(file, header, o, limit, segment.lastLsn + 1);
    if (typeof found === "number") return { segment, rule: found };
    segment.entries.push(...found);
    segment.frames.push({
      offset: o,
      firstLsn: file.u64(o + 16),
      lsns: file.u32(o + 60),
      promise: file.u64(o + 24),
      entries: file.u32(o + 12) % 2 ** 24,
      epoch: file.u64(o + 40),
      durableEpoch: durableEpochAt(file, o),
    });
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
  for (let at = t + 16; at < t + 112; at += 8) if (!file.exact(at)) return undefined;
  if (!file.exact(t + 128) || !file.exact(t + 136)) return undefined;
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
    marks: marksIn(file.part(t + 128, t + 184)),
    continued: marked ? { number: file.u64(m + 16), salt: file.long(m + 24) } : undefined,
  };
}

/** "The fields of the trailer are what its names say". */
function agrees(file: File, header: Header, segment: ReadSegment, footer: Footer, entries: ReadEntry[]): boolean {
  const lastMarks = entries.map(marksOf).findLast((marks) => marks !== undefined);
  const timeBytes = header.topology === 1 ? 8 : 0;
  const users = entries.filter(({ kind }) => kind !== "void" && kind !== "lost" && kind !== "epoch" && !(Number(kind.slice(5)) > 16));
  const sum = (numbers: number[]): number => numbers.reduce((a, b) => a + b, 0);
  const range = <T>(values: T[], none: T): [T, T] => {
    const [first = none] = values;
    return [values.reduce((a, b) => (b < a ? b : a), first), values.reduce((a, b) => (b > a ? b : a), first)];
  };
  const { frames } = segment;
  const said = [
    footer.endOffset,
    footer.firstLsn,
    footer.lastLsn,
    footer.frames,
    footer.userEntries,
    footer.payloadBytes,
    footer.voidLsns,
    ...footer.terms,
    ...footer.epochs,
    ...footer.times,
  ];
  const found = [
    segment.end,
    segment.firstLsn,
    segment.lastLsn,
    frames.length,
    users.length,
    sum(users.map(({ key, value }) => timeBytes + key.length + value.length)),
    sum(entries.map(({ kind, key, value }) => (kind === "void" ? Number(Buffer.concat([key, value]).readBigUInt64LE()) : 0))),
    ...range(
      frames.map(({ offset }) => file.u64(offset + 32)),
      0,
    ),
    ...range(
      frames.map(({ offset }) => file.u64(offset + 40)),
      0,
    ),
    ...range(
      frames.map(({ offset }) => file.i64(offset + 48)),
      0n,
    ),
  ];
  return (
    JSON.stringify(footer.marks) === JSON.stringify(lastMarks ?? marksIn(new Uint8Array(56))) &&
    said.every((value, i) => value === found[i]) &&
    footer.index.every(([lsn, offset]) => frames.some((f) => f.firstLsn === lsn && f.offset === offset))
  );
}

// --- "Reading a log" --------------------------------------------------------------------------------

/** Reads a whole log from its files, by name. Nobody may be writing. */
export function readLog(files: ReadonlyMap<string, Uint8Array>): ReadLog {
  const log: ReadLog = { answer: "empty", promise: 0, lastLsn: 0, complete: 0, chains: [], segments: [], entries: [] };
  try {
    walk(files, log);
  } catch (error) {
    if (!(error instanceof Bad)) throw error;
    log.answer = error.answer;
    log.bad = { file: error.file, offset: error.offset, why: error.message };
  }
  log.promise = log.chains[0]?.promise ?? 0;
  log.lastLsn = log.chains[0]?.lastLsn ?? 0;
  return log;
}

/** "Several chains" and "Epochs". */
function walk(files: ReadonlyMap<string, Uint8Array>, log: ReadLog): void {
  const names = [...files.keys()].filter((n) => /^\d{3}-\d{10}\.wal$/.test(n));
  const chains = [...new Set(names.map((n) => Number(n.slice(0, 3))))].sort((a, b) => a - b);
  const headers: Header[] = [];
  const marks: ReadMarks[] = [];
  const ends: { header: Header; answer: string }[] = [];
  for (const chain of chains) {
    const found = walkChain(files, chain, log);
    const { header, file } = found.at(-1)!;
    ends.push({ header, answer: log.chains.at(-1)!.answer });
    headers.push(...found.map((link) => link.header));
    marks.push(...found.flatMap((link) => link.marks));
    if (header.topology !== headers[0]!.topology) throw new Bad("corrupt", file.name, 56, "another topology");
    if (header.topology === 0 && chain !== 0) throw new Bad("corrupt", file.name, 60, "a striped log has chain 0 only");
    if (!Buffer.from(header.logId).equals(headers[0]!.logId)) throw new Bad("corrupt", file.name, 32, "another log");
  }
  if (chains.length === 0) return;
  log.topology = headers[0]!.topology === 1 ? "per-core" : "striped";
  const all = together(marks);
  const missing = [...(log.topology === "per-core" ? [0] : []), ...all.chains].find((c) => !chains.includes(c));
  if (missing !== undefined)
    throw new Bad("corrupt", `${String(missing).padStart(3, "0")}-0000000001.wal`, 0, `chain ${missing} is missing`);
  log.answer = log.chains.every(({ answer }) => answer === "clean") ? "clean" : "torn";
  if (log.topology === "per-core") {
    // Stable: within a chain the order stays, also that of entries without a time of their own, which follow what is before them.
    const chainOf = new Map(log.segments.flatMap((segment) => segment.entries.map((entry) => [entry, segment.chain] as const)));
    const timeOf = new Map<ReadEntry, bigint>();
    for (const chain of chains) {
      let newest = 0n;
      for (const entry of log.entries) {
        if (chainOf.get(entry) !== chain) continue;
        if (!["void", "lost", "epoch"].includes(entry.kind)) newest = entry.timeNs;
        timeOf.set(entry, newest);
      }
    }
    log.entries.sort((a, b) => a.epoch - b.epoch || Number(timeOf.get(a)! - timeOf.get(b)!) || chainOf.get(a)! - chainOf.get(b)!);
  }
  const epoch = Math.max(...log.chains.map((c) => c.epoch));
  const term = Math.max(...headers.map((h) => h.term));
  if (ends.every(({ header, answer }) => header.term < term || (answer === "clean" && !header.cutsParent))) log.complete = epoch + 1;
  else log.complete = log.topology === "striped" ? epoch : all.complete;
}

interface Link {
  file: File;
  header: Header;
  marks: ReadMarks[];
}

function walkChain(files: ReadonlyMap<string, Uint8Array>, c: number, log: ReadLog): Link[] {
  // Step 1.
  const before = `${String(c).padStart(3, "0")}-`;
  const name = (number: number): string => `${before}${String(number).padStart(10, "0")}.wal`;
  const numbers = [...files.keys()]
    .filter((n) => n.startsWith(before) && /^\d{10}\.wal$/.test(n.slice(4)))
    .map((n) => Number(n.slice(4, 14)));
  const open = (number: number): Link => {
    const bytes = files.get(name(number));
    if (bytes === undefined) throw new Bad("corrupt", name(number), 0, "the segment is missing");
    const file = new File(name(number), bytes);
    const header = readHeader(file, c, number);
    return { file, header, marks: [header.marks] };
  };
  // Step 2.
  const chain = [open(Math.max(...numbers))];
  const { floor } = chain[0]!.header;
  for (let child = chain[0]!; child.header.parentNumber !== 0 && child.header.parentNumber >= floor; child = chain[0]!) {
    const parent = open(child.header.parentNumber);
    const same = Buffer.from(parent.header.logId).equals(child.header.logId) && parent.header.topology === child.header.topology;
    if (parent.header.salt !== child.header.parentSalt || !same) throw new Bad("corrupt", parent.file.name, 48, "not the parent");
    chain.unshift(parent);
  }
  const read: ReadChain = { chain: c, answer: "torn", promise: 0, lastLsn: 0, epoch: 0 };
  log.chains.push(read);
  chain.forEach((link, i) => {
    const { file, header } = link;
    const child = chain[i + 1]?.header;
    let footer = footerAt(file, header, file.size - 256);
    if (child !== undefined && footer !== undefined) {
      const { continued } = footer;
      const ends = footer.endOffset === child.parentEnd && footer.lastLsn === child.parentLastLsn;
      const marks = continued === undefined || (continued.number === child.number && continued.salt === child.salt);
      if (!(ends && marks)) {
        if (!child.cutsParent) throw new Bad("corrupt", file.name, footer.endOffset, "footer or mark and child disagree");
        footer = undefined;
      }
    }
    const end = child?.parentEnd ?? footer?.endOffset;
    const { segment, rule } = readFrames(file, header, Math.min(end ?? file.size, file.size));
    log.entries.push(...segment.entries);
    segment.footer = footer;
    log.segments.push(segment);
    read.lastLsn = segment.lastLsn;
    read.epoch = Math.max(read.epoch, header.epoch, ...segment.frames.filter((f) => f.entries > 0).map((f) => f.epoch));
    link.marks.push(...segment.entries.map(marksOf).filter((marks) => marks !== undefined));
    if (end !== undefined && segment.end !== end) throw new Bad("corrupt", file.name, segment.end, `frame rule ${rule}`);
    if (child !== undefined && segment.lastLsn !== child.parentLastLsn)
      throw new Bad("corrupt", file.name, segment.end, "ends with another LSN");
    if (child === undefined) judgeEnd(file, header, segment, rule, read);
    if (segment.footer !== undefined && !agrees(file, header, segment, segment.footer, segment.entries))
      throw new Bad("corrupt", file.name, segment.footer.endOffset, "footer and frames disagree");
  });
  return chain;
}

/** Steps 3 to 5 for the highest segment. */
function judgeEnd(file: File, header: Header, segment: ReadSegment, rule: number, read: ReadChain): void {
  const e = segment.end;
  const h = Math.max(header.epoch, ...segment.frames.map((f) => f.epoch));
  let promise = Math.max(header.provenLsn, ...segment.frames.map((f) => f.promise));
  let promisedEpoch = Math.max(header.epoch, ...segment.frames.map((f) => f.durableEpoch));
  let { footer } = segment;
  if (footer !== undefined) promise = Math.max(promise, footer.lastLsn);
  for (let at = up(e, 64); footer === undefined && at < file.size; at += 64) {
    if (frameHeaderAt(file, header, at, file.size)) {
      promise = Math.max(promise, file.u64(at + 24));
      promisedEpoch = Math.max(promisedEpoch, durableEpochAt(file, at));
    }
    const found = footerAt(file, header, at);
    promise = Math.max(promise, found?.lastLsn ?? 0);
    promisedEpoch = Math.max(promisedEpoch, found?.epochs[1] ?? 0);
    if (found?.endOffset === e) segment.footer = found;
  }
  footer = segment.footer;
  read.promise = promise;
  if (footer?.continued !== undefined) throw new Bad("corrupt", file.name, footer.endOffset, "the next segment is missing");
  if (promise > segment.lastLsn || promisedEpoch > h || header.provenEnd > e)
    throw new Bad("corrupt", file.name, e, `frame rule ${rule} where something was durable`);
  read.answer = footer === undefined ? "torn" : "clean";
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
