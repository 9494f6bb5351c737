// The planted bugs that the exhaustive exploration must find as well: those of recovery, of the order of writes and
// syncs, and of what a failed one leaves. Others need threads, clocks or larger logs than its histories have.

import { MUTANTS, type Mutant } from "./mutants.js";

const NAMES = [
  "no-fsync",
  "acknowledge-early",
  "retry-fsync",
  "ignored-short-write",
  "promise-too-high",
  "no-directory-fsync",
  "segment-not-fsynced-before-rename",
  "mark-before-commit",
  "mark-before-name-is-durable",
  "term-not-grown",
  "no-copy-forward",
  "sync-instead-of-copy",
  "read-beyond-parent-end",
  "entries-unchecked",
  "empty-frame-counts-as-proven",
  "footer-ignores-parent-end",
  "guest-no-fsync",
  "barrier-not-fsynced",
  "complete-before-all-began",
  "barrier-ends-unrecorded",
  "epoch-promised-unrecorded",
  "crashed-epoch-goes-on",
  "crashed-epoch-is-complete",
  "only-first-chain-finished",
  "retired-chain-not-read",
  "lsn-of-another-chain",
  "checkpoint-not-fsynced",
  "checkpoint-name-not-durable",
  "removed-before-the-floor",
  "floor-name-not-durable",
  "floor-forgotten-at-open",
  "prune-removes-the-newest",
  "replay-one-too-late",
];

const SHARED = MUTANTS.filter(({ name }) => NAMES.includes(name));
export const EXHAUSTIVE_MUTANTS: Mutant[] = [
  ...SHARED,
  {
    name: "spare-written-under-a-segment",
    file: "src/drop.ts",
    find: "      storage.syncDirectory(directory);\n      this.owner.discarded();",
    replace: "      this.owner.discarded();",
    why: "a file is filled with zeros that after a power cut has a segment's name",
  },
  {
    name: "spare-taken-before-its-name-is-gone",
    file: "src/spares.ts",
    find: "    storage.syncDirectory(directory);\n    const file",
    replace: "    const file",
    why: "a segment that is written has a spare's name after a power cut, and is taken once more",
  },
  {
    name: "spare-not-fsynced",
    file: "src/spares.ts",
    find: "if (!this.stopped) file.sync();",
    replace: "",
    why: "a spare that is not all zeros: a segment holds bytes of another one",
  },
  {
    name: "chain-named-before-it-is-there",
    file: "src/flusher.ts",
    find: "new Set([...chainsOf(this.core), chain])",
    replace: "new Set([...chainsOf(this.core), chain, 1])",
    why: "the first chain names another one that a crash may prevent, and all is called corrupt",
  },
  {
    name: "name-of-another-chain-not-durable",
    file: "src/chain.ts",
    find: "  storage.syncDirectory(directory);\n",
    replace: "  if (header.chain === 0) storage.syncDirectory(directory);\n",
    why: "a chain is named in another one, and acknowledged, before its file's name is durable",
  },
  {
    name: "decided-by-the-first-chain",
    file: "src/recover.ts",
    find: "= decide(log);",
    replace: "= decide(together(chains.slice(0, 1).map(({ found }) => found)));",
    why: "recovery goes on before it has looked at all chains: what one of them says of terms and epochs is missed",
  },
  {
    name: "sealed-before-all-are-drained",
    file: "src/flusher.ts",
    find: "      this.drained = true;\n      return false;",
    replace: "      this.drained = true;\n      this.sealTail();\n      return false;",
    why: "a sealed chain says that nothing is missing in the others, which have not written everything yet",
  },
];
if (SHARED.length !== NAMES.length) throw new Error("a planted bug that the exhaustive exploration must find is not in mutants.ts");
