"""Documents: files and texts in memory, read a piece at a time, as they were when they were found."""

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from femto.errors import DataError
from femto.system import files

PIECE_BYTES = 4 << 20


class Document(Protocol):
    """A part of a text that is encoded apart from its neighbours."""

    @property
    def size(self) -> int:
        """Bytes."""

    def pieces(self) -> Iterator[bytes]:
        """The bytes, PIECE_BYTES of them at a time. Raises DataError."""


@dataclass(frozen=True)
class MemoryDocument:
    """Bytes in memory."""

    content: bytes

    @property
    def size(self) -> int:
        return len(self.content)

    def pieces(self) -> Iterator[bytes]:
        for first in range(0, len(self.content), PIECE_BYTES):
            yield self.content[first : first + PIECE_BYTES]


@dataclass(frozen=True)
class FileDocument:
    """A file, as long as it was when it was found: what is appended to it later is not read.

    state: size, times of the last changes of content and of anything in nanoseconds, inode. A file of the same state is the same
    file, unless its clock ticks too slowly (`token_cache.py`).
    """

    path: str
    state: tuple[int, int, int, int]

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> "FileDocument":
        """The document of a file. Raises OSError, also if it is no regular one."""
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
        return cls(os.fspath(path), _state(status))

    @property
    def size(self) -> int:
        return self.state[0]

    def pieces(self) -> Iterator[bytes]:
        left = self.size
        try:
            with files.opened(self.path) as file:
                if os.fstat(file.fileno()).st_ino != self.state[-1]:
                    raise DataError(f"{self.path}: another file took its place while it was read; run the command again")
                while left:
                    piece = file.read(min(left, PIECE_BYTES))
                    if not piece:
                        raise DataError(f"{self.path}: became shorter while it was read; run the command again")
                    left -= len(piece)
                    yield piece
        except OSError as error:
            raise DataError(f"{self.path}: cannot read the data set: {error.strerror}") from error

    def unchanged(self) -> bool:
        """Whether the file is still as it was found."""
        try:
            return _state(os.stat(self.path)) == self.state
        except OSError:
            return False


def _state(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
