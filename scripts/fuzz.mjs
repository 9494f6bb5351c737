// Coverage-guided fuzzing of the module's parsers: compiled without SIMD, translated to C (wasm2c), run by clang's
// libFuzzer under AddressSanitizer (test/fuzz/harness.c). Then its negative control: each of the PARSER_MUTANTS must be
// found within seconds. Then the properties of test/fuzz.test.ts, for as long, with the same fresh seed.
//
//   node scripts/fuzz.mjs [--seconds N] [--seed S] [--only NAME,NAME | --keep]
//
// --only plants these bugs and does nothing else. --keep plants none, and adds to test/fuzz/corpus what was found to go
// another way through the parsers, minimised.
// Needs clang with its run-time library, and wabt; without them the parsers are skipped. Run it after a build of the tests.

import { spawnSync } from "node:child_process";
import { randomInt } from "node:crypto";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import asc from "assemblyscript/asc";
import { loadMutants, mutateText } from "../test/support/plant.mjs";
import { root } from "./install.mjs";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "30" },
    seed: { type: "string", default: String(randomInt(1, 2 ** 31)) },
    only: { type: "string" },
    keep: { type: "boolean", default: false },
  },
});
const seconds = Number(values.seconds);
if (!(seconds >= 1)) throw new Error(`--seconds is ${values.seconds}: it must be a number from 1 on`);

const SOURCES = join(root, "test/fuzz");
const CORPUS = join(SOURCES, "corpus");
const RUNTIME = "/usr/share/wabt/wasm2c";
/** More than a planted bug has ever needed, on a busy machine. */
const MUTANT_SECONDS = 20;
const HEAD_BYTES = 24;
/** Head and some entries; larger ones only make it slower. */
const CASE_BYTES_MAX = HEAD_BYTES + 600;
const PARSERS = `
export { crc32c_init, crc32c_update } from "./assembly/crc32c";
export { entry_verify, frame_find, frame_verify } from "./assembly/merge";`;

const sum = { passed: 0, failed: 0, skipped: 0 };
function count(outcome, what) {
  sum[outcome]++;
  console.log(`${{ passed: "ok  ", failed: "FAIL", skipped: "SKIP" }[outcome]} ${what}`);
}

function run(command, args, options) {
  const result = spawnSync(command, args, { encoding: "utf8", maxBuffer: 64 * 1024 * 1024, ...options });
  if (result.error) throw result.error;
  return { ...result, output: result.stdout + result.stderr };
}

function must(command, args) {
  const { status, output } = run(command, args);
  if (status !== 0) throw new Error(`${command} ${args.join(" ")} failed:\n${output}`);
}

/** Builds the fuzzer in `directory`, from sources that may have a planted bug; returns its path. */
async function build(directory, mutant) {
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { recursive: true });
  const args = ["parsers.ts", "--outFile", "parsers.wasm", "-O3", "--runtime", "stub", "--use", "abort="];
  // wasm2c knows neither SIMD nor threads. None of the parsers needs them; crc32c.ts goes without vectors.
  args.push("--disable", "simd", "--initialMemory", "2", "--maximumMemory", "2");
  let planted = mutant === undefined;
  const { error, stderr } = await asc.main(args, {
    readFile(name) {
      if (name === "parsers.ts") return PARSERS;
      if (!name.startsWith("assembly/") || !existsSync(join(root, name))) return null;
      const text = readFileSync(join(root, name), "utf8");
      if (name !== mutant?.file) return text;
      planted = true;
      return mutateText(mutant, text);
    },
    writeFile: (name, contents) => writeFileSync(join(directory, name), contents),
    listFiles: () => [],
  });
  if (error) throw new Error(`the parsers do not compile: ${stderr.toString()}`, { cause: error });
  if (!planted) throw new Error(`the parsers do not contain ${mutant.file}`);
  must("wasm2c", [join(directory, "parsers.wasm"), "-o", join(directory, "parsers.c")]);
  const fuzzer = join(directory, "fuzzer");
  must("clang", [
    ...["-O1", "-g1", "-fsanitize=fuzzer,address", "-Wno-unused-function", "-I", directory, "-I", RUNTIME],
    // Checks in the code instead of a guard page: only so does AddressSanitizer see each access.
    ...["-DWASM_RT_MEMCHECK_SIGNAL_HANDLER=0", "-DWASM_RT_TRAP_HANDLER=parser_trapped", "-include", join(SOURCES, "trap.h")],
    ...[join(directory, "parsers.c"), join(SOURCES, "harness.c"), join(RUNTIME, "wasm-rt-impl.c"), "-lm", "-o", fuzzer],
  ]);
  return fuzzer;
}

