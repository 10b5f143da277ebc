"""A model on disk: tokenizer, shape, parameters, optimiser state, training settings and history in one file.

Layout, byte by byte: docs/checkpoint-format.md.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from femto import config as records
from femto import optimizers, tokenizers
from femto.checkpoint import container
from femto.checkpoint.history import KEPT_STEPS, KEPT_VALIDATIONS, History
from femto.checkpoint.state import Checkpoint
from femto.config import ModelConfig, TrainConfig
from femto.errors import CheckpointError, ConfigError, ResourceError, TokenizerError
from femto.model import Model
from femto.model.layout import layout_size
from femto.system import files, strict_json
from femto.system.files import check_writable
from femto.system.text import counted
from femto.tokenizers import Tokenizer

SECTIONS = frozenset({"model", "tokenizer", "training", "history", "losses", "milliseconds", "parameters", "optimizer"})
COUNTS = {"session": ("first_step", "steps"), "insert-layer": ("index",), "init-with": ("parent_steps",)}  # of history entries
MAX_JSON_BYTES = tokenizers.MAX_FILE_BYTES  # of one JSON section


def save(checkpoint: Checkpoint, path: str | os.PathLike[str]) -> None:
    """Write the file atomically and durably: after a failure the old file is still there. Raises CheckpointError."""
    model, optimizer, history = checkpoint.model, checkpoint.optimizer, checkpoint.history
    if optimizer and checkpoint.training.optimizer != optimizer.NAME:  # `load` would read it as the other's
        raise CheckpointError(
            f"{path}: the state is of {optimizer.NAME}, the settings name {checkpoint.training.optimizer}; reset it first"
        )
    sections: dict[str, bytes | memoryview] = {
        "model": _json({"config": records.to_json(model.config), "tensors": model.layout.description()}),
        "tokenizer": _json(checkpoint.tokenizer.to_json()),
        "training": _json(
            {"config": records.to_json(checkpoint.training), "optimizer_step": optimizer.step if optimizer else None}
        ),
        "history": _json(history.entries),
        "losses": _floats(history.losses),
        "milliseconds": _floats(history.milliseconds),
        "parameters": _floats(model.parameters),
    }
    for name, blob in sections.items():
        if isinstance(blob, bytes) and len(blob) > MAX_JSON_BYTES:  # `load` would refuse it
            raise CheckpointError(f"{path}: section {name} would be larger than {MAX_JSON_BYTES >> 20} MiB; nothing was changed")
    if optimizer:
        sections["optimizer"] = _floats(optimizer.state)
    container.write(path, sections)


def load(path: str | os.PathLike[str], *, optimizer: bool = True) -> Checkpoint:
    """Read and check a file; without `optimizer` its state, two thirds of the file, is left alone. Raises CheckpointError."""
    with opened(path) as file:
        return _load(container.Reader(file, path), path, optimizer)


def load_tokenizer(path: str | os.PathLike[str]) -> Tokenizer:
    """The tokenizer of a model, or of a tokenizer file. Raises CheckpointError and TokenizerError."""
    if not is_model(path):
        return tokenizers.load(path)
    with opened(path) as file:
        reader = container.Reader(file, path)
        reader.refuse_unknown(SECTIONS)
        return _tokenizer(reader, path)


def is_model(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins as models do. Raises CheckpointError if it cannot be read."""
    with opened(path, "the file") as file:
        return file.read(len(container.MAGIC)) == container.MAGIC


@contextmanager
def opened(path: str | os.PathLike[str], what: str = "the model") -> Iterator[BinaryIO]:
    """A regular file, open for reading. Raises CheckpointError, also for an OSError or ResourceError of whoever reads it."""
    try:
        with files.opened(path) as file:
            yield file
    except ResourceError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except OSError as error:
        hint = "; `femto init` makes a new model" if isinstance(error, FileNotFoundError) and what == "the model" else ""
        raise CheckpointError(f"{path}: cannot read {what}: {error.strerror}{hint}") from error


def _parse(reader: container.Reader, path: str | os.PathLike[str], name: str) -> Any:
    if reader.length(name) > MAX_JSON_BYTES:
        raise CheckpointError(f"{path}: section {name} is larger than {MAX_JSON_BYTES >> 20} MiB")
    try:
        return strict_json.parse(reader.read(name))
    except ValueError as error:
        raise CheckpointError(f"{path}: section {name} is not JSON: {error}") from error


