# The hook that is told of every call of a kernel. Without one, a call costs one look at `timing` more.

cdef bint timing = False
timing_hook = None  # a name of the module, not of C, so that one thread may replace it while another calls it


def set_timing_hook(object hook):
    """`hook(operation, sizes, extras, flops, bytes, started, seconds)`, or None."""
    global timing, timing_hook
    timing_hook = hook
    timing = hook is not None
