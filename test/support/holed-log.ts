// A log of ten words of which a repair has lost three: LSNs 4 to 6.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ENTRY_HEADER_BYTES, FRAME_HEADER_BYTES } from "../../assembly/layout.js";
import { openLog, repairLog } from "../../src/index.js";

export async function holedLog(directory: string): Promise<void> {
  let log = await openLog(directory);
  for (let i = 1; i <= 9; i++) await log.append(`word ${i}`);
  await log.close();
  const file = join(directory, "000-0000000001.wal");
  const bytes = readFileSync(file);
  // Frames and all, so that one hole takes three LSNs.
  bytes.fill(0, bytes.indexOf("word 4") - FRAME_HEADER_BYTES - ENTRY_HEADER_BYTES, bytes.indexOf("word 6") + 6);
  writeFileSync(file, bytes);
  await repairLog(directory, { policy: "skip" });
  log = await openLog(directory);
  await log.append("word 10");
  await log.close();
}
