"""The graph that runs over a model's parameters: forward, backward, and decoding one token at a time."""

import math
from functools import lru_cache
from operator import index

import numpy as np

from femto.config import ModelConfig
from femto.errors import ConfigError
from femto.kernels import Live, Tape
from femto.kernels.arguments import Integers
from femto.kernels.loop_threads import LoopThreads
from femto.model.attention import KeyValueCache
from femto.model.blocks import BLOCK_CLASSES, Block
from femto.model.buffers import Floats, aligned
from femto.model.ends import Embedding, Head
from femto.model.layout import ParameterLayout
from femto.model.linear import NO_GRADIENTS, Pass, Tensors
from femto.model.parameters import Model
from femto.model.workspace import Workspace
from femto.system.text import described


class Graph:
    """The model's computation over `batch` sequences of `tokens` tokens, with its buffers.

    With `training`, activations are kept and gradients (a flat buffer laid out as the parameters) exist; without, a few shared
    buffers serve all layers.
    """

    def __init__(
        self,
        model: Model,
        batch: int,
        tokens: int,
        training: bool = False,
        gradients: Floats | None = None,
        workspace: Workspace | None = None,
    ) -> None:
        """batch: from 1; tokens: from 1 to the model's context. gradients, workspace: memory to use instead of the graph's own.
        Raises ConfigError.
        """
        if batch < 1 or not 1 <= tokens <= model.config.num_tokens:
            limit = f"sequences from 1, and tokens from 1 to the context of {model.config.num_tokens}"
            raise ConfigError(f"a graph has {limit}; got {batch} and {tokens}")
        self.model, self.batch, self.tokens = model, batch, tokens
        self.gradients = aligned(model.layout.size if training else 0) if gradients is None else gradients
        self.workspace = Workspace(batch * tokens, training) if workspace is None else workspace
        tensors = model.layout.stored(model.parameters)
        stored = model.layout.stored(self.gradients) if training else NO_GRADIENTS
        self.embedding, self.blocks, self.head, self.dh = _assemble(model.config, tensors, stored, self.workspace)
        self.loop = LoopThreads()  # whose pieces the calls are, as a graph's work is the same in each

    def __repr__(self) -> str:
        return described(self, self.model, batch=self.batch, tokens=self.tokens, training=len(self.gradients) > 0)

    def forward(self, tokens: Integers, run: Pass | None = None) -> Floats:
        """Logits (B*T, V) of tokens (B, T) int32; the memory is reused by the next call. Raises TypeError and ValueError."""
        return self.loop.piece(self._forward, tokens, run)

    def losses(self, tokens: Integers, targets: Integers) -> Floats:
        """Cross entropy in nats of every position (B*T,); 0 where the target is -1. No dropout, no gradients."""
        return self.loop.piece(self._losses, tokens, targets)

    def accumulate_gradients(self, tokens: Integers, targets: Integers, run: Pass, gradient_scale: float) -> float:
        """Add the gradient of gradient_scale * (sum of the losses) to `gradients`; returns the sum of the losses in nats.

        tokens and targets (B, T) int32; a target of -1 is left out. Raises TypeError and ValueError.
        """
        if not len(self.gradients):
            raise ValueError("this graph has no gradients; make it with training=True")
        return self.loop.piece(self._accumulate_gradients, tokens, targets, run, gradient_scale)

    def _forward(self, tokens: Integers, run: Pass | None = None) -> Floats:
        run = run or Pass(self.tokens)
        if np.shape(tokens) != (self.batch, self.tokens):
            raise ValueError(f"tokens: expected shape ({self.batch}, {self.tokens}), got {np.shape(tokens)}")
        flat = np.reshape(tokens, -1)
        h = self.embedding.forward(flat, self.tokens)
        for block in self.blocks:
            h = block.forward(h, run)
        return self.head.forward(h)

    def _losses(self, tokens: Integers, targets: Integers) -> Floats:
        self._forward(tokens)
        return self.head.loss(targets.reshape(-1), None)

    def _accumulate_gradients(self, tokens: Integers, targets: Integers, run: Pass, gradient_scale: float) -> float:
        self.differentiate(tokens, targets, run, gradient_scale, self.head.losses)
        return math.fsum(self.head.losses.tolist())

    def differentiate(self, tokens: Integers, targets: Integers, run: Pass, gradient_scale: float, losses: Floats) -> None:
        """As accumulate_gradients, but the losses of all positions go to `losses` (B*T,). A tape can record it."""
        self._forward(tokens, run)
        self.head.loss(np.reshape(targets, -1), gradient_scale, losses)
        dh = self.head.backward(self.dh)
        for block in reversed(self.blocks):
            dh = block.backward(dh, run)
        self.embedding.backward(dh, np.reshape(tokens, -1), self.tokens)