/** Fuzzes for so many seconds, beginning with the cases in `corpora`; new ones go into `found`. How often, and what is wrong. */
function fuzz(fuzzer, directory, time, found, ...corpora) {
  const artifact = join(directory, "found-");
  mkdirSync(found);
  const { status, output } = run(fuzzer, [
    ...[found, ...corpora],
    ...[`-max_total_time=${time}`, `-seed=${values.seed}`, `-max_len=${CASE_BYTES_MAX}`, `-artifact_prefix=${artifact}`],
    ...["-timeout=5", "-rss_limit_mb=1024"],
  ]);
  if (status === 0) return { runs: Number(/^Done (\d+) runs/m.exec(output)?.[1]), fault: undefined };
  const [fault] = /^(?:the module trapped|\w+: the module says|.*ERROR: (?:Address|lib)).*$/m.exec(output) ?? [output.slice(-2000)];
  return { fault: fault.replace(/^.*ERROR: /, ""), output };
}

/** What covers as much as everything that was found takes the corpus's place: few files, and small ones. */
function keep(fuzzer, found) {
  const merged = join(root, "build/fuzz/merged");
  rmSync(merged, { recursive: true, force: true });
  mkdirSync(merged);
  must(fuzzer, ["-set_cover_merge=1", `-max_len=${CASE_BYTES_MAX}`, merged, CORPUS, found]);
  rmSync(CORPUS, { recursive: true });
  // The merge keeps one that is no case.
  cpSync(merged, CORPUS, { recursive: true, filter: (path) => path === merged || statSync(path).size >= HEAD_BYTES });
  console.log(`${readdirSync(CORPUS).length} cases are kept in test/fuzz/corpus`);
}

async function parsers() {
  const directory = join(root, "build/fuzz/sound");
  const fuzzer = await build(directory);
  const found = join(directory, "corpus");
  const { runs, fault, output } = fuzz(fuzzer, directory, Math.ceil(seconds / 2), found, CORPUS);
  if (fault !== undefined) console.log(output);
  const what = fault === undefined ? `${runs} runs` : `${fault}; the case is in ${directory};`;
  count(fault === undefined && runs > 0 ? "passed" : "failed", `parsers: ${what} with seed ${values.seed}`);
  if (values.keep && fault === undefined) keep(fuzzer, found);
}

async function plantedBugs() {
  for (const mutant of await loadMutants("fuzz-mutants", "PARSER_MUTANTS", values.only?.split(","))) {
    const directory = join(root, "build/fuzz", mutant.name);
    try {
      const since = performance.now();
      const fuzzer = await build(directory, mutant);
      const built = performance.now();
      // From nothing: what the corpus finds by itself says nothing about the fuzzer.
      const { fault } = fuzz(fuzzer, directory, MUTANT_SECONDS, join(directory, "corpus"));
      const took = `built in ${((built - since) / 1000).toFixed(1)} s`;
      if (fault === undefined) count("failed", `planted ${mutant.name} SURVIVED ${MUTANT_SECONDS} s: ${mutant.why}`);
      else count("passed", `planted ${mutant.name}: ${took}, found in ${((performance.now() - built) / 1000).toFixed(1)} s: ${fault}`);
    } catch (error) {
      count("failed", `planted ${mutant.name}: NOT BUILT: ${error.message}`);
    }
  }
}

/** The host's readers: each property for its part of the time. */
function host() {
  const file = join(root, "build/js/test/fuzz.test.js");
  const properties = readFileSync(join(root, "test/fuzz.test.ts"), "utf8").match(/^test\(/gm).length;
  const env = { ...process.env, COREWAL_SEED: values.seed, COREWAL_FUZZ_SECONDS: String(seconds / 2 / properties) };
  const { status, output } = run(process.execPath, ["--enable-source-maps", file], { env, timeout: (seconds + 120) * 1000 });
  if (status !== 0) console.log(output);
  const read = /^# (\d+ were read.*)$/m.exec(output)?.[1] ?? "nothing was read";
  count(status === 0 && /^# [1-9]/m.test(output) ? "passed" : "failed", `host's readers: seed ${values.seed}, ${read}`);
}

const missing = ["clang", "wasm2c"].filter((tool) => spawnSync(tool, ["--version"]).error);
/** A file of its run-time library, for this processor; not found, clang prints the bare name. */
const library = `libclang_rt.fuzzer-${{ x64: "x86_64", arm64: "aarch64" }[process.arch]}.a`;
if (missing.length === 0 && !existsSync(run("clang", [`-print-file-name=${library}`]).stdout.trim())) missing.push(library);
if (missing.length === 0) {
  if (values.only === undefined) await parsers();
  if (!values.keep) await plantedBugs();
} else {
  count("skipped", `parsers: ${missing.join(" and ")} missing; Debian has clang, libclang-rt-dev and wabt`);
}
if (values.only === undefined) host();
console.log(`\n${sum.passed} passed, ${sum.failed} failed, ${sum.skipped} skipped`);
process.exitCode = sum.failed > 0 || sum.passed === 0 ? 1 : 0;
