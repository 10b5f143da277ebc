"""Greedy longest match, for any vocabulary: of all tokens that begin the rest of the text, take the longest.

Short texts are encoded token after token, by bisection. In long ones thousands of walks begin at even distances and go on at
once (`match_table.py`), all but the first at a guess: where the walk before it arrives elsewhere, bisection goes on until it
meets this one, mostly after a token or two.
"""

from array import array
from bisect import bisect_right
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from femto.tokenizers.match_table import MatchTable

BLOCK = 1 << 22  # bytes that the walks cover at a time
MOST_WALKS = 4096
WALK_BYTES = 256  # at least: shorter walks would spend more on agreeing than they gain
MOST_PREFIX_BYTES = 1 << 27  # of all prefixes of all tokens together: with more, bisection does it all


class LongestMatch:
    """Some of the tokens of a vocabulary, kept so that the longest that begins the data is found by bisection.

    >>> LongestMatch([b"a", b"ab", b"<unk>"], [0, 1], unknown=2).encode(b"aba!").tolist()
    [1, 0, 2]
    """

    def __init__(self, tokens: Sequence[bytes], ids: Sequence[int], unknown: int) -> None:
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
        self._jumps = _jumps(self._prefixes)

    def encode(self, data: bytes) -> NDArray[np.int32]:
        """The ids of data, shape (N,), N at most its length."""
        found, position = array("i"), 0
        table = self.table if len(data) >= 16 * WALK_BYTES else None
        while position < len(data):
            if table is None:
                index, position = self.match(data, position)
                found.append(index)
            else:
                ids, position = self._encode_block(data, position, table)
                found.frombytes(ids.data.cast("B"))
        return np.frombuffer(found, dtype=np.int32)

    def match(self, data: bytes, position: int) -> tuple[int, int]:
        """The token at a position, and the position after it.

        Of the tokens in byte order, take the last that does not come after the rest of the data. A token that begins
        the rest comes before both, so it is that token or one of its prefixes: follow those, longest first. There may be a
        thousand, but where one does not begin the rest, no longer one does: jump over those.
        """
        place = bisect_right(self._tokens, data[position : position + self._longest]) - 1
        while place >= 0 and not data.startswith(self._tokens[place], position):
            jump = self._jumps[place]
            too_far = jump < 0 or data.startswith(self._tokens[jump], position)
            place = self._prefixes[place] if too_far else jump
        if place < 0:
            return self._unknown, position + 1
        return self._ids[place], position + len(self._tokens[place])

    def shorter(self) -> NDArray[np.int32]:
        """For each id up to the largest, the token that matches where that one does not: its longest prefix, or the unknown."""
        found = np.full(max([*self._ids, self._unknown]) + 1, self._unknown, np.int32)
        for index, prefix in zip(self._ids, self._prefixes, strict=True):
            if prefix >= 0:
                found[index] = self._ids[prefix]
        return found

    @cached_property
    def table(self) -> MatchTable | None:
        """The same tokens as a table, or None if it would be too large."""
        if sum(len(token) ** 2 // 2 for token in self._tokens) > MOST_PREFIX_BYTES:
            return None
        table = MatchTable(self._tokens, self._ids, self._unknown)
        return table if len(table.next) else None

    def _encode_block(self, data: bytes, start: int, table: MatchTable) -> tuple[NDArray[np.int32], int]:
        """The ids of the tokens that begin in data[start : start + BLOCK], and where the last of them ends."""
        size = min(BLOCK, len(data) - start)
        bounds = np.linspace(0, size, min(MOST_WALKS, max(1, size // WALK_BYTES)) + 1).astype(np.int64)
        # In `found`, the id of a token stands where it begins, and -1 everywhere else.
        found, ends = table.walk(np.frombuffer(data, np.uint8, min(size + self._longest, len(data) - start), start), bounds)
        position = 0
        for begin, stop, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), ends.tolist(), strict=True):
            found[begin : min(position, stop)] = -1
            while position < stop:
                if found[position] >= 0:  # the walk from `begin` has a token here too, and so all that it found after it is right
                    position = end
                    continue
                index, after = self.match(data, start + position)
                found[position] = index
                found[position + 1 : min(after - start, stop)] = -1
                position = after - start
        return found[found >= 0], start + position


def _jumps(parents: Sequence[int]) -> list[int]:
    """For each node of a forest one of its ancestors, -1 above a root, such that parents and jumps together lead to any
    ancestor in a logarithmic number of steps (Myers 1983). A parent comes before its children; that of a root is -1."""
    jumps, depths = [-1], [0]  # first what is above the roots, so that the node `n` is at n + 1
    for parent in parents:
        jump = jumps[parent + 1]
        over = jumps[jump + 1]
        even = depths[parent + 1] - depths[jump + 1] == depths[jump + 1] - depths[over + 1]
        jumps.append(over if even else parent)
        depths.append(depths[parent + 1] + 1)
    return jumps[1:]
