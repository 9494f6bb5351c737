// Planted bugs, the negative control of the crash simulator: each must be found by it (mutate.mjs). They are
// replacements of source text, so that nothing of them is in the shipped package; a text that does not
// occur exactly once is an error, so that they do not rot.

export interface Mutant {
  name: string;
  /** Under src/ or assembly/. */
  file: string;
  find: string;
  replace: string;
  /** What it breaks, and what has to happen for it to show. */
  why: string;
}

export const MUTANTS: Mutant[] = [
  // --- the flush ------------------------------------------------------------------------------------
  {
    name: "no-fsync",
    file: "src/flusher.ts",
    find: "timedSync(core, this.file!);",
    replace: "",
    why: "acknowledged frames are only in the cache; a power loss takes them",
  },
  {
    name: "acknowledge-early",
    file: "src/flusher.ts",
    find: "timedSync(core, this.file!);",
    replace: "core.x.log_publish_durable(taken.firstLsn + taken.lsns - 1); timedSync(core, this.file!);",
    why: "the durable LSN is published before the fsync that may still fail",
  },
  {
    name: "retry-fsync",
    file: "src/tally.ts",
    find: "file.sync();",
    replace: "try { file.sync(); } catch { file.sync(); }",
    why: "the second fsync succeeds, since the kernel has dropped the pages that the first one could not write",
  },
  {
    name: "ignored-short-write",
    file: "src/storage.ts",
    find: "done += count;\n  }\n}\n\n/** Reads `into` whole",
    replace: "done = bytes.length;\n  }\n}\n\n/** Reads `into` whole",
    why: "a write that returned fewer bytes leaves the rest of the frame unwritten, and it is acknowledged",
  },
  {
    name: "promise-too-high",
    file: "src/fill.ts",
    find: "const promise = core.x.log_durable_lsn();",
    replace: "const promise = firstLsn + lsns - 1;",
    why: "a frame that promises itself: a torn one looks like damage, an unproven one is not copied",
  },
  {
    name: "time-goes-back",
    file: "src/flusher.ts",
    find: "if (nowNs > this.timeNs) this.timeNs = nowNs;",
    replace: "this.timeNs = nowNs;",
    why: "a clock that is set back must change no order",
  },
  // --- waiting ----------------------------------------------------------------------------------------
  {
    name: "resolve-when-written",
    file: "src/writer.ts",
    find: 'if (durability === "async") return Promise.resolve(lsn);',
    replace: 'if (durability !== "sync") return Promise.resolve(lsn);',
    why: "a group append resolves when it is in the ring",
  },
  {
    name: "poison-tells-nobody",
    file: "src/durable-waits.ts",
    find: "if (state === LOG_POISONED) this.waiters.fail(",
    replace: "if (state === LOG_POISONED && Number.isNaN(0)) this.waiters.fail(",
    why: "whoever waited when the disk failed waits for ever",
  },
  // --- segments ---------------------------------------------------------------------------------------
  {
    name: "no-directory-fsync",
    file: "src/chain.ts",
    find: "storage.syncDirectory(directory);",
    replace: "",
    why: "the file is durable, its name is not",
  },
  {
    name: "segment-not-fsynced-before-rename",
    file: "src/chain.ts",
    find: "file.sync();\n    storage.rename(",
    replace: "storage.rename(",
    why: "a final name with a torn header, or without the frames that were copied into it",
  },
  {
    name: "mark-before-commit",
    file: "src/chain.ts",
    find: "file.sync();\n    storage.rename(path + NEW_SUFFIX, path);\n    storage.syncDirectory(directory);\n    if (parent !== undefined) endParent(storage, directory, parent, header);",
    replace:
      "file.sync();\n    if (parent !== undefined) endParent(storage, directory, parent, header);\n    storage.rename(path + NEW_SUFFIX, path);\n    storage.syncDirectory(directory);",
    why: "the parent says that a segment follows which does not exist yet",
  },
  {
    name: "mark-before-name-is-durable",
    file: "src/recover.ts",
    find: "storage.syncDirectory(directory);",
    replace: "void 0;",
    why: "a name that a killed process left in the cache is relied on, then lost with the power",
  },
  {
    name: "term-not-grown",
    file: "src/log.ts",
    find: "term: found.term + 1,",
    replace: "term: Math.max(found.term, 1),",
    why: "(term, LSN) must name an entry for ever",
  },
  // --- recovery ---------------------------------------------------------------------------------------
  {
    name: "no-copy-forward",
    file: "src/recover.ts",
    find: "if (last.copy !== undefined) {",
    replace: "if (last.copy !== undefined && Number.isNaN(0)) {",
    why: "what is valid but unproven is returned, and never written again",
  },
  {
    name: "sync-instead-of-copy",
    file: "src/recover.ts",
    find: 'if (mode === "write") return { segment, copy: { end: validEnd,',
    replace: 'if (mode === "write" && Number.isNaN(0)) return { segment, copy: { end: validEnd,',
    why: "after a failed fsync another one proves nothing: the pages are marked clean",
  },
  {
    name: "tear-without-looking-behind",
    file: "src/recover.ts",
    find: "promise: Math.max(promise, evidence.promise),",
    replace: "promise,",
    why: "damage to something proven in the last segment is cut off as if it were a tear",
  },
  {
    name: "read-beyond-parent-end",
    file: "src/recover.ts",
    find: "Math.min(child.parentEnd, file.size())",
    replace: "file.size()",
    why: "bytes beyond a parent's end do not exist",
  },
  {
    name: "entries-unchecked",
    file: "assembly/merge.ts",
    find: "if (entry_checksum(entry_register(seed, at), lsn) != load<u32>(at, ENTRY_CRC)) return FRAME_BAD_ENTRY;",
    replace: "",
    why: "a frame whose header arrived and whose payload did not is taken for whole",
  },
  {
    name: "no-salt",
    file: "src/core.ts",
    find: "core.view.setBigUint64(CTL_SCRATCH, salt, true);",
    replace: "core.view.setBigUint64(CTL_SCRATCH, salt & 0n, true);",
    why: "an entry may hold bytes that look like a frame: only the salt tells them apart",
  },
  {
    name: "empty-frame-counts-as-proven",
    file: "src/recover.ts",
    find: "facts.lsns > 0 && facts.firstLsn + facts.lsns - 1 <= promise",
    replace: "facts.firstLsn + facts.lsns - 1 <= promise",
    why: "an idle frame was not fsynced; a parent's end behind it claims bytes that may be gone",
  },
  {
    name: "footer-ignores-parent-end",
    file: "src/chain.ts",
    find: "parentEnd: parent?.endOffset ?? 0,",
    replace: "parentEnd: copy?.end ?? parent?.endOffset ?? 0,",
    why: "copied frames exist twice: in the parent and in its child",
  },
  // --- following ------------------------------------------------------------------------------------------
  {
    name: "follower-shows-what-is-valid",
    file: "src/tail-watch.ts",
    find: "this.lastLsn = Math.max(this.lastLsn, frame.header.durableLsn);",
    replace: "this.lastLsn = Math.max(this.lastLsn, frame.header.firstLsn + frame.header.lsns - 1);",
    why: "a follower in another process shows what was written and never promised, and may be lost",
  },
  {
    name: "follower-shows-copies-again",
    file: "src/read.ts",
    find: "if (scanner.nextLsn <= this.at) continue;\n      decodeEntries(scanner.window, frame.at, frame.header, this.at,",
    replace: "decodeEntries(scanner.window, frame.at, frame.header, this.options.from,",
    why: "frames that were copied forward stand in two segments",
  },
  // --- batches ------------------------------------------------------------------------------------------
  {
    name: "batch-split",
    file: "assembly/merge.ts",
    find: "      if (bytes > <u32>(end - at)) {\n        more = 1;\n        break;\n      }",
    // Takes the first entry of a batch that does not fit, and moves the group's header behind it.
    replace: `      if (bytes > <u32>(end - at)) {
        const one = entry_bytes(load<u32>(group + GROUP_HEADER_BYTES, ENTRY_PAYLOAD_BYTES));
        if (count > 1 && one <= <u32>(end - at) && (one & 15) == 0) {
          copy_words(at, group + GROUP_HEADER_BYTES, one);
          store<u32>(at, entry_checksum(load<u32>(at, ENTRY_CRC), next), ENTRY_CRC);
          headers = crc_step16(headers, at);
          at += one;
          next++;
          entries++;
          store<i64>(group + one, next, GROUP_LSN);
          store<u32>(group + one, bytes - one, GROUP_BODY_BYTES);
          store<u32>(group + one, count - 1, GROUP_ENTRIES);
          head += one;
        }
        more = 1;
        break;
      }`,
    why: "a frame is what is written whole: a batch in two frames can survive in part",
  },
  {
    name: "batch-entry-by-entry",
    file: "src/writer.ts",
    find: "    const lsn = this.producer.put(group, bodyBytes, bell);",
    replace:
      "    if (group.length > 1) return group.map((p) => this.put([p], bodyBytesOf(p.payloadBytes), bell))[0]!;\n    const lsn = this.producer.put(group, bodyBytes, bell);",
    why: "each entry of a batch is published for itself",
  },
  {
    name: "guest-no-fsync",
    file: "src/guest.ts",
    find: "timedSync(core, file);",
    replace: "",
    why: "what the opener's thread flushes for itself is only in the cache when appendSync returns",
  },
  {
    name: "guest-forgotten",
    file: "src/flusher.ts",
    find: "if (frames === 0) return;",
    replace: "return;",
    why: "the flusher goes on where it lay down, and writes over what its guest has acknowledged",
  },
];
