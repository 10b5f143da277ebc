# What all kernels share of the C code. Each family's .pxi declares its own structs and functions.
from libc.stdint cimport uint32_t

cdef extern from "femto.h" nogil:
    enum: FEMTO_ISA_COUNT

    ctypedef struct femto_dropout_settings:
        uint32_t seed[2]
        uint32_t stream[2]
        uint32_t threshold
        float scale

    ctypedef int (*femto_call)(const void *arguments) noexcept nogil

    void femto_initialize()
    void femto_set_threads(int threads)
    int femto_get_threads()
    int femto_has_openmp()
    int femto_select(const char *name)
    const char *femto_isa_name()
    int femto_supported(const char **names)
