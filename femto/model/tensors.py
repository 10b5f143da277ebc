"""Every tensor of a model, declared once: name, shape, start, and what it does.

Layout, counts, initialisation, growth, comparison, diagnosis and parameter groups follow from what stands here, and nothing else
in femto takes a tensor's name apart. Legend: V vocabulary, T context, d embedding degree, L layers, H heads, hs = d/H head size.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol


class Shape(Protocol):
    """What a tensor may depend on: these fields of a ModelConfig, which this file does not import, as it counts by this file."""

    @property
    def vocab_size(self) -> int: ...
    @property
    def num_tokens(self) -> int: ...
    @property
    def embedding_degree(self) -> int: ...
    @property
    def num_layers(self) -> int: ...
    @property
    def num_heads(self) -> int: ...
    @property
    def head_size(self) -> int: ...
    @property
    def positional_encoding(self) -> str: ...
    @property
    def norm(self) -> str: ...


@dataclass(frozen=True)
class Tensor:
    """A tensor as it is stored. Matrices act on row vectors from the right: y = x W."""

    template: str  # its name, with {layer} for the number of its layer
    shape: tuple[int, ...]
    role: str  # one of config.ROLES: rows to look up, layers' matrices, gains of norms, biases, the map to logits
    part: str  # of the model, for counts: embedding, attention, feedforward, norms or head
    start: str = "normal"  # normal, zero or one: what `Model.initialize` draws; the reference initializer draws ones, too
    layer: int | None = None  # 0 to L-1; None outside the layers
    writes_to_stream: bool = False  # its last axis adds to the residual stream; else it reads the stream, through a norm
    token_axis: int | None = None  # has a row (0) or a column (1) for each token: it means nothing to another vocabulary
    head_template: str | None = None  # the name of one head's part: its columns are q, k and v of H blocks of hs columns each

    @property
    def name(self) -> str:
        return self.template.format(layer=self.layer)

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class View:
    """A tensor, or a part of its columns, by the name that users see."""

    tensor: Tensor
    template: str  # its name, with {layer} for the number of the tensor's layer
    columns: slice | None = None  # None: all

    @property
    def name(self) -> str:
        return self.template.format(layer=self.tensor.layer)

    @property
    def layer(self) -> int | None:
        return self.tensor.layer

    def in_layer(self, layer: object) -> str:
        """Its name if its layer had another number; outside the layers, its name."""
        return self.name if self.layer is None else self.template.format(layer=layer)


def before_layers(config: Shape) -> Iterator[Tensor]:
    """What makes the residual stream."""
    d, v = config.embedding_degree, config.vocab_size
    yield Tensor("token_embedding", (v, d), "embedding", "embedding", writes_to_stream=True, token_axis=0)
    if config.positional_encoding == "learned":
        yield Tensor("position_embedding", (config.num_tokens, d), "embedding", "embedding", writes_to_stream=True)


def of_layer(config: Shape, layer: int) -> Iterator[Tensor]:
    """One transformer layer, in the order of the forward pass."""
    d = config.embedding_degree
    qkv = "head_{layer}_HEAD_PART"  # HEAD and PART are those of each view
    declared = (
        *_norm("norm_{layer}", config, "norms"),
        Tensor("heads_{layer}_qkv", (d, 3 * d), "matrix", "attention", head_template=qkv),
        Tensor("proj_{layer}_weights", (d, d), "matrix", "attention", writes_to_stream=True),
        Tensor("proj_{layer}_bias", (d,), "bias", "attention", "zero", writes_to_stream=True),
        *_norm("atten_norm_{layer}", config, "norms"),
        Tensor("feedforward1_{layer}_weights", (d, 4 * d), "matrix", "feedforward"),
        Tensor("feedforward1_{layer}_bias", (4 * d,), "bias", "feedforward", "zero"),
        Tensor("feedforward2_{layer}_weights", (4 * d, d), "matrix", "feedforward", writes_to_stream=True),
        Tensor("feedforward2_{layer}_bias", (d,), "bias", "feedforward", "zero", writes_to_stream=True),
    )
    for tensor in declared:
        yield replace(tensor, layer=layer)


def after_layers(config: Shape) -> Iterator[Tensor]:
    """From the stream to logits."""
    d, v = config.embedding_degree, config.vocab_size
    yield from _norm("head_norm", config, "head")
    yield Tensor("head_map_weights", (d, v), "head", "head", token_axis=1)
    yield Tensor("head_map_bias", (v,), "bias", "head", "zero", token_axis=0)


def _norm(name: str, config: Shape, part: str) -> Iterator[Tensor]:
    """What config.norm needs."""
    yield Tensor(f"{name}_coeff", (config.embedding_degree,), "gain", part, "one")
    yield Tensor(f"{name}_bias", (config.embedding_degree,), "bias", part, "zero")


def declared(config: Shape) -> Iterator[Tensor]:
    """All tensors, in the order in which they are stored and initialised."""
    yield from before_layers(config)
    for layer in range(config.num_layers):
        yield from of_layer(config, layer)
    yield from after_layers(config)


def views(tensor: Tensor, config: Shape) -> Iterator[View]:
    """A tensor by the names that users see: as stored, but each head's queries, keys and values (d, hs) apart."""
    if tensor.head_template is None:
        yield View(tensor, tensor.template)
        return
    d, hs = config.embedding_degree, config.head_size
    for head in range(config.num_heads):
        for part, letter in enumerate("qkv"):
            start = part * d + head * hs
            name = tensor.head_template.replace("HEAD", str(head)).replace("PART", letter)
            yield View(tensor, name, slice(start, start + hs))


def count_parameters(config: Shape) -> dict[str, int]:
    """Numbers of parameters by part: `embedding`, `attention`, `feedforward` and `norms` of all layers, and `head`."""
    counts = dict.fromkeys(("embedding", "attention", "feedforward", "norms", "head"), 0)
    for tensor, times in _with_times(config):
        counts[tensor.part] += times * tensor.size
    return counts


def num_parameters(config: Shape) -> int:
    return sum(times * tensor.size for tensor, times in _with_times(config))


def count_views(config: Shape) -> int:
    """How many tensors users see: queries, keys and values of each head apart."""
    return sum(times * (1 if tensor.head_template is None else 3 * config.num_heads) for tensor, times in _with_times(config))


def flops_per_token(config: Shape) -> int:
    """What the mathematics of one training step needs a token: 6 for every weight of a matrix product, 6 L d T for attention.

    Attention is causal: half of its products. Nothing that is computed again counts, and an embedding's look-up is no product.
    """
    weights = sum(times * tensor.size for tensor, times in _with_times(config) if tensor.role in ("matrix", "head"))
    return 6 * weights + 6 * config.num_layers * config.embedding_degree * config.num_tokens


def _with_times(config: Shape) -> Iterator[tuple[Tensor, int]]:
    """Every tensor outside the layers, and those of one layer, as all are alike; with how often it is there."""
    for tensor in (*before_layers(config), *after_layers(config)):
        yield tensor, 1
    for tensor in of_layer(config, 0):
        yield tensor, config.num_layers
