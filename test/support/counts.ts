// What a simulation has done so far, and what a long one must have done (sim.ts --every-kind): a simulator that no longer
// makes a kind of fault finds nothing by it, and would go on saying that all is well.

export interface Counts {
  seeds: number;
  /** A process ended, by whatever, and another one recovered. */
  cycles: number;
  /** Everything that happened, by its kind. */
  kinds: Map<string, number>;
}

export const newCounts = (): Counts => ({ seeds: 0, cycles: 0, kinds: new Map() });

export function countKind(counts: Counts, kind: string): void {
  counts.kinds.set(kind, (counts.kinds.get(kind) ?? 0) + 1);
}

const OPERATIONS = ["list", "open", "create", "rename", "sync directory", "write", "read", "size", "truncate", "sync", "close"];
const FAILURES = OPERATIONS.map((operation) => `EIO in ${operation}`);

/** Steps of an append at which a thread can die; see dead-thread.ts. */
export const DEATHS = [
  "after it reserved",
  "half copied",
  "before it is pending",
  "pending",
  "with its LSNs",
  "with LSNs in the header",
  "published",
  "after the doorbell",
] as const;

/** By heading, in the order in which a reader wants to see them. */
const MUST_HAPPEN: Record<string, readonly string[]> = {
  "how a process ended": [
    "close",
    ...["between operations", "at rest", "after a failure", "in recovery"].flatMap((where) => [`power loss ${where}`, `kill ${where}`]),
    ...OPERATIONS.flatMap((operation) => [`power loss in ${operation}`, `kill in ${operation}`]),
  ],
  "what a power loss made of what was not synced": [
    "write lost",
    "write torn",
    "write lost that had survived a kill",
    "older contents of a sector came back",
    "sector with noise",
    "sector with the contents of another file",
    "sector with the contents of a deleted file",
    "writes to a file kept out of order",
    "changes of different files and names kept out of order",
    "size kept without data",
    "data kept without size",
    "truncation lost",
    "new file lost",
    "rename lost",
    "name lost of a file that was synced",
  ],
  "what failed": [
    ...FAILURES.map((what) => `failed: ${what}`),
    "failed: EMFILE in open for writing",
    "failed: ENOSPC in write",
    "failed: ENOSPC in create",
    "short write",
    ...FAILURES.map((what) => `${what} in recovery`),
    "EMFILE in open for writing in recovery",
    "ENOSPC in write in recovery",
  ],
  "clocks and threads": [
    "clock jumped ahead",
    "clock set back",
    "clock jumped ahead between processes",
    "clock set back between processes",
    ...DEATHS.map((where) => `thread died ${where}`),
    "thread died during a flush",
    "dead thread seen to end",
    "append during a flush's write",
    "append during a flush's sync",
    "flusher woken by the doorbell",
    "flusher woken by its timer",
    "flushed by the opener itself",
  ],
  "cores and epochs": [
    "cycle, striped",
    "cycle, per-core",
    "fewer cores than before",
    "more cores than before",
    "chain made beside others",
    "chain without a stripe",
    "chain without a stripe copied forward",
    "epoch advanced, striped",
    "epoch advanced, per-core",
    "epoch begun by a thread that died",
    "epoch begun while an append is on its way",
    "several barriers at once",
    "barrier after a thread's death that nobody saw",
    "power loss during a barrier",
    "kill during a barrier",
    "nothing but an epoch's beginning copied forward",
  ],
  "checkpoints and dropping": [
    "checkpoint made, striped",
    "checkpoint made, per-core",
    "checkpoint made by itself",
    "checkpoint while another one is made, or something is dropped",
    "checkpoint read and log replayed",
    "checkpoint or drop that met a broken disk",
    "every checkpoint damaged",
    "one checkpoint of several damaged",
    "segments dropped, striped",
    "segments dropped, per-core",
    "segments dropped by the retention",
    "upkeep while reading fails",
    "asked for what was dropped",
    "reading that was open while the log went on",
    "follower in another process was lapped",
    ...["power loss", "kill"].flatMap((what) => [`${what} while a checkpoint is made or something is dropped`, `${what} in remove`]),
  ],
  "cutting, archiving, restoring": [
    "end cut off, striped",
    "end cut off, per-core",
    "follower in another process was cut off",
    "cut that no checkpoint would have survived",
    "cut that could not read a checkpoint",
    "cut that met a broken disk",
    "segments archived",
    "segment archived by a function",
    "archive that was away",
    "restored, nobody writing",
    "restored, while somebody writes",
    "restore that was refused",
    "restore that met a broken disk",
    "restore that was undone",
    "restore that was done when it was interrupted",
    ...["power loss", "kill"].map((what) => `${what} in a restore`),
  ],
  readers: ["read by another process, nobody writing", "read by another process, somebody writing", "follower in another process looked"],
  damage: ["damage that was found", "damage that did not matter"],
};

/** What a long run must have seen and has not. */
export function missingKinds(counts: Counts): string[] {
  return Object.values(MUST_HAPPEN)
    .flat()
    .filter((kind) => !counts.kinds.has(kind));
}

/** Under headings, one kind a line. */
export function tableOf(counts: Counts): string {
  const rest = new Map(counts.kinds);
  const line = (kind: string, n: number): string => `${String(n).padStart(9)}  ${kind}`;
  const sections = Object.entries(MUST_HAPPEN).map(([heading, kinds]) =>
    [
      `${heading}:`,
      ...kinds.map((kind) => {
        rest.delete(kind);
        return line(kind, counts.kinds.get(kind) ?? 0);
      }),
    ].join("\n"),
  );
  if (rest.size > 0) sections.push(["besides:", ...[...rest].sort().map(([kind, n]) => line(kind, n))].join("\n"));
  return sections.join("\n");
}
