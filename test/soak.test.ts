// What the soak (soak.ts) judges with: its model objects to whatever is lost, doubled, exchanged or invented, and growth
// is told from noise. The soak itself is run by .ci/run and by hand.

import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Entry } from "../src/types.js";
import { appendEach, Fixed, readAll } from "./support/fixed-log.js";
import { judgeFlat, type Sample } from "./support/soak-measure.js";
import { SoakModel } from "./support/soak-model.js";
import { Digest, operationAt, recordOf } from "./support/soak-records.js";

const WRITER = 2;
const RECORDS = 40;

/** Records 0 to 39 of one writer, as the log gives them. */
async function entries(): Promise<{ all: Entry[]; said: string[] }> {
  const inputs: ReturnType<typeof recordOf>[] = [];
  const said = ["o 1 0 0"];
  while (inputs.length < RECORDS) {
    const operation = operationAt(WRITER, inputs.length);
    said.push(
      `b ${WRITER} ${operation.first} ${operation.count}`,
      `d ${WRITER} ${operation.first} ${operation.count} ${inputs.length + 1}`,
    );
    for (let i = 0; i < operation.count; i++) inputs.push(recordOf(WRITER, operation.first + i, operation));
  }
  const fixed = new Fixed();
  const log = await fixed.open();
  await appendEach(fixed, log, inputs);
  const all = await readAll(log, true);
  await log.close();
  return { all, said };
}

test("negative control: the soak's model objects to a log that is not what was said", async () => {
  const { all, said } = await entries();
  const last = all.length;
  async function* batches(list: Entry[]): AsyncGenerator<Entry[]> {
    yield list;
  }
  const objection = async (list: Entry[], lines = said): Promise<string> => {
    const model = new SoakModel();
    try {
      for (const line of lines) model.line(line);
      await model.check(batches(list), list.length);
      return "";
    } catch (error) {
      return (error as Error).message;
    }
  };
  const digest = new Digest();
  for (const entry of all) digest.add(entry);
  assert.is(await objection(all, [...said, `f ${last} ${digest.value}`]), "");
  assert.match(await objection(all.slice(0, -1)), `ends at LSN ${last - 1}, and ${last} was durable`);
  const single = all.find((_, i) => operationAt(WRITER, i).way === "append")!;
  const again = { ...single, lsn: last + 1, timestampMs: all[last - 1]!.timestampMs };
  assert.match(await objection([...all, again]), "doubled or out of order");
  assert.match(await objection(all, said.slice(0, -2)), "was never appended");
  assert.match(await objection(all, ["o 1 0 0", ...said.slice(1).map((line) => line.replace(/^d (.*) \d+$/, "x $1"))]), "was refused");
  assert.match(await objection(all.map((e, i) => (i >= 5 ? { ...e, term: 2 } : e))), "in term 2 instead of 1");
  assert.match(await objection(all, [...said, `f ${last} ${digest.value ^ 1}`]), "a follower was shown something else");
  assert.match(await objection(all, [...said, `f ${last + 1} 1`]), `a follower was shown LSN ${last + 1}`);
  assert.match(await objection(all, [...said, "o 1 40 0"]), "opened in term 1 after term 1");
  const changed = all.map((e) => (e.kind === "data" ? { ...e, value: Uint8Array.from(e.value, (b, i) => (i === 12 ? b ^ 1 : b)) } : e));
  assert.match(await objection(changed), "is not as it was appended");
  const hole = new Uint8Array(8);
  hole[0] = 1;
  assert.match(
    await objection([...all, { ...all[0]!, lsn: last + 1, term: 1, timestampMs: 1e15, kind: "void", value: hole }]),
    "is a hole",
  );
});

test("negative control: growth of anything that the soak measures is seen, noise is not", () => {
  const MIB = 2 ** 20;
  const sample = (n: number, leak: Partial<Record<keyof Sample, number>> = {}): Sample => {
    const rest = {
      rssBytes: 90 * MIB + (n % 3) * MIB,
      heapBytes: 6 * MIB,
      externalBytes: 2 * MIB,
      descriptors: 25,
      segmentFiles: 1,
      threads: 12,
    };
    const all = { ...rest, stripes: 1, segments: n };
    return Object.fromEntries(Object.entries(all).map(([k, v]) => [k, v + n * (leak[k as keyof Sample] ?? 0)])) as unknown as Sample;
  };
  const grown = (leak: Partial<Record<keyof Sample, number>>): string[] =>
    judgeFlat(Array.from({ length: 16 }, (_, n) => sample(n, leak)))
      .filter(({ flat }) => !flat)
      .map(({ what }) => what);
  assert.equal(grown({}), []);
  assert.equal(grown({ rssBytes: 12 * MIB }), ["rssBytes"]);
  for (const what of ["heapBytes", "externalBytes"] as const) assert.equal(grown({ [what]: MIB }), [what]);
  for (const what of ["descriptors", "segmentFiles", "threads", "stripes"] as const) assert.equal(grown({ [what]: 1 }), [what]);
  assert.throws(() => judgeFlat([sample(0)]), /too few/);
});

test.run();
