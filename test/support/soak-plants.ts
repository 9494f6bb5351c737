// What the soak does to a log with intent, between two lives, so that nothing but its model can notice.

import { openLog } from "../../src/index.js";
import type { Entry, Input } from "../../src/types.js";
import { segmentNumbers, withFile } from "../../src/recover-chain.js";
import { SegmentScanner } from "../../src/scan.js";
import { nodeStorage } from "../../src/storage/node.js";
import { segmentPath } from "../../src/chain.js";
import { decodeCommit } from "../../src/entry.js";
import { identify } from "./soak-records.js";

/**
 * Cuts the last segment before the frame that holds this durable LSN: it looks as if a crash had come before it. Gives
 * whether it is there to be lost, and nothing in the log promises it.
 */
export function loseRecord(directory: string, durableLsn: number): boolean {
  const number = segmentNumbers(nodeStorage, directory, 0)[0];
  if (number === undefined) return false;
  const cut = withFile(nodeStorage, directory, { chain: 0, number }, (file, header) => {
    const scanner = new SegmentScanner(file, header, file.size());
    try {
      let frame = scanner.next();
      while (frame !== undefined && scanner.nextLsn <= durableLsn) frame = scanner.next();
      return frame !== undefined && frame.header.firstLsn <= durableLsn && frame.offset >= header.provenEnd ? frame.offset : undefined;
    } finally {
      scanner.close();
    }
  });
  if (cut === undefined) return false;
  const file = nodeStorage.open(segmentPath(directory, { chain: 0, number }), "write");
  file.truncate(cut);
  file.close();
  return true;
}

/** Appends the last record that is neither a hole nor of a batch, half of which is another fault. Gives whether there is one. */
export async function doubleRecord(directory: string): Promise<boolean> {
  const log = await openLog(directory);
  let single: Entry | undefined;
  for (let lsn = log.recovery.lastLsn; lsn > 0 && single === undefined; lsn--) {
    const entry = await log.get(lsn);
    if (entry !== undefined && entry.kind !== "void" && identify(entry).operation.way !== "batch") single = entry;
  }
  if (single !== undefined) await log.append(inputOf(single));
  await log.close();
  return single !== undefined;
}

function inputOf(entry: Entry): Input {
  const { kind, key, value } = entry;
  if (kind === "put") return { kind, key: key!, value };
  if (kind === "delete") return { kind, key: key! };
  return kind === "commit" ? { kind, ...decodeCommit(entry) } : value;
}
