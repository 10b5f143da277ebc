/* The C face of femto's kernels, without the kernels: threads, scratch memory, and which instruction set is chosen. The kernels
 * are in a header a family (layer_norm.h, attention.h …), each with its struct of arguments.
 *
 * Legend, used in every kernel: B batch, T tokens of context, d embedding degree, H heads, hs = d/H head size, V vocabulary,
 * R rows (usually B*T). Matrices are row-major float32; `ld…` is the distance in floats between rows. Gradients are `d` + name.
 * Every kernel returns 0, or -1 when scratch memory cannot be had; nothing else can fail once the Cython layer has checked
 * shapes.
 *
 * Determinism: every output element is computed by one thread, in an order that depends on shapes alone. Sums over a row use
 * virtual lanes (16, or 4) and one fixed tree on every instruction set, matrix products add in k order with FMA. So results are
 * the same to the bit for any number of threads, and across AVX2, AVX-512 and NEON. The baseline has no FMA and rounds otherwise.
 */
#ifndef FEMTO_H
#define FEMTO_H

#include <stddef.h>
#include <stdint.h>

/* ---- threads and scratch memory (parallel.c) ---- */

typedef int (*femto_task)(const void *arguments, int64_t index); /* returns 0, or -1 for want of scratch memory */

/* Run task(arguments, 0 … tasks-1); returns 0, or -1 when one of them did. `work` is a rough count of operations: small work
 * stays on the calling thread. */
int femto_parallel_for(int64_t tasks, double work, femto_task task, const void *arguments);
void femto_initialize(void); /* once, before anything else */
void femto_set_threads(int threads);
int femto_get_threads(void);         /* that a kernel called here may use */
void femto_stay_on_thread(int stay); /* whether kernels that the calling thread calls use no other thread */
int femto_has_openmp(void);

enum { FEMTO_SCRATCH_SHARED, FEMTO_SCRATCH_TASK, FEMTO_SCRATCH_SLOTS };
/* 64-byte aligned memory of the calling thread, kept and reused between calls; NULL when there is none to be had. */
float *femto_scratch(int slot, int64_t floats);

/* ---- choice of the instruction set (dispatch.c) ---- */

/* What this platform's build holds, best first. */
#if defined(__x86_64__)
#define FEMTO_ISAS(X, argument) X(avx512, argument) X(avx2, argument) X(base, argument)
#elif defined(__aarch64__)
#define FEMTO_ISAS(X, argument) X(neon, argument)
#else
#define FEMTO_ISAS(X, argument) X(base, argument)
#endif
#define FEMTO_NUMBER(isa, argument) femto_isa_##isa,
enum { FEMTO_ISAS(FEMTO_NUMBER, ) FEMTO_ISA_COUNT };

extern int femto_isa; /* the one that kernels run on */
/* Chooses the one called `name`, or the best for this machine when name is NULL; -1 when the machine or the build lacks it. */
int femto_select(const char *name);
const char *femto_isa_name(void);
/* Writes the names that this machine can run, best first (at most FEMTO_ISA_COUNT); returns how many. */
int femto_supported(const char **names);

/* ---- announcing and defining kernels ---- */

typedef int (*femto_call)(const void *arguments); /* any kernel, and a pointer to its struct */

/* FEMTO_KERNEL(name) announces int femto_name(const femto_name_arguments *p), which calls the chosen instruction set's function,
 * and femto_name_call, which is the same as a femto_call.
 * Each of those is defined as int FOR_ISA(name)(const femto_name_arguments *p), in the part of a family's header that is compiled
 * once for each instruction set: kernels_*.c define FEMTO_ISA. */
#define FEMTO_SYMBOL_(isa, kernel) femto_##kernel##_##isa
#define FEMTO_SYMBOL(isa, kernel) FEMTO_SYMBOL_(isa, kernel)
#define FEMTO_DECLARE(isa, kernel) int FEMTO_SYMBOL(isa, kernel)(const femto_##kernel##_arguments *p);
#ifdef FEMTO_ISA
#define FOR_ISA(kernel) FEMTO_SYMBOL(FEMTO_ISA, kernel)
#define FEMTO_KERNEL(kernel) FEMTO_DECLARE(FEMTO_ISA, kernel)
#else
#define FEMTO_CALL(isa, kernel) case femto_isa_##isa: return FEMTO_SYMBOL(isa, kernel)(p);
#define FEMTO_KERNEL(kernel)                                                     \
    FEMTO_ISAS(FEMTO_DECLARE, kernel)                                            \
    static inline int femto_##kernel(const femto_##kernel##_arguments *p) {      \
        switch (__atomic_load_n(&femto_isa, __ATOMIC_RELAXED)) {                 \
            FEMTO_ISAS(FEMTO_CALL, kernel)                                       \
        }                                                                        \
        __builtin_unreachable();                                                 \
    }                                                                            \
    static inline int femto_##kernel##_call(const void *p) { return femto_##kernel(p); }
#endif

/* ---- arguments that several families share ---- */

typedef struct {
    uint32_t seed[2];    /* key of the random numbers */
    uint32_t stream[2];  /* step and site: two counters that no two masks of a run share */
    uint32_t threshold;  /* keep where a number of 16 bits is below it; 65536: no dropout */
    float scale;         /* 1/(1-p) */
} femto_dropout_settings;

#endif
