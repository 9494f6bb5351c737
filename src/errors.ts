// One error class with stable codes. Every code has a heading in the README.

/**
 * Why a call failed: the `code` of every error. What to do about each: the README, "Errors".
 *
 * @example
 * const retry = new Set<ErrorCode>(["COREWAL_FULL", "COREWAL_TIMEOUT"]);
 */
export type ErrorCode =
  /** The `signal` ended the wait; its reason is the `cause`. With an `lsn` the entry may become durable; without, nothing was written. */
  | "COREWAL_ABORTED"
  /** The directory of the option `archive` is another log's, or has another file than the log under the name of a segment. */
  | "COREWAL_ARCHIVE"
  /** The log or this writer was closed. */
  | "COREWAL_CLOSED"
  /** Something that had been durable is damaged or missing: see `file`, `offset`, `lsn`. Nothing was changed. */
  | "COREWAL_CORRUPT"
  /** No space, quota or file size is left. While appending it is the cause of COREWAL_POISONED. */
  | "COREWAL_DISK_FULL"
  /** Data, a key or a batch was empty. A RangeError. */
  | "COREWAL_EMPTY"
  /** The entry is larger than `maxEntryBytes`, or the batch than `maxBatchBytes`. A RangeError. */
  | "COREWAL_ENTRY_TOO_LARGE"
  /** The ring is full: the disk is slower than the writer. Nothing was written; `await ready()`, then try again. */
  | "COREWAL_FULL"
  /** An argument is of the wrong kind (TypeError) or out of range (RangeError). Nothing was written. */
  | "COREWAL_INVALID_INPUT"
  /** An option does not exist or has the wrong type (TypeError), or is out of its limits (RangeError). */
  | "COREWAL_INVALID_OPTION"
  /** The system reported an error that has no code of its own here, or the flusher's thread died; the original is the `cause`. */
  | "COREWAL_IO"
  /** The log is open for writing elsewhere; the message names the process. */
  | "COREWAL_LOCKED"
  /** The log has given out every LSN or term that a number holds exactly (2^53), or every segment number. */
  | "COREWAL_LSN_EXHAUSTED"
  /** The system refused access. */
  | "COREWAL_NO_PERMISSION"
  /** Every stripe has an owner: close a writer, or open the log with more `stripes`. */
  | "COREWAL_NO_STRIPE"
  /** There is no log where one was to be read, or the directory is none or holds other files. */
  | "COREWAL_NOT_A_LOG"
  /** A write or fsync failed while the entry `lsn` was on its way: it may or may not be durable. Reopening tells. */
  | "COREWAL_OUTCOME_UNKNOWN"
  /** The log stopped after a failure, which is the `cause`; this call wrote nothing. Entries up to `lsn` are durable. */
  | "COREWAL_POISONED"
  /** What was asked for has been dropped from the beginning of the log, or lies outside of what can be restored: the message says what there is. */
  | "COREWAL_OUT_OF_WINDOW"
  /** The process that writes cut the end off, behind `lsn`, and this reader, in another one, was further: open the log again. */
  | "COREWAL_READER_CUT"
  /** The process that writes dropped what this reader, in another one, came to next: open the log again. */
  | "COREWAL_READER_LAPPED"
  /** The log was opened with `readOnly`. */
  | "COREWAL_READ_ONLY"
  /** The writer stalled for longer than `writerStallMs` and lost its stripe; the entry was not written. Attach again. */
  | "COREWAL_REVOKED"
  /** The log of this handle is closed. */
  | "COREWAL_STALE_HANDLE"
  /** The wait took longer than `timeoutMs`. With an `lsn` the entry may become durable; without, it was not written. */
  | "COREWAL_TIMEOUT"
  /** The log has another topology than `openLog` was asked for, or the call does not exist in its topology: the message says what does. */
  | "COREWAL_TOPOLOGY"
  /** A file was written in a format or topology that this version does not know. Nothing in it was judged or changed. */
  | "COREWAL_UNKNOWN_VERSION"
  /** This runtime lacks `Atomics.waitAsync`. */
  | "COREWAL_UNSUPPORTED";

export interface ErrorDetails {
  cause?: unknown;
  /** LSN that the error is about. */
  lsn?: number;
  /** File that the error is about. */
  file?: string;
  /** Byte offset in that file. */
  offset?: number;
}

/**
 * Everything that corewal throws, except a caller's mistake: that is a TypeError or RangeError with such a `code`. An
 * error of the system, if there was one, is the `cause`.
 *
 * @example
 * try {
 *   log.write("measurement");
 * } catch (error) {
 *   if (!(error instanceof CorewalError) || error.code !== "COREWAL_FULL") throw error;
 *   await log.ready();
 * }
 */
