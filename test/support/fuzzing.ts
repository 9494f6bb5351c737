// How fuzz tests run: seconds in `npm test`, as long as COREWAL_FUZZ_SECONDS says (for each property) in `npm run fuzz`.
// The seed is printed; COREWAL_SEED repeats it. fast-check shrinks what fails.

import { randomInt } from "node:crypto";
import fc from "fast-check";
import { codeOf, CorewalError } from "../../src/errors.js";

const SEED = Number(process.env.COREWAL_SEED ?? randomInt(2 ** 31));
const SECONDS = Number(process.env.COREWAL_FUZZ_SECONDS ?? 0);
/** Printed first: what hangs can be repeated as well. */
console.log(`# seed ${SEED}: COREWAL_SEED=${SEED} node scripts/test.mjs fuzz`);

/** Runs of a property: `runs` of them, or for the time that was asked for. */
export function parameters<T>(runs: number): fc.Parameters<T> {
  return SECONDS > 0
    ? {
        seed: SEED,
        includeErrorInReport: true,
        numRuns: Number.MAX_SAFE_INTEGER,
        interruptAfterTimeLimit: SECONDS * 1000,
        markInterruptAsFailure: false,
      }
    : { seed: SEED, includeErrorInReport: true, numRuns: runs };
}

let answers = 0;
let judgements = 0;
process.on("exit", () => void (answers > 0 && console.log(`# ${answers} were read, ${judgements} judged`)));

/** What a reader may say of bytes that are wrong. */
const JUDGEMENTS = ["COREWAL_CORRUPT", "COREWAL_UNKNOWN_VERSION", "COREWAL_NOT_A_LOG"];

/** Returns what `read` returns, undefined if it judges the bytes; whatever else it throws is a fault of ours. */
export function judged<T>(read: () => T): T | undefined {
  try {
    const answer = read();
    answers++;
    return answer;
  } catch (error) {
    return verdict(error);
  }
}

/** Counts what was read without a judgement. */
export const wasRead = (): void => void answers++;

/** A judgement is swallowed, everything else is thrown on. Other codes would be a raw error in disguise. */
export function verdict(error: unknown, ...also: string[]): undefined {
  if (error instanceof CorewalError && [...JUDGEMENTS, ...also].includes(codeOf(error)!)) {
    judgements++;
    return undefined;
  }
  throw error;
}
