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
];

export const EXHAUSTIVE_MUTANTS: Mutant[] = MUTANTS.filter(({ name }) => NAMES.includes(name));
if (EXHAUSTIVE_MUTANTS.length !== NAMES.length)
  throw new Error("a planted bug that the exhaustive exploration must find is not in mutants.ts");
