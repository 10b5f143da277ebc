"""Recording calls of kernels, to make them again without Python.

The kernels of a small model take microseconds, about what Python takes to call one. A `Tape` keeps functions, pointers and sizes,
which do not change from step to step, and makes all calls in C. What does change is read anew: the numbers in the arrays, and
`Live` integers.

>>> import numpy as np
>>> from femto import kernels
>>> a, b, product = np.eye(2, dtype=np.float32), np.ones((2, 2), np.float32), np.zeros((2, 2), np.float32)
>>> tape = kernels.Tape()
>>> with tape:
...     _ = kernels.matmul(a, b, product)  # recorded, not computed
>>> b *= 3.0
>>> tape.run()
>>> product
array([[3., 3.],
       [3., 3.]], dtype=float32)
"""

from collections.abc import Sequence

from femto._kernels import core


class Live(core.Live):  # type: ignore[misc]  # compiled, so its type is not known
    """An integer that may stand for the `step` of a mask, and that a tape reads anew whenever it runs.

    value: what it is now, a signed integer of 64 bits. `live + 1` and `live * 2` follow it, and their own value
    cannot be set.
    """

    value: int


class Tape(core.Tape):  # type: ignore[misc]
    """Calls of kernels, in order, and the arrays that they work on, which it keeps alive.

    Inside `with tape:`, calls of this thread are checked and recorded instead of made; so what they would write is not there yet.
    `run` makes all calls, as often as wanted, with the numbers that the arrays and `Live` integers have by then. Ids are checked
    again before anything is computed. `len(tape)` is the number of calls; a second `with tape:` adds to them. Kernels that return
    a number cannot be recorded, nor the run of a tape: ValueError. A tape is recorded to or run by one thread at a time:
    RuntimeError. A change of the instruction set holds for the next run.
    """


def run_parts(tapes: Sequence[Sequence[Tape]]) -> None:
    """Run every part once. tapes[worker][part] is what `worker` runs for that part; each worker has every part.

    Workers run side by side, as many as there are threads, and take the next part when they are free. So tapes of different
    workers must not write to the same memory where they are of different parts. Kernels inside use their worker's thread alone if
    there are several workers. Raises ValueError, before anything is computed, when ids on a tape are out of range or workers have
    different numbers of parts, and RuntimeError when a tape is in use or stands there twice.
    """
    core.run_parts([list(parts) for parts in tapes])
