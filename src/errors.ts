// One error class with stable codes. Every code has a heading in the README.

export type ErrorCode =
  | "COREWAL_ABORTED"
  | "COREWAL_CLOSED"
  | "COREWAL_CORRUPT"
  | "COREWAL_DISK_FULL"
  | "COREWAL_EMPTY"
  | "COREWAL_ENTRY_TOO_LARGE"
  | "COREWAL_FULL"
  | "COREWAL_INVALID_INPUT"
  | "COREWAL_INVALID_OPTION"
  | "COREWAL_IO"
  | "COREWAL_LOCKED"
  | "COREWAL_LSN_EXHAUSTED"
  | "COREWAL_NO_PERMISSION"
  | "COREWAL_NO_STRIPE"
  | "COREWAL_NOT_A_LOG"
  | "COREWAL_OUTCOME_UNKNOWN"
  | "COREWAL_POISONED"
  | "COREWAL_READ_ONLY"
  | "COREWAL_REVOKED"
  | "COREWAL_STALE_HANDLE"
  | "COREWAL_TIMEOUT"
  | "COREWAL_UNKNOWN_VERSION"
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

/** Everything that corewal throws, except a caller's mistake: those are a TypeError or RangeError with the same `code`. */
export class CorewalError extends Error {
  override readonly name = "CorewalError";
  readonly code: ErrorCode;
  readonly lsn?: number;
  readonly file?: string;
  readonly offset?: number;

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

export function errorFromText(text: string): CorewalError {
  const { code, message, cause, ...rest } = JSON.parse(text) as { code: ErrorCode; message: string; cause?: string; lsn?: number };
  return new CorewalError(code, message, { ...rest, ...(cause === undefined ? {} : { cause: new Error(cause) }) });
}
