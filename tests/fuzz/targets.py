"""What is fuzzed: one target a reader. An input must give a value that holds what its format promises, or one clear FemtoError.

`python tests/fuzz/run.py TARGET --seconds N` looks for new inputs; tests/test_hostile_files.py replays corpus/TARGET/*.
"""

import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from femto import checkpoint, data, generation, token_files, tokenizers
from femto.analysis import lineage
from femto.checkpoint import Checkpoint
from femto.checkpoint.original_program import load_original_model
from femto.commands.shared.history_text import entry_line
from femto.errors import DataError, FemtoError
from femto.experiments import reading
from femto.experiments.recipe import Recipe
from femto.experiments.state import State, read_state
from femto.token_files import Facts
from femto.tokenizers import Tokenizer

CORPUS = Path(__file__).parent / "corpus"
SECTIONS = ("model", "tokenizer", "training", "history")
SEPARATOR = b"\n--\n"
SAMPLE = "Hello, <unk>! aab\n한".encode() + bytes(range(256))


@dataclass(frozen=True)
class Target:
    """A reader of files.

    file: what it is called. read: gives a value or raises FemtoError. check: raises unless the value is as it should be, given a
    folder to write in. arrange: the bytes of the file that an input stands for.
    """

    file: str
    read: Callable[[Path], Any]
    check: Callable[[Any, Path], None]
    arrange: Callable[[bytes], bytes] = lambda content: content


def run(target: Target, content: bytes, folder: Path) -> bool:
    """Whether the input is read; raises if a promise is broken."""
    path = folder / target.file
    path.write_bytes(target.arrange(content))
    try:
        value = target.read(path)
    except FemtoError as error:
        require_clear(error, path)
        return False
    target.check(value, folder)
    return True


def require_clear(error: FemtoError, path: Path) -> None:
    """Raise unless the message is one line, not long, fit for a terminal, and begins with the file."""
    assert str(error).startswith(f"{path}: "), error
    require_line(error, len(str(path)))


def require_line(error: FemtoError, more: int = 0) -> None:
    """Raise unless the message is one line, not long, and fit for a terminal."""
    assert str(error).isprintable() and len(str(error)) < 600 + more, error


def packed(sections: Mapping[str, bytes]) -> bytes:
    """The bytes of a container, written by hand after docs/checkpoint-format.md: without fsync, and without femto's checks."""
    offset = 64 + 64 * len(sections)
    table, body = b"", b""
    for name, content in sections.items():
        table += struct.pack("<24sIIQQ16s", name.encode(), 1, zlib.crc32(content), offset + len(body), len(content), b"")
        body += content + bytes(-len(content) % 64)
    return repaired(struct.pack("<8sIIQ36sI", b"\x89FEMTO\r\n", 1, len(sections), 0, b"", 0) + table + body)


def repaired(content: bytes) -> bytes:
    """A container with the size and all checksums right, whatever else is wrong with it."""
    if len(content) < 64:
        return content
    blob = bytearray(content)
    blob[16:24] = struct.pack("<Q", len(blob))
    end = 64 + 64 * min(struct.unpack_from("<I", blob, 12)[0], 64)
    for entry in range(64, min(end, len(blob) - 63), 64):
        offset, length = struct.unpack_from("<QQ", blob, entry + 32)
        blob[entry + 28 : entry + 32] = struct.pack("<I", zlib.crc32(blob[offset : offset + length]))
    blob[60:64] = struct.pack("<I", zlib.crc32(blob[:60] + blob[64:end]))
    return bytes(blob)


def unpacked(content: bytes) -> dict[str, bytes]:
    """The sections of a good container."""
    found = {}
    for entry in range(64, 64 + 64 * struct.unpack_from("<I", content, 12)[0], 64):
        name, offset, length = struct.unpack_from("<24s8xQQ", content, entry)
        found[name.rstrip(b"\0").decode()] = content[offset : offset + length]
    return found


def _from_sections(content: bytes) -> bytes:
    """A checkpoint of the corpus with other JSON: what lies between SEPARATORs, in the order of SECTIONS."""
    good = unpacked((CORPUS / "checkpoint" / "valid").read_bytes())
    return packed({**good, **dict(zip(SECTIONS, content.split(SEPARATOR), strict=False))})


