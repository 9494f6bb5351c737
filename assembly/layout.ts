// Numbers that both sides of the seam need. This file is read by two compilers (asc and tsc), so it
// holds only untyped integer constants below 2^31, each chained to the one before it.
//
// Shared memory, one fixed WebAssembly.Memory per open log, divided into banks (bank.ts). Addresses are counted from the
// beginning of a bank, but for those that are said to be the log's: these words are used in the first bank only.
//
//   0        control block        one cache line per word that a different thread writes
//   3072     the log's words      what all banks share: epoch, times, who takes part
//   4096     fault text           the log's: why it is poisoned, u32 length, then UTF-8 JSON
//   8192     CRC32C tables        the log's: 16 tables of 256 u32, filled once by the opener
//   24576    guest's frames       what the opener's thread wrote while the flusher slept
//   32768    stripe blocks        STRIPE_BYTES each
//   …        rings                ringBytes each, one per stripe, on a 64 KiB boundary
//   …        frame buffer         one frame header and body, the flusher's own

// --- control block ------------------------------------------------------------------------------

/** i64, writers add: the next LSN to hand out. */
export const CTL_NEXT_LSN = 64;
/** i64, flusher stores: everything up to here was fsynced. */
export const CTL_DURABLE_LSN = 128;
/** i32, flusher bumps and notifies: something that a waiter waits for has changed. */
export const CTL_WAKE = CTL_DURABLE_LSN + 8;
/** i32, the log's: LOG_* below. */
export const CTL_STATE = CTL_WAKE + 4;
/**
 * i32, flusher stores, writers compare-exchange to SLEEP_AWAKE and notify: the doorbell. Of all banks that one thread
 * pumps, only the first one's is used: CTL_DOORBELL says where it is.
 */
export const CTL_SLEEP = 192;
/** i32, the log's, opener stores: how far the log should go down, COMMAND_* below. */
export const CTL_COMMAND = CTL_SLEEP + 4;
/** i32, written once: how many stripes there are. */
export const CTL_STRIPES = 256;
/** i32, written once: bytes of one ring, a power of two. */
export const CTL_RING_BYTES = CTL_STRIPES + 4;
/** i32, written once: address of ring 0. */
export const CTL_RINGS = CTL_RING_BYTES + 4;
/** i32, written once: CRC32C register after log id and term, where each entry's checksum starts. */
export const CTL_ENTRY_SEED = CTL_RINGS + 4;
/** i32, claimers raise: stripes above this were never claimed, so the flusher need not look at them. */
export const CTL_STRIPE_HIGH = CTL_ENTRY_SEED + 4;
/** i32, written once: address of the doorbell, counted from the beginning of the memory. */
export const CTL_DOORBELL = CTL_STRIPE_HIGH + 4;
/** i32, written once: number of this bank's core; 0 in a striped log. */
export const CTL_CORE = CTL_DOORBELL + 4;
/** i32, written once: TIME_BYTES in a per-core log, else 0. */
export const CTL_TIME_BYTES = CTL_CORE + 4;
/** i64, flusher stores: the chain is in this epoch, and everything before it is durable. */
export const CTL_EPOCH_DONE = CTL_TIME_BYTES + 4;
/** i64, any thread raises: one of another core waits for this LSN to be durable. */
export const CTL_DEMAND = CTL_EPOCH_DONE + 8;
/** i64, flusher stores before CTL_EPOCH_DONE: the last LSN before that epoch. */
export const CTL_EPOCH_LSN = CTL_DEMAND + 8;

/** i64, flusher's own: the next LSN to take out of the rings. */
export const MERGE_NEXT_LSN = 320;
/** i64, flusher's own, result of merge_fill: first LSN of the frame. */
export const MERGE_FIRST_LSN = MERGE_NEXT_LSN + 8;
/** i32, result of merge_fill: entries in the frame, control entries included. */
export const MERGE_ENTRIES = MERGE_FIRST_LSN + 8;
/** i32, result of merge_fill: CRC32C of all entry headers in order. */
export const MERGE_HEADERS_CRC = MERGE_ENTRIES + 4;
/** i32, result of merge_fill: a stripe was between taking an LSN and publishing it. */
export const MERGE_PENDING = MERGE_HEADERS_CRC + 4;
/** i32, result of merge_fill: the frame is full, more is waiting. */
export const MERGE_MORE = MERGE_PENDING + 4;
/** i64, result of merge_fill: LSNs that became holes in this frame. */
export const MERGE_VOID_LSNS = MERGE_MORE + 4;
/** i64, result of merge_fill: payload bytes of user entries in this frame. */
export const MERGE_PAYLOAD_BYTES = MERGE_VOID_LSNS + 8;

