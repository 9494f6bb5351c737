/* The doorbell's word, as all models of the flusher's sleep need it. A statement is one step: between two of them any
   other process may go on. */

#define AWAKE 0                 /* SLEEP_AWAKE, SLEEP_IDLE, SLEEP_TIMED in assembly/layout.ts */
#define IDLE 1
#define TIMED 2

byte SLEEP = AWAKE;             /* CTL_SLEEP */
bool asleep;                    /* the flusher is inside Atomics.wait(CTL_SLEEP) */

/* doorbell_ring in assembly/ring.ts. `old` is a variable of the caller. */
inline doorbell_ring(old) {
  old = SLEEP;
  if
  :: old == AWAKE
  :: else ->
     d_step { old = SLEEP; SLEEP = AWAKE };     /* atomic.xchg */
#ifdef BELL_WITHOUT_NOTIFY
     skip
#else
     if
     :: old != AWAKE -> asleep = false          /* atomic.notify */
     :: else
     fi
#endif
  fi
}

/* doorbell_ring_always in assembly/ring.ts */
inline doorbell_ring_always() {
  SLEEP = AWAKE;
  asleep = false
}

/* Atomics.wait in src/flusher-worker.ts: the comparison and falling asleep are one step. */
inline wait_for_doorbell(value) {
  atomic { if :: SLEEP == value -> asleep = true :: else fi };
  !asleep
}
