"""Two models side by side: how far their tensors have turned from each other, and the embeddings of tokens, head by head."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from femto.analysis.lineage import Event, Relation, relation
from femto.checkpoint import Checkpoint
from femto.model.tensors import View
from femto.system.text import described
from femto.tokenizers.reserved import is_reserved


@dataclass(frozen=True)
class TensorCosine:
    """The cosine of a tensor of one model and the tensor of the other that it corresponds to."""

    name: str  # in the first model
    second_name: str
    cosine: float
    shape: tuple[int, ...]  # of what was compared: the block that both have


@dataclass(frozen=True)
class TokenCosine:
    """The cosine of the part of a token's embedding that has the columns of one head."""

    token_id: int
    head: int
    cosine: float


@dataclass(frozen=True)
class Comparison:
    """What `compare` found. The cosines are in no order."""

    relation: Relation
    tensors: list[TensorCosine]
    tokens: list[TokenCosine]  # of those that both have; empty if ids mean other tokens, or the sizes of heads differ
    only_first: list[str] = field(default_factory=list)  # tensors that the other has nothing for
    only_second: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        counts = {"tensors": len(self.tensors), "only_first": len(self.only_first), "only_second": len(self.only_second)}
        return described(self, self.relation.kind, **counts)


def compare(first: Checkpoint, second: Checkpoint) -> Comparison:
    """Compare what corresponds: tensors by name, layers through the insertions since the common ancestor.

    Of tensors of different shape, the first block that both have is compared: that is what insert-head keeps. Tensors of tokens
    correspond only where the two vocabularies have the same tokens, but for those that one has after all of the other's.
    """
    related = relation(first.history, second.history)
    ours, theirs = _tensors(first, related.first), _tensors(second, related.second)
    same_tokens = _same_but_renamed(first, second)
    found: list[TensorCosine] = []
    for name in [name for name in ours if name in theirs]:
        (ours_view, our_tensor), (theirs_view, their_tensor) = ours[name], theirs[name]
        of_tokens, role = ours_view.tensor.token_axis is not None, ours_view.tensor.role
        if of_tokens and (role == "embedding" or not same_tokens):
            continue  # as in the journal, embeddings are compared token by token
        shape = tuple(int(size) for size in np.minimum(our_tensor.shape, their_tensor.shape))
        block = tuple(slice(size) for size in shape)
        found.append(TensorCosine(ours_view.name, theirs_view.name, cosine(our_tensor[block], their_tensor[block]), shape))
    tokens = _tokens(first, second) if same_tokens else []
    embedding = {"token_embedding"} if tokens else set()
    our_compared = {tensor.name for tensor in found} | embedding
    their_compared = {tensor.second_name for tensor in found} | embedding
    return Comparison(
        related,
        found,
        tokens,
        [view.name for view, _ in ours.values() if view.name not in our_compared],
        [view.name for view, _ in theirs.values() if view.name not in their_compared],
    )


def cosine(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """The cosine of two arrays as vectors: 1 for equal ones, zeros too, and 0 where one is zero."""
    if np.array_equal(first, second):
        return 1.0
    a, b = first.astype(np.float64).reshape(-1), second.astype(np.float64).reshape(-1)
    norms = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / norms if norms else 0.0


def _tensors(checkpoint: Checkpoint, since: Sequence[Event]) -> dict[str, tuple[View, NDArray[np.float32]]]:
    """Each tensor, by the name that it had in the common ancestor; new ones by names that no other model has."""
    inserted = [event.entry["index"] for event in since if event.entry["kind"] == "insert-layer"]
    layers = [str(layer) for layer in range(checkpoint.model.config.num_layers - len(inserted))]
    for index in inserted:
        layers.insert(index, f"{id(checkpoint)} {len(layers)}")
    if len(layers) != checkpoint.model.config.num_layers:  # the history of an imported model may not fit it
        layers = [str(layer) for layer in range(checkpoint.model.config.num_layers)]
    return {
        view.in_layer(layers[view.layer or 0]): (view, checkpoint.model.tensors[name])
        for name, view in checkpoint.model.layout.named.items()
    }


def _same_but_renamed(first: Checkpoint, second: Checkpoint) -> bool:
    """Whether the vocabularies differ at most in tokens that were reserved in one of them, or added after all others."""
    pairs = zip(first.tokenizer.tokens, second.tokenizer.tokens, strict=False)
    return all(ours == theirs or is_reserved(ours) or is_reserved(theirs) for ours, theirs in pairs)


def _tokens(first: Checkpoint, second: Checkpoint) -> list[TokenCosine]:
    a, b = first.model, second.model
    size = a.config.head_size
    if size != b.config.head_size:
        return []
    heads = min(a.config.num_heads, b.config.num_heads)
    both = min(a.config.vocab_size, b.config.vocab_size)
    ours, theirs = (
        model.tensors["token_embedding"][:both, : heads * size].reshape(both, heads, size).astype(np.float64) for model in (a, b)
    )
    norms = np.sqrt((ours * ours).sum(2) * (theirs * theirs).sum(2))
    dots = (ours * theirs).sum(2)
    cosines = np.divide(dots, norms, out=np.zeros_like(dots), where=norms > 0)
    cosines[(ours == theirs).all(2)] = 1.0
    return [TokenCosine(token, head, float(value)) for (token, head), value in np.ndenumerate(cosines)]