/** i64, flusher's own: the epoch of the frames that it writes. */
export const MERGE_EPOCH = MERGE_PAYLOAD_BYTES + 8;
/** i64, flusher's own: time of the newest entry that was taken out of the rings; of a per-core log only. */
export const MERGE_TIME_NS = MERGE_EPOCH + 8;
/** i32, result of merge_fill: it stopped before an entry of a later epoch. */
export const MERGE_AHEAD = MERGE_TIME_NS + 8;

// The beginning of the chain is to be dropped: the opener's thread asks, one request at a time, and waits.
/** i64, opener stores before it asks: number of the first segment that has to stay. */
export const DROP_FLOOR = 448;
/** i64, opener stores before it asks: if even the last segment has nothing from this LSN on, it goes, too. */
export const DROP_LSN = DROP_FLOOR + 8;
/** i32, opener stores before it asks: 1 if a checkpoint holds what goes. */
export const DROP_NEEDS = DROP_LSN + 8;
/** i32, opener bumps: a request. */
export const DROP_ASKED = DROP_NEEDS + 4;
/** i32, flusher stores: the last request that was carried out. */
export const DROP_DONE = DROP_ASKED + 4;
/** i64, flusher stores before that: the floor in the header of the last segment. */
export const DROP_RESULT = DROP_DONE + 8;

/** f64 counters of the flusher, read by stats(). */
export const STAT_FRAMES = 512;
export const STAT_FSYNCS = STAT_FRAMES + 8;
export const STAT_ENTRIES = STAT_FSYNCS + 8;
export const STAT_PAYLOAD_BYTES = STAT_ENTRIES + 8;
export const STAT_WRITTEN_BYTES = STAT_PAYLOAD_BYTES + 8;
export const STAT_VOID_LSNS = STAT_WRITTEN_BYTES + 8;
export const STAT_REVOKED = STAT_VOID_LSNS + 8;
export const STAT_SEGMENTS = STAT_REVOKED + 8;
export const STAT_SEGMENT_NUMBER = STAT_SEGMENTS + 8;
export const STAT_SEGMENT_OFFSET = STAT_SEGMENT_NUMBER + 8;
export const STAT_FSYNC_MS_TOTAL = STAT_SEGMENT_OFFSET + 8;
export const STAT_FSYNC_MS_MAX = STAT_FSYNC_MS_TOTAL + 8;
export const STAT_FSYNC_MS_LAST = STAT_FSYNC_MS_MAX + 8;
/** i32 each, histogram of fsync times: bucket b counts those of up to 2^(b/3) microseconds. */
export const STAT_FSYNC_BUCKETS = 640;
export const STAT_FSYNC_BUCKET_COUNT = 80;

/** Scratch of whoever owns the memory's frame buffer: salt and offset for a frame's checksum. */
export const CTL_SCRATCH = 1024;
export const CTL_SCRATCH_BYTES = 64;

// The opener's thread may flush for itself while the flusher sleeps (src/guest.ts). Whoever changes
// GUEST_STATE from an open one has the role; everything below belongs to him until he gives it back.
/** i32: GUEST_* below. */
export const GUEST_STATE = CTL_SCRATCH + CTL_SCRATCH_BYTES;
/** i32: frames that the guest wrote since the flusher lay down. */
export const GUEST_FRAMES = GUEST_STATE + 4;
/** f64: where the next frame begins. */
export const GUEST_OFFSET = GUEST_FRAMES + 4;
/** f64: where the bytes end that were filled with zeros. */
export const GUEST_LIMIT = GUEST_OFFSET + 8;
/** f64: number of the active segment. */
export const GUEST_SEGMENT = GUEST_LIMIT + 8;
/** u64: its salt. */
export const GUEST_SALT = GUEST_SEGMENT + 8;
/** i64: time of the newest frame. */
export const GUEST_TIME_NS = GUEST_SALT + 8;

