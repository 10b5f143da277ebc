"""The ``char`` tokenizer: one token for each character of the data that it was made from."""

from array import array
from collections.abc import Iterable, Iterator
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from femto.errors import TokenizerError
from femto.tokenizers.base import OTHER_TOKENS, UNKNOWN, Tokenizer, escaped, show, text_pieces
from femto.tokenizers.pieces import whole_pieces

MAX_CHARACTERS = 8192


class CharTokenizer(Tokenizer):
    """Tokens that are single characters of any script, ``<unk>``, and perhaps reserved tokens at the end.

    An uncovered character gives one ``<unk>`` for each of its UTF-8 bytes, as in every tokenizer of femto.

    >>> tokenizer = CharTokenizer.from_text("hello")
    >>> tokenizer.tokens
    (b'e', b'h', b'l', b'o', b'<unk>')
    >>> tokenizer.encode("hé").tolist()
    [1, 4, 4]
    """

    kind = "char"
    may_keep = False

    @classmethod
    def from_text(cls, text: str, case_sensitive: bool = True) -> "CharTokenizer":
        """Every distinct character of a text, as in ``from_documents``."""
        return cls.from_documents([text], case_sensitive)

    @classmethod
    def from_documents(cls, documents: Iterable[str], case_sensitive: bool = True) -> "CharTokenizer":
        """Every distinct character of texts (lower-cased if case insensitive) in code point order, then ``<unk>``.

        Lone surrogates are left out: they are no characters. Raises TokenizerError if there are none or more than 8192.
        """
        characters: set[str] = set()
        for document in documents:
            for piece in text_pieces(document, lower=not case_sensitive):
                characters.update(piece)
        tokens = [character.encode() for character in sorted(characters) if not "\ud800" <= character <= "\udfff"]
        if not tokens:
            raise TokenizerError("a char tokenizer needs data with at least one character")
        return cls([*tokens, UNKNOWN], len(tokens), case_sensitive)

    def encode(self, text: str | bytes) -> NDArray[np.int32]:
        """As :meth:`Tokenizer.encode`, with one look-up a character: int32, shape (N,)."""
        self._check_text(text)
        found = array("i")
        for piece in text_pieces(escaped(text), lower=not self.case_sensitive):
            points = np.frombuffer(piece.encode("utf-32-le", "surrogatepass"), dtype="<u4")  # (characters,)
            ids = self._point_to_id[np.minimum(points, len(self._point_to_id) - 1)]
            unknown = ids == self.unk_id
            if unknown.any():
                repeats = np.ones(len(ids), dtype=np.int64)
                repeats[unknown] = _utf8_lengths(points[unknown])
                ids = np.repeat(ids, repeats)
            found.frombytes(ids.data.cast("B"))
        return np.frombuffer(found, dtype=np.int32)

    def encode_pieces(self, pieces: Iterable[bytes]) -> Iterator[NDArray[np.int32]]:
        """As :meth:`Tokenizer.encode_pieces`; no token goes across two pieces."""
        return map(self.encode, whole_pieces(pieces, at_spaces=not self.case_sensitive))

    @cached_property
    def _point_to_id(self) -> NDArray[np.int32]:
        """Shape (highest code point + 2,): the id of each code point; the last entry stands for all that are higher."""
        points = {ord(self.tokens[index].decode()): index for index in self.ordinary_ids}
        table = np.full(max(points, default=-1) + 2, self.unk_id, dtype=np.int32)
        table[list(points)] = list(points.values())
        return table

    def _check_kind(self) -> None:
        tokens = self.tokens[: len(self.tokens) - self.num_reserved]  # if a reserved one is elsewhere, it is in here
        characters = len(tokens) - 1
        if not 1 <= characters <= MAX_CHARACTERS:
            raise TokenizerError(f"a char tokenizer has 1 to {MAX_CHARACTERS} characters, not {characters}; try another kind")
        for index, token in enumerate(tokens):
            if index == self.unk_id:
                continue
            character = token.decode("utf-8", "surrogateescape")
            if len(character) != 1 or "\ud800" <= character <= "\udfff":
                raise TokenizerError(f"char tokenizer: token {index} must be one character, not {show(token)}; {OTHER_TOKENS}")
            if not self.case_sensitive and character.lower() != character:
                raise TokenizerError(f"char tokenizer, case insensitive: token {index} is a capital: {show(token)}")


def _utf8_lengths(points: NDArray[np.uint32]) -> NDArray[np.int64]:
    """UTF-8 bytes of each code point; a surrogate is one byte that was not valid."""
    lengths = 1 + (points >= 0x80).astype(np.int64) + (points >= 0x800) + (points >= 0x10000)
    lengths[(points >= 0xD800) & (points <= 0xDFFF)] = 1
    return lengths
