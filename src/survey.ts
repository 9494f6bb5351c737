// Which files make up a log, though some of them may be damaged, misplaced or missing: in each chain from the highest
// segment down, as recovery does it, but at a fault the neighbours are asked, who know number, salt and end of each other.

import { segmentPath } from "./chain.js";
import { codeOf, CorewalError, fromSystem } from "./errors.js";
import { chainNumbers, segmentNumbers } from "./recover-chain.js";
import { readFooter } from "./footer.js";
import { CHAINS_MAX, NO_MARKS } from "./marks.js";
import { mendSegmentHeader, readSegmentHeader, type SegmentHeader } from "./segment.js";
import type { Storage } from "./storage.js";
import { TolerantFile } from "./tolerant-file.js";
import type { Topology } from "./types.js";

/**
 * Something that is not as it was written.
 *
 * @example
 * const { faults } = await verifyLog("./data");
 * for (const { file, offset, message } of faults) console.error(`${file} at ${offset}: ${message}`);
 */
export interface Fault {
  /** Core whose chain it is in; 0 in a striped log. */
  core: number;
  /** Path of the file, or of the log's directory. */
  file: string;
  /** Byte offset in the file; 0 also where that is not known. */
  offset: number;
  /** The LSN that should stand there; 0 if that is not known. */
  lsn: number;
  /**
   * What is wrong: the `chain` of segments, its end or all of it, a segment's `header`, its `version` (not known here: nothing was
   * judged), a `frame`, a `footer`, a `checkpoint`, or `io`: the system refused to read.
   */
  kind: "chain" | "header" | "version" | "frame" | "footer" | "checkpoint" | "io";
  /** For people. */
  message: string;
}

/** One segment of the log, there or not. */
export interface Link {
  number: number;
  /** Where it is or should be. */
  path: string;
  /** The file that holds it, under whatever name; undefined: none does. */
  content: string | undefined;
  /** Read, or put right; or only salt and log id, from the neighbours; undefined: its frames cannot be told from garbage. */
  header: SegmentHeader | undefined;
  /** What the header says of the parent can be relied on. */
  knowsParent: boolean;
  /** Why it cannot stay as it is, apart from its frames; the LSN is not known yet. */
  fault: Fault | undefined;
}

/** One chain. */
export interface Survey {
  chain: number;
  /** Lowest first; none if the chain has no segment of this log. */
  links: Link[];
  /** Faults of files that hold no segment of the chain and stand where one would be looked for. */
  strays: Fault[];
  /** Highest number that any name, header or mark mentions. */
  highest: number;
  /** Segments with lower numbers were dropped, and are ignored; 0: none was. */
  floor: number;
  /** … and are held by a checkpoint only. */
  needsCheckpoint: boolean;
}

export interface LogSurvey {
  directory: string;
  /** What most segments say; of several cores if none says anything, and there is more than one chain. */
  topology: Topology;
  logId: Uint8Array | undefined;
  /** Ascending: those whose names some files have, and those that some files are of. */
  chains: Survey[];
  /** All segment files, whatever they hold. */
  files: string[];
  /** Of all of them. */
  bytes: number;
  /** A newer corewal wrote some of it. */
  unknownVersion: CorewalError | undefined;
}

export function faultAt(
  core: number,
  file: string,
  offset: number,
  lsn: number,
  kind: Fault["kind"],
  message: string,
  cause?: unknown,
): Fault {
  const because = cause === undefined ? "" : ` (${cause instanceof Error ? cause.message : "not readable"})`;
  return { core, file, offset, lsn, kind, message: message + because };
}

interface Candidate {
  path: string;
  /** As its name has it. */
  named: number;
  /** The chain that its name has. */
  namedChain: number;
  /** The chain that it is taken for a segment of. */
  chain: number;
  /** Of another log. */
  alien: boolean;
  /** Read, or put right. */
  header: SegmentHeader | undefined;
  fault: Fault | undefined;
}

/** A newer corewal wrote it: not to be judged. */
export const isNewer = ({ fault }: { fault: Fault | undefined }): boolean => fault?.kind === "version";

const numberOf = (c: Candidate): number => c.header?.number ?? c.named;

