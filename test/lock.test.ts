// Invariant 10: one writing process. Real processes race for real lock files.

import { spawn } from "node:child_process";
import { readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { openLog } from "../src/index.js";
import { livenessOf, type Liveness, type LockOwner } from "../src/lock-owner.js";
import { inspectLock, takeLock } from "../src/lock.js";
import { race, racer } from "./support/racer.js";
import { endSoon, refused, texts, until, within } from "./support/expect.js";
import { freshDirectory, freshPath } from "./support/scratch.js";
import { killChildren, message, scriptPath, startProcess, startThread } from "./support/script.js";

// --- livenessOf: a table ---------------------------------------------------------------------------------------------

const me: LockOwner = { pid: 10, host: "here", boot: "boot 2", pidNamespace: "pid:[1]", started: "500", since: "" };

/** Somebody as I would see him: what differs from me, whether his pid is taken, since when. */
const TABLE: {
  owner: Partial<LockOwner>;
  me?: Partial<LockOwner>;
  alive: boolean | undefined;
  started: string;
  unlocked?: boolean;
  expected: Liveness;
  why: string;
}[] = [
  { owner: {}, alive: true, started: "500", expected: "held", why: "the same process, still there" },
  { owner: { pid: 11, started: "700" }, alive: true, started: "700", expected: "held", why: "another process, still there" },
  { owner: { pid: 11, started: "700" }, alive: false, started: "", expected: "dead", why: "its pid is free" },
  { owner: { pid: 11, started: "700" }, alive: true, started: "900", expected: "dead", why: "its pid is somebody else's by now" },
  { owner: { pid: 11, started: "" }, alive: true, started: "900", expected: "held", why: "no start time on record: better refuse" },
  { owner: { pid: 11, started: "700" }, alive: true, started: "", expected: "held", why: "no start time to be seen: better refuse" },
  { owner: { boot: "boot 1", started: "500" }, alive: true, started: "500", expected: "dead", why: "the machine was booted since" },
  {
    owner: { boot: "boot 1", pidNamespace: "pid:[2]" },
    alive: false,
    started: "",
    expected: "dead",
    why: "booted since, whatever the namespace",
  },
  { owner: { pidNamespace: "pid:[2]" }, alive: false, started: "", expected: "unknown", why: "another namespace: a free pid says nothing" },
  {
    owner: { pidNamespace: "pid:[2]" },
    alive: true,
    started: "500",
    expected: "unknown",
    why: "another namespace: a taken pid says nothing",
  },
  { owner: { host: "there" }, alive: false, started: "", expected: "unknown", why: "another machine" },
  {
    owner: { host: "there", boot: "boot 1", pidNamespace: "pid:[2]" },
    alive: true,
    started: "500",
    expected: "unknown",
    why: "another machine, whatever else",
  },
  { owner: { host: "there", flock: true }, alive: true, started: "500", unlocked: true, expected: "unknown", why: "a lock over a network" },
  ...(
    [
      [{ host: "" }, {}, "the owner may not name his host"],
      [{}, { host: "" }, "I may not know my host"],
      [{ boot: "" }, {}, "the owner may not see the boot"],
      [{}, { boot: "", pidNamespace: "" }, "I may not see the boot: not the same as another one"],
      [{ pidNamespace: "" }, { pidNamespace: "" }, "nobody may see the namespace: not the same as one"],
    ] as const
  ).flatMap(([owner, who, why]) =>
    (
      [
        [undefined, undefined, "unknown"],
        [undefined, true, "unknown"],
        [true, undefined, "unknown"],
        [true, false, "held"],
        [true, true, "dead"],
      ] as const
    ).map(([flock, unlocked, expected]) => ({
      owner: { ...owner, flock },
      me: who,
      alive: false,
      started: "",
      unlocked,
      expected,
      why: `${why}; flock on record: ${flock}, free: ${unlocked}`,
    })),
  ),
  { owner: {}, alive: undefined, started: "500", expected: "unknown", why: "I may not look" },
  {
    owner: { flock: true },
    alive: undefined,
    started: "500",
    unlocked: true,
    expected: "dead",
    why: "I may not look, but the kernel lets me know",
  },
  { owner: { flock: true }, alive: true, started: "500", unlocked: true, expected: "held", why: "a living process that is seen decides" },
  { owner: { flock: true }, alive: false, started: "", unlocked: false, expected: "dead", why: "and so does a dead one" },
];

test("livenessOf: only who could see the owner calls it dead", () => {
  for (const { owner, me: who, alive, started, unlocked, expected, why } of TABLE) {
    const view = { me: { ...me, ...who }, alive: () => alive, started: () => started, unlocked: () => unlocked };
    assert.is(livenessOf({ ...me, ...owner }, view), expected, why);
  }
});

// --- races -------------------------------------------------------------------------------------------------------------

test("invariant 10: of 8 processes that race for the lock exactly one wins: fresh, released, and dead owners, again and again", async () => {
  const N = 8;
  const ROUNDS = 12;
  const directory = freshDirectory("race");
  let racers = await Promise.all(Array.from({ length: N }, () => racer(directory, "lock")));
  let races = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const winner = await race(racers, `round ${round}`);
    races++;
    // Whoever comes while it is held is refused.
    await refused(() => takeLock(directory), "COREWAL_LOCKED");
    if (round % 3 === 2) {
      await winner.end("kill");
      racers = racers.filter((r) => r !== winner);
      racers.push(await racer(directory, "lock"));
    } else {
      await winner.end("release");
    }
    // Every third time the directory is fresh.
    if (round % 3 === 1) for (const name of readdirSync(directory)) rmSync(join(directory, name));
  }
  const files = readdirSync(directory);
  assert.ok(files.length <= 1, `one lock file stays: ${files.join(", ")}`);
  await Promise.all(racers.map((r) => r.end("kill")));
  console.log(`# ${races} races of ${N} processes for one lock, one winner each`);
});

