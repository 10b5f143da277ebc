"""The buffers that the layers compute in, allocated once; or only counted, to know what a shape will take."""

import math
from collections.abc import Callable, Iterator

import numpy as np

from femto.model.buffers import Arena, Floats

Table = tuple[Floats, ...]


class Workspace:
    """Buffers of `rows` rows, in three kinds, and tables that all layers read.

    `own` memory is kept from the forward to the backward pass; `shared` memory serves every layer in turn; `gradient` memory is
    shared as well, and only there in training. Without training nothing needs keeping, and `own` shares.
    """

    def __init__(self, rows: int, training: bool, dry: bool = False) -> None:
        """dry: take no memory, and only count; then every buffer is a zero that cannot be written, and tables are empty."""
        self.rows, self.training, self.dry = rows, training, dry
        self.floats = 0  # that were handed out, without what aligns them
        self._arena = Arena()
        self._shared: dict[str, Floats] = {}
        self._tables: dict[str, Table] = {}
        self._handed: list[Floats] = []  # in the order they were asked for
        self._again: Iterator[Floats] = iter(())

    def rewind(self) -> None:
        """Hand out the same memory again, to other layers of the same model, which then compute in turn with the first ones."""
        self._shared, self._again = {}, iter(list(self._handed))

    def own(self, name: str, *shape: int) -> Floats:
        return self._new(shape) if self.training else self.shared(name, *shape)

    def shared(self, name: str, *shape: int) -> Floats:
        if name not in self._shared:
            self._shared[name] = self._new(shape)
        return self._shared[name]

    def gradient(self, name: str, *shape: int) -> Floats:
        return self.shared(name, *shape) if self.training else NOTHING

    def table(self, name: str, build: Callable[[], Table]) -> Table:
        """What `build` gives, built once for all layers."""
        if name not in self._tables:
            self._tables[name] = () if self.dry else build()
        return self._tables[name]

    def _new(self, shape: tuple[int, ...]) -> Floats:
        handed = next(self._again, None)
        if handed is not None:
            return handed.reshape(shape)
        self.floats += math.prod(shape)
        self._handed.append(np.broadcast_to(ZERO, shape) if self.dry else self._arena.array(*shape))
        return self._handed[-1]


ZERO = np.zeros((), np.float32)
NOTHING = np.zeros(0, np.float32)
