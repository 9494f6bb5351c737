/* Advancing the epoch: two chains with a flusher each and writers, and callers of advanceEpoch. The second chain's core is
   taken for the first time meanwhile. A caller may go on only when everything that was published before its call is durable,
   of an earlier epoch, and the disk says so; nobody may wait for ever. The shipped code also looks again every 100 ms;
   here it does not.

   caller      advanceEpoch, barrier, haveBegun in src/epochs.ts
   flusher     work, joinEpoch, lookForLate, flush, beginEpoch, record, waitForPending, waitsForFirst in src/flusher.ts;
               hire in src/crew.ts; merge_fill in assembly/merge.ts
   writer      ring_claim, ring_reserve, take_time, ring_publish, ring_revoke in assembly/ring.ts
   recovery    completeOf in src/recover.ts

   A crash may come at any moment: what recovery would say is compared with what is there in each step that changes either.
   Steps are one where what is read does not change back, so that reading it earlier would only have been slower.

   ENTRIES     of each writer, at most
   ONE_WRITER  the first chain has none
   CORE_ABOVE  a third core was taken before, so that the second one's flusher is there before its core is taken
   COPIED      recovery has made a segment in both chains
   ALONE       only one caller
   DEATH       the first caller dies, in each step that others can see
   TIMES       of the rest only the times of entries: the clocks stand still, so that only take_time orders them

   Planted bugs: BEGUN_NOT_ASKED RESOLVED_UNRECORDED RECORDED_FIRST LATE_NOT_AWAITED READ_BEFORE_PENDING
   EPOCHS_SHARE_A_FRAME NEXT_TOO_EARLY NOT_CARRIED BEGUN_SILENTLY CLAIM_SETS_EPOCH JOINED_UNRECORDED JOINED_LATE
   RESERVATION_KEPT OWN_TIME_ONLY */

#ifndef ENTRIES
#define ENTRIES 1
#endif
#define AT(chain, lsn) ((chain) * ENTRIES + (lsn))
#define MAX(a, b) ((a) > (b) -> (a) : (b))
#define MIN(a, b) ((a) < (b) -> (a) : (b))

byte epoch;                     /* LOG_EPOCH */
byte complete;                  /* LOG_COMPLETE */
byte recorded;                  /* LOG_RECORDED */
byte cores = 1;                 /* LOG_CORES */
bool claimed[2];                /* CTL_STRIPE_HIGH */
byte merge_epoch[2];            /* MERGE_EPOCH */
byte begun[2];                  /* CTL_EPOCH_DONE */
bool news[2];                   /* LOG_BARRIER_WAKE is not what the caller saw */
bool first_wanted;              /* LOG_FIRST_WANTED */

bool pending[2];                /* of the state word; its tail is `published` */
bool revoked[2];
byte last[2];                   /* CTL_NEXT_LSN: LSNs given out */
byte published[2];
byte stamp[2 * ENTRIES];        /* GROUP_EPOCH */
#ifdef TIMES
byte stripe_time[2];            /* STRIPE_TIME */
byte time[2 * ENTRIES];         /* of the entry */
#endif

bool ours[2];                   /* the chain has a segment of this open */
byte durable[2];                /* entries on the disk */
byte marked[2];                 /* complete of the marks on the disk */

/* What recovery says: epochs below it are complete. */
#define FOUND MAX(marked[0], marked[1])

inline log_barrier_wake() {
  news[0] = true;
  news[1] = true
}

