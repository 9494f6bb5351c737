// Negative controls: plants one bug after the other into a copy of the sources, bundles what must find it, and lets that
// run. Each bug must be found. Nothing of this is shipped.
//
//   node test/support/mutate.mjs [SUITE] [--only NAME,NAME | --sample N] [--seconds N] [--seed S] [--seeds N] [--corpus]
//
// --sample plants N of them, chosen by chance, so that a run of CI takes minutes and a few runs plant all. SUITE is one of the flags below; without one it is the crash simulator. A bug that is not found in --seconds has
// survived; fuzz tests count --seeds instead, so that a busy machine is no reason. For each of its bugs the corpus
// (test/corpus.json) keeps the smallest run that was found to fail with it: that one must still fail. `npm test` replays
// them without the bugs. --corpus finds, shrinks and writes them anew, which is due when the simulator decides something
// it did not decide before.

import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, join, relative } from "node:path";
import { parseArgs } from "node:util";
import * as esbuild from "esbuild";
import { buildWasm, common, embed } from "../../scripts/build.mjs";
import { root } from "../../scripts/install.mjs";
import { loadMutants, mutateText } from "./plant.mjs";

const { values } = parseArgs({
  options: {
    schedules: { type: "boolean" },
    fuzz: { type: "boolean" },
    damage: { type: "boolean" },
    repair: { type: "boolean" },
    exhaustive: { type: "boolean" },
    corpus: { type: "boolean", default: false },
    only: { type: "string" },
    sample: { type: "string" },
    seconds: { type: "string", default: "60" },
    seed: { type: "string", default: "1" },
    seeds: { type: "string", default: "12" },
  },
});

const time = ["--seconds", values.seconds];
const timed = [...time, "--seed", values.seed];
const SHRINK_SECONDS = 15;
/**
 * Which bugs, what must find them, with which arguments, and what it counts. A test has no arguments: it is run with one
 * seed after the other, or once if there is no chance in it.
 */
const SUITES = {
  simulator: {
    table: "mutants",
    list: "MUTANTS",
    finder: "sim",
    args: ["--shrink", values.corpus ? String(SHRINK_SECONDS) : "0", ...timed],
    unit: "cycles",
  },
  schedules: {
    table: "schedule-mutants",
    list: "SCHEDULE_MUTANTS",
    finder: "schedules",
    args: ["--preemptions", "1", ...timed],
    unit: "schedules",
  },
  damage: { table: "damage-mutants", list: "DAMAGE_MUTANTS", finder: "every-byte", args: ["--quick"], unit: "damages" },
  exhaustive: { table: "exhaustive-mutants", list: "EXHAUSTIVE_MUTANTS", finder: "exhaustive", args: time, unit: "states" },
  fuzz: { table: "fuzz-mutants", list: "READER_MUTANTS", finder: "fuzz.test", unit: "seeds" },
  repair: { table: "repair-mutants", list: "REPAIR_MUTANTS", finder: "repair.test", unit: "runs", once: true },
};
const name = Object.keys(SUITES).find((suite) => values[suite]) ?? "simulator";
const SUITE = SUITES[name];

/** Compiles a copy of assembly/ with the bug in it, for a target of asconfig.json; returns the file. */
function mutateWasm(mutant, directory, target) {
  const copy = join(directory, "assembly");
  cpSync(join(root, "assembly"), copy, { recursive: true });
  const path = join(directory, mutant.file);
  writeFileSync(path, mutateText(mutant, readFileSync(path, "utf8")));
  const config = JSON.parse(readFileSync(join(root, "asconfig.json"), "utf8"));
  const outFile = join(directory, `${target}.wasm`);
  const like = config.targets[target];
  writeFileSync(
    join(directory, "asconfig.json"),
    JSON.stringify({ ...config, targets: { mutant: { ...like, outFile: basename(outFile), textFile: `${target}.wat` } } }),
  );
  const asc = spawnSync(process.execPath, [join(root, "node_modules/assemblyscript/bin/asc.js"), "--target", "mutant"], {
    cwd: directory,
    encoding: "utf8",
  });
  if (asc.status !== 0) throw new Error(`mutant ${mutant.name} does not compile:\n${asc.stdout}${asc.stderr}`);
  return outFile;
}

/** Bundles the finder with one mutant; returns the bundle's path. */
async function build(mutant) {
  const directory = join(root, "build/mutants", name, mutant.name);
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
    plugins: [
      embed({
        edit,
        wasmFile: inWasm ? mutateWasm(mutant, directory, "release") : buildWasm("release"),
        pointsFile: inWasm && name === "simulator" ? mutateWasm(mutant, directory, "points") : undefined,
      }),
    ],
  });
  if (!applied) throw new Error(`mutant ${mutant.name}: ${SUITE.finder} does not contain ${mutant.file}`);
  return join(directory, `${SUITE.finder}.js`);
}

/** Beyond the time that it was given, for machines that are busy: none of the bugs in the tables makes it hang. */
const HANG_SECONDS = 300;
/** A bug may also make it hang, or eat all memory; that is found as well. */
const LIMITS = { encoding: "utf8", timeout: (Number(values.seconds) + HANG_SECONDS) * 1000, maxBuffer: 2 ** 28 };

