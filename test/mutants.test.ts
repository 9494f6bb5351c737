// The tables of planted bugs follow the sources: each text that is to be replaced is there, once. What finds them is
// mutate.mjs, which takes minutes.

import { readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { DAMAGE_MUTANTS } from "./support/damage-mutants.js";
import { EXHAUSTIVE_MUTANTS } from "./support/exhaustive-mutants.js";
import { PARSER_MUTANTS, READER_MUTANTS } from "./support/fuzz-mutants.js";
import { MUTANTS } from "./support/mutants.js";
import { REPAIR_MUTANTS } from "./support/repair-mutants.js";
import { SCHEDULE_MUTANTS } from "./support/schedule-mutants.js";

const TABLES = { MUTANTS, SCHEDULE_MUTANTS, READER_MUTANTS, PARSER_MUTANTS, DAMAGE_MUTANTS, REPAIR_MUTANTS, EXHAUSTIVE_MUTANTS };

for (const [table, mutants] of Object.entries(TABLES)) {
  test(`${table}: each of ${mutants.length} planted bugs has its place in the sources`, () => {
    assert.is(new Set(mutants.map(({ name }) => name)).size, mutants.length, "names are used once");
    for (const { name, file, find, replace } of mutants) {
      assert.is(readFileSync(file, "utf8").split(find).length - 1, 1, `${name}: how often its text occurs in ${file}`);
      assert.is.not(find, replace, name);
    }
  });
}

test.run();
