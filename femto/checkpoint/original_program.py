"""Models of the original program: reads its `.dat`, a bincode 1.3 value with neither magic nor checksums, into a Checkpoint.

Nothing that the file says is believed: a size is checked against the bytes that are left, and a tensor against the shape that
the hyperparameters give it, before memory is taken. The memory needed is about that of the checkpoint.
"""

import os
import re
import struct
from array import array
from typing import Any, BinaryIO, NoReturn

import numpy as np

from femto import config as records
from femto.checkpoint import Checkpoint, opened
from femto.checkpoint.container import MAGIC
from femto.checkpoint.history import History
from femto.config import MAX_LAYERS, MAX_VOCABULARY, PRESETS, ModelConfig
from femto.errors import CheckpointError, ConfigError, TokenizerError
from femto.model import Model
from femto.model.buffers import Floats
from femto.model.tensors import count_views
from femto.optimizers import AdamW
from femto.system.text import brief, counted
from femto.tokenizers import BpeTokenizer, Tokenizer
from femto.tokenizers.base import MAX_TOKEN_BYTES

POSITIONAL_ENCODINGS = ("none", "absolute")  # by tag
INIT, SESSION, STEP, INSERT_LAYER, RESET_OPTIMIZER = range(5)  # tags of the kinds of an entry of the history
MAX_STRING = 4096  # bytes of a name
MAX_ENTRIES = 65_536  # of the history, steps not counted: each takes far more memory than its bytes in the file

_ID = re.compile("[0-9a-f]{32}")
_FILE_HASH = re.compile("[0-9a-f]{20}")
_LEAST_BEGINNING = 16  # bytes that show that a file is no model: less than one has
_LEAST_TOKEN = 16  # bytes: id, length
_LEAST_TENSOR = 24  # bytes: the lengths of its name, its numbers and its shape
_LEAST_ENTRY = 12  # bytes: tag, the length of its id


