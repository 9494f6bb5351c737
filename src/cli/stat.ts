// `corewal stat`: what a log is made of, and who holds it; with --watch again every second, with rates.

import { basename } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { statLog, type StatReport } from "../inspect.js";
import { parse, type Command } from "./command.js";
import { checkpointTable, counted, harmless, paintFor, size, table, thousands, time } from "./format.js";
import { print } from "./output.js";

const help = `Usage: corewal stat DIR [--json] [--watch]

Shows the segments of a log with their sizes and ranges, its checkpoints, whether it was closed properly, what is torn at
its end, and which process holds it. Changes nothing.

  --json    print the report as JSON
  --watch   again every second until Ctrl-C; with --json one object a line
`;

const WATCH_MS = 1000;

async function run(argv: string[]): Promise<number> {
  const parsed = parse(argv, { json: { type: "boolean" }, watch: { type: "boolean" } }, ["DIR"]);
  const { json, watch } = parsed.flags;
  const clear = watch && !json && process.stdout.isTTY ? "\x1b[H\x1b[2J" : "";
  let before: { report: StatReport; at: number } | undefined;
  for (;;) {
    const report = await statLog(parsed.args[0]!);
    const now = { report, at: performance.now() };
    print(
      json
        ? `${JSON.stringify(report)}\n`
        : `${clear}${inWords(report, watch ? rates(before, now) : undefined)}${watch && clear === "" ? "\n" : ""}`,
    );
    if (!watch) return 0;
    before = now;
    await sleep(WATCH_MS);
  }
}

function rates(before: { report: StatReport; at: number } | undefined, now: { report: StatReport; at: number }): string {
  if (before === undefined) return "-";
  const seconds = (now.at - before.at) / 1000;
  const lsns = (lsnsIn(now.report) - lsnsIn(before.report)) / seconds;
  const bytes = Math.max(0, now.report.bytes - before.report.bytes) / seconds;
  return `${thousands(lsns)} entries/s, ${size(bytes)}/s`;
}

/** Of all chains together. */
function lsnsIn({ cores }: StatReport): number {
  return cores.reduce((sum, core) => sum + core.lastLsn - core.firstLsn + 1, 0);
}

function inWords(r: StatReport, rate: string | undefined): string {
  const paint = paintFor(process.stdout);
  const facts: [string, string][] = [
    ["directory", harmless(r.directory)],
    [
      "state",
      r.live
        ? paint.green("in use")
        : r.clean
          ? paint.green("closed properly")
          : paint.yellow("not closed properly: the next open recovers it"),
    ],
    ["held by", holder(r.lock)],
    ["entries", entries(r)],
  ];
  if (rate !== undefined) facts.push(["growing by", rate]);
  facts.push(["size", `${size(r.bytes)} in ${counted(r.segments.length, "segment")}`]);
  const complete = r.completeEpoch < 0 ? "none complete" : `complete up to ${r.completeEpoch}`;
  facts.push(["topology", `${r.topology}, term ${r.term}, epoch ${r.epoch}${r.topology === "per-core" ? `, ${complete}` : ""}`]);
  if (r.firstLsn > 1 && r.topology === "striped") facts.push(["first LSN", `${r.firstLsn}: what was before has been dropped`]);
  if (r.restoredFrom !== undefined) facts.push(["restored", `from log ${r.restoredFrom}`]);
  facts.push(["checkpoints", r.checkpoints.length === 0 ? "none" : thousands(r.checkpoints.length)]);
  if (r.torn)
    facts.push([
      "torn tail",
      paint.yellow(`${size(r.torn.bytes)} at offset ${r.torn.offset} of ${harmless(r.torn.file)}, never acknowledged`),
    ]);
  const lines = facts.map(([name, value]) => `${paint.dim(name.padEnd(11))}  ${value}`);
  if (r.topology === "per-core") lines.push("", ...coreTable(r));
  if (r.checkpoints.length > 0) lines.push("", ...checkpointTable(r.checkpoints, r.topology));
  if (r.segments.length > 0) lines.push("", ...segmentTable(r));
  return `${lines.join("\n")}\n`;
}

function entries(r: StatReport): string {
  const count = lsnsIn(r);
  if (count === 0) return "none";
  return `${thousands(count)}, ${r.topology === "per-core" ? `of ${counted(r.cores.length, "core")}` : `LSN ${r.firstLsn} to ${r.lastLsn}`}`;
}

function coreTable(r: StatReport): string[] {
  const rows = r.cores.map((c) => [
    String(c.core),
    thousands(c.segments),
    size(c.bytes),
    c.lastLsn >= c.firstLsn ? `${c.firstLsn} to ${c.lastLsn}` : "-",
    c.clean ? "closed" : r.live ? "in use" : "not closed",
  ]);
  return table([["core", "segments", "size", "LSN", "state"], ...rows], [0, 1, 2]);
}

function holder({ owner, liveness }: StatReport["lock"]): string {
  if (owner === undefined || liveness === "free") return "nobody";
  const who = `process ${owner.pid} on ${harmless(owner.host)} since ${harmless(owner.since)}`;
  if (liveness === "dead") return `nobody: ${who} has ended without closing the log`;
  return liveness === "unknown" ? `${who}; whether it still lives cannot be seen from here` : who;
}

function segmentTable(r: StatReport): string[] {
  const rows = r.segments.map((s) => [
    harmless(basename(s.path)),
    size(s.bytes),
    size(s.endOffset),
    s.lastLsn >= s.firstLsn ? `${s.firstLsn} to ${s.lastLsn}` : "-",
    thousands(s.entries),
    s.continued ? "continued" : s.sealed ? "sealed" : "open",
    s.entries > 0 ? `${time(s.minTimeMs)} to ${time(s.maxTimeMs)}` : "-",
  ]);
  return table([["segment", "size", "used", "LSN", "entries", "state", "time"], ...rows], [1, 2, 4]);
}

export const command: Command = { help, run };
