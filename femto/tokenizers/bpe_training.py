"""Byte pair encoding: learning a vocabulary from a text.

It begins with the characters of the text. Then, again and again, the two tokens that most often stand side by side become one
(Gage, 1994; Sennrich et al., 2016); merges cross spaces and newlines, and none touches `<unk>`. As every tokenizer of femto, this
one encodes by the longest match, which makes other tokens of a text than merging did. So more tokens are learnt than were asked
for, and those without which the text, so encoded, would be least longer are dropped, a part at a time; twice.

All of it is a function of the texts: of pairs that are equally frequent, the one whose left token, then whose right token, comes
first in byte order is merged; of tokens that are equally dispensable, the youngest is dropped.
"""

import codecs
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from femto.errors import TokenizerError
from femto.tokenizers.base import MAX_TOKENS, PIECE, UNKNOWN, utf8_pieces
from femto.tokenizers.kept import KeptTokens
from femto.tokenizers.longest_match import LongestMatch
from femto.tokenizers.pairs import Merge, Pairs

BOUNDARY = b"\xff"  # between documents: it is in no UTF-8 character, so it is <unk>, and nothing merges across it
NOT_CHARACTERS = 10  # places of a vocabulary that single characters do not get: <unk> and nine merges
GROW = 2.5  # times the vocabulary that was asked for is learnt,
SHRINK = 0.7  # and as much of it kept for the second time
DROP = 4  # one in so many of the tokens that are too many goes at a time,
FEWEST = 8  # but at least so many
SAMPLE_BYTES = 2 << 20  # of the text that are looked at to decide which,
SAMPLE_PIECES = 64  # from so many places


@dataclass(frozen=True)
class Drop:
    """Tokens were dropped."""

    tokens: list[bytes]
    vocab_size: int  # without them


def learn(
    documents: Iterable[str | bytes],
    vocab_size: int,
    case_sensitive: bool,
    show: Callable[[Merge | Drop], object],
    kept: Sequence[bytes] = (),
) -> list[bytes]:
    """The tokens of a vocabulary: the characters of the documents by code point, the merges as learnt, those kept, then `<unk>`.

    vocab_size of them, 12 to 65,536, or fewer if the documents have no use for so many. All characters are among them if they
    are at most vocab_size - 10, less those kept, else the most frequent ones. Every merge is used when the documents are encoded.
    show: called with each event. kept: what is cut out of the documents before they are learnt from.
    Raises TokenizerError if vocab_size is out of range or there is no character.
    """
    least = NOT_CHARACTERS + 2 + len(kept)
    if not least <= vocab_size <= MAX_TOKENS:
        raise TokenizerError(f"vocab_size must be from {least} to {MAX_TOKENS:,}, not {vocab_size}")
    vocab_size -= len(kept)
    text = BOUNDARY.join(b"".join(utf8_pieces(document, case_sensitive)) for document in documents)
    if kept:
        text = BOUNDARY.join(KeptTokens(kept).split(text)[0])
    characters = most_frequent_characters(text, vocab_size - NOT_CHARACTERS)
    if not characters:
        raise TokenizerError("there is no character in the data to learn tokens from")
    learning = Learning(text, characters, show)
    learning.grow(round(GROW * vocab_size))
    learning.shrink(max(round(SHRINK * vocab_size), 1 + len(characters)))
    learning.grow(round(GROW * vocab_size))
    learning.fill(vocab_size)
    tokens = learning.tokens
    while len(tokens) < vocab_size:  # a text that repeats itself has little use for so many; fewer are more modest
        learning = Learning(text, characters, show)
        learning.grow(vocab_size)
        learning.fill(vocab_size)
        tokens = max(tokens, learning.tokens, key=len)
        more = most_frequent_characters(text, len(characters) + vocab_size - len(tokens))  # that had no room
        if len(more) == len(characters):
            break
        characters = more
    return [*tokens[1:], *kept, UNKNOWN]


def expected_merges(vocab_size: int) -> int:
    """About how many tokens `learn` learns, those that it drops again included."""
    return round(vocab_size * (2 * GROW - SHRINK))