proctype writer(bool me) {
  byte e, k;
#ifdef TIMES
  byte now, stripe_epoch;
#endif
  if
  :: me ->                                           /* ring_claim */
#ifdef CLAIM_SETS_EPOCH
     e = epoch;
     merge_epoch[1] = e;
     d_step { begun[1] = e; log_barrier_wake() };
#endif
     d_step { e = 0; claimed[1] = true; cores = MAX(cores, 2) }
  :: else
  fi;
  do
  :: k == ENTRIES -> break
  :: k < ENTRIES ->
#ifdef TIMES
     e = epoch;                                      /* ring_reserve, take_time */
     now = stripe_time[me];
#ifndef OWN_TIME_ONLY
     if
     :: stripe_epoch != e && (me || cores > 1) -> d_step { now = MAX(now, stripe_time[1 - me]) }
     :: else
     fi;
#endif
     d_step { stripe_epoch = e; e = 0; stripe_time[me] = now + 1; now = 0 };
#endif
#ifdef READ_BEFORE_PENDING
     e = epoch;
#endif
     atomic {                                        /* ring_publish */
       if
       :: revoked[me] -> break
       :: else -> pending[me] = true
       fi
     };
#ifndef READ_BEFORE_PENDING
     e = epoch;
#endif
     if
#ifndef TIMES
     :: d_step { pending[me] = false; e = 0 }        /* RING_EPOCH: its reservation may be of any epoch */
     :: last[me]++;
#else
#ifndef RESERVATION_KEPT
     :: stripe_epoch != e -> d_step { pending[me] = false; e = 0 }
     :: stripe_epoch == e -> last[me]++;
#else
     :: last[me]++;
#endif
#endif
        atomic {
          if
          :: revoked[me] -> break
          :: else
          fi;
          d_step {
            assert(e >= FOUND);                      /* of a complete epoch nothing can come any more */
            stamp[AT(me, k)] = e;
#ifdef TIMES
            time[AT(me, k)] = stripe_time[me];
            do
            :: now < published[1 - me] ->
               assert(stamp[AT(1 - me, now)] >= e || time[AT(1 - me, now)] < stripe_time[me]);
               assert(stamp[AT(1 - me, now)] <= e || time[AT(1 - me, now)] > stripe_time[me]);
               now++
            :: else -> break
            od;
            now = 0;
#endif
            k++;
            published[me]++;
            pending[me] = false;
            e = 0
          }
        }
     fi
  od;
  skip;
  d_step { e = 0; k = 0 }                            /* fewer states */
}

#ifdef TIMES
/* Times hold without what a barrier waits for. */
proctype caller() {
  epoch = 1;
  epoch = 2
}

init {
  atomic { run writer(0); run writer(1); run caller() }
}
#else

/* No entry of an epoch that is found complete is missing on the disk. */
inline recover(chain) {
  k = durable[chain];
  do
  :: k < published[chain] -> assert(stamp[AT(chain, k)] >= FOUND); k++
  :: else -> break
  od;
  k = 0
}

/* recorded. Only the first chain's marks count for callers. */
inline say_recorded(upto) {
  if
  :: !me && upto > 0 -> d_step { recorded = upto; log_barrier_wake() }
  :: else
  fi
}

/* Marks in a frame of epoch e or in a segment's header, written and fsynced. */
inline write_marks(e) {
#ifdef RECORDED_FIRST
  say_recorded(complete);
#endif
  d_step {
    assert(e >= frames);                             /* a chain's epochs never go back */
    frames = e;
    marked[me] = MAX(marked[me], complete);
    ours[me] = true;
    recover(0);
    recover(1)
  };
  say_recorded(marked[0])
}

#define RECORD_DUE (!me && (complete > marked[0] || (first_wanted && !ours[0])))

#define FLUSH 1                 /* what a flusher finds to do */
#define BEGIN 2
#define JOIN 3
#define RECORD 4

#ifdef EPOCHS_SHARE_A_FRAME
#define IN_FRAME(e) true
#else
#define IN_FRAME(e) (e <= merge_epoch[me])
#endif

inline merge_fill() {
  do
  :: upto < published[me] && IN_FRAME(stamp[AT(me, upto)]) ->
     assert(stamp[AT(me, upto)] == merge_epoch[me]);                /* a frame is of one epoch */
     upto++
  :: upto < published[me] && !IN_FRAME(stamp[AT(me, upto)]) -> ahead = true; break
  :: upto >= published[me] && upto < last[me] && !was_pending -> upto = last[me]       /* a hole */
  :: else -> break
  od
}

inline look_for_late() {
  if
  :: !looked -> late = claimed[me]; looked = true
  :: else
  fi;
  if
#ifdef LATE_NOT_AWAITED
  :: late -> late = false
#else
  :: late && !pending[me] -> late = false
#endif
  :: else
  fi
}

