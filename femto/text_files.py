"""Files that are not the plain UTF-8 that they seem: what they look like, and what converts them.

femto reads bytes as they are. What is not UTF-8 is noise to most tokenizers, so whoever reads a text is told. A guess is made
where the bytes leave little doubt, else none: a mark at the beginning, the zero bytes of UTF-16 and UTF-32, and for 8-bit and
double-byte encodings that all of a piece can be decoded and gives the letters of that language.
"""

# ruff: noqa: RUF001 (letters of many scripts)

import codecs
import os
import re
import shlex
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from femto.errors import DataError
from femto.system import files, signatures
from femto.system.text import printable
from femto.tokenizers import Tokenizer

SAMPLE_BYTES = 1 << 16  # of each file that are looked at,
MOST_FILES = 256  # of so many files of a folder

PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class Guess:
    """What a file seems to be. command: what makes UTF-8 of {file} on standard output, or nothing; otherwise: what to do then."""

    name: str
    command: str = ""
    otherwise: str = ""

    @classmethod
    def encoded(cls, name: str, iconv: str) -> "Guess":
        return cls(name, f"iconv -f {iconv} -t UTF-8 {{file}}")

    def advice(self, path: PathLike) -> str:
        """How to convert the file."""
        return f"convert it: {self.command.format(file=shlex.quote(str(path)))} > NEW" if self.command else self.otherwise


BEGINNINGS = (  # the longer first
    (codecs.BOM_UTF32_LE, Guess.encoded("UTF-32", "UTF-32")),
    (codecs.BOM_UTF32_BE, Guess.encoded("UTF-32", "UTF-32")),
    (codecs.BOM_UTF16_LE, Guess.encoded("UTF-16, little-endian", "UTF-16")),
    (codecs.BOM_UTF16_BE, Guess.encoded("UTF-16, big-endian", "UTF-16")),
)
WITHOUT_MARK = {
    "utf-16-le": Guess.encoded("UTF-16, little-endian", "UTF-16LE"),
    "utf-16-be": Guess.encoded("UTF-16, big-endian", "UTF-16BE"),
    "utf-32-le": Guess.encoded("UTF-32, little-endian", "UTF-32LE"),
    "utf-32-be": Guess.encoded("UTF-32, big-endian", "UTF-32BE"),
}
IN_EVERY_TEXT = "[\n ,.，。、]"  # as pairs of bytes seldom elsewhere
DAMAGED = Guess("UTF-8 with some bytes that are not", "iconv -c -f UTF-8 -t UTF-8 {file}")
MARK = Guess("UTF-8 with a byte order mark, which becomes a token", "tail -c +4 {file}")

# Codec, iconv's name, a pattern of characters, which share of all that are not ASCII they must be. The first that fits is taken.
ENCODINGS = (
    ("euc_kr", "EUC-KR", "[가-힣]", 0.9),
    ("euc_jp", "EUC-JP", "[ぁ-ん]", 0.25),
    ("cp932", "SHIFT_JIS", "[ぁ-ん]", 0.25),
    ("gb18030", "GB18030", "[的一是不了在人有我他这，。]", 0.05),
    ("cp949", "CP949", "[가-힣]", 0.9),  # EUC-KR with more syllables
    ("cp1251", "WINDOWS-1251", "(?<=[а-я])[оеаин]|[оеаин](?=[а-я])", 0.3),  # accents stand alone, these letters do not
    ("koi8_r", "KOI8-R", "(?<=[а-я])[оеаин]|[оеаин](?=[а-я])", 0.3),
    ("cp1252", "WINDOWS-1252", "[À-ÖØ-öø-ÿ‘’‚“”„‹›–—•…€«»¡¿°§£©\xa0]", 0.95),
)
MOST_ACCENTS = 0.4  # of the letters of a text in WINDOWS-1252: the rest are ASCII


def looks_like(content: bytes) -> Guess | None:
    """What the content of a file, or its beginning, seems to be; None if it is UTF-8 or nothing that is known.

    >>> looks_like("naïve café".encode("cp1252")).name
    'WINDOWS-1252'
    >>> looks_like("naïve café".encode()) is None
    True
    """
    for beginning, guess in BEGINNINGS:
        if content.startswith(beginning):
            return guess
    kind = signatures.kind(content[: signatures.ENOUGH])
    if kind is not None:
        return Guess(kind.name, otherwise=kind.advice)
    sample = content[:SAMPLE_BYTES]
    wide = _wide(sample) if b"\0" in sample else None
    if wide is not None:
        return wide
    try:
        codecs.utf_8_decode(content, "strict", False)
    except UnicodeDecodeError as error:
        start = content.rfind(b"\n", 0, error.start) + 1  # a newline is a part of no longer character
        return _not_utf_8(content[start : start + SAMPLE_BYTES])
    return MARK if content.startswith(codecs.BOM_UTF8) else None


def _wide(sample: bytes) -> Guess | None:
    """What gives most spaces and stops of WITHOUT_MARK, if those are one in a hundred and there is nothing odd."""
    found: list[tuple[int, str, str]] = []
    for codec in WITHOUT_MARK:
        with suppress(UnicodeDecodeError):
            text = codecs.getincrementaldecoder(codec)().decode(sample)
            found.append((len(re.findall(IN_EVERY_TEXT, text)), codec, text))
    if not found:
        return None
    common, codec, text = max(found)  # of UTF-16 and UTF-32 with as many the latter: the former has zeros between
    odd = sum(unicodedata.category(c) in ("Cn", "Co", "Cc") and c not in "\t\n\r\f" for c in text)
    return WITHOUT_MARK[codec] if common * 100 >= len(text) > 20 * odd else None


