// The runtimes that everything is tested on, beside the Node that runs this. They come from a lock file of their own
// (scripts/runtimes), since in the root they would shadow `node`.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { install, root } from "./install.mjs";

const modules = join(root, "scripts/runtimes/node_modules");
const node = (major) => ({ name: `node${major}`, command: join(modules, `node${major}/bin/node`), args: ["--enable-source-maps"] });

/** Name, program, and what stands before a script's path. */
export const runtimes = [
  node(20),
  node(22),
  node(24),
  node(26),
  { name: "deno", command: join(modules, ".bin/deno"), args: ["run", "--allow-all"] },
  { name: "bun", command: join(modules, ".bin/bun"), args: [] },
];

export const installedRuntimes = () => runtimes.filter(({ command }) => existsSync(command));

export function runtimeNamed(name) {
  const found = runtimes.find((r) => r.name === name);
  if (found === undefined) throw new Error(`there is no runtime ${name}: there are ${runtimes.map((r) => r.name).join(", ")}`);
  if (!existsSync(found.command)) throw new Error(`${name} is not installed: npm ci --prefix scripts/runtimes`);
  return found;
}

export const installRuntimes = () => install("scripts/runtimes");
