/* Threads and scratch memory: the only file that knows OpenMP. Without OpenMP everything runs on the calling thread. */
#include "femto.h"

#include <stdlib.h>
#ifdef _OPENMP
#include <omp.h>
#endif

/* A parallel region costs about 1 us when the threads are awake and 30 us when they sleep; 50,000 operations take 1 us. */
#define SERIAL_WORK 60000.0

static int thread_count = 1;

void femto_set_threads(int threads) {
    __atomic_store_n(&thread_count, threads, __ATOMIC_RELAXED);
}

int femto_get_threads(void) {
    return __atomic_load_n(&thread_count, __ATOMIC_RELAXED);
}

int femto_has_openmp(void) {
#ifdef _OPENMP
    return 1;
#else
    return 0;
#endif
}

void femto_parallel_for(int64_t tasks, double work, femto_task task, void *arguments) {
#ifdef _OPENMP
    int64_t threads = femto_get_threads();
    if (threads > tasks) threads = tasks;
    if (threads > 1 && work > SERIAL_WORK) {
#pragma omp parallel for num_threads((int)threads) schedule(dynamic, 1)
        for (int64_t i = 0; i < tasks; i++) task(arguments, i);
        return;
    }
#endif
    (void)work;
    for (int64_t i = 0; i < tasks; i++) task(arguments, i);
}

static _Thread_local struct {
    float *memory;
    int64_t floats;
} scratch[FEMTO_SCRATCH_SLOTS];

float *femto_scratch(int slot, int64_t floats) {
    if (scratch[slot].floats < floats) {
        int64_t rounded = (floats + 1023) / 1024 * 1024;
        void *memory = NULL;
        free(scratch[slot].memory);
        scratch[slot].memory = NULL;
        scratch[slot].floats = 0;
        if (posix_memalign(&memory, 64, (size_t)rounded * sizeof(float)) != 0) return NULL;
        scratch[slot].memory = memory;
        scratch[slot].floats = rounded;
    }
    return scratch[slot].memory;
}