export function survey(storage: Storage, directory: string): LogSurvey {
  const log: LogSurvey = { directory, topology: "striped", logId: undefined, chains: [], files: [], bytes: 0, unknownVersion: undefined };
  const candidates = chainNumbers(storage, directory).flatMap((chain) =>
    segmentNumbers(storage, directory, chain).flatMap((number) => candidate(storage, directory, chain, number, log)),
  );
  const header = mostCommon(candidates);
  log.topology = header?.topology ?? (candidates.some(({ namedChain }) => namedChain !== 0) ? "per-core" : "striped");
  log.logId = header?.logId;
  for (const c of candidates) assign(c, log);
  const chains = new Set(candidates.flatMap(({ chain, namedChain }) => [chain, namedChain]));
  log.chains = [...chains].sort((a, b) => a - b).map((chain) => surveyChain(storage, log, chain, candidates));
  const floors = new Map(log.chains.map(({ chain, floor }) => [chain, floor]));
  const dropped = candidates.filter((c) => c.named < (floors.get(c.namedChain) ?? 0) && c.chain === c.namedChain);
  for (const { path } of dropped) log.files.splice(log.files.indexOf(path), 1);
  const links = new Set(log.chains.flatMap((chain) => chain.links.map(({ content }) => content)));
  for (const chain of log.chains) {
    const top = chain.links.at(-1)?.number ?? 0;
    for (const { path, named, namedChain, fault } of candidates)
      if (namedChain === chain.chain && named > top && fault !== undefined && !links.has(path)) chain.strays.push(fault);
  }
  return log;
}

/** The header that says what most of them say of topology and log; the first of those. */
function mostCommon(candidates: Candidate[]): SegmentHeader | undefined {
  const counts = new Map<string, { header: SegmentHeader; files: number }>();
  for (const { header } of candidates) {
    if (header === undefined) continue;
    const key = `${header.topology} ${Buffer.from(header.logId).toString("hex")}`;
    const count = counts.get(key) ?? { header, files: 0 };
    count.files++;
    counts.set(key, count);
  }
  return [...counts.values()].reduce<{ header: SegmentHeader; files: number } | undefined>(
    (most, count) => (most === undefined || count.files > most.files ? count : most),
    undefined,
  )?.header;
}

/** Which chain a file belongs to: what its header says counts more than its name, if it is one of this log. */
function assign(c: Candidate, { topology, logId }: LogSurvey): void {
  const { header, path, named, namedChain } = c;
  const wrong = (message: string, offset: number): void => void (c.fault ??= faultAt(namedChain, path, offset, 0, "chain", message));
  if (header !== undefined) {
    const ours = Buffer.from(header.logId).equals(logId!);
    if (ours && header.topology === topology && (topology === "per-core" || header.chain === 0)) c.chain = header.chain;
    // Within a striped log the neighbours tell.
    if (!ours && (topology === "per-core" || namedChain !== 0)) {
      wrong("the segment is of another log", 32);
      c.alien = true;
      c.header = undefined;
    } else if (ours && header.topology !== topology) {
      wrong(`the log is ${topology}, but the segment of one that is ${header.topology}`, 56);
    } else if (header.number !== named || header.chain !== namedChain) {
      wrong(`the file's name says segment ${named} of chain ${namedChain}, its header ${header.number} of chain ${header.chain}`, 64);
    }
  }
  if (!mayHave(topology, c.chain)) wrong(`there is no chain ${c.chain} in a log that is ${topology}`, 60);
}

const mayHave = (topology: Topology, chain: number): boolean => (topology === "striped" ? chain === 0 : chain < CHAINS_MAX);