/* What is to be done. Blocks if nothing is: then the flusher sleeps. */
inline work() {
  d_step {
    epoch > merge_epoch[me] || last[me] > drained || RECORD_DUE ->
    if
#ifndef CLAIM_SETS_EPOCH
    :: recorded > merge_epoch[me] -> act = JOIN; next = recorded
#endif
    :: else ->
       assert(epoch <= merge_epoch[me] + 1);         /* a stamp is a byte, which shows only how far it is away */
       if
       :: looked && !late && !stands -> barrier = last[me]; stands = true
       :: else
       fi;
       upto = drained;
       was_pending = pending[me];
       if
       :: me && !ours[1] && !ours[0] -> first_wanted = true                            /* waitsForFirst */
       :: else -> merge_fill()
       fi;
       if
       :: upto > drained -> act = FLUSH
       :: upto == drained && stands && (drained >= barrier || ahead) -> act = BEGIN; next = merge_epoch[me] + 1
       :: upto == drained && epoch == merge_epoch[me] && last[me] == drained && RECORD_DUE -> act = RECORD
       :: else
       fi;
       if
       :: epoch > merge_epoch[me] && !stands -> look_for_late()
       :: else
       fi;
       ahead = false
    fi
  }
}

proctype flusher(bool me) {
  byte drained, frames, upto, barrier, next, act, k;
  bool looked, late, stands, was_pending, ahead;
  (!me || cores > 1);                                /* hire */
end:
  do
  :: work();
     if
     :: act == FLUSH ->
        if
        :: !ours[me] -> write_marks(merge_epoch[me]) /* a segment is begun */
        :: else
        fi;
        d_step {
          assert(merge_epoch[me] == frames);         /* the first frame of an epoch, or the segment's header, records it */
          drained = upto;
          durable[me] = MIN(drained, published[me])
        }
     :: act == BEGIN || act == JOIN ->
        if
#ifdef JOINED_UNRECORDED
        :: ours[me] && act == BEGIN -> write_marks(next)
#else
        :: ours[me] -> write_marks(next)
#endif
        :: else
        fi;
        d_step {
#ifdef JOINED_LATE
          if :: act == BEGIN -> looked = false; stands = false; barrier = 0 :: else fi;
#else
          looked = false; stands = false; barrier = 0;
#endif
          late = false;
          merge_epoch[me] = next;
          begun[me] = next;
#ifndef BEGUN_SILENTLY
          log_barrier_wake()
#endif
        }
     :: act == RECORD -> write_marks(merge_epoch[me])
     :: act == 0 && was_pending && (late || stands || !looked) ->
        if                                           /* waitForPending: until there is something else to do */
        :: d_step { pending[me] -> pending[me] = false; revoked[me] = true }
        :: !pending[me] || recorded > merge_epoch[me] || (epoch > merge_epoch[me] && !looked) || RECORD_DUE
        fi
     :: else
     fi;
     d_step { act = 0; next = 0; upto = 0; was_pending = false }
  od
}

#ifdef RESOLVED_UNRECORDED
#define PASSED complete
#else
#define PASSED recorded
#endif
#ifdef BEGUN_NOT_ASKED
#define HAVE_BEGUN(e) true
#else
#define HAVE_BEGUN(e) (begun[0] >= e && (cores < 2 || begun[1] >= e))
#endif
#ifdef NOT_CARRIED
#define MAY_RAISE mine
#else
#define MAY_RAISE true
#endif

/* barrier */
inline wait_until_passed(e) {
  do
  :: atomic {
       news[me] = false;
       if
       :: PASSED >= e -> break
       :: PASSED < e && HAVE_BEGUN(e) && MAY_RAISE ->
          complete = MAX(complete, e);
#ifdef DEATH
          if :: !me -> goto dead :: else fi
#endif
       :: else
       fi
     };
     news[me]
  od;
  skip
}

proctype caller(bool me) {
  byte e;
  bool mine;
  e = epoch;                                         /* no entry published before has a stamp above it */
#ifndef NEXT_TOO_EARLY
  wait_until_passed(e);
#endif
  atomic {
    if
    :: epoch == e -> epoch = e + 1; mine = true
    :: else
    fi;
    e++;
#ifdef DEATH
    if :: !me -> goto dead :: true fi
#endif
  };
  wait_until_passed(e);
  assert(marked[0] >= e);
dead:
  skip;
  d_step { e = 0; mine = false }
}

init {
  atomic {
    claimed[0] = true;
#ifdef CORE_ABOVE
    cores = 3;
#endif
#ifdef COPIED
    ours[0] = true;
    ours[1] = true;
#endif
#ifndef ONE_WRITER
    run writer(0);
#endif
    run writer(1);
    run flusher(0);
    run flusher(1);
#ifndef ALONE
    run caller(0);
#endif
    run caller(1)
  }
}
#endif
