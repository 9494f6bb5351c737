// Damage at logs with several segments, a sample: one bit of every fifth byte, some lengths, neighbouring sectors and
// frames. The rest is in every-byte.ts.

import { test } from "uvu";
import * as assert from "uvu/assert";
import { SAMPLE } from "./support/damage-cases.js";
import { Judge, SAME } from "./support/damage-judge.js";
import { CORE_LOGS, LOGS } from "./support/damage-logs.js";
import { appendEach, Fixed } from "./support/fixed-log.js";
import type { Files } from "./support/golden-cases.js";
import { damageEverything } from "./support/damage-run.js";

for (const [what, make] of [...LOGS, ...CORE_LOGS])
  test(`invariant 4: no damage to a log that was ${what} is silent`, async () => {
    await damageEverything(what, await make(), SAMPLE);
  });

test("negative control: a log that lost or changed entries without a word is objected to", async () => {
  const make = async (inputs: string[]): Promise<Files> => {
    const fixed = new Fixed();
    const log = await fixed.open();
    await appendEach(fixed, log, inputs);
    await log.close();
    return fixed.files;
  };
  const judge = new Judge(await make(["one", "two"]));
  const objection = async (inputs: string[]): Promise<string> => {
    const files = await make(inputs);
    return judge.judge({ what: "planted", kind: "planted", make: () => files }).catch((error: Error) => error.message);
  };
  assert.is(await objection(["one", "two"]), SAME);
  assert.match(await objection(["one"]), "ends at LSN 1 instead of 2 and calls that clean");
  assert.match(await objection(["one", "two", "three"]), "as entry 3, which was never written there");
  assert.match(await objection(["one", "owt"]), "as entry 2, which was never written there");
});

test.run();
