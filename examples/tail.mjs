// Tail into another process: the parent appends, the child follows the same log and prints what it sees.
//
//   node examples/tail.mjs [DIRECTORY]

import { fork } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { openLog } from "corewal";

if (process.send !== undefined) {
  // The child. A read-only log needs no lock, and shows only what is durable: it never has to take anything back.
  const log = await openLog(process.argv[2], { readOnly: true });
  process.send("ready");
  for await (const { lsn, value } of log.read({ from: Number(process.argv[3]), follow: true })) {
    const line = Buffer.from(value).toString();
    console.log(`child: ${lsn} ${line}`);
    if (line === "end") break;
  }
  await log.close();
  process.disconnect();
} else {
  const directory = process.argv[2] ?? mkdtempSync(join(tmpdir(), "corewal-tail-"));
  const log = await openLog(directory);
  // Before the first entry there is no log that anybody could open.
  const first = await log.append("begin");

  const child = fork(fileURLToPath(import.meta.url), [directory, String(first)]);
  const ended = new Promise((resolve) => child.once("exit", resolve));
  await new Promise((resolve) => child.once("message", resolve));
  for (const word of ["one", "two", "three", "end"]) {
    await log.append(word);
    await sleep(20); // the child is about this far behind
  }
  const code = await ended;
  console.log(`parent: LSN ${first} to ${log.durableLsn} appended, the child ended with ${code}`);
  await log.close();
  if (process.argv[2] === undefined) rmSync(directory, { recursive: true });
}
