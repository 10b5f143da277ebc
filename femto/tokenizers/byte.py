"""The ``byte`` tokenizer: the 256 bytes, so that no text is unknown."""

from collections.abc import Iterator

from femto.tokenizers.base import escaped, text_pieces
from femto.tokenizers.single_byte import SingleByteTokenizer, byte_tokens

_TOKENS = byte_tokens(bytes(range(256)))


class ByteTokenizer(SingleByteTokenizer):
    """The id of a byte is its value; 256 tokens and no ``<unk>``, then perhaps reserved tokens.

    Any bytes come back exactly from decode_bytes.

    Case insensitive, only the bytes A-Z are lower-cased, in str and bytes alike (``É`` stays). A-Z are
    tokens still, never used.

    >>> ByteTokenizer.standard().encode("é").tolist()
    [195, 169]
    """

    kind = "byte"

    @classmethod
    def standard(cls, case_sensitive: bool = True) -> "ByteTokenizer":
        """The one vocabulary that this kind has."""
        return cls(_TOKENS, None, case_sensitive)

    def _utf8_pieces(self, text: str | bytes) -> Iterator[bytes]:
        if isinstance(text, bytes):
            yield text if self.case_sensitive else text.lower()  # bytes.lower changes A-Z only
            return
        for piece in text_pieces(escaped(text), lower=False):
            data = piece.encode("utf-8", "surrogateescape")
            yield data if self.case_sensitive else data.lower()

    def _check_kind(self) -> None:
        self._check_exactly(_TOKENS)
