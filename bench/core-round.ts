// One round of the microbenchmarks, as JSON: started by scripts/bench-core.mjs on each runtime.

import { coreRound } from "./core.js";

console.log(JSON.stringify(coreRound(Number(process.argv[2]))));
