"""Decoding token by token, for text that is shown while it is generated."""

import codecs
from collections.abc import Sequence
from typing import SupportsIndex

from femto.system.text import described
from femto.tokenizers.base import Tokenizer
from femto.tokenizers.stop_texts import StopTexts


class StreamDecoder:
    """Turns ids into text as they come, never splitting a UTF-8 character, up to a stop text if one comes.

    All that ``feed`` and the last ``flush`` return, joined, equals ``tokenizer.decode`` of the ids, up to the stop text. What may
    begin one is held back until that is decided. ``feed_bytes`` and ``flush_bytes`` give the same as bytes, exact where these are
    not UTF-8.

    >>> from femto.tokenizers import build
    >>> stream = StreamDecoder(build("byte", None), stop=";\\n")
    >>> [stream.feed(byte) for byte in b"\\xc3\\xa9;;\\n!"], stream.stopped
    (['', 'é', '', ';', '', ''], True)
    """

    def __init__(self, tokenizer: Tokenizer, stop: str | bytes | Sequence[str | bytes] = ()) -> None:
        """stop: the stop texts, as `StopTexts` takes them. Raises ConfigError if one is empty."""
        self._tokenizer, self._stop = tokenizer, StopTexts(stop)
        self._characters = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._held = b""
        self.stopped = False  # whether a stop text has come; what follows it is dropped

    def __repr__(self) -> str:
        return described(self, self._tokenizer)

    def feed(self, token_id: SupportsIndex) -> str:
        """The text that token_id completes, perhaps empty. Raises TokenizerError if the id is not in the vocabulary."""
        return self.feed_bytes(token_id).decode("utf-8", "replace")

    def feed_bytes(self, token_id: SupportsIndex) -> bytes:
        """As `feed`; bytes that are not UTF-8 stay as they are."""
        added = self._tokenizer.token_bytes(token_id)
        if self.stopped:
            return b""
        data = self._held + added
        count, self.stopped = self._stop.cut(data)
        self._held = data[count:]
        return self._whole(data[:count])

    def flush(self) -> str:
        """What was held back, with U+FFFD for a character left unfinished; the decoder is then as new."""
        return self.flush_bytes().decode("utf-8", "replace")

    def flush_bytes(self) -> bytes:
        """As `flush`; the bytes of an unfinished character stay as they are."""
        data = self._whole(b"" if self.stopped else self._held, final=True)
        self._held, self.stopped = b"", False
        return data

    def _whole(self, data: bytes, final: bool = False) -> bytes:
        """Data as far as its characters are whole, after what was left of earlier ones."""
        return self._characters.decode(data, final).encode("utf-8", "surrogateescape")
