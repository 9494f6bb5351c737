#!/usr/bin/env node
// The command line: finds the command, runs it, turns what happens into an exit code. Each command is a file in
// cli/, loaded when it is called. Worker threads of a command start from this file too, so that a bundle needs no other.

import { isMainThread, workerData } from "node:worker_threads";
import { ownVersion, suggest, UsageError, type Command } from "./cli/command.js";
import { complain, endQuietlyWithoutReader, exitCodeOf, explain, print } from "./cli/output.js";
import { runWorker, workerRole } from "./cli/roles.js";

const COMMANDS: Record<string, { summary: string; load: () => Promise<{ command: Command }> }> = {
  append: { summary: "append each line of standard input as an entry", load: () => import("./cli/append.js") },
  dump: { summary: "print entries, in order", load: () => import("./cli/dump.js") },
  tail: { summary: "print the last entries, and go on with what is appended", load: () => import("./cli/tail.js") },
  verify: { summary: "check every byte, change nothing", load: () => import("./cli/verify.js") },
  repair: { summary: "make a damaged log open again, and say what is lost", load: () => import("./cli/repair.js") },
  stat: { summary: "show segments, ranges, sizes, checkpoints and who holds the log", load: () => import("./cli/stat.js") },
  checkpoint: { summary: "make a checkpoint of what standard input says, or read the latest", load: () => import("./cli/checkpoint.js") },
  truncate: { summary: "drop the beginning of a log", load: () => import("./cli/truncate.js") },
  restore: { summary: "make a new log that ends where this one was at an LSN, a time or an epoch", load: () => import("./cli/restore.js") },
  bench: { summary: "measure this machine's disk and corewal on it", load: () => import("./cli/bench.js") },
  demo: {
    summary: "kill a loading process in full flight, reopen, show that nothing acknowledged is lost",
    load: () => import("./cli/demo.js"),
  },
};

/** What `demo` starts as its victim; nothing to call by hand. */
const HIDDEN: typeof COMMANDS = { "demo-victim": { summary: "", load: () => import("./cli/demo-victim.js") } };

const USAGE = `corewal: a durable write-ahead log

Usage: corewal COMMAND [flags]

${Object.entries(COMMANDS)
  .map(([name, { summary }]) => `  ${name.padEnd(10)} ${summary}`)
  .join("\n")}

  corewal COMMAND --help   the flags of a command
  corewal --version        the version

Exit codes: 0 fine (a reported torn tail included), 1 the log or the disk has a problem, 2 wrong use or no such log.
`;

async function run(argv: string[]): Promise<number> {
  const [name, ...rest] = argv;
  if (name === undefined) {
    process.stderr.write(USAGE);
    return 2;
  }
  if (name === "--version" || name === "-v") return print(`${ownVersion(import.meta.url)}\n`);
  if (name === "--help" || name === "-h" || (name === "help" && rest.length === 0)) return print(USAGE);
  if (name === "help") return run([rest[0]!, "--help"]);
  const found = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : Object.hasOwn(HIDDEN, name) ? HIDDEN[name] : undefined;
  if (found === undefined) {
    const what = name.startsWith("-") ? "flag" : "command";
    complain(`there is no ${what} ${JSON.stringify(name)}${suggest(name, Object.keys(COMMANDS))}; corewal --help lists the commands`);
    return 2;
  }
  const { command } = await found.load();
  const end = rest.indexOf("--");
  if (rest.slice(0, end < 0 ? undefined : end).some((a) => a === "--help" || a === "-h")) return print(command.help);
  try {
    return await command.run(rest, { entry: import.meta.url });
  } catch (error) {
    complain(explain(error), name);
    if (error instanceof UsageError) process.stderr.write(`${command.help.split("\n", 1)[0]}\n`);
    return exitCodeOf(error);
  }
}

const role = isMainThread ? undefined : workerRole(workerData);
if (role !== undefined) {
  void runWorker(role);
} else {
  endQuietlyWithoutReader();
  void run(process.argv.slice(2)).then(
    (code) => {
      process.exitCode = code;
    },
    (error) => {
      complain(explain(error));
      process.exitCode = 1;
    },
  );
}
