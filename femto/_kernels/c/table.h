/* Every kernel once more, for the instruction set of the including file, and the table that dispatch.c picks from. */
#include "simd.h"
#include "vmath.h"
#include "philox.h"
#include "transpose.h"
#include "tile.h"
#include "matmul.h"
#include "attention.h"
#include "layer_norm.h"
#include "elementwise.h"
#include "tokens.h"

#define FEMTO_TABLE(isa)                                                                                              \
    const femto_kernels femto_kernels_##isa = {                                                                       \
        .name = #isa, .lanes = LANES, .matmul = matmul,                                     \
        .layer_norm_forward = layer_norm_forward, .layer_norm_backward = layer_norm_backward,                         \
        .gelu_forward = gelu_forward, .gelu_backward = gelu_backward, .attention_forward = attention_forward,         \
        .attention_backward = attention_backward, .attention_decode = attention_decode, .rotary = rotary,             \
        .cross_entropy = cross_entropy, .embedding_forward = embedding_forward,                                       \
        .embedding_backward = embedding_backward, .dropout = dropout, .sum_of_squares = sum_of_squares,               \
        .adamw = adamw, .exponential = exponential, .fma_burn = fma_burn,                                             \
    };
