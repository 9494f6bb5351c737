// Power cuts on real file systems: node build/js/test/power-cuts.js [--seconds N] [--seed S] [--only FILE_SYSTEM]
// Processes append on a recorded disk, are killed and go on; then the disk is looked at as it was at random moments, with
// any part of what was not flushed. Then the same with storage that lies, which must be found. A seed repeats the choices,
// not the schedule. Needs root, loop devices, /dev/fuse and each file system's mkfs; what is missing is skipped.

import { copyFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { FILE_SYSTEMS, imagesInMemory, type FileSystem } from "./support/mounts.js";
import { CutDisk, judgeCut, SURVIVALS } from "./support/power-cuts.js";
import { Random } from "./support/random.js";
import { RecordedDisk, type DiskEvent } from "./support/recorded-disk.js";
import { killChildren, startProcess } from "./support/script.js";
import type { PowerTask } from "./workers/power-victim.js";

const { values } = parseArgs({
  options: { seconds: { type: "string", default: "60" }, seed: { type: "string" }, only: { type: "string" } },
});
const seed = values.seed === undefined ? Date.now() % 2 ** 31 : Number(values.seed);
const LIVES = 5;
const CUTS_A_ROUND = 40;
/** A lie that is not found in as many cuts is not found. */
const CUTS_OF_A_LIE = 200;

imagesInMemory();

interface Recording {
  base: string;
  events: DiskEvent[];
  fileSystem: FileSystem;
}

/** Some processes one after the other; all but the last are killed in full flight. */
async function record(fileSystem: FileSystem, random: Random, lie = false): Promise<Recording> {
  const disk = await RecordedDisk.start(fileSystem);
  try {
    const directory = join(disk.mount(), "log");
    for (let life = 1; life <= LIVES; life++) {
      const victim: PowerTask = {
        directory,
        control: disk.control,
        life,
        appends: random.between(40, 120),
        depth: random.pick([1, 4, 16]),
        flusher: random.pick(["worker", "inline"]),
        end: life === LIVES ? "close" : "kill",
        lie,
      };
      const { code, signal, err } = await startProcess("power-victim", victim).ended;
      if (victim.end === "close" ? code !== 0 : signal !== "SIGKILL") throw new Error(`the victim ended with ${code ?? signal}: ${err}`);
    }
    disk.unmount();
    return { base: disk.task.base, events: disk.events(), fileSystem };
  } finally {
    await disk.end();
  }
}

class CutError extends Error {
  constructor(
    message: string,
    /** What the power cut left. */
    readonly image: string,
    options: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** Over all cuts. */
interface Sum {
  cuts: number;
  /** Cuts at which something was unflushed. */
  unflushed: number;
  /** Cuts after which recovery cut off the rest of an interrupted write. */
  torn: number;
  /** Records that had to be there; that were there besides. */
  proven: number;
  besides: number;
}

/** Where to cut: right after an acknowledgement, which is the `worst`; before a flush and after some writes; anywhere. */
function moments(events: DiskEvent[], random: Random, worst: boolean): number[] {
  const notes = events.flatMap(({ kind }, i) => (kind === "note" ? [i + 1] : []));
  const flushes = events.flatMap(({ kind }, i) => (kind === "flush" && events[i - 1]?.kind === "write" ? [i] : []));
  const several = flushes.filter((i) => events[i - 2]?.kind === "write");
  const any = (): number =>
    worst
      ? random.pick(notes)
      : random.pick([random.pick(notes), random.pick(flushes), random.pick(several) ?? 0, random.below(events.length + 1)]);
  return Array.from({ length: CUTS_A_ROUND }, any).sort((a, b) => a - b);
}

/** Cuts until `enough`; the first that is judged wrong is thrown. */
async function cut({ base, events, fileSystem }: Recording, random: Random, sum: Sum, enough: () => boolean, worst = false): Promise<void> {
  while (!enough()) {
    const disk = new CutDisk(base, events, fileSystem);
    for (const before of moments(events, random, worst)) {
      if (enough()) return;
      const survival = worst ? "none" : random.pick(SURVIVALS);
      const choices = random.bits();
      const unflushed = disk.cut(before, survival, new Random(choices));
      sum.cuts++;
      try {
        const { proven, found, torn } = await judgeCut(disk.image, fileSystem, events, before);
        sum.unflushed += Math.min(unflushed, 1);
        sum.torn += Number(torn);
        sum.proven += proven;
        sum.besides += found - proven;
      } catch (cause) {
        // What was judged has changed it.
        disk.cut(before, survival, new Random(choices));
        const where = `${fileSystem}, before event ${before} of ${events.length}, survivors of ${unflushed} writes: ${survival}`;
        throw new CutError(`${where}: ${(cause as Error).message}`, disk.image, { cause });
      }
    }
  }
}

const result = { passed: 0, failed: 0, skipped: 0 };

async function counted(what: string, run: () => Promise<string>): Promise<void> {
  try {
    console.log(`${what}: ${await run()}`);
    result.passed++;
  } catch (error) {
    console.log(`${what}: FAILED`, error);
    result.failed++;
  }
}

async function survives(fileSystem: FileSystem, seconds: number): Promise<string> {
  const random = new Random(seed + FILE_SYSTEMS.indexOf(fileSystem));
  const sum: Sum = { cuts: 0, unflushed: 0, torn: 0, proven: 0, besides: 0 };
  const recording = await record(fileSystem, random);
  const end = performance.now() + seconds * 1000;
  try {
    await cut(recording, random, sum, () => performance.now() > end);
  } catch (error) {
    const kept = `build/power-cut.${fileSystem}`;
    if (error instanceof CutError) copyFileSync(error.image, kept);
    throw new Error(`the disk is in ${kept}`, { cause: error });
  }
  if (sum.unflushed < 5 || sum.besides === 0) throw new Error(`too few cuts say anything: ${JSON.stringify(sum)}`);
  const count = (kind: DiskEvent["kind"]): number => recording.events.filter((e) => e.kind === kind).length;
  return (
    `${sum.cuts} power cuts in ${count("write")} writes, ${count("flush")} flushes, ${LIVES} processes; ${sum.unflushed} with ` +
    `unflushed writes, ${sum.torn} torn logs; ${sum.proven} records had to be there, ${sum.besides} were besides, none lost, none invented`
  );
}

/** The negative control: the first cut that is judged wrong. */
async function finds(fileSystem: FileSystem): Promise<string> {
  const random = new Random(seed);
  const sum: Sum = { cuts: 0, unflushed: 0, torn: 0, proven: 0, besides: 0 };
  const recording = await record(fileSystem, random, true);
  try {
    await cut(recording, random, sum, () => sum.cuts === CUTS_OF_A_LIE, true);
  } catch (error) {
    if (error instanceof CutError && /was acknowledged|verify: /.test(error.message)) return `found at cut ${sum.cuts}: ${error.message}`;
    throw error;
  }
  throw new Error(`not found in ${sum.cuts} cuts`);
}

const asked = FILE_SYSTEMS.filter((name) => values.only === undefined || name === values.only);
if (asked.length === 0) throw new RangeError(`--only takes one of ${FILE_SYSTEMS.join(", ")}`);
console.log(`seed ${seed}`);
process.on("exit", killChildren);
for (const fileSystem of asked) {
  const impossible = RecordedDisk.impossible(fileSystem);
  if (impossible === undefined) {
    await counted(fileSystem, () => survives(fileSystem, Number(values.seconds) / asked.length));
    await counted(`${fileSystem}, storage that lies`, () => finds(fileSystem));
  } else {
    console.log(`${fileSystem}: SKIPPED, ${impossible}`);
    result.skipped++;
  }
}
console.log(`\n${result.passed} passed, ${result.failed} failed, ${result.skipped} skipped`);
process.exit(result.failed > 0 || result.passed + result.skipped === 0 ? 1 : 0);
