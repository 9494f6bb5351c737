// What a directory is before anything is done to it: a log, empty, or somebody else's.

import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { attempt, CorewalError, mistake } from "./errors.js";
import { isOurName, parseSegmentName, RESTORING_NAME } from "./segment.js";
import { listIfThere, type Storage } from "./storage.js";

export function directoryPath(directory: string | URL, what = "a log's directory"): string {
  if (directory instanceof URL) {
    if (directory.protocol !== "file:")
      throw mistake("COREWAL_INVALID_OPTION", `${what} is a path or a file: URL, not ${directory.protocol}`);
    return resolve(fileURLToPath(directory));
  }
  if (typeof directory !== "string" || directory === "")
    throw mistake("COREWAL_INVALID_OPTION", `${what} is a path, a string that is not empty, or a file: URL`);
  if (directory.includes("\0")) throw mistake("COREWAL_INVALID_OPTION", `${what} has no NUL in its path`);
  return resolve(directory);
}

/** Files that systems leave in directories, and that say nothing about whose it is. */
export const INDIFFERENT = /^(\.|lost\+found$)/;

/** Is there a log? Throws COREWAL_NOT_A_LOG for a directory of other files, if it is no directory, and while it is restored to. */
export function surveyDirectory(storage: Storage, directory: string): "missing" | "empty" | "log" {
  const names = attempt("looking for the log", directory, () => listIfThere(storage, directory));
  if (names === undefined) return "missing";
  if (names.includes(RESTORING_NAME))
    throw new CorewalError(
      "COREWAL_NOT_A_LOG",
      `${directory} is being restored to, or that was interrupted: run the restore again, or remove the directory`,
      { file: directory },
    );
  if (names.some((name) => parseSegmentName(name) !== undefined)) return "log";
  const foreign = names.filter((name) => !isOurName(name) && !INDIFFERENT.test(name));
  if (foreign.length > 0) {
    throw new CorewalError(
      "COREWAL_NOT_A_LOG",
      `${directory} holds other files (${foreign.slice(0, 3).join(", ")}${foreign.length > 3 ? ", …" : ""}) and no log: name a directory of its own for the log`,
      { file: directory },
    );
  }
  return "empty";
}
