// A process that gives up its rights, then opens a log and says what came of it.

import { codeOf } from "../../src/errors.js";
import { openLog } from "../../src/index.js";
import { task } from "../support/script.js";

const { directory, readOnly } = task<{ directory: string; readOnly: boolean }>();
process.setgid!(65534);
process.setuid!(65534);
try {
  const log = await openLog(directory, { readOnly });
  let entries = 0;
  for await (const batch of log.readBatches()) entries += batch.length;
  console.log(`${entries} entries`);
  await log.close();
} catch (error) {
  console.log(codeOf(error) ?? String(error));
}
