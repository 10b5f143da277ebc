"""Standard input, output and error of a process: closed ones, ones that nobody reads, and ones of any encoding."""

import codecs
import io
import os
import sys
from contextlib import suppress
from typing import Any, TextIO

LOSSLESS = "femto-lossless"  # how what an encoding lacks is written
ASCII = "femto_ascii"
CHOSEN = ("replace", "ignore", "xmlcharrefreplace", "namereplace", "backslashreplace")  # by PYTHONIOENCODING: they stay


class UnreadOutput(io.FileIO):
    """Standard error, whose loss is no reason to lose anything else: that nobody reads it any more, or its disk is full."""

    def write(self, data: Any) -> int:
        with suppress(OSError):
            return super().write(data) or len(data)
        return len(data)


def lossless(error: UnicodeError) -> tuple[bytes, int]:
    """Bytes that Python could not decode as those bytes, characters that the encoding lacks as escapes (`\\u2581`)."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    part = error.object[error.start : error.end]
    return b"".join(_without(character) for character in part), error.end


def _without(character: str) -> bytes:
    code = ord(character)
    return bytes([code - 0xDC00]) if 0xDC80 <= code <= 0xDCFF else character.encode("ascii", "backslashreplace")


def _lookup(name: str) -> codecs.CodecInfo | None:
    """ASCII by another name: what is called ASCII, click writes as UTF-8, with `?` for what it lacks."""
    if name != ASCII:
        return None
    found = codecs.lookup("ascii")
    return codecs.CodecInfo(
        *found[:4], incrementalencoder=found.incrementalencoder, incrementaldecoder=found.incrementaldecoder, name=ASCII
    )


def _encoding(stream: TextIO) -> str:
    return ASCII if codecs.lookup(stream.encoding).name == "ascii" else stream.encoding


def prepare() -> None:
    """Make the standard streams of this process such that no character, closed descriptor or lost reader ends a command."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:  # a closed one would be the number of the next file
        pass
    os.close(descriptor)
    codecs.register_error(LOSSLESS, lossless)
    codecs.register(_lookup)
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 (as long as the process)
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors not in CHOSEN:
        sys.stdout.reconfigure(encoding=_encoding(sys.stdout), errors=LOSSLESS)
    encoding = "utf-8" if sys.stderr is None else _encoding(sys.stderr)
    raw = io.BufferedWriter(UnreadOutput(2, "w", closefd=False))
    sys.stderr = io.TextIOWrapper(raw, encoding, "backslashreplace", line_buffering=True)


def flush() -> None:
    """Write what the streams still hold, as far as anybody reads it."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()


def is_utf8() -> bool:
    """Whether standard output is UTF-8."""
    try:
        return codecs.lookup(sys.stdout.encoding or "utf-8").name == "utf-8"
    except LookupError:
        return False
