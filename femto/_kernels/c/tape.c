/* Running recorded calls (tape.h). */
#include "tape.h"

static _Thread_local void *recording;

void *femto_recording(void) { return recording; }
void femto_record(void *tape) { recording = tape; }

int femto_take(femto_tape *tape) { return !__atomic_exchange_n(&tape->busy, 1, __ATOMIC_ACQUIRE); }
void femto_leave(femto_tape *tape) { __atomic_store_n(&tape->busy, 0, __ATOMIC_RELEASE); }

static int run_tape(const femto_tape *tape, femto_clock clock) {
    for (int64_t i = 0; i < tape->call_count; i++) {
        femto_recorded *call = &tape->calls[i];
        if (clock) call->started = clock();
        if (call->function(call->arguments)) return -1;
        if (clock) call->seconds = clock() - call->started;
    }
    return 0;
}

typedef struct {
    femto_tape *const *tapes;
    int64_t workers, parts;
    int64_t *next; /* the first part that nobody took */
    femto_clock clock;
} parts_run;

static int worker_task(const void *arguments, int64_t worker) {
    const parts_run *run = arguments;
    int status = 0;
    femto_stay_on_thread(run->workers > 1);
    for (;;) {
        const int64_t part = __atomic_fetch_add(run->next, 1, __ATOMIC_RELAXED);
        if (part >= run->parts || status) break;
        status = run_tape(run->tapes[worker * run->parts + part], run->clock);
    }
    femto_stay_on_thread(0);
    return status;
}

int femto_run_parts(femto_tape *const *tapes, int64_t workers, int64_t parts, femto_clock clock) {
    int64_t next = 0;
    const parts_run run = {tapes, workers, parts, &next, clock};
    return femto_parallel_for(workers, 1e18, worker_task, &run);
}
