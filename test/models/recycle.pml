/* Dropped segments become spares and then segments again, and the power goes at any moment. Every name and every part of a
   file becomes durable by itself, whenever the system likes, and at the latest by an fsync: harder than any file system
   that keeps a rename whole, since a power cut may leave a file with two names here.

   log         continueChain, commitSegment in src/chain.ts; takeSpare, removeUnfinished in src/spares.ts; Dropper.remove,
               removeLeftovers in src/drop.ts; recoverLog's fsync of the directory
   zeroer      Spares.fill in src/spares.ts

   A file has a header and frames. Segment M drops everything before M - 1. Whatever has a segment's name is that segment,
   also where nobody looks any more; a spare is zeros; what was acknowledged is there.

   Planted bugs: NO_FSYNC_OF_SPARES_NAME ZEROED_BEFORE_FLOOR ZEROS_NOT_FSYNCED NO_FSYNC_AT_TAKE HEADER_NOT_FSYNCED
   LEFTOVERS_STAY */

#define NUMBERS 5               /* segments 1 to 5 */
#define FILES 7
#define CUTS 2
#define FLOOR(m) (m > 2 -> m - 1 : 1)

/* Names: 1 to NUMBERS are segments'. */
#define WAL_NEW 6
#define SPARE_NEW 7
#define SPARE 8
#define NAMES 9

/* What programs see, and what the disk holds. A name leads to a file; 0: there is none of that name. */
byte name[NAMES], nameD[NAMES];
/* The number of the segment that wrote it; 0: zeros. */
byte head[FILES + 1], headD[FILES + 1];
byte body[FILES + 1], bodyD[FILES + 1];

bool up = true;
bool idle = true;               /* the zeroer */
/* Acknowledged: the highest segment, and which have frames. */
byte begun = 2;
bool written[NUMBERS + 1];
byte cuts;

inline rename(from, to) {
  d_step {
    /* POSIX: two names of one file stay as they are. */
    if
    :: name[from] != name[to] -> name[to] = name[from]; name[from] = 0
    :: else
    fi
  }
}

inline fsync_names() {
  d_step { for (n : 1 .. NAMES - 1) { nameD[n] = name[n] } n = 0 }
}

inline fsync(f) {
  d_step { headD[f] = head[f]; bodyD[f] = body[f] }
}

/* open(O_CREAT | O_TRUNC) */
inline create(at) {
  d_step {
    if
    :: name[at] == 0 ->
       f = 1;
       do
       :: f > FILES -> break
       :: else ->
          n = 1;
          do
          :: n == NAMES || name[n] == f || nameD[n] == f -> break
          :: else -> n++
          od;
          if
          :: n == NAMES -> break
          :: else -> f++
          fi
       od;
       assert(f <= FILES);
       name[at] = f; headD[f] = 0; bodyD[f] = 0
    :: else -> f = name[at]
    fi;
    head[f] = 0; body[f] = 0; n = 0
  }
}

/* Whatever is looked at is as it must be. */
inline check() {
  d_step {
    last = 0;
    for (n : 1 .. NUMBERS) {
      if
      :: name[n] != 0 ->
         last = n;
         assert(head[name[n]] == n);
         assert(body[name[n]] == n || (body[name[n]] == 0 && !written[n]))
      :: else
      fi
    }
    assert(last >= begun);
    for (n : 1 .. NUMBERS) { assert(n < FLOOR(last) || n > last || name[n] != 0) }
    assert(name[SPARE] == 0 || (head[name[SPARE]] == 0 && body[name[SPARE]] == 0));
    n = 0
  }
}

inline drop(number) {
  if
  :: name[number] == 0
  :: name[number] != 0 && (name[SPARE] != 0 || name[SPARE_NEW] != 0) -> name[number] = 0; fsync_names()
  :: name[number] != 0 && name[SPARE] == 0 && name[SPARE_NEW] == 0 ->
     rename(number, SPARE_NEW);
#ifndef NO_FSYNC_OF_SPARES_NAME
     fsync_names();
#endif
     idle = false
  fi
}

proctype log() {
  byte f, n, last;
  do
  :: {
       /* The last name may be in the cache only. */
       fsync_names();
       check();
#ifndef LEFTOVERS_STAY
       name[WAL_NEW] = 0;
       name[SPARE_NEW] = 0;
#endif
       do
       :: n + 1 < FLOOR(last) -> n++; name[n] = 0
       :: else -> n = 0; break
       od;
       do
       :: last == NUMBERS -> break
       :: else ->
          if
          :: name[SPARE] != 0 ->
             rename(SPARE, WAL_NEW);
#ifndef NO_FSYNC_AT_TAKE
             fsync_names();
#endif
             f = name[WAL_NEW]
          :: else -> create(WAL_NEW)
          fi;
          head[f] = last + 1;
#ifndef HEADER_NOT_FSYNCED
          fsync(f);
#endif
#ifdef ZEROED_BEFORE_FLOOR
          if
          :: last > 1 -> drop(last - 1)
          :: else
          fi;
#endif
          rename(WAL_NEW, last + 1);
          fsync_names();
          d_step { last++; begun = last };
          body[f] = last;
          fsync(f);
          written[last] = true;
#ifndef ZEROED_BEFORE_FLOOR
          drop(last - 2);
#endif
          check()
       od;
end:   false
     } unless { !up };
     idle;
     d_step { f = 0; n = 0; last = 0; up = true }
  od
}

proctype zeroer() {
  byte f;
end:
  do
  :: {
       !idle;
       f = name[SPARE_NEW];
       head[f] = 0;
       body[f] = 0;
#ifndef ZEROS_NOT_FSYNCED
       fsync(f);
#endif
       rename(SPARE_NEW, SPARE);
       idle = true
     } unless { !up };
     /* The process is dead. */
     d_step { f = 0; idle = true }
  od
}

/* What is written becomes durable at any time. */
active proctype system() {
  byte n;
end:
  do
  :: up ->
     if
     :: n = 1 :: n = 2 :: n = 3 :: n = 4 :: n = 5 :: n = 6 :: n = 7 :: n = 8
     fi;
     if
     :: name[n] != nameD[n] -> nameD[n] = name[n]
     :: n <= FILES && head[n] != headD[n] -> headD[n] = head[n]
     :: n <= FILES && body[n] != bodyD[n] -> bodyD[n] = body[n]
     :: else
     fi;
     n = 0
  od
}

active proctype power() {
  byte n;
end:
  do
  :: cuts < CUTS && up ->
     d_step {
       cuts++;
       up = false;
       for (n : 1 .. NAMES - 1) { name[n] = nameD[n] }
       for (n : 1 .. FILES) { head[n] = headD[n]; body[n] = bodyD[n] }
       n = 0
     }
  od
}

init {
  byte n;
  d_step {
    for (n : 1 .. 2) {
      name[n] = n; nameD[n] = n; head[n] = n; headD[n] = n; body[n] = n; bodyD[n] = n; written[n] = true
    }
    n = 0
  }
  atomic { run log(); run zeroer() }
}
