"""Where each tensor of a model lies in the flat buffer that holds all parameters."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from femto.config import ModelConfig
from femto.model.buffers import ALIGNMENT, Floats


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
    of a layer are one matrix `heads_<l>_qkv` (d, 3d); `views` names its parts `head_<l>_<h>_q|k|v` (d, hs), as the journal does.
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
