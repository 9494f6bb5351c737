// The public interface of corewal.

export { attachLog, openLog } from "./log.js";
export { decodeCommit, decodeLost } from "./entry.js";
export { CorewalError, type ErrorCode } from "./errors.js";
export { verifyLog, type Fault, type VerifyOptions, type VerifyReport } from "./verify.js";
export { repairLog, type RepairOptions, type RepairPolicy, type RepairReport } from "./repair.js";
export { restoreLog, type RestoreOptions, type RestorePlace, type RestoreReport } from "./restore.js";
export { statLog, type StatReport } from "./inspect.js";
export type { Liveness } from "./lock-owner.js";
export type { CheckpointOptions, LogOptions, RetentionOptions } from "./options.js";
export type {
  ArchiveDirectory,
  ArchiveFunction,
  Bytes,
  Checkpoint,
  CheckpointInfo,
  CheckpointState,
  CoreReadOptions,
  CoreRecovery,
  DropReport,
  Durability,
  Entry,
  Input,
  Kind,
  Log,
  LogCore,
  LogHandle,
  LogStats,
  LostRange,
  Position,
  ReadOptions,
  RecoveryReport,
  SealedSegment,
  SegmentStats,
  StateWriter,
  Topology,
  Wait,
  Writer,
} from "./types.js";
