// kill.test.ts, ten times as long. COREWAL_SEED replays the choices of an earlier run.

import { test } from "uvu";
import { endSoon } from "./support/expect.js";
import { killRounds } from "./support/kill.js";
import { killChildren } from "./support/script.js";

const seed = process.env.COREWAL_SEED;

for (const topology of ["striped", "per-core"] as const)
  test(`invariants 1, 2, 3, ${topology}: 50 kills`, () => killRounds(50, topology, seed === undefined ? undefined : Number(seed)));

test.after(killChildren);
test.after(endSoon);
test.run();
