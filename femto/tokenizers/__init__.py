"""Tokenizers: text to token ids and back.

>>> tokenizer = build("char", "hello")
>>> tokenizer.encode("hell").tolist()
[1, 0, 2, 2]
>>> tokenizer.decode([1, 0, 2, 2])
'hell'

One kind a file. A new kind is a subclass of Tokenizer with a ``kind`` name, a line in ``files.KINDS``, and, if it can
be made from a text without options, a line in ``_build``. `BpeTokenizer.from_documents` learns a vocabulary, and
`BpeTokenizer.keeping` makes a tokenizer keep tokens whole.
"""

from collections.abc import Iterable

from femto.errors import TokenizerError
from femto.tokenizers.ascii import AsciiTokenizer
from femto.tokenizers.base import Tokenizer, check_reserved
from femto.tokenizers.bpe import BpeTokenizer
from femto.tokenizers.bpe_training import Drop
from femto.tokenizers.byte import ByteTokenizer
from femto.tokenizers.char import CharTokenizer
from femto.tokenizers.files import KINDS, MAX_FILE_BYTES, check_target, from_json, load, save, to_text
from femto.tokenizers.finding import Occurrences, occurrences
from femto.tokenizers.huggingface import to_huggingface
from femto.tokenizers.kept import markers
from femto.tokenizers.pairs import Merge
from femto.tokenizers.stop_texts import StopTexts
from femto.tokenizers.stream import StreamDecoder

__all__ = [
    "KINDS",
    "MAX_FILE_BYTES",
    "AsciiTokenizer",
    "BpeTokenizer",
    "ByteTokenizer",
    "CharTokenizer",
    "Drop",
    "Merge",
    "Occurrences",
    "StopTexts",
    "StreamDecoder",
    "Tokenizer",
    "build",
    "check_reserved",
    "check_target",
    "from_json",
    "load",
    "markers",
    "occurrences",
    "save",
    "to_huggingface",
    "to_text",
]


def build(kind: str, data: str | Iterable[str] | None = None, case_sensitive: bool = True, reserve_tokens: int = 0) -> Tokenizer:
    """Make a tokenizer for a new model.

    kind: ``ascii`` (101 tokens, or 75 case insensitive), ``byte`` (256) or ``char`` (its characters, ``<unk>``).
    data: the text, or several, that a ``char`` tokenizer must cover; the other kinds ignore it.
    reserve_tokens: how many placeholders to add after all other tokens, for tokens to come; encode never gives them.

    Raises TokenizerError if the kind is not known, if ``char`` has no data or more than 8192 characters, or if
    reserve_tokens is negative or makes more than 65,536 tokens.
    """
    return _build(kind, data, case_sensitive).with_reserved(reserve_tokens)


def _build(kind: str, data: str | Iterable[str] | None, case_sensitive: bool) -> Tokenizer:
    if kind == "ascii":
        return AsciiTokenizer.standard(case_sensitive)
    if kind == "byte":
        return ByteTokenizer.standard(case_sensitive)
    if kind == "bpe":
        raise TokenizerError("a bpe tokenizer is learnt from data: `femto train-bpe`, or BpeTokenizer.from_text")
    if kind == "char":
        if data is None:
            raise TokenizerError("a char tokenizer needs data: the text whose characters it must cover")
        return CharTokenizer.from_documents([data] if isinstance(data, str) else data, case_sensitive)
    raise TokenizerError(f"tokenizer kind must be one of {', '.join(KINDS)}, not {kind!r}")
