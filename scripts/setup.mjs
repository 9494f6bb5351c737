// Everything that a fresh clone lacks: `node scripts/setup.mjs` installs, `node scripts/setup.mjs dist` also makes what
// `npm run demo` runs, `node scripts/setup.mjs test` that and what `npm test` runs, `peers` also what `npm run bench:peers`
// runs. Says one line for each thing that it has to do, else nothing.

import { readFileSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { changed, install, root, say } from "./install.mjs";

const NODE_MAJOR_MIN = 20;
/** What dist/ is made from. */
const SOURCES = ["src", "assembly", "scripts/build.mjs", "asconfig.json", "tsconfig.json", "tsconfig.dist.json", "package-lock.json"];

function fail(text) {
  say(text);
  process.exit(1);
}

/** Newest change in a file or below a directory. */
function newest(path) {
  const stat = statSync(join(root, path), { throwIfNoEntry: false });
  if (stat === undefined) return 0;
  if (!stat.isDirectory()) return stat.mtimeMs;
  return Math.max(stat.mtimeMs, ...readdirSync(join(root, path)).map((name) => newest(join(path, name))));
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
try {
  install();
  if (name !== undefined) await JOBS[name]();
} catch (error) {
  fail(error.message);
}
