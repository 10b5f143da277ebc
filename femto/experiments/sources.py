"""Where the text of an experiment comes from: a generator of the journal's, a file, or what every Python brings along."""

import hashlib
import importlib
import sys
import sysconfig
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from femto import data
from femto.errors import DataError, RecipeError
from femto.system.text import counted

GENERATORS = ("simple_dummy", "simple_dummy2", "addition_dummy", "simple_sequence", "simple_sequence2")
TEXTS = ("code", "prose")
MIN_TEXT_BYTES = 10_000  # less teaches nothing, and held-out parts of it tell nothing


@dataclass(frozen=True)
class Source:
    """Documents, and what to call them."""

    name: str
    documents: tuple[bytes, ...]
    is_substitute: bool = False  # what Python brings along, in place of the journal's text

    @cached_property
    def num_bytes(self) -> int:
        return sum(map(len, self.documents))

    @cached_property
    def sha256(self) -> str:
        digest = hashlib.sha256()
        for document in self.documents:
            digest.update(document)
        return digest.hexdigest()

    @property
    def text(self) -> str:
        """All documents, one after another; bytes that are not UTF-8 become U+FFFD."""
        return b"".join(self.documents).decode(errors="replace")

    def split(self, held_out: float) -> tuple["Source", "Source"]:
        """The first part, and the last `held_out` of the bytes, cut between two characters of UTF-8."""
        left = self.num_bytes - round(self.num_bytes * held_out)
        first, last = [], []
        for document in self.documents:
            cut = min(left, len(document))
            while 0 < cut < len(document) and document[cut] & 0xC0 == 0x80:
                cut -= 1
            left = left - len(document) if cut == len(document) else 0
            first.append(document[:cut])
            last.append(document[cut:])
        parts = [tuple(filter(None, part)) for part in (first, last)]
        return Source(f"{self.name} (training part)", parts[0]), Source(f"{self.name} (held-out part)", parts[1])


def load(kind: str, path: data.Paths | None = None, seed: int = 0) -> Source:
    """The text for a recipe's `data`: generated from the seed, or for `code` and `prose` a path, or what Python brings along.

    Raises DataError, and RecipeError if the kind is not known.
    """
    if kind in GENERATORS:
        if path is not None:
            raise DataError(f"--dataset: this experiment generates its own text, {kind}")
        return Source(kind, (generator(kind).generate(seed).encode(),))
    if kind not in TEXTS:
        raise RecipeError(f"data must be one of {', '.join(GENERATORS + TEXTS)}, got {kind!r}")
    if path is not None:
        source = Source(data.name_of(path), tuple(data.read_documents(path)))
    else:
        source = python_sources() if kind == "code" else python_topics()
    if source.num_bytes < MIN_TEXT_BYTES:
        size = counted(source.num_bytes, "byte")
        raise DataError(f"{source.name}: {size} of text, too little; at least {MIN_TEXT_BYTES:,} are needed")
    return source


def generator(kind: str):  # type: ignore[no-untyped-def]
    """The module of `femto.dummy_data` that makes and evaluates such a text."""
    return importlib.import_module(f"femto.dummy_data.{kind}")


def python_sources() -> Source:
    """The modules at the top of this Python's standard library, about 4.7 MB: code that every machine has."""
    folder = sysconfig.get_path("stdlib")
    paths = sorted(Path(folder).glob("*.py")) if folder else []
    if not paths:
        raise DataError("this Python has no sources of its standard library; give a text with --dataset")
    documents = tuple(filter(None, (path.read_bytes() for path in paths)))
    return Source(f"{_python()}'s standard library, {len(paths)} modules", documents, is_substitute=True)


def python_topics() -> Source:
    """The help topics of this Python, about 0.5 MB: English that every machine has."""
    try:
        topics = importlib.import_module("pydoc_data.topics").topics
    except ImportError as error:
        raise DataError("this Python has no help topics; give a text with --dataset") from error
    return Source(f"{_python()}'s help topics", tuple(topics[name].encode() for name in sorted(topics)), is_substitute=True)


def _python() -> str:
    return f"Python {'.'.join(map(str, sys.version_info[:3]))}"
