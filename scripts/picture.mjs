// The pictures of the documents, each made from a text beside it: docs/NAME.dot, in Graphviz's language, gives docs/NAME.svg.

import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { instance } from "@viz-js/viz";
import { root } from "./install.mjs";

async function pictures() {
  const viz = await instance();
  const folder = join(root, "docs");
  return readdirSync(folder)
    .filter((name) => name.endsWith(".dot"))
    .map((name) => ({
      name: `docs/${name.replace(/dot$/, "svg")}`,
      svg: viz.renderString(readFileSync(join(folder, name), "utf8"), { format: "svg" }),
    }));
}

export async function writePictures() {
  for (const { name, svg } of await pictures()) writeFileSync(join(root, name), svg);
}

/** Pictures that are not what their text gives. */
export async function pictureFaults() {
  const stored = (name) => {
    try {
      return readFileSync(join(root, name), "utf8");
    } catch {
      return undefined;
    }
  };
  return (await pictures())
    .filter(({ name, svg }) => stored(name) !== svg)
    .map(({ name }) => `${name} is not what its text gives: npm run docs makes it anew`);
}