/** Flusher's own: a snapshot of each stripe's tail, i32 each. */
export const CTL_SNAPSHOT = 2048;

// What all banks share: the log's words.
/** i64, whoever advances it compare-exchanges: the epoch that writers stamp. */
export const LOG_EPOCH = 3072;
/** i64, whoever finds a barrier complete raises: epochs below it are complete. */
export const LOG_COMPLETE = LOG_EPOCH + 8;
/** i64, the first bank's flusher stores: the barrier before this epoch was recorded as complete. */
export const LOG_RECORDED = LOG_COMPLETE + 8;
/** i32, flushers bump and notify: a barrier has come further. */
export const LOG_BARRIER_WAKE = LOG_RECORDED + 8;
/** i64, flushers raise: time of the newest entry that is durable, of any core. */
export const LOG_ACKED_NS = 3136;
/** i64, written once: the log's time when it was opened; above every time in the log. */
export const LOG_ANCHOR_NS = 3200;
/** i32, written once: how many banks there are. */
export const LOG_BANKS = LOG_ANCHOR_NS + 8;
/** i32, written once: bytes of a bank. */
export const LOG_BANK_BYTES = LOG_BANKS + 4;
/** i32, written once: how many threads pump. */
export const LOG_PUMPS = LOG_BANK_BYTES + 4;
/** i32, claimers raise: banks from here on were never claimed. */
export const LOG_CORES = 3264;
/** i32: how many of the threads that pump have closed their chains. */
export const LOG_CLOSED_PUMPS = LOG_CORES + 4;
/** i32: how many of them have drained their rings, at the log's end. */
export const LOG_DRAINED_PUMPS = LOG_CLOSED_PUMPS + 4;
/** i32, flushers add: how many chains have come into being since the log was opened. */
export const LOG_CHAINS_ADDED = LOG_DRAINED_PUMPS + 4;
/** i32, flushers set: a chain is to be made, and the first one, which has to name it, is not there yet. */
export const LOG_FIRST_WANTED = LOG_CHAINS_ADDED + 4;
/** 32 bytes, one bit for each chain that has a segment; flushers set. */
export const LOG_CHAINS = LOG_FIRST_WANTED + 4;

export const FAULT_TEXT = 4096;
export const FAULT_TEXT_BYTES = 4096;

export const CRC_TABLES = FAULT_TEXT + FAULT_TEXT_BYTES;
export const CRC_TABLES_BYTES = 16384;

/** What each of the guest's frames holds, for the footer: f64 offset, end, first LSN, LSNs, payload bytes, void LSNs; i64 time. */
export const GUEST_LIST = CRC_TABLES + CRC_TABLES_BYTES;
export const GUEST_LIST_ENTRY_BYTES = 56;
export const GUEST_FRAMES_MAX = 146;
export const GUEST_LIST_BYTES = 8192;

// --- stripes ------------------------------------------------------------------------------------

export const STRIPES_MAX = 256;
export const STRIPE_BLOCKS = GUEST_LIST + GUEST_LIST_BYTES;
export const STRIPE_BYTES = 256;

/** i64: generation (31 bits) | pending (1 bit) | tail (32 bits, a byte count that wraps). */
export const STRIPE_STATE = 0;
/** i64, owner stores: time of its newest entry; of a per-core log only. */
export const STRIPE_TIME = 8;
/** i64, owner's own: the epoch in which it took that time. */
export const STRIPE_EPOCH = 16;
/** i32, flusher stores: bytes taken out of the ring, wraps like the tail. */
export const STRIPE_HEAD = 64;
/** i32, owner sets before it waits for space, flusher clears before it moves the head and notifies on STRIPE_HEAD. */
export const STRIPE_SPACE_WANTED = 128;
/** i32: 0 free, otherwise the owner's thread id + 1. */
export const STRIPE_OWNER = STRIPE_SPACE_WANTED + 4;
/** i64, owner stores: it waits for this LSN to be durable, a group delay is fine. */
export const STRIPE_DEMAND_GROUP = STRIPE_OWNER + 4;
/** i64, owner stores: it waits for this LSN to be durable, without delay. */
export const STRIPE_DEMAND_SYNC = STRIPE_DEMAND_GROUP + 8;

/** First address that a memory without stripes (a reader's) may use for its window. */
export const WINDOW = 65536;

