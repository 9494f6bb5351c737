// Everything that a fresh clone lacks: `node scripts/setup.mjs` installs, `node scripts/setup.mjs dist` also makes what
// `npm run demo` runs, `node scripts/setup.mjs test` what `npm test` runs, `peers` also what `npm run bench:peers`
// runs. Says one line for each thing that it has to do, else nothing.

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

/** What the lock file of a folder names. npm writes node_modules/.package-lock.json last. */
function install(folder = "") {
  const lock = join(folder, "package-lock.json");
  const installed = changed(join(folder, "node_modules/.package-lock.json"));
  const locked = changed(lock);
  if (locked === undefined) fail(`${lock} is missing: this is no complete clone`);
  if (installed !== undefined && installed >= locked) return;
  say(`npm ci${folder && ` in ${folder}`} (${installed === undefined ? "nothing is installed yet" : `${lock} has changed`}) …`);
  const cwd = join(root, folder);
  const flags = ["ci", "--no-audit", "--no-fund", "--loglevel=error"];
  // Called by npm: the same one again. Otherwise the one in the path, which is a script on Windows and needs a shell.
  const own = process.env.npm_execpath;
  const result = own?.endsWith("npm-cli.js")
    ? spawnSync(process.execPath, [own, ...flags], { cwd, encoding: "utf8" })
    : spawnSync("npm", flags, { cwd, encoding: "utf8", shell: process.platform === "win32" });
  if (result.status === 0) return;
  process.stderr.write(`${result.stdout ?? ""}${result.stderr ?? ""}`);
  fail(`npm ci failed${result.error ? `: ${result.error.message}` : ""}`);
}

/** Only now: the build needs what was installed. */
const builder = () => import("./build.mjs");

/** What the build must leave behind: the code, and the types, which come last. */
function results() {
  const { exports, types } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  return ["dist/index.js", "dist/cli.js", types ?? exports?.["."]?.types].filter((path) => path !== undefined);
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
  say("building the tests …");
  const { buildTests, buildWasm } = await builder();
  buildWasm("release");
  await buildTests();
}

/** The contenders of `npm run bench:peers`, which nothing else needs. */
async function peers() {
  install("bench");
  await test();
}

const JOBS = { dist, test, peers };
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
