// Everything that a fresh clone lacks: `node scripts/setup.mjs` installs, `node scripts/setup.mjs dist` also makes what
// `npm run demo` runs, `node scripts/setup.mjs test` that and what `npm test` runs. Says one line for each thing that it
// has to do, else nothing.

import { spawnSync } from "node:child_process";
import { readFileSync, readdirSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const NODE_MAJOR_MIN = 20;
/** What dist/ is made from. */
const SOURCES = ["src", "assembly", "scripts/build.mjs", "asconfig.json", "tsconfig.json", "tsconfig.dist.json", "package-lock.json"];

const say = (text) => process.stderr.write(`setup: ${text}\n`);

function fail(text) {
  say(text);
  process.exit(1);
}

const changed = (path) => statSync(join(root, path), { throwIfNoEntry: false })?.mtimeMs;

/** Newest change in a file or below a directory. */
function newest(path) {
  const stat = statSync(join(root, path), { throwIfNoEntry: false });
  if (stat === undefined) return 0;
  if (!stat.isDirectory()) return stat.mtimeMs;
  return Math.max(stat.mtimeMs, ...readdirSync(join(root, path)).map((name) => newest(join(path, name))));
}

/** npm writes node_modules/.package-lock.json last. */
function install() {
  const installed = changed("node_modules/.package-lock.json");
  const locked = changed("package-lock.json");
  if (locked === undefined) fail("package-lock.json is missing: this is no complete clone");
  if (installed !== undefined && installed >= locked) return;
  say(`npm ci (${installed === undefined ? "nothing is installed yet" : "package-lock.json has changed"}) …`);
  const flags = ["ci", "--no-audit", "--no-fund", "--loglevel=error"];
  // Called by npm: the same one again. Otherwise the one in the path, which is a script on Windows and needs a shell.
  const own = process.env.npm_execpath;
  const result = own?.endsWith("npm-cli.js")
    ? spawnSync(process.execPath, [own, ...flags], { cwd: root, encoding: "utf8" })
    : spawnSync("npm", flags, { cwd: root, encoding: "utf8", shell: process.platform === "win32" });
  if (result.status === 0) return;
  process.stderr.write(`${result.stdout ?? ""}${result.stderr ?? ""}`);
  fail(`npm ci failed${result.error ? `: ${result.error.message}` : ""}`);
}

/** Only now: the build needs what was installed. */
const builder = () => import("./build.mjs");

/** What the build must leave behind: the code, and the types, which come last. */
function results() {
  const { exports, types } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  return ["dist/index.js", "dist/core.js", "dist/cli.js", types ?? exports?.["."]?.types].filter((path) => path !== undefined);
}

async function dist() {
  const made = Math.min(...results().map((path) => changed(path) ?? 0));
  if (made >= Math.max(...SOURCES.map(newest))) return;
  say(`building dist (${made === 0 ? "it is missing" : "the sources have changed"}) …`);
  const { buildDist, buildWasm } = await builder();
  buildWasm("release");
  await buildDist();
}

async function test() {
  // The examples are tested against what is packed.
  await dist();
  say("building the tests …");
  const { buildTests, buildWasm } = await builder();
  buildWasm("release");
  await buildTests();
}

const JOBS = { dist, test };
const [name] = process.argv.slice(2);
if (name !== undefined && !Object.hasOwn(JOBS, name)) {
  say(`there is no ${name} to make: node scripts/setup.mjs [${Object.keys(JOBS).join(" | ")}]`);
  process.exit(2);
}
if (Number(process.versions.node.split(".")[0]) < NODE_MAJOR_MIN)
  fail(`Node.js ${NODE_MAJOR_MIN} or later is needed, this is ${process.versions.node}`);
install();
try {
  if (name !== undefined) await JOBS[name]();
} catch (error) {
  fail(error.message);
}
