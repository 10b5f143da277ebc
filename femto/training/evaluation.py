"""The loss of a model on a text."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from femto import data
from femto.data import Ids
from femto.model import Graph, Model

EVALUATION_ROWS = 4096  # tokens in one forward pass of an evaluation


@dataclass(frozen=True)
class Loss:
    """Cross entropy over some text."""

    nats: float  # a token
    num_predictions: int
    num_bytes: int  # that those tokens stand for

    @property
    def bits_per_byte(self) -> float:
        """The loss of the same text in bits a byte, which other tokenizers' losses compare with; NaN for no bytes."""
        return self.nats * self.num_predictions / math.log(2) / self.num_bytes if self.num_bytes else math.nan

    @property
    def perplexity(self) -> float:
        """exp of the loss in nats a token; infinity where that is too large for a float."""
        return math.exp(self.nats) if self.nats < 700 else math.inf


def evaluate(model: Model, ids: Ids, token_lengths: NDArray[np.int64], most_tokens: int | None = None) -> Loss:
    """Mean cross entropy of ids (N,), N at least 2, every token but the first predicted once, in windows of the context.

    token_lengths: bytes that each token of the vocabulary stands for (V,). most_tokens: evaluate only about that many, in windows
    spread evenly. Raises DataError for fewer than two ids, ValueError for ids or lengths of another vocabulary.
    """
    data.require_two(ids, "the text to evaluate")
    if np.shape(token_lengths) != (model.config.vocab_size,):
        raise ValueError(f"token_lengths: expected shape ({model.config.vocab_size},), got {np.shape(token_lengths)}")
    num_tokens = model.config.num_tokens
    most = None if most_tokens is None else max(1, most_tokens // num_tokens)
    inputs, targets = data.consecutive_windows(ids, num_tokens, most)
    size = max(1, min(len(inputs), EVALUATION_ROWS // num_tokens))
    graph = Graph(model, size, num_tokens)
    total, pad = 0.0, -len(inputs) % size
    inputs = np.concatenate([inputs, np.zeros((pad, num_tokens), np.int32)])
    targets = np.concatenate([targets, np.full((pad, num_tokens), -1, np.int32)])
    for first in range(0, len(inputs), size):
        total += math.fsum(graph.losses(inputs[first : first + size], targets[first : first + size]).tolist())
    predicted = targets[targets >= 0]
    return Loss(total / len(predicted), len(predicted), int(token_lengths[predicted].sum()))
