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

    >>> tokenizer = BpeTokenizer.from_text("to be or not to be " * 8, vocab_size=14)
    >>> tokenizer.tokens[7:]
    (b'to', b'e ', b' b', b'to be ', b'to be or n', b'ot to be ', b'<unk>')
    """

    kind = "bpe"

    @classmethod
    def from_text(cls, text: str | bytes, vocab_size: int, case_sensitive: bool = True) -> "BpeTokenizer":
        """Learn vocab_size tokens, ``<unk>`` among them, from a text. Errors as in ``from_documents``."""
        return cls.from_documents([text], vocab_size, case_sensitive)

    @classmethod
    def from_documents(
        cls,
        documents: Iterable[str | bytes],
        vocab_size: int,
        case_sensitive: bool = True,
        show_event: Callable[[Merge | Drop], object] = lambda event: None,
    ) -> "BpeTokenizer":
        """Learn vocab_size tokens, ``<unk>`` among them, from texts; no token spans two of them.

        The same texts give the same tokens (``bpe_training.py`` says how). All characters of the texts are tokens if they are
        at most vocab_size - 10, else the most frequent ones; then come the longer tokens, each used when the texts are encoded.
        show_event: called with each token that is learnt and each that is dropped again.

        Raises TokenizerError if vocab_size is not 12 to 65,536 or the texts are too small for it.
        """
        tokens = learn(documents, vocab_size, case_sensitive, show_event)
        return cls(tokens, len(tokens) - 1, case_sensitive)

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
        tokens = [*tokenizer.tokens[:token_id], _new_token(tokenizer, name), *tokenizer.tokens[token_id + 1 :]]
        return cls(tokens, tokenizer.unk_id, tokenizer.case_sensitive)

    @classmethod
    def extended(cls, tokenizer: Tokenizer, names: Sequence[str]) -> "BpeTokenizer":
        """A tokenizer with more tokens, after all that there are. A text that has none of them gets the ids that it had.

        tokenizer: of any kind; that of the result is ``bpe``. Raises TokenizerError if there is no name, if one would not do (as
        in ``renamed``), or if the vocabulary would have more than 65,536 tokens.
        """
        if not names:
            raise TokenizerError("no token to add is named")
        tokens = [*tokenizer.tokens, *(_new_token(tokenizer, name) for name in names)]
        return cls(tokens, tokenizer.unk_id, tokenizer.case_sensitive)


def _new_token(tokenizer: Tokenizer, name: str) -> bytes:
    """The bytes of a token that is to be in a vocabulary. Raises TokenizerError if no text could have them."""
    if isinstance(tokenizer, ByteTokenizer) and not tokenizer.case_sensitive:
        raise TokenizerError("a byte tokenizer that is case insensitive lower-cases A-Z only; it takes no other tokens")
    if not tokenizer.case_sensitive and name != name.lower():
        raise TokenizerError(f"the tokenizer is case insensitive, so it would never find {name!r}; give it {name.lower()!r}")
    try:
        token = name.encode()
    except UnicodeEncodeError as error:
        raise TokenizerError(f"the name {name!r} is not UTF-8") from error
    if token == UNKNOWN or is_reserved(token):
        raise TokenizerError(f"the name {name!r} is never found in a text; choose another")
    return token
