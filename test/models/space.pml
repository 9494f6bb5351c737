/* Waiting for space: a writer whose ring holds two entries, and the flusher that drains it, lies down and is rung. Nobody
   may sleep for ever. The shipped code also looks again every 100 ms; here it does not.

   writer      putBlocking in src/writer.ts; ring_reserve, ring_want_space in assembly/ring.ts. (arm in
               src/space-queue.ts asks before its first look; otherwise it does the same.)
   flusher     give_back in assembly/merge.ts; rest, lieDown in src/flusher.ts

   Planted bugs: BELL_WITHOUT_NOTIFY WISH_CLEARED_LATE WAIT_WITHOUT_WISH HEAD_READ_LATE SPACE_WITHOUT_BELL */

#include "doorbell.h"

#define ENTRIES 5
#define RING 2
/* The entry that would stand across the ring's end goes behind it, and needs the ring empty. */
#define SPACE(at) (at == 3 -> 1 : RING)

byte tail;                      /* in the state word */
byte head;                      /* STRIPE_HEAD */
bool wanted;                    /* STRIPE_SPACE_WANTED */
bool waits;                     /* inside Atomics.wait(STRIPE_HEAD) */
bool due;                       /* the flusher's timer has fired */

proctype writer() {
  byte seen, old;
  bool asked;
  do
  :: tail == ENTRIES -> break
  :: else ->
     asked = false;
     do
     ::
#ifndef HEAD_READ_LATE
        seen = head;
#endif
#ifndef WAIT_WITHOUT_WISH
        if
        :: asked ->
           wanted = true;                            /* ring_want_space */
#ifndef SPACE_WITHOUT_BELL
           doorbell_ring(old)
#endif
        :: else
        fi;
#endif
        if
        :: tail - head < SPACE(tail) -> break              /* ring_reserve */
        :: else
        fi;
#ifdef HEAD_READ_LATE
        seen = head;
#endif
        if
        :: asked ->
           atomic { if :: head == seen -> waits = true :: else fi };
           !waits
        :: else
        fi;
        asked = true
     od;
     tail++;                                         /* ring_publish, BELL_LAZY */
     old = SLEEP;
     if
     :: old == IDLE || (old != AWAKE && tail - head > RING / 2) -> doorbell_ring(old)
     :: else
     fi
  od
}

inline rest(deep) {
  if
  :: tail == head -> deep = IDLE
  :: else -> deep = (due || tail - head > RING / 2 || wanted -> AWAKE : TIMED)     /* merge_pressed */
  fi
}

proctype flusher() {
  byte deep, again, to;
  bool asked;
end:
  do
  :: rest(deep);
     if
     :: deep == AWAKE ->
progress_flush:
        /* A full frame may leave something in the ring. */
        if
        :: to = tail
        :: tail - head > 1 -> to = head + 1
        fi;
        /* give_back */
#ifdef WISH_CLEARED_LATE
        head = to;
        if :: wanted -> wanted = false; waits = false :: else fi;
#else
        asked = wanted;
        if :: asked -> wanted = false :: else fi;
        head = to;
        if :: asked || wanted -> waits = false :: else fi;
#endif
        due = false
     :: else ->
        SLEEP = deep;                                /* lieDown */
        rest(again);
        if
        :: again == deep ->
progress_sleep:
           wait_for_doorbell(deep)
        :: else
        fi;
        SLEEP = AWAKE
     fi
  od
}

/* When nothing moves any more: the timer, or the end. */
active proctype time() {
end:
  do
  :: timeout ->
     assert(asleep && !waits);
     if
     :: SLEEP == TIMED -> d_step { due = true; asleep = false }
     :: else -> assert(head == ENTRIES)
     fi
  od
}

init {
  atomic { run writer(); run flusher() }
}
