// One process of the merge bench, as JSON: started by merge.ts.

import { readTwice, type ReadTask } from "./merge-measure.js";

console.log(JSON.stringify(await readTwice(JSON.parse(process.argv[2]!) as ReadTask)));
