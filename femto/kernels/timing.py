"""The one hook that is told of every call of a kernel: what it computed, on which sizes, and how long it took."""

from collections.abc import Callable
from threading import Lock
from typing import NamedTuple

from femto._kernels import core


class KernelCall(NamedTuple):
    """One call of a kernel, after it."""

    operation: str  # the name of the function: "matmul", "layer_norm_forward" …
    sizes: dict[str, int]  # by name: m, n, k; batch, heads, tokens, head_size; rows, columns; count …
    extras: tuple[str, ...]  # what was asked for beside the plain operation: "transpose_a", "residual", "gelu_slope", "dropout" …
    flops: float  # floating-point operations that the mathematics needs; 0 for kernels that are bound by memory
    bytes: int  # every argument once
    started: float  # seconds, by time.perf_counter()
    seconds: float  # in C: without the checks of arguments before it


TimingHook = Callable[[KernelCall], object]

_hook: TimingHook | None = None
_lock = Lock()  # so that this and the compiled side always have the same one


def set_timing_hook(hook: TimingHook | None) -> TimingHook | None:
    """Call `hook` after every kernel, in the thread that called the kernel; None for no hook. Returns the one before.

    One hook serves the whole process. Where several threads of Python compute, it is called from all of them, at the same time
    too: it must allow that, and `threading.get_ident()` tells them apart. A call that was under way when the hook was set is not
    reported. The times of kernels that run side by side overlap, so their sum is not that of the clock.

    Calls that a tape makes again are reported when all of them are made (`femto.kernels.Tape`), in its thread.

    An exception of the hook is raised by the kernel's function. What the kernel wrote is complete by then, and the hook stays.

    >>> import numpy as np
    >>> from femto import kernels
    >>> calls = []
    >>> before = kernels.set_timing_hook(calls.append)
    >>> product = kernels.matmul(np.ones((2, 3), np.float32), np.ones((3, 4), np.float32))
    >>> calls[0].operation, calls[0].sizes, calls[0].flops
    ('matmul', {'m': 2, 'n': 4, 'k': 3}, 48.0)
    >>> _ = kernels.set_timing_hook(before)
    """
    global _hook
    if hook is not None and not callable(hook):
        raise TypeError(f"hook: expected a function of one KernelCall, or None, got {type(hook).__name__}")
    with _lock:
        before, _hook = _hook, hook
        core.set_timing_hook(None if hook is None else lambda *call: hook(KernelCall(*call)))
    return before
