// Planted bugs in what a damaged log goes through, the negative control of repair.test.ts: see mutants.ts.

import type { Mutant } from "./mutants.js";

export const REPAIR_MUTANTS: Mutant[] = [
  {
    name: "loss-untold",
    file: "src/rebuild.ts",
    find: "    this.lost.push(range);\n",
    replace: "",
    why: "entries are gone and the report does not say which",
  },
  {
    name: "lost-lsns-given-again",
    file: "src/rebuild.ts",
    find: "if (lsns > 0) add(KIND_VOID,",
    replace: "if (lsns > 1) add(KIND_VOID,",
    why: "the frame that takes the place of one lost entry takes no LSN, and is not valid",
  },
  {
    name: "truncate-forgets-the-rest",
    file: "src/rebuild.ts",
    find: "if (this.lastLsn > this.soundLsn) this.lose(",
    replace: "if (this.lastLsn > this.soundLsn && this.endKnown) this.lose(",
    why: "where the end is not known, what is known to be cut off is not named, and its LSNs are given again",
  },
  {
    name: "term-of-the-dead",
    file: "src/rebuild.ts",
    find: "const TERMS_UNKNOWN = 1_000_000;",
    replace: "const TERMS_UNKNOWN = 0;",
    why: "LSNs behind a lost end are given again in a term that they have had",
  },
  {
    name: "cut-not-marked",
    file: "src/rebuild.ts",
    find: "cutsParent: parent !== undefined,",
    replace: "cutsParent: false,",
    why: "the old footer of the segment that was cut contradicts the new segment",
  },
  {
    name: "cut-without-copy",
    file: "src/rebuild.ts",
    find: "for (const { from, to } of copied) copyFile(storage, from, to);",
    replace: "",
    why: "what stood behind the cut is gone when the segment is sealed there",
  },
  {
    name: "copy-without-a-name",
    file: "src/rebuild.ts",
    find: "if (copied.length > 0) storage.syncDirectory(directory);",
    replace: "if (copied.length < 0) storage.syncDirectory(directory);",
    why: "a power cut leaves the new segment and takes the copy, and whoever opens the log seals what was cut",
  },
  {
    name: "unproven-stays-where-it-is",
    file: "src/salvage.ts",
    find: "if (proven === undefined || footer !== undefined) return;",
    replace: "if (proven === undefined || this.due > 0) return;",
    why: "a repaired log relies on frames that stand in the cache only, after a failed fsync",
  },
  {
    name: "kept-is-written-again",
    file: "src/rebuild.ts",
    find: "    file.close();\n    commitSegment(storage, directory, header, parent);\n",
    replace:
      '    file.close();\n    if (parent !== undefined) {\n      const at = firstFrameOffset(parent.header.frameAlign);\n      const again = storage.open(segmentPath(directory, parent.header), "write");\n      const frames = new Uint8Array(parent.endOffset - at);\n      writeAll(again, frames.subarray(0, readSome(again, frames, at)), at);\n      again.sync();\n      again.close();\n    }\n    commitSegment(storage, directory, header, parent);\n',
    why: "a power cut in the middle of a repair takes what was whole and durable",
  },
  {
    name: "moved-before-commit",
    file: "src/rebuild.ts",
    find: "    for (const { next } of all) next?.commit({ ...facts, term: facts.term + (endKnown ? 1 : TERMS_UNKNOWN) });\n    for (const { from, to } of moved) storage.rename(from, to);\n",
    replace:
      "    for (const { from, to } of moved) storage.rename(from, to);\n    for (const { next } of all) next?.commit({ ...facts, term: facts.term + (endKnown ? 1 : TERMS_UNKNOWN) });\n",
    why: "a crash in between leaves a log that has lost whole segments, and cannot be repaired any more",
  },
  {
    name: "repaired-not-fsynced",
    file: "src/footer.ts",
    find: "  file.truncate(endOffset + bytes.length);\n  file.sync();\n",
    replace: "  file.truncate(endOffset + bytes.length);\n",
    why: "the new segment has its name before its bytes are durable",
  },
  {
    name: "frames-only",
    file: "src/salvage.ts",
    find: "for (let p = at; p + ENTRY_HEADER_BYTES <= end && lsn < lsnEnd;) {",
    replace: "for (let p = end; p + ENTRY_HEADER_BYTES <= end && lsn < lsnEnd;) {",
    why: "one flipped bit costs a whole frame",
  },
  {
    name: "no-search-behind-a-hole",
    file: "src/salvage.ts",
    find: "    const found = resume(p);\n",
    replace: "    const found = undefined as ReturnType<typeof resume>;\n",
    why: "everything in a frame behind a damaged entry is lost with it",
  },
  {
    name: "header-not-put-right",
    file: "src/segment.ts",
    find: "  if (wrong === undefined) return undefined;\n",
    replace: "  if (wrong !== undefined) return undefined;\n",
    why: "one flipped bit in the only header that knows the salt costs the whole segment",
  },
  {
    name: "neighbours-not-asked",
    file: "src/survey.ts",
    find: "  if (isNewer(link)) return link;\n",
    replace: "  if (link.number > 0) return link;\n",
    why: "the frames of a segment whose header is gone cannot be told from garbage",
  },
  {
    name: "names-believed",
    file: "src/survey.ts",
    find: "take(({ header }) => header?.salt === h.parentSalt && Buffer.from(h.logId).equals(header.logId))",
    replace: "take(({ header, named }) => named === h.parentNumber && header?.salt === h.parentSalt)",
    why: "segments under each other's names are lost",
  },
  {
    name: "end-always-known",
    file: "src/salvage.ts",
    find: "if (judged && !endKnown && footer === undefined)",
    replace: "if (judged && !endKnown && footer !== undefined)",
    why: "the end of the log is gone, and nothing is said",
  },
  {
    name: "unreadable-is-the-end",
    file: "src/tolerant-file.ts",
    find: "      this.unreadable.set(block, error);\n",
    replace: "      throw error;\n",
    why: "one bad sector, and nothing can be repaired",
  },
];
