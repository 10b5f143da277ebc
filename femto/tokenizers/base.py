"""What every tokenizer shares: a vocabulary of byte strings, greedy longest match, and decoding.

A kind (``ascii``, ``byte``, ``char``, ``bpe``) is a subclass that checks its vocabulary and may encode faster; its ids must be
those that :meth:`Tokenizer.encode` of this class gives, which is the oracle of the tests.
"""

import hashlib
import operator
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import ClassVar, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from femto.config import MAX_VOCABULARY
from femto.errors import TokenizerError
from femto.system.text import counted
from femto.tokenizers.kept import KeptMatch
from femto.tokenizers.longest_match import LongestMatch
from femto.tokenizers.pieces import whole_pieces
from femto.tokenizers.reserved import is_reserved, reserved_names

UNKNOWN = b"<unk>"  # the name of the unknown token: printed by decode, never matched by encode
MAX_TOKENS = MAX_VOCABULARY
MAX_TOKEN_BYTES = 1024
PIECE = 1 << 18  # characters, bytes or ids handled at a time, so that temporary arrays stay small

OTHER_TOKENS = 'for other tokens, write "kind": "bpe"'  # what to do about a vocabulary that its kind cannot have

_SPACE = re.compile("[\n ]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_NO_BYTE = re.compile("[\ud800-\udc7f\udd00-\udfff]")  # those that stand for no byte


class Tokenizer:
    """A vocabulary with greedy longest match over UTF-8 bytes.

    Usable as it is for any list of tokens; the kinds are its subclasses. Instances are not to be changed, compare by
    value, and may be shared between threads.

    >>> tokenizer = Tokenizer([b"a", b"ab", b"<unk>"], unk_id=2)
    >>> tokenizer.encode("aba!").tolist()
    [1, 0, 2]
    >>> tokenizer.decode([1, 0, 2])
    'aba<unk>'
    """

    kind: ClassVar[str] = ""  # what a file calls it; a bare token list has no kind and no file
    may_keep: ClassVar[bool] = True  # whether it may have kept tokens

    def __init__(
        self,
        tokens: Sequence[bytes],
        unk_id: int | None,
        case_sensitive: bool = True,
        kept: Sequence[bytes] = (),
        document_separator: bytes | None = None,
    ) -> None:
        """Check and keep a vocabulary.

        tokens: the bytes of each id: 1 to 65,536 distinct tokens of 1 to 1024 bytes. Those with a reserved name (see
            ``reserved.py``) are never matched by :meth:`encode`, like ``<unk>``.
        unk_id: the id of ``b"<unk>"``, or None if the tokens hold each of the 256 bytes, so that nothing is unknown.
        case_sensitive: if False, :meth:`encode` lower-cases the text first; tokens with capitals then never match.
        kept: those of the tokens that :meth:`encode` finds wherever they stand, also where a token that begins earlier would
            take some of their bytes.
        document_separator: the kept token that stands between the documents of a data set, or None for nothing.

        Raises TokenizerError with one line that names the token or field.
        """
        self.tokens: tuple[bytes, ...] = tuple(tokens)
        self.unk_id = unk_id
        self.case_sensitive = case_sensitive
        self.kept: tuple[bytes, ...] = tuple(kept)
        self.document_separator = document_separator
        self._check_tokens()
        self._check_unknown()
        self._check_kept()
        self._check_kind()

    @property
    def vocab_size(self) -> int:
        """The number of tokens, ``<unk>`` and the reserved ones included."""
        return len(self.tokens)

    @property
    def num_reserved(self) -> int:
        """The number of reserved tokens; in the kinds they are the last ones."""
        return len(self.tokens) - len(self.ordinary_ids) - (self.unk_id is not None)

    def with_reserved(self, count: int) -> "Tokenizer":
        """This tokenizer with count reserved tokens after all others, always the same ones.

        Raises TokenizerError if count is negative or the vocabulary would have more than 65,536 tokens.
        """
        check_reserved(count, len(self.tokens))
        taken = set(self.tokens)
        names = islice((name for name in reserved_names() if name not in taken), count)
        tokens = [*self.tokens, *names]
        return type(self)(tokens, self.unk_id, self.case_sensitive, self.kept, self.document_separator)

    def encode(self, text: str | bytes) -> NDArray[np.int32]:
        """Turn text into token ids, int32, shape (N,), N at most the number of UTF-8 bytes.

        The longest token that matches wins at each position; a byte that begins no token gives one ``<unk>``. The text
        ``<unk>`` is ordinary text, and so is the name of a reserved token. Kept tokens come before all others: what lies between
        them is encoded piece by piece.
        Bytes that are not valid UTF-8 are matched as they are. In a str, a lone surrogate from U+DC80 to U+DCFF is such
        a byte (Python has it so in arguments and file names: "surrogateescape"), any other one is the three bytes that
        "surrogatepass" gives. If case insensitive, the text is first lower-cased by ``str.lower``; bytes input too,
        where invalid bytes stay as they are. Raises TypeError on anything else.
        """
        return self._encode_bytes(self.matched_bytes(text))

    def matched_bytes(self, text: str | bytes) -> bytes:
        """The bytes that encode looks at: text as UTF-8, lower-cased if case insensitive. Raises TypeError as encode does."""
        self._check_text(text)
        return b"".join(self._utf8_pieces(text))

    def encode_pieces(self, pieces: Iterable[bytes]) -> Iterator[NDArray[np.int32]]:
        """Turn a text that comes in pieces into token ids, some at a time, each int32, shape (n,).

        Together they are what :meth:`encode` gives for all pieces joined. What is held is a piece and its ids, so a text may be
        larger than the memory; pieces of 4 MiB are fast. If case insensitive, a piece goes on to the next space or newline.
        """
        lengths, rest = self.token_lengths(), b""
        for piece in whole_pieces(pieces, at_spaces=not self.case_sensitive):
            data = b"".join([rest, *self._utf8_pieces(piece)])
            ids = self._encode_bytes(data)
            ends = np.cumsum(lengths[ids])
            decided = int(np.searchsorted(ends - lengths[ids], len(data) - self.lookahead, side="right"))
            yield ids[:decided]
            rest = data[int(ends[decided - 1]) if decided else 0 :]
        yield self._encode_bytes(rest)

    def decode(self, ids: ArrayLike) -> str:
        """The text of ids, shape (N,), integers; what is not valid UTF-8 becomes U+FFFD. Errors as in decode_bytes."""
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def decode_bytes(self, ids: ArrayLike) -> bytes:
        """The bytes of ids, shape (N,), integers. Raises TokenizerError on any other shape or type, or unknown ids."""
        checked = self._check_ids(ids)
        return b"".join(self._join(checked[start : start + PIECE]) for start in range(0, len(checked), PIECE))

    def token_bytes(self, token_id: SupportsIndex) -> bytes:
        """The bytes of one id. Raises TokenizerError if the id is not in the vocabulary."""
        index = operator.index(token_id)
        if not 0 <= index < len(self.tokens):
            raise TokenizerError(f"token id {index} is not in the vocabulary (0 to {len(self.tokens) - 1})")
        return self.tokens[index]

    def token_lengths(self) -> NDArray[np.int64]:
        """How many bytes of text each token stands for, shape (vocab_size,): one for ``<unk>``."""
        lengths = np.array([len(token) for token in self.tokens], np.int64)
        if self.unk_id is not None:
            lengths[self.unk_id] = 1
        return lengths

    def count_unknown(self, ids: ArrayLike) -> int:
        """How many of ids, shape (N,), are ``<unk>``. Errors as in decode_bytes."""
        checked = self._check_ids(ids)
        return 0 if self.unk_id is None else int(np.count_nonzero(checked == self.unk_id))

    def to_json(self) -> dict[str, object]:
        """What a tokenizer file holds; ``femto.tokenizers.from_json`` reads it back.

        A token is a string if it is valid UTF-8, else a list of its bytes. Raises TokenizerError for a bare token list.
        """
        if not self.kind:
            raise TokenizerError("a bare token list has no kind, so it cannot be written as a tokenizer file")
        return {
            "format": "femto-tokenizer",
            "version": 1,
            "kind": self.kind,
            "case_sensitive": self.case_sensitive,
            "unk": self.unk_id,
            **({"keep": [readable(token) for token in self.kept]} if self.kept else {}),
            **({"document_separator": readable(self.document_separator)} if self.document_separator is not None else {}),
            "tokens": self.readable_tokens(),
        }

    def readable_tokens(self) -> list[str | list[int]]:
        """Each token as a string if it is valid UTF-8, else as a list of its bytes."""
        return [readable(token) for token in self.tokens]

    @cached_property
    def sha256(self) -> str:
        """The hash of all that decides which ids a text has."""
        return hashlib.sha256(repr(self._identity()).encode()).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokenizer) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({counted(self.vocab_size, 'token')}, case_sensitive={self.case_sensitive})"

    # What a kind may override.

    def _check_kind(self) -> None:
        """Raise TokenizerError unless the vocabulary is one that this kind can have."""

    def _utf8_pieces(self, text: str | bytes) -> Iterator[bytes]:
        """The bytes to match, after lower-casing; together they are the text, and no piece splits a valid character."""
        return utf8_pieces(text, self.case_sensitive)

    def _join(self, ids: NDArray[np.integer]) -> bytes:
        """The bytes of at most PIECE valid ids."""
        return b"".join([self.tokens[index] for index in ids.tolist()])

    # The rest.

    @cached_property
    def ordinary_ids(self) -> list[int]:
        """The ids that :meth:`encode` may match: all but ``<unk>`` and the reserved ones."""
        return [index for index, token in enumerate(self.tokens) if index != self.unk_id and not is_reserved(token)]

    @cached_property
    def lookahead(self) -> int:
        """How many bytes, from where a token begins, decide which it is: what comes after them does not matter.

        So a text may be encoded in parts: of the tokens of a part, those that begin so far before its end are those of the whole
        text, and the next part begins where the last of them ends.
        """
        longest = max((len(self.tokens[index]) for index in self.ordinary_ids), default=1)
        return longest + max(map(len, self.kept), default=0)

    def _encode_bytes(self, data: bytes) -> NDArray[np.int32]:
        match = self._kept_match if self.kept else self._longest_match
        return match.encode(data)

    @cached_property
    def _longest_match(self) -> LongestMatch:
        return LongestMatch(self.tokens, self.ordinary_ids, self._unknown)

    @cached_property
    def _kept_match(self) -> KeptMatch:
        return KeptMatch(self.tokens, self.ordinary_ids, self._unknown, self.kept)

    @property
    def _unknown(self) -> int:
        return -1 if self.unk_id is None else self.unk_id  # -1 is never used: without <unk>, every byte is a token

    def _identity(self) -> tuple[object, ...]:
        return self.kind, self.case_sensitive, self.unk_id, self.tokens, self.kept, self.document_separator

    def _check_text(self, text: object) -> None:
        if not isinstance(text, str | bytes):
            raise TypeError(f"text must be str or bytes, not {type(text).__name__}")

    def _check_ids(self, ids: ArrayLike) -> NDArray[np.integer]:
        checked = np.asarray(ids)
        if checked.ndim != 1:
            raise TokenizerError(f"token ids must have one dimension, not shape {checked.shape}")
        if checked.size == 0:
            return np.empty(0, dtype=np.int32)
        if checked.dtype.kind not in "iu":
            raise TokenizerError(f"token ids must be integers, not {checked.dtype}")
        self.token_bytes(int(checked.min()))
        self.token_bytes(int(checked.max()))
        return checked

    def _check_tokens(self) -> None:
        if not 1 <= len(self.tokens) <= MAX_TOKENS:
            raise TokenizerError(f"tokens: a vocabulary has 1 to {MAX_TOKENS} tokens, not {len(self.tokens)}")
        first: dict[bytes, int] = {}
        for index, token in enumerate(self.tokens):
            if not isinstance(token, bytes):
                raise TokenizerError(f"token {index} must be bytes, not {type(token).__name__}")
            if not 1 <= len(token) <= MAX_TOKEN_BYTES:
                raise TokenizerError(f"token {index} has {len(token)} bytes; a token has 1 to {MAX_TOKEN_BYTES}")
            if first.setdefault(token, index) != index:
                raise TokenizerError(f"token {index} repeats token {first[token]}: {show(token)}")

    def _check_unknown(self) -> None:
        named = self.tokens.index(UNKNOWN) if UNKNOWN in self.tokens else None
        if self.unk_id != named:
            where = "no token is '<unk>'" if named is None else moved(named)
            raise TokenizerError(f"unk is {'null' if self.unk_id is None else self.unk_id}, but {where}")
        if self.unk_id is None and len({token for token in self.tokens if len(token) == 1}) < 256:
            raise TokenizerError("unk is missing: '<unk>' is needed unless each of the 256 bytes is a token")

    def _check_kept(self) -> None:
        if self.kept and not self.may_keep:
            raise TokenizerError(f"keep: a tokenizer of kind {self.kind} keeps no tokens; {OTHER_TOKENS}")
        ordinary = {self.tokens[index] for index in self.ordinary_ids}
        for place, name in enumerate(self.kept):
            if name not in ordinary:
                raise TokenizerError(f"keep: {show(name)} is not a token that texts may have")
            if name in self.kept[:place]:
                raise TokenizerError(f"keep: {show(name)} is there twice")
            text = name.decode("utf-8", "surrogateescape")
            if not self.case_sensitive and text.lower() != text:
                raise TokenizerError(f"keep: {show(name)} has capitals, which a case-insensitive tokenizer never finds")
        if self.document_separator is not None and self.document_separator not in self.kept:
            raise TokenizerError(f"document_separator: {show(self.document_separator)} is not among the tokens to keep")


