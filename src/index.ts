// The public interface of corewal.

export { attachLog, openLog } from "./log.js";
export { decodeCommit } from "./entry.js";
export { CorewalError, type ErrorCode } from "./errors.js";
export { verifyLog, type Fault, type VerifyOptions, type VerifyReport } from "./verify.js";
export { statLog, type StatReport } from "./inspect.js";
export type { Liveness } from "./lock-owner.js";
export type { LogOptions } from "./options.js";
export type {
  Bytes,
  Durability,
  Entry,
  Input,
  Kind,
  Log,
  LogHandle,
  LogStats,
  ReadOptions,
  RecoveryReport,
  Wait,
  Writer,
} from "./types.js";
