"""The two ends of the graph: tokens to the residual stream, and the stream to logits and loss.

Legend: B sequences of T tokens, R = B*T rows, d embedding degree, H heads, hs = d/H head size, V vocabulary.
"""

import numpy as np

from femto import kernels
from femto.config import ModelConfig
from femto.kernels import Live
from femto.kernels.arguments import Integers
from femto.model.buffers import Floats
from femto.model.linear import Linear, Tensors
from femto.model.norms import NORM_CLASSES
from femto.model.workspace import Workspace


class Embedding:
    """h = E[token], plus a row of the positional table where the encoding has one."""

    def __init__(self, config: ModelConfig, tensors: Tensors, gradients: Tensors, workspace: Workspace) -> None:
        self.table = tensors["token_embedding"]
        self.dtable = gradients.get("token_embedding")
        self.positions = tensors.get("position_embedding")
        self.dpositions = gradients.get("position_embedding")
        sines = workspace.table("sinusoids", lambda: absolute_table(config))
        if sines:
            (self.positions,) = sines
        self.out = workspace.shared("embedded", workspace.rows, config.embedding_degree)

    def forward(self, tokens: Integers, count: int, first: int | Live = 0) -> Floats:
        """tokens (R,): sequences of `count` tokens from position 0, or one token at the position `first` below `count`."""
        positions = None if self.positions is None else self.positions[:count]
        return kernels.embedding_forward(self.table, tokens, self.out, positions, first)

    def backward(self, dout: Floats, tokens: Integers, count: int) -> None:
        assert self.dtable is not None
        dpositions = None if self.dpositions is None else self.dpositions[:count]
        kernels.embedding_backward(dout, tokens, self.dtable, dpositions)


def absolute_table(config: ModelConfig) -> tuple[Floats, ...]:
    """The sinusoids (T, d) where positions are absolute, else nothing."""
    return (sinusoids(config.num_tokens, config.embedding_degree),) if config.positional_encoding == "absolute" else ()


def sinusoids(num_tokens: int, columns: int) -> Floats:
    """(T, d): sin(t / 10000^(2 (c//2) / d)) in even columns c, cos of the same in odd ones (Vaswani et al. 2017)."""
    c = np.arange(columns)
    angles = np.outer(np.arange(num_tokens), 10000.0 ** (-2.0 * (c // 2) / columns))
    table: Floats = np.where(c % 2 == 0, np.sin(angles), np.cos(angles)).astype(np.float32)
    return table


class Head:
    """Final LayerNorm, the map to V logits, and cross entropy. The logits' memory becomes that of their gradient."""

    def __init__(self, config: ModelConfig, tensors: Tensors, gradients: Tensors, workspace: Workspace) -> None:
        self.norm = NORM_CLASSES[config.norm](tensors, gradients, "head_norm", "head_norm", workspace)
        self.map = Linear(tensors, gradients, "head_map_weights", "head_map_bias")
        self.logits = workspace.shared("logits", workspace.rows, config.vocab_size)
        self.losses = workspace.shared("losses", workspace.rows)
        self.dnorm = workspace.gradient("dnorm", workspace.rows, config.embedding_degree)

    def forward(self, h: Floats) -> Floats:
        return self.map.forward(self.norm.forward(h), self.logits)

    def loss(self, targets: Integers, gradient_scale: float | None, losses: Floats | None = None) -> Floats:
        """Cross entropy of each row (R,), in `losses` if given; with a scale, the logits become scale * gradient."""
        dlogits = None if gradient_scale is None else self.logits
        losses = self.losses if losses is None else losses
        return kernels.cross_entropy(self.logits, targets, losses, dlogits, gradient_scale or 0.0)

    def backward(self, dh: Floats) -> Floats:
        """dh (R, d) from the gradient that `loss` left in the logits."""
        return self.norm.backward(self.map.backward(self.logits, self.norm.out, self.dnorm), dh)
