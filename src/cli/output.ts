// Where the commands write: data to stdout in big pieces, words to stderr. A reader of stdout that goes away
// (`corewal dump … | head`) is no error.

import { once } from "node:events";
import { codeOf, CorewalError } from "../errors.js";
import { Failure, UsageError } from "./command.js";

/** Bytes that are gathered before they are written: large enough that the system call costs nothing. */
const PIECE_BYTES = 256 * 1024;

/** Prints a text and gives exit code 0. */
export function print(text: string): 0 {
  process.stdout.write(text);
  return 0;
}

/** Does it however the process ends, unless it is killed itself. */
export function atExit(run: () => void): void {
  process.on("exit", run);
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, () => process.exit(1));
}

/** One line on stderr. */
export function complain(text: string, command?: string): void {
  process.stderr.write(`corewal${command === undefined ? "" : ` ${command}`}: ${text}\n`);
}

/** A closed stdout ends the process, with 0 unless a command has set process.exitCode; a full disk behind it with 1. */
export function endQuietlyWithoutReader(): void {
  process.stdout.on("error", (error: Error) => {
    if (codeOf(error) === "EPIPE") process.exit();
    complain(`cannot write to stdout: ${error.message}`);
    process.exit(1);
  });
  // Nobody reads our words: nothing left to say, but the work goes on and the exit code tells.
  process.stderr.on("error", () => {});
}

/** Gathers pieces of data and writes them to stdout, never faster than the reader takes them. */
export class Output {
  #parts: Uint8Array[] = [];
  #bytes = 0;
  /** Text at the end, not encoded yet: once for many pieces. */
  #text = "";

  /** Keeps the bytes until flush: do not change them. */
  add(part: Uint8Array): void {
    this.#encode();
    this.#parts.push(part);
    this.#bytes += part.length;
  }

  addText(text: string): void {
    this.#text += text;
  }

  /** True when enough is gathered to be worth a write. */
  get full(): boolean {
    return this.#bytes + this.#text.length >= PIECE_BYTES;
  }

  async flush(): Promise<void> {
    this.#encode();
    if (this.#bytes === 0) return;
    const piece = Buffer.concat(this.#parts, this.#bytes);
    this.#parts = [];
    this.#bytes = 0;
    if (!process.stdout.write(piece)) await once(process.stdout, "drain");
  }

  #encode(): void {
    if (this.#text === "") return;
    const text = this.#text;
    this.#text = "";
    this.add(Buffer.from(text));
  }
}

/** 2 for what the caller can mend by calling differently, 1 for the rest. */
export function exitCodeOf(error: unknown): 1 | 2 {
  if (error instanceof UsageError) return 2;
  return ["COREWAL_NOT_A_LOG", "COREWAL_INVALID_OPTION", "COREWAL_INVALID_INPUT"].includes(codeOf(error) ?? "") ? 2 : 1;
}

/** An error in words: what, where, and its code to look up. An error that is not ours is a bug and shows its stack. */
export function explain(error: unknown): string {
  if (error instanceof UsageError || error instanceof Failure) return error.message;
  const code = codeOf(error);
  if (!code?.startsWith("COREWAL_")) return error instanceof Error ? (error.stack ?? error.message) : String(error);
  const { message, file, offset, lsn } = error as CorewalError;
  const place = [
    file !== undefined && !message.includes(file) && `file ${file}`,
    offset !== undefined && !message.includes(String(offset)) && `offset ${offset}`,
    lsn !== undefined && !message.includes(String(lsn)) && `LSN ${lsn}`,
  ].filter((p) => p !== false);
  return `${message}${place.length > 0 ? ` (${place.join(", ")})` : ""} [${code}]`;
}
