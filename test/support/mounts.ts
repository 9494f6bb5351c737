// Real file systems in image files, mounted by loop devices, for tests that are root. Whatever happens, nothing stays
// mounted: each mount goes in a `finally`, and what a failure left behind goes with the process.

import { spawnSync } from "node:child_process";
import { statfsSync, truncateSync, writeFileSync } from "node:fs";
import { freshDirectory, freshPath } from "./scratch.js";

export type FileSystem = "ext4" | "xfs" | "btrfs";
export const FILE_SYSTEMS: readonly FileSystem[] = ["ext4", "xfs", "btrfs"];

const MAKE: Record<FileSystem, { bytes: number; command: string[] }> = {
  ext4: { bytes: 64 << 20, command: ["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"] },
  // Smaller than xfs supports, but as it works: a large one would only take time.
  xfs: { bytes: 64 << 20, command: ["mkfs.xfs", "-q", "--unsupported"] },
  btrfs: { bytes: 128 << 20, command: ["mkfs.btrfs", "-q"] },
};

/** To be called before anything else: this machine's own disk would take most of the time, and has no part in the tests. */
export function imagesInMemory(): void {
  try {
    const { bavail, bsize } = statfsSync("/dev/shm");
    if (bavail * bsize > 1 << 29) process.env["TMPDIR"] = "/dev/shm";
  } catch {
    // Not on this system.
  }
}

function run(command: string, ...args: string[]): void {
  const { status, stderr, error } = spawnSync(command, args, { encoding: "utf8", timeout: 60_000 });
  if (status !== 0) throw new Error(`${command} ${args.join(" ")}: ${error?.message ?? stderr.trim()}`);
}

/** An image file with an empty file system; sparse. */
export function makeImage(fileSystem: FileSystem, file: string): void {
  const {
    bytes,
    command: [command, ...args],
  } = MAKE[fileSystem];
  writeFileSync(file, "");
  truncateSync(file, bytes);
  run(command!, ...args, file);
}

const mounted: string[] = [];

/** At a directory of its own, which it returns. An image file gets a loop device, which goes with the mount. */
export function mount(what: string, ...options: string[]): string {
  const place = freshDirectory("mount");
  run("mount", ...options, what, place);
  mountedAt(place);
  return place;
}

/** A new and small one. */
export function mountNew(fileSystem: FileSystem | "tmpfs"): string {
  if (fileSystem === "tmpfs") return mount("tmpfs", "-t", "tmpfs", "-o", "size=1m");
  const image = freshPath("image");
  makeImage(fileSystem, image);
  return mount(image, "-t", fileSystem, "-o", "loop");
}

/** Whatever is mounted there goes with this process, if not before. */
export function mountedAt(place: string): void {
  mounted.unshift(place);
}

/** Tries for a while: a loop device lets go of its file some time after its file system is gone. */
export function unmount(place: string): void {
  const at = mounted.indexOf(place);
  if (at < 0) return;
  mounted.splice(at, 1);
  for (let tries = 1; ; tries++) {
    const { status, stderr } = spawnSync("umount", [place], { encoding: "utf8" });
    if (status === 0) return;
    if (tries < 100) {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20);
      continue;
    }
    spawnSync("umount", ["-l", place]);
    throw new Error(stderr.trim());
  }
}

/** Takes it out of the way, whoever still has a file in it open: a runtime may close those of a thread that has ended later. */
export function unmountLazily(place: string): void {
  mounted.splice(mounted.indexOf(place), 1);
  spawnSync("umount", ["-l", place]);
}

// Directories of the tests are removed when the process ends: nothing may be mounted below them then.
process.prependListener("exit", () => {
  for (const place of mounted) spawnSync("umount", ["-l", place]);
});

const reasons = new Map<string, string | undefined>();

/** Why this cannot be mounted here; undefined if it can, which is tried once. */
export function cannotMount(fileSystem: FileSystem | "tmpfs"): string | undefined {
  if (!reasons.has(fileSystem)) {
    let reason: string | undefined;
    try {
      if (process.getuid?.() !== 0) throw new Error("only root may mount");
      unmount(mountNew(fileSystem));
    } catch (error) {
      reason = (error as Error).message;
    }
    reasons.set(fileSystem, reason);
  }
  return reasons.get(fileSystem);
}
