// A job queue that survives a kill: no job that was accepted is lost, and none is done twice.
//
//   node examples/job-queue.mjs [DIRECTORY]

import { fork } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { openLog } from "corewal";

const text = (bytes) => Buffer.from(bytes).toString();

/** A put is a job, its delete says that it is done. What is left is still to do. */
async function openQueue(directory) {
  const log = await openLog(directory);
  const jobs = new Map();
  const done = new Map(); // job → how often
  for await (const { kind, key, value } of log.replay()) {
    if (kind === "put") jobs.set(text(key), text(value));
    else if (kind === "delete") jobs.delete(text(key));
    else done.set(JSON.parse(text(value)).job, (done.get(JSON.parse(text(value)).job) ?? 0) + 1);
  }
  return {
    jobs,
    done,
    accept: (id, work) => log.append({ kind: "put", key: id, value: work }),
    // The result and the end of the job are one batch: after a kill both are there, or neither.
    finish: (id, work) => log.appendBatch([JSON.stringify({ job: id, result: work.toUpperCase() }), { kind: "delete", key: id }]),
    close: () => log.close(),
  };
}

if (process.send !== undefined) {
  // The child: accepts jobs and does every other one, until it is killed.
  const queue = await openQueue(process.argv[2]);
  for (let i = queue.done.size + queue.jobs.size; ; i++) {
    await queue.accept(`job ${i}`, `work ${i}`);
    process.send(`job ${i}`); // only now does anybody know of it
    if (i % 2 === 0) void queue.finish(`job ${i}`, `work ${i}`);
  }
}

const directory = process.argv[2] ?? mkdtempSync(join(tmpdir(), "corewal-jobs-"));
const child = fork(fileURLToPath(import.meta.url), [directory]);
const accepted = [];
child.on("message", (id) => accepted.push(id) === 200 && child.kill("SIGKILL"));
await new Promise((resolve) => child.once("exit", resolve));

const queue = await openQueue(directory);
const waiting = accepted.filter((id) => queue.jobs.has(id)).length;
console.log(`killed in full flight: ${accepted.length} jobs accepted, ${accepted.length - waiting} of them done`);
for (const [id, work] of queue.jobs) await queue.finish(id, work);
await queue.close();
const { done, close } = await openQueue(directory);
const lost = accepted.filter((id) => !done.has(id)).length;
console.log(`after the restart: ${lost} lost, ${[...done.values()].filter((times) => times > 1).length} done twice`);
await close();
if (process.argv[2] === undefined) rmSync(directory, { recursive: true });
