// Fuzzes the module's parsers, translated from WebAssembly to C (scripts/fuzz.mjs builds it). An input is a case:
//
//   0           8          12            16     20     24
//   | first LSN | entries  | headers crc | LSNs | word | the body of a frame …
//
// The word is what frame_find looks for; with its bit 3 set, user entries begin with a time of 8 bytes.
//
// Each case goes through frame_verify, entry_verify, frame_find and crc32c_update. They may read the body and the
// checksum tables, nothing else: all other linear memory is poisoned. What they answer is compared with a model that
// was written from FORMAT.md. Most bytes that chance makes would end at the checksums; the mutator makes these right.

#include <sanitizer/asan_interface.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "parsers.h"

enum { HEAD = 24, BODY_MAX = 4096, TABLES = 8192, TABLES_END = TABLES + 16384, WINDOW = 65536, STEP = 8 };
// assembly/layout.ts
enum { OK = 0, BAD_LAYOUT = 1, BAD_HEADERS = 2, BAD_ENTRY = 3, BAD_LSNS = 4, KIND_VOID = 16 };

static Z_parsers_instance_t module;
static u8 *memory;

void parser_trapped(int code) {
  fprintf(stderr, "the module trapped: %d\n", code);
  abort();
}

static void require(int holds, const char *what, long got, long expected) {
  if (holds) return;
  fprintf(stderr, "%s: the module says %ld, the model %ld\n", what, got, expected);
  abort();
}

static u32 word(const u8 *at) {
  u32 value;
  memcpy(&value, at, 4);
  return value;
}

static u64 longword(const u8 *at) {
  u64 value;
  memcpy(&value, at, 8);
  return value;
}

/** From 1 on, and far from where a double is no longer exact. */
static u64 first_lsn(const u8 *data) {
  u64 lsn = longword(data) & ((1ull << 52) - 1);
  return lsn ? lsn : 1;
}

// --- the model -------------------------------------------------------------------------------------------

static u32 table[256];
/** The register after log id and term, all zero: where an entry's checksum starts. */
static u32 seed;

static u32 crc(u32 reg, const u8 *at, size_t bytes) {
  while (bytes--) reg = table[(reg ^ *at++) & 255] ^ reg >> 8;
  return reg;
}

static u32 entry_crc(const u8 *entry, u64 lsn) {
  return ~crc(crc(seed, entry + 4, 12 + (size_t)word(entry + 4)), (const u8 *)&lsn, 8);
}

/** Rule 5 for one entry: its bytes, or 0. */
static size_t entry_size(const u8 *at, size_t left) {
  if (left < 16) return 0;
  size_t payload = word(at + 4), size = 16 + (payload + 7) / 8 * 8;
  return size > left || word(at + 8) > payload || at[14] || at[15] ? 0 : size;
}

/** Rules 7 to 9 for one entry. */
static int entry_fault(const u8 *at, u64 lsn, u32 lsns) {
  size_t payload = word(at + 4);
  if (entry_crc(at, lsn) != word(at)) return BAD_ENTRY;
  for (size_t i = payload; i % 8; i++)
    if (at[16 + i]) return BAD_LAYOUT;
  if (at[12] == 0 || (at[12] == KIND_VOID && payload != 8)) return BAD_LAYOUT;
  if (at[12] == KIND_VOID && (longword(at + 16) < 1 || longword(at + 16) > lsns)) return BAD_LSNS;
  return OK;
}

static u64 lsns_of(const u8 *at) {
  return at[12] == KIND_VOID ? longword(at + 16) : at[12] < KIND_VOID;
}

static int frame_fault(const u8 *body, size_t bytes, u32 entries, u32 headers_crc, u64 first, u32 lsns, u32 time) {
  size_t at = 0;
  u32 reg = ~0u;
  for (u32 i = 0; i < entries; i++) {
    size_t size = entry_size(body + at, bytes - at);
    if (size == 0) return BAD_LAYOUT;
    reg = crc(reg, body + at, 16);
    at += size;
  }
  if (at != bytes) return BAD_LAYOUT;
  if (~reg != headers_crc) return BAD_HEADERS;
  u64 lsn = first;
  for (at = 0; at < bytes; at += entry_size(body + at, bytes - at)) {
    int fault = entry_fault(body + at, lsn, lsns);
    if (fault) return fault;
    if (body[at + 12] < KIND_VOID && word(body + at + 4) - word(body + at + 8) < time) return BAD_LAYOUT;
    lsn += lsns_of(body + at);
  }
  return lsn - first == lsns ? OK : BAD_LSNS;
}

