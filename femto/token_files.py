"""Token files: the ids of a text, 8 or 16 bits each, in a file that is mapped into memory instead of read.

    64 bytes          MAGIC, then zeros
    the ids           uint8 for up to 256 tokens, else uint16, little-endian
    a JSON object     the fields of Facts
    16 bytes          the length of the JSON and its CRC-32, both uint32 and little-endian; END

The checksum of the ids is checked when the file is not as it was left: its time of change is in it. A file whose time is another,
such as a copy, is read once in full. So a damaged file is found, and a good one opens at once, however large it is.
"""

import errno
import json
import mmap
import os
import struct
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from femto.config import MAX_VOCABULARY
from femto.errors import DataError
from femto.system import files, strict_json
from femto.system.text import brief

MAGIC = b"\x89FEMTO-TOKENS 1\r\n"
END = b"FEMTOEND"
HEADER_BYTES = 64
MOST_FACTS_BYTES = 4 << 20

_TAIL = struct.Struct("<II8s")

TokenIds = NDArray[np.integer]


@dataclass
class Facts:
    """What a token file knows of its ids."""

    key: str  # of the text and the tokenizer (`token_cache.py`)
    texts: list[str]  # the paths of files and folders, absolute; or a name
    sha256: str  # of the text
    num_bytes: int  # of the text
    tokenizer: str  # in words
    tokenizer_sha256: str
    bits: int  # an id
    num_tokens: int = 0
    num_unknown: int = 0
    crc32: int = 0  # of the ids as they lie in the file
    changed: int = 0  # when the file was last changed, seconds since 1970

    @property
    def dtype(self) -> np.dtype[np.integer]:
        return np.dtype(f"<u{self.bits // 8}")


def bits_for(vocab_size: int) -> int:
    """The bits of an id: 8 or 16."""
    assert 1 <= vocab_size <= MAX_VOCABULARY
    return 8 if vocab_size <= 256 else 16


def write(path: str | os.PathLike[str], pieces: Iterable[TokenIds], facts: Facts) -> None:
    """Write a token file, whole or not at all. pieces: the ids, some at a time. facts: without what is counted here; what the
    pieces' maker counts must be there when they end. Raises OSError."""
    files.write_atomically(path, _chunks(pieces, facts))
    _stamp(path, facts)


def _chunks(pieces: Iterable[TokenIds], facts: Facts) -> Iterator[bytes]:
    yield MAGIC.ljust(HEADER_BYTES, b"\0")
    facts.num_tokens, facts.crc32 = 0, 0
    for piece in pieces:
        data = piece.astype(facts.dtype).tobytes()
        facts.num_tokens += len(piece)
        facts.crc32 = zlib.crc32(data, facts.crc32)
        yield data
    facts.changed = int(time.time())
    described = json.dumps(asdict(facts)).encode()
    if len(described) > MOST_FACTS_BYTES:
        raise OSError(errno.E2BIG, "the names of the texts are too long")
    yield described
    yield _TAIL.pack(len(described), zlib.crc32(described), END)


def _stamp(path: str | os.PathLike[str] | int, facts: Facts) -> None:
    """Give a file the time of change that it says. Its status (ctime) then changes now, which tells when it was used."""
    with suppress(OSError):  # another user's; unless the time is right, it is checked in full each time
        os.utime(path, (facts.changed, facts.changed))


def read_facts(path: str | os.PathLike[str]) -> Facts:
    """What a token file knows of itself; its ids are not read. Raises OSError, and DataError if it is damaged."""
    with files.opened(path) as file:
        return _facts(file, path)


def load(path: str | os.PathLike[str], key: str) -> tuple[TokenIds, Facts]:
    """The ids of a token file, (N,), mapped, and what it knows of them. Raises OSError, and DataError if it is damaged or of
    another text."""
    with files.opened(path) as file:
        facts = _facts(file, path)
        if facts.key != key:
            raise DataError(f"{path}: damaged: it is of another text or tokenizer")
        if os.fstat(file.fileno()).st_mtime_ns != facts.changed * 10**9:
            _verify(file, path, facts)
        _stamp(file.fileno(), facts)
        size = HEADER_BYTES + facts.num_tokens * facts.bits // 8
        mapped = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
    return np.frombuffer(mapped, facts.dtype, facts.num_tokens, HEADER_BYTES), facts


def verify(path: str | os.PathLike[str]) -> None:
    """Read a token file in full. Raises OSError, and DataError if it is damaged."""
    with files.opened(path) as file:
        _verify(file, path, _facts(file, path))


def release(ids: TokenIds) -> None:
    """Let go of the pages of a token file that are in memory; the system keeps them as long as there is room, but they count no
    longer as this process's. Nothing for ids that are no token file's."""
    owner: object = ids
    while isinstance(owner, np.ndarray):
        owner = owner.base
    if isinstance(owner, memoryview):
        owner = owner.obj
    if isinstance(owner, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        owner.madvise(mmap.MADV_DONTNEED)


def _facts(file: BinaryIO, path: str | os.PathLike[str]) -> Facts:
    size = os.fstat(file.fileno()).st_size
    if size < HEADER_BYTES + _TAIL.size or file.read(HEADER_BYTES) != MAGIC.ljust(HEADER_BYTES, b"\0"):
        raise DataError(f"{path}: not a token file")
    file.seek(size - _TAIL.size)
    length, checksum, end = _TAIL.unpack(file.read(_TAIL.size))
    if end != END or length > min(MOST_FACTS_BYTES, size - HEADER_BYTES - _TAIL.size):
        raise DataError(f"{path}: truncated, or not a token file")
    file.seek(size - _TAIL.size - length)
    described = file.read(length)
    if zlib.crc32(described) != checksum:
        raise DataError(f"{path}: damaged: the checksum of what it says of itself is wrong")
    try:
        facts = _parsed(strict_json.parse(described))
    except ValueError as error:
        raise DataError(f"{path}: damaged: {error}") from error
    if facts.num_tokens * facts.bits // 8 != size - HEADER_BYTES - _TAIL.size - length:
        raise DataError(f"{path}: damaged: {size} bytes cannot hold {facts.num_tokens} tokens of {facts.bits} bits")
    return facts


def _parsed(document: object) -> Facts:
    """The facts of a JSON object. Raises ValueError."""
    if not isinstance(document, dict):
        raise ValueError("expected an object")
    values: dict[str, Any] = {}
    for field in fields(Facts):
        value = document.get(field.name)
        if field.type is int:
            good = type(value) is int and 0 <= value < 1 << 62
        elif field.type is str:
            good = isinstance(value, str)
        else:
            good = isinstance(value, list) and all(isinstance(text, str) for text in value)
        if not good or (field.name == "bits" and value not in (8, 16)) or (field.name == "num_tokens" and value == 0):
            raise ValueError(f"{field.name} cannot be {brief(value)}")
        values[field.name] = value
    return Facts(**values)


def _verify(file: BinaryIO, path: str | os.PathLike[str], facts: Facts) -> None:
    file.seek(HEADER_BYTES)
    left, checksum = facts.num_tokens * facts.bits // 8, 0
    while left and (piece := file.read(min(left, 4 << 20))):
        checksum = zlib.crc32(piece, checksum)
        left -= len(piece)
    if left or checksum != facts.crc32:
        raise DataError(f"{path}: damaged: the checksum of the ids is wrong")
