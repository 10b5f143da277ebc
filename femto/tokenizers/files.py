"""Tokenizer files: JSON with one token a line, made to be read and edited by hand.

    {
      "format": "femto-tokenizer",
      "version": 1,
      "kind": "char",
      "case_sensitive": true,
      "unk": 2,
      "tokens": [
        "a",
        "b",
        "<unk>"
      ]
    }

The place of a token is its id. A token that is not valid UTF-8 is a list of its bytes, such as ``[226, 130]``.
Reserved tokens, ``<|reserved_token_`` with 32 hexadecimal digits and ``|>``, may follow all others.

Files of kind ``bpe`` may have two more fields before ``tokens``: ``"keep"``, the list of the tokens that are kept, and
``"document_separator"``, the one of them that stands between the documents of a data set.

Two more forms are read, never written, both of kind ``bpe``: the list of tokens alone, case sensitive; and the form of the
original program, ``{"unit": "Char", "case_sensitive": true, "unk": 1, "tokens": {"1": [60, 117, 110, 107, 62], "0": [97]}}``.
"""

import json
import os

from femto.errors import TokenizerError
from femto.system import files, signatures, strict_json
from femto.system.files import check_writable, write_atomically
from femto.tokenizers.ascii import AsciiTokenizer
from femto.tokenizers.base import MAX_TOKENS, UNKNOWN, Tokenizer, moved
from femto.tokenizers.bpe import BpeTokenizer
from femto.tokenizers.byte import ByteTokenizer
from femto.tokenizers.char import CharTokenizer

KINDS: dict[str, type[Tokenizer]] = {kind.kind: kind for kind in (AsciiTokenizer, ByteTokenizer, CharTokenizer, BpeTokenizer)}

_VERSION = 1
_FIELDS = ("format", "version", "kind", "case_sensitive", "unk", "tokens")
_KEEPING = ("keep", "document_separator")  # fields that may be left out
_LOG_FIELDS = ("unit", "case_sensitive", "unk", "tokens")
MAX_FILE_BYTES = 32 << 20  # 65,536 tokens of 500 letters; in memory, JSON may take 40 times its bytes


def from_json(document: object) -> Tokenizer:
    """The tokenizer of a file's JSON, in any of the three forms. Raises TokenizerError, one line naming the field or token."""
    if isinstance(document, list):
        tokens = _tokens(document, "the list")
        return BpeTokenizer(tokens, tokens.index(UNKNOWN) if UNKNOWN in tokens else None)
    if not isinstance(document, dict):
        raise TokenizerError(f"a tokenizer must be a JSON object or list, not {_json_type(document)}")
    if "unit" in document and "format" not in document:
        return _from_log(document)
    if document.get("format") != "femto-tokenizer":
        raise TokenizerError("not a tokenizer: field 'format' must be 'femto-tokenizer'")
    version = document.get("version")
    if type(version) is not int or version < 1:
        raise TokenizerError(f"field 'version' must be a positive integer, not {_brief(version)}")
    if version > _VERSION:
        raise TokenizerError(f"version {_brief(version)} of the tokenizer format is newer than this femto understands")
    kind, case_sensitive, unk_id, listed = _values(document, _FIELDS, _KEEPING)[2:]
    if not isinstance(kind, str) or kind not in KINDS:
        raise TokenizerError(f"field 'kind' must be one of {', '.join(KINDS)}, not {_brief(kind)}")
    if not isinstance(listed, list):
        raise TokenizerError(f"field 'tokens' must be a list, not {_json_type(listed)}")
    tokens = _tokens(listed, "field 'tokens'")
    kept, separator = document.get("keep", []), document.get("document_separator")
    if not isinstance(kept, list):
        raise TokenizerError(f"field 'keep' must be a list of tokens, not {_json_type(kept)}")
    return KINDS[kind](
        tokens,
        _unknown_id(unk_id, tokens),
        _case_sensitive(case_sensitive),
        [_token("keep", value) for value in kept[: len(tokens) + 1]],  # more would be there twice
        None if separator is None else _token("document_separator", separator),
    )


def _from_log(document: dict[str, object]) -> Tokenizer:
    """The original program wrote a map of ids to lists of bytes, in no order."""
    unit, case_sensitive, unk_id, by_id = _values(document, _LOG_FIELDS)
    if unit not in ("Char", "Byte"):
        raise TokenizerError(f"field 'unit' must be 'Char' or 'Byte', not {_brief(unit)}")
    if not isinstance(by_id, dict):
        raise TokenizerError(f"field 'tokens' must be an object beside 'unit', not {_json_type(by_id)}")
    names = [str(index) for index in range(len(by_id))]
    for name, found in zip(names, sorted(by_id, key=lambda name: (len(name), name)), strict=True):
        if found != name:
            raise TokenizerError(
                f"token {name} is missing: {len(names)} ids must be 0 to {len(names) - 1}; there is {_brief(found)}"
            )
    tokens = _tokens([by_id[name] for name in names], "field 'tokens'")
    return BpeTokenizer(tokens, _unknown_id(unk_id, tokens), _case_sensitive(case_sensitive))


