// All damages of all logs: every bit, every length, every pair of sectors and frames; of the zeros behind an unsealed
// segment's frames one bit of each byte. node build/js/test/every-byte.js [--log WHAT]; every-byte.test.ts runs a sample.
//
// Each log has a process of its own, two at a time. --quick tries fewer, all here: enough for each planted bug.

import { spawn } from "node:child_process";
import { parseArgs } from "node:util";
import { EVERYTHING, QUICK } from "./support/damage-cases.js";
import { CORE_LOGS, LOGS } from "./support/damage-logs.js";
import { damageEverything } from "./support/damage-run.js";

const { values } = parseArgs({
  options: { log: { type: "string" }, quick: { type: "boolean", default: false }, json: { type: "boolean", default: false } },
});
const all = [...LOGS, ...CORE_LOGS];
const logs = all.filter(([what]) => values.log === undefined || what === values.log);
if (logs.length === 0) throw new Error(`there is no log ${values.log}; there are ${all.map(([what]) => what).join(", ")}`);
const began = performance.now();
let passed = 0;
let damages = 0;
let failure: string | undefined;

/** Everything of these logs, one after the other, up to the first that fails. */
async function damageHere(): Promise<void> {
  try {
    for (const [what, make] of logs) {
      damages += await damageEverything(what, await make(), values.quick ? QUICK : EVERYTHING, values.json ? () => undefined : undefined);
      passed++;
    }
  } catch (error) {
    failure = (error as Error).message;
    if (!values.json) console.log(failure);
  }
}

async function damageInProcesses(): Promise<void> {
  // The largest log takes a quarter of the time, so it is not begun last.
  const queue = logs.map(([what]) => what).sort((a, b) => Number(b.startsWith("rotated")) - Number(a.startsWith("rotated")));
  const work = async (): Promise<void> => {
    for (let what = queue.shift(); what !== undefined; what = queue.shift()) {
      const child = spawn(process.execPath, [...process.execArgv, process.argv[1]!, "--log", what], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      let out = "";
      child.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()));
      const code = await new Promise((resolve) => child.on("close", resolve));
      console.log(out.replace(/\n\d+ passed.*\n/, "").trim());
      if (code === 0) passed++;
      else failure = what;
    }
  };
  await Promise.all([work(), work()]);
}

await (logs.length > 1 && !values.quick ? damageInProcesses() : damageHere());
if (values.json) console.log(JSON.stringify({ failure, seconds: (performance.now() - began) / 1000, damages }));
else console.log(`\n${passed} passed, ${logs.length - passed} failed, 0 skipped`);
process.exitCode = failure === undefined ? 0 : 1;