def check_reserved(count: int, vocab_size: int) -> None:
    """Raise TokenizerError if a vocabulary of vocab_size tokens has no room for count reserved ones."""
    most = MAX_TOKENS - vocab_size
    if not 0 <= count <= most:
        raise TokenizerError(f"reserved tokens: there can be 0 to {most} beside {vocab_size}, not {count}")


def utf8_pieces(text: str | bytes, case_sensitive: bool) -> Iterator[bytes]:
    """Text as UTF-8, lower-cased unless case sensitive, in pieces that split no valid character; bytes that are not
    UTF-8 stay as they are."""
    if isinstance(text, bytes) and case_sensitive:
        yield text
        return
    for piece in text_pieces(escaped(text), lower=not case_sensitive):
        yield piece.encode("utf-8", "surrogateescape")


def escaped(text: str | bytes) -> str:
    """Text in which each byte that is not valid UTF-8, and nothing else, is a lone surrogate, as "surrogateescape" has it."""
    if isinstance(text, str):
        if not _SURROGATE.search(text):
            return text
        text = _NO_BYTE.sub(lambda found: found[0].encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape"), text)
        text = text.encode("utf-8", "surrogateescape")  # what stood for bytes may be characters now
    return text.decode("utf-8", "surrogateescape")


def text_pieces(text: str, lower: bool) -> Iterator[str]:
    """Cut text into pieces of about PIECE characters, lower-cased if asked.

    ``str.lower`` looks at the neighbours of a capital sigma, but never across a space or newline: it is cut only there.
    """
    start = 0
    while start < len(text):
        stop = start + PIECE
        if not lower:
            yield text[start:stop]
        else:
            space = _SPACE.search(text, stop)
            stop = space.end() if space else len(text)
            yield text[start:stop].lower()
        start = stop


def moved(unk_id: int) -> str:
    """What is wrong when `<unk>` has this id and the field says another, as after an edit."""
    return f"token {unk_id} is '<unk>': a token's place is its id; write \"unk\": {unk_id}"


def show(token: bytes) -> str:
    """A token for an error message: on one line, and not long."""
    shown = repr(readable(token))
    return shown if len(shown) <= 60 else shown[:57] + "..."


def readable(token: bytes) -> str | list[int]:
    """A token as a string if it is valid UTF-8, else as a list of its bytes."""
    try:
        return token.decode("utf-8")
    except UnicodeDecodeError:
        return list(token)
