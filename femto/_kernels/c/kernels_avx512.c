/* The kernels for x86-64 with AVX-512 F, BW, DQ and VL (Skylake-X and Zen 4 on). Empty elsewhere. */
#define FEMTO_ISA avx512
#define FEMTO_ISA_AVX512
#include "femto.h"
#if defined(__x86_64__)
#include <immintrin.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,prefer-vector-width=512")
#endif
#include "families.h"
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
