// Planted bugs in readers of bytes, the negative control of fuzzing: see mutants.ts.

import type { Mutant } from "./mutants.js";

/** In the module's parsers: libFuzzer must find each (scripts/fuzz.mjs). */
export const PARSER_MUTANTS: Mutant[] = [
  {
    name: "length-unchecked",
    file: "assembly/merge.ts",
    find: "  if (payload > left - <u32>ENTRY_HEADER_BYTES) return 0;\n",
    replace: "",
    why: "a length near 2^32 wraps to a small size: the checksum is made over all memory",
  },
  {
    name: "padding-outside",
    file: "assembly/merge.ts",
    find: "if (size > left || load<u32>(at, ENTRY_KEY_BYTES)",
    replace: "if (load<u32>(at, ENTRY_KEY_BYTES)",
    why: "the payload fits, its padding does not: up to seven bytes behind the end are read",
  },
  {
    name: "header-outside",
    file: "assembly/merge.ts",
    find: "  if (left < <u32>ENTRY_HEADER_BYTES) return 0;\n",
    replace: "",
    why: "what is left is taken for a header, however little it is",
  },
  {
    name: "find-to-the-end",
    file: "assembly/merge.ts",
    find: "at + 4 <= to",
    replace: "at <= to",
    why: "the word at the very end lies behind it",
  },
  {
    name: "checksum-one-more",
    file: "assembly/crc32c.ts",
    find: "  if (bytes >= 8) {",
    replace: "  if (bytes >= 7) {",
    why: "seven bytes are taken for eight",
  },
  {
    name: "bytes-left",
    file: "assembly/merge.ts",
    find: "  if (left) return FRAME_BAD_LAYOUT;\n",
    replace: "",
    why: "bytes that belong to no entry pass under a right checksum",
  },
  {
    name: "headers-unchecked",
    file: "assembly/merge.ts",
    find: "  if (~headers != headersCrc) return FRAME_BAD_HEADERS;\n",
    replace: "",
    why: "entries that were exchanged for others are taken for the frame's",
  },
  {
    name: "hole-of-nothing",
    file: "assembly/merge.ts",
    find: "if (count <= 0 || count",
    replace: "if (count < 0 || count",
    why: "a hole without an LSN under a right checksum",
  },
  {
    name: "padding-unchecked",
    file: "assembly/merge.ts",
    find: "(<u64>(payload & 7) << 3)) return FRAME_BAD_LAYOUT;",
    replace: "(<u64>((payload & 7) + 1) << 3)) return FRAME_BAD_LAYOUT;",
    why: "off by one: the first byte of the padding may be anything",
  },
];

/** In the host's readers: the properties of fuzz.test.ts must find each (mutate.mjs --fuzz). */
export const READER_MUTANTS: Mutant[] = [
  {
    name: "parent-of-itself",
    file: "src/segment.ts",
    find: "if (u64(72) >= u64(64)) throw",
    replace: "if (u64(72) > u64(64)) throw",
    why: "whoever follows parents goes round in circles",
  },
  {
    name: "align-unchecked",
    file: "src/segment.ts",
    find: "if (frameAlign < FRAME_ALIGN_MIN || ",
    replace: "if (",
    why: "frames that begin at multiples of nothing",
  },
  {
    name: "inexact",
    file: "src/frame.ts",
    find: "return Number.isSafeInteger(value) ? value : undefined;",
    replace: "return value;",
    why: "an LSN or a term beyond 2^53 becomes a neighbour's",
  },
  {
    name: "topology-ignored",
    file: "src/segment.ts",
    find: "if (topology === undefined) {",
    replace: 'if (topology === ("another" as Topology)) {',
    why: "a log that another version made is read as if it were ours",
  },
  {
    name: "promise-of-itself",
    file: "src/scan.ts",
    find: " || header.durableLsn >= header.firstLsn)",
    replace: ")",
    why: "a frame that calls itself durable",
  },
  {
    name: "lsns-out-of-order",
    file: "src/scan.ts",
    find: "header.firstLsn !== this.nextLsn || ",
    replace: "",
    why: "frames with other LSNs than are due",
  },
  {
    name: "header-promises-more",
    file: "src/recover-chain.ts",
    find: "promise: Math.max(sealed.lastLsn, header.provenLsn),",
    replace: "promise: sealed.lastLsn,",
    why: "a sealed segment that lacks what its header calls durable",
  },
  {
    name: "footer-unchecked",
    file: "src/salvage.ts",
    find: '    "lastLsn",\n',
    replace: "",
    why: "a footer hides the last entry, and verify finds nothing",
  },
  {
    name: "index-unchecked",
    file: "src/salvage.ts",
    find: " && footer.index.every(([lsn, offset]) => indexed.get(offset) === lsn)",
    replace: "",
    why: "a log that verify calls sound cannot be read from the middle",
  },
  {
    name: "any-process",
    file: "src/lock.ts",
    find: "(o!.pid as number) > 0 && ",
    replace: "",
    why: "pid 0 and negative ones ask for groups of processes",
  },
  {
    name: "commit-with-a-rest",
    file: "src/entry.ts",
    find: 'if (at !== value.length) throw new RangeError("bytes behind the last name");',
    replace: "",
    why: "bytes that nobody has looked at",
  },
  {
    name: "any-code",
    file: "src/errors.ts",
    find: '/^COREWAL_[A-Z_]+$/.test(code) && typeof message === "string"',
    replace: 'typeof message === "string"',
    why: "an error from another thread with a code that is none of ours",
  },
];
