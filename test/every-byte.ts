// All damages of all logs: every bit, every length, every pair of sectors and frames; of the zeros behind an unsealed
// segment's frames each sixteenth byte and length. node build/js/test/every-byte.js; every-byte.test.ts runs a sample.

import { EVERYTHING } from "./support/damage-cases.js";
import { LOGS } from "./support/damage-logs.js";
import { damageEverything } from "./support/damage-run.js";

for (const [what, make] of LOGS) await damageEverything(what, await make(), EVERYTHING);
