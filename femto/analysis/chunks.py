"""The passages of a text that a model knows best and worst."""

import json
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from femto import data
from femto.data import Dataset
from femto.errors import DataError
from femto.model import Graph, Model
from femto.system.files import check_writable, write_atomically
from femto.system.text import described
from femto.token_files import TokenIds
from femto.training.evaluation import EVALUATION_ROWS

FORMAT = "femto-chunks"


def number_of_chunks(ids: TokenIds, chunk_size: int) -> int:
    """How many chunks of chunk_size tokens, at least 2, there are; the last may be shorter, but has two tokens."""
    return len(ids) // chunk_size + (len(ids) % chunk_size >= 2)


def chunk_losses(model: Model, ids: TokenIds, chunk_size: int, first: int = 0) -> Iterator[NDArray[np.float64]]:
    """Mean cross entropy in nats a token of each chunk from number `first` on, some chunks at a time.

    A chunk stands alone: each of its tokens but the first is predicted from those before it, in windows of the model's context.
    """
    chunk_size = max(2, min(chunk_size, len(ids)))
    num_tokens = min(model.config.num_tokens, chunk_size - 1)
    windows = -(-(chunk_size - 1) // num_tokens)
    together = max(1, EVALUATION_ROWS // (windows * num_tokens))
    at_a_time = min(together * windows, max(1, EVALUATION_ROWS // num_tokens))
    graph = Graph(model, at_a_time, num_tokens)
    rows = -(-together * windows // at_a_time) * at_a_time
    count = number_of_chunks(ids, chunk_size)
    for start in range(first, count, together):
        inputs = np.zeros((rows, num_tokens), np.int32)
        targets = np.full((rows, num_tokens), -1, np.int32)
        chunks = range(start, min(start + together, count))
        for place, chunk in enumerate(chunks):
            own_inputs, own_targets = data.consecutive_windows(ids[chunk * chunk_size : (chunk + 1) * chunk_size], num_tokens)
            own = slice(place * windows, place * windows + len(own_inputs))
            inputs[own], targets[own] = own_inputs, own_targets
        sums = np.empty(rows)
        for row in range(0, rows, at_a_time):
            some = slice(row, row + at_a_time)
            sums[some] = graph.losses(inputs[some], targets[some]).reshape(at_a_time, -1).sum(1, dtype=np.float64)
        losses, predicted = (of[: together * windows].reshape(together, -1).sum(1) for of in (sums, (targets >= 0).sum(1)))
        yield losses[: len(chunks)] / predicted[: len(chunks)]


class LossFile:
    """A JSON file of the losses of a text's chunks, so far: what it has of the same model, text and chunk size need not be
    computed again.

    losses: of the first chunks, to be appended to. num_chunks: how many there will be.
    Raises DataError if the file is there and is no such file, OSError if it cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], model: Model, dataset: Dataset, chunk_size: int) -> None:
        self.path = path
        self.num_chunks = number_of_chunks(dataset.ids, chunk_size)
        self._of: dict[str, Any] = {
            "format": FORMAT,
            "parameters_sha256": model.parameters_sha256,
            "dataset_sha256": dataset.sha256,
            "chunk_size": chunk_size,
            "num_chunks": self.num_chunks,
        }
        check_writable(path)
        self.losses = self._earlier() if os.path.exists(path) else []

    def __repr__(self) -> str:
        return described(self, os.fspath(self.path), losses=len(self.losses), num_chunks=self.num_chunks)

    def save(self) -> None:
        """Write the file, whole or not at all."""
        write_atomically(self.path, [json.dumps({**self._of, "losses": self.losses}, indent=0).encode() + b"\n"])

    def _earlier(self) -> list[float]:
        try:
            with open(self.path, "rb") as file:
                document = json.load(file)
        except (OSError, ValueError, RecursionError):
            document = None
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise DataError(f"{self.path} is there and is no file of chunks; choose another --output")
        found = document.pop("losses", None)
        good = isinstance(found, list) and all(type(value) is float for value in found) and len(found) <= self.num_chunks
        return found if good and document == self._of else []
