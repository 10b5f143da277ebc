"""Longest match in many places at once: a table of the tokens' prefixes, walked by NumPy, each call one byte of every walk."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MOST_ENTRIES = 1 << 25
WALKS = 1 << 14  # that `detours` makes at once
PATIENCE = 4  # times the bytes that a walk has to cover may be read by it: mostly a few are read twice


class MatchTable:
    """What follows each proper prefix of a token, for each class of bytes.

    next: int32, (prefixes * classes,): where the row of a longer prefix begins; or, where the token is known by now, ~id. Class 0
    is every byte that is in no token, and the end of the data. Empty if it would have more than MOST_ENTRIES.
    """

    def __init__(self, tokens: Sequence[bytes], ids: Sequence[int], unknown: int) -> None:
        used = sorted(set(b"".join(tokens)))
        self.classes = np.zeros(256, np.int16)
        self.classes[used] = range(1, len(used) + 1)
        self.next = np.empty(0, np.int32)
        prefixes = {b"": 0}
        for token in tokens:
            for length in range(1, len(token)):
                prefixes.setdefault(token[:length], len(prefixes))
            if len(prefixes) * (len(used) + 1) > MOST_ENTRIES:
                return
        id_of = dict(zip(tokens, ids, strict=True))
        self.lengths = np.ones(max([*ids, unknown]) + 1, np.int64)
        self.lengths[list(ids)] = [len(token) for token in tokens]
        longest_token = [unknown]  # that begins each prefix
        for prefix in list(prefixes)[1:]:
            longest_token.append(id_of.get(prefix, longest_token[prefixes[prefix[:-1]]]))
        table = np.empty((len(prefixes), len(used) + 1), np.int32)
        table[...] = ~np.array(longest_token, np.int32)[:, None]
        classes = self.classes.tolist()
        for token, index in id_of.items():
            if token not in prefixes:
                table[prefixes[token[:-1]], classes[token[-1]]] = ~index
        for prefix, row in prefixes.items():
            if prefix:
                table[prefixes[prefix[:-1]], classes[prefix[-1]]] = row * table.shape[1]
        self.next = table.reshape(-1)

    def walk(self, data: NDArray[np.uint8], bounds: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Encode from each of bounds[:-1] until a token ends at the next of bounds or after it.

        Returns the ids of all walks, (bounds[-1],), each where its token begins, -1 elsewhere; and where each walk ended: before
        the next of bounds if PATIENCE ran out, as with the tokens "a" and a thousand "a" and a "b" on a text without "b".
        """
        classes = np.zeros(len(data) + 1, np.int16)
        np.take(self.classes, data, out=classes[:-1])
        found = np.full(int(bounds[-1]), -1, np.int32)
        ends = np.empty(len(bounds) - 1, np.int64)
        walk: NDArray[np.intp] = np.arange(len(ends))
        stop = bounds[1:]
        begin = bounds[:-1].copy()  # of the token that is being read
        read = begin.copy()
        row = np.zeros(len(ends), np.int32)
        steps = PATIENCE * int(np.diff(bounds).max()) + int(self.lengths.max())
        for _ in range(steps):
            if not len(walk):
                break
            row += classes.take(read)
            row = self.next.take(row)
            read += 1
            known = np.flatnonzero(row < 0)
            if not len(known):
                continue
            ids = ~row.take(known)
            place = begin.take(known)
            found[place] = ids
            place += self.lengths.take(ids)
            begin[known] = read[known] = place
            row[known] = 0
            past = place >= stop.take(known)
            if past.any():
                over = known[past]
                ends[walk[over]] = place[past]
                goes_on = np.ones(len(walk), bool)
                goes_on[over] = False
                walk, stop, begin, read, row = walk[goes_on], stop[goes_on], begin[goes_on], read[goes_on], row[goes_on]
        ends[walk] = begin
        return found, ends

    def detours(
        self, data: NDArray[np.uint8], ids: NDArray[np.int32], without: NDArray[np.intp], instead: NDArray[np.int32]
    ) -> NDArray[np.int64]:
        """How many more tokens the data would take if one token did not exist, for each token.

        ids: (N,), the data's. without: the places in ids of the tokens to ask about. instead: for each id, the token that matches
        where that one does not. Returns int64, one entry an id: each asked place is walked on from, without its token, until a
        token ends where one of `ids` does.
        """
        begins = np.zeros(len(ids) + 1, np.int64)
        np.cumsum(self.lengths[ids], out=begins[1:])
        place_of = np.full(len(data) + 1, -1, np.int32)
        place_of[begins] = np.arange(len(begins))
        classes = np.zeros(len(data) + 1, np.int16)
        np.take(self.classes, data, out=classes[:-1])
        more = np.zeros(len(self.lengths), np.int64)
        for first in range(0, len(without), WALKS):
            place = without[first : first + WALKS]
            missing = ids[place]
            begin = begins[place]
            read = begin.copy()
            row = np.zeros(len(place), np.int32)
            balance = place.astype(np.int32)  # tokens of this walk, less those of `ids`, once its end is subtracted
            while len(row):
                row += classes.take(read)
                row = self.next.take(row)
                read += 1
                known = np.flatnonzero(row < 0)
                if not len(known):
                    continue
                found = ~row.take(known)
                excluded = found == missing.take(known)
                if excluded.any():
                    found[excluded] = instead[found[excluded]]
                end = begin.take(known) + self.lengths.take(found)
                begin[known] = read[known] = end
                row[known] = 0
                balance[known] += 1
                joined = place_of.take(end)
                met = joined >= 0
                if met.any():
                    over = known[met]
                    np.add.at(more, missing[over], balance[over] - joined[met])
                    goes_on = np.ones(len(row), bool)
                    goes_on[over] = False
                    missing, balance = missing[goes_on], balance[goes_on]
                    begin, read, row = begin[goes_on], read[goes_on], row[goes_on]
        return more