function surveyChain(storage: Storage, { directory, topology }: LogSurvey, chain: number, all: Candidate[]): Survey {
  const mine = all.filter((c) => c.chain === chain);
  const names = all.filter(({ namedChain }) => namedChain === chain).map(({ named }) => named);
  // Each segment says what its predecessor said, or more: the highest counts, also where the last one cannot be read.
  const floor = Math.max(0, ...mine.map(({ header, alien }) => (alien ? 0 : (header?.floor ?? 0))));
  const needsCheckpoint = mine.some(({ header, alien }) => !alien && header?.needsCheckpoint === true);
  const candidates = mine.filter((c) => numberOf(c) >= floor);
  const result: Survey = { chain, links: [], strays: [], highest: Math.max(0, ...names), floor, needsCheckpoint };
  if (!mayHave(topology, chain) || candidates.every(({ alien }) => alien)) return result;
  // Of two with one number first the one whose name says so.
  const fits = (c: Candidate): number => Number(c.named === numberOf(c) && c.namedChain === chain);
  candidates.sort((a, b) => numberOf(b) - numberOf(a) || fits(b) - fits(a));
  const mark = continuedOf(storage, candidates[0]!);
  result.highest = Math.max(result.highest, ...candidates.flatMap((c) => [c.named, numberOf(c)]), mark?.number ?? 0);

  /** Who writes has begun it, or more, since the directory was read: there, but not looked at. */
  const isNew = (number: number): boolean => !names.includes(number) && segmentNumbers(storage, directory, chain).includes(number);
  const take = (fits: (c: Candidate) => boolean): Candidate | undefined => {
    const at = candidates.findIndex(fits);
    return at < 0 ? undefined : candidates.splice(at, 1)[0];
  };
  const parentOf = (child: Link): Link | undefined => {
    const h = child.header;
    if (h !== undefined && child.knowsParent) {
      if (h.parentNumber === 0 || h.parentNumber < floor) return undefined;
      const found =
        take(({ header }) => header?.salt === h.parentSalt && Buffer.from(h.logId).equals(header.logId)) ??
        take(({ header, named }) => header === undefined && named === h.parentNumber);
      if (found === undefined) return missing(h.parentNumber, child.number);
      return piece(linkOf(found), h.parentSalt, h);
    }
    // Whoever is next below; perhaps its mark names the child.
    const found = take((c) => numberOf(c) < child.number);
    if (found === undefined) return undefined;
    const next = continuedOf(storage, found);
    if (next?.number === child.number) piece(child, next.salt, found.header!);
    return linkOf(found);
  };
  const linkOf = ({ path, named, header, fault }: Candidate): Link => {
    const number = header?.number ?? named;
    return {
      number,
      path: segmentPath(directory, { chain, number }),
      content: path,
      header,
      knowsParent: header !== undefined,
      fault,
    };
  };
  /** `neighbour` says that there is such a segment. */
  const missing = (number: number, neighbour: number): Link => {
    const path = segmentPath(directory, { chain, number });
    const what = candidates.some((c) => c.named === number) ? "is not the one under that name" : "is missing";
    const says = neighbour > number ? `which segment ${neighbour} continues` : `which continues segment ${neighbour}`;
    const fault = faultAt(chain, path, 0, 0, "chain", `segment ${number}, ${says}, ${what}`);
    return { number, path, content: undefined, header: undefined, knowsParent: false, fault };
  };

  let link: Link | undefined =
    mark === undefined || isNew(mark.number) ? linkOf(candidates.shift()!) : missing(mark.number, mark.number - 1);
  for (; link !== undefined; link = parentOf(link)) result.links.unshift(link);
  // The mark of a segment whose header is gone can be read once the neighbours have told its salt.
  const top = result.links.at(-1)!;
  const late = top.content === undefined ? undefined : continuedOf(storage, { path: top.content, header: top.header });
  if (late !== undefined && !isNew(late.number)) {
    result.links.push(missing(late.number, top.number));
    result.highest = Math.max(result.highest, late.number);
  }
  return result;
}

/** Undefined: whoever writes has dropped it since the directory was read. */
function openIfThere(storage: Storage, path: string): TolerantFile | undefined {
  try {
    return new TolerantFile(storage.open(path, "read"));
  } catch (error) {
    if (codeOf(error) === "ENOENT") return undefined;
    throw fromSystem(error, "reading the segment", path);
  }
}

/** A segment file, if it is there. */
function candidate(storage: Storage, directory: string, chain: number, named: number, result: LogSurvey): Candidate[] {
  const path = segmentPath(directory, { chain, number: named });
  const found: Candidate = { path, named, namedChain: chain, chain, alien: false, header: undefined, fault: undefined };
  const file = openIfThere(storage, path);
  if (file === undefined) return [];
  result.files.push(path);
  try {
    result.bytes += file.size();
    found.header = readSegmentHeader(file);
  } catch (error) {
    if (!(error instanceof CorewalError)) throw fromSystem(error, "reading the segment", path);
    const newer = error.code === "COREWAL_UNKNOWN_VERSION";
    if (newer) result.unknownVersion ??= error;
    else found.header = mendSegmentHeader(file);
    const kind = newer ? "version" : file.unreadable.size > 0 ? "io" : "header";
    // What the error says besides is for whoever meets it alone.
    const what = error.message.split(` (${path}`, 1)[0]!;
    found.fault = faultAt(chain, path, error.offset ?? 0, 0, kind, what, file.errorIn(0, 256));
  } finally {
    file.close();
  }
  return [found];
}

/** Salt and log id of a segment whose header is gone, as its neighbours know them: enough to read its frames. */
function piece(link: Link, salt: bigint, { logId, topology, chain }: SegmentHeader): Link {
  if (isNewer(link)) return link;
  link.header ??= {
    logId,
    salt,
    topology,
    chain,
    number: link.number,
    parentNumber: 0,
    parentSalt: 0n,
    parentEnd: 0,
    parentLastLsn: 0,
    term: 0,
    epoch: 0,
    createdNs: 0n,
    // Where frames are further apart than this, the next one is looked for.
    frameAlign: 64,
    segmentBytes: 0,
    provenEnd: 0,
    provenLsn: 0,
    cutsParent: false,
    marks: NO_MARKS,
    floor: 0,
    needsCheckpoint: false,
    origin: undefined,
  };
  return link;
}

/** The segment that a footer's mark promises. */
function continuedOf(storage: Storage, { path, header }: Pick<Candidate, "path" | "header">): { number: number; salt: bigint } | undefined {
  if (header === undefined) return undefined;
  const file = openIfThere(storage, path);
  if (file === undefined) return undefined;
  try {
    return readFooter(file, header)?.continued;
  } finally {
    file.close();
  }
}