test("invariant 10: the same with openLog: one process writes at a time, and nothing gets lost between owners", async () => {
  const directory = freshPath("race");
  const all = await Promise.all(Array.from({ length: 4 }, () => racer(directory, "log")));
  let racers = [...all];
  for (let round = 1; round <= 4; round++) {
    const winner = await race(racers, `round ${round}`);
    await winner.end(round % 2 === 0 ? "kill" : "release");
    racers = racers.filter((r) => r !== winner);
    const fresh = await racer(directory, "log");
    racers.push(fresh);
    all.push(fresh);
  }
  await Promise.all(all.map((r) => r.end("kill")));
  const log = await openLog(directory);
  assert.equal(await texts(log), ["1", "2", "3", "4"]);
  assert.is(log.recovery.term, 5);
  await log.close();
});

// --- owners --------------------------------------------------------------------------------------------------------------

test("invariant 10, ancestor B, limits: a log that is open is open for nobody else, in this process or another, and the refusal names the owner", async () => {
  const directory = freshPath("held");
  const log = await openLog(directory);
  const error = await refused(openLog(directory), "COREWAL_LOCKED", new RegExp(`process ${process.pid} on `));
  assert.ok(error.file?.includes("corewal.lock."));
  assert.match(error.message, /readOnly/);
  const { ended } = startProcess("exit-case", { directory, what: "open" });
  assert.match((await within(ended)).err, new RegExp(`open for writing elsewhere: process ${process.pid} `));
  await log.append("still mine");
  await log.close();
  const again = await openLog(directory);
  await again.close();
});

test("invariant 10: a thread is refused like a process", async () => {
  const directory = freshPath("thread");
  const log = await openLog(directory);
  const worker = startThread("open-in-thread", { directory });
  assert.is(await within(message(worker)), "COREWAL_LOCKED");
  await log.close();
});

