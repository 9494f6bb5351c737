// Checks the models of the doorbell, the durable wake-up, the wait for space, the guest, the epochs, and of dropped segments
// that are used again (test/models/*.pml) in every state, with Debian's `spin` and a C compiler. Each bug that a model can
// be made with must be found.
//
//   node scripts/models.mjs [--only MODEL]

import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { root } from "./install.mjs";

const { values } = parseArgs({ options: { only: { type: "string" } } });

/** Each model, the sizes in which it is checked, and the bugs that need another one than the first. */
const MODELS = [
  { name: "doorbell", sizes: [[], ["DEATH", "ENTRIES=1"]], bugSizes: { POLITE_SUPERVISOR: ["DEATH", "ENTRIES=1"] } },
  { name: "durable", sizes: [[]] },
  { name: "space", sizes: [[]] },
  { name: "guest", sizes: [[]] },
  { name: "recycle", sizes: [[]] },
  {
    name: "epoch",
    sizes: [
      ["ALONE"],
      ["ALONE", "CORE_ABOVE", "COPIED"],
      ["ALONE", "ONE_WRITER", "ENTRIES=2"],
      ["ONE_WRITER"],
      ["DEATH", "ONE_WRITER", "COPIED"],
      ["DEATH", "ONE_WRITER", "CORE_ABOVE"],
      ["TIMES", "ENTRIES=2"],
    ],
    bugSizes: {
      NEXT_TOO_EARLY: ["DEATH", "ONE_WRITER", "COPIED"],
      NOT_CARRIED: ["DEATH", "ONE_WRITER", "COPIED"],
      CLAIM_SETS_EPOCH: ["DEATH", "ONE_WRITER", "CORE_ABOVE"],
      JOINED_UNRECORDED: ["DEATH", "ONE_WRITER", "COPIED"],
      JOINED_LATE: ["DEATH", "ONE_WRITER", "COPIED"],
      RESERVATION_KEPT: ["TIMES", "ENTRIES=2"],
      OWN_TIME_ONLY: ["TIMES", "ENTRIES=2"],
    },
  },
];
/** Far more steps than any run of a model has without coming to a state that it was in before. */
const DEPTH_MAX = 100_000;

const pathOf = (name) => join(root, `test/models/${name}.pml`);

/** What the model itself says can be planted. */
function bugsOf(name) {
  const [, list] = /Planted bugs: ([A-Z_\s]+)\*\//.exec(readFileSync(pathOf(name), "utf8"));
  return list.trim().split(/\s+/);
}

function call(directory, command, args) {
  const { status, stdout, error } = spawnSync(command, args, { cwd: directory, encoding: "utf8", maxBuffer: 2 ** 28 });
  if (error !== undefined || status !== 0) throw new Error(`${command} ${args.join(" ")}: ${error?.message ?? stdout}`);
  return stdout;
}

/** Every state of a model, until an error is found: then what it is, and the steps that lead there. */
function check(name, defines) {
  const directory = mkdtempSync(join(tmpdir(), "corewal-model-"));
  try {
    call(directory, "spin", [...defines.map((define) => `-D${define}`), "-a", pathOf(name)]);
    call(directory, "cc", ["-w", "-O2", "-DSAFETY", "-o", "pan", "pan.c"]);
    const text = call(directory, "./pan", [`-m${DEPTH_MAX}`]);
    const [states, errors] = [/(\d+) states, stored/, /errors: (\d+)/].map((pattern) => Number(pattern.exec(text)?.[1]));
    if (!(states > 0) || /max search depth too small|Search not completed/.test(errors === 0 ? text : ""))
      throw new Error(`not every state was checked:\n${text}`);
    if (errors === 0) return { states };
    const fault = /^pan:\d+: (.*?) \(at depth/m.exec(text)?.[1] ?? text;
    return {
      states,
      fault,
      trail: call(directory, "spin", [...defines.map((define) => `-D${define}`), "-k", `${name}.pml.trail`, "-p", pathOf(name)]),
    };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

const counts = { passed: 0, failed: 0, skipped: 0 };

function report(passed, name, defines, text) {
  counts[passed ? "passed" : "failed"]++;
  console.log(`${passed ? "ok  " : "FAIL"} ${name.padEnd(9)} ${defines.join(" ").padEnd(44)} ${text}`);
}

const models = MODELS.filter(({ name }) => values.only === undefined || name === values.only);
if (models.length === 0) throw new Error(`there is no model ${values.only}; there are ${MODELS.map(({ name }) => name).join(", ")}`);
const missing = ["spin", "cc"].filter((command) => spawnSync(command, ["--version"]).error !== undefined);
for (const { name, sizes, bugSizes } of models) {
  const bugs = bugsOf(name);
  if (missing.length > 0) {
    counts.skipped += sizes.length + bugs.length;
    continue;
  }
  for (const defines of sizes) {
    const { states, fault, trail } = check(name, defines);
    report(fault === undefined, name, defines, `${states} states${fault === undefined ? "" : `: ${fault}\n${trail}`}`);
  }
  for (const bug of bugs) {
    const defines = [...(bugSizes?.[bug] ?? sizes[0]), bug];
    const { states, fault } = check(name, defines);
    report(fault !== undefined, name, defines, fault === undefined ? `${states} states: the planted bug was NOT found` : `found: ${fault}`);
  }
}
if (missing.length > 0) console.log(`${missing.join(" and ")} missing: apt-get install spin gcc`);
console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
process.exitCode = counts.failed > 0 || counts.passed + counts.skipped === 0 ? 1 : 0;
