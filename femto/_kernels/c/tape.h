/* Kernel calls that were recorded once, to be made again without Python: functions and copies of their arguments. And the parts of a
 * batch: whole tapes, one for a thread. */
#ifndef FEMTO_TAPE_H
#define FEMTO_TAPE_H
#include "femto.h"

typedef struct {
    femto_call function;
    void *arguments;
    double started, seconds; /* of the last run, where a clock was given */
} femto_recorded;

typedef struct {
    femto_recorded *calls;
    int64_t call_count;
    int busy; /* somebody records to it or runs it */
} femto_tape;

typedef double (*femto_clock)(void);

/* Runs every part once; returns 0, or -1 for want of scratch memory. tapes[worker * parts + part] is what `worker` runs for it, in memory that no other worker touches. A worker
 * that is free takes the next part; with more than one of them, kernels inside stay on their worker's thread. */
int femto_run_parts(femto_tape *const *tapes, int64_t workers, int64_t parts, femto_clock clock);

/* The tape that the calling thread records to, or NULL. */
void *femto_recording(void);
void femto_record(void *tape);

/* A number that follows another, scale * source + offset; whether 64 bits hold it. */
static inline int femto_live(int64_t source, int64_t scale, int64_t offset, int64_t *now) {
    int64_t product;
    return !__builtin_mul_overflow(source, scale, &product) && !__builtin_add_overflow(product, offset, now);
}

/* One at a time may use a tape: whether it was free, and is now taken; and its end. */
int femto_take(femto_tape *tape);
void femto_leave(femto_tape *tape);

#endif