def _check_model(loaded: Checkpoint, folder: Path) -> None:
    first, second = folder / "first.dat", folder / "second.dat"
    checkpoint.save(loaded, first)
    again = checkpoint.load(first)
    checkpoint.save(again, second)
    assert first.read_bytes() == second.read_bytes()
    assert again.model.parameters_sha256 == loaded.model.parameters_sha256
    assert again.tokenizer == loaded.tokenizer and again.optimizer_sha256 == loaded.optimizer_sha256
    for event in lineage.events(loaded.history):
        entry_line(event)
    assert lineage.relation(loaded.history, again.history).kind == "same"
    lineage.tree({"first": loaded.history, "second": again.history})
    config = loaded.model.config
    if config.num_tokens * config.num_layers * config.embedding_degree < 1 << 16:
        try:
            list(generation.generate(loaded, "a", 2, generation.Sampling()))
        except FemtoError as error:
            require_line(error)


def _check_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    tokenizers.save(tokenizer, folder / "again.json")
    assert tokenizers.load(folder / "again.json") == tokenizer
    for text in (SAMPLE, SAMPLE * 20, b"".join(islice(tokenizer.tokens, 100))):
        ids = tokenizer.encode(text)
        assert (ids == Tokenizer.encode(tokenizer, text)).all()
        if tokenizer.case_sensitive and not tokenizer.count_unknown(ids):
            assert tokenizer.decode_bytes(ids) == text


def _check_recipe(recipe: Recipe, folder: Path) -> None:
    for preset, plan in recipe.plans.items():
        assert plan.trained() and plan.steps >= 1 and len(plan.digest) == 64
        try:
            reading.with_parents(recipe, preset)
        except FemtoError as error:
            require_line(error)


def _check_state(state: State, folder: Path) -> None:
    state.save(folder)
    assert read_state(folder) == state


def _check_text(text: str, folder: Path) -> None:
    content = text.encode()
    (folder / "data").write_bytes(content)
    for tokenizer in (tokenizers.build("byte", None), tokenizers.build("ascii", None, False)):
        try:
            found = data.load_dataset(folder / "data", tokenizer)
        except FemtoError:
            assert not content
            continue
        assert found.num_bytes == len(content) and np.array_equal(found.ids, tokenizer.encode(text))


def _around_ids(content: bytes) -> bytes:
    """A token file with right checksums of what it says of itself: that JSON and the ids, with a SEPARATOR between."""
    described, separator, ids = content.partition(SEPARATOR)
    if not separator:
        return content
    tail = struct.pack("<II8s", len(described), zlib.crc32(described), token_files.END)
    return token_files.MAGIC.ljust(64, b"\0") + ids + described + tail


def _token_file(path: Path) -> Facts:
    try:
        token_files.verify(path)
        return token_files.read_facts(path)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error


def _check_facts(facts: Facts, folder: Path) -> None:
    ids, _ = token_files.load(folder / TARGETS["token_file"].file, facts.key)
    token_files.write(folder / "again.tokens", [ids], replace(facts))
    again, told = token_files.load(folder / "again.tokens", facts.key)
    assert len(ids) == facts.num_tokens and np.array_equal(again, ids) and told.crc32 == facts.crc32


def _checkpoint_and_its_tokenizer(path: Path) -> Checkpoint:
    loaded = checkpoint.load(path)
    assert checkpoint.load_tokenizer(path) == loaded.tokenizer
    return loaded


TARGETS = {
    "checkpoint": Target("model.dat", _checkpoint_and_its_tokenizer, _check_model, repaired),
    "sections": Target("model.dat", _checkpoint_and_its_tokenizer, _check_model, _from_sections),
    "original_model": Target("old.dat", load_original_model, _check_model),
    "tokenizer": Target("tokenizer.json", checkpoint.load_tokenizer, _check_tokenizer),
    "recipe": Target("mine.toml", reading.load, _check_recipe),
    "run": Target("run.json", lambda path: read_state(path.parent), _check_state),
    "token_file": Target("text.tokens", _token_file, _check_facts, _around_ids),
    "data": Target("data.txt", data.read_text, _check_text),
}
