// Several runtimes and one log: each reads what the others wrote, one at a time writes, and where a runtime may or can
// do too little it says so. Needs what `npm run test:runtimes` installs.

import { spawn, spawnSync } from "node:child_process";
import { existsSync, rmSync } from "node:fs";
import { resolve } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { inspectLock } from "../src/lock.js";
import { endSoon, refused, within } from "./support/expect.js";
import { race, racer, type Racer } from "./support/racer.js";
import { installed, runtimeNamed, type TestRuntime } from "./support/runtimes.js";
import { freshDirectory, freshPath } from "./support/scratch.js";
import { killChildren, scriptPath, watchChild } from "./support/script.js";
import { openLog } from "../src/index.js";
import type { RelayTask } from "./workers/relay.js";

/** A test that needs these runtimes; without them it is counted as skipped. */
function needing(names: string[], title: string, run: () => Promise<void>): void {
  if (names.every((name) => runtimeNamed(name) !== undefined)) test(title, run);
  else test.skip(title, run);
}
const ALL = ["node20", "node26", "deno", "bun"];
if (installed.length < 2) console.log("# SKIPPED: only one runtime is installed; npm run test:runtimes installs them");

/** Deno that may do nothing but read and write one directory (and read its own scripts, for threads), and asks nobody. */
function confined(directory: string): TestRuntime {
  const deno = runtimeNamed("deno")!;
  return {
    ...deno,
    name: "deno, confined",
    args: ["run", "--no-prompt", `--allow-read=${directory},${resolve(scriptPath("relay"), "../../..")}`, `--allow-write=${directory}`],
  };
}

// --- one format --------------------------------------------------------------------------------------------------

/** A runner that says its word is done, or is killed then. */
async function relay(on: TestRuntime, task: RelayTask): Promise<void> {
  const child = watchChild(
    spawn(on.command, [...on.args, scriptPath("relay"), JSON.stringify(task)], { stdio: ["ignore", "pipe", "pipe"] }),
  );
  let err = "";
  child.stderr.on("data", (chunk: Buffer) => (err += chunk.toString()));
  child.stdout.on("data", () => task.end === "kill" && child.kill("SIGKILL"));
  const [code, signal] = await within(
    new Promise<[number | null, string | null]>((resolve) => child.on("close", (...end) => resolve(end))),
    `${on.name} ${task.end}`,
    120_000,
  );
  if (task.end === "kill") assert.is(signal, "SIGKILL", `${on.name} ended with ${code}: ${err}`);
  else assert.is(code, 0, `${on.name} after ${task.before.join(", ")}: ${err}`);
}

needing(ALL, "a log goes from runtime to runtime, closed or killed: each reads all that was written before, and writes on", async () => {
  const directory = freshPath("relay");
  const before: string[] = [];
  const count = 300;
  const runners = [...installed, ...[...installed].reverse()];
  if (runtimeNamed("deno") !== undefined) runners.push(confined(directory), runners[0]!);
  for (const [i, on] of runners.entries()) {
    const name = `${on.name}-${i}`.replace(/[ ,]/g, "");
    await relay(on, { directory, name, count, before: [...before], end: i % 3 === 1 ? "kill" : "close" });
    before.push(name);
  }
  for (const on of installed) await relay(on, { directory, name: "", count, before, end: "read only" });
  console.log(`# ${before.length} runners in a relay: ${before.join(" ")}`);
});

// --- one lock ----------------------------------------------------------------------------------------------------

needing(
  ALL,
  "invariant 10: whoever holds the lock, on whatever runtime, keeps all others out; killed or released, he keeps nobody out",
  async () => {
    const directory = freshDirectory("pairs");
    const all = await Promise.all(installed.map((on) => racer(directory, "lock", on)));
    const take = async (r: Racer): Promise<string> => (r.go(), r.next());
    for (const [i, on] of installed.entries()) {
      assert.is(await take(all[i]!), "won", on.name);
      assert.is(inspectLock(directory).owner?.pid, all[i]!.pid);
      for (const [j, other] of installed.entries())
        if (i !== j) assert.is(await take(all[j]!), "COREWAL_LOCKED", `${other.name} while ${on.name} holds it`);
      if (i % 2 === 1) {
        await all[i]!.end("release");
      } else {
        await all[i]!.end("kill");
        all[i] = await racer(directory, "lock", on);
      }
    }
    await Promise.all(all.map((r) => r.end("kill")));
  },
);

needing(ALL, "invariant 10: of one process of each runtime that race for the lock exactly one wins, again and again", async () => {
  const directory = freshDirectory("race");
  const racers = await Promise.all(installed.flatMap((on) => [0, 1].map(() => racer(directory, "lock", on))));
  for (let round = 0; round < 12; round++) await (await race(racers, `round ${round}`)).end("release");
  await Promise.all(racers.map((r) => r.end("kill")));
});