export class CorewalError extends Error {
  /** Always `CorewalError`. */
  override readonly name = "CorewalError";
  /** What happened; stable, for programs. The message is for people. */
  readonly code: ErrorCode;
  /** LSN that the error is about, where known. */
  readonly lsn?: number;
  /** File that the error is about, where known. */
  readonly file?: string;
  /** Byte offset in that file, where known. */
  readonly offset?: number;

  /** @internal */
  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    if (details.lsn !== undefined) this.lsn = details.lsn;
    if (details.file !== undefined) this.file = details.file;
    if (details.offset !== undefined) this.offset = details.offset;
  }
}

/** A wrong type: TypeError with a code. */
export function mistake(code: ErrorCode, message: string): TypeError {
  return Object.assign(new TypeError(message), { code });
}

/** A value out of range: RangeError with a code. */
export function outOfRange(code: ErrorCode, message: string): RangeError {
  return Object.assign(new RangeError(message), { code });
}

/** In a per-core log an LSN alone names nothing. */
export function plainLsn(what: string, instead: string): CorewalError {
  return new CorewalError("COREWAL_TOPOLOGY", `${what}: each core of this log has LSNs of its own; use ${instead}`);
}

export function codeOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null | undefined)?.code;
  return typeof code === "string" ? code : undefined;
}

/** Name, not code, of what Deno throws when it lacks a permission. */
const NOT_CAPABLE = "NotCapable";

/** No raw `E…` code leaves corewal: this gives it a name of ours and says what to do; ours pass through. */
export function fromSystem(error: unknown, doing: string, file?: string): Error & { code: ErrorCode } {
  const code = codeOf(error) ?? (error instanceof Error && error.name === NOT_CAPABLE ? NOT_CAPABLE : undefined);
  if (code?.startsWith("COREWAL_")) return error as Error & { code: ErrorCode };
  const details: ErrorDetails = { cause: error, ...(file === undefined ? {} : { file }) };
  const where = file === undefined ? "" : ` ${file}`;
  const text = error instanceof Error ? error.message : String(error);
  switch (code) {
    case "ENOSPC":
    case "EDQUOT":
    case "EFBIG":
      return new CorewalError("COREWAL_DISK_FULL", `no space while ${doing}${where}: make room`, details);
    case NOT_CAPABLE:
      return new CorewalError(
        "COREWAL_NO_PERMISSION",
        `Deno does not allow ${doing}${where} (${text}): give it --allow-read=DIR and --allow-write=DIR for the log's directory, ` +
          "which must exist, or for its parent",
        details,
      );
    case "ERR_ACCESS_DENIED":
      return new CorewalError(
        "COREWAL_NO_PERMISSION",
        `Node.js does not allow ${doing}${where} (${text}): its permission model may switch fsync off altogether; run it without --permission`,
        details,
      );
    case "EACCES":
    case "EPERM":
    case "EROFS":
      return new CorewalError(
        "COREWAL_NO_PERMISSION",
        `not allowed while ${doing}${where} (${code}): check owner and mode of the directory and its files`,
        details,
      );
    case "ENOTDIR":
      return new CorewalError(
        "COREWAL_NOT_A_LOG",
        `not a directory while ${doing}${where}: name a directory of its own for the log`,
        details,
      );
    default:
      return new CorewalError("COREWAL_IO", `input/output error while ${doing}${where}: ${text}`, details);
  }
}

/** Does it; what the system refuses is an error with a code, which says what was being done to which file. */
export function attempt<T>(doing: string, file: string, run: () => T): T {
  try {
    return run();
  } catch (error) {
    throw fromSystem(error, doing, file);
  }
}

/** An error as text that survives shared memory and the worker boundary. */
export function errorToText(error: unknown): string {
  const e = error as Partial<CorewalError> & Error;
  return JSON.stringify({
    code: codeOf(error) ?? "COREWAL_IO",
    message: e instanceof Error ? e.message : String(error),
    lsn: e?.lsn,
    file: e?.file,
    offset: e?.offset,
    cause: e?.cause === undefined ? undefined : `${codeOf(e.cause) ?? ""} ${e.cause instanceof Error ? e.cause.message : ""}`.trim(),
  });
}

/** The way back. Threads that fail at the same time may mix their texts: what cannot be read is an error with a code, too. */
export function errorFromText(text: string): CorewalError {
  try {
    const { code, message, cause, ...rest } = JSON.parse(text) as { code: ErrorCode; message: string; cause?: string; lsn?: number };
    if (/^COREWAL_[A-Z_]+$/.test(code) && typeof message === "string")
      return new CorewalError(code, message, { ...rest, ...(cause === undefined ? {} : { cause: new Error(cause) }) });
  } catch {
    // No JSON, or no object.
  }
  return new CorewalError("COREWAL_IO", `an error whose text cannot be read: ${text.slice(0, 200)}`);
}
