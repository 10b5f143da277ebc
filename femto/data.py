"""Text to token ids to batches. A batch is a function of seed and step, so resuming needs no state."""

import errno
import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from femto import text_files, token_cache
from femto.documents import Document, FileDocument, MemoryDocument
from femto.errors import DataError
from femto.system import files, memory, random_numbers, signatures
from femto.system.text import counted, described
from femto.token_cache import ShowEvent
from femto.token_files import TokenIds, release
from femto.tokenizers import Tokenizer

Ids = NDArray[np.int32]  # of a batch
PathLike = str | os.PathLike[str]
Paths = PathLike | Sequence[PathLike]  # of a text: a file, a folder, `-` for standard input, or several of them

STANDARD_INPUT = "-"  # as a str: Path("-") is a file of this name, as a folder may have one

GATHERED = 128  # windows that are taken from a token file before its pages are let go: the system maps 64 KiB or more for each
COUNTED = 1 << 20  # tokens that are counted at a time

Part = TypeVar("Part")  # of a text


@dataclass(frozen=True)
class Dataset:
    """A text as token ids: int32 for a small text, uint8 or uint16 for one of 16 MiB or more."""

    name: str  # the path as given, or several with commas between
    sha256: str  # of the file's bytes, or of all files' one after another
    num_bytes: int
    ids: TokenIds  # (N,)
    num_unknown: int  # how many of them are <unk>
    path: str | list[str] | None = None  # where it can be read again, as given; None if it cannot, or its name is not UTF-8

    def __repr__(self) -> str:
        sizes = {"tokens": len(self.ids), "unknown": self.num_unknown, "bytes": self.num_bytes}
        return described(self, self.name, **sizes, sha256=self.sha256[:8])

    @property
    def unknown_share(self) -> float:
        """How many of the ids are <unk>, from 0 to 1."""
        return self.num_unknown / len(self.ids) if len(self.ids) else 0.0

    def to_json(self) -> dict[str, object]:
        """What a history says of it."""
        return {"name": self.name, "path": self.path, "sha256": self.sha256, "bytes": self.num_bytes}


def read_bytes(path: PathLike, *, any_file: bool = False) -> bytes:
    """The bytes of a file, or of standard input for the str `-`.

    Raises DataError, also for what is no text by its first bytes; with any_file only for what femto itself has written.
    """
    _require_memory(path, [path])
    return _read(path, -1, any_file)


def _require_memory(name: object, files_: Sequence[PathLike]) -> None:
    """Raise ResourceError if the files, and their tokens, are more than the memory holds. It is asked for once, as that takes
    longer than to read a small file."""
    size = 0
    for each in files_:
        with suppress(OSError):  # whoever reads it says why
            size += os.stat(each).st_size
    memory.require({"its bytes": size, "its tokens": size}, f"{name}: a data set of this size", "take a part of it")


def _read(path: PathLike, most: int, any_file: bool) -> bytes:
    """The first `most` bytes, or all for -1, as `read_bytes` reads them."""
    if path == STANDARD_INPUT:
        if sys.stdin is None:
            raise DataError("-: standard input is closed")
        return _require_text(sys.stdin.buffer.read(most), "standard input", any_file)
    try:
        with files.opened(path) as file:
            return _require_text(file.read(most), path, any_file)
    except OSError as error:
        hints = {errno.EINVAL: "; `-` reads standard input", errno.ENOENT: "; --dataset names another text"}
        hint = hints.get(error.errno or 0, "")
        raise DataError(f"{path}: cannot read the data set: {error.strerror}{hint}") from error


def _require_text(content: bytes, name: object, any_file: bool) -> bytes:
    found = signatures.kind(content[: signatures.ENOUGH])
    if found and (found.is_femtos or not any_file):
        raise DataError(f"{name}: {found.name}, not text; {found.advice}")
    return content


def read_documents(path: Paths, *, any_file: bool = False) -> list[bytes]:
    """The bytes of a file, of standard input for `-`, or of every file below a folder, in the order of their paths; of several of
    these, one after another.

    Empty files are left out, and in a folder links to folders, and all that is hidden: names that begin with a dot. Raises
    DataError when something cannot be read or there is nothing in it, and for archives, images and the like unless `any_file`.
    `text_files.notes` says what there is to know of them.
    """
    names = _files_of(path)
    _require_memory(name_of(path), names)
    documents = [document for name in names if (document := _read(name, -1, any_file))]
    if not documents:
        raise DataError(f"{name_of(path)}: the data set is empty")
    return documents


def read_beginning(path: Paths, most: int) -> list[bytes]:
    """The documents that `read_documents` gives with `any_file`, up to `most` bytes of them; the last may be cut off."""
    documents, left = [], most
    for name in _files_of(path):
        documents.append(_read(name, left, any_file=True))
        left -= len(documents[-1])
        if not left:
            break
    return documents


def _files_of(path: Paths) -> list[PathLike]:
    """The files of a text, in the order in which they are read."""
    found: list[PathLike] = []
    for each in _several(path):
        found += text_files.files_below(each)[0] if Path(each).is_dir() else [each]
    return found


