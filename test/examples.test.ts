// The examples run as they stand, each in a process of its own, against the dist/ that is packed.

import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { here } from "./support/runtimes.js";
import { freshPath } from "./support/scratch.js";

/** The clone's root, wherever the bundle lies in it. */
function rootOf(directory: string): string {
  return existsSync(join(directory, "package.json")) ? directory : rootOf(dirname(directory));
}
const folder = join(rootOf(dirname(fileURLToPath(import.meta.url))), "examples");
const LINES_MAX = 59;

/** What each prints the first time, and the second time in the same directory. */
const EXPECTED: Record<string, [first: RegExp, again: RegExp]> = {
  "batches.mjs": [
    /^1000 transfers, the last one is LSN 2002 and 2003; \d+ fsyncs\nrefused: COREWAL_EMPTY\nnothing of it was written\nAda 100, Ben 106, Cleo 94\nno money was made or lost: 300\n$/,
    /LSN 4005 and 4006[\s\S]*no money was made or lost: 600\n$/,
  ],
  "counter.mjs": [/^(worker \d: 1000\n){4}together: 4000, LSN 1 to 4000\n$/, /together: 4000, LSN 4001 to 8000\n$/],
  "event-store.mjs": [
    /^opened with 0 events: nothing\nnow: 97 apples, 20 pears\nrebuilt from 3 events: 97 apples, 20 pears\nthe same\n$/,
    /^opened with 3 events: 97 apples, 20 pears\nnow: 194 apples, 40 pears\nrebuilt from 6 events: 194 apples, 40 pears\nthe same\n$/,
  ],
  "job-queue.mjs": [
    /^killed in full flight: 2\d\d jobs accepted, \d+ of them done\nafter the restart: 0 lost, 0 done twice\n$/,
    /^killed in full flight: 2\d\d jobs accepted, \d+ of them done\nafter the restart: 0 lost, 0 done twice\n$/,
  ],
  "per-core.mjs": [
    /^(sensor \d: 1000 readings\n){3}in all chains: 3001 entries; epochs below 1 are complete\n$/,
    /^(sensor \d: 1000 readings\n){3}in all chains: 3001 entries; epochs below 3 are complete\n$/,
  ],
  "checkpoint.mjs": [
    /^no checkpoint, 0 entries replayed, 0 players\nplayer 7: 60 more; old segments were dropped\nthe log begins later than with LSN 1\n$/,
    /^checkpoint 3, 1 entries replayed, 100 players\nplayer 7: 60 more; old segments were dropped\nthe log begins later than with LSN 1\n$/,
  ],
  "tail.mjs": [
    /^child: 1 begin\nchild: 2 one\nchild: 3 two\nchild: 4 three\nchild: 5 end\nparent: LSN 1 to 5 appended, the child ended with 0\n$/,
    /^child: 6 begin\n[\s\S]*child: 10 end\nparent: LSN 6 to 10 appended/,
  ],
};

function run(name: string, ...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(here.command, [...here.args, join(folder, name), ...args], {
    encoding: "utf8",
    timeout: 60_000,
  });
  assert.is(status, 0, `${name}: ${stdout}${stderr}`);
  assert.is(stderr, "");
  return stdout;
}

const names = readdirSync(folder).filter((name) => name.endsWith(".mjs"));

test("every example is known here and in the table of examples/README.md, and is short", () => {
  assert.equal(names.sort(), Object.keys(EXPECTED).sort());
  const readme = readFileSync(join(folder, "README.md"), "utf8");
  for (const name of names) {
    assert.ok(readme.includes(`(${name})`), `${name} is missing in examples/README.md`);
    const lines = readFileSync(join(folder, name), "utf8").trimEnd().split("\n").length;
    assert.ok(lines <= LINES_MAX, `${name} has ${lines} lines`);
  }
});

for (const name of names) {
  test(`${name} does what it says, also when it goes on in a directory of its own`, () => {
    const [first, again] = EXPECTED[name]!;
    assert.match(run(name), first);
    const directory = freshPath("example");
    assert.match(run(name, directory), first);
    assert.match(run(name, directory), again);
  });
}

test.run();
