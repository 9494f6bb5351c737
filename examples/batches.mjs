// Batches are all or nothing: a transfer between two accounts changes both or neither, whatever happens.
//
//   node examples/batches.mjs [DIRECTORY]

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openLog } from "corewal";

const directory = process.argv[2] ?? mkdtempSync(join(tmpdir(), "corewal-batches-"));
const log = await openLog(directory);

/** An entry is what happens to one account. */
const change = (account, amount) => ({ kind: "put", key: account, value: String(amount) });

async function balances() {
  const found = new Map();
  for await (const { key, value } of log.replay()) {
    const account = Buffer.from(key).toString();
    found.set(account, (found.get(account) ?? 0) + Number(Buffer.from(value).toString()));
  }
  return found;
}

await log.appendBatch([change("Ada", 100), change("Ben", 100), change("Cleo", 100)]);

// A thousand transfers at once. Each gets neighbouring LSNs, and they share a few fsyncs.
const names = ["Ada", "Ben", "Cleo"];
const transfers = Array.from({ length: 1000 }, (_, i) => {
  const [from, to] = [names[i % 3], names[(i + 1 + (i % 2)) % 3]];
  return log.appendBatch([change(from, -(i % 7)), change(to, i % 7)]);
});
const last = (await Promise.all(transfers)).at(-1);
console.log(`${transfers.length} transfers, the last one is LSN ${last.first} and ${last.last}; ${log.stats().fsyncs} fsyncs`);

// One entry of a batch is refused: then nothing of it is in the log.
const before = log.lastLsn;
await log.appendBatch([change("Ada", -50), change("", 50)]).catch(({ code }) => console.log(`refused: ${code}`));
console.log(log.lastLsn === before ? "nothing of it was written" : "A PART WAS WRITTEN");

const now = await balances();
console.log([...now].map(([account, amount]) => `${account} ${amount}`).join(", "));
const total = [...now.values()].reduce((sum, amount) => sum + amount, 0);
console.log(total % 300 === 0 ? `no money was made or lost: ${total}` : `MONEY WAS MADE OR LOST: ${total}`);
await log.close();
if (process.argv[2] === undefined) rmSync(directory, { recursive: true });
