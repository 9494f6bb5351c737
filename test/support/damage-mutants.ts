// Planted bugs in whatever judges damage, the negative control of every-byte.ts: see mutants.ts.

import type { Mutant } from "./mutants.js";

export const DAMAGE_MUTANTS: Mutant[] = [
  {
    name: "frame-header-unchecked",
    file: "src/frame.ts",
    find: "  if (v.getUint32(at + FRAME_CRC, true) !== checksum(core, at, salt, offset)) return undefined;\n",
    replace: "",
    why: "a frame's header is believed whatever its checksum, salt and place",
  },
  {
    name: "entry-unchecked",
    file: "assembly/merge.ts",
    find: "    if (fault) return fault;\n",
    replace: "",
    why: "an entry's bytes are given out whatever they are",
  },
  {
    name: "promise-ignored",
    file: "src/recover-chain.ts",
    find: "if (t.promise >= t.expectedLsn || t.promisedEpoch > t.epoch || t.provenEnd > t.validEnd)",
    replace: "if (t.promisedEpoch > t.epoch || t.provenEnd > t.validEnd)",
    why: "damage to what is durable is called a torn tail",
  },
  {
    name: "promise-behind-ignored",
    file: "src/recover-chain.ts",
    find: "promise: Math.max(promise, evidence.promise),",
    replace: "promise,",
    why: "nobody looks for promises behind the first invalid frame",
  },
  {
    name: "promise-off-by-one",
    file: "src/recover-chain.ts",
    find: "if (t.promise >= t.expectedLsn",
    replace: "if (t.promise > t.expectedLsn",
    why: "the last promised entry may be cut off",
  },
  {
    name: "continued-ignored",
    file: "src/recover-chain.ts",
    find: '  if (t.continued) return "corrupt";\n',
    replace: "",
    why: "a missing last segment goes unnoticed",
  },
  {
    name: "cut-called-clean",
    file: "src/recover-chain.ts",
    find: "    found.clean = false;\n",
    replace: "",
    why: "a log that lost its end says that it was closed properly",
  },
  {
    name: "missing-parent-ignored",
    file: "src/recover-chain.ts",
    find: "    if (!numbers.includes(child.parentNumber))\n",
    replace: "    if (!numbers.includes(child.parentNumber)) break;\n    if (child.parentNumber < 0)\n",
    why: "a log without its first segments begins later",
  },
  {
    name: "file-name-unchecked",
    file: "src/recover-chain.ts",
    find: "if (header.number !== number || ",
    replace: "if (",
    why: "a segment is taken for another one under its name",
  },
  {
    name: "footer-unchecked",
    file: "src/footer.ts",
    find: "v.getUint32(t + 8, true) !== footerChecksum(bytes, header.salt, endOffset) || ",
    replace: "",
    why: "a footer's counts, LSNs and index are believed without its checksum",
  },
  {
    name: "segment-header-unchecked",
    file: "src/segment.ts",
    find: "v.getUint32(16, true) !== KIND_SEGMENT || headerSyndrome(bytes) !== 0",
    replace: "v.getUint32(16, true) !== KIND_SEGMENT",
    why: "salt, parent and proven end are believed without their checksum",
  },
  {
    name: "reading-ends-at-damage",
    file: "src/read.ts",
    find: "      this.failure = error as Error;\n",
    replace: "      this.done = true;\n",
    why: "damage to a sealed segment ends the reading without a word",
  },
];
