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
    find: "this.active.sync();",
    replace: "",
    why: "acknowledged frames are only in the cache; a power loss takes them",
  },
  {
    name: "acknowledge-early",
    file: "src/flusher.ts",
    find: "this.active.sync();",
    replace: "this.core.x.log_publish_durable(taken.firstLsn + taken.lsns - 1); this.active.sync();",
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
    file: "src/fill.ts",
    find: "return time > before ? time : before;",
    replace: "return time;",
    why: "a clock that is set back must change no order",
  },
  {
    name: "publish-all-after-fsync",
    file: "src/flusher.ts",
    find: "core.x.log_publish_durable(taken.firstLsn + taken.lsns - 1);\n    this.flushedAt",
    replace: "core.x.log_publish_durable(core.x.log_last_lsn());\n    this.flushedAt",
    why: "what other threads append during the fsync is not covered by it",
  },
  {
    name: "time-forgotten",
    file: "src/log.ts",
    find: "      timeNs,\n      frame,",
    replace: "      timeNs: 0n,\n      frame,",
    why: "a clock that is set back between two processes must change no order",
  },
  {
    name: "idle-spin",
    file: "src/flusher.ts",
    find: "if (this.unproven()) {",
    replace: "if (this.stalled === undefined && this.unproven()) {",
    why: "a thread that died pending, before it took an LSN, kept the flusher from proving and from resting; found by this simulator",
  },
  // --- threads that die ---------------------------------------------------------------------------------
  {
    name: "never-revoke",
    file: "src/flusher.ts",
    find: "if (now - this.stalled.since < this.start.options.writerStallMs) return;",
    replace: "return;",
    why: "a thread that died with its LSNs, and whose end nobody saw, holds everybody up for ever",
  },
  {
    name: "lsn-after-publication",
    file: "assembly/ring.ts",
    find: `  store<i64>(group, lsn, GROUP_LSN);
  point(4);
  if (atomic.cmpxchg<u64>(word, pending, (state & GENERATION) | <u64>next) != pending) return RING_REVOKED;`,
    replace: `  if (atomic.cmpxchg<u64>(word, pending, (state & GENERATION) | <u64>next) != pending) return RING_REVOKED;
  point(4);
  store<i64>(group, lsn, GROUP_LSN);`,
    why: "a thread that dies in between leaves a visible group under whatever LSN its place had before",
  },
  {
    name: "demand-without-bell",
    file: "assembly/ring.ts",
    find: "if (atomic.load<i64>(word) < <i64>lsn) atomic.store<i64>(word, <i64>lsn);\n  doorbell_ring();",
    replace: "if (atomic.load<i64>(word) < <i64>lsn) atomic.store<i64>(word, <i64>lsn);",
    why: "a flusher that sleeps is not told that somebody waits",
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
  {
    name: "queue-unbounded",
    file: "src/writer.ts",
    find: "if (this.queue.bytes + bodyBytes > this.options.queueBytes) return Promise.reject(this.queueFull());",
    replace: "",
    why: "appends that wait for space must not fill the memory",
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
    name: "directory-fsync-error-ignored",
    file: "src/chain.ts",
    find: "storage.syncDirectory(directory);",
    replace: "try { storage.syncDirectory(directory); } catch { /* as if it had worked */ }",
    why: "a name that the directory's fsync could not make durable is relied on",
  },
  {
    name: "segment-not-fsynced-before-rename",
    file: "src/chain.ts",
    find: "file.sync();\n    commitSegment(",
    replace: "commitSegment(",
    why: "a final name with a torn header, or without the frames that were copied into it",
  },
  {
    name: "mark-before-commit",
    file: "src/chain.ts",
    find: "storage.rename(path + NEW_SUFFIX, path);\n  storage.syncDirectory(directory);\n  if (parent !== undefined) endParent(storage, directory, parent, header);",
    replace:
      "if (parent !== undefined) endParent(storage, directory, parent, header);\n  storage.rename(path + NEW_SUFFIX, path);\n  storage.syncDirectory(directory);",
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
    file: "src/recover.ts",
    find: "const term = found.term + 1;",
    replace: "const term = Math.max(found.term, 1);",
    why: "(term, LSN) must name an entry for ever",
  },
  {
    name: "lock-kept-after-failed-open",
    file: "src/log.ts",
    find: 'lock.release();\n    throw fromSystem(error, "opening the log", path);',
    replace: 'throw fromSystem(error, "opening the log", path);',
    why: "an open that met a broken disk must not keep the next one out",
  },
  {
    name: "raw-error-of-a-directory",
    file: "src/directory.ts",
    find: 'attempt("looking for the log", directory, () => listIfThere(storage, directory))',
    replace: "listIfThere(storage, directory)",
    why: "a directory that cannot be read is said in the system's words",
  },
  {
    name: "guest-close-throws",
    file: "src/guest.ts",
    find: "} catch {\n      // The descriptor is gone all the same.\n    }",
    replace: "} finally {\n      // Thrown on.\n    }",
    why: "a file that cannot be closed kept close() from giving the lock back; found by this simulator",
  },
  // --- recovery ---------------------------------------------------------------------------------------
  {
    name: "no-copy-forward",
    file: "src/recover-chain.ts",
    find: "if (copy === undefined) return;",
    replace: "if (copy === undefined || Number.isNaN(NaN)) return;",
    why: "what is valid but unproven is returned, and never written again",
  },
  {
    name: "sync-instead-of-copy",
    file: "src/recover-chain.ts",
    find: 'if (mode === "write") return { segment, copy };',
    replace: 'if (mode === "write" && Number.isNaN(0)) return { segment, copy };',
    why: "after a failed fsync another one proves nothing: the pages are marked clean",
  },
  {
    name: "tear-without-looking-behind",
    file: "src/recover-chain.ts",
    find: "promise: Math.max(proven.promise, evidence.promise),",
    replace: "promise: proven.promise,",
    why: "damage to something proven in the last segment is cut off as if it were a tear",
  },
  {
    name: "read-beyond-parent-end",
    file: "src/recover-chain.ts",
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
    file: "src/proven.ts",
    find: "(f.lsns > 0 || opensEpoch) && f.firstLsn",
    replace: "f.firstLsn",
    why: "an idle frame was not fsynced; a parent's end behind it claims bytes that may be gone",
  },
  {
    name: "footer-ignores-parent-end",
    file: "src/chain.ts",
    find: "    ...linkTo(parent),\n",
    replace: "    ...linkTo(parent),\n    parentEnd: copy?.end ?? parent?.endOffset ?? 0,\n",
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
    file: "src/chain-walk.ts",
    find: "if (scanner.nextLsn <= this.at) return entries.skip(header);",
    replace:
      "if (scanner.nextLsn <= this.at) { wanted.from = options.from; wanted.to = this.end; return entries.enter(scanner.window, frame.at, header); }",
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
  // --- cores and epochs ---------------------------------------------------------------------------------
  {
    name: "barrier-not-fsynced",
    file: "src/flusher.ts",
    find: "this.writeDurably(fillMarks(core, start, marks));",
    replace: "this.writeFrame(fillMarks(core, start, marks));",
    why: "the beginning of an epoch, and that the one before is complete, are only in the cache when advanceEpoch resolves",
  },
  {
    name: "complete-before-all-began",
    file: "src/epochs.ts",
    find: "if (haveBegun(core, epoch)) raise(",
    replace: "raise(",
    why: "an epoch is called complete that not every chain has on the disk",
  },
  {
    name: "barrier-ends-unrecorded",
    file: "src/epochs.ts",
    find: "if (Atomics.load(i64, LOG_RECORDED >> 3) >= BigInt(epoch)) return;",
    replace: "if (Atomics.load(i64, LOG_COMPLETE >> 3) >= BigInt(epoch)) return;",
    why: "advanceEpoch resolves before a crash would be told of it",
  },
  {
    name: "epochs-share-a-frame",
    file: "assembly/merge.ts",
    find: "if (<i8>(load<u8>(group, GROUP_EPOCH) - epoch) > 0) {",
    replace: "if (<i8>(load<u8>(group, GROUP_EPOCH) - epoch) > 126) {",
    why: "what was published after a barrier is written as if it had been before",
  },
  {
    name: "acknowledged-time-forgotten",
    file: "assembly/index.ts",
    find: "if (load<u32>(BANK, CTL_TIME_BYTES)) raise_acked(load<i64>(BANK, MERGE_TIME_NS));",
    replace: "",
    why: "what another core acknowledged before an append sorts behind it if the clocks say so",
  },
  {
    name: "time-of-own-core-only",
    file: "assembly/ring.ts",
    find: "for (let c: u32 = 0; c < cores; c++) floor =",
    replace: "for (let c: u32 = cores; c < cores; c++) floor =",
    why: "entries of a new epoch are older than some of the one before",
  },
  {
    name: "epoch-unchecked-at-publication",
    file: "assembly/ring.ts",
    find: "load<i64>(block, STRIPE_EPOCH) != epoch)\n    return",
    replace: "load<i64>(block, STRIPE_EPOCH) > epoch)\n    return",
    why: "an entry has a time of the epoch before the one that it is published in",
  },
  {
    name: "epoch-promised-unrecorded",
    file: "src/flusher.ts",
    find: "// The segment that recovery made in its chain is of an earlier one.\n    if (this.active.isOurs) this.record(epoch);",
    replace: "if (this.active.isOurs) this.promisedEpoch = this.durableEpoch = epoch;",
    why: "a chain that joins after a barrier promises an epoch of which nothing of it is durable",
  },
  {
    name: "crashed-epoch-goes-on",
    file: "src/recover.ts",
    find: "perCore && found.chains.length > 0 ? found.epoch + 1 : found.epoch",
    replace: "found.epoch",
    why: "an epoch in which something was lost could be called complete later",
  },
  {
    name: "crashed-epoch-is-complete",
    file: "src/recover.ts",
    find: "header.term < term || (clean && !header.cutsParent)",
    replace: "header.term < term || !header.cutsParent",
    why: "an epoch that ended with a crash lacks what was lost with it",
  },
  {
    name: "only-first-chain-finished",
    file: "src/recover.ts",
    find: "for (const chain of chains) finishChain(",
    replace: "for (const chain of chains.slice(0, 1)) finishChain(",
    why: "what is valid but unproven in other chains is returned, and never written again",
  },
  {
    name: "retired-chain-not-read",
    file: "src/open-log.ts",
    find: "bank) => bank), ...retired];",
    replace: "bank) => bank)];",
    why: "with fewer cores than before, entries of the others are gone",
  },
  {
    name: "lsn-of-another-chain",
    file: "src/log.ts",
    find: "nextLsn: (bank) => chainOf(found, bank).lastLsn + 1",
    replace: "nextLsn: () => chainOf(found, 0).lastLsn + 1",
    why: "a chain goes on with the LSNs of another one",
  },
  {
    name: "anchor-below-what-was-found",
    file: "src/log.ts",
    find: "anchorNs: nowNs > found.timeNs ? nowNs : found.timeNs + 1n",
    replace: "anchorNs: nowNs",
    why: "with a clock that was set back, entries are older than those of former opens",
  },
  {
    name: "waits-for-own-core-only",
    file: "src/writer.ts",
    find: "if (lsn > durableOf(this.bank, core)) missing",
    replace: "if (core === this.chain && lsn > durableOf(this.bank, core)) missing",
    why: "sync() returns before what threads of other cores appended is durable",
  },
  {
    name: "merge-takes-too-much",
    file: "src/entry.ts",
    find: "if (timeHigh >= limitHigh && (timeHigh > limitHigh || timeLow >= limitLow)) return;",
    replace: "",
    why: "a chain's frame is given out whole, past the next entry of another chain",
  },
  // --- checkpoints --------------------------------------------------------------------------------------
  {
    name: "checkpoint-not-fsynced",
    file: "src/checkpoint-file.ts",
    find: "if (this.file.syncLater === undefined) this.file.sync();",
    replace: "if (this.file.syncLater === undefined) void 0;",
    why: "a checkpoint has its name, and a power loss takes what is in it",
  },
  {
    name: "checkpoint-name-not-durable",
    file: "src/checkpoint-file.ts",
    find: "this.storage.rename(this.path + NEW_SUFFIX, this.path);\n    this.storage.syncDirectory(this.directory);",
    replace: "this.storage.rename(this.path + NEW_SUFFIX, this.path);",
    why: "a checkpoint that was acknowledged is gone after a power loss",
  },
  {
    name: "checkpoint-before-its-end-is-durable",
    file: "src/checkpoints.ts",
    find: "await log.durable(end);",
    replace: "",
    why: "the state holds entries that the log loses",
  },
  {
    name: "cut-before-the-barrier",
    file: "src/upkeep.ts",
    find: `const epoch = await this.owner.advanceEpoch();
      const positions = this.positions();
      const banks = Array.from({ length: banksOf(core) }, (_, bank) => bank).filter((bank) => isClaimed(core, bank));
      for (const bank of banks) positions[bank] = wordAt(core, bank, CTL_EPOCH_LSN);`,
    replace: `const positions = this.positions();
      const epoch = await this.owner.advanceEpoch();
      const banks = Array.from({ length: banksOf(core) }, (_, bank) => bank).filter((bank) => isClaimed(core, bank));`,
    why: "what was appended between the cut and the barrier is before the epoch and behind the place",
  },
  {
    name: "cut-of-another-barrier",
    file: "src/upkeep.ts",
    find: "if (begun && currentEpoch(core) === epoch)",
    replace: "if (begun || currentEpoch(core) >= epoch)",
    why: "places of a later barrier are taken for those of this one",
  },
  {
    name: "replay-one-too-late",
    file: "src/reading.ts",
    find: "places && places[0]! + 1",
    replace: "places && places[0]! + 2",
    why: "the first entry behind a checkpoint is missing",
  },
  {
    name: "replay-one-too-early",
    file: "src/reading.ts",
    find: "places?.map((lsn) => lsn + 1)",
    replace: "places?.map((lsn) => Math.max(1, lsn))",
    why: "the last entry before a checkpoint comes once more",
  },
  {
    name: "prune-removes-the-newest",
    file: "src/checkpoints.ts",
    find: "numbersOf(storage, directory).slice(this.keep);",
    replace: "numbersOf(storage, directory).reverse().slice(this.keep);",
    why: "the checkpoint that was just made goes, the oldest stay",
  },
  {
    name: "damaged-checkpoint-not-passed-over",
    file: "src/checkpoints.ts",
    find: 'if (codeOf(error) === "COREWAL_UNKNOWN_VERSION") throw error;\n      const why',
    replace: "throw error;\n      const why",
    why: "the one before is whole, and is not used",
  },
  {
    name: "damaged-state-not-noticed",
    file: "src/checkpoint-file.ts",
    find: "viewOf(block).getUint32(0, true) !== placedChecksum(facts.salt, offset, block.subarray(4))",
    replace: "viewOf(block).getUint32(0, true) === -1",
    why: "a state with a flipped bit is given out",
  },
  {
    name: "checkpoint-closed-twice",
    file: "src/checkpoint-file.ts",
    find: "if (!this.isOpen) return;",
    replace: "",
    why: "the file's number may be another file's by then, the segment's; found by this simulator",
  },
  {
    name: "checkpoint-outlives-the-log",
    file: "src/open-log.ts",
    find: "    this.upkeep.end();\n    this.parts.guest",
    replace: "    this.parts.guest",
    why: "the next process makes a checkpoint under the name that this one still writes and removes; found by this simulator",
  },
  {
    name: "drop-outlives-the-log",
    file: "src/drop.ts",
    find: "is removing.\n      owner.check();",
    replace: "is removing.",
    why: "files are removed while the next process opens the log; found by this simulator",
  },
  {
    name: "live-reader-doubts-a-checkpoint",
    file: "src/read-only.ts",
    find: "lastLsn: live ? Infinity : lastLsn(),",
    replace: "lastLsn: lastLsn(),",
    why: "what a checkpoint holds is durable before the log says so to others; found by this simulator",
  },
  // --- dropping the beginning -----------------------------------------------------------------------------
  {
    name: "removed-before-the-floor",
    file: "src/drop.ts",
    find: "if (wanted === before && !whole) return last.floor;",
    replace: "if (wanted === before && !whole) return last.floor;\n    this.remove(reader.chain, wanted);",
    why: "a crash in between leaves a chain whose parents are missing",
  },
  {
    name: "floor-name-not-durable",
    file: "src/chain.ts",
    find: "storage.syncDirectory(directory);\n  if (parent",
    replace: "if (header.floor === 0) storage.syncDirectory(directory);\n  if (parent",
    why: "the removal of files may be durable before the segment that says so",
  },
  {
    name: "floor-forgotten-at-open",
    file: "src/flusher.ts",
    find: "this.floor = start.identity.floor;",
    replace: "this.floor = 0;",
    why: "the next open's segments say that the whole beginning is there",
  },
  {
    name: "floor-not-copied-forward",
    file: "src/recover.ts",
    find: "return { ...log, chain, term, epoch, marks, floor, needsCheckpoint,",
    replace: "return { ...log, chain, term, epoch, marks, floor: 0, needsCheckpoint,",
    why: "the segment that recovery makes says that the whole beginning is there",
  },
  {
    name: "leftovers-seen",
    file: "src/recover-chain.ts",
    find: "child.parentNumber !== 0 && child.parentNumber >= floor;",
    replace: "child.parentNumber !== 0 && (child.parentNumber >= floor || numbers.includes(child.parentNumber));",
    why: "what a crash has left of what was dropped comes back",
  },
  {
    name: "drop-ignores-checkpoints",
    file: "src/drop.ts",
    find: "first(chain), ",
    replace: "",
    why: "what has to be replayed behind a checkpoint is gone",
  },
  {
    name: "drop-ignores-readers",
    file: "src/drop.ts",
    find: "reader.heldLsn, ",
    replace: "",
    why: "what a reading under way needs is gone",
  },
  {
    name: "unmade-checkpoint-holds-nothing",
    file: "src/checkpoints.ts",
    find: "if (this.begin !== undefined) begins.push(this.begin);",
    replace: "",
    why: "a checkpoint is made whose replay was dropped meanwhile; found by this simulator",
  },
  {
    name: "unreadable-checkpoint-holds-nothing",
    file: "src/checkpoints.ts",
    find: 'if (passedOver.includes(codeOf(error) ?? "")) return [];',
    replace: "return [];",
    why: "a disk that cannot be read for a moment makes the log forget what its checkpoints need; found by this simulator",
  },
  {
    name: "chain-unknown-to-a-checkpoint",
    file: "src/checkpoints.ts",
    find: "...begins.map((begin) => begin[chain] ?? 0)) + 1;",
    replace: "...begins.map((begin) => begin[chain] ?? Infinity)) + 1;",
    why: "a core that came later is held by no checkpoint, and was dropped whole; found by this simulator",
  },
  {
    name: "need-forgotten",
    file: "src/flusher.ts",
    find: "this.needsCheckpoint = start.identity.needsCheckpoint;",
    replace: "this.needsCheckpoint = false;",
    why: "without any checkpoint the log is shown from where it begins now, as if nothing were missing",
  },
  {
    name: "time-forgotten-with-the-entries",
    file: "src/recover-chain.ts",
    find: "floor > 0 ? header.createdNs : 0n",
    replace: "0n",
    why: "if everything was dropped, a clock that was set back changes the order; found by this simulator",
  },
  {
    name: "lapped-is-called-corrupt",
    file: "src/tail-watch.ts",
    find: 'reader.outdated(segment, this.nextLsn) ??\n        corrupt("the segment is gone',
    replace: 'corrupt("the segment is gone',
    why: "a follower in another process takes for damage what was dropped; found by this simulator",
  },

  // --- cutting the end off ----------------------------------------------------------------------------
  {
    name: "cut-keeps-checkpoints",
    file: "src/cut.ts",
    find: "for (const number of stale) storage.remove(checkpointPath(directory, number));",
    replace: "",
    why: "a state that holds what was cut off is found beside a log that does not",
  },
  {
    name: "cut-drops-what-cannot-be-read",
    file: "src/cut.ts",
    find: 'if (codeOf(error) !== "COREWAL_CORRUPT") throw error;',
    replace: "",
    why: "a checkpoint that cannot be read for a moment is removed, and with it what was dropped; found when this simulator learned to cut",
  },
  {
    name: "cut-needs-no-checkpoint",
    file: "src/open-log.ts",
    find: "needsCheckpoint }, upkeep.bounds()",
    replace: "needsCheckpoint: false }, upkeep.bounds()",
    why: "a log whose beginning is in a checkpoint loses the last one",
  },
  {
    name: "cut-while-a-checkpoint-is-made",
    file: "src/open-log.ts",
    find: "      await upkeep.hold();\n      require();\n",
    replace: "",
    why: "a checkpoint that is finished meanwhile takes the place of the one that survives the cut, and does not survive it; found when this simulator learned to cut",
  },
  {
    name: "cut-not-fsynced",
    file: "src/cut.ts",
    find: "    file.sync();\n    commitSegment",
    replace: "    commitSegment",
    why: "after a power loss the segment that ends the chain is empty",
  },
  {
    name: "cut-forgets-epochs",
    file: "src/cut.ts",
    find: "      marks: mergeMarks(chain.marks, { epoch: chain.epoch, complete, chains: [] }),\n",
    replace: "",
    why: "epochs that were complete no longer are; found when this simulator learned to cut",
  },
  {
    name: "cut-sets-time-back",
    file: "src/cut.ts",
    find: "createdNs: now > before ? now : before,",
    replace: "createdNs: now,",
    why: "of a beginning that was dropped only what is cut off says when it was; found when this simulator learned to cut",
  },
  {
    name: "cut-in-the-wrong-place",
    file: "src/trim.ts",
    find: "if (lsn > lastLsn) return false;",
    replace: "if (lsn > lastLsn + 1) return false;",
    why: "one entry more than was wanted is kept",
  },
  {
    name: "cut-keeps-files",
    file: "src/cut.ts",
    find: "n > parent.header.number && n < number",
    replace: "n > parent.header.number + 1 && n < number",
    why: "a segment that nothing leads to is left behind",
  },

  {
    name: "cut-is-called-corrupt",
    file: "src/read.ts",
    find: "this.lapped(segment) ?? this.cutOff(segment.header, nextLsn)",
    replace: "this.lapped(segment)",
    why: "who follows in another process, and was further, is told of damage",
  },

  {
    name: "cut-excuses-damage",
    file: "src/read.ts",
    find: " && !this.known.some(({ header }) => header.salt === child.salt)",
    replace: "",
    why: "in a log that was once cut damage is called a cut; found by this simulator",
  },
  {
    name: "cut-read-as-one",
    file: "src/read.ts",
    find: "if (header.cutsParent && header.provenLsn < this.durableLsn()) throw this.wasCut(header);",
    replace: "",
    why: "who follows in another process is shown old entries, and behind them new ones with the LSNs that follow",
  },

  // --- the archive ------------------------------------------------------------------------------------
  {
    name: "drop-ignores-the-archive",
    file: "src/drop.ts",
    find: "header.number >= keptFrom || ",
    replace: "",
    why: "what is not archived yet is dropped: it is nowhere",
  },
  {
    name: "archive-not-fsynced",
    file: "src/archive.ts",
    find: "        if (this.stopped) return;\n        await syncLater(file);\n      } finally {",
    replace: "        if (this.stopped) return;\n      } finally {",
    why: "the cursor says that the archive has a segment, which a power loss takes",
  },
  {
    name: "archive-names-not-fsynced",
    file: "src/archive.ts",
    find: "      storage.rename(to + NEW_SUFFIX, to);\n      storage.syncDirectory(directory);",
    replace: "      storage.rename(to + NEW_SUFFIX, to);",
    why: "the cursor says that the archive has a segment, whose name a power loss takes",
  },
  {
    name: "archive-ignores-failures",
    file: "src/archive.ts",
    find: "await owner.archive(sealed);",
    replace: "await owner.archive(sealed).catch(() => {});",
    why: "a function that failed has not archived what it was given",
  },

  // --- restoring --------------------------------------------------------------------------------------
  {
    name: "restore-without-a-marker",
    file: "src/restore.ts",
    find: "    begin(storage, out);\n",
    replace: "",
    why: "what an interrupted restore leaves looks like a log",
  },
  {
    name: "restore-until-a-later-time",
    file: "src/restore-source.ts",
    find: "beyond = source.topology === ",
    replace: "beyond = last > 3 && source.topology === ",
    why: "entries that are newer than the target are restored",
  },
  {
    name: "restore-closes-twice",
    file: "src/restore-write.ts",
    find: "    this.file = undefined;\n    file?.close();",
    replace: "    file?.close();\n    this.file = undefined;",
    why: "a file whose close failed is closed once more, by then another one; found when this simulator learned to restore",
  },
];