test("invariant 10: an owner that was killed keeps nobody out", async () => {
  const directory = freshPath("killed");
  const { child, ended } = startProcess("exit-case", { directory, what: "append and wait" });
  await within(new Promise((resolve) => child.stdout!.once("data", resolve)), "an entry of the owner");
  await refused(openLog(directory), "COREWAL_LOCKED", new RegExp(`process ${child.pid} `));
  child.kill("SIGKILL");
  await within(ended);
  assert.is(inspectLock(directory).liveness, "dead");
  const log = await openLog(directory);
  assert.equal(await texts(log), ["first"]);
  await log.close();
});

test("invariant 10: an owner that was killed keeps nobody out, also while nobody has reaped it", async () => {
  const directory = freshPath("zombie");
  // As in a container whose first process reaps nobody: the shell becomes a sleep that never waits for its child.
  const node = `${process.execPath} ${scriptPath("exit-case")}`;
  const task = JSON.stringify({ directory, what: "append and wait" });
  const shell = spawn("sh", ["-c", `${node} '${task}' & echo $!; exec sleep 1000`], { stdio: ["ignore", "pipe", "inherit"] });
  try {
    let out = "";
    shell.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()));
    await until(() => out.includes("appended"), "an entry of the owner");
    const pid = Number(/^\d+/.exec(out)![0]);
    process.kill(pid, "SIGKILL");
    await until(() => / Z /.test(readFileSync(`/proc/${pid}/stat`, "utf8")), "the owner is a zombie");
    const log = await openLog(directory);
    assert.equal(await texts(log), ["first"]);
    await log.close();
  } finally {
    shell.kill("SIGKILL");
  }
});

/** A lock file as another owner would have written it. */
function plant(directory: string, owner: Partial<LockOwner>, first = "H"): string {
  const mine = takeLock(directory);
  const { file, owner: self } = inspectLock(directory);
  mine.release();
  writeFileSync(file, first + JSON.stringify({ ...self, ...owner }));
  return file;
}

test("invariant 10: owners that cannot be seen from here are refused with instructions, and following these helps", async () => {
  for (const owner of [{ host: `not-${hostname()}` }, { pidNamespace: "pid:[1]", pid: 1, flock: false }]) {
    const directory = freshDirectory("unseen");
    const file = plant(directory, owner);
    const error = await refused(openLog(directory), "COREWAL_LOCKED", /cannot be seen from here/);
    assert.is(error.file, file);
    assert.ok(error.message.includes(`remove ${file}`), error.message);
    rmSync(file);
    const log = await openLog(directory);
    await log.close();
  }
});

test("invariant 10: a damaged lock file is refused with instructions", async () => {
  const directory = freshDirectory("damaged");
  const file = plant(directory, {});
  const owner = inspectLock(directory).owner;
  for (const text of [
    "H{",
    "Hnull",
    "H[]",
    "H{}",
    'H{"pid":"1"}',
    "H" + JSON.stringify({ ...owner, pid: -1 }),
    "H" + JSON.stringify({ ...owner, pid: 2 ** 31 }),
  ]) {
    writeFileSync(file, text);
    const error = await refused(openLog(directory), "COREWAL_LOCKED", /unreadable lock file/);
    assert.ok(error.message.includes(`remove ${file}`), error.message);
  }
});

test("fuzzing: behind the last number that a name can hold nobody tries for ever", async () => {
  const directory = freshDirectory("numbers");
  const file = plant(directory, {}, "R");
  const last = `${directory}/corewal.lock.9999999999`;
  renameSync(file, last);
  const error = await refused(openLog(directory), "COREWAL_LOCKED", /used up/);
  assert.ok(error.message.includes(`remove ${last}`), error.message);
});

test("invariant 10: a pid that was used again, and a lock from before the last boot, keep nobody out", async () => {
  for (const owner of [{ pid: process.pid, started: "1" }, { boot: "another", pid: process.pid }, { pid: 2 ** 22 + 1 }]) {
    const directory = freshDirectory("dead");
    const file = plant(directory, owner);
    assert.is(inspectLock(directory).liveness, "dead");
    const log = await openLog(directory);
    assert.not.ok(readdirSync(directory).includes(file.slice(file.lastIndexOf("/") + 1)), "the dead one's file is gone");
    await log.close();
  }
});

