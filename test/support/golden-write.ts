// Writes the golden files that are missing: `node build/js/test/support/golden-write.js`. What is there
// stays: a golden file that no longer matches means that the format has changed, and needs a new version.

import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { CASES, describe, GOLDEN } from "./golden-cases.js";
import { readLog } from "./independent-reader.js";

for (const { name, what, make } of CASES) {
  const files = await make();
  const write = (path: string, contents: Uint8Array | string): void => {
    if (existsSync(path)) return;
    mkdirSync(join(path, ".."), { recursive: true });
    writeFileSync(path, contents);
    console.log(path);
  };
  for (const [file, bytes] of files) write(join(GOLDEN, name, file), bytes);
  write(join(GOLDEN, `${name}.json`), `${JSON.stringify({ what, ...(describe(readLog(files)) as object) }, null, 2)}\n`);
}
