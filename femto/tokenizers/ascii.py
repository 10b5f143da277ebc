"""The ``ascii`` tokenizer: the printable ASCII characters and the white space."""

from femto.tokenizers.single_byte import SingleByteTokenizer, byte_tokens

_SENSITIVE = byte_tokens(bytes([*range(0x09, 0x0E), *range(0x20, 0x7F)]))
_INSENSITIVE = tuple(token for token in _SENSITIVE if not token.isupper())


class AsciiTokenizer(SingleByteTokenizer):
    """Bytes 9-13 (tab to carriage return) and 0x20-0x7e in byte order, then ``<unk>``.

    101 tokens, 75 if case insensitive, which has no capitals; then perhaps reserved tokens. Every byte of
    any other character is ``<unk>``.

    >>> AsciiTokenizer.standard().encode("A\\n").tolist()
    [38, 1]
    """

    kind = "ascii"

    @classmethod
    def standard(cls, case_sensitive: bool = True) -> "AsciiTokenizer":
        """The one vocabulary that this kind has."""
        tokens = _SENSITIVE if case_sensitive else _INSENSITIVE
        return cls(tokens, len(tokens) - 1, case_sensitive)

    def _check_kind(self) -> None:
        self._check_exactly(_SENSITIVE if self.case_sensitive else _INSENSITIVE)