test("release leaves the lock free, whatever happened to the directory", async () => {
  const directory = freshDirectory("gone");
  const lock = takeLock(directory);
  rmSync(directory, { recursive: true });
  lock.release();
});

// --- read-only -------------------------------------------------------------------------------------------------------------

/** Names, sizes, times and contents: everything that an open could change. */
function snapshot(directory: string): string[] {
  return [".", ...readdirSync(directory).sort()].map((name) => {
    const s = statSync(join(directory, name), { bigint: true });
    const text = s.isFile() ? readFileSync(join(directory, name)).toString("base64") : "";
    return `${name} ${s.ino} ${s.size} ${s.mtimeNs} ${s.ctimeNs} ${s.mode} ${text}`;
  });
}

test("invariant 10: a read-only open is possible while the log is held, shows what is durable, and changes nothing", async () => {
  const directory = freshPath("live");
  const log = await openLog(directory, { segmentBytes: 1 << 20, ringBytes: 65536 });
  const expected: string[] = [];
  for (let i = 0; i < 50; i++) {
    await log.append(`entry ${i} ${"x".repeat(40_000)}`.slice(0, 30_000));
    expected.push(`entry ${i} `);
  }
  // The promise that covers the last frame comes after a short idle time.
  const reader = async (): Promise<number> => {
    const r = await openLog(directory, { readOnly: true });
    const { lastLsn } = r.recovery;
    await r.close();
    return lastLsn;
  };
  const end = performance.now() + 60_000;
  while ((await reader()) < 50) assert.ok(performance.now() < end, "the promise comes while the log is idle");
  const before = snapshot(directory);
  const readOnly = await openLog(directory, { readOnly: true });
  assert.equal(
    (await texts(readOnly)).map((t) => t.replace(/x.*/, "")),
    expected,
  );
  assert.is((await readOnly.get(7))?.lsn, 7);
  await refused(readOnly.append("no"), "COREWAL_READ_ONLY");
  await refused(() => readOnly.write("no"), "COREWAL_READ_ONLY");
  await refused(() => readOnly.appendSync("no"), "COREWAL_READ_ONLY");
  await refused(readOnly.appendBatch(["no"]), "COREWAL_READ_ONLY");
  await refused(readOnly.sync(), "COREWAL_READ_ONLY");
  await refused(readOnly.ready(), "COREWAL_READ_ONLY");
  await refused(() => readOnly.handle, "COREWAL_READ_ONLY");
  await readOnly.close();
  await readOnly.closed;
  assert.equal(snapshot(directory), before);
  await log.append("the writer goes on");
  await log.close();
});

test("invariant 10: a read-only open after a crash changes nothing either, again and again", async () => {
  const directory = freshPath("crashed");
  const { child, ended } = startProcess("exit-case", { directory, what: "append and wait" });
  await within(new Promise((resolve) => child.stdout!.once("data", resolve)));
  child.kill("SIGKILL");
  await within(ended);
  const before = snapshot(directory);
  for (let i = 0; i < 2; i++) {
    const log = await openLog(directory, { readOnly: true });
    assert.equal(await texts(log), ["first"]);
    assert.not.ok(log.recovery.clean);
    await log.close();
  }
  assert.equal(snapshot(directory), before);
});

test("invariant 10: a read-only open makes nothing: no directory, no log, no lock", async () => {
  const directory = freshPath("missing");
  await refused(openLog(directory, { readOnly: true }), "COREWAL_NOT_A_LOG");
  assert.throws(() => statSync(directory), /ENOENT/);
  const empty = freshDirectory("empty");
  await refused(openLog(empty, { readOnly: true }), "COREWAL_NOT_A_LOG");
  assert.equal(readdirSync(empty), []);
});

test.after(killChildren);
test.after(endSoon);
test.run();
