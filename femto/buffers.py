"""Memory of a model: aligned float32 buffers, and the layout of all parameters in one of them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from femto import memory
from femto.config import ModelConfig

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
        count = int(np.prod(shape, dtype=np.int64))
        padded = -(-count // ALIGNMENT) * ALIGNMENT
        if padded > self._free.size:
            self._free = aligned(max(padded, self.SLAB // 4))
        taken, self._free = self._free[:count], self._free[padded:]
        return taken.reshape(shape)


@dataclass(frozen=True)
class Tensor:
    """A stored tensor: where it lies in the flat buffer."""

    name: str
    shape: tuple[int, ...]
    offset: int  # in floats

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))


class ParameterLayout:
    """Where each tensor of a model lies in its flat buffer; gradients and optimiser state use the same layout.

    Tensors are stored in the order of the forward pass, each at a multiple of 64 bytes, zeros between. Queries, keys and values
    of a layer are one matrix `heads_<l>_qkv` (d, 3d); `views` names its parts `head_<l>_<h>_q|k|v` (d, hs), as the log does.
    """

    def __init__(self, config: ModelConfig) -> None:
        self.config = config
        self.tensors: dict[str, Tensor] = {}
        offset = 0
        for name, shape in _stored(config):
            tensor = Tensor(name, shape, offset)
            self.tensors[name] = tensor
            offset += -(-tensor.size // ALIGNMENT) * ALIGNMENT
        self.size = offset  # floats, padding included

    def stored(self, buffer: Floats) -> dict[str, Floats]:
        """Views of the stored tensors, C-contiguous, in order."""
        return {t.name: buffer[t.offset : t.offset + t.size].reshape(t.shape) for t in self.tensors.values()}

    def views(self, buffer: Floats) -> dict[str, Floats]:
        """Views by the names that users see, in order: as stored, but each head's q, k and v apart."""
        views: dict[str, Floats] = {}
        d, hs = self.config.embedding_degree, self.config.head_size
        for name, tensor in self.stored(buffer).items():
            if not name.endswith("_qkv"):
                views[name] = tensor
                continue
            layer = name.split("_")[1]
            for head in range(self.config.num_heads):
                for part, letter in enumerate("qkv"):
                    start = part * d + head * hs
                    views[f"head_{layer}_{head}_{letter}"] = tensor[:, start : start + hs]
        return views


def layout_size(config: ModelConfig) -> int:
    """ParameterLayout(config).size without building it: cheap enough to check a size that a file claims."""
    sizes = [int(np.prod(shape)) for _, shape in _ends(config)]
    layer_sizes = [int(np.prod(shape)) for _, shape in _layer(config.embedding_degree, 0)]

    def padded(size: int) -> int:
        return -(-size // ALIGNMENT) * ALIGNMENT

    return sum(map(padded, sizes)) + config.num_layers * sum(map(padded, layer_sizes))


def _stored(config: ModelConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    ends = list(_ends(config))
    split = len(ends) - 4
    yield from ends[:split]
    for layer in range(config.num_layers):
        yield from _layer(config.embedding_degree, layer)
    yield from ends[split:]


def _ends(config: ModelConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    d, v = config.embedding_degree, config.vocab_size
    yield "token_embedding", (v, d)
    if config.positional_encoding == "learned":
        yield "position_embedding", (config.num_tokens, d)
    yield "head_norm_coeff", (d,)
    yield "head_norm_bias", (d,)
    yield "head_map_weights", (d, v)
    yield "head_map_bias", (v,)


def _layer(d: int, layer: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"norm_{layer}_coeff", (d,)
    yield f"norm_{layer}_bias", (d,)
    yield f"heads_{layer}_qkv", (d, 3 * d)
    yield f"proj_{layer}_weights", (d, d)
    yield f"proj_{layer}_bias", (d,)
    yield f"atten_norm_{layer}_coeff", (d,)
    yield f"atten_norm_{layer}_bias", (d,)
    yield f"feedforward1_{layer}_weights", (d, 4 * d)
    yield f"feedforward1_{layer}_bias", (4 * d,)
    yield f"feedforward2_{layer}_weights", (4 * d, d)
    yield f"feedforward2_{layer}_bias", (d,)