def _tokenizer(reader: container.Reader, path: str | os.PathLike[str]) -> Tokenizer:
    try:
        return tokenizers.from_json(_parse(reader, path, "tokenizer"))
    except TokenizerError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _load(reader: container.Reader, path: str | os.PathLike[str], with_optimizer: bool) -> Checkpoint:
    reader.refuse_unknown(SECTIONS)

    def parse(name: str) -> Any:
        return _parse(reader, path, name)

    def floats(name: str) -> NDArray[np.float32]:
        if reader.length(name) % 4:
            raise CheckpointError(f"{path}: section {name} is not float32")
        if reader.length(name) != 4 * min(steps, KEPT_STEPS):  # before any memory is taken for them
            raise CheckpointError(f"{path}: the history's steps do not add up")
        return np.frombuffer(reader.read(name), "<f4").astype(np.float32)

    try:
        description, training_section = _fields(parse("model"), "config", "tensors"), parse("training")
        training_section = _fields(training_section, "config", "optimizer_step")
        config = records.from_json(ModelConfig, description["config"])
        training = records.from_json(TrainConfig, training_section["config"])
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error
    tokenizer = _tokenizer(reader, path)
    if tokenizer.vocab_size != config.vocab_size:
        known = counted(tokenizer.vocab_size, "token")
        raise CheckpointError(f"{path}: the tokenizer has {known}, the model {config.vocab_size}")
    if reader.length("parameters") != 4 * layout_size(config):  # before any memory is taken for them
        raise CheckpointError(
            f"{path}: the parameters have {reader.length('parameters')} bytes, the model's shape needs {4 * layout_size(config)}"
        )
    model = Model(config)
    if description["tensors"] != model.layout.description():
        raise CheckpointError(f"{path}: the list of tensors does not fit the model's shape")
    _read_floats(reader, "parameters", model.parameters)

    entries, steps = _entries(parse("history"), path), 0
    for session in History(entries).sessions():
        if session["first_step"] != steps:
            raise CheckpointError(f"{path}: the history's steps do not add up")
        steps += session["steps"]
    history = History.restored(entries, floats("losses"), floats("milliseconds"), steps)

    step = training_section["optimizer_step"]
    if (step is None) != ("optimizer" not in reader) or (step is not None and (type(step) is not int or not 0 <= step < 2**32)):
        raise CheckpointError(f"{path}: the optimiser's step and state do not fit")
    state = None
    if with_optimizer and step is not None:
        kind = optimizers.OPTIMIZERS[training.optimizer]
        if reader.length("optimizer") != kind.state_bytes(model.layout.size):
            raise CheckpointError(f"{path}: the optimiser's state does not fit the parameters")
        state = kind(model.layout)
        _read_floats(reader, "optimizer", state.state)
        state.step = step
    return Checkpoint(model, tokenizer, training, history, state)


@contextmanager
def locked(path: str | os.PathLike[str]) -> Iterator[None]:
    """Keep other processes from changing a model between loading and saving it; every command that changes one does.

    Raises CheckpointError, which names the process, if another one works on it, or what is in the way of a lock.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(files.locked(path))
        except BlockingIOError as error:
            raise CheckpointError(f"{path} is {error.strerror}; wait for its end, or work on a copy") from error
        except OSError as error:
            raise CheckpointError(f"{path}: {error.strerror}") from error
        yield


def check_target(path: str | os.PathLike[str], replace: bool = True) -> None:
    """Raise CheckpointError, before any work is done, if the file cannot be written or, unless `replace`, exists."""
    if not replace and Path(path).exists():
        raise CheckpointError(f"{path} exists; choose another file, or --force to replace it")
    try:
        check_writable(path)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot write the model: {error.strerror}") from error


def _entries(document: object, path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The history's entries, each checked to have what the rest of femto relies on."""
    if not isinstance(document, list) or not document:
        raise CheckpointError(f"{path}: the history is not a list of entries")
    try:
        _json(document)
    except UnicodeEncodeError as error:  # JSON may name half a character, which can be neither shown nor saved
        raise CheckpointError(f"{path}: the history is not UTF-8") from error
    for index, entry in enumerate(document):
        good = isinstance(entry, dict) and all(isinstance(entry.get(key), str) for key in ("id", "kind", "time"))
        if good and entry["kind"] in COUNTS:
            good = all(type(entry.get(key)) is int and 0 <= entry[key] < 2**63 for key in COUNTS[entry["kind"]])
        if good and entry["kind"] == "session":
            good = _is_dataset(entry.get("dataset"))
            good = good and ("validation_dataset" not in entry or _is_dataset(entry["validation_dataset"]))
            good = good and _are_validations(entry.get("validations", []), entry["first_step"] + entry["steps"])
        if not good:
            raise CheckpointError(f"{path}: entry {index} of the history is not complete")
    return document


def _is_dataset(document: object) -> bool:
    """Whether it has a name, and as path nothing, a path or some paths."""
    if not isinstance(document, dict) or not isinstance(document.get("name"), str):
        return False
    path = document.get("path")
    paths = path if isinstance(path, list) and path else [path]
    return path is None or all(isinstance(each, str) for each in paths)


def _are_validations(document: object, most: int) -> bool:
    """Whether it is a list of pairs: a step of the model's life, none below the one before, and a loss."""
    if not isinstance(document, list) or len(document) > KEPT_VALIDATIONS:
        return False
    before = 0
    for pair in document:
        if not isinstance(pair, list) or len(pair) != 2 or type(pair[0]) is not int or type(pair[1]) not in (int, float):
            return False
        if not before <= pair[0] <= most or not abs(pair[1]) <= sys.float_info.max:
            return False
        before = pair[0]
    return True


def _fields(document: object, *names: str) -> dict[str, Any]:
    if not isinstance(document, dict) or set(document) != set(names):
        raise ConfigError(f"expected a JSON object with the fields {', '.join(names)}")
    return document


def _json(document: object) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _floats(values: NDArray[np.float32]) -> memoryview:
    return np.ascontiguousarray(values, "<f4").data.cast("B")


def _read_floats(reader: container.Reader, name: str, out: NDArray[np.float32]) -> None:
    reader.read_into(name, out.data.cast("B"))
    if not np.little_endian:
        out.byteswap(inplace=True)
