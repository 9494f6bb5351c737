// Starts the scripts of test/workers/, as threads or as processes. With shared chunks import.meta.url says
// nothing about where the bundle lies; the script that was started does.

import { spawn, type ChildProcess } from "node:child_process";
import { basename, dirname, join } from "node:path";
import { Worker, type WorkerOptions } from "node:worker_threads";

function folder(): string {
  const here = dirname(process.argv[1]!);
  return basename(here) === "workers" ? here : join(here, "workers");
}

/** Path of the bundled test/workers/NAME.ts. */
export const scriptPath = (name: string): string => join(folder(), `${name}.js`);

export function startThread(name: string, workerData: unknown, options: WorkerOptions = {}): Worker {
  return new Worker(scriptPath(name), { ...options, workerData });
}

/** The next message of a thread; its failure or end before that is an error. */
export function message<T = unknown>(worker: Worker): Promise<T> {
  return new Promise((resolve, reject) => {
    const done = (): void => {
      worker.off("message", onMessage).off("error", onError).off("exit", onExit);
    };
    const onMessage = (value: T): void => (done(), resolve(value));
    const onError = (error: Error): void => (done(), reject(error));
    const onExit = (): void => (done(), reject(new Error("the thread ended without a message")));
    worker.on("message", onMessage).on("error", onError).on("exit", onExit);
  });
}

const children = new Set<ChildProcess>();

/** Keeps a list of who still runs, so that a test that fails leaves nobody behind. */
export function watchChild<T extends ChildProcess>(child: T): T {
  children.add(child);
  child.once("exit", () => children.delete(child));
  return child;
}

/** For test.after(). */
export function killChildren(): void {
  for (const child of children) child.kill("SIGKILL");
}

export interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
  out: string;
  err: string;
}

/** A process that runs test/workers/NAME.ts with this in `task()`; `ended` never rejects. */
export function startProcess(name: string, task: unknown): { child: ChildProcess; ended: Promise<Ended> } {
  const child = watchChild(spawn(process.execPath, [scriptPath(name), JSON.stringify(task)]));
  const result: Ended = { code: null, signal: null, out: "", err: "" };
  child.stdout.on("data", (chunk: Buffer) => (result.out += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (result.err += chunk.toString()));
  const ended = new Promise<Ended>((resolve) => child.on("close", (code, signal) => resolve({ ...result, code, signal })));
  return { child, ended };
}

/** What startProcess passed on. */
export const task = <T>(): T => JSON.parse(process.argv[2]!) as T;
