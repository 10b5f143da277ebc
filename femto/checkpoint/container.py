"""The outer layer of a checkpoint: named, checksummed, aligned sections in one file (docs/checkpoint-format.md).

Knows nothing of models. Everything that a file claims is checked against its size before it is believed or read.
"""

import os
import struct
import zlib
from collections.abc import Mapping
from typing import BinaryIO

from femto.errors import CheckpointError
from femto.system import signatures
from femto.system.files import write_atomically
from femto.system.text import counted

MAGIC = signatures.FEMTO_MODEL
VERSION = 1
ALIGNMENT = 64
MAX_SECTIONS = 64
REQUIRED = 1  # flag: a reader that does not know the section must refuse the file

_HEADER = struct.Struct("<8sIIQ36sI")  # magic, version, sections, file size, zeros, CRC-32 of header and table
_ENTRY = struct.Struct("<24sIIQQ16s")  # name, flags, CRC-32, offset, length, zeros

Bytes = bytes | memoryview


def write(path: str | os.PathLike[str], sections: Mapping[str, Bytes], optional: frozenset[str] = frozenset()) -> None:
    """Write the sections, in order, atomically and durably. The same sections give the same bytes. Raises CheckpointError."""
    blobs = {name: memoryview(blob).cast("B") for name, blob in sections.items()}
    offset = _HEADER.size + _ENTRY.size * len(blobs)
    entries, places = [], []
    for name, blob in blobs.items():
        flags = 0 if name in optional else REQUIRED
        entries.append(_ENTRY.pack(name.encode("ascii"), flags, zlib.crc32(blob), offset, len(blob), bytes(16)))
        places.append(offset)
        offset = _aligned(offset + len(blob))
    header = _HEADER.pack(MAGIC, VERSION, len(blobs), offset, bytes(36), 0)[:-4]
    table = b"".join(entries)
    chunks: list[Bytes] = [header, struct.pack("<I", zlib.crc32(table, zlib.crc32(header))), table]
    for blob in blobs.values():
        chunks += [blob, bytes(_aligned(len(blob)) - len(blob))]
    try:
        write_atomically(path, chunks)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot write the model: {error.strerror}") from error


class Reader:
    """The sections of an open file. Raises CheckpointError, one line that begins with the path."""

    def __init__(self, file: BinaryIO, path: str | os.PathLike[str]) -> None:
        self._file, self._path = file, path
        size = os.fstat(file.fileno()).st_size
        header = file.read(_HEADER.size)
        if not header.startswith(MAGIC):
            found = signatures.kind(header + file.read(signatures.ENOUGH))
            what = f"not a femto model{f' but {found.name}; {found.advice}' if found else ''}"
            raise self._error(what if header else "the file is empty")
        if len(header) < _HEADER.size:
            raise self._error(f"truncated: {size} bytes are less than a header")
        _, version, count, claimed, zeros, checksum = _HEADER.unpack(header)
        if version != VERSION:
            advice = "a newer femto wrote it; upgrade femto" if version > VERSION else "the file is damaged"
            raise self._error(f"format version {version}, but this femto reads {VERSION}: {advice}")
        if not 1 <= count <= MAX_SECTIONS:
            raise self._error(f"damaged: {count} sections claimed, at most {MAX_SECTIONS} allowed")
        if claimed != size:
            what = "truncated" if size < claimed else "longer than it says"
            raise self._error(f"{what}: the header says {claimed} bytes, the file has {size}")
        table = file.read(_ENTRY.size * count)
        if len(table) < _ENTRY.size * count:
            raise self._error(f"truncated: {size} bytes are less than a table of {counted(count, 'section')}")
        if zlib.crc32(table, zlib.crc32(header[:-4])) != checksum or zeros.strip(b"\0"):
            raise self._error("damaged: the header's checksum is wrong")
        self._sections: dict[str, tuple[int, int, int, int]] = {}
        expected = _HEADER.size + len(table)
        for index in range(count):
            raw_name, flags, crc, offset, length, padding = _ENTRY.unpack_from(table, index * _ENTRY.size)
            name = raw_name.rstrip(b"\0").decode("ascii", "replace")
            if name in self._sections or not name.isidentifier() or padding.strip(b"\0"):
                raise self._error(f"damaged: section {index} has the name {name!r}")
            if offset != expected or length > size - offset:
                raise self._error(f"damaged: section {name} claims {counted(length, 'byte')} at {offset}")
            self._sections[name] = (flags, crc, offset, length)
            expected = _aligned(offset + length)
            file.seek(offset + length)
            if expected <= size and file.read(expected - offset - length).strip(b"\0"):
                raise self._error(f"damaged: the padding after section {name} is not zero")
        if expected != size:
            raise self._error(f"damaged: the sections end at {expected}, the file at {size}")

    def __contains__(self, name: str) -> bool:
        return name in self._sections

    def refuse_unknown(self, known: frozenset[str]) -> None:
        """Refuse sections that must be understood and are not among `known`."""
        for name, (flags, _, _, _) in self._sections.items():
            if flags & REQUIRED and name not in known:
                raise self._error(f"section {name} is not known; was the file written by a newer femto?")

    def length(self, name: str) -> int:
        return self._find(name)[3]

    def read(self, name: str) -> bytes:
        """A section, checked against its checksum."""
        _, crc, offset, length = self._find(name)
        self._file.seek(offset)
        blob = self._file.read(length)
        self._check(name, blob, length, crc)
        return blob

    def read_into(self, name: str, buffer: memoryview) -> None:
        """A section into memory of exactly its length."""
        _, crc, offset, length = self._find(name)
        if len(buffer) != length:
            raise self._error(f"section {name} has {counted(length, 'byte')}, expected {len(buffer):,}")
        self._file.seek(offset)
        read = self._file.readinto(buffer)  # type: ignore[attr-defined]
        self._check(name, buffer[:read], length, crc)

    def _find(self, name: str) -> tuple[int, int, int, int]:
        if name not in self._sections:
            raise self._error(f"section {name} is missing")
        return self._sections[name]

    def _check(self, name: str, blob: Bytes, length: int, crc: int) -> None:
        if len(blob) != length or zlib.crc32(blob) != crc:
            raise self._error(f"damaged: the checksum of section {name} is wrong")

    def _error(self, message: str) -> CheckpointError:
        return CheckpointError(f"{self._path}: {message}")


def _aligned(offset: int) -> int:
    return -(-offset // ALIGNMENT) * ALIGNMENT
