/* The kernels for x86-64 with AVX2 and FMA (Haswell and Zen on). Empty elsewhere. */
#define FEMTO_ISA avx2
#define FEMTO_ISA_AVX2
#include "femto.h"
#if defined(__x86_64__)
#include <immintrin.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#include "families.h"
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