def _several(path: Paths) -> Sequence[PathLike]:
    return [path] if isinstance(path, str | os.PathLike) else path


def name_of(path: Paths) -> str:
    """What messages and histories call a text."""
    name = ", ".join(map(str, _several(path)))
    return name.encode("utf-8", "backslashreplace").decode()  # a file name may be any bytes, a history is UTF-8


def spoken(name: str) -> str:
    """The name of a text in a sentence: that of `-` is standard input."""
    return "standard input" if name == "-" else name


def read_text(path: str | os.PathLike[str]) -> str:
    """A UTF-8 file as text. Raises DataError; for one that is not UTF-8, it says what it seems to be and what converts it."""
    content = read_bytes(path)
    try:
        return text_files.decoded(path, content)
    except MemoryError as error:
        raise DataError(f"{path}: the data set is more than the memory holds") from error


def read_texts(path: Paths) -> Iterator[str]:
    """The files that `read_documents` reads, each as `read_text` reads it when it is asked for: one is in memory at a time."""
    return map(read_text, _files_of(path))


def load_dataset(
    path: Paths, tokenizer: Tokenizer, *, cache: bool | PathLike = True, show_event: ShowEvent = lambda event: None
) -> Dataset:
    """Read and encode a file, or all files of a folder one after another, or several files and folders.

    A text of 16 MiB or more is encoded once, into a token file that is mapped into memory; so it opens at once from then on, and
    takes hardly any memory. cache: whether to; or the folder for these files (default: `token_cache.default_folder`). Without
    it, the ids are in memory, 8 or 16 bits each. A text that grows is read as it was when this was called.

    show_event: is called with `token_cache.Reading` while a large text is read, and with a `token_cache.Note` for a person.
    Raises DataError as `read_documents` does; a byte tokenizer takes any file.
    """
    name, any_file = name_of(path), tokenizer.kind == "byte"
    try:
        documents = _large(_files_of(path), tokenizer, any_file)
        if documents is None:
            found = from_documents(name, read_documents(path, any_file=any_file), tokenizer)
        else:
            texts = [os.path.abspath(each) for each in _several(path)]
            found = _encoded(name, documents, texts, tokenizer, cache, show_event)
    except MemoryError as error:
        raise DataError(f"{name}: the data set is more than the memory holds") from error
    return replace(found, path=_again(path))


def _again(path: Paths) -> str | list[str] | None:
    """The path, or paths, as histories have it; None where there is nothing to read again, or a name is not UTF-8."""
    paths = list(map(str, _several(path)))
    if STANDARD_INPUT in paths or name_of(path) != ", ".join(paths):
        return None
    return paths if len(paths) > 1 else paths[0]


def _large(names: Sequence[PathLike], tokenizer: Tokenizer, any_file: bool) -> list[Document] | None:
    """The files that are not empty, if they are all files and together large enough for a token file. Raises DataError."""
    if STANDARD_INPUT in names or not token_cache.can_cache(tokenizer):
        return None
    try:
        found = [FileDocument.of(name) for name in names]
    except OSError:  # whoever reads it says why
        return None
    if sum(document.size for document in found) < token_cache.LEAST_BYTES:
        return None
    for name in names:
        _read(name, signatures.ENOUGH, any_file)
    return [document for document in found if document.size]


def _encoded(
    name: str,
    documents: Sequence[Document],
    texts: Sequence[str],
    tokenizer: Tokenizer,
    cache: bool | PathLike,
    show_event: ShowEvent,
) -> Dataset:
    folder = token_cache.default_folder() if cache is True else None if cache is False else Path(cache)
    if tokenizer.document_separator is not None:
        documents = _separated(documents, MemoryDocument(tokenizer.document_separator))
    tokens = token_cache.load(name, documents, texts, tokenizer, folder, show_event)
    return Dataset(name, tokens.sha256, sum(document.size for document in documents), tokens.ids, tokens.num_unknown)


def from_text(name: str, text: str | bytes, tokenizer: Tokenizer) -> Dataset:
    """A text in memory as a data set."""
    return from_documents(name, [text.encode() if isinstance(text, str) else text], tokenizer)


def from_documents(
    name: str,
    documents: Sequence[bytes],
    tokenizer: Tokenizer,
    *,
    cache: bool | PathLike = False,
    show_event: ShowEvent = lambda event: None,
) -> Dataset:
    """Documents in memory as a data set, one after another; none is encoded together with its neighbours.

    Between them stands the tokenizer's document separator, if it has one: as if it stood there in the text. Empty documents are
    left out. cache, show_event: as `load_dataset` has them. The ids of 16 MiB or more have 8 or 16 bits each, those of less 32.
    """
    name = name_of(name)
    documents = [document for document in documents if document]
    if sum(map(len, documents)) >= token_cache.LEAST_BYTES and token_cache.can_cache(tokenizer):
        return _encoded(name, list(map(MemoryDocument, documents)), [name], tokenizer, cache, show_event)
    if tokenizer.document_separator is not None:
        documents = _separated(documents, tokenizer.document_separator)
    digest = hashlib.sha256()
    for document in documents:
        digest.update(document)
    together = np.concatenate([np.empty(0, np.int32), *map(tokenizer.encode, documents)])
    num_bytes = sum(map(len, documents))
    return Dataset(name, digest.hexdigest(), num_bytes, together, tokenizer.count_unknown(together))


