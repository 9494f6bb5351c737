// A process under strace: what it asked of the system, in the order in which it was done, and calls that fail or kill.

import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { freshPath } from "./scratch.js";
import { here } from "./runtimes.js";
import { scriptPath } from "./script.js";

/** Those that change what is on the disk. On some systems there is no link and unlink: linkat and unlinkat do it. */
export const CHANGES = ["pwrite64", "fdatasync", "fsync", "rename", "ftruncate", "mkdir", "link", "linkat", "unlink", "unlinkat"];
const CALLS = ["write", ...CHANGES];

/** One call that has returned. */
export interface Call {
  name: string;
  /** Of the file or directory; of a rename or link, the new one. */
  path: string;
  /** Of a rename or link: the other one. */
  from: string;
  /** Of a pwrite64. */
  offset: number;
  /** Of a write. */
  text: string;
  ok: boolean;
}

export const hasStrace = spawnSync("strace", ["-qq", "-o", "/dev/null", "true"]).status === 0;

export interface Traced {
  out: string;
  err: string;
  status: number | null;
  signal: string | null;
  calls: Call[];
}

/** Runs test/workers/NAME.ts. `inject` is strace's: "fdatasync:error=EIO:when=3+". */
export function traced(name: string, task: unknown, inject?: string): Traced {
  const log = freshPath("trace");
  // With the quick filter strace delivers no signals.
  const filter = inject?.includes("signal=") ? [] : ["--seccomp-bpf"];
  const { stdout, stderr, status, signal } = spawnSync(
    "strace",
    [
      ...["-f", ...filter, "-qq", "-y", "-s", "60", "-o", log, "-e", `trace=${CALLS.join()}`],
      ...(inject === undefined ? [] : ["-e", `inject=${inject}`]),
      ...[here.command, ...here.args, scriptPath(name), JSON.stringify(task)],
    ],
    { encoding: "utf8", timeout: 60_000 },
  );
  return { out: stdout, err: stderr, status, signal, calls: parse(readFileSync(log, "utf8")) };
}

/** A call that another thread interrupted stands in two lines; it is done at the second. */
function parse(text: string): Call[] {
  const calls: Call[] = [];
  const begun = new Map<string, string>();
  for (const line of text.split("\n")) {
    const [, thread, rest] = /^(\d+) +(.*)$/.exec(line) ?? [];
    if (thread === undefined || rest === undefined) continue;
    if (rest.endsWith("<unfinished ...>")) {
      begun.set(thread, rest.slice(0, -"<unfinished ...>".length));
      continue;
    }
    const whole = rest.replace(/^<\.\.\. \w+ resumed>/, () => begun.get(thread) ?? "");
    const [, name, given, result] = /^(\w+)\((.*)\) += (.*)$/.exec(whole) ?? [];
    if (name === undefined || given === undefined || result === undefined) continue;
    const names = [...given.matchAll(/"(.*?)"/g)].map(([, quoted]) => quoted);
    const moves = name === "rename" || name.startsWith("link");
    const path = moves ? names[1] : /^\d+<(.*?)>/.exec(given)?.[1];
    const offset = Number(/, (\d+)$/.exec(given)?.[1] ?? -1);
    // What strace made up did not happen.
    calls.push({ name, path: path ?? "", from: (moves ? names[0] : "") ?? "", offset, text: given, ok: /^\d+$/.test(result) });
  }
  return calls;
}