// --- a group in a ring: what one publication makes visible ------------------------------------

/** i64: LSN of the first entry. */
export const GROUP_LSN = 0;
/** u32: bytes of the entries that follow, a multiple of 8. */
export const GROUP_BODY_BYTES = 8;
/** u24: entries, each takes one LSN; 0 marks unused space up to the end of the ring. */
export const GROUP_ENTRIES = 12;
/** u8: the low byte of the epoch when it was published. */
export const GROUP_EPOCH = 15;
export const GROUP_HEADER_BYTES = 16;

// --- states -------------------------------------------------------------------------------------

export const LOG_OPEN = 1;
export const LOG_CLOSING = 2;
export const LOG_CLOSED = 3;
export const LOG_POISONED = 4;

export const SLEEP_AWAKE = 0;
/** Nothing is in the rings: any publication wakes the flusher. */
export const SLEEP_IDLE = 1;
/** Something is in the rings that nobody waits for: only a demand or a half-full ring wakes it. */
export const SLEEP_TIMED = 2;

export const COMMAND_RUN = 0;
export const COMMAND_CLOSE = 1;

/** The flusher is awake, or there is nothing to write on. */
export const GUEST_SHUT = 0;
/** The flusher sleeps and will wake by itself within milliseconds. */
export const GUEST_OPEN = 1;
/** The flusher sleeps until it is woken: somebody must, so that it proves what the guest wrote. */
export const GUEST_OPEN_ASLEEP = 2;
/** The guest is at work. */
export const GUEST_BUSY = 3;

/** Results of ring_reserve and ring_publish that are not an address or an LSN. */
export const RING_FULL = 0;
export const RING_REVOKED = -1;
export const RING_NOT_OPEN = -2;
export const RING_EXHAUSTED = -3;
/** ring_publish: another epoch began since the entries got their time. Nothing was written: reserve again. */
export const RING_EPOCH = -5;
/** ring_claim found no free stripe. */
export const RING_NO_STRIPE = -4;

/** Doorbell mode of ring_publish. */
export const BELL_NONE = 0;
export const BELL_LAZY = 1;

// --- on disk (see FORMAT.md, which is normative) -----------------------------------------------

/** u32 checksum | u32 payload bytes | u32 key bytes | u8 kind | u8 stripe | u16 zero. */
export const ENTRY_CRC = 0;
export const ENTRY_PAYLOAD_BYTES = 4;
export const ENTRY_KEY_BYTES = 8;
export const ENTRY_KIND = 12;
export const ENTRY_STRIPE = 13;
export const ENTRY_RESERVED = 14;
export const ENTRY_HEADER_BYTES = 16;

export const KIND_DATA = 1;
export const KIND_PUT = 2;
export const KIND_DELETE = 3;
export const KIND_COMMIT = 4;
/** Control: a u64, how many LSNs starting at its own were taken and never published. */
export const KIND_VOID = 16;
/** Written by a repair: entries that are gone. Takes no LSN; the void behind it does. */
export const KIND_LOST = 17;
/** Control: a new epoch begins, or a chain is new (src/marks.ts). Takes no LSN. */
export const KIND_EPOCH = 18;

/** i64, first in the payload of a user's entry in a per-core log, and counted in its payload bytes: its time. */
export const TIME_BYTES = 8;

export const FRAME_MAGIC = 0x46574c43; // "CLWF" read as little-endian u32
export const FRAME_CRC = 4;
export const FRAME_BYTES = 8;
/** u24. */
export const FRAME_ENTRIES = 12;
/** u8: the low byte of the highest epoch that was durable when the frame was written. */
export const FRAME_DURABLE_EPOCH = 15;
export const FRAME_FIRST_LSN = 16;
export const FRAME_DURABLE_LSN = 24;
export const FRAME_TERM = 32;
export const FRAME_EPOCH = 40;
export const FRAME_TIME_NS = 48;
export const FRAME_HEADERS_CRC = 56;
export const FRAME_LSNS = 60;
export const FRAME_HEADER_BYTES = 64;

/** Results of frame_verify. */
export const FRAME_OK = 0;
export const FRAME_BAD_LAYOUT = 1;
export const FRAME_BAD_HEADERS = 2;
export const FRAME_BAD_ENTRY = 3;
export const FRAME_BAD_LSNS = 4;