def _not_utf_8(sample: bytes) -> Guess | None:
    lenient = sample.decode("utf-8", "surrogateescape")
    whole, broken = len(re.findall("[^\0-\x7f\ud800-\udfff]", lenient)), len(re.findall("[\udc80-\udcff]", lenient))
    if whole > 4 * broken:
        return DAMAGED
    for codec, name, pattern, share in ENCODINGS:
        try:
            text = codecs.getincrementaldecoder(codec)().decode(sample)
        except UnicodeDecodeError:
            continue
        others = [c for c in text if c > "\x7f"]
        if len(re.findall(pattern, text)) < share * len(others):
            continue
        if codec != "cp1252" or sum(map(str.isalpha, others)) <= MOST_ACCENTS * sum(map(str.isalpha, text)):
            return Guess.encoded(name, name)
    return None


def decoded(path: PathLike, content: bytes) -> str:
    """The text of a file. Raises DataError if it is not UTF-8: it says what the content seems to be, and what converts it."""
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        where, guess = f"{path}: not UTF-8 at byte {error.start}", looks_like(content)
        if guess is None:
            known = Guess.encoded("", "ENCODING").advice(path)
            raise DataError(f"{where}; if you know its encoding, {known}; the byte tokenizer takes any file") from error
        raise DataError(f"{where}: it looks like {guess.name}; {guess.advice(path)}") from error
    wide = looks_like(content[:SAMPLE_BYTES])
    if wide is not None and wide in WITHOUT_MARK.values():  # that of ASCII is UTF-8, too, with zeros
        raise DataError(f"{path}: looks like {wide.name}; {wide.advice(path)}")
    return text


def files_below(folder: PathLike) -> tuple[list[Path], list[str]]:
    """The files of a folder of texts, in the order of their paths, and what is left out, each with the reason.

    All that is hidden is left out without a word: names that begin with a dot. Raises DataError.
    """
    found: list[Path] = []
    left_out: list[str] = []
    for name, folders, inside in os.walk(folder, onerror=_refuse):
        folders[:] = [each for each in folders if not each.startswith(".")]
        left_out += [f"{Path(name, each)} is a link to a folder" for each in folders if Path(name, each).is_symlink()]
        for path in (Path(name, each) for each in inside if not each.startswith(".")):
            if path.is_file():
                found.append(path)
            else:
                left_out.append(f"{path} is {'a link that leads nowhere' if not path.exists() else 'no regular file'}")
    return sorted(found), sorted(left_out)


def _refuse(error: OSError) -> None:
    raise DataError(f"{error.filename}: cannot read the folder: {error.strerror}") from error


def notes(paths: PathLike | Sequence[PathLike], tokenizer: Tokenizer | None = None) -> list[str]:
    """What to know of texts, one line each: what they look like if not UTF-8, their Unicode form, what is left out of folders.

    paths: files and folders; standard input, the str `-`, is passed over. tokenizer: of the model that is to read them. Of each
    file SAMPLE_BYTES are looked at, and in a folder no more than MOST_FILES files.
    """
    found: dict[str, list[str]] = {}  # what is said, and of which files
    for path in [paths] if isinstance(paths, str | os.PathLike) else paths:
        inside, left_out = files_below(path) if Path(path).is_dir() else ([Path(path)] if path != "-" else [], [])
        for each in inside[:MOST_FILES]:
            for says, advice in _of_file(each, tokenizer):
                found.setdefault(says, []).append(f"{each} {says}; {advice}")
        if left_out:
            more = f", and {len(left_out) - 1} more" if len(left_out) > 1 else ""
            found[str(path)] = [f"{path}: left out: {left_out[0]}{more}"]
    told = [lines[0] + (f" ({len(lines) - 1} more files likewise)" if len(lines) > 1 else "") for lines in found.values()]
    return list(map(printable, told))


def _of_file(path: Path, tokenizer: Tokenizer | None) -> Iterator[tuple[str, str]]:
    try:
        with files.opened(path) as file:
            sample = file.read(SAMPLE_BYTES)
    except OSError:  # whoever reads it says why
        return
    guess = looks_like(sample)
    if guess is not None:
        yield f"looks like {guess.name}", guess.advice(path)
    if guess in (None, MARK):
        found = other_form(codecs.utf_8_decode(sample, "replace", False)[0], tokenizer)
        if found is not None:
            says, form = found
            convert = f'import sys, unicodedata as u; sys.stdout.write(u.normalize("{form}", sys.stdin.read()))'
            yield says, f"convert it: python3 -c '{convert}' < {shlex.quote(str(path))} > NEW"


def other_form(text: str, tokenizer: Tokenizer | None = None) -> tuple[str, str] | None:
    """What to say of a text in another Unicode form than the vocabulary of its tokenizer, or than is usual, and the better form.

    That is a text whose letters are decomposed, NFD, as macOS has them in file names; or one most of whose unknown tokens would
    be known in the other form. None if there is nothing to say.

    >>> other_form("cafe\u0301")
    ('is in Unicode form NFD, where é is e and an accent: other tokens than in the usual NFC', 'NFC')
    """
    if text.isascii():
        return None
    unknown = tokenizer.count_unknown(tokenizer.encode(text)) if tokenizer is not None else 0
    if tokenizer is not None and unknown:
        composed, decomposed = unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text)
        for form, converted, other in (("NFD", composed, "NFC"), ("NFC", decomposed, "NFD")):
            if converted != text and 10 * tokenizer.count_unknown(tokenizer.encode(converted)) <= unknown:
                return f"is in Unicode form {form}, the vocabulary in {other}", other
    if unicodedata.is_normalized("NFD", text) and not unicodedata.is_normalized("NFC", text):
        return "is in Unicode form NFD, where é is e and an accent: other tokens than in the usual NFC", "NFC"
    return None
