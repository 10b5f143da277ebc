"""Kept tokens: always found whole, before any other token is matched, so that nothing runs across them.

A kept token takes its bytes wherever they stand; of two that overlap, the one that begins first, then the longer one. What lies
between is encoded piece by piece. In long texts all pieces are matched at once, with a byte between them that no token crosses.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from femto.tokenizers.longest_match import LongestMatch
from femto.tokenizers.reserved import is_reserved

_MARKER = re.compile(rb"<\|[^\s<>|]{1,64}\|>")


def markers(documents: Iterable[bytes], kept: Sequence[bytes] = ()) -> Counter[bytes]:
    """What looks like a token of its own in texts, such as `<|endoftext|>`, and how often it is there.

    Tokens that are kept, and the names of reserved ones, are left out.

    >>> markers([b"one<|end|>two<|end|>", b"<|end|> <|not one|>"])
    Counter({b'<|end|>': 3})
    """
    found = Counter(match[0] for document in documents for match in _MARKER.finditer(document))
    for name in [name for name in found if name in kept or is_reserved(name)]:
        del found[name]
    return found


class KeptTokens:
    """Some tokens of a vocabulary that are found whole.

    >>> kept = KeptTokens([b"<|>"])
    >>> kept.split(b"a<|>b<|><|>")
    ([b'a', b'b', b'', b''], [b'<|>', b'<|>', b'<|>'])
    """

    def __init__(self, names: Iterable[bytes]) -> None:
        longest_first = sorted(names, key=len, reverse=True)
        self._pattern = re.compile(b"|".join(map(re.escape, longest_first)))

    def split(self, data: bytes) -> tuple[list[bytes], list[bytes]]:
        """The pieces of data around the kept tokens, one more than there are of those, and the kept tokens in order."""
        pieces, names, end = [], [], 0
        for match in self._pattern.finditer(data):
            pieces.append(data[end : match.start()])
            names.append(match[0])
            end = match.end()
        return [*pieces, data[end:]], names


class KeptMatch:
    """Longest match of a vocabulary that keeps tokens.

    >>> KeptMatch([b"a", b"ab<", b"<|>", b"<unk>"], [0, 1, 2], 3, [b"<|>"]).encode(b"ab<|>a").tolist()
    [0, 3, 2, 0]
    """

    def __init__(self, tokens: Sequence[bytes], ids: Sequence[int], unknown: int, kept: Iterable[bytes]) -> None:
        """tokens, ids, unknown: as `LongestMatch` has them. kept: tokens among those of the ids."""
        names = set(kept)
        self._kept = KeptTokens(names)
        self._id_of = {tokens[index]: index for index in ids if tokens[index] in names}
        self._tokens, self._unknown = tokens, unknown
        self._others = [index for index in ids if tokens[index] not in names]
        self._crossed = set(b"".join(tokens[index] for index in self._others if len(tokens[index]) > 1))
        self._matches: dict[int | None, LongestMatch] = {}  # by the byte that stands between pieces

    def encode(self, data: bytes) -> NDArray[np.int32]:
        """The ids of data, shape (N,), N at most its length."""
        pieces, names = self._kept.split(data)
        if not names:
            return self._match(None).encode(data)
        kept = np.array([self._id_of[name] for name in names], np.int32)
        between = next((byte for byte in range(255, -1, -1) if byte not in self._crossed and byte not in data), None)
        if between is None:  # binary data: it has every byte
            found = [self._match(None).encode(piece) for piece in pieces]
            lengths = np.cumsum([len(ids) for ids in found[:-1]])
            return np.insert(np.concatenate(found), lengths, kept)
        ids = self._match(between).encode(bytes([between]).join(pieces))
        ids[ids == len(self._tokens)] = kept
        return ids

    def _match(self, between: int | None) -> LongestMatch:
        """Of all tokens but the kept ones; `between`, if given, is a byte that is no token's, with the first id that is free."""
        if between not in self._matches:
            tokens, ids = self._tokens, self._others
            if between is not None:
                alone = bytes([between])
                ids = [*(index for index in ids if tokens[index] != alone), len(tokens)]
                tokens = [*tokens, alone]
            self._matches[between] = LongestMatch(tokens, ids, self._unknown)
        return self._matches[between]
