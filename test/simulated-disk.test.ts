// The simulated disk itself: it must lose what POSIX lets it lose, keep what it must keep, and do the same
// again from the same seed. A simulator that is too kind finds nothing.

import { test } from "uvu";
import * as assert from "uvu/assert";
import { writeAll } from "../src/storage.js";
import { Random } from "./support/random.js";
import { PowerLoss, SimulatedDisk, type DiskOptions, type Faults } from "./support/simulated-disk.js";

const DIRECTORY = "/d";
const PATH = "/d/file";
const RUNS = 300;

function make(seed: number, options: Partial<DiskOptions> = {}, faults: Partial<Faults> = {}): SimulatedDisk {
  const disk = new SimulatedDisk(new Random(seed), options);
  disk.makeDirectory(DIRECTORY);
  Object.assign(disk.faults, faults);
  return disk;
}

function contents(disk: SimulatedDisk, path = PATH): Buffer {
  const file = disk.open(path, "read");
  const bytes = Buffer.alloc(file.size());
  file.read(bytes, 0);
  file.close();
  return bytes;
}

/** A file of `bytes` ones whose name and contents are durable. */
function durableFile(disk: SimulatedDisk, bytes: number): void {
  const file = disk.create(PATH);
  writeAll(file, new Uint8Array(bytes).fill(1), 0);
  file.sync();
  file.close();
  disk.syncDirectory(DIRECTORY);
}

const codeOf = (action: () => unknown): string | undefined => {
  try {
    action();
    return undefined;
  } catch (error) {
    return (error as { code?: string }).code;
  }
};

/** How often each outcome came up over many seeds. */
function outcomes(run: (seed: number) => string): Map<string, number> {
  const seen = new Map<string, number>();
  for (let seed = 1; seed <= RUNS; seed++) {
    const outcome = run(seed);
    seen.set(outcome, (seen.get(outcome) ?? 0) + 1);
  }
  return seen;
}

test("what was synced, with its name, is there after every power loss", () => {
  for (let seed = 1; seed <= RUNS; seed++) {
    const disk = make(seed);
    durableFile(disk, 5000);
    disk.reboot();
    assert.equal(contents(disk), Buffer.alloc(5000, 1));
  }
});

test("writes that were not synced are kept, lost, or kept in part, sector by sector", () => {
  for (const sectorBytes of [512, 4096] as const) {
    const seen = outcomes((seed) => {
      const disk = make(seed, { sectorBytes });
      durableFile(disk, 16384);
      const file = disk.open(PATH, "write");
      writeAll(file, new Uint8Array(16384).fill(2), 0);
      disk.reboot();
      const bytes = contents(disk);
      const sectors = new Set<number>();
      for (let at = 0; at < bytes.length; at += sectorBytes) {
        const sector = bytes.subarray(at, at + sectorBytes);
        assert.ok(
          sector.every((byte) => byte === sector[0]),
          "a sector is torn",
        );
        sectors.add(sector[0]!);
      }
      return [...sectors].sort().join();
    });
    assert.equal([...seen.keys()].sort(), ["1", "1,2", "2"]);
  }
});

test("a later write does not survive in a sector that lost an earlier one", () => {
  const seen = outcomes((seed) => {
    const disk = make(seed);
    durableFile(disk, 512);
    const file = disk.open(PATH, "write");
    file.write(new Uint8Array(100).fill(2), 0);
    file.write(new Uint8Array(100).fill(3), 100);
    disk.reboot();
    const bytes = contents(disk);
    return `${bytes[0]},${bytes[100]}`;
  });
  assert.equal([...seen.keys()].sort(), ["1,1", "2,1", "2,3"]);
});

test("the size of a file may stay behind, and what is beyond it never comes back", () => {
  const seen = outcomes((seed) => {
    const disk = make(seed);
    durableFile(disk, 512);
    const file = disk.open(PATH, "write");
    file.write(new Uint8Array(512).fill(2), 512);
    disk.reboot();
    const size = contents(disk).length;
    const again = disk.open(PATH, "write");
    again.truncate(1024);
    return `${size} ${contents(disk)[700]}`;
  });
  assert.equal([...seen.keys()].sort(), ["1024 0", "1024 2", "512 0"]);
});

