# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, embedsignature=False
# cython: freethreading_compatible=True
"""The compiled side of `femto.kernels`: checks arguments, releases the GIL, calls C. One included file a family.

Functions take every argument by position and write to the outputs that they are given; defaults, allocation, types and
documentation are in `femto/kernels/`. Wrong types raise TypeError; wrong shapes, strides and shared memory raise ValueError.
"""
from cpython.buffer cimport (
    PyBUF_FORMAT, PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_IsContiguous, PyBuffer_Release, PyObject_GetBuffer,
)
from cpython.ref cimport Py_DECREF, Py_INCREF
from cpython.time cimport perf_counter
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcmp, memcpy

cimport cython
from operator import index

from .c_api cimport *

femto_initialize()
femto_select(NULL)


def isa():
    return femto_isa_name().decode()


def supported_isas():
    cdef const char *names[FEMTO_ISA_COUNT]
    cdef int count = femto_supported(names)
    return [names[i].decode() for i in range(count)]


def set_isa(str name not None):
    cdef bytes encoded = name.encode()
    if femto_select(encoded) != 0:
        raise ValueError(f"instruction set {name!r} is not one this machine runs: {', '.join(supported_isas())}")


def has_openmp():
    return bool(femto_has_openmp())


def num_threads():
    return femto_get_threads()


def set_num_threads(object threads):
    femto_set_threads(<int>integer(threads, "number of threads", 1, 4096))


include "timing.pxi"
include "tape.pxi"
include "arguments.pxi"
include "matmul.pxi"
include "layer_norm.pxi"
include "attention.pxi"
include "tokens.pxi"
include "elementwise.pxi"
include "parts.pxi"
