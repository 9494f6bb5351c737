// The runtimes that corewal is tested and measured on, from the package of their own in scripts/runtimes.

import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const folder = join(dirname(fileURLToPath(import.meta.url)), "runtimes");
const modules = join(folder, "node_modules");
const node = (name) => ({ name, command: join(modules, name, "bin/node"), args: [] });

/** Each with what starts a script on it: `command ...args script`. */
export const runtimes = [
  node("node20"),
  node("node22"),
  node("node24"),
  node("node26"),
  { name: "deno", command: join(modules, ".bin/deno"), args: ["run", "-A"] },
  { name: "bun", command: join(modules, ".bin/bun"), args: [] },
];

/** Installs what is missing. Throws if that fails. */
export function installRuntimes() {
  if (runtimes.every(({ command }) => existsSync(command))) return;
  process.stderr.write("runtimes: npm ci --prefix scripts/runtimes …\n");
  const { status, stdout, stderr, error } = spawnSync("npm", ["ci", "--prefix", folder, "--no-audit", "--no-fund", "--loglevel=error"], {
    encoding: "utf8",
    shell: process.platform === "win32",
  });
  if (status !== 0) throw new Error(`the runtimes cannot be installed: ${error?.message ?? `${stdout}${stderr}`.trim()}`);
}
