// An event store: what happened is appended, and the state is a fold over it. Nothing else is stored.
//
//   node examples/event-store.mjs [DIRECTORY]     with a directory of your own it goes on where it ended

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openLog } from "corewal";

const directory = process.argv[2] ?? mkdtempSync(join(tmpdir(), "corewal-events-"));

/** The only place where the state changes: the same for events that are new and for those that come back. */
function apply(stock, { type, item, count }) {
  const before = stock.get(item) ?? 0;
  stock.set(item, type === "received" ? before + count : before - count);
}

async function openShop() {
  const log = await openLog(directory);
  const stock = new Map();
  let events = 0;
  for await (const { value } of log.replay()) {
    apply(stock, JSON.parse(Buffer.from(value).toString()));
    events++;
  }
  return {
    stock,
    events,
    async record(event) {
      await log.append(JSON.stringify(event)); // durable first …
      apply(stock, event); // … then it counts
    },
    close: () => log.close(),
  };
}

const show = (stock) => [...stock].map(([item, count]) => `${count} ${item}`).join(", ") || "nothing";

const shop = await openShop();
console.log(`opened with ${shop.events} events: ${show(shop.stock)}`);
await shop.record({ type: "received", item: "apples", count: 100 });
await shop.record({ type: "received", item: "pears", count: 20 });
await shop.record({ type: "sold", item: "apples", count: 3 });
console.log(`now: ${show(shop.stock)}`);
await shop.close();

// The process may end here, or be killed: the next one has the same state.
const again = await openShop();
console.log(`rebuilt from ${again.events} events: ${show(again.stock)}`);
console.log(show(again.stock) === show(shop.stock) ? "the same" : "DIFFERENT");
await again.close();
if (process.argv[2] === undefined) rmSync(directory, { recursive: true });
