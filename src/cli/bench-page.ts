// What `corewal bench` shows: the same sections as text for a terminal and as a page for a browser, which needs no other file.

import { table } from "./format.js";

export interface Section {
  title: string;
  heads: string[];
  /** `bar` is what a bar's length stands for. */
  rows: { cells: string[]; bar: number }[];
  note?: string;
}

export function asText({ title, heads, rows, note }: Section): string {
  const lines = table([heads, ...rows.map(({ cells }) => cells)], heads.map((_, column) => column).slice(1));
  return [title, "", ...lines.map((line) => `  ${line}`), ...(note === undefined ? [] : ["", `  ${note}`])].join("\n");
}

const ESCAPES: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
const escaped = (text: string): string => text.replace(/[&<>"]/g, (c) => ESCAPES[c]!);

const STYLE = `
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 56rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .25rem .6rem; white-space: nowrap; }
th { font-weight: 500; opacity: .7; border-bottom: 1px solid #8886; }
th:first-child, td:first-child { text-align: left; }
td.bar { width: 40%; } td.bar div { height: .8rem; border-radius: 2px; background: #3b7dd8; min-width: 1px; }
p.note { opacity: .7; }`;

/** A whole page. `facts` are what was measured, on what. */
export function asPage(title: string, facts: string[], sections: Section[]): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${escaped(title)}</title>
<style>${STYLE}
</style>
</head>
<body>
<h1>${escaped(title)}</h1>
<ul>
${facts.map((fact) => `<li>${escaped(fact)}</li>`).join("\n")}
</ul>
${sections.map(sectionOf).join("\n")}
</body>
</html>
`;
}

function sectionOf({ title, heads, rows, note }: Section): string {
  const longest = Math.max(...rows.map(({ bar }) => bar));
  const row = (cells: string[], tag: string, bar: string): string =>
    `<tr>${cells.map((cell) => `<${tag}>${escaped(cell)}</${tag}>`).join("")}${bar}</tr>`;
  const bar = (value: number): string => `<td class="bar"><div style="width:${((100 * value) / longest).toFixed(1)}%"></div></td>`;
  return `<h2>${escaped(title)}</h2>
<table>
${row(heads, "th", "<th></th>")}
${rows.map(({ cells, bar: value }) => row(cells, "td", bar(value))).join("\n")}
</table>${note === undefined ? "" : `\n<p class="note">${escaped(note)}</p>`}`;
}
