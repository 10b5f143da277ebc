"""Memory of a model: aligned float32 buffers."""

import math

import numpy as np
from numpy.typing import NDArray

from femto.system import memory

Floats = NDArray[np.float32]

ALIGNMENT = 16  # floats, 64 bytes: every tensor of the flat buffer starts on a cache line
LARGE = 1 << 28  # bytes from which on it is asked first whether they are there


def aligned(*shape: int) -> Floats:
    """A zeroed float32 array whose first byte lies on a multiple of 64. Raises ResourceError if there is no memory for it."""
    count = math.prod(shape)
    if 4 * count >= LARGE:
        what = f"a buffer of {' x '.join(map(str, shape))}"
        memory.require({"float32": 4 * count}, what, "choose a smaller model or batch")
    raw = np.zeros(count + ALIGNMENT, np.float32)
    start = -(raw.ctypes.data // 4) % ALIGNMENT
    return raw[start : start + count].reshape(shape)


class Arena:
    """Zeroed float32 arrays out of a few large slabs, which the system backs with huge pages where it can (NumPy asks for them
    from 4 MiB on): a step walks through all of them. Untouched memory stays virtual."""

    SLAB = 32 << 20  # bytes

    def __init__(self) -> None:
        self._free: Floats = aligned(0)

    def array(self, *shape: int) -> Floats:
        count = math.prod(shape)
        padded = -(-count // ALIGNMENT) * ALIGNMENT
        if padded > self._free.size:
            self._free = aligned(max(padded, self.SLAB // 4))
        taken, self._free = self._free[:count], self._free[padded:]
        return taken.reshape(shape)
