// Directories of their own for tests with real files. They go with the process.

import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

let place: string | undefined;
let count = 0;

function scratch(): string {
  if (place === undefined) {
    const made = mkdtempSync(join(tmpdir(), "corewal-test-"));
    place = made;
    process.on("exit", () => rmSync(made, { recursive: true, force: true }));
  }
  return place;
}

/** A path where nothing is yet. */
export function freshPath(name = "log"): string {
  return join(scratch(), `${name}${++count}`);
}

/** An empty directory. */
export function freshDirectory(name?: string): string {
  const path = freshPath(name);
  mkdirSync(path);
  return path;
}
