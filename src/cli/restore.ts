// `corewal restore`: a new log that ends where this one was at some point. What it will contain is said first.

import { statLog } from "../inspect.js";
import { restoreLog, type RestoreOptions, type RestoreReport } from "../restore.js";
import { countFrom0, lsnList, parse, timeOf, UsageError, type Command } from "./command.js";
import { counted, duration, entriesOf, harmless, paintFor, positionsOf, size, time } from "./format.js";
import { print } from "./output.js";
import { startProgress, type Progress } from "./progress.js";

const help = `Usage: corewal restore DIR [--to-lsn N | --to-time T | --to-epoch E] --out DIR2 [--archive DIR3] [--dry-run] [--json]

Makes a new log in DIR2, which is missing or empty, that holds what the log in DIR held up to a point; without one, all of
it. Entries keep their LSNs, epochs and times, and the newest checkpoint that fits comes along. DIR is not changed, and may be
in use.

  --to-lsn N      up to this LSN; of a per-core log one for each core: --to-lsn 120,98
  --to-time T     up to this time: 2026-01-31T12:00:00.5Z, or milliseconds since 1970
  --to-epoch E    up to the end of this epoch, which must be complete
  --out DIR2      where the new log goes
  --archive DIR3  segment files that were dropped from DIR are there, under their names
  --dry-run       only say what the new log would contain, write nothing
  --json          print the report as JSON

Exit code 1 if the point cannot be reached, or something that is needed is damaged; the message says what can be restored.
`;

const flags = {
  "to-lsn": { type: "string" },
  "to-time": { type: "string" },
  "to-epoch": { type: "string" },
  out: { type: "string" },
  archive: { type: "string" },
  "dry-run": { type: "boolean" },
  json: { type: "boolean" },
} as const;

/** What takes less needs no bar. */
const PATIENCE_MS = 1000;

async function run(argv: string[]): Promise<number> {
  const { flags: f, args } = parse(argv, flags, ["DIR"]);
  const targets = (["to-lsn", "to-time", "to-epoch"] as const).filter((name) => f[name] !== undefined);
  if (targets.length > 1) throw new UsageError(`--${targets.join(" and --")} exclude each other`);
  if (f.out === undefined) throw new UsageError("--out is missing: the directory in which the new log is made");
  const lsns = lsnList("--to-lsn", f["to-lsn"]);
  const options: RestoreOptions = {
    out: f.out,
    toLsn: lsns?.length === 1 ? await onlyLsn(args[0]!, lsns[0]!) : lsns,
    toTimeMs: timeOf("--to-time", f["to-time"]),
    toEpoch: countFrom0("--to-epoch", f["to-epoch"]),
    archive: f.archive,
  };
  const plan = await restoreLog(args[0]!, { ...options, dryRun: true });
  if (f["dry-run"]) return print(f.json ? `${JSON.stringify(plan)}\n` : inWords(plan, "would contain"));
  if (!f.json) print(inWords(plan, "will contain"));
  const begin = performance.now();
  const bar = lateBar(begin);
  let report: RestoreReport;
  try {
    report = await restoreLog(args[0]!, { ...options, onProgress: bar.update });
  } finally {
    await bar.stop();
  }
  if (f.json) return print(`${JSON.stringify(report)}\n`);
  // Somebody may have appended since.
  const more = report.entries === plan.entries ? "" : `, ${entriesOf(report.entries)} by now`;
  return print(`${paintFor(process.stdout).green("restored")} in ${duration(performance.now() - begin)}${more}\n`);
}

/** One LSN of a log with one chain. */
async function onlyLsn(directory: string, lsn: number): Promise<number | number[]> {
  const { topology, cores } = await statLog(directory);
  if (topology === "striped") return lsn;
  if (cores.length > 1) throw new UsageError("in a per-core log an LSN is one core's: give one for each core, --to-lsn N,N…");
  return [lsn];
}

/** A bar that comes after a while. */
function lateBar(begin: number): { update: (done: number, total: number) => void; stop: () => Promise<void> } {
  let started: Promise<Progress> | undefined;
  let progress: Progress | undefined;
  return {
    update(done, total) {
      if (performance.now() - begin < PATIENCE_MS) return;
      started ??= startProgress("restore", total, "bytes").then((bar) => (progress = bar));
      progress?.update(done);
    },
    stop: async () => (await started)?.stop(),
  };
}

function inWords(r: RestoreReport, what: string): string {
  const paint = paintFor(process.stdout);
  const { topology, window, checkpoint } = r;
  const facts: [string, string][] = [
    [what, `${entriesOf(r.entries)}, ${size(r.bytes)}${r.lastTimeMs === undefined ? "" : `, the last of ${time(r.lastTimeMs)}`}`],
  ];
  for (const { core, firstLsn, lastLsn } of r.cores)
    facts.push([
      topology === "striped" ? "LSN" : `core ${core}`,
      lastLsn >= firstLsn ? `${firstLsn} to ${lastLsn}` : `none, the next is ${lastLsn + 1}`,
    ]);
  facts.push(["epoch", String(r.epoch)]);
  facts.push([
    "checkpoint",
    checkpoint === undefined
      ? "none"
      : `${checkpoint.number}, ${size(checkpoint.bytes)}, replayed behind LSN ${positionsOf(checkpoint.positions, topology)}`,
  ]);
  facts.push(["of log", r.sourceLogId]);
  const place = ({ positions, epoch, timeMs }: typeof window.first): string =>
    `LSN ${positionsOf(positions, topology)}${epoch < 0 ? "" : `, epoch ${epoch}`}${timeMs === undefined ? "" : `, ${time(Math.ceil(timeMs))}`}`;
  facts.push(["window", `${place(window.first)}  to  ${place(window.last)}`]);
  facts.push(["out", `${harmless(r.directory)}, ${counted(r.cores.length, "chain")}`]);
  return `${facts.map(([name, value]) => `${paint.dim(name.padEnd(13))}  ${value}`).join("\n")}\n`;
}

export const command: Command = { help, run };