// --- cases -----------------------------------------------------------------------------------------------

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc, (void)argv;
  for (u32 i = 0; i < 256; i++) {
    u32 c = i;
    for (int bit = 0; bit < 8; bit++) c = c & 1 ? c >> 1 ^ 0x82f63b78 : c >> 1;
    table[i] = c;
  }
  static const u8 zeros[24];
  seed = crc(~0u, zeros, 24);
  wasm_rt_init();
  Z_parsers_init_module();
  Z_parsers_instantiate(&module);
  wasm_rt_memory_t *linear = Z_parsersZ_memory(&module);
  memory = linear->data;
  Z_parsersZ_crc32c_init(&module);
  __asan_poison_memory_region(memory, TABLES);
  __asan_poison_memory_region(memory + TABLES_END, linear->size - TABLES_END);
  return 0;
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size) {
  if (size < HEAD || size > HEAD + BODY_MAX) return 0;
  const u8 *body = data + HEAD;
  const size_t bytes = size - HEAD;
  const u64 first = first_lsn(data);
  const u32 entries = word(data + 8), headers_crc = word(data + 12), lsns = word(data + 16), wanted = word(data + 20), time = wanted & 8;

  __asan_unpoison_memory_region(memory + WINDOW, bytes);
  memcpy(memory + WINDOW, body, bytes);

  u32 reg = Z_parsersZ_crc32c_update(&module, ~0u, WINDOW, bytes);
  require(reg == crc(~0u, body, bytes), "crc32c_update", reg, crc(~0u, body, bytes));

  int fault = (int)Z_parsersZ_frame_verify(&module, WINDOW, bytes, entries, headers_crc, seed, (double)first, lsns, time);
  int expected = frame_fault(body, bytes, entries, headers_crc, first, lsns, time);
  require(fault == expected, "frame_verify", fault, expected);

  // As the host goes from entry to entry, which have no frame around them.
  u64 lsn = first;
  for (size_t at = 0, whole = 1; whole && at < bytes && lsn < 1ull << 53;) {
    size_t due = entry_size(body + at, bytes - at);
    int wrong = due == 0 ? BAD_LAYOUT : entry_fault(body + at, lsn, ~0u);
    int answer = (int)Z_parsersZ_entry_verify(&module, WINDOW + at, bytes - at, seed, (double)lsn);
    require(answer == (wrong ? -wrong : (int)due), "entry_verify", answer, wrong ? -wrong : (long)due);
    whole = answer > 0;
    if (whole) lsn += lsns_of(body + at), at += due;
  }

  u32 at = 0;
  while (at + 4 <= bytes && word(body + at) != wanted) at += STEP;
  u32 place = at + 4 <= bytes ? WINDOW + at : 0;
  u32 found = Z_parsersZ_frame_find(&module, WINDOW, WINDOW + bytes, STEP, wanted);
  require(found == place, "frame_find", found, place);

  __asan_poison_memory_region(memory + WINDOW, (bytes + 7) / 8 * 8);
  return 0;
}

// --- the mutator -----------------------------------------------------------------------------------------

size_t LLVMFuzzerMutate(u8 *data, size_t size, size_t max);

/** Most cases get what a writer would have put there, each thing left out now and then; returns the new size. */
static size_t mend(u8 *data, size_t size, u32 chance) {
  u64 lsn = first_lsn(data);
  const u64 first = lsn;
  u32 entries = 0, headers = ~0u;
  size_t at = HEAD;
  while (size - at >= 16) {
    size_t payload = word(data + at + 4), whole = 16 + (payload + 7) / 8 * 8;
    if (whole > size - at) break;
    if (chance & 7) memset(data + at + 16 + payload, 0, whole - 16 - payload);
    if (chance >> 3 & 7) {
      u32 right = entry_crc(data + at, lsn);
      memcpy(data + at, &right, 4);
    }
    headers = crc(headers, data + at, 16);
    lsn += data[at + 12] == KIND_VOID && payload >= 8 ? longword(data + at + 16) : data[at + 12] < KIND_VOID;
    entries++;
    at += whole;
  }
  const u32 count = (u32)(lsn - first), sum = ~headers;
  if (chance >> 6 & 7) memcpy(data + 8, &entries, 4);
  if (chance >> 9 & 7) memcpy(data + 12, &sum, 4);
  if (chance >> 12 & 7) memcpy(data + 16, &count, 4);
  return chance >> 15 & 3 ? at : size;
}

/** A hole of 0 to 3 LSNs behind the last entry: an unlikely find for whoever changes single bytes. */
static size_t add_hole(u8 *data, size_t size, u32 chance) {
  u8 *hole = data + size;
  memset(hole, 0, 24);
  hole[4] = 8;
  hole[12] = KIND_VOID;
  hole[16] = chance & 3;
  return size + 24;
}

size_t LLVMFuzzerCustomMutator(u8 *data, size_t size, size_t max, unsigned chance) {
  size = LLVMFuzzerMutate(data, size, max);
  if (size < HEAD || (chance & 7) == 0) return size;
  size = mend(data, size, chance >> 3);
  if (chance >> 20 & 7 || size + 24 > max) return size;
  return mend(data, add_hole(data, size, chance >> 23), chance >> 3);
}
