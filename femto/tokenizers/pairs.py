"""Which tokens stand side by side in a text, and how often: the state of byte pair encoding, kept up to date merge by merge."""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from femto.tokenizers.base import MAX_TOKEN_BYTES, UNKNOWN
from femto.tokenizers.reserved import is_reserved

CHUNK = 1 << 18  # tokens looked through together, so that they stay in the cache
DENSE = 1 << 22  # kinds of pairs that are counted in a table; where there may be more, they are sorted

Pair = tuple[int, int]


@dataclass(frozen=True)
class Merge:
    """A token was learnt."""

    left: bytes
    right: bytes
    count: int  # how often the two stood side by side
    vocab_size: int  # with the new token


class Pairs:
    """A text as token ids, and how often each two tokens stand side by side in it; `<unk>`, id 0, is in no pair.

    A run of three equal tokens holds their pair twice, though only one of the two can be merged.

    tokens: the bytes of each id. ids: the text, shrinking as pairs are merged. counts: of each pair that is there.
    """

    def __init__(self, ids: NDArray[np.int32], tokens: Sequence[bytes]) -> None:
        self.tokens = list(tokens)
        self.ids: NDArray[np.unsignedinteger] = ids.astype(_smallest(len(tokens)))
        self.counts = self._count()
        self._id_of = {token: index for index, token in enumerate(self.tokens)}
        self._queue = [self._entry(pair, count) for pair, count in self.counts.items()]  # counts may be out of date: too high
        heapq.heapify(self._queue)

    def merge(self, vocab_size: int, refused: set[bytes], show: Callable[[Merge], object]) -> None:
        """Merge the most frequent pair, again and again, until there are vocab_size tokens or no pair is there twice.

        Of equally frequent pairs, the first by the bytes of the left token, then of the right.
        refused: tokens not to make. show: called with each that is made.
        """
        self.ids = self.ids.astype(_smallest(vocab_size), copy=False)
        while len(self.tokens) < vocab_size and self._queue:
            negative, left, right, pair = heapq.heappop(self._queue)
            count = self.counts.get(pair, 0)
            token = left + right
            if count < 2 or len(token) > MAX_TOKEN_BYTES or token == UNKNOWN or is_reserved(token) or token in refused:
                continue
            if count < -negative:
                heapq.heappush(self._queue, self._entry(pair, count))
                continue
            new = self._id_of.setdefault(token, len(self.tokens))
            if new == len(self.tokens):  # and not a token that another pair has made
                self.tokens.append(token)
                show(Merge(left, right, count, len(self.tokens)))
            self._replace(pair, new)

    def _entry(self, pair: Pair, count: int) -> tuple[int, bytes, bytes, Pair]:
        return -count, self.tokens[pair[0]], self.tokens[pair[1]], pair

    def _count(self) -> dict[Pair, int]:
        size = len(self.tokens)
        dense = np.zeros(size * size if size * size <= DENSE else 0, np.int64)
        counts: dict[int, int] = {}
        for start in range(0, len(self.ids) - 1, 4 * CHUNK):
            piece = self.ids[start : start + 4 * CHUNK + 1].astype(np.int64)
            keys = piece[:-1] * size + piece[1:]
            if len(dense):
                dense += np.bincount(keys, minlength=len(dense))
                continue
            kinds, found = np.unique(keys, return_counts=True)
            for key, count in zip(kinds.tolist(), found.tolist(), strict=True):
                counts[key] = counts.get(key, 0) + count
        if len(dense):
            kinds = np.flatnonzero(dense)
            counts = dict(zip(kinds.tolist(), dense[kinds].tolist(), strict=True))
        return {divmod(key, size): count for key, count in counts.items() if key >= size and key % size}

    def _replace(self, pair: Pair, new: int) -> None:
        """Put the id `new` in place of the pair wherever it stands, from left to right, and count anew around it."""
        left, right = pair
        places = self._places(pair)
        ids = self.ids
        follows = np.zeros(len(places) + 1, bool)  # whether a merge begins where the one before it ends
        np.equal(places[1:], places[:-1] + 2, out=follows[1:-1])
        before, after = places[~follows[:-1]] - 1, places + 2
        before = before[before >= 0]
        inside = after < len(ids)
        beside_left = _counted(ids[before])  # what stands before the pair, but for the pair itself
        beside_right = _counted(ids[after[inside]])
        beside_new = _counted(ids[after[inside & ~follows[1:]]])
        self._change(pair, -len(places))
        for index, count in beside_left:
            self._change((index, left), -count)
            self._change((index, new), count)
        for index, count in beside_right:
            self._change((right, index), -count)
        for index, count in beside_new:
            self._change((new, index), count)
        self._change((new, new), int(np.count_nonzero(follows)))
        ids[places] = new
        self._remove(places + 1)

    def _change(self, pair: Pair, change: int) -> None:
        count = self.counts.get(pair, 0) + change
        if count:
            self.counts[pair] = count
        else:
            self.counts.pop(pair, None)
        if change > 0 and count >= 2:
            heapq.heappush(self._queue, self._entry(pair, count))

    def _places(self, pair: Pair) -> NDArray[np.intp]:
        """Where the pair begins; where it overlaps itself, every other place of a run."""
        left, right = pair
        found = []
        for start in range(0, len(self.ids) - 1, CHUNK):
            piece = self.ids[start : start + CHUNK + 1]
            hits = piece[:-1] == left
            hits &= piece[1:] == right
            found.append(np.flatnonzero(hits) + start)
        places = np.concatenate(found)
        return every_other(places) if left == right else places

    def _remove(self, gaps: NDArray[np.intp]) -> None:
        """Close the gaps, in place and piece by piece."""
        end = int(gaps[0])
        for start in range(end, len(self.ids), CHUNK):
            first, last = np.searchsorted(gaps, [start, start + CHUNK])
            kept = self.ids[start : start + CHUNK]
            if first < last:
                kept = np.delete(kept, gaps[first:last] - start)
            self.ids[end : end + len(kept)] = kept
            end += len(kept)
        self.ids = self.ids[:end]


def every_other(places: NDArray[np.intp]) -> NDArray[np.intp]:
    """Of each run of consecutive places the first, the third, and so on: what is left of pairs that overlap."""
    begins_run = np.ones(len(places), bool)
    np.not_equal(places[1:], places[:-1] + 1, out=begins_run[1:])
    order = np.arange(len(places), dtype=np.uint32)
    start = np.where(begins_run, order, 0)
    np.maximum.accumulate(start, out=start)
    order -= start
    chosen: NDArray[np.intp] = places[order % 2 == 0]
    return chosen


def _smallest(vocab_size: int) -> type[np.unsignedinteger]:
    """The type for ids below vocab_size."""
    return np.uint16 if vocab_size <= 1 << 16 else np.uint32


def _counted(ids: NDArray[np.unsignedinteger]) -> list[tuple[int, int]]:
    """Each id but <unk>, and how often it is there."""
    kinds, counts = np.unique(ids[ids > 0], return_counts=True)
    return list(zip(kinds.tolist(), counts.tolist(), strict=True))
