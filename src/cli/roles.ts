// Worker threads of the commands: all start from cli.ts, which asks here whether it is one of them and as what.

import { Worker } from "node:worker_threads";

const ROLES = {
  append: () => import("./append-worker.js"),
  demo: () => import("./demo-worker.js"),
  bench: () => import("./bench-worker.js"),
};

export interface Role {
  corewalRole: keyof typeof ROLES;
  data: unknown;
}

/** What this worker was started as; undefined if it was not started by a command. */
export function workerRole(workerData: unknown): Role | undefined {
  const role = workerData as Role | null | undefined;
  return typeof role === "object" && role !== null && Object.hasOwn(ROLES, role.corewalRole) ? role : undefined;
}

export async function runWorker({ corewalRole, data }: Role): Promise<void> {
  const { work } = await ROLES[corewalRole]();
  await work(data as never);
}

/** Starts a thread from the command line's own file: the only one that is sure to exist beside a bundle. */
export function startWorker(entry: string, corewalRole: keyof typeof ROLES, data: unknown): Worker {
  return new Worker(new URL(entry), { workerData: { corewalRole, data } satisfies Role });
}
