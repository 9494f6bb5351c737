// Figures and bytes for people: thousands, sizes, times, colours, and text that cannot play tricks on a terminal.

import type { CheckpointInfo, Topology } from "../types.js";

export const thousands = (n: number): string => Math.round(n).toLocaleString("en-US");

const plural = (n: number, one: string, many: string): string => `${thousands(n)} ${n === 1 ? one : many}`;
export const entriesOf = (n: number): string => plural(n, "entry", "entries");
export const counted = (n: number, one: string): string => plural(n, one, `${one}s`);

/** LSN 7, LSN 7 to 9, or from LSN 7 on. */
export const rangeOf = ({ first, last }: { first: number; last?: number | undefined }): string =>
  last === undefined ? `from LSN ${first} on, nobody knows how many,` : first === last ? `LSN ${first}` : `LSN ${first} to ${last}`;

/** Before a place in a per-core log: whose chain it is in. Nothing in a striped log. */
export const coreOf = (core: number | undefined): string => (core === undefined ? "" : `core ${core}  `);

/** Decimal units, three digits: 999 B, 1.23 kB, 45.6 MB. */
export function size(bytes: number): string {
  if (bytes < 1000) return `${Math.round(bytes)} B`;
  for (const unit of ["kB", "MB", "GB", "TB"]) {
    bytes /= 1000;
    if (bytes < 999.5 || unit === "TB") return `${bytes.toFixed(bytes < 9.995 ? 2 : bytes < 99.95 ? 1 : 0)} ${unit}`;
  }
  return "";
}

export function duration(ms: number): string {
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 120_000) return `${(ms / 1000).toFixed(1)} s`;
  return `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1000)} s`;
}

/** 2026-01-31T12:34:56.789Z, or a dash where there is no time. */
export const time = (ms: number): string => (Number.isFinite(ms) && ms > 0 && ms < 8.64e15 ? new Date(ms).toISOString() : "-");

const COLOURS = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33, cyan: 36 };
type Paint = Record<keyof typeof COLOURS, (text: string) => string>;

/** Colours for a terminal, none for a file, a pipe, or whoever has set NO_COLOR (https://no-color.org). */
export function paintFor(stream: { isTTY?: boolean }): Paint {
  const on = stream.isTTY === true && !process.env["NO_COLOR"];
  return Object.fromEntries(
    Object.entries(COLOURS).map(([name, code]) => [name, (text: string) => (on ? `\x1b[${code}m${text}\x1b[0m` : text)]),
  ) as Paint;
}

/** Columns as wide as their widest cell; `right` lists those that are aligned to the right. */
export function table(rows: string[][], right: number[] = []): string[] {
  const widths = rows.reduce<number[]>((w, row) => row.map((cell, i) => Math.max(w[i] ?? 0, cell.length)), []);
  return rows.map((row) =>
    row
      .map((cell, i) => (right.includes(i) ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!)))
      .join("  ")
      .trimEnd(),
  );
}

/** Checkpoints as `stat` and `checkpoint --list` show them. */
export function checkpointTable(checkpoints: CheckpointInfo[], topology: Topology): string[] {
  const rows = checkpoints.map((c) => [
    String(c.number),
    positionsOf(c.positions, topology),
    positionsOf(c.endPositions, topology),
    String(c.epoch),
    size(c.bytes),
    time(c.timestampMs),
  ]);
  return table([["checkpoint", "replayed behind LSN", "holds nothing behind", "epoch", "size", "made"], ...rows], [0, 3, 4]);
}

/** One LSN, or one for each core. */
export const positionsOf = (positions: number[], topology: Topology): string =>
  topology === "striped" ? String(positions[0] ?? 0) : `[${positions.join(", ")}]`;

// Everything that a terminal could take for a command or that hides other text: C0, DEL, C1, directions, line separators.
const UNSAFE = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\\]/g;
const SHORT: Record<string, string> = { "\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\" };

/** Text on one line, with everything that a terminal could take for a command shown as an escape. */
export const harmless = (text: string): string =>
  text.replace(
    UNSAFE,
    (c) =>
      SHORT[c] ??
      (c < "\u0100" ? `\\x${c.charCodeAt(0).toString(16).padStart(2, "0")}` : `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`),
  );
