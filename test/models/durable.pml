/* The durable wake-up: a flusher that publishes durable LSNs and at last closes or poisons the log, a thread that blocks,
   a thread with promises, and one that waits for the end. Nobody may sleep for ever; no promise may be rejected whose
   entry was published as durable, nor be kept before.

   flusher     log_publish_durable, log_set_state, log_wake in assembly/index.ts
   blocker     block in src/durable-waits.ts
   promises    waitFor, arm, settle in src/durable-waits.ts; wordChange in src/wait.ts
   closed      closed in src/writer.ts

   Planted bugs: WAKE_BEFORE_DURABLE WAKE_WITHOUT_ADD SEEN_READ_LATE DURABLE_READ_FIRST STATE_WITHOUT_WAKE
   ARMED_ONCE */

#define LSNS 3
#define OPEN 1                  /* LOG_* in assembly/layout.ts */
#define CLOSED 3
#define POISONED 4
#define BLOCKER 0               /* who waits */
#define PROMISES 1
#define WATCHER 2

byte durable;                   /* CTL_DURABLE_LSN */
byte wake;                      /* CTL_WAKE */
byte state = OPEN;              /* CTL_STATE */
byte synced;                    /* what the disk holds */
bool waits[3];                  /* in Atomics.wait or behind Atomics.waitAsync */

inline log_wake() {
#ifndef WAKE_WITHOUT_ADD
  wake++;
#endif
  d_step { waits[BLOCKER] = false; waits[PROMISES] = false }
}

proctype flusher() {
  byte end;
  do
  :: durable == LSNS -> break
  :: synced < LSNS ->
     synced++;
     if
     :: synced < LSNS -> synced++         /* two in one frame */
     :: true
     fi;
#ifdef WAKE_BEFORE_DURABLE
     log_wake();
     durable = synced;
#else
     durable = synced;
     log_wake();
#endif
  :: durable < LSNS -> break              /* an fsync fails, or the rings are empty and it is told to close */
  od;
  if
  :: durable == LSNS -> goto idle         /* it stays open */
  :: durable == LSNS -> end = CLOSED
  :: end = POISONED
  fi;
  state = end;
  waits[WATCHER] = false;                 /* atomic.notify(CTL_STATE) */
#ifndef STATE_WITHOUT_WAKE
  log_wake();
#endif
idle:
  skip
}

/* Waits on CTL_WAKE, if it still is what was seen. */
inline wait_for_wake(me, seen) {
  atomic { if :: wake == seen -> waits[me] = true :: else fi };
  !waits[me]
}

proctype blocker() {
  byte seen, now, lsn = 2;
  do
  ::
#ifndef SEEN_READ_LATE
     seen = wake;
#endif
     now = state;
     if
     :: durable >= lsn -> assert(synced >= lsn); break
     :: else
     fi;
     if
     :: now == POISONED -> assert(durable < lsn); break
     :: now == CLOSED -> assert(false)          /* everything was flushed before */
     :: else
     fi;
#ifdef SEEN_READ_LATE
     seen = wake;
#endif
     wait_for_wake(BLOCKER, seen)
  od
}

/* All three LSNs are waited for; a wake-up settles those that the durable LSN covers, and arms again. */
proctype promises() {
  byte seen, now, upto, settled;
  do
  :: seen = wake;
     /* settle */
#ifdef DURABLE_READ_FIRST
     upto = durable;
     now = state;
#else
     now = state;
     upto = durable;
#endif
     if
     :: upto > settled -> assert(synced >= upto); settled = upto
     :: else
     fi;
     if
     :: settled == LSNS -> break
     :: settled < LSNS && (now == POISONED || now == CLOSED) -> assert(durable == settled); break
     :: else
     fi;
#ifdef ARMED_ONCE
     /* It does not look at the word again before it waits. */
     atomic { waits[PROMISES] = true };
     !waits[PROMISES]
#else
     wait_for_wake(PROMISES, seen)
#endif
  od
}

proctype closed() {
  byte now;
  do
  :: now = state;
     if
     :: now != OPEN -> break
     :: else
     fi;
     atomic { if :: state == now -> waits[WATCHER] = true :: else fi };
end: !waits[WATCHER]
  od
}

/* When nothing moves any more. */
active proctype time() {
end:
  timeout ->
  assert(!waits[BLOCKER] && !waits[PROMISES] && (!waits[WATCHER] || state == OPEN))
}

init {
  atomic { run flusher(); run blocker(); run promises(); run closed() }
}
