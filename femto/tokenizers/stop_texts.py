"""Stop texts: where generated text ends, found while it comes, across the borders of tokens."""

from collections.abc import Sequence

from femto.errors import ConfigError


class StopTexts:
    """Texts, any of which ends what is generated. The first that is complete counts; of two that end together, the longer.

    >>> StopTexts(["end"]).cut(b"the b"), StopTexts(["end"]).cut(b"the en"), StopTexts(["end"]).cut(b"the end of")
    ((5, False), (4, False), (4, True))
    """

    def __init__(self, texts: str | bytes | Sequence[str | bytes] = ()) -> None:
        """texts: one, or any number; a str stands for its UTF-8 bytes. Raises ConfigError if one is empty."""
        given = [texts] if isinstance(texts, str | bytes) else texts
        self.texts = tuple(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text for text in given)
        if not all(self.texts):
            raise ConfigError("stop must not be empty", "stop")

    def cut(self, data: bytes) -> tuple[int, bool]:
        """How many of the first bytes of data are no part of a stop text whatever follows; whether a stop text is right after.

        data: all bytes from the first that an earlier call held back.
        """
        found = [(start + len(text), start) for text in self.texts if (start := data.find(text)) >= 0]
        if found:
            return min(found)[1], True
        longest = max(map(len, self.texts), default=0)
        for start in range(max(0, len(data) - longest + 1), len(data)):
            if any(text.startswith(data[start:]) for text in self.texts):
                return start, False
        return len(data), False
