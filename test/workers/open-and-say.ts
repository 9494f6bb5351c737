// Opens a log and says how that went: its code and message.

import { codeOf } from "../../src/errors.js";
import { openLog } from "../../src/index.js";
import { task } from "../support/script.js";

try {
  const log = await openLog(task<{ directory: string }>().directory);
  await log.append("fine");
  await log.close();
  console.log("fine");
} catch (error) {
  console.log(codeOf(error), (error as Error).message);
}
