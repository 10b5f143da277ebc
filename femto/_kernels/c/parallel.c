/* Threads and scratch memory: the only file that knows OpenMP. Without OpenMP everything runs on the calling thread. */
#include "femto.h"

#include <pthread.h>
#include <stdlib.h>
#ifdef _OPENMP
#include <omp.h>
#endif

/* A parallel region costs about 1 us when the threads are awake and 30 us when they sleep; 50,000 operations take 1 us.
 * `.ci/sanitize thread` defines both otherwise, so that tasks of any size go to threads in turn. */
#ifndef FEMTO_SERIAL_WORK
#define FEMTO_SERIAL_WORK 60000.0
#endif
#ifndef FEMTO_SCHEDULE
#define FEMTO_SCHEDULE dynamic, 1
#endif

static int thread_count = 1;
static volatile int forked; /* libgomp's threads do not exist in a forked child: it computes on its own thread */

static void in_child(void) { forked = 1; }

static _Thread_local int on_thread; /* what runs here stays here: other threads have work of their own */

void femto_stay_on_thread(int stay) { on_thread = stay; }

void femto_set_threads(int threads) {
    __atomic_store_n(&thread_count, threads, __ATOMIC_RELAXED);
}

int femto_get_threads(void) {
    return femto_has_openmp() && !forked && !on_thread ? __atomic_load_n(&thread_count, __ATOMIC_RELAXED) : 1;
}

int femto_has_openmp(void) {
#ifdef _OPENMP
    return 1;
#else
    return 0;
#endif
}

int femto_parallel_for(int64_t tasks, double work, femto_task task, const void *arguments) {
#ifdef _OPENMP
    int64_t threads = femto_get_threads();
    if (threads > tasks) threads = tasks;
    if (threads > 1 && work > FEMTO_SERIAL_WORK) {
        int status = 0;
#pragma omp parallel for num_threads((int)threads) schedule(FEMTO_SCHEDULE)
        for (int64_t i = 0; i < tasks; i++)
            if (task(arguments, i)) __atomic_store_n(&status, -1, __ATOMIC_RELAXED);
        return status;
    }
#endif
    (void)work;
    for (int64_t i = 0; i < tasks; i++)
        if (task(arguments, i)) return -1;
    return 0;
}

typedef struct {
    float *memory;
    int64_t floats;
} scratch_slot;
static _Thread_local scratch_slot scratch[FEMTO_SCRATCH_SLOTS];

static pthread_key_t scratch_key;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* At the end of a thread: its scratch memory goes with it. */
static void free_scratch(void *slots) {
    for (int i = 0; i < FEMTO_SCRATCH_SLOTS; i++) {
        free(((scratch_slot *)slots)[i].memory);
        ((scratch_slot *)slots)[i] = (scratch_slot){NULL, 0};
    }
}

static void initialize(void) {
    pthread_key_create(&scratch_key, free_scratch);
    pthread_atfork(NULL, NULL, in_child);
}

void femto_initialize(void) { pthread_once(&once, initialize); }

float *femto_scratch(int slot, int64_t floats) {
    if (scratch[slot].floats < floats) {
        const int64_t rounded = (floats + 1023) / 1024 * 1024;
        void *memory = NULL;
        free(scratch[slot].memory);
        scratch[slot] = (scratch_slot){NULL, 0};
        if (posix_memalign(&memory, 64, (size_t)rounded * sizeof(float)) != 0) return NULL;
        scratch[slot] = (scratch_slot){memory, rounded};
        pthread_setspecific(scratch_key, scratch);
    }
    return scratch[slot].memory;
}
