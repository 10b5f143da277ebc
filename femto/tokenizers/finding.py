"""How often a token stands in a text, how often encoding finds it there, and what takes its bytes where it does not."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from femto.tokenizers.base import Tokenizer


@dataclass(frozen=True)
class Occurrences:
    """Of one token in a text.

    >>> tokenizer = Tokenizer([b"a", b"b", b"c", b"ab", b"bc", b"<unk>"], unk_id=5)
    >>> (of_bc,) = occurrences(tokenizer, [4], ["abcabc bc"])
    >>> of_bc.in_text, of_bc.found, of_bc.taken_by
    (3, 1, ((3, 2),))
    """

    token_id: int
    in_text: int  # how often its bytes stand there, places that overlap not counted twice
    found: int  # how often encoding gives it; at most `in_text`
    taken_by: tuple[tuple[int, int], ...]  # id and count of each token that has the first byte of the others; most frequent first


def occurrences(tokenizer: Tokenizer, token_ids: Sequence[int], documents: Iterable[str | bytes]) -> list[Occurrences]:
    """Count tokens in documents, each encoded on its own: one entry for each of token_ids, in their order.

    Longest match goes from left to right. So a token is not found where a longer one begins at the same place, nor where one that
    begins before it has its first byte: "bc" never stands in the ids of "abc" if there is a token "ab".

    Raises TokenizerError if an id is not in the vocabulary.
    """
    patterns = {index: re.compile(re.escape(tokenizer.token_bytes(index))) for index in token_ids}
    in_text: Counter[int] = Counter()
    found = np.zeros(tokenizer.vocab_size, np.int64)
    takers: dict[int, Counter[int]] = {index: Counter() for index in token_ids}
    lengths = tokenizer.token_lengths()
    for document in documents:
        ids, data = tokenizer.encode(document), tokenizer.matched_bytes(document)
        found += np.bincount(ids, minlength=tokenizer.vocab_size)
        ends = np.cumsum(lengths[ids])
        for index, pattern in patterns.items():
            places = np.array([match.start() for match in pattern.finditer(data)], np.int64)
            in_text[index] += len(places)
            covering = ids[np.searchsorted(ends, places, "right")]
            takers[index].update(covering[covering != index].tolist())
    return [Occurrences(index, in_text[index], int(found[index]), tuple(takers[index].most_common())) for index in token_ids]
