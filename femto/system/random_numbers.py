"""Counter-based random numbers: every draw is a function of a seed and of where it is used, never of what was drawn before.

Philox4x64-10 (Salmon et al. 2011) as NumPy ships it; only the raw words are used, whose stream NumPy promises to keep.
"""

import secrets

import numpy as np
from numpy.typing import NDArray

# Second word of the key: what the numbers are for.
INITIALIZATION, BATCHES, SAMPLING = 1, 2, 3


def words(seed: int, purpose: int, index: int, count: int, series: int = 0) -> NDArray[np.uint64]:
    """`count` random 64-bit words, those of draw number `index` of a series of draws; each series of a seed has its own."""
    raw: NDArray[np.uint64] = np.random.Philox(key=[seed % 2**64, purpose], counter=[0, 0, series, index]).random_raw(count)
    return raw


def uniform(seed: int, purpose: int, index: int, count: int, series: int = 0) -> NDArray[np.float64]:
    """Uniform in [0, 1), 53 bits."""
    mantissas: NDArray[np.float64] = (words(seed, purpose, index, count, series) >> np.uint64(11)).astype(np.float64)
    return mantissas * 2.0**-53


def normal(seed: int, index: int, shape: tuple[int, ...], std: float) -> NDArray[np.float32]:
    """N(0, std) by Box-Muller in float64, for the initialisation of tensor number `index`."""
    count = int(np.prod(shape))
    pairs = -(-count // 2)
    u = uniform(seed, INITIALIZATION, index, 2 * pairs).reshape(2, pairs)
    radius = np.sqrt(-2.0 * np.log1p(-u[0]))
    angle = 2.0 * np.pi * u[1]
    values = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count]
    return (std * values).astype(np.float32).reshape(shape)


def fresh_seed() -> int:
    """A seed from the operating system, small enough to read and type."""
    return secrets.randbelow(2**32)