/** A test says by its status whether it found something. */
function runTest(bundle) {
  const started = performance.now();
  const seconds = () => (performance.now() - started) / 1000;
  let count = 0;
  do {
    const env = { ...process.env, COREWAL_SEED: String(Number(values.seed) + count) };
    const { stdout, stderr, status, signal } = spawnSync(process.execPath, [bundle], { ...LIMITS, env });
    count++;
    if (status === 0) continue;
    const failure = signal ?? /FAIL\S* +"(.*)"/.exec(stdout)?.[1];
    if (failure === undefined) throw new Error(`the test did not run: ${stdout}${stderr}`);
    return { failure, seconds: seconds(), [SUITE.unit]: count };
  } while (!SUITE.once && count < Number(values.seeds));
  return { failure: undefined, seconds: seconds(), [SUITE.unit]: count };
}

function run(bundle, args) {
  const { stdout, stderr, status, signal } = spawnSync(process.execPath, [bundle, "--json", ...args], LIMITS);
  const line = stdout.trim().split("\n").at(-1);
  if (line?.startsWith("{")) return JSON.parse(line);
  return {
    failure: `${SUITE.finder} ended with ${signal ?? status}: ${stderr.trim().split("\n").slice(0, 3).join(" ")}`,
    seconds: NaN,
    [SUITE.unit]: NaN,
  };
}

/** What the command that a failure prints finds. */
function repeat(bundle, replay) {
  const { stdout } = spawnSync(`"${process.execPath}" "${bundle}" --json ${replay}`, { ...LIMITS, shell: true, timeout: 20_000 });
  const line = stdout.trim().split("\n").at(-1);
  return line.startsWith("{") ? JSON.parse(line).failure : line;
}

// --- the corpus -----------------------------------------------------------------------------------------

const corpusFile = join(root, "test/corpus.json");
const corpus = name === "simulator" ? JSON.parse(readFileSync(corpusFile, "utf8")) : [];
const all = await loadMutants(SUITE.table, SUITE.list);

/** Writes the shrunk run into the corpus, in the order of the table. */
function remember(mutant, { decisions, shrunkFailure }) {
  const entry = { mutant, found: shrunkFailure.split("\n")[0].slice(0, 160), decisions };
  const others = corpus.filter((other) => other.mutant !== mutant && all.some(({ name }) => name === other.mutant));
  corpus.splice(0, Infinity, ...others, entry);
  const place = ({ mutant: name }) => all.findIndex((other) => other.name === name);
  corpus.sort((a, b) => place(a) - place(b));
  writeFileSync(corpusFile, `${JSON.stringify(corpus, undefined, 2)}\n`);
}

/** The kept run of a mutant fails no more. */
function outgrown(mutant, bundle) {
  const known = corpus.find((entry) => entry.mutant === mutant.name);
  return known !== undefined && !values.corpus && run(bundle, ["--replay", known.decisions]).failure === undefined;
}

/** So many of them, in the order of the table. */
function chosen(all, count) {
  const lots = all.map((mutant) => ({ mutant, lot: Math.random() })).sort((a, b) => a.lot - b.lot);
  const picked = new Set(lots.slice(0, count).map(({ mutant }) => mutant));
  return all.filter((mutant) => picked.has(mutant));
}

// --- one after the other ----------------------------------------------------------------------------------

const known = await loadMutants(SUITE.table, SUITE.list, values.only?.split(","));
const mutants = values.sample === undefined ? known : chosen(known, Number(values.sample));
if (mutants.length < known.length) console.log(`${mutants.length} of ${known.length} planted bugs, chosen by chance`);
const width = Math.max(...mutants.map((mutant) => mutant.name.length));
let survivors = 0;

/** Whether it was found, and in words. */
async function plant(mutant) {
  let bundle;
  try {
    bundle = await build(mutant);
  } catch (error) {
    return [false, `NOT BUILT: ${error.message}`];
  }
  if (outgrown(mutant, bundle)) return [false, "the run in test/corpus.json that failed with it does not: make it anew with --corpus"];
  const result = SUITE.args === undefined ? runTest(bundle) : run(bundle, SUITE.args);
  const { failure, replay, seconds, [SUITE.unit]: count } = result;
  const cost = `${seconds.toFixed(1).padStart(6)} s ${String(count).padStart(7)} ${SUITE.unit}`;
  if (failure === undefined) return [false, `${cost}  SURVIVED. ${mutant.why}`];
  if (values.corpus && result.decisions !== undefined) remember(mutant.name, result);
  const again = name === "schedules" ? repeat(bundle, replay) : failure;
  if (again !== failure) return [false, `${cost}  found, but ${replay} does not replay it: ${again}`];
  return [true, `${cost}  ${failure.split("\n")[0].slice(0, 160)}`];
}

for (const mutant of mutants) {
  const [found, words] = await plant(mutant);
  if (!found) survivors++;
  console.log(`${mutant.name.padEnd(width)}  ${words}`);
}
console.log(`${mutants.length - survivors} passed, ${survivors} failed`);
process.exitCode = survivors === 0 && mutants.length > 0 ? 0 : 1;