needing(
  ["deno", "node20"],
  "invariant 10: Deno without any permission but for the directory: exclusive, and no crash keeps it out",
  async () => {
    const directory = freshDirectory("confined");
    const on = confined(directory);
    const take = async (r: Racer): Promise<string> => (r.go(), r.next());
    for (const how of ["kill", "release"] as const) {
      const first = await racer(directory, "log", on);
      assert.is(await take(first), "won");
      const second = await racer(directory, "log", on);
      assert.is(await take(second), "COREWAL_LOCKED");
      await first.end(how);
      assert.is(await take(second), "won");
      await second.end("release");
      await second.end("kill");
      if (how === "release") await first.end("kill");
    }
    // With everybody else it shares no way to see: the third answer.
    const unseen = await racer(directory, "log", on);
    assert.is(await take(unseen), "won");
    const node = await racer(directory, "log", runtimeNamed("node20"));
    assert.is(await take(node), "COREWAL_LOCKED");
    await unseen.end("kill");
    assert.is(await take(node), "COREWAL_LOCKED");
    const { file } = inspectLock(directory);
    if (!("Deno" in globalThis)) await refused(openLog(directory), "COREWAL_LOCKED", /cannot be seen from here/);
    // Deno with all permissions sees it by flock.
    const deno = await racer(directory, "log", runtimeNamed("deno"));
    assert.is(await take(deno), "won");
    await deno.end("kill");
    assert.is(await take(node), "won");
    const again = await racer(directory, "log", on);
    assert.is(await take(again), "COREWAL_LOCKED");
    await node.end("kill");
    assert.is(await take(again), "COREWAL_LOCKED", "a dead Node.js process cannot be seen either");
    rmSync(inspectLock(directory).file);
    assert.not.equal(inspectLock(directory).file, file);
    assert.is(await take(again), "won", "once the instructions were followed");
    await again.end("kill");
  },
);

needing(["deno"], "Deno at a terminal asks its user for nothing but the directory", async () => {
  const directory = freshDirectory("terminal");
  const deno = runtimeNamed("deno")!;
  const words = [deno.command, "run", `--allow-read=${directory}`, `--allow-write=${directory}`, scriptPath("open-and-say")];
  const command = [...words, JSON.stringify({ directory })].map((word) => `'${word}'`).join(" ");
  const { stdout } = spawnSync("script", ["-qec", command, "/dev/null"], { encoding: "utf8", timeout: 20_000, input: "" });
  assert.is(stdout.trim(), "fine");
});

// --- what a runtime lacks ------------------------------------------------------------------------------------------

const LACKS: {
  runtime: string;
  args?: (dir: string) => string[];
  env?: Record<string, string>;
  made?: true;
  code: string;
  words: RegExp;
}[] = [
  { runtime: "bun", env: { BUN_JSC_useWasmSIMD: "0" }, code: "COREWAL_UNSUPPORTED", words: /without WebAssembly SIMD/ },
  { runtime: "bun", env: { BUN_JSC_useWasmFaultSignalHandler: "0" }, code: "COREWAL_UNSUPPORTED", words: /without WebAssembly threads/ },
  { runtime: "bun", env: { BUN_JSC_useSharedArrayBuffer: "0" }, code: "COREWAL_UNSUPPORTED", words: /without SharedArrayBuffer/ },
  {
    runtime: "deno", // whose log would have to be made in a directory whose names it cannot make durable
    args: (dir) => ["run", "--no-prompt", `--allow-read=${dir}/log`, `--allow-write=${dir}/log`],
    code: "COREWAL_NO_PERMISSION",
    words: /which must exist, or for its parent/,
  },
  { runtime: "deno", args: () => ["run", "--no-prompt"], code: "COREWAL_NO_PERMISSION", words: /--allow-read=DIR and --allow-write=DIR/ },
  {
    runtime: "deno",
    args: (dir) => ["run", "--no-prompt", `--allow-read=${dir}`],
    code: "COREWAL_NO_PERMISSION",
    words: /--allow-read=DIR and --allow-write=DIR/,
  },
  {
    runtime: "node26",
    args: (dir) => ["--permission", "--allow-fs-read=*", `--allow-fs-write=${dir}`],
    code: "COREWAL_NO_PERMISSION",
    words: /without --permission/,
  },
  {
    runtime: "node22",
    args: () => ["--experimental-permission", "--allow-fs-read=*", "--allow-fs-write=*"],
    made: true, // and so the first thing that fails is the fsync of the lock
    code: "COREWAL_NO_PERMISSION",
    words: /without --permission/,
  },
];

for (const { runtime, args, env, made, code, words } of LACKS) {
  needing([runtime], `bad input: ${runtime} ${JSON.stringify(env ?? args?.("DIR"))}: ${code}`, async () => {
    const on = runtimeNamed(runtime);
    const parent = freshDirectory("lacks");
    const directory = made ? parent : `${parent}/log`;
    const argv = [...(args?.(parent) ?? on!.args), scriptPath("open-and-say"), JSON.stringify({ directory })];
    const { stdout, stderr } = spawnSync(on!.command, argv, { env: { ...process.env, ...env }, encoding: "utf8" });
    assert.ok(stdout.startsWith(`${code} `), `it says ${stdout} ${stderr}`);
    assert.match(stdout, words);
    assert.is(existsSync(directory), made === true, "nothing is left behind");
    const log = await openLog(directory);
    await log.close();
  });
}

test.after(killChildren);
test.after(endSoon);
test.run();
