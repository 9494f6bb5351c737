// Packs the package and lays it out as an installation would, without npm's network: what check.mjs judges.

import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "./install.mjs";

/** npm, with its output as a string. */
export const npm = (args, cwd) => execFileSync("npm", [...args, "--loglevel=error"], { cwd, encoding: "utf8" });

/** Packs into a folder; gives what npm says about the tarball, and its path. */
export function pack(into, ...flags) {
  const said = npm(["pack", "--json", "--pack-destination", into, ...flags], root);
  const [packed] = JSON.parse(said.slice(said.indexOf("[")));
  return { ...packed, path: join(into, packed.filename) };
}

/** A project below build/ that has the packed dist/ as it is now in its node_modules, and the types of Node. */
export function packedProject() {
  const project = join(root, "build/packed");
  rmSync(project, { recursive: true, force: true });
  const installed = join(project, "node_modules/corewal");
  mkdirSync(installed, { recursive: true });
  const tarball = pack(project, "--ignore-scripts");
  execFileSync("tar", ["-xzf", tarball.path, "-C", installed, "--strip-components=1"]);
  for (const name of ["@types", "undici-types"])
    symlinkSync(join(root, "node_modules", name), join(project, "node_modules", name), "junction");
  return { project, installed, tarball, manifest: JSON.parse(readFileSync(join(installed, "package.json"), "utf8")) };
}

/** How a user may compile against it, as strict as he can be: no DOM library, libraries checked. */
export function typeConfigs(project, file) {
  return [
    { module: "nodenext", moduleResolution: "nodenext" },
    { module: "esnext", moduleResolution: "bundler" },
  ].map((resolution) => {
    const path = join(project, `tsconfig.${resolution.moduleResolution}.json`);
    const compilerOptions = { ...resolution, target: "es2022", lib: ["es2022"], strict: true, noEmit: true, types: ["node"] };
    writeFileSync(path, JSON.stringify({ compilerOptions, files: [file] }));
    return { name: resolution.moduleResolution, path };
  });
}
