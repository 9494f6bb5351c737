// A thread that pushes numbered entries into rings, and waits for space by trying again.

import { workerData } from "node:worker_threads";
import { attachRings, type RingsHandle } from "../../src/core-index.js";

const { handle, id, count } = workerData as { handle: RingsHandle; id: number; count: number };
const stripe = attachRings(handle).claim();
const idle = new Int32Array(new SharedArrayBuffer(4));
for (let n = 0; n < count; n++) while (stripe.tryPush(`${id}:${n}:${"x".repeat(n % 50)}`) === 0) Atomics.wait(idle, 0, 0, 1);
stripe.release();
