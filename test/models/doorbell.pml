/* The doorbell: writers that publish and ring, or demand and wait, and the flusher that lies down. A writer may be ended
   at any step, also inside the doorbell. Nobody may sleep for ever while there is work, and no LSN that was taken for
   dead may be published.

   writer      ring_publish, ring_demand in assembly/ring.ts; block in src/durable-waits.ts
   flusher     rest, lieDown in src/flusher.ts; the loop of src/flusher-worker.ts; merge_fill in assembly/merge.ts;
               log_publish_durable in assembly/index.ts
   supervisor  onWorker in src/log.ts

   With DEATH a writer is ended. Planted bugs: BELL_WITHOUT_NOTIFY BELL_BEFORE_PUBLICATION NO_SECOND_LOOK DEMAND_AFTER_BELL POLITE_SUPERVISOR
   NEXT_LSN_READ_LAST WAKE_BEFORE_DURABLE */

#include "doorbell.h"

#define WRITERS 2
#ifndef ENTRIES
#define ENTRIES 2               /* of writer 0; writer 1 has one */
#endif
#define LSNS (ENTRIES + 1)
#define NOBODY 255
/* Writer 0 writes and goes on (BELL_LAZY); writer 1 waits for the disk after each entry (BELL_NONE and a demand). */
#define LAZY(w) (w == 0)

byte next_lsn;                  /* CTL_NEXT_LSN, from 0 on: LSNs given out */
byte durable;                   /* CTL_DURABLE_LSN + 1: so many are durable */
byte wake;                      /* CTL_WAKE */
bool pending[WRITERS];          /* the state word's pending bit */
bool revoked[WRITERS];          /* the state word's generation has moved */
byte used[WRITERS];             /* tail - head, entries; two are more than half of the ring, which only writer 0 reaches */
byte demand;                    /* STRIPE_DEMAND_* of writer 1: so many must be durable */
byte owner_of[LSNS];            /* whose ring holds this LSN's entry */
bool published[LSNS];           /* the tail covers it */
bool dead[LSNS];                /* taken for dead, and written as a hole */

byte drained;                   /* MERGE_NEXT_LSN, the flusher's own */
bool due;                       /* its timer has fired */
bool waits[WRITERS];            /* inside Atomics.wait(CTL_WAKE) */
bool ended[WRITERS];            /* the thread is gone */
byte victim = NOBODY;

proctype writer(byte me) {
  byte k, lsn, old, seen;
  {
    do
    :: k == (LAZY(me) -> ENTRIES : 1) -> break
    :: else ->
       if :: revoked[me] -> break :: else fi;
#ifdef BELL_BEFORE_PUBLICATION
       if :: LAZY(me) -> doorbell_ring(old) :: else fi;
#endif
       pending[me] = true;
       d_step { lsn = next_lsn; next_lsn++; owner_of[lsn] = me };
       d_step {
         /* The second exchange fails if the stripe was revoked. */
         if
         :: revoked[me]
         :: else -> assert(!dead[lsn]); published[lsn] = true; used[me]++; pending[me] = false
         fi
       };
       if :: revoked[me] -> break :: else fi;
#ifndef BELL_BEFORE_PUBLICATION
       old = SLEEP;
       if
       :: (old == IDLE && LAZY(me)) || (old != AWAKE && used[me] > 1) -> doorbell_ring(old)
       :: else
       fi;
#endif
       if
       :: LAZY(me)
       :: else ->
#ifdef DEMAND_AFTER_BELL
          doorbell_ring(old);
          demand = lsn + 1;
#else
          demand = lsn + 1;
          doorbell_ring(old);
#endif
          do
          :: seen = wake;
             if :: durable > lsn -> break :: else fi;
             atomic { if :: wake == seen -> waits[me] = true :: else fi };
             !waits[me]
          od
       fi;
       k++;
       d_step { lsn = 0; old = 0; seen = 0 }            /* fewer states */
    od
  } unless { victim == me };
  waits[me] = false;
  ended[me] = true
}

/* Flusher.rest: how deep it may sleep. */
inline rest(deep) {
  deep = IDLE;
  if
  :: next_lsn == drained
  :: else ->
     if
     :: due -> deep = AWAKE
     :: else ->
        deep = TIMED;
        if :: demand > durable -> deep = AWAKE :: else fi;
        if :: used[0] > 1 -> deep = AWAKE :: else fi
     fi
  fi
}

proctype flusher() {
  byte deep, again, limit, s, l;
  bool pends;
  bool shown[LSNS];             /* the snapshot of the tails */
end:
  do
  :: rest(deep);
     if
     :: deep == AWAKE ->
progress_flush:
        /* merge_fill: the next LSN first, then every state word. */
#ifndef NEXT_LSN_READ_LAST
        limit = next_lsn;
#endif
        pends = false; s = 0;
        do
        :: s == WRITERS -> break
        :: else ->
           d_step {
             pends = pends || pending[s];
             l = 0;
             do
             :: l == LSNS -> break
             :: else -> if :: owner_of[l] == s && published[l] -> shown[l] = true :: else fi; l++
             od;
             l = 0
           };
           s++
        od;
#ifdef NEXT_LSN_READ_LAST
        limit = next_lsn;
#endif
        s = 0;
        d_step {
          do
          :: drained < limit && shown[drained] -> used[owner_of[drained]]--; drained++
          :: drained < limit && !shown[drained] && !pends -> dead[drained] = true; drained++
          :: else -> break
          od;
          l = 0; do :: l == LSNS -> break :: else -> shown[l] = false; l++ od;
          l = 0; limit = 0
        };
        if
        :: drained > durable ->
           /* log_publish_durable */
#ifdef WAKE_BEFORE_DURABLE
           d_step { wake++; waits[0] = false; waits[1] = false };
           durable = drained;
#else
           durable = drained;
           wake++;
           d_step { waits[0] = false; waits[1] = false };
#endif
           due = false
        :: else ->
           /* Flusher.waitForPending: it looks again when something has moved, and revokes who never will. */
           if
           :: !pending[0] && !pending[1]
           :: pending[0] && ended[0] -> d_step { revoked[0] = true; pending[0] = false }
           :: pending[1] && ended[1] -> d_step { revoked[1] = true; pending[1] = false }
           fi
        fi
     :: else ->
        /* lieDown */
        SLEEP = deep;
#ifdef NO_SECOND_LOOK
        again = deep;
#else
        rest(again);
#endif
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

/* Ends one of the threads at any step, and sees its end. */
proctype supervisor() {
  byte old;
  if
  :: victim = 0
  :: victim = 1
  fi;
  ended[victim];
  d_step { revoked[victim] = true; pending[victim] = false };       /* ring_revoke */
#ifdef POLITE_SUPERVISOR
  doorbell_ring(old)
#else
  doorbell_ring_always()
#endif
}

/* When nothing moves any more: the timer, which wakes who sleeps lightly, or the end. */
active proctype time() {
end:
  do
  :: timeout ->
     assert(asleep);
     assert(!waits[0] && !waits[1]);
     if
     :: SLEEP == TIMED -> d_step { due = true; asleep = false }
     :: else -> assert(drained == next_lsn && durable == drained)
     fi
  od
}

init {
  atomic {
    byte l = 0;
    do :: l == LSNS -> break :: else -> owner_of[l] = NOBODY; l++ od;
    run writer(0); run writer(1); run flusher();
#ifdef DEATH
    run supervisor()
#endif
  }
}
