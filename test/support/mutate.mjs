// Negative control of the simulator: plants one bug after the other (mutants.ts) into a copy of the sources,
// bundles the simulator with it and lets it run. Each bug must be found. Nothing of this is shipped.
//
// With --schedules the bugs of schedule-mutants.ts and the schedule exploration instead.
//
//   node test/support/mutate.mjs [--schedules] [--only NAME,NAME] [--seconds N] [--seed S]

import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, join, relative } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import * as esbuild from "esbuild";
import { buildWasm, common, embed } from "../../scripts/build.mjs";
import { root } from "../../scripts/install.mjs";

const { values } = parseArgs({
  options: {
    schedules: { type: "boolean", default: false },
    only: { type: "string" },
    seconds: { type: "string", default: "60" },
    seed: { type: "string", default: "1" },
  },
});

/** Which bugs, what must find them, with which arguments, and what it counts. */
const SUITE = values.schedules
  ? { table: "schedule-mutants", list: "SCHEDULE_MUTANTS", finder: "schedules", args: ["--preemptions", "1"], unit: "schedules" }
  : { table: "mutants", list: "MUTANTS", finder: "sim", args: [], unit: "cycles" };

/** The table, compiled on the fly: this script runs without a build. */
async function loadMutants() {
  const { code } = await esbuild.transform(readFileSync(new URL(`${SUITE.table}.ts`, import.meta.url), "utf8"), {
    loader: "ts",
    format: "esm",
  });
  const path = join(root, `build/${SUITE.table}.mjs`);
  mkdirSync(join(root, "build"), { recursive: true });
  writeFileSync(path, code);
  return (await import(pathToFileURL(path).href))[SUITE.list];
}

/** A find that does not hit exactly once means that the source has moved on and the mutant has not. */
function mutateText({ name, file, find, replace }, text) {
  const hits = text.split(find).length - 1;
  if (hits !== 1) throw new Error(`mutant ${name}: its text occurs ${hits} times in ${file}, it must be once:\n${find}`);
  return text.replace(find, () => replace);
}

/** Compiles a copy of assembly/ with the bug in it. */
function mutateWasm(mutant, directory) {
  const copy = join(directory, "assembly");
  cpSync(join(root, "assembly"), copy, { recursive: true });
  const path = join(directory, mutant.file);
  writeFileSync(path, mutateText(mutant, readFileSync(path, "utf8")));
  const config = JSON.parse(readFileSync(join(root, "asconfig.json"), "utf8"));
  const outFile = join(directory, "corewal.wasm");
  writeFileSync(
    join(directory, "asconfig.json"),
    JSON.stringify({ ...config, targets: { mutant: { outFile: basename(outFile), textFile: "corewal.wat" } } }),
  );
  const asc = spawnSync(process.execPath, [join(root, "node_modules/assemblyscript/bin/asc.js"), "--target", "mutant"], {
    cwd: directory,
    encoding: "utf8",
  });
  if (asc.status !== 0) throw new Error(`mutant ${mutant.name} does not compile:\n${asc.stdout}${asc.stderr}`);
  return outFile;
}

/** Bundles the simulator with one mutant; returns the bundle's path. */
async function build(mutant) {
  const directory = join(root, "build/mutants", mutant.name);
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { recursive: true });
  const inWasm = mutant.file.startsWith("assembly/");
  let applied = inWasm;
  const edit = (path, text) => {
    if (inWasm || relative(root, path) !== mutant.file) return text;
    applied = true;
    return mutateText(mutant, text);
  };
  await esbuild.build({
    ...common,
    // What goes wrong is in the error that is thrown.
    logLevel: "silent",
    entryPoints: [join(root, `test/${SUITE.finder}.ts`)],
    outfile: join(directory, `${SUITE.finder}.js`),
    packages: "external",
    plugins: [embed({ edit, wasmFile: inWasm ? mutateWasm(mutant, directory) : buildWasm("release") })],
  });
  if (!applied) throw new Error(`mutant ${mutant.name}: the simulator does not contain ${mutant.file}`);
  return join(directory, `${SUITE.finder}.js`);
}

function run(bundle) {
  const { stdout, stderr, status, signal } = spawnSync(
    process.execPath,
    [bundle, "--json", ...SUITE.args, "--seconds", values.seconds, "--seed", values.seed],
    {
      encoding: "utf8",
      // A bug may also make it hang, or eat all memory; that is found as well.
      timeout: (Number(values.seconds) + 20) * 1000,
    },
  );
  const line = stdout.trim().split("\n").at(-1);
  if (line?.startsWith("{")) return JSON.parse(line);
  return {
    failure: `the simulator ended with ${signal ?? status}: ${stderr.trim().split("\n").slice(0, 3).join(" ")}`,
    seconds: NaN,
    [SUITE.unit]: NaN,
  };
}

const all = await loadMutants();
const wanted = values.only?.split(",");
const unknown = wanted?.filter((name) => !all.some((mutant) => mutant.name === name)) ?? [];
if (unknown.length > 0)
  throw new Error(`there is no mutant ${unknown.join(", ")}; there are ${all.map((mutant) => mutant.name).join(", ")}`);
const mutants = all.filter(({ name }) => wanted === undefined || wanted.includes(name));
const width = Math.max(...mutants.map(({ name }) => name.length));
let survivors = 0;

for (const mutant of mutants) {
  let bundle;
  try {
    bundle = await build(mutant);
  } catch (error) {
    survivors++;
    console.log(`${mutant.name.padEnd(width)}  NOT BUILT: ${error.message}`);
    continue;
  }
  const { failure, seconds, [SUITE.unit]: count } = run(bundle);
  if (failure === undefined) survivors++;
  const verdict = failure === undefined ? `SURVIVED ${count} ${SUITE.unit}. ${mutant.why}` : failure.split("\n")[0].slice(0, 160);
  console.log(`${mutant.name.padEnd(width)}  ${seconds.toFixed(1).padStart(6)} s ${String(count).padStart(7)} ${SUITE.unit}  ${verdict}`);
}
console.log(
  survivors === 0
    ? `all ${mutants.length} planted bugs were found`
    : `${survivors} of ${mutants.length} planted bugs SURVIVED or could not be planted`,
);
process.exitCode = survivors === 0 ? 0 : 1;
