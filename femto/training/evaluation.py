"""The loss of a model on a text."""

import math
from dataclasses import dataclass

from femto import data
from femto.model import Graph, Model
from femto.token_files import TokenIds
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


def evaluate(model: Model, ids: TokenIds, tokenizer: Tokenizer, most_tokens: int | None = None) -> Loss:
    """Mean cross entropy of ids (N,), N at least 2, every token but the first predicted once, in windows of the context.

    tokenizer: that of the ids, which tells the bytes that they stand for. most_tokens: evaluate only about that many, in windows
    spread evenly. Raises DataError for fewer than two ids, ValueError for ids or a tokenizer of another vocabulary.
    """
    data.require_two(ids, "the text to evaluate")
    if tokenizer.vocab_size != model.config.vocab_size:
        raise ValueError(f"tokenizer: expected one of {model.config.vocab_size} tokens, got {tokenizer.vocab_size}")
    num_tokens = model.config.num_tokens
    most = None if most_tokens is None else max(1, most_tokens // num_tokens)
    count = min(data.num_windows(ids, num_tokens), most or len(ids))
    size = max(1, min(count, EVALUATION_ROWS // num_tokens))
    graph = Graph(model, size, num_tokens)
    lengths, total, num_predictions, num_bytes, num_unknown = tokenizer.token_lengths(), 0.0, 0, 0, 0
    for inputs, targets in data.window_batches(ids, num_tokens, size, most):
        total += math.fsum(graph.losses(inputs, targets).tolist())
        predicted = targets[targets >= 0]
        num_predictions += len(predicted)
        num_bytes += int(lengths[predicted].sum())
        num_unknown += tokenizer.count_unknown(predicted)
    return Loss(total / num_predictions, num_predictions, num_bytes, num_unknown)
