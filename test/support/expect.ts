// Expectations that several tests share: an error with one of our codes, a promise that does not hang.

import * as assert from "uvu/assert";
import { codeOf, type CorewalError, type ErrorCode } from "../../src/errors.js";
import type { Entry, Log, ReadOptions } from "../../src/types.js";

/** Fails after a generous time instead of hanging; keeps the process alive meanwhile. */
export async function within<T>(promise: Promise<T> | T, what = "a promise", ms = 60_000): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} is not settled after ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Looks again and again until it holds. */
export async function until(holds: () => boolean, what: string, ms = 60_000): Promise<void> {
  const end = performance.now() + ms;
  while (!holds()) {
    if (performance.now() > end) throw new Error(`${what}: not after ${ms} ms`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** `run` throws or rejects with this code, and says something; gives the error. */
export async function refused(run: Promise<unknown> | (() => unknown), code: ErrorCode, words?: RegExp): Promise<CorewalError> {
  let error: unknown;
  try {
    await within((typeof run === "function" ? run() : run) as Promise<unknown>);
  } catch (caught) {
    error = caught;
  }
  if (error === undefined) assert.unreachable(`expected ${code}, and nothing was refused`);
  if (codeOf(error) !== code) throw new Error(`expected ${code}, got ${codeOf(error)}`, { cause: error });
  assert.instance(error, Error);
  const { message } = error as Error;
  assert.ok(message.length > 10, `${code} comes with the message "${message}"`);
  if (words !== undefined) assert.match(message, words);
  return error as CorewalError;
}

/** For test.after(): a log that a failed test left open may not keep the process until the runner loses patience. */
export function endSoon(): void {
  setTimeout(() => process.exit(), 2000).unref();
}

export async function readAll(log: Log, options?: ReadOptions): Promise<Entry[]> {
  const entries: Entry[] = [];
  for await (const entry of log.read(options)) entries.push(entry);
  return entries;
}

export const textOf = (entry: Entry): string => Buffer.from(entry.value).toString();

/** The values as text, in order. */
export async function texts(log: Log, options?: ReadOptions): Promise<string[]> {
  return (await readAll(log, options)).map(textOf);
}