test("a truncation that is lost takes everything after it along", () => {
  const seen = outcomes((seed) => {
    const disk = make(seed);
    durableFile(disk, 512);
    disk.create(PATH).write(new Uint8Array(100).fill(2), 0);
    disk.reboot();
    const bytes = contents(disk);
    return `${bytes.length} ${bytes[0] ?? "-"}`;
  });
  assert.equal([...seen.keys()].sort(), ["0 -", "100 0", "100 2", "512 1"]);
});

test("fsync of a file does not keep its name, unless the file system says so", () => {
  const run = (fsyncAlso: DiskOptions["fsyncAlso"]) =>
    outcomes((seed) => {
      const disk = make(seed, { fsyncAlso });
      const file = disk.create(PATH);
      file.write(new Uint8Array(10), 0);
      file.sync();
      disk.reboot();
      return disk.list(DIRECTORY).join();
    });
  assert.equal([...run("nothing").keys()].sort(), ["", "file"]);
  assert.equal([...run("own name").keys()], ["file"]);
  assert.equal([...run("all names").keys()], ["file"]);
});

test("a rename is atomic: the old name or the new one, never both, never none", () => {
  for (const orderedNames of [true, false]) {
    const seen = outcomes((seed) => {
      const disk = make(seed, { orderedNames });
      durableFile(disk, 10);
      disk.rename(PATH, "/d/other");
      disk.reboot();
      return disk.list(DIRECTORY).join();
    });
    assert.equal([...seen.keys()].sort(), ["file", "other"]);
  }
});

test("independent names survive in any order without a journal, in their order with one", () => {
  const run = (orderedNames: boolean) =>
    [
      ...outcomes((seed) => {
        const disk = make(seed, { orderedNames });
        disk.create("/d/a");
        disk.create("/d/b");
        disk.reboot();
        return disk.list(DIRECTORY).sort().join();
      }).keys(),
    ].sort();
  assert.equal(run(false), ["", "a", "a,b", "b"]);
  assert.equal(run(true), ["", "a", "a,b"]);
});

test("a removed file is gone only when the directory was synced", () => {
  const seen = outcomes((seed) => {
    const disk = make(seed);
    durableFile(disk, 10);
    disk.remove(PATH);
    if (seed % 2 === 0) disk.syncDirectory(DIRECTORY);
    disk.reboot();
    return `${seed % 2 === 0 ? "synced" : "not synced"} ${disk.list(DIRECTORY).join()}`;
  });
  assert.equal([...seen.keys()].sort(), ["not synced ", "not synced file", "synced "]);
});

test("a failed fsync lies afterwards: the cache shows the new bytes, the next fsync succeeds, the disk has the old", () => {
  let lost = 0;
  for (let seed = 1; seed <= RUNS; seed++) {
    const disk = make(seed);
    durableFile(disk, 512);
    const file = disk.open(PATH, "write");
    file.write(new Uint8Array(512).fill(2), 0);
    disk.faults.syncError = 1;
    assert.is(
      codeOf(() => file.sync()),
      "EIO",
    );
    disk.faults.syncError = 0;
    file.sync();
    assert.is(contents(disk)[0], 2);
    disk.restart();
    assert.is(contents(disk)[0], 2, "another process sees the cache too");
    disk.reboot();
    if (contents(disk)[0] === 1) lost++;
  }
  assert.ok(lost > RUNS / 4 && lost < RUNS, `${lost} of ${RUNS}`);
});

test("a crash at every operation: that one is done or not, everything after it throws", () => {
  const life = (disk: SimulatedDisk): void => {
    const file = disk.create(PATH);
    writeAll(file, new Uint8Array(1000).fill(1), 0);
    file.sync();
    disk.rename(PATH, "/d/other");
    disk.syncDirectory(DIRECTORY);
    file.truncate(10);
    disk.remove("/d/other");
  };
  const counting = make(1);
  life(counting);
  for (let at = 2; at <= counting.operations; at++) {
    const states = outcomes((seed) => {
      const disk = make(seed);
      disk.crashAt = at;
      assert.throws(
        () => life(disk),
        (error: unknown) => error instanceof PowerLoss,
      );
      assert.ok(disk.down);
      assert.throws(
        () => disk.list(DIRECTORY),
        (error: unknown) => error instanceof PowerLoss,
      );
      disk.restart();
      return disk
        .list(DIRECTORY)
        .map((name) => `${name} ${contents(disk, `/d/${name}`).length}`)
        .join();
    });
    assert.ok(states.size >= (at === 4 || at === 6 ? 1 : 2), `operation ${at}: ${[...states.keys()].join(" | ")}`);
  }
});

