"""Transformer layers: where the residual adds. BLOCK_CLASSES has each by its name in `femto.config.BLOCKS`."""

from abc import ABC, abstractmethod

from femto.config import ModelConfig
from femto.kernels import Live
from femto.model.attention import KeyValueCache, SelfAttention
from femto.model.buffers import Floats
from femto.model.feedforward import FeedForward
from femto.model.linear import Pass, Tensors
from femto.model.norms import NORM_CLASSES
from femto.model.workspace import Workspace


class Block(ABC):
    """One transformer layer: LayerNorm and attention, LayerNorm and feed-forward. Subclasses say where the residual adds."""

    dropout_after_feedforward: bool

    def __init__(self, layer: int, config: ModelConfig, tensors: Tensors, gradients: Tensors, workspace: Workspace) -> None:
        rows, d = workspace.rows, config.embedding_degree
        self.norm = NORM_CLASSES[config.norm](tensors, gradients, f"norm_{layer}", "norm", workspace)
        self.attention = SelfAttention(layer, config, tensors, gradients, workspace)
        self.atten_norm = NORM_CLASSES[config.norm](tensors, gradients, f"atten_norm_{layer}", "atten_norm", workspace)
        self.feedforward = FeedForward(layer, config, tensors, gradients, workspace, self.dropout_after_feedforward)
        self.middle = workspace.own("middle", rows, d)
        self.out = workspace.own("block_out", rows, d)
        self.dnorm = workspace.gradient("dnorm", rows, d)

    @abstractmethod
    def forward(self, h: Floats, run: Pass) -> Floats:
        """The stream (R, d) after this layer."""

    @abstractmethod
    def decode(self, h: Floats, cache: KeyValueCache, position: int | Live) -> Floats:
        """The same for one row: token `position` of a sequence whose earlier tokens are in the cache."""

    @abstractmethod
    def backward(self, dh: Floats, run: Pass) -> Floats:
        """Gradient of the input from that of the output, in place."""


class PreNormBlock(Block):
    """h = h + attention(LN(h));  h = h + feedforward(LN(h))  (Radford et al. 2019)."""

    dropout_after_feedforward = True

    def forward(self, h: Floats, run: Pass) -> Floats:
        self.attention.forward(self.norm.forward(h), h, self.middle, run)
        return self.feedforward.forward(self.atten_norm.forward(self.middle), self.middle, self.out, run)

    def decode(self, h: Floats, cache: KeyValueCache, position: int | Live) -> Floats:
        self.attention.decode(self.norm.forward(h), h, self.middle, cache, position)
        return self.feedforward.forward(self.atten_norm.forward(self.middle), self.middle, self.out, Pass(1))

    def backward(self, dh: Floats, run: Pass) -> Floats:
        self.atten_norm.backward(self.feedforward.backward(dh, self.dnorm, run), dh, residual=dh)
        return self.norm.backward(self.attention.backward(dh, self.dnorm, run), dh, residual=dh)


class ReferenceBlock(Block):
    """n = LN(h);  m = LN(n + attention(n));  h = m + feedforward(m): the original program, whose residual adds to the norm."""

    dropout_after_feedforward = False

    def forward(self, h: Floats, run: Pass) -> Floats:
        n = self.norm.forward(h)
        m = self.atten_norm.forward(self.attention.forward(n, n, self.middle, run))
        return self.feedforward.forward(m, m, self.out, run)

    def decode(self, h: Floats, cache: KeyValueCache, position: int | Live) -> Floats:
        n = self.norm.forward(h)
        m = self.atten_norm.forward(self.attention.decode(n, n, self.middle, cache, position))
        return self.feedforward.forward(m, m, self.out, Pass(1))

    def backward(self, dh: Floats, run: Pass) -> Floats:
        dm = self.feedforward.backward(dh, self.dnorm, run, residual=dh)
        dmiddle = self.atten_norm.backward(dm, dh)
        dn = self.attention.backward(dmiddle, self.dnorm, run, residual=dmiddle)
        return self.norm.backward(dn, dh)


BLOCK_CLASSES: dict[str, type[Block]] = {"pre-norm": PreNormBlock, "reference": ReferenceBlock}
