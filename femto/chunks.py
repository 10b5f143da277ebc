"""The passages of a text that a model knows best and worst."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from femto import data
from femto.data import Ids
from femto.model import Graph, Model
from femto.training import EVALUATION_ROWS


def number_of_chunks(ids: Ids, chunk_size: int) -> int:
    """How many chunks of chunk_size tokens, at least 2, there are; the last may be shorter, but has two tokens."""
    return len(ids) // chunk_size + (len(ids) % chunk_size >= 2)


def chunk_losses(model: Model, ids: Ids, chunk_size: int, first: int = 0) -> Iterator[NDArray[np.float64]]:
    """Mean cross entropy in nats a token of each chunk from number `first` on, some chunks at a time.

    A chunk stands alone: each of its tokens but the first is predicted from those before it, in windows of the model's context.
    """
    num_tokens = model.config.num_tokens
    windows = -(-(chunk_size - 1) // num_tokens)
    together = max(1, EVALUATION_ROWS // (windows * num_tokens))
    graph = Graph(model, together * windows, num_tokens)
    count = number_of_chunks(ids, chunk_size)
    for start in range(first, count, together):
        inputs = np.zeros((together * windows, num_tokens), np.int32)
        targets = np.full((together * windows, num_tokens), -1, np.int32)
        chunks = range(start, min(start + together, count))
        for place, chunk in enumerate(chunks):
            own_inputs, own_targets = data.consecutive_windows(ids[chunk * chunk_size : (chunk + 1) * chunk_size], num_tokens)
            rows = slice(place * windows, place * windows + len(own_inputs))
            inputs[rows], targets[rows] = own_inputs, own_targets
        losses = graph.losses(inputs, targets).astype(np.float64).reshape(together, -1)
        predicted = (targets >= 0).reshape(together, -1).sum(1)
        yield losses.sum(1)[: len(chunks)] / predicted[: len(chunks)]
