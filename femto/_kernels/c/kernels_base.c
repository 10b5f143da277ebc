/* The kernels for every other machine: arm64 with NEON, which it always has, and the plain baseline (SSE2 on x86-64). */
#if defined(__aarch64__)
#define FEMTO_ISA neon
#define FEMTO_ISA_NEON
#include <arm_neon.h>
#else
#define FEMTO_ISA base
#if defined(__SSE2__)
#include <emmintrin.h>
#endif
#endif
#include "femto.h"
#include "families.h"
