// What a lock file names, installed if it is not: the root's, the runtimes' (scripts/runtimes), the peers' (bench).
// Needs nothing installed itself.

import { spawnSync } from "node:child_process";
import { statSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = dirname(dirname(fileURLToPath(import.meta.url)));

export const say = (text) => process.stderr.write(`setup: ${text}\n`);

export const changed = (path) => statSync(join(root, path), { throwIfNoEntry: false })?.mtimeMs;

/** `npm ci` in a folder below the root, unless it has been done since the lock changed. npm writes node_modules/.package-lock.json last. */
export function install(folder = "") {
  const lock = join(folder, "package-lock.json");
  const installed = changed(join(folder, "node_modules/.package-lock.json"));
  const locked = changed(lock);
  if (locked === undefined) throw new Error(`${lock} is missing: this is no complete clone`);
  if (installed !== undefined && installed >= locked) return;
  say(`npm ci${folder && ` in ${folder}`} (${installed === undefined ? "nothing is installed yet" : `${lock} has changed`}) …`);
  const cwd = join(root, folder);
  const flags = ["ci", "--no-audit", "--no-fund", "--loglevel=error"];
  // Called by npm: the same one again. Otherwise the one in the path, which is a script on Windows and needs a shell.
  const own = process.env.npm_execpath;
  const result = own?.endsWith("npm-cli.js")
    ? spawnSync(process.execPath, [own, ...flags], { cwd, encoding: "utf8" })
    : spawnSync("npm", flags, { cwd, encoding: "utf8", shell: process.platform === "win32" });
  if (result.status === 0) return;
  process.stderr.write(`${result.stdout ?? ""}${result.stderr ?? ""}`);
  throw new Error(`npm ci failed${result.error ? `: ${result.error.message}` : ""}`);
}
