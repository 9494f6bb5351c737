// `corewal checkpoint`: standard input becomes the state of a checkpoint; or the latest state goes to standard output.

import { directoryPath } from "../directory.js";
import { openLog, statLog } from "../index.js";
import { requireLog } from "../read-only.js";
import { nodeStorage } from "../storage/node.js";
import type { CheckpointInfo, Topology } from "../types.js";
import { Failure, parse, UsageError, type Command } from "./command.js";
import { checkpointTable, positionsOf, size } from "./format.js";
import { complain, Output, print } from "./output.js";

const help = `Usage: corewal checkpoint DIR [--read | --list] [--json]

Makes a checkpoint whose state is standard input: it must hold the effects of everything that the log holds by now, so that
only what is appended later has to be replayed. Nobody may have the log open for writing, but to read and list.

  --read   print the state of the latest checkpoint to standard output instead
  --list   list the checkpoints instead, newest first
  --json   print what was made, or the list, as JSON
`;

const flags = { read: { type: "boolean" }, list: { type: "boolean" }, json: { type: "boolean" } } as const;

async function run(argv: string[]): Promise<number> {
  const { flags: f, args } = parse(argv, flags, ["DIR"]);
  if (f.read && f.list) throw new UsageError("--read and --list exclude each other");
  if (f.read && f.json) throw new UsageError("--read prints the state as it is: it has no --json");
  const directory = args[0]!;
  if (f.list) return list(directory, f.json === true);
  if (f.read) return read(directory);
  // Opening would make a log where there is none.
  requireLog(nodeStorage, directoryPath(directory));
  if (process.stdin.isTTY) complain("reading the state from the terminal; Ctrl-D ends", "checkpoint");
  const log = await openLog(directory);
  let made: CheckpointInfo;
  try {
    made = await log.checkpoint(async (state) => {
      for await (const bytes of process.stdin as AsyncIterable<Uint8Array>) await state.write(bytes);
    });
  } finally {
    // Some runtimes go on waiting for input that nobody wants any more.
    process.stdin.destroy();
    await log.close();
  }
  return print(f.json ? `${JSON.stringify(made)}\n` : `${inWords(made, log.recovery.topology)}\n`);
}

const inWords = (c: CheckpointInfo, topology: Topology): string =>
  `checkpoint ${c.number}: ${size(c.bytes)}, epoch ${c.epoch}, replayed behind LSN ${positionsOf(c.positions, topology)}`;

async function list(directory: string, json: boolean): Promise<number> {
  const { checkpoints, topology } = await statLog(directory);
  if (json) return print(`${JSON.stringify(checkpoints)}\n`);
  return print(checkpoints.length === 0 ? "no checkpoints\n" : `${checkpointTable(checkpoints, topology).join("\n")}\n`);
}

async function read(directory: string): Promise<number> {
  const log = await openLog(directory, { readOnly: true });
  try {
    const checkpoint = await log.readCheckpoint();
    if (checkpoint === undefined) throw new Failure("the log has no checkpoint: everything is in its entries");
    const output = new Output();
    for await (const bytes of checkpoint.stream) {
      output.add(bytes);
      if (output.full) await output.flush();
    }
    await output.flush();
  } finally {
    await log.close();
  }
  return 0;
}

export const command: Command = { help, run };