test("files of a dead process, closed files and files opened for reading refuse", () => {
  const disk = make(1);
  durableFile(disk, 10);
  const file = disk.open(PATH, "write");
  disk.restart();
  assert.is(
    codeOf(() => file.write(new Uint8Array(1), 0)),
    "EBADF",
  );
  const reader = disk.open(PATH, "read");
  assert.is(
    codeOf(() => reader.write(new Uint8Array(1), 0)),
    "EBADF",
  );
  reader.close();
  assert.is(
    codeOf(() => reader.size()),
    "EBADF",
  );
  assert.is(
    codeOf(() => disk.open("/d/none", "read")),
    "ENOENT",
  );
  assert.is(
    codeOf(() => disk.list("/none")),
    "ENOENT",
  );
});

test("short writes, ENOSPC after a part, EIO", () => {
  const short = make(1, {}, { shortWrite: 1 }).create(PATH);
  const count = short.write(new Uint8Array(100), 0);
  assert.ok(count > 0 && count < 100);
  const results = outcomes((seed) => {
    const disk = make(seed);
    const file = disk.create(PATH);
    disk.faults.noSpace = 1;
    return codeOf(() => file.write(new Uint8Array(100), 0)) ?? "a part";
  });
  assert.equal([...results.keys()].sort(), ["ENOSPC", "a part"]);
  assert.is(
    codeOf(() => make(1, {}, { writeError: 1 }).create(PATH).write(new Uint8Array(1), 0)),
    "EIO",
  );
  assert.is(
    codeOf(() => make(1, {}, { nameError: 1 }).create(PATH)),
    "EIO",
  );
});

test("a full disk stays full until there is space, and lets existing bytes be overwritten", () => {
  const disk = make(1);
  const file = disk.create(PATH);
  disk.space = 150;
  assert.is(file.write(new Uint8Array(100), 0), 100);
  assert.is(file.write(new Uint8Array(100), 100), 50);
  assert.is(
    codeOf(() => file.write(new Uint8Array(50), 150)),
    "ENOSPC",
  );
  assert.is(
    codeOf(() => disk.create("/d/more")),
    "ENOSPC",
  );
  assert.is(file.write(new Uint8Array(150).fill(7), 0), 150);
  disk.space = Infinity;
  assert.is(file.write(new Uint8Array(50), 150), 50);
  assert.is(disk.failures, 2);
});

test("a failed fsync of the directory keeps what waits", () => {
  const seen = outcomes((seed) => {
    const disk = make(seed, {}, { directorySyncError: 1 });
    disk.create(PATH);
    assert.is(
      codeOf(() => disk.syncDirectory(DIRECTORY)),
      "EIO",
    );
    assert.equal(disk.list(DIRECTORY), ["file"]);
    disk.faults.directorySyncError = 0;
    if (seed % 2 === 0) disk.syncDirectory(DIRECTORY);
    disk.reboot();
    return `${seed % 2} ${disk.list(DIRECTORY).join()}`;
  });
  assert.equal([...seen.keys()].sort(), ["0 file", "1 ", "1 file"]);
});

test("files survive a power loss in any order: the later write without the earlier one, and the other way round", () => {
  const kinds: string[] = [];
  const seen = outcomes((seed) => {
    const disk = new SimulatedDisk(new Random(seed), { eachFile: seed % 2 === 0 }, (kind) => kinds.push(kind));
    disk.makeDirectory(DIRECTORY);
    const files = ["/d/a", "/d/b"].map((path) => disk.create(path));
    for (const file of files) {
      file.write(new Uint8Array(512).fill(1), 0);
      file.sync();
    }
    disk.syncDirectory(DIRECTORY);
    for (const file of files) file.write(new Uint8Array(512).fill(2), 0);
    disk.reboot();
    return `${contents(disk, "/d/a")[0]}${contents(disk, "/d/b")[0]}`;
  });
  assert.equal([...seen.keys()].sort(), ["11", "12", "21", "22"]);
  assert.is(kinds.filter((kind) => kind === "changes of different files and names kept out of order").length, seen.get("12"));
});

