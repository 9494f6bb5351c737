// Short histories of a log. What comes before is lived once; in the last life the power may go at each operation.

import type { Life, Machine, Settings } from "./machine.js";

export interface History {
  name: string;
  settings: Settings;
  /** Former processes, how each of them ended, and what they had other than the last one. */
  before: { life: Life; end: "exit" | "power"; settings?: Settings }[];
  life: Life;
}

const WEAK: Settings = { sectorBytes: 512, garbage: false, frameAlign: 64, guest: false };
/** Sectors that were being written may hold anything, so frames share none. */
const GARBAGE: Settings = { ...WEAK, garbage: true, frameAlign: 512 };
const ARCHIVED: Settings = { ...WEAK, archive: true };
/** A log of two chains. */
const CORES: Settings = { ...WEAK, cores: 2 };
/** An entry and its frame's header in less than a sector … */
const SMALL = 48;
/** … in two or three … */
const MIDDLE = 700;
/** … and the largest that there can be. */
const LARGE = 1900;

/** Appends, and has an answer. */
async function durably(m: Machine, ...sizes: number[]): Promise<void> {
  await m.append(...sizes);
  await m.flush();
}

/** Opens, appends two, one after the other, and leaves the log as it is. */
async function two(m: Machine): Promise<void> {
  await m.start();
  await durably(m, SMALL);
  await durably(m, MIDDLE);
}

async function closed(m: Machine): Promise<void> {
  await two(m);
  await m.close();
}

/** Opens, and does what is due. */
export const recover: Life = async (m) => {
  await m.start();
  await m.due();
};

/** Each core appends, in a frame of its own. */
async function each(m: Machine): Promise<void> {
  await m.each(() => m.append(SMALL));
  await m.flush();
}

/** What any process may do that finds something: recovers, begins segments, appends. */
export async function comeBack(m: Machine): Promise<void> {
  await m.start();
  await each(m);
}

async function comeBackAndClose(m: Machine): Promise<void> {
  await comeBack(m);
  await m.close();
}

/** Both cores append in two epochs, and leave what no promise covers. */
async function twoEpochs(m: Machine): Promise<void> {
  await m.start();
  await each(m);
  await m.advance();
  await each(m);
}

async function twoEpochsClosed(m: Machine): Promise<void> {
  await twoEpochs(m);
  await m.close();
}

/** Fills one segment, and begins another. */
async function twoSegments(m: Machine): Promise<void> {
  await m.start();
  for (let n = 0; n < 9; n++) await durably(m, LARGE);
}

