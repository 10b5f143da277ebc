"""The cache of token files: a large text is encoded once, and its ids are mapped from then on.

A token file is found by its key: the hash of the text, of where its documents end, and of the tokenizer. The hash of a text of
files is kept beside, with the state of these files (sizes, times, inodes), so that a text that is as it was is not read at all.

Any process may write here at any time: files are replaced whole, and who makes one has it locked. Nothing here is needed: what
cannot be read is made anew, and where nothing can be written, a text is encoded in memory.
"""

import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from femto import token_files
from femto.documents import Document, FileDocument, MemoryDocument
from femto.errors import DataError
from femto.system import files, memory, strict_json
from femto.system.text import printable
from femto.token_files import Facts, TokenIds
from femto.tokenizers import KINDS, Tokenizer

LEAST_BYTES = 16 << 20  # of a text that is cached; a smaller one is encoded in a second
SAMPLE_BYTES = 1 << 20  # of a text's beginning, whose tokens tell how many all of it has
ENCODING = 1  # raised when any tokenizer gives other ids for a text than before

TOKENS, HASHES = ".tokens", ".text.json"


@dataclass(frozen=True)
class Reading:
    """So many bytes of a text are read."""

    purpose: str  # "reading", to know whether the text has changed; "encoding"
    done: int
    total: int


@dataclass(frozen=True)
class Note:
    """What a person should know of the cache: a line."""

    text: str


ShowEvent = Callable[[Reading | Note], object]


@dataclass(frozen=True)
class Tokens:
    """The ids of a text, and what else is known of it."""

    ids: TokenIds
    sha256: str  # of all documents one after another
    num_unknown: int


def default_folder() -> Path | None:
    """FEMTO_CACHE, else `femto` in XDG_CACHE_HOME, else `~/.cache/femto`; None if FEMTO_CACHE is `none`, or there is no home."""
    chosen = os.environ.get("FEMTO_CACHE", "")
    if chosen:
        return None if chosen == "none" else Path(chosen)
    caches = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(caches):  # the specification says to pass over others
        return Path(caches, "femto")
    with suppress(RuntimeError):
        return Path.home() / ".cache" / "femto"
    return None


def can_cache(tokenizer: Tokenizer) -> bool:
    """Whether equal vocabularies encode alike: not known of kinds that are not femto's."""
    return type(tokenizer) in (Tokenizer, *KINDS.values())


def load(
    name: str,
    documents: Sequence[Document],
    texts: Sequence[str],
    tokenizer: Tokenizer,
    folder: Path | None,
    show_event: ShowEvent,
) -> Tokens:
    """The ids of documents, of at least one byte each, one after another: mapped from a token file in a folder, which is made if
    it is not there; or encoded in memory, 8 or 16 bits each.

    name: what messages call the text. texts: the absolute paths of its files and folders, or its name; the token file has them.
    Raises DataError if a document cannot be read, and ResourceError.
    """
    if folder is not None and can_cache(tokenizer):
        try:
            return _Cached(name, documents, texts, tokenizer, folder, show_event).load()
        except OSError as error:
            show_event(Note(printable(f"{folder}: no token file: {error.strerror}; the text is encoded in memory")))
    encoding = _Encoding(documents, tokenizer, show_event)
    memory.require({"its tokens": encoding.estimated_bytes}, f"{name}: a data set of this size", "take a part of it")
    found = bytearray()
    for piece in encoding.pieces():
        found += piece.astype(encoding.dtype).tobytes()
    return Tokens(np.frombuffer(found, encoding.dtype), encoding.sha256.hexdigest(), encoding.num_unknown)


class _Encoding:
    """One pass over documents that encodes them, and hashes and counts what it sees."""

    def __init__(self, documents: Sequence[Document], tokenizer: Tokenizer, show_event: ShowEvent) -> None:
        self.documents, self.tokenizer, self.show_event = documents, tokenizer, show_event
        self.total = sum(document.size for document in documents)
        self.bits = token_files.bits_for(tokenizer.vocab_size)
        self.dtype: np.dtype[np.integer] = np.dtype(f"<u{self.bits // 8}")
        self.sha256, self.num_unknown, self.done = hashlib.sha256(), 0, 0

    @property
    def estimated_bytes(self) -> int:
        """Of all ids, if the rest of the text is like its beginning."""
        sample = next(self.documents[0].pieces())[:SAMPLE_BYTES]
        return len(self.tokenizer.encode(sample)) * self.total // len(sample) * self.bits // 8

    def pieces(self) -> Iterator[TokenIds]:
        for document in self.documents:
            for ids in self.tokenizer.encode_pieces(self._seen(document)):
                self.num_unknown += self.tokenizer.count_unknown(ids)
                yield ids

    def _seen(self, document: Document) -> Iterator[bytes]:
        for piece in document.pieces():
            self.sha256.update(piece)
            yield piece
            self.done += len(piece)
            self.show_event(Reading("encoding", self.done, self.total))


