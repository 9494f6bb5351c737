// The pictures of the documents, each made from a text beside it: docs/NAME.dot, in Graphviz's language, gives docs/NAME.svg.

import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { instance } from "@viz-js/viz";
import { root } from "./install.mjs";

/**
 * Graphviz places formatted text by the widths of a font that the reader may not have. In a box it is centred whatever
 * the font: each text that begins at the left is moved to the middle of the path that draws its node.
 */
function centre(svg) {
  return svg.replace(/<g id="[^"]*" class="node">.*?<\/g>/gs, (node) => {
    const path = /<path [^>]*d="([^"]*)"/.exec(node)?.[1];
    if (path === undefined) return node;
    const xs = [...path.matchAll(/(-?[\d.]+),-?[\d.]+/g)].map(([, x]) => Number(x));
    const middle = (Math.min(...xs) + Math.max(...xs)) / 2;
    return node.replace(/text-anchor="start" x="[^"]*"/g, `text-anchor="middle" x="${middle.toFixed(1)}"`);
  });
}

async function pictures() {
  const viz = await instance();
  const folder = join(root, "docs");
  return readdirSync(folder)
    .filter((name) => name.endsWith(".dot"))
    .map((name) => ({
      name: `docs/${name.replace(/dot$/, "svg")}`,
      svg: centre(viz.renderString(readFileSync(join(folder, name), "utf8"), { format: "svg" })),
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
