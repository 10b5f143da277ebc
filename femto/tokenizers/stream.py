"""Decoding token by token, for text that is shown while it is generated."""

import codecs
from typing import SupportsIndex

from femto.system.text import described
from femto.tokenizers.base import Tokenizer


class StreamDecoder:
    """Turns ids into text as they come, never splitting a UTF-8 character.

    All that ``feed`` and the last ``flush`` return, joined, equals ``tokenizer.decode`` of the ids.

    >>> from femto.tokenizers import build
    >>> stream = StreamDecoder(build("byte", None))
    >>> [stream.feed(0xC3), stream.feed(0xA9), stream.flush()]
    ['', 'é', '']
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def __repr__(self) -> str:
        return described(self, self._tokenizer)

    def feed(self, token_id: SupportsIndex) -> str:
        """The text that token_id completes, perhaps empty. Raises TokenizerError if the id is not in the vocabulary."""
        return self._decoder.decode(self._tokenizer.token_bytes(token_id))

    def flush(self) -> str:
        """U+FFFD if a character was left unfinished, else nothing; the decoder is then as new."""
        return self._decoder.decode(b"", True)