class _Cached:
    """A text that has a token file, or will have one. Every method raises OSError if the folder cannot be used."""

    def __init__(
        self,
        name: str,
        documents: Sequence[Document],
        texts: Sequence[str],
        tokenizer: Tokenizer,
        folder: Path,
        show_event: ShowEvent,
    ) -> None:
        self.name, self.documents, self.texts, self.tokenizer = name, documents, list(texts), tokenizer
        self.folder, self.show_event = folder, show_event
        self.total = sum(document.size for document in documents)
        self.hashed_at = 0  # when reading began, nanoseconds since 1970

    def load(self) -> Tokens:
        files.make_folder(self.folder, 0o700)  # the ids are the text, which may be nobody's business
        known = self._known_sha256()
        if not known and all(entry.facts is None or entry.facts.num_bytes != self.total for entry in entries(self.folder)):
            self._require_room()  # before the whole text is read to find whether it is there
        sha256 = known or self._sha256()
        key = _of(ENCODING, self.tokenizer.sha256, sha256, [document.size for document in self.documents])
        path = self.folder / f"{key[:32]}{TOKENS}"
        ids, facts = self._opened(path, key) or self._made(path, key, sha256)
        if not known:
            self._remember(sha256)
        return Tokens(ids, facts.sha256, facts.num_unknown)

    def _opened(self, path: Path, key: str) -> tuple[TokenIds, Facts] | None:
        try:
            return token_files.load(path, key)
        except FileNotFoundError:
            return None
        except DataError as error:
            self.show_event(Note(printable(f"{error}; it is made anew")))
            return None

    def _made(self, path: Path, key: str, sha256: str) -> tuple[TokenIds, Facts]:
        """Make the token file, unless another process does while we wait for it."""
        with ExitStack() as stack:
            waited = self._lock(path, stack)
            found = self._opened(path, key) if waited else None
            if found is not None:
                return found
            files.remove_abandoned(self.folder)
            encoding = self._require_room()
            facts = Facts(
                key=key,
                texts=self.texts,
                sha256=sha256,
                num_bytes=self.total,
                tokenizer=f"{self.tokenizer.kind or 'tokens'}, {self.tokenizer.vocab_size:,} tokens",
                tokenizer_sha256=self.tokenizer.sha256,
                bits=encoding.bits,
            )

            def pieces() -> Iterator[TokenIds]:
                yield from encoding.pieces()
                if encoding.sha256.hexdigest() != sha256:
                    raise DataError(f"{self.name}: was changed while it was read; run the command again")
                facts.num_unknown = encoding.num_unknown

            self.hashed_at = time.time_ns()  # the same bytes again, as `pieces` finds
            token_files.write(path, pieces(), facts)
            if self._state() is not None:
                self._remove_older(facts)
            return token_files.load(path, key)

    def _require_room(self) -> _Encoding:
        encoding = _Encoding(self.documents, self.tokenizer, self.show_event)
        if encoding.estimated_bytes > shutil.disk_usage(self.folder).free:
            raise OSError(errno.ENOSPC, "the disk has no room for it")
        return encoding

    def _lock(self, path: Path, stack: ExitStack) -> bool:
        """Whether we had to wait for another process."""
        waited = False
        while True:
            try:
                stack.enter_context(files.locked(path))
                return waited
            except BlockingIOError as error:
                if not waited:
                    self.show_event(Note(f"the token file of this text is {error.strerror}, which makes it; waiting"))
                waited = True
                time.sleep(0.1)

    def _remove_older(self, made: Facts) -> None:
        """Remove what was made of the same files when they held something else."""
        for entry in entries(self.folder):
            facts = entry.facts
            if facts and facts.key != made.key and facts.texts == made.texts and facts.tokenizer_sha256 == made.tokenizer_sha256:
                entry.path.unlink(missing_ok=True)

    def _sha256(self) -> str:
        self.hashed_at, digest, done = time.time_ns(), hashlib.sha256(), 0
        for piece in chain.from_iterable(document.pieces() for document in self.documents):
            digest.update(piece)
            done += len(piece)
            self.show_event(Reading("reading", done, self.total))
        return digest.hexdigest()

    # The hash of a text of files, beside the state of the files when it was read.

    def _state(self) -> str | None:
        """The hash of what the files look like from outside; None for texts that are in memory."""
        files_ = [document for document in self.documents if isinstance(document, FileDocument)]
        return _of([(os.path.abspath(each.path), each.state) for each in files_]) if files_ else None

    @property
    def _between(self) -> bytes:
        """What separates files."""
        return next((each.content for each in self.documents if isinstance(each, MemoryDocument)), b"")

    def _known_sha256(self) -> str | None:
        state = self._state()
        remembered = read_hash(self.folder, self.texts, self._between) if state else None
        return remembered["sha256"] if remembered and remembered["state"] == state else None

    def _remember(self, sha256: str) -> None:
        """Keep the hash, unless a file may have changed since without looking any other."""
        state = self._state()
        if state is None:
            return
        for each in self.documents:
            if isinstance(each, FileDocument) and (not each.unchanged() or _racy(each, self.hashed_at)):
                return
        content = json.dumps({"texts": self.texts, "state": state, "sha256": sha256}).encode()
        with suppress(OSError):  # the text is read again the next time
            files.write_atomically(hash_file(self.folder, self.texts, self._between), [content])


