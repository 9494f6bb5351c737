// A real file system on a block device that records what reaches it, in order, and fails when told to: an image file,
// served by test/workers/disk-server.ts, below a loop device. support/power-cuts.ts makes of a recording what a power
// cut would have left.

import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { closeSync, existsSync, openSync, readFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { within } from "./expect.js";
import { cannotMount, makeImage, mount, mountedAt, unmount, type FileSystem } from "./mounts.js";
import { here } from "./runtimes.js";
import { freshDirectory, freshPath } from "./scratch.js";
import { scriptPath, watchChild } from "./script.js";

export interface DiskTask {
  /** The image that the disk begins with; stays as it is. */
  base: string;
  /** Where the server's two files appear. */
  mountPoint: string;
  /** File for what happens. */
  recording: string;
}

/** Kinds of records: | kind u8 | 0 u24 | bytes u32 | offset f64 | bytes … |, little-endian. */
export const WRITE = 1;
export const FLUSH = 2;
export const NOTE = 3;
export const RECORD_HEADER_BYTES = 16;

export type DiskEvent = { kind: "write"; offset: number; bytes: Uint8Array } | { kind: "flush" } | { kind: "note"; text: string };

/** Passing a descriptor to `mount` is Node's alone, so the server runs there, whatever runs the test. */
const NODE = here.name === "node" ? here.command : "node";

export class RecordedDisk {
  /** Where the file system is, while it is mounted. */
  place: string | undefined;

  private constructor(
    readonly task: DiskTask,
    private readonly fileSystem: FileSystem,
    private readonly server: ChildProcess,
  ) {}

  /** Why there can be none here; undefined if there can. */
  static impossible(fileSystem: FileSystem): string | undefined {
    if (!existsSync("/dev/fuse")) return "there is no /dev/fuse";
    if (spawnSync(NODE, ["--version"]).status !== 0) return "there is no node to serve the disk";
    return cannotMount(fileSystem);
  }

  /** An empty file system, not mounted yet. */
  static async start(fileSystem: FileSystem): Promise<RecordedDisk> {
    const task: DiskTask = { base: freshPath("base"), mountPoint: freshDirectory("disk"), recording: freshPath("recording") };
    makeImage(fileSystem, task.base);
    const server = watchChild(spawn(NODE, [scriptPath("disk-server"), JSON.stringify(task)], { stdio: ["pipe", "pipe", "inherit"] }));
    await within(
      new Promise((resolve, reject) => {
        server.stdout.once("data", resolve);
        server.once("exit", () => reject(new Error("the disk's server ended")));
      }),
      "the disk's server",
    );
    mountedAt(task.mountPoint);
    return new RecordedDisk(task, fileSystem, server);
  }

  /** The file for notes and commands. */
  get control(): string {
    return join(this.task.mountPoint, "control");
  }

  /** "fail writes", "fail flushes", "heal"; anything else is a note. */
  say(line: string): void {
    const control = openSync(this.control, "r+");
    writeSync(control, line);
    closeSync(control);
  }

  mount(): string {
    this.place = mount(join(this.task.mountPoint, "disk"), "-t", this.fileSystem, "-o", "loop");
    return this.place;
  }

  unmount(): void {
    if (this.place !== undefined) unmount(this.place);
    this.place = undefined;
  }

  /** For `finally`. */
  async end(): Promise<void> {
    try {
      this.unmount();
      unmount(this.task.mountPoint);
    } finally {
      const ended = new Promise((resolve) => this.server.once("exit", resolve));
      if (this.server.exitCode === null && this.server.kill("SIGKILL")) await within(ended, "the disk's server");
    }
  }

  /** All that happened so far. */
  events(): DiskEvent[] {
    const tape = readFileSync(this.task.recording);
    const events: DiskEvent[] = [];
    for (let at = 0; at < tape.length;) {
      const bytes = tape.subarray(at + RECORD_HEADER_BYTES, at + RECORD_HEADER_BYTES + tape.readUInt32LE(at + 4));
      if (tape[at] === WRITE) events.push({ kind: "write", offset: tape.readDoubleLE(at + 8), bytes });
      else events.push(tape[at] === FLUSH ? { kind: "flush" } : { kind: "note", text: bytes.toString() });
      at += RECORD_HEADER_BYTES + bytes.length;
    }
    return events;
  }
}
