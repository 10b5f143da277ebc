"""The ``bpe`` tokenizer: any vocabulary, mostly one learnt from a text by byte pair encoding."""

from collections.abc import Callable, Iterable, Sequence

from femto.errors import TokenizerError
from femto.tokenizers.base import UNKNOWN, Tokenizer, show
from femto.tokenizers.bpe_training import Drop, learn
from femto.tokenizers.byte import ByteTokenizer
from femto.tokenizers.pairs import Merge
from femto.tokenizers.reserved import is_reserved


class BpeTokenizer(Tokenizer):
    """Tokens of any length, in any order: learnt (``from_text``, ``from_documents``) or written by hand.

    >>> text = "she sells sea shells on the sea shore; the shells she sells are sea shells"
    >>> tokenizer = BpeTokenizer.from_text(text, vocab_size=21)
    >>> [token for token in tokenizer.tokens if len(token) > 1]
    [b' s', b'he', b' she', b' sea', b' shells', b' sells', b' sea shells', b' the', b're', b'<unk>']
    """

    kind = "bpe"

    @classmethod
    def from_text(
        cls, text: str | bytes, vocab_size: int, case_sensitive: bool = True, *, keep: Sequence[str] = ()
    ) -> "BpeTokenizer":
        """Learn vocab_size tokens, ``<unk>`` among them, from a text. Arguments and errors as in ``from_documents``."""
        return cls.from_documents([text], vocab_size, case_sensitive, keep=keep)

    @classmethod
    def from_documents(
        cls,
        documents: Iterable[str | bytes],
        vocab_size: int,
        case_sensitive: bool = True,
        show_event: Callable[[Merge | Drop], object] = lambda event: None,
        *,
        keep: Sequence[str] = (),
        document_separator: str | None = None,
    ) -> "BpeTokenizer":
        """Learn vocab_size tokens, ``<unk>`` among them, from texts; no token spans two of them.

        Texts that are too small for so many tokens, or repeat themselves too much, give fewer: as many as they use.

        The same texts give the same tokens (``bpe_training.py`` says how). All characters of the texts are tokens if they are
        at most vocab_size - 10, else the most frequent ones; then come the longer tokens, each used when the texts are encoded.
        show_event: called with each token that is learnt and each that is dropped again.
        keep, document_separator: tokens that are kept, and what stands between documents; see ``keeping``. They are among the
        vocab_size, before ``<unk>``. No other token is learnt from them or across them, nor their characters, where those stand
        nowhere else.

        Raises TokenizerError if vocab_size is not 12 (and one for each kept token) to 65,536, if there is no character to learn
        from, or if a token to keep could not be found.
        """
        names = [*keep, *([] if document_separator is None else [document_separator])]
        kept = list(dict.fromkeys(_findable(name, case_sensitive) for name in names))
        tokens = learn(documents, vocab_size, case_sensitive, show_event, kept)
        separator = None if document_separator is None else document_separator.encode()
        return cls(tokens, len(tokens) - 1, case_sensitive, kept, separator)

    @classmethod
    def renamed(cls, tokenizer: Tokenizer, name: str, token_id: int | None = None) -> "BpeTokenizer":
        """A tokenizer with one of its reserved tokens renamed: from then on, encode may find the new name in texts.

        It does not where a longer token begins at the same place, or an earlier one takes its first byte: see ``occurrences``.
        tokenizer: of any kind; that of the result is ``bpe``, as its vocabulary is no standard one any more.
        token_id: of a reserved token. [default: the first]

        Raises TokenizerError if there is no such reserved token, or the name is empty, longer than 1024 bytes, a token
        already, or one that no text could have.
        """
        reserved = [index for index, token in enumerate(tokenizer.tokens) if is_reserved(token)]
        if not reserved:
            message = "the tokenizer has no reserved token left to rename"
            raise TokenizerError(f"{message}; add-token adds one that is not reserved")
        if token_id is None:
            token_id = reserved[0]
        if token_id not in reserved:
            raise TokenizerError(
                f"token {token_id} is {show(tokenizer.token_bytes(token_id))}; only a reserved token can be renamed"
            )
        _check_may_become_bpe(tokenizer)
        token = _findable(name, tokenizer.case_sensitive)
        tokens = [*tokenizer.tokens[:token_id], token, *tokenizer.tokens[token_id + 1 :]]
        return cls(tokens, tokenizer.unk_id, tokenizer.case_sensitive, tokenizer.kept, tokenizer.document_separator)

    @classmethod
    def extended(cls, tokenizer: Tokenizer, names: Sequence[str]) -> "BpeTokenizer":
        """A tokenizer with more tokens, after all that there are. A text that has none of them gets the ids that it had.

        tokenizer: of any kind; that of the result is ``bpe``. Raises TokenizerError if there is no name, if one would not do (as
        in ``renamed``), or if the vocabulary would have more than 65,536 tokens.
        """
        if not names:
            raise TokenizerError("no token to add is named")
        _check_may_become_bpe(tokenizer)
        tokens = [*tokenizer.tokens, *(_findable(name, tokenizer.case_sensitive) for name in names)]
        return cls(tokens, tokenizer.unk_id, tokenizer.case_sensitive, tokenizer.kept, tokenizer.document_separator)

    @classmethod
    def keeping(cls, tokenizer: Tokenizer, names: Sequence[str], document_separator: str | None = None) -> "BpeTokenizer":
        """A tokenizer that keeps more tokens: encode finds them whole, wherever they stand, and nothing runs across them.

        tokenizer: of any kind; that of the result is ``bpe``, as its vocabulary is no standard one any more.
        names: those that are no tokens yet are added after all others.
        document_separator: the kept token that stands between the documents of a data set from now on; it need not be among
        the names. [default: as before]

        >>> from femto.tokenizers import build
        >>> tokenizer = BpeTokenizer.keeping(build("char", "one, two"), ["<|end|>"])
        >>> [tokenizer.token_bytes(index) for index in tokenizer.encode("on<|end|>")]
        [b'o', b'n', b'<|end|>']

        Raises TokenizerError if a name is empty, longer than 1024 bytes, or one that encode could not find.
        """
        _check_may_become_bpe(tokenizer)
        names = [*names, *([] if document_separator is None else [document_separator])]
        found = dict.fromkeys(_findable(name, tokenizer.case_sensitive) for name in names)
        tokens = [*tokenizer.tokens, *(name for name in found if name not in tokenizer.tokens)]
        kept = dict.fromkeys([*tokenizer.kept, *found])
        separator = tokenizer.document_separator if document_separator is None else document_separator.encode()
        return cls(tokens, tokenizer.unk_id, tokenizer.case_sensitive, list(kept), separator)


def _check_may_become_bpe(tokenizer: Tokenizer) -> None:
    if isinstance(tokenizer, ByteTokenizer) and not tokenizer.case_sensitive:
        raise TokenizerError("a byte tokenizer that is case insensitive lower-cases A-Z only; it takes no other tokens")


def _findable(name: str, case_sensitive: bool) -> bytes:
    """The bytes of a name, which texts may have. Raises TokenizerError if encode would never find it."""
    if not case_sensitive and name != name.lower():
        raise TokenizerError(f"the tokenizer is case insensitive, so it would never find {name!r}; give it {name.lower()!r}")
    try:
        token = name.encode()
    except UnicodeEncodeError as error:
        raise TokenizerError(f"the name {name!r} is not UTF-8") from error
    if token == UNKNOWN or is_reserved(token):
        raise TokenizerError(f"the name {name!r} is never found in a text; choose another")
    return token