def load_original_model(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a model that the original program wrote.

    The checkpoint is one of the preset `reference`, with its training settings; the tokenizer is of kind `bpe` with the same ids.
    The entries of the history keep their ids and get the time of the import, as theirs is not known; the first says `imported`,
    with the name of the file, and nothing else is added, so that models imported apart are still relatives. What the file says
    of each step is kept but for its id and whether a GPU computed it.

    Raises CheckpointError, one line that begins with the path, if the file cannot be read or is wrong in any way.
    """
    with opened(path, "the journal's model") as file:
        reader = _Reader(file, path)
        beginning = file.read(max(_LEAST_BEGINNING, len(MAGIC)))
        if beginning.startswith(MAGIC):
            reader.refuse("a femto model already; it needs no import")
        if len(beginning) < _LEAST_BEGINNING or beginning[1:4] != bytes(3):  # the tag of the tokenizer's unit, 0 or 1
            begins = f"begins with {brief(beginning)}" if beginning else "is empty"
            reader.refuse(f"not a model (.dat) of the original program: it {begins}")
        file.seek(0)
        tokenizer = _tokenizer(reader)
        encoding = POSITIONAL_ENCODINGS[reader.tag("the tag of the positional encoding", len(POSITIONAL_ENCODINGS))]
        config = _hyperparameters(reader, encoding, "the model")
        if tokenizer.vocab_size != config.vocab_size:
            reader.refuse(f"the tokenizer has {counted(tokenizer.vocab_size, 'token')}, the model {config.vocab_size}")
        model, optimizer = _model(reader, config)
        history = _history(reader, encoding)
        if reader.left:
            reader.refuse(f"{counted(reader.left, 'byte')} beyond the end of the model")
    history.entries[0]["imported"] = os.fspath(path).encode("utf-8", "backslashreplace").decode()
    return Checkpoint(model, tokenizer, PRESETS["reference"].training, history, optimizer)


class _Reader:
    """The primitives of bincode, little-endian, from an open file. `what` names the value in an error."""

    def __init__(self, file: BinaryIO, path: str | os.PathLike[str]) -> None:
        self._file, self._path = file, path
        self.size = self.left = os.fstat(file.fileno()).st_size

    def refuse(self, message: str) -> NoReturn:
        raise CheckpointError(f"{self._path}: {message}")

    def need(self, count: int, what: str) -> None:
        """Refuse the file unless it has that many more bytes."""
        if count > self.left:
            place = self.size - self.left
            self.refuse(
                f"truncated or damaged at byte {place}: {what} needs {counted(count, 'byte')}, of which {self.left:,} are there"
            )

    def take(self, count: int, what: str) -> bytes:
        self.need(count, what)
        taken = self._file.read(count)
        if len(taken) != count:
            self.refuse(f"{what}: the file changed while it was read")
        self.left -= count
        return taken

    def u64(self, what: str) -> int:
        return int.from_bytes(self.take(8, what), "little")

    def u32(self, what: str) -> int:
        return int.from_bytes(self.take(4, what), "little")

    def f32(self, what: str) -> float:
        value: float = struct.unpack("<f", self.take(4, what))[0]
        return value

    def boolean(self, what: str) -> bool:
        value = self.take(1, what)[0]
        if value > 1:
            self.refuse(f"{what} is {value}, not 0 or 1")
        return value == 1

    def tag(self, what: str, count: int) -> int:
        """The index of one of `count` variants."""
        value = self.u32(what)
        if value >= count:
            self.refuse(f"{what} is {value}, not 0 to {count - 1}")
        return value

    def count(self, what: str, least: int) -> int:
        """A number of items, each at least `least` bytes, that the rest of the file can hold."""
        number = self.u64(f"the number of {what}")
        self.need(number * least, f"{number} {what}")
        return number

    def byte_string(self, what: str, most: int) -> bytes:
        length = self.u64(f"the length of {what}")
        if length > most:
            self.refuse(f"{what} claims {length} bytes, at most {most} are possible")
        return self.take(length, what)

    def string(self, what: str, pattern: re.Pattern[str] | None = None) -> str:
        encoded = self.byte_string(what, MAX_STRING)
        try:
            text = encoded.decode()
        except UnicodeDecodeError:
            self.refuse(f"{what} is not UTF-8")
        if pattern and not pattern.fullmatch(text):
            self.refuse(f"{what} is {brief(text)}, not hexadecimal digits as the original program writes them")
        return text

    def floats(self, count: int, what: str) -> Floats:
        return np.frombuffer(self.take(4 * count, what), "<f4")


def _tokenizer(reader: _Reader) -> Tokenizer:
    reader.tag("the tokenizer's unit", 2)  # characters or bytes: what it was learnt from, nothing to encode and decode
    case_sensitive = reader.boolean("the tokenizer's case_sensitive")
    unknown = reader.u64("the id of the unknown token")
    count = reader.count("tokens", _LEAST_TOKEN)
    if not 1 <= count <= MAX_VOCABULARY:
        reader.refuse(f"the tokenizer has {count} tokens; a vocabulary has 1 to {MAX_VOCABULARY}")
    tokens: dict[int, bytes] = {}
    for _ in range(count):
        token_id = reader.u64("the id of a token")
        if token_id >= count or token_id in tokens:
            wrong = "is there twice" if token_id in tokens else "is out of range"
            reader.refuse(f"token id {token_id} {wrong}; the {count} ids must be 0 to {count - 1}")
        tokens[token_id] = reader.byte_string(f"token {token_id}", MAX_TOKEN_BYTES)
    try:
        return BpeTokenizer([tokens[index] for index in range(count)], unknown, case_sensitive)
    except TokenizerError as error:
        reader.refuse(f"the tokenizer: {error}")


def _hyperparameters(reader: _Reader, encoding: str, what: str) -> ModelConfig:
    names = ("num_tokens", "vocab_size", "embedding_degree", "num_layers", "num_heads", "head_size")
    values = {name: reader.u64(f"{name} of {what}") for name in names}
    head_size = values.pop("head_size")
    try:
        config = ModelConfig(**{**PRESETS["reference"].model, **values, "positional_encoding": encoding})
    except ConfigError as error:
        reader.refuse(f"{what}: {error}")
    if head_size != config.head_size:
        degree = f"num_heads {config.num_heads} are not embedding_degree {config.embedding_degree}"
        reader.refuse(f"{what}: head_size {head_size} times {degree}")
    return config


def _model(reader: _Reader, config: ModelConfig) -> tuple[Model, AdamW | None]:
    reader.need(4 * config.num_parameters + _LEAST_TENSOR * count_views(config), "a model of this shape")
    model = Model(config)
    _tensors(reader, model.tensors, "tensor", reader.count("tensors", _LEAST_TENSOR))

    step = reader.u64("the optimiser's step")
    count = reader.count("tensors of the optimiser", _LEAST_TENSOR)
    if step >= 2**32 or (step == 0) != (count == 0):
        reader.refuse(f"the optimiser has done {counted(step, 'step')} and has {counted(count, 'tensor')}")
    if not count:
        return model, None
    optimizer = AdamW(model.layout)
    optimizer.step = step
    moments = {
        f"{name}_{letter}": view
        for letter, buffer in optimizer.buffers().items()
        for name, view in model.layout.views(buffer).items()
    }
    _tensors(reader, moments, "tensor of the optimiser", count)
    return model, optimizer


def _tensors(reader: _Reader, targets: dict[str, Floats], what: str, count: int) -> None:
    """Read `count` tensors into the targets of their names; every target must be there once and have its shape."""
    missing = dict.fromkeys(targets)
    for _ in range(count):
        name = reader.string(f"the name of a {what}")
        named = f"{what} {brief(name)}"
        if name not in targets:
            reader.refuse(f"{named} is not one of a model of this shape")
        if name not in missing:
            reader.refuse(f"{named} is there twice")
        del missing[name]
        target = targets[name]
        numbers = reader.u64(f"the size of {named}")
        if numbers != target.size:
            reader.refuse(f"{named} has {numbers} numbers, its shape {list(target.shape)} needs {target.size}")
        values = reader.floats(numbers, named)
        dimensions = reader.u64(f"the number of dimensions of {named}")
        if dimensions != target.ndim:
            reader.refuse(f"{named} has {dimensions} dimensions, not {target.ndim}")
        shape = tuple(reader.u64(f"the shape of {named}") for _ in range(dimensions))
        if shape != target.shape:
            reader.refuse(f"{named} has the shape {list(shape)}, not {list(target.shape)}")
        target[...] = values.reshape(shape)
    if missing:
        reader.refuse(f"{what} {next(iter(missing))} is missing")


def _history(reader: _Reader, encoding: str) -> History:
    history = History()
    losses, milliseconds = array("f"), array("f")
    seen: set[str] = set()
    session: dict[str, Any] | None = None  # the one that steps belong to
    for index in range(reader.count("entries of the history", _LEAST_ENTRY)):
        named = f"entry {index} of the history"
        tag = reader.tag(f"the kind of {named}", 5)
        if index == 0 and tag != INIT:
            reader.refuse("the history does not begin with the model's creation")
        if tag == STEP:
            if session is None:
                reader.refuse(f"{named} is a step outside a training session")
            losses.append(reader.f32(f"the loss of {named}"))
            milliseconds.append(reader.u64(f"the time of {named}"))
            reader.boolean(f"is_gpu of {named}")
            reader.string(f"the id of {named}", _ID)
            session["steps"] += 1
            continue
        if tag == INIT:
            config = _hyperparameters(reader, encoding, named)
            entry = history.add("init", preset="reference", seed=None, config=records.to_json(config))
        elif tag == SESSION:
            entry = _session(reader, history, named, len(losses))
        elif tag == INSERT_LAYER:
            at = reader.u64(f"the index of {named}")
            if at > MAX_LAYERS:
                reader.refuse(f"the index of {named} is {at}, not 0 to {MAX_LAYERS}")
            entry = history.add("insert-layer", index=at)
        else:
            entry = history.add("reset-optimizer")
        entry["id"] = reader.string(f"the id of {named}", _ID)
        if len(history.entries) > MAX_ENTRIES:
            reader.refuse(f"the history has more than {MAX_ENTRIES} entries that are not steps")
        if entry["id"] in seen:
            reader.refuse(f"{named} has the id of an earlier one")
        seen.add(entry["id"])
        if tag != RESET_OPTIMIZER:  # which may come within a session; the others end it
            session = entry if tag == SESSION else None
    return History.restored(history.entries, np.array(losses, np.float32), np.array(milliseconds, np.float32), len(losses))


def _session(reader: _Reader, history: History, named: str, first_step: int) -> dict[str, Any]:
    dropout = reader.f32(f"the dropout of {named}")
    if not 0.0 <= dropout <= 1.0:
        reader.refuse(f"the dropout of {named} is {dropout:g}, not 0 to 1")
    dataset = {
        "name": reader.string(f"the data set of {named}"),
        "file_hash": reader.string(f"the data set's hash of {named}", _FILE_HASH),
    }
    exact = float(str(np.float32(dropout)))  # 0.1 for the float32 next to it
    return history.add("session", dropout=exact, dataset=dataset, first_step=first_step, steps=0)
