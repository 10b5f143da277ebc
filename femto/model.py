"""A model: its parameters in one flat buffer, their initialisation, and the graph that runs over them."""

import hashlib
import math

import numpy as np
from numpy.typing import NDArray

from femto import memory
from femto.buffers import Floats, ParameterLayout, aligned, layout_size
from femto.config import ModelConfig
from femto.kernels import Integers
from femto.layers import BLOCK_CLASSES, NO_GRADIENTS, Embedding, Head, KeyValueCache, Pass, Workspace
from femto.random_numbers import normal


class Model:
    """Shape and parameters of a GPT.

    parameters: the flat float32 buffer, laid out by `layout`. tensors: views of it by the names that users see
    (`token_embedding`, `head_0_1_q`, …).
    """

    def __init__(self, config: ModelConfig) -> None:
        """Raises ResourceError if there is no memory for it."""
        memory.require({"parameters": 4 * layout_size(config)}, "a model of this shape", "choose a smaller one")
        self.config = config
        self.layout = ParameterLayout(config)
        self.parameters = aligned(self.layout.size)
        self.tensors = self.layout.views(self.parameters)

    def initialize(self, seed: int) -> "Model":
        """Random parameters from a seed. The whole table:

        | initializer | LayerNorm gains | biases | everything else |
        |---|---|---|---|
        | scaled | 1 | 0 | N(0, 0.64 / sqrt(d)) |
        | reference | N(0, 0.02) | 0 | N(0, 0.02) |

        The reference is the log's program (SPEC section 2); 0.64 is measured (docs/measurements.md).
        """
        reference = self.config.initializer == "reference"
        std = 0.02 if reference else 0.64 / math.sqrt(self.config.embedding_degree)
        for index, (name, tensor) in enumerate(self.layout.stored(self.parameters).items()):
            if name.endswith("_bias"):
                tensor[...] = 0.0
            elif name.endswith("_coeff") and not reference:
                tensor[...] = 1.0
            else:
                tensor[...] = normal(seed, index, tensor.shape, std)
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> "Model":
        """A model of its own, whose `tensors` are views of its own parameters."""
        model = Model(self.config)
        model.parameters[...] = self.parameters
        return model

    @property
    def parameters_sha256(self) -> str:
        return sha256(self.parameters)


def count_parameters(config: ModelConfig) -> dict[str, int]:
    """Numbers of parameters by part: `embedding`, `attention`, `feedforward` and `norms` of all layers, and `head`."""
    d, v, layers = config.embedding_degree, config.vocab_size, config.num_layers
    learned = config.num_tokens * d if config.positional_encoding == "learned" else 0
    return {
        "embedding": v * d + learned,
        "attention": layers * (4 * d * d + d),
        "feedforward": layers * (8 * d * d + 5 * d),
        "norms": layers * 4 * d,
        "head": 2 * d + d * v + v,
    }


def sha256(*buffers: NDArray[np.float32]) -> str:
    """SHA-256 of the buffers' little-endian bytes, one after another: the bytes of the checkpoint's section."""
    digest = hashlib.sha256()
    for buffer in buffers:
        digest.update(np.ascontiguousarray(buffer, "<f4").data)
    return digest.hexdigest()


class Graph:
    """The model's computation over `batch` sequences of `tokens` tokens, with its buffers.

    With `training`, activations are kept and gradients (a flat buffer laid out as the parameters) exist; without, a few shared
    buffers serve all layers.
    """

    def __init__(self, model: Model, batch: int, tokens: int, training: bool = False) -> None:
        config = model.config
        self.model, self.batch, self.tokens = model, batch, tokens
        self.gradients = aligned(model.layout.size if training else 0)
        tensors = model.layout.stored(model.parameters)
        gradients = model.layout.stored(self.gradients) if training else NO_GRADIENTS
        workspace = Workspace(batch * tokens, keep=training)
        self.embedding = Embedding(config, tensors, gradients, workspace)
        block = BLOCK_CLASSES[config.block]
        self.blocks = [block(layer, config, tensors, gradients, workspace) for layer in range(config.num_layers)]
        self.head = Head(config, tensors, gradients, workspace)
        if training:
            self.dh = workspace.shared("dh", workspace.rows, config.embedding_degree)

    def forward(self, tokens: Integers, run: Pass | None = None) -> Floats:
        """Logits (B*T, V) of tokens (B, T) int32; the memory is reused by the next call."""
        run = run or Pass(self.tokens)
        flat = tokens.reshape(-1)
        h = self.embedding.forward(flat, 0, self.tokens)
        for block in self.blocks:
            h = block.forward(h, run)
        return self.head.forward(h)

    def losses(self, tokens: Integers, targets: Integers) -> Floats:
        """Cross entropy in nats of every position (B*T,); 0 where the target is -1. No dropout, no gradients."""
        self.forward(tokens)
        return self.head.loss(targets.reshape(-1), None)

    def accumulate_gradients(self, tokens: Integers, targets: Integers, run: Pass, gradient_scale: float) -> float:
        """Add the gradient of gradient_scale * (sum of the losses) to `gradients`; returns the sum of the losses in nats."""
        flat = tokens.reshape(-1)
        self.forward(tokens, run)
        losses = self.head.loss(targets.reshape(-1), gradient_scale)
        total = math.fsum(losses.tolist())
        dh = self.head.backward(self.dh)
        for block in reversed(self.blocks):
            dh = block.backward(dh, run)
        self.embedding.backward(dh, flat, self.tokens)
        return total


class Decoder:
    """One sequence, one token at a time, with a key/value cache; positions up to the model's context."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.graph = Graph(model, 1, 1)
        self.caches = [KeyValueCache(model.config) for _ in range(model.config.num_layers)]
        self.length = 0  # tokens in the cache

    def prefill(self, tokens: Integers) -> Floats:
        """Start anew with these tokens, at least one and at most the context; logits (V,) after the last."""
        graph = Graph(self.model, 1, len(tokens))
        h = graph.embedding.forward(tokens, 0, len(tokens))
        for block, cache in zip(graph.blocks, self.caches, strict=True):
            h = block.forward(h, Pass(len(tokens)))
            block.attention.fill(cache, len(tokens))
        self.length = len(tokens)
        last: Floats = graph.head.forward(h)[-1]
        return last

    def decode(self, token: int) -> Floats:
        """Append one token; logits (V,) after it."""
        h = self.graph.embedding.forward(np.array([token], np.int32), self.length, 1)
        for block, cache in zip(self.graph.blocks, self.caches, strict=True):
            h = block.decode(h, cache, self.length)
        self.length += 1
        only: Floats = self.graph.head.forward(h)[0]
        return only