def _values(document: dict[str, object], fields: tuple[str, ...], optional: tuple[str, ...] = ()) -> tuple[object, ...]:
    for field in fields:
        if field not in document:
            raise TokenizerError(f"field '{field}' is missing")
    for field in document:
        if field not in fields + optional:
            raise TokenizerError(f"field {_brief(field)} is not known; the fields are {', '.join(fields + optional)}")
    return tuple(document[field] for field in fields)


def _case_sensitive(value: object) -> bool:
    if not isinstance(value, bool):
        raise TokenizerError(f"field 'case_sensitive' must be true or false, not {_brief(value)}")
    return value


def _unknown_id(value: object, tokens: list[bytes]) -> int | None:
    if value is None or (type(value) is int and 0 <= value < len(tokens)):
        return value
    if UNKNOWN in tokens:
        place = tokens.index(UNKNOWN)
        raise TokenizerError(f"field 'unk' is {_brief(value)}, but {moved(place)}")
    raise TokenizerError(f"field 'unk' must be the id of a token or null, not {_brief(value)}")


def _tokens(values: list[object], what: str) -> list[bytes]:
    if not 1 <= len(values) <= MAX_TOKENS:
        raise TokenizerError(f"{what} has {len(values)} tokens; a vocabulary has 1 to {MAX_TOKENS}")
    return [_token(f"token {index}", value) for index, value in enumerate(values)]


def load(path: str | os.PathLike[str]) -> Tokenizer:
    """Read a tokenizer file. Raises TokenizerError, one line that begins with the path."""
    try:
        content = files.read(path, MAX_FILE_BYTES)
        found = signatures.kind(content[: signatures.ENOUGH])
        if found and not found.is_femtos:
            raise TokenizerError(f"{found.name}, not a tokenizer file")
        return from_json(strict_json.parse(content))
    except OSError as error:
        raise TokenizerError(f"{path}: cannot read: {error.strerror}") from error
    except TokenizerError as error:
        raise TokenizerError(f"{path}: {error}") from error
    except UnicodeDecodeError as error:
        raise TokenizerError(f"{path}: not UTF-8 at byte {error.start}") from error
    except ValueError as error:
        raise TokenizerError(f"{path}: not JSON: {error}; `femto train-bpe` makes a tokenizer from a text") from error


def save(tokenizer: Tokenizer, path: str | os.PathLike[str]) -> None:
    """Write a tokenizer file; the same tokenizer always gives the same bytes.

    A failure leaves the file that was there.
    Raises TokenizerError if it cannot be written, or would be too large for `load`.
    """
    content = to_text(tokenizer).encode()
    if len(content) > MAX_FILE_BYTES:
        raise TokenizerError(f"{path}: cannot write: the tokens would take more than {MAX_FILE_BYTES >> 20} MiB")
    try:
        write_atomically(path, [content])
    except OSError as error:
        raise TokenizerError(f"{path}: cannot write: {error.strerror}") from error


def check_target(path: str | os.PathLike[str]) -> None:
    """Raise TokenizerError, before any work is done, if `save` could not write there or would replace what is no tokenizer."""
    try:
        check_writable(path)
    except OSError as error:
        raise TokenizerError(f"{path}: cannot write: {error.strerror}") from error
    if os.path.exists(path):
        try:
            load(path)
        except TokenizerError as error:
            raise TokenizerError(f"{path} is there and is no tokenizer; choose another file ({error})") from error


def to_text(tokenizer: Tokenizer) -> str:
    """What `save` writes."""
    document = tokenizer.to_json()
    tokens = document.pop("tokens")
    assert isinstance(tokens, list)
    fields = "".join(f"  {json.dumps(field)}: {_one_line(value)},\n" for field, value in document.items())
    lines = ",\n".join(f"    {_one_line(token)}" for token in tokens)
    return f'{{\n{fields}  "tokens": [\n{lines}\n  ]\n}}\n'


def _token(what: str, value: object) -> bytes:
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError as error:
            raise TokenizerError(f"{what} has a lone surrogate: {_brief(value)}") from error
    if isinstance(value, list) and all(type(byte) is int and 0 <= byte <= 255 for byte in value):
        return bytes(value)
    raise TokenizerError(f"{what} must be a string or a list of bytes (0 to 255), not {_brief(value)}")


def _one_line(value: object) -> str:
    """JSON of a token or a list: letters of every script as they are, all that an editor might not show escaped."""
    if isinstance(value, list):
        return f"[{', '.join(map(_one_line, value))}]"
    return json.dumps(value, ensure_ascii=isinstance(value, str) and not value.isprintable())


def _json_type(value: object) -> str:
    names = {"dict": "an object", "list": "a list", "str": "a string", "bool": "true or false", "NoneType": "null"}
    return names.get(type(value).__name__, "a number")


def _brief(value: object) -> str:
    """A JSON value for an error message: ASCII, on one line, and not long."""
    try:
        shown = json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        shown = type(value).__name__
    return shown if len(shown) <= 60 else shown[:57] + "..."
