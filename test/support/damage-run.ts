// Runs through all damages of all logs and counts what corewal said: every-byte.test.ts and every-byte.ts.

import * as assert from "uvu/assert";
import { damageCases, type Density } from "./damage-cases.js";
import { Judge, OPEN_ERROR, READ_ERROR, SAME, TORN } from "./damage-judge.js";
import type { Files } from "./golden-cases.js";

/** Throws at the first loss or invention that nothing was said about. Gives how many damages there were. */
export async function damageEverything(what: string, files: Files, density: Density, say = console.log): Promise<number> {
  // Most errors here are looked at for their code; their stacks would take most of the time.
  Error.stackTraceLimit = 0;
  const judge = new Judge(files);
  const counts = new Map<string, number>();
  const kinds = new Set<string>();
  let cases = 0;
  for (const damage of damageCases(files, density)) {
    const outcome = await judge.judge(damage);
    counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
    kinds.add(damage.kind);
    cases++;
  }
  const said = [...counts].sort((a, b) => b[1] - a[1]).map(([outcome, n]) => `${n} ${outcome}`);
  // The runner has printed a dot on this line.
  say(`\n# ${what}: ${files.size} segments, ${cases} damages of ${kinds.size} kinds: ${said.join("; ")}`);
  for (const outcome of [SAME, OPEN_ERROR, READ_ERROR]) assert.ok(counts.has(outcome), `never: ${outcome}`);
  assert.is(counts.has(TORN), judge.unproven, `${TORN}, if and only if there is something that no promise covers`);
  return cases;
}
