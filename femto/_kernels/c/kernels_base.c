/* The kernels for every other machine: arm64 with NEON, which it always has, and the plain baseline (SSE2 on x86-64). */
#include "femto.h"
#if defined(__aarch64__)
#include <arm_neon.h>
#define FEMTO_ISA_NEON
#include "table.h"
FEMTO_TABLE(neon)
#else
#if defined(__SSE2__)
#include <emmintrin.h>
#endif
#include "table.h"
FEMTO_TABLE(base)
#endif
