"""What a file is, by its first bytes, where that is neither text nor anything that nobody would give femto by mistake."""

import re
import struct
from dataclasses import dataclass

FEMTO_MODEL = b"\x89FEMTO\r\n"  # not text, and damaged by any text-mode transfer
ENOUGH = 512  # bytes of a file that tell what it is


@dataclass(frozen=True)
class Kind:
    """What a file is, and what may be done with it."""

    name: str
    advice: str
    is_femtos: bool = False  # written by femto, or by the original program


_MODEL = Kind("a femto model", "--model names a model", is_femtos=True)
_TOKENIZER = Kind(
    "a tokenizer file", "--tokenizer-data names a tokenizer, and `femto init --tokenizer bpe` makes a model with it", True
)
_ORIGINAL = Kind("a model of the original program", "`femto import` makes a femto model of it", is_femtos=True)
_FOREIGN_MODEL = "femto reads models of its own, and with `femto import` those of the original program"
_NO_TEXT = "take the text out of it first"

_SIGNATURES = (
    (re.compile(rb"\x1f\x8b\x08"), Kind("a gzip file", "unpack it first: gunzip")),
    (re.compile(rb"BZh[1-9]1AY&SY"), Kind("a bzip2 file", "unpack it first: bunzip2")),
    (re.compile(rb"\xfd7zXZ\0"), Kind("an xz file", "unpack it first: unxz")),
    (re.compile(rb"\x28\xb5\x2f\xfd"), Kind("a Zstandard file", "unpack it first: unzstd")),
    (re.compile(rb"7z\xbc\xaf\x27\x1c"), Kind("a 7z archive", "unpack it first: 7z x")),
    (re.compile(rb"Rar!\x1a\x07"), Kind("a RAR archive", "unpack it first: unrar x")),
    (
        re.compile(rb"PK\x03\x04"),
        Kind("a zip archive, as documents and models of other programs are, too", "unpack it first: unzip"),
    ),
    (re.compile(rb".{257}ustar", re.DOTALL), Kind("a tar archive", "unpack it first: tar -xf")),
    (re.compile(rb"%PDF-"), Kind("a PDF document", f"{_NO_TEXT}: pdftotext")),
    (re.compile(rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"), Kind("a document of an office program", _NO_TEXT)),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), Kind("a PNG image", "it holds no text")),
    (re.compile(rb"\xff\xd8\xff"), Kind("a JPEG image", "it holds no text")),
    (re.compile(rb"GIF8[79]a"), Kind("a GIF image", "it holds no text")),
    (re.compile(rb"RIFF.{4}(WAVE|AVI |WEBP)", re.DOTALL), Kind("a sound, a film or an image", "it holds no text")),
    (re.compile(rb"(OggS\0|fLaC\0|.{4}ftyp)", re.DOTALL), Kind("a sound or a film", "it holds no text")),
    (re.compile(rb"\x7fELF"), Kind("a program", "it holds no text")),
    (re.compile(rb"SQLite format 3\0"), Kind("an SQLite database", _NO_TEXT)),
    (re.compile(rb"(PAR1\x15|ARROW1\0\0)"), Kind("a Parquet or Arrow file", _NO_TEXT)),
    (re.compile(rb"\x93NUMPY"), Kind("a NumPy array", _NO_TEXT)),
    (re.compile(rb"\x89HDF\r\n\x1a\n"), Kind("an HDF5 file", _NO_TEXT)),
    (re.compile(rb"GGUF[\1-\x09]\0\0\0"), Kind("a GGUF model", _FOREIGN_MODEL)),
    (re.compile(rb'.{6}\0\0\{"', re.DOTALL), Kind("a safetensors model", _FOREIGN_MODEL)),
    (re.compile(rb"\x80[\2-\5][\x95}cX(]"), Kind("a Python pickle", _FOREIGN_MODEL)),
)
_TOKENIZER_FILE = re.compile(rb'\s*\{\s*"format"\s*:\s*"femto-tokenizer"')
_MOST_TOKENS = 65_536


def kind(beginning: bytes) -> Kind | None:
    """What a file is whose first bytes these are, ENOUGH or all; None for text, and for what is not known."""
    if beginning.startswith(FEMTO_MODEL):
        return _MODEL
    if _TOKENIZER_FILE.match(beginning):
        return _TOKENIZER
    if _is_of_original_program(beginning):
        return _ORIGINAL
    return next((found for pattern, found in _SIGNATURES if pattern.match(beginning)), None)


def _is_of_original_program(beginning: bytes) -> bool:
    """Whether it begins as a bincode tokenizer: unit, case_sensitive, id of `<unk>`, number of tokens."""
    if len(beginning) < 21:
        return False
    unit, case_sensitive, unknown, count = struct.unpack_from("<IBQQ", beginning)
    return bool(unit < 2 and case_sensitive < 2 and unknown < count <= _MOST_TOKENS)