test("each file has a chance of its own: all of a long one, and nothing of another", () => {
  const run = (eachFile: boolean): number =>
    outcomes((seed) => {
      const disk = make(seed, { eachFile });
      const files = ["/d/a", "/d/b"].map((path) => disk.create(path));
      for (const file of files) {
        file.truncate(32768);
        file.sync();
      }
      disk.syncDirectory(DIRECTORY);
      for (const file of files) file.write(new Uint8Array(32768).fill(2), 0);
      disk.reboot();
      return ["/d/a", "/d/b"].map((path) => contents(disk, path).every((byte) => byte === 2)).join();
    }).get("true,false") ?? 0;
  assert.is(run(false), 0);
  assert.ok(run(true) > 10);
});

test("a lost sector may hold noise, what another file held there, or a deleted one", () => {
  const litter = (options: Partial<DiskOptions>): string[] =>
    [
      ...outcomes((seed) => {
        const disk = make(seed, options);
        for (const [name, value] of [
          ["other", 3],
          ["deleted", 4],
        ] as const) {
          const file = disk.create(`/d/${name}`);
          file.write(new Uint8Array(512).fill(value), 0);
          file.sync();
        }
        durableFile(disk, 512);
        disk.remove("/d/deleted");
        disk.syncDirectory(DIRECTORY);
        // Changed again, so that its blocks are at hand.
        disk.open("/d/other", "write").write(new Uint8Array(1), 600);
        disk.open(PATH, "write").write(new Uint8Array(512).fill(2), 0);
        disk.reboot();
        const bytes = contents(disk);
        return bytes.every((byte) => byte === bytes[0]) ? String(bytes[0]) : "noise";
      }).keys(),
    ].sort();
  assert.equal(litter({ garbage: true }), ["1", "2", "3", "4", "noise"]);
  assert.equal(litter({}), ["1", "2"]);
  // The sector held something that was synced.
  assert.equal(litter({ garbageInUnused: true }), ["1", "2"]);
});

test("garbage in what was unused: a new sector may hold it, whether or not the size arrived", () => {
  const seen = outcomes((seed) => {
    const disk = make(seed, { garbageInUnused: true });
    durableFile(disk, 512);
    disk.open(PATH, "write").write(new Uint8Array(512).fill(2), 512);
    disk.reboot();
    const bytes = contents(disk);
    assert.is(bytes[0], 1);
    const added = bytes.subarray(512);
    if (added.length === 0) return "no size";
    return added.every((byte) => byte === added[0]) ? String(added[0]) : "noise";
  });
  // 1: of the file itself, which is another place of the same disk.
  for (const outcome of ["0", "2", "no size", "noise"]) assert.ok(seen.has(outcome), outcome);
});

test("what really happened is told: torn, lost, older contents, size without data, data without size", () => {
  const kinds = new Set<string>();
  for (let seed = 1; seed <= RUNS; seed++) {
    const disk = new SimulatedDisk(new Random(seed), { garbage: seed % 2 === 0 }, (kind) => kinds.add(kind));
    disk.makeDirectory(DIRECTORY);
    durableFile(disk, 512);
    disk.open(PATH, "write").write(new Uint8Array(2048).fill(2), 0);
    disk.create("/d/new");
    disk.rename("/d/new", "/d/renamed");
    disk.restart();
    disk.reboot();
  }
  for (const kind of [
    "write torn",
    "write lost",
    "write lost that had survived a kill",
    "older contents of a sector came back",
    "size kept without data",
    "data kept without size",
    "rename lost",
    "new file lost",
    "sector with noise",
  ])
    assert.ok(kinds.has(kind), kind);
});

test("a process that is killed loses nothing; the power that goes later takes what it had not synced", () => {
  const seen = outcomes((seed) => {
    const disk = make(seed);
    durableFile(disk, 512);
    disk.open(PATH, "write").write(new Uint8Array(512).fill(2), 0);
    disk.restart();
    assert.is(contents(disk)[0], 2);
    disk.reboot();
    return String(contents(disk)[0]);
  });
  assert.equal([...seen.keys()].sort(), ["1", "2"]);
});

