// Why a log stopped: text in shared memory, so that every thread can say it, also one that is blocked.

import { CTL_STRIPE_HIGH, FAULT_TEXT, FAULT_TEXT_BYTES, LOG_CLOSED, LOG_POISONED } from "../assembly/layout.js";
import { headIndex, type Core } from "./core.js";
import { errorFromText, errorToText, type CorewalError } from "./errors.js";

/** Stops the log for good and wakes everybody; the first cause counts. */
export function poisonLog(core: Core, cause: Error): void {
  const state = core.x.log_state();
  if (state === LOG_POISONED || state === LOG_CLOSED) return;
  let text = Buffer.from(errorToText(cause));
  if (text.length > FAULT_TEXT_BYTES - 4)
    text = Buffer.from(errorToText(Object.assign(new Error(cause.message.slice(0, 500)), { code: (cause as CorewalError).code })));
  core.bytes.set(text, FAULT_TEXT + 4);
  core.view.setUint32(FAULT_TEXT, text.length, true);
  core.x.log_set_state(LOG_POISONED);
  wakeBlocked(core);
}

export function readFault(core: Core): CorewalError {
  const at = FAULT_TEXT + 4;
  return errorFromText(Buffer.from(core.bytes.slice(at, at + core.view.getUint32(FAULT_TEXT, true))).toString());
}

/** Wakes writers that wait for space in their rings. */
export function wakeBlocked(core: Core): void {
  const high = Atomics.load(core.i32, CTL_STRIPE_HIGH >> 2);
  for (let stripe = 0; stripe < high; stripe++) Atomics.notify(core.i32, headIndex(stripe));
}
