/* The hand-over of the flusher's role: the opener's thread flushes for itself while the flusher sleeps. Only one of them
   may write at a time, each must go on where the other one stopped, nobody may sleep for ever, and what the guest wrote
   must be proven in the end.

   opener      appendSync in src/writer.ts, flush in src/guest.ts, block in src/durable-waits.ts
   flusher     openToGuest, shutToGuest, rest, prove in src/flusher.ts; the loop of src/flusher-worker.ts
   other       a writer in another thread: ring_publish with BELL_LAZY

   Planted bugs: BELL_WITHOUT_NOTIFY TAKEN_WITHOUT_EXCHANGE OPEN_BEFORE_SLEEP SHUT_WHILE_BUSY GIVEN_BACK_SILENTLY
   FRAMES_NOT_LEARNED GUEST_WITHOUT_BELL */

#include "doorbell.h"

#define SHUT 0                  /* GUEST_* in assembly/layout.ts */
#define OPEN 1
#define OPEN_ASLEEP 2
#define BUSY 3

#define ENTRIES 2               /* of the opener; the other writer has one */
#define LSNS 3

byte guest = SHUT;              /* GUEST_STATE */
byte guest_frames;              /* GUEST_FRAMES */
byte guest_offset;              /* GUEST_OFFSET, frames */
bool handing;                   /* the flusher is inside Atomics.wait(GUEST_STATE) */

byte last;                      /* CTL_NEXT_LSN: entries published */
byte drained;                   /* MERGE_NEXT_LSN: of whoever has the role */
byte durable;                   /* CTL_DURABLE_LSN */
byte demand;                    /* STRIPE_DEMAND_SYNC of the opener */
byte wake;                      /* CTL_WAKE */
bool waits;                     /* the opener is inside Atomics.wait(CTL_WAKE) */
byte promised;                  /* as far as a promise covers; simpler here: only a proof brings it forward */
byte file;                      /* frames in the file */
byte writing;                   /* threads that write now */
bool due;                       /* the timer for what nobody waits for has fired */
bool proof_due;                 /* so has the one of the proof */
bool sleeps_until_rung;         /* how the flusher sleeps: without a timer */

/* Fill, write at `offset`, fsync, publish: whoever has the role. */
inline write_frame(offset) {
  writing++;
  assert(writing == 1);
  assert(offset == file);       /* where the last frame ends, or it would be written over */
  drained = last;
  file++;
  writing--;
  durable = drained;
  wake++;
  waits = false
}

proctype opener() {
  byte k, lsn, was, old, seen;
  bool wrote;
  do
  :: k == ENTRIES -> break
  :: else ->
     d_step { last++; lsn = last };                  /* BELL_NONE */
     /* Guest.flush */
     was = guest;
     if
     :: was == OPEN || was == OPEN_ASLEEP ->
#ifdef TAKEN_WITHOUT_EXCHANGE
        guest = BUSY;
        if
        :: true ->
#else
        d_step { if :: guest == was -> guest = BUSY; seen = 1 :: else -> seen = 0 fi };
        if
        :: seen ->
#endif
           wrote = false;
           if
           :: last > drained ->
              write_frame(guest_offset);
              guest_offset++;
              guest_frames++;
              wrote = true
           :: else
           fi;
           guest = was;
#ifndef GIVEN_BACK_SILENTLY
           handing = false;                          /* Atomics.notify(GUEST_STATE) */
#endif
#ifndef GUEST_WITHOUT_BELL
           if :: wrote && was == OPEN_ASLEEP -> doorbell_ring(old) :: else fi
#else
           skip
#endif
        :: else
        fi
     :: else
     fi;
     if
     :: durable >= lsn
     :: else ->
        /* DurableWaits.block */
        demand = lsn;
        doorbell_ring(old);
        do
        :: seen = wake;
           if :: durable >= lsn -> break :: else fi;
           atomic { if :: wake == seen -> waits = true :: else fi };
           !waits
        od
     fi;
     k++;
     was = 0; old = 0; seen = 0; lsn = 0; wrote = false           /* fewer states */
  od
}

proctype other() {
  byte old;
  if
  :: true                       /* it has nothing to write */
  :: last++;
     old = SLEEP;
     if :: old == IDLE -> doorbell_ring(old) :: else fi
  fi
}

/* Flusher.rest: proofs, too, are work that has to wait a little. */
inline rest(deep) {
  if
  :: last == drained -> deep = (promised < durable && proof_due -> AWAKE : IDLE)
  :: else -> deep = (due || demand > durable -> AWAKE : TIMED)
  fi
}

inline open_to_guest() {
  guest_offset = offset;
  guest_frames = 0;
  if
  :: deep == IDLE && promised == durable -> guest = OPEN_ASLEEP
  :: deep == TIMED -> guest = OPEN_ASLEEP            /* its timer takes longer than a proof's */
  :: deep == TIMED || promised < durable -> guest = OPEN
  fi
}

proctype flusher() {
  byte deep, again, offset, was;
end:
  do
  :: rest(deep);
     if
     :: deep == AWAKE ->
        if
        :: last > drained -> write_frame(offset); offset++; due = false; proof_due = false
        :: else ->
           /* Flusher.prove: an empty frame behind the others, which is not synced. */
           writing++; assert(writing == 1 && offset == file); file++; writing--;
           offset++; promised = durable; proof_due = false
        fi
     :: else ->
#ifdef OPEN_BEFORE_SLEEP
        open_to_guest();
#endif
        SLEEP = deep;                                /* lieDown */
        rest(again);
        if
        :: again == deep ->
#ifndef OPEN_BEFORE_SLEEP
           open_to_guest();
#endif
           sleeps_until_rung = (deep == IDLE && promised == durable);
           wait_for_doorbell(deep);
           /* shutToGuest */
           do
           :: was = guest;
              if
              :: was == SHUT -> break
#ifndef SHUT_WHILE_BUSY
              :: was == BUSY ->
                 atomic { if :: guest == BUSY -> handing = true :: else fi };
                 !handing
              :: was != SHUT && was != BUSY ->
#else
              :: was != SHUT ->
#endif
                 d_step { if :: guest == was -> guest = SHUT :: else fi };
                 if :: guest == SHUT -> break :: else fi
              fi
           od;
#ifndef FRAMES_NOT_LEARNED
           offset = offset + guest_frames;
#endif
           guest_frames = 0
        :: else
        fi;
        SLEEP = AWAKE;
        deep = 0; again = 0; was = 0
     fi
  od
}

/* The flusher's timers, unless it sleeps until it is rung: once at any moment, and when nothing moves any more; or the end. */
active proctype time() {
  bool early;
end:
  do
  :: asleep && !sleeps_until_rung && !early -> d_step { early = true; due = true; proof_due = true; asleep = false }
  :: timeout ->
     assert(asleep && !waits && !handing);
     if
     :: !sleeps_until_rung -> d_step { due = true; proof_due = true; asleep = false }
     :: else -> assert(drained == last && durable == last && promised == durable)
     fi
  od
}

init {
  atomic { run opener(); run other(); run flusher() }
}
