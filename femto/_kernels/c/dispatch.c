/* Which table of kernels this machine runs: the best one it supports, or the one that was asked for by name. */
#include "femto.h"

#include <string.h>

#if defined(__x86_64__)
extern const femto_kernels femto_kernels_avx512, femto_kernels_avx2, femto_kernels_base;
#elif defined(__aarch64__)
extern const femto_kernels femto_kernels_neon;
#else
extern const femto_kernels femto_kernels_base;
#endif

static int supported(const femto_kernels *tables[4]) {
    int count = 0;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        tables[count++] = &femto_kernels_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) tables[count++] = &femto_kernels_avx2;
    tables[count++] = &femto_kernels_base;
#elif defined(__aarch64__)
    tables[count++] = &femto_kernels_neon;
#else
    tables[count++] = &femto_kernels_base;
#endif
    return count;
}

const femto_kernels *femto_select(const char *name) {
    const femto_kernels *tables[4];
    const int count = supported(tables);
    for (int i = 0; i < count; i++)
        if (!name || strcmp(tables[i]->name, name) == 0) return tables[i];
    return NULL;
}

int femto_supported(const char **names) {
    const femto_kernels *tables[4];
    const int count = supported(tables);
    for (int i = 0; i < count; i++) names[i] = tables[i]->name;
    return count;
}
