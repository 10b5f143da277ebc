"""Export to the file format of the Hugging Face `tokenizers` library.

Its models do not match as femto does, but a regular expression can: every token of two bytes or more as an alternative, the
longest first, then any single byte. The text is mapped to the library's alphabet of 256 printable characters, one a byte; the
expression cuts it into tokens, and what is cut is looked up. So the ids are the same for every text, one `<unk>` for each byte
that no token covers. Kept tokens are the library's special tokens, which it finds first.
"""

import re

from femto.errors import TokenizerError
from femto.tokenizers.base import Tokenizer, show


def to_huggingface(tokenizer: Tokenizer) -> dict[str, object]:
    """The document of a `tokenizer.json` that `tokenizers.Tokenizer.from_file` loads and that gives the same ids.

    Raises TokenizerError for a case-insensitive tokenizer: the library lower-cases a final sigma otherwise than Python does. And
    for a kept token that the library would decode as other text, such as `é`: letters of Latin-1 alone.
    """
    if not tokenizer.case_sensitive:
        raise TokenizerError("only a case-sensitive tokenizer has an exact equivalent in the Hugging Face library")
    kept = {token: _as_special(token) for token in tokenizer.kept}
    ordinary = {tokenizer.tokens[index] for index in tokenizer.ordinary_ids} - kept.keys()
    matched = sorted(ordinary, key=lambda token: (-len(token), token))
    alternatives = [re.escape(_printable(token)) for token in matched if len(token) > 1]
    vocabulary = {kept.get(token, _printable(token)): index for index, token in enumerate(tokenizer.tokens)}
    if len(vocabulary) < tokenizer.vocab_size:
        raise TokenizerError("a kept token has the name that another token has in the Hugging Face library")
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    byte_level = {"add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": vocabulary[content], "content": content, **special} for content in kept.values()],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "ByteLevel", **byte_level},
                {
                    "type": "Split",
                    "pattern": {"Regex": "|".join([*alternatives, "."])},
                    "behavior": "Isolated",
                    "invert": False,
                },
            ],
        },
        "post_processor": None,
        "decoder": {"type": "ByteLevel", **byte_level},
        "model": {
            "type": "WordLevel",
            "vocab": vocabulary,
            "unk_token": "<unk>",
        },
    }


def _alphabet() -> list[str]:
    """The library's character of each byte, as GPT-2 had it: Latin-1 where that is printable, else from U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) if byte in printable else chr(0x100 + others.index(byte)) for byte in range(256)]


ALPHABET = _alphabet()


def _as_special(token: bytes) -> str:
    """The text of a kept token, which the library takes and gives as it is, unless it looks like one of its own."""
    try:
        content = token.decode()
    except UnicodeDecodeError as error:
        raise TokenizerError(f"the Hugging Face library keeps no token that is not UTF-8: {show(token)}") from error
    if content != _printable(token) and all(character in ALPHABET for character in content):
        raise TokenizerError(f"the Hugging Face library would decode the kept token {show(token)} as other text")
    return content


def _printable(token: bytes) -> str:
    return "".join([ALPHABET[byte] for byte in token])