def _racy(document: FileDocument, read: int) -> bool:
    """Whether a file was changed so shortly before it was read that a change after that might have the same time.

    Clocks of files tick every few milliseconds; where there are whole seconds only, every second or two.
    """
    changed = max(document.state[1:3])
    return changed > read - (2 * 10**9 if changed % 10**9 == 0 else 10**8)


def hash_file(folder: Path, texts: Sequence[str], between: bytes = b"") -> Path:
    """Where the hash of a text of files is kept. between: what separates the files."""
    return folder / f"{_of(list(texts), between.hex())[:32]}{HASHES}"


def read_hash(folder: Path, texts: Sequence[str], between: bytes = b"") -> dict[str, str] | None:
    """The hash of a text and the state of its files when it was read; None if there is nothing good."""
    try:
        found = strict_json.parse(files.read(hash_file(folder, texts, between), most=token_files.MOST_FACTS_BYTES))
    except (OSError, ValueError):
        return None
    good = isinstance(found, dict) and all(isinstance(found.get(name), str) for name in ("state", "sha256"))
    return found if good and found.get("texts") == list(texts) else None


def _of(*values: object) -> str:
    """The hash of values that JSON has."""
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


@dataclass(frozen=True)
class Entry:
    """A token file of the cache."""

    path: Path
    num_bytes: int  # of the file
    used: float  # when it was made or used last, seconds since 1970
    facts: Facts | None  # None if it is damaged


def entries(folder: Path) -> list[Entry]:
    """The token files of a folder, those used last first; none if there is no such folder. Raises OSError."""
    found = []
    for path in folder.glob(f"*{TOKENS}"):
        with suppress(FileNotFoundError):  # removed meanwhile
            status = os.stat(path)
            try:
                facts = token_files.read_facts(path)
            except (DataError, OSError):
                facts = None
            found.append(Entry(path, status.st_size, status.st_ctime, facts))
    return sorted(found, key=lambda entry: (-entry.used, entry.path))


def entries_of(folder: Path, text: str | os.PathLike[str]) -> list[Entry]:
    """The token files of a text: made of this file or folder, alone or with others, or of another with the same content."""
    path = os.path.abspath(text)
    remembered = read_hash(folder, [path])
    sha256 = remembered and remembered["sha256"]
    return [entry for entry in entries(folder) if entry.facts and (path in entry.facts.texts or entry.facts.sha256 == sha256)]


def remove(folder: Path, chosen: Sequence[Entry] | None = None) -> int:
    """Remove token files, by default all of a folder and all else that femto left there; the bytes that are free then.

    Processes that use one keep what they have of it. Raises OSError.
    """
    freed = 0
    for entry in entries(folder) if chosen is None else chosen:
        entry.path.unlink(missing_ok=True)
        freed += entry.num_bytes
    if chosen is None:
        files.remove_abandoned(folder)
        for path in folder.glob(f"*{HASHES}"):
            path.unlink(missing_ok=True)
    return freed
