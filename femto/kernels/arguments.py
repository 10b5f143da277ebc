"""What the functions of all kernels share: types of arrays, shapes, and which numbers a mask drops."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from femto.kernels.tape import Live

Floats = NDArray[np.float32]
Integers = NDArray[np.int32]


class Dropout(NamedTuple):
    """Which numbers a mask drops: a pure function of these four and of row and column (Philox4x32-7 counters)."""

    probability: float = 0.0  # of dropping, 0 <= p < 1, drawn in steps of 2^-16; kept values are scaled by 1/(1-p)
    seed: int = 0  # 64-bit key
    step: int | Live = 0  # 32-bit counter: the training step
    site: int = 0  # 32-bit counter: which mask of the step


NO_DROPOUT = Dropout()


def empty_like(x: Floats) -> Floats:
    """A new array of the same shape."""
    return np.empty(np.shape(x), np.float32)


def shape_of(x: Floats, name: str, dimensions: int) -> tuple[int, ...]:
    """The shape of the argument `name`. Raises ValueError if it has another number of dimensions."""
    shape = np.shape(x)
    if len(shape) != dimensions:
        raise ValueError(f"{name}: expected {dimensions} dimensions, got shape {shape}")
    return shape