def _assemble(
    config: ModelConfig, tensors: Tensors, gradients: Tensors, workspace: Workspace
) -> tuple[Embedding, list[Block], Head, Floats]:
    """The layers of a model over a workspace, and the buffer (R, d) that the gradient of the stream goes through."""
    embedding = Embedding(config, tensors, gradients, workspace)
    block = BLOCK_CLASSES[config.block]
    blocks = [block(layer, config, tensors, gradients, workspace) for layer in range(config.num_layers)]
    head = Head(config, tensors, gradients, workspace)
    return embedding, blocks, head, workspace.gradient("dh", workspace.rows, config.embedding_degree)


@lru_cache(maxsize=16)  # asked several times at the start of a training
def activation_floats(config: ModelConfig) -> int:
    """What each token takes in training in activations and their gradients, in floats: a dry run of the workspace says it."""
    layout, workspace = ParameterLayout(config), Workspace(1, training=True, dry=True)
    nothing = layout.stored(np.broadcast_to(np.float32(0.0), (layout.size,)))
    _assemble(config, nothing, nothing, workspace)
    return workspace.floats


class Decoder:
    """One sequence, one token at a time, with a key/value cache; positions up to the model's context."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.graph = self.window = Graph(model, 1, 1)  # window: what the last prefill ran through
        self.caches = [KeyValueCache(model.config) for _ in range(model.config.num_layers)]
        self.length = 0  # tokens in the cache
        self.loop = LoopThreads()  # whose pieces the decoded tokens are
        self._token, self._position = np.zeros(1, np.int32), Live()
        with Tape() as self._tape:  # the calls of a token: most of the time of a small model would be Python's
            h = self.graph.embedding.forward(self._token, model.config.num_tokens, self._position)
            for block, cache in zip(self.graph.blocks, self.caches, strict=True):
                h = block.decode(h, cache, self._position)
            self._logits: Floats = self.graph.head.forward(h)[0]

    def __repr__(self) -> str:
        return described(self, self.model, length=self.length)

    def prefill(self, tokens: Integers) -> Floats:
        """Start anew with these tokens (N,) int32, at least one and at most the context; logits (V,) after the last.

        The memory of the logits is reused by the next call. Raises TypeError, ValueError, and ConfigError for too few or too many
        tokens.
        """
        if self.window.tokens != len(tokens):  # a context that shifts has the same number of them again and again
            self.window = Graph(self.model, 1, len(tokens))
        return self.window.loop.piece(self._prefill, tokens)

    def decode(self, token: int) -> Floats:
        """Append one token; logits (V,) after it, in the memory of the last ones. Raises ValueError for an unknown token, and
        when the context is full.
        """
        vocabulary = self.model.config.vocab_size
        if not 0 <= index(token) < vocabulary:
            raise ValueError(f"token: expected an id from 0 to {vocabulary - 1}, got {token}")
        if self.length == self.model.config.num_tokens:
            raise ValueError(f"the context of {self.length} tokens is full; prefill starts anew")
        return self.loop.piece(self._decode, token)

    def _prefill(self, tokens: Integers) -> Floats:
        h = self.window.embedding.forward(tokens, len(tokens))
        for block, cache in zip(self.window.blocks, self.caches, strict=True):
            h = block.forward(h, Pass(len(tokens)))
            block.attention.fill(cache, len(tokens))
        self.length = len(tokens)
        logits: Floats = self.graph.head.forward(h[-1:])[0]
        return logits

    def _decode(self, token: int) -> Floats:
        self._token[0], self._position.value = token, self.length
        self._tape.run()
        self.length += 1
        return self._logits