export const HISTORIES: History[] = [
  {
    name: "first open",
    settings: WEAK,
    before: [],
    life: async (m) => {
      await two(m);
      await m.idle();
      await m.close();
    },
  },
  {
    name: "open and close",
    settings: WEAK,
    before: [{ life: closed, end: "exit" }],
    life: async (m) => {
      await m.start();
      await m.close();
    },
  },
  {
    name: "archived",
    settings: ARCHIVED,
    before: [{ life: twoSegments, end: "exit" }],
    life: async (m) => {
      await comeBack(m);
      m.mark();
      await m.archive();
      await m.drop(10);
      await durably(m, SMALL);
      await m.archive();
    },
  },
  {
    name: "groups",
    settings: WEAK,
    before: [],
    life: async (m) => {
      await m.start();
      await durably(m, SMALL);
      m.mark();
      await durably(m, SMALL, MIDDLE);
      await m.write(SMALL);
      await m.appendBatch(MIDDLE, SMALL, MIDDLE);
      await m.flush();
    },
  },
  {
    name: "proofs",
    settings: WEAK,
    before: [],
    life: async (m) => {
      await m.start();
      await durably(m, SMALL);
      m.mark();
      await m.idle();
      await durably(m, MIDDLE);
      await m.idle();
      await m.close();
    },
  },
  {
    name: "guest",
    settings: { ...WEAK, guest: true },
    before: [],
    life: async (m) => {
      await m.start();
      await durably(m, SMALL);
      m.mark();
      await m.appendSync(SMALL);
      await m.appendSync(MIDDLE);
      await durably(m, SMALL);
    },
  },
  {
    name: "rotation",
    settings: WEAK,
    before: [],
    life: async (m) => {
      await m.start();
      for (let n = 0; n < 8; n++) {
        await durably(m, LARGE);
      }
      m.mark();
      await durably(m, MIDDLE);
      await durably(m, SMALL);
    },
  },
  {
    name: "closed before",
    settings: WEAK,
    before: [{ life: closed, end: "exit" }],
    life: comeBackAndClose,
  },
  {
    name: "killed before",
    settings: WEAK,
    before: [{ life: two, end: "exit" }],
    life: async (m) => {
      await comeBack(m);
      await m.idle();
      await m.close();
    },
  },
  {
    name: "power lost before",
    settings: WEAK,
    before: [{ life: two, end: "power" }],
    life: comeBackAndClose,
  },
  {
    name: "fsync failed before",
    settings: WEAK,
    before: [
      {
        life: async (m) => {
          await two(m);
          m.disk.faults.syncError = 1;
          await durably(m, MIDDLE);
        },
        end: "exit",
      },
    ],
    life: comeBackAndClose,
  },
  {
    name: "garbage",
    settings: GARBAGE,
    before: [{ life: two, end: "exit" }],
    life: async (m) => {
      await comeBack(m);
      await durably(m, MIDDLE);
    },
  },
  {
    name: "large sectors",
    settings: { ...WEAK, sectorBytes: 4096 },
    before: [{ life: two, end: "exit" }],
    life: async (m) => {
      await comeBack(m);
      await durably(m, LARGE, LARGE);
      await m.close();
    },
  },
  {
    name: "checkpoints",
    settings: WEAK,
    before: [{ life: two, end: "exit" }],
    life: async (m) => {
      await m.start();
      await m.checkpoint();
      await durably(m, SMALL);
      // The one before goes.
      await m.checkpoint();
      await durably(m, SMALL);
    },
  },
  {
    name: "beginning dropped",
    settings: WEAK,
    before: [{ life: twoSegments, end: "exit" }],
    life: async (m) => {
      await m.start();
      await durably(m, SMALL);
      m.mark();
      await m.drop(9);
      await durably(m, SMALL);
    },
  },
  {
    name: "all dropped, after a checkpoint",
    settings: WEAK,
    before: [],
    life: async (m) => {
      await twoSegments(m);
      m.mark();
      await m.checkpoint();
      await m.drop(100);
      await durably(m, SMALL);
      await m.close();
    },
  },
  {
    name: "recycled",
    settings: { ...WEAK, spares: 1 },
    before: [],
    life: async (m) => {
      await twoSegments(m);
      m.mark();
      await m.drop(9);
      await durably(m, SMALL);
    },
  },
  {
    name: "spare taken",
    settings: { ...WEAK, spares: 1 },
    before: [],
    life: async (m) => {
      await twoSegments(m);
      await m.drop(9);
      for (let n = 0; n < 7; n++) await durably(m, LARGE);
      m.mark();
      await durably(m, LARGE);
      await durably(m, SMALL);
    },
  },
  {
    name: "recycled before",
    settings: { ...WEAK, spares: 1 },
    before: [
      {
        life: async (m) => {
          await twoSegments(m);
          await m.drop(9);
        },
        end: "power",
      },
    ],
    life: comeBackAndClose,
  },
  {
    name: "cores, dropped",
    settings: CORES,
    before: [],
    life: async (m) => {
      await m.start();
      await each(m);
      await m.on(1);
      for (let n = 0; n < 8; n++) await durably(m, LARGE);
      m.mark();
      await m.checkpoint();
      await m.drop(6);
      await each(m);
    },
  },
  {
    name: "cut through a batch",
    settings: WEAK,
    before: [],
    life: async (m) => {
      await m.start();
      await durably(m, SMALL);
      await m.appendBatch(SMALL, MIDDLE, SMALL);
      await durably(m, SMALL);
      m.mark();
      await m.cut(2);
      await durably(m, SMALL);
    },
  },
  {
    name: "cut into an older segment",
    settings: WEAK,
    before: [
      { life: closed, end: "exit" },
      { life: closed, end: "exit" },
    ],
    life: async (m) => {
      await two(m);
      m.mark();
      await m.cut(1);
      await durably(m, MIDDLE);
      await m.close();
    },
  },
  {
    name: "cut before a checkpoint",
    settings: WEAK,
    before: [],
    life: async (m) => {
      await two(m);
      // One behind the cut: the entry that comes next has its place.
      await m.checkpoint();
      m.mark();
      await m.cut(1);
      await durably(m, SMALL);
    },
  },
  {
    name: "cores, one cut",
    settings: CORES,
    before: [],
    life: async (m) => {
      await twoEpochs(m);
      await m.on(1);
      await m.appendBatch(SMALL, SMALL);
      await m.flush();
      m.mark();
      await m.cut(3);
      await m.on(1);
      await durably(m, SMALL);
    },
  },
  {
    name: "cores, all cut",
    settings: CORES,
    before: [],
    life: async (m) => {
      await twoEpochs(m);
      m.mark();
      await m.cut([1, 1]);
      await m.close();
    },
  },
  {
    name: "restored into a batch",
    settings: WEAK,
    before: [],
    life: async (m) => {
      await m.start();
      await durably(m, SMALL);
      await m.appendBatch(SMALL, MIDDLE, SMALL);
      await m.flush();
      await m.idle();
      m.mark();
      await m.restore(2);
      await durably(m, SMALL);
    },
  },
  {
    name: "restored behind a checkpoint",
    settings: WEAK,
    before: [
      {
        life: async (m) => {
          await twoSegments(m);
          await m.checkpoint();
          await durably(m, SMALL, SMALL);
          await m.drop(10);
          await m.close();
        },
        end: "exit",
      },
    ],
    life: async (m) => {
      await m.start();
      await m.close();
      m.mark();
      await m.restore(10);
    },
  },
  {
    name: "restored over another",
    settings: WEAK,
    before: [
      {
        life: async (m) => {
          await twoSegments(m);
          await m.close();
          await m.restoreHalf(9);
        },
        end: "exit",
      },
    ],
    life: async (m) => {
      await m.start();
      await m.close();
      m.mark();
      await m.restore(2);
    },
  },
  {
    name: "cores, restored",
    settings: CORES,
    before: [{ life: twoEpochsClosed, end: "exit" }],
    life: async (m) => {
      // By a process that does not open the log itself.
      await m.restore([2, 0]);
    },
  },
  {
    name: "archived, then cut",
    settings: ARCHIVED,
    before: [{ life: closed, end: "exit" }],
    life: async (m) => {
      await m.start();
      await durably(m, SMALL);
      await m.archive();
      m.mark();
      await m.cut(1);
      await durably(m, SMALL);
    },
  },
  {
    name: "cores, first open",
    settings: CORES,
    before: [],
    life: async (m) => {
      await m.start();
      await m.each(() => m.append(SMALL));
      await m.advance();
      await m.each(() => m.append(SMALL));
      await m.flush();
    },
  },
  {
    name: "cores killed before",
    settings: CORES,
    before: [{ life: twoEpochs, end: "exit" }],
    life: comeBack,
  },
  {
    name: "cores killed twice before",
    settings: CORES,
    before: [
      { life: twoEpochs, end: "exit" },
      { life: recover, end: "exit" },
    ],
    life: async (m) => {
      await m.start();
      await m.advance();
      await each(m);
    },
  },
  {
    name: "cores, proofs",
    settings: CORES,
    before: [],
    life: async (m) => {
      await m.start();
      await each(m);
      m.mark();
      await m.idle();
      await m.advance();
      await m.idle();
      await each(m);
    },
  },
  {
    name: "cores, rotation",
    settings: CORES,
    before: [],
    life: async (m) => {
      await m.start();
      await m.on(1);
      for (let n = 0; n < 8; n++) await durably(m, LARGE);
      await m.advance();
      m.mark();
      await durably(m, MIDDLE);
      await each(m);
    },
  },
  {
    name: "cores closed",
    settings: CORES,
    before: [{ life: twoEpochsClosed, end: "exit" }],
    life: async (m) => {
      await m.start();
      await durably(m, SMALL);
      m.mark();
      // Of the other core there is nothing in this epoch but what the close finds.
      await m.on(1);
      await m.write(SMALL);
      await m.close();
    },
  },
  {
    name: "second core only",
    settings: CORES,
    before: [{ life: twoEpochsClosed, end: "exit" }],
    life: async (m) => {
      await m.start();
      await m.on(1);
      await durably(m, SMALL);
    },
  },
  {
    name: "core left behind",
    settings: CORES,
    before: [{ life: twoEpochs, end: "exit" }],
    life: async (m) => {
      await m.start();
      m.mark();
      await durably(m, SMALL);
      await m.advance();
      await m.close();
    },
  },
  {
    name: "fewer cores",
    settings: { ...CORES, cores: 1 },
    before: [{ life: twoEpochs, end: "exit", settings: CORES }],
    life: comeBackAndClose,
  },
  {
    name: "core joins",
    settings: CORES,
    before: [{ life: twoEpochs, end: "power" }],
    life: async (m) => {
      await m.start();
      await durably(m, SMALL);
      m.mark();
      await m.advance();
      await m.on(1);
      await durably(m, SMALL);
      await m.idle();
    },
  },
];
