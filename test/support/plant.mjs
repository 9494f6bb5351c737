// What the negative controls share: tables of planted bugs (Mutant in mutants.ts), and how one is planted into a text.

import { join } from "node:path";
import { pathToFileURL } from "node:url";
import * as esbuild from "esbuild";
import { root } from "../../scripts/install.mjs";

/** A table, compiled on the fly, so that scripts run without a build; only those that are wanted, all by default. */
export async function loadMutants(table, list, wanted) {
  const path = join(root, `build/${table}.mjs`);
  await esbuild.build({
    entryPoints: [join(root, `test/support/${table}.ts`)],
    outfile: path,
    bundle: true,
    format: "esm",
    logLevel: "silent",
  });
  const all = (await import(pathToFileURL(path).href))[list];
  const unknown = wanted?.filter((name) => !all.some((mutant) => mutant.name === name)) ?? [];
  if (unknown.length > 0)
    throw new Error(`there is no mutant ${unknown.join(", ")}; there are ${all.map((mutant) => mutant.name).join(", ")}`);
  return all.filter(({ name }) => wanted === undefined || wanted.includes(name));
}

/** A find that does not hit exactly once means that the source has moved on and the mutant has not. */
export function mutateText({ name, file, find, replace }, text) {
  const hits = text.split(find).length - 1;
  if (hits !== 1) throw new Error(`mutant ${name}: its text occurs ${hits} times in ${file}, it must be once:\n${find}`);
  return text.replace(find, () => replace);
}
