// SIGKILL in full flight: invariants 1 (acknowledged means durable, as far as the page cache goes), 2 (prefix)
// and 3 (batches are whole), with real processes, threads and files. kill.slow.test.ts does more of the same.

import { test } from "uvu";
import { endSoon } from "./support/expect.js";
import { killRounds } from "./support/kill.js";
import { killChildren } from "./support/script.js";

for (const topology of ["striped", "per-core"] as const)
  test(`invariants 1, 2, 3, ${topology}: after SIGKILL everything acknowledged is there, and nothing that was not appended`, () =>
    killRounds(5, topology));

test.after(killChildren);
test.after(endSoon);
test.run();