def _separated(documents: Sequence[Part], separator: Part) -> list[Part]:
    return [piece for document in documents for piece in (separator, document)][1:]


def split(ids: TokenIds, validation_split: float, name: str = "the data set") -> tuple[TokenIds, TokenIds]:
    """The ids to train on and the last `validation_split` of them, held out. Raises DataError when a part is too small."""
    validation = last_part(ids, validation_split)
    training = ids[: len(ids) - len(validation)]
    require_two(training, f"{name}: the part to train on")
    if validation_split:
        require_two(validation, f"{name}: a validation split of {validation_split:g}")
    return training, validation


def last_part(ids: TokenIds, share: float) -> TokenIds:
    """The last `share` of ids (N,), 0 to 1: what is held out of a text with that validation split."""
    return ids[len(ids) - round(len(ids) * share) :]


def require_two(ids: TokenIds, what: str) -> None:
    """Raise DataError unless there is a token to predict and one to predict it from."""
    if len(ids) < 2:
        raise DataError(f"{what} has {counted(len(ids), 'token')}; at least 2 are needed")


def counts(ids: TokenIds, vocab_size: int) -> NDArray[np.int64]:
    """How often each token of the vocabulary is among ids (N,), shape (vocab_size,)."""
    found = np.zeros(vocab_size, np.int64)
    for part in parts(ids):
        found += np.bincount(part, minlength=vocab_size)
    return found


def parts(ids: TokenIds) -> Iterator[TokenIds]:
    """The ids, COUNTED of them at a time; of a token file no more is held than that."""
    for first in range(0, len(ids), COUNTED):
        yield ids[first : first + COUNTED]
        release(ids)


def unigram_entropy(counts: NDArray[np.int64]) -> float:
    """The entropy of the frequencies of tokens, of `counts`, in nats a token: the loss of a model that knows nothing of order."""
    shares = counts[counts > 0] / counts.sum()
    return float(0.0 - (shares * np.log(shares)).sum())  # not -0.0 where there is one token only


def batch(ids: TokenIds, step: int, batch_size: int, num_tokens: int, seed: int) -> tuple[Ids, Ids]:
    """Inputs and targets (B, T) of a step: windows of T+1 tokens from uniformly random starts, wrapping round the end."""
    starts = random_numbers.words(seed, random_numbers.BATCHES, step, batch_size) % np.uint64(len(ids))
    windows = np.empty((batch_size, num_tokens + 1), np.int32)
    for first in range(0, batch_size, GATHERED):
        rows = slice(first, first + GATHERED)
        windows[rows] = ids[(starts[rows].astype(np.int64)[:, None] + np.arange(num_tokens + 1)) % len(ids)]
        release(ids)
    return np.ascontiguousarray(windows[:, :-1]), np.ascontiguousarray(windows[:, 1:])


def consecutive_windows(ids: TokenIds, num_tokens: int) -> tuple[Ids, Ids]:
    """Inputs and targets (W, T) that together predict every token but the first once; -1 marks what is beyond the end."""
    return _windows(ids, num_tokens, np.arange(num_windows(ids, num_tokens)))


def num_windows(ids: TokenIds, num_tokens: int) -> int:
    """How many consecutive windows there are."""
    return -(-(len(ids) - 1) // num_tokens)


def window_batches(ids: TokenIds, num_tokens: int, size: int, most: int | None = None) -> Iterator[tuple[Ids, Ids]]:
    """The consecutive windows, `size` of them at a time; the last inputs and targets (size, T) are filled up with 0 and -1.

    With `most`, that many windows at even distances instead of all.
    """
    count = num_windows(ids, num_tokens)
    some = None if most is None or count <= most else np.linspace(0, count - 1, most).astype(np.int64)
    count = count if some is None else len(some)
    for first in range(0, count, size):
        numbers = np.arange(first, min(first + size, count)) if some is None else some[first : first + size]
        inputs, targets = np.zeros((size, num_tokens), np.int32), np.full((size, num_tokens), -1, np.int32)
        inputs[: len(numbers)], targets[: len(numbers)] = _windows(ids, num_tokens, numbers)
        yield inputs, targets


def _windows(ids: TokenIds, num_tokens: int, numbers: NDArray[np.int64]) -> tuple[Ids, Ids]:
    """Consecutive windows by their numbers (W,)."""
    places = numbers[:, None] * num_tokens + np.arange(num_tokens)
    inside = places < len(ids) - 1
    inputs = np.where(inside, ids[np.minimum(places, len(ids) - 1)].astype(np.int32), 0)
    targets = np.where(inside, ids[np.minimum(places + 1, len(ids) - 1)].astype(np.int32), -1)
    release(ids)
    return inputs, targets
