"""The loss of a model on a text."""

import math
from dataclasses import dataclass

import numpy as np

from femto import data
from femto.data import Ids
from femto.model import Graph, Model
from femto.tokenizers import Tokenizer

EVALUATION_ROWS = 4096  # tokens in one forward pass of an evaluation
UNKNOWN_BITS = 8.0  # what it costs to say which byte a `<unk>` stands for


@dataclass(frozen=True)
class Loss:
    """Cross entropy over some text."""

    nats: float  # a token; `<unk>` is a token like the others
    num_predictions: int
    num_bytes: int  # that those tokens stand for
    num_unknown: int = 0  # how many of them are `<unk>`

    @property
    def bits_per_byte(self) -> float:
        """Bits in which the text can be written, by its bytes: the model's code, and 8 bits more for the byte of each `<unk>`.

        So it never says less than the text needs, and may be compared between tokenizers. For a case-insensitive tokenizer the
        text is that in lower case.
        """
        bits = self.nats * self.num_predictions / math.log(2) + UNKNOWN_BITS * self.num_unknown
        return bits / self.num_bytes if self.num_bytes else math.nan

    @property
    def perplexity(self) -> float:
        """exp of the loss in nats a token; infinity where that is too large for a float."""
        return math.exp(self.nats) if self.nats < 700 else math.inf


def evaluate(model: Model, ids: Ids, tokenizer: Tokenizer, most_tokens: int | None = None) -> Loss:
    """Mean cross entropy of ids (N,), N at least 2, every token but the first predicted once, in windows of the context.

    tokenizer: that of the ids, which tells the bytes that they stand for. most_tokens: evaluate only about that many, in windows
    spread evenly. Raises DataError for fewer than two ids, ValueError for ids or a tokenizer of another vocabulary.
    """
    data.require_two(ids, "the text to evaluate")
    if tokenizer.vocab_size != model.config.vocab_size:
        raise ValueError(f"tokenizer: expected one of {model.config.vocab_size} tokens, got {tokenizer.vocab_size}")
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
    num_bytes = int(tokenizer.token_lengths()[predicted].sum())
    return Loss(total / len(predicted), len(predicted), num_bytes, tokenizer.count_unknown(predicted))