def most_frequent_characters(text: bytes, most: int) -> list[bytes]:
    """The characters of UTF-8 text, at most that many, by code point; equally frequent, the lower code point counts as more.

    Bytes that are not UTF-8 are no characters.
    """
    counts = np.zeros(0x110000, np.int64)
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    for start in range(0, len(text), PIECE):
        piece = decoder.decode(text[start : start + PIECE], start + PIECE >= len(text))
        points, found = np.unique(np.frombuffer(piece.encode("utf-32-le", "surrogatepass"), "<u4"), return_counts=True)
        counts[points] += found
    counts[0xD800:0xE000] = 0
    points = np.flatnonzero(counts)
    chosen = points[np.argsort(-counts[points], kind="stable")][:most]
    return [chr(point).encode() for point in sorted(chosen.tolist())]


class Learning:
    """A vocabulary that grows and shrinks. tokens: `<unk>`, the characters, which stay, and the merges so far."""

    def __init__(self, text: bytes, characters: Sequence[bytes], show: Callable[[Merge | Drop], object]) -> None:
        self.tokens = [UNKNOWN, *characters]
        self._text, self._show = text, show
        self._first = len(self.tokens)  # of the merges
        self._sample = sample(text)
        self._refused: set[bytes] = set()

    def grow(self, vocab_size: int) -> None:
        """Learn up to vocab_size tokens, or as many as there are."""
        pairs = Pairs(self._match().encode(self._text), self.tokens)
        pairs.merge(vocab_size, self._refused, self._show)
        self.tokens = pairs.tokens

    def fill(self, vocab_size: int) -> None:
        """Drop what is too much and what is not used, learn others instead, until it is vocab_size or gets no more."""
        before = 0
        while True:
            self.shrink(vocab_size)
            self.drop_unused()
            if not before < len(self.tokens) < vocab_size:
                return
            before = len(self.tokens)
            self.grow(vocab_size + FEWEST)

    def shrink(self, vocab_size: int) -> None:
        """Drop the tokens that are most dispensable, until there are vocab_size at most."""
        costs = np.zeros(len(self.tokens), np.int64)
        candidates = np.arange(self._first, len(self.tokens))
        while (excess := len(self.tokens) - vocab_size) > 0:
            costs[candidates] = self._costs(candidates)
            order = candidates[np.lexsort((-candidates, costs[candidates]))]
            gone = order[: min(excess, max(excess // DROP, FEWEST))]
            self._drop(gone)
            costs = np.delete(costs, gone)
            # Only those that were nearly as dispensable are looked at again: few, and seldom used.
            merges = np.argsort(costs[self._first :], kind="stable") + self._first
            candidates = np.sort(merges[: excess + FEWEST])

    def drop_unused(self) -> None:
        """Drop the merges that the text does not need at all, never to be learnt again."""
        uses = np.bincount(self._match().encode(self._text), minlength=len(self.tokens))
        unused = np.flatnonzero(uses[self._first :] == 0) + self._first
        self._refused.update(self.tokens[index] for index in unused.tolist())
        if len(unused):
            self._drop(unused)

    def _costs(self, candidates: NDArray[np.intp]) -> NDArray[np.int64]:
        """How many more tokens the sample would take without each of the candidates alone."""
        match = self._match()
        ids = match.encode(self._sample)
        if match.table is None:  # too large: about as many as its uses
            return np.bincount(ids, minlength=len(self.tokens))[candidates]
        asked = np.zeros(len(self.tokens), bool)
        asked[candidates] = True
        places = np.flatnonzero(asked[ids])
        return match.table.detours(np.frombuffer(self._sample, np.uint8), ids, places, match.shorter())[candidates]

    def _match(self) -> LongestMatch:
        return LongestMatch(self.tokens, range(1, len(self.tokens)), unknown=0)

    def _drop(self, indices: NDArray[np.intp]) -> None:
        gone = sorted(indices.tolist())
        dropped = [self.tokens[index] for index in gone]
        for index in reversed(gone):
            del self.tokens[index]
        self._show(Drop(dropped, len(self.tokens)))


def sample(text: bytes) -> bytes:
    """The text, or if it is large, pieces of it at even distances."""
    if len(text) <= SAMPLE_BYTES:
        return text
    size, distance = SAMPLE_BYTES // SAMPLE_PIECES, len(text) // SAMPLE_PIECES
    return BOUNDARY.join(text[start : start + size] for start in range(0, SAMPLE_PIECES * distance, distance))