test("each call can fail: reading a directory, a size and a file, opening, closing, making a directory", () => {
  const failing = (faults: Partial<Faults>, run: (disk: SimulatedDisk) => unknown): string | undefined => {
    const disk = make(1);
    durableFile(disk, 10);
    Object.assign(disk.faults, faults);
    const code = codeOf(() => run(disk));
    assert.is(disk.failures, code === undefined ? 0 : 1);
    return code;
  };
  assert.is(
    failing({ listError: 1 }, (disk) => disk.list(DIRECTORY)),
    "EIO",
  );
  assert.is(
    failing({ readError: 1 }, (disk) => disk.open(PATH, "read")),
    "EIO",
  );
  assert.is(
    failing({ readError: 1 }, (disk) => disk.open(PATH, "write").size()),
    "EIO",
  );
  assert.is(
    failing({ openError: 1 }, (disk) => disk.open(PATH, "write")),
    "EMFILE",
  );
  assert.is(
    failing({ nameError: 1 }, (disk) => disk.makeDirectory("/e")),
    "EIO",
  );
  assert.is(
    failing({ noSpace: 1 }, (disk) => disk.create("/d/new")),
    "ENOSPC",
  );
  assert.is(
    failing({ closeError: 1 }, (disk) => disk.open(PATH, "read").close()),
    undefined,
  );
  assert.is(
    failing({ closeError: 1 }, (disk) => disk.open(PATH, "write").close()),
    "EIO",
  );
  const disk = make(1, {}, { closeError: 1 });
  const file = disk.create(PATH);
  assert.is(
    codeOf(() => file.close()),
    "EIO",
  );
  assert.is(
    codeOf(() => file.size()),
    "EBADF",
    "it is closed all the same",
  );
});

test("other threads come in before each operation is done, and closing is one at which a crash can come", () => {
  const disk = make(1);
  const seen: string[] = [];
  disk.meanwhile = (operation) => seen.push(operation);
  durableFile(disk, 10);
  assert.equal(seen, ["create", "write", "sync", "close", "sync directory"]);
  const file = disk.open(PATH, "write");
  disk.crashAt = disk.operations + 1;
  assert.throws(
    () => file.close(),
    (error: unknown) => error instanceof PowerLoss,
  );
  // A system closes what a dead process had open.
  const other = make(1);
  const left = other.create(PATH);
  other.restart();
  left.close();
});

test("a copy is the same disk, what waits to be synced included, and has a future of its own", () => {
  const disk = make(1);
  durableFile(disk, 1000);
  disk.open(PATH, "write").write(new Uint8Array(1000).fill(2), 0);
  disk.create("/d/b");
  const copy = (): SimulatedDisk => disk.copy(new Random(2));
  assert.is(copy().fingerprint(), disk.fingerprint());
  const changes: ((disk: SimulatedDisk) => void)[] = [
    (d) => d.open(PATH, "write").write(new Uint8Array(1), 0),
    (d) => d.open(PATH, "write").truncate(10),
    (d) => d.open(PATH, "write").sync(),
    (d) => d.remove("/d/b"),
    (d) => d.syncDirectory(DIRECTORY),
    (d) => d.reboot(),
  ];
  const before = disk.fingerprint();
  const after = changes.map((change) => {
    const other = copy();
    change(other);
    return other.fingerprint();
  });
  assert.is(new Set([before, ...after]).size, changes.length + 1);
  assert.is(disk.fingerprint(), before);
  const ignored = (name: string): boolean => name === "b";
  const written = copy();
  written.open("/d/b", "write").write(new Uint8Array(9), 0);
  assert.is(written.fingerprint(ignored), disk.fingerprint(ignored));
  assert.is.not(written.fingerprint(), before);
});

test("the same seed gives the same disk, another one another", () => {
  const life = (seed: number): string => {
    const disk = make(seed, { garbage: true });
    durableFile(disk, 8192);
    disk.open(PATH, "write").write(new Uint8Array(8192).fill(9), 0);
    disk.reboot();
    return contents(disk).toString("latin1");
  };
  for (let seed = 1; seed <= 20; seed++) assert.is(life(seed), life(seed));
  assert.ok(new Set(Array.from({ length: 20 }, (_, seed) => life(seed))).size > 5);
});

test("chance: seeds next to each other are unrelated, and fractions are even", () => {
  const first = new Set(Array.from({ length: 1000 }, (_, seed) => new Random(seed).bits()));
  assert.is(first.size, 1000);
  const random = new Random(5);
  let sum = 0;
  for (let i = 0; i < 10_000; i++) sum += random.fraction();
  assert.ok(Math.abs(sum / 10_000 - 0.5) < 0.02);
  assert.is.not(new Random(1).bits(), new Random(1 + 2 ** 32).bits());
});

test.run();
