/* Which instruction set the kernels run on: the best that this machine supports, or the one that was asked for by name. */
#include "femto.h"

#include <string.h>

int femto_isa = FEMTO_ISA_COUNT - 1; /* the last runs everywhere */

#define NAME(isa, argument) #isa,
static const char *const names[FEMTO_ISA_COUNT] = {FEMTO_ISAS(NAME, )};

static int runs(int isa) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (isa == femto_isa_avx512)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512vl");
    if (isa == femto_isa_avx2) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
    return isa < FEMTO_ISA_COUNT;
}

int femto_select(const char *name) {
    for (int isa = 0; isa < FEMTO_ISA_COUNT; isa++)
        if (runs(isa) && (!name || strcmp(names[isa], name) == 0)) {
            __atomic_store_n(&femto_isa, isa, __ATOMIC_RELAXED);
            return 0;
        }
    return -1;
}

const char *femto_isa_name(void) { return names[__atomic_load_n(&femto_isa, __ATOMIC_RELAXED)]; }

int femto_supported(const char **supported) {
    int count = 0;
    for (int isa = 0; isa < FEMTO_ISA_COUNT; isa++)
        if (runs(isa)) supported[count++] = names[isa];
    return count;
}
