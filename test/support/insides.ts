// What a test may see of a log's insides.

import type { Core } from "../../src/core.js";
import type { Crew } from "../../src/crew.js";
import type { Log } from "../../src/types.js";
import type { StripeWriter } from "../../src/writer.js";

interface Insides {
  core: Core;
  drive: { crew: Crew; writers: Set<StripeWriter>; pump(): boolean };
}

export const insidesOf = (log: Log): Insides => (log as unknown as { parts: Insides }).parts;
