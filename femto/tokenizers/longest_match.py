"""Greedy longest match, for any vocabulary."""

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray


class LongestMatch:
    """Some of the tokens of a vocabulary, kept so that the longest that begins the data is found by bisection.

    >>> LongestMatch([b"a", b"ab", b"<unk>"], [0, 1], unknown=2).encode(b"aba!").tolist()
    [1, 0, 2]
    """

    def __init__(self, tokens: Sequence[bytes], ids: Iterable[int], unknown: int) -> None:
        """tokens: the bytes of each id. ids: those that may match. unknown: the id of a byte that begins no token."""
        self._unknown = unknown
        self._ids = sorted(ids, key=tokens.__getitem__)
        self._tokens = [tokens[index] for index in self._ids]  # in byte order
        self._prefixes: list[int] = []  # the place of each token's longest prefix, or -1
        self._longest = max(map(len, self._tokens), default=1)
        open_prefixes: list[int] = []  # each a prefix of the next
        for place, token in enumerate(self._tokens):
            while open_prefixes and not token.startswith(self._tokens[open_prefixes[-1]]):
                open_prefixes.pop()
            self._prefixes.append(open_prefixes[-1] if open_prefixes else -1)
            open_prefixes.append(place)

    def encode(self, data: bytes) -> NDArray[np.int32]:
        """The ids of data, shape (N,), N at most its length.

        Of the tokens in byte order, take the last that does not come after the rest of the data. A token that begins
        the rest comes before both, so it is that token or one of its prefixes: follow those, longest first.
        """
        ordered, ids, prefixes, longest = self._tokens, self._ids, self._prefixes, self._longest
        found = array("i")
        position = 0
        while position < len(data):
            place = bisect_right(ordered, data[position : position + longest]) - 1
            while place >= 0 and not data.startswith(ordered[place], position):
                place = prefixes[place]
            if place < 0:
                found.append(self._unknown)
                position += 1
            else:
                found.append(ids[place])
                position += len(ordered[place])
        return np.frombuffer(found, dtype=np.int32)
