// Why a log stopped: text in shared memory, so that every thread can say it, also one that is blocked.

import { FAULT_TEXT, FAULT_TEXT_BYTES, LOG_CLOSED, LOG_POISONED } from "../assembly/layout.js";
import { wakeBlocked } from "./banks.js";
import type { Core } from "./core.js";
import { errorFromText, errorToText, type CorewalError } from "./errors.js";

/** Stops the log for good and wakes everybody; the first cause counts. */
export function poisonLog(core: Core, cause: Error): void {
  const state = core.x.log_state();
  if (state === LOG_POISONED || state === LOG_CLOSED) return;
  let text = Buffer.from(errorToText(cause));
  if (text.length > FAULT_TEXT_BYTES - 4)
    text = Buffer.from(errorToText(Object.assign(new Error(cause.message.slice(0, 500)), { code: (cause as CorewalError).code })));
  core.log.bytes.set(text, FAULT_TEXT + 4);
  core.log.view.setUint32(FAULT_TEXT, text.length, true);
  core.x.log_set_state(LOG_POISONED);
  wakeBlocked(core);
}

export function readFault(core: Core): CorewalError {
  const at = FAULT_TEXT + 4;
  const bytes = Math.min(core.log.view.getUint32(FAULT_TEXT, true), FAULT_TEXT_BYTES - 4);
  return errorFromText(Buffer.from(core.log.bytes.slice(at, at + bytes)).toString());
}
