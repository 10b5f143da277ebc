"""The text that a command works on: the one that is given, else the last one of the model."""

import os
from typing import TYPE_CHECKING

import click

from femto.commands.shared.options import FIRST_TEXT, text_notes, unknown_warning

if TYPE_CHECKING:
    from femto.checkpoint import Checkpoint
    from femto.checkpoint.history import History
    from femto.data import Dataset
    from femto.tokenizers import Tokenizer


def load(path: str | list[str], tokenizer: "Tokenizer") -> "Dataset":
    """Read and encode a text; say on standard error what it looks like, if that is not plain, and how much of it is <unk>."""
    from femto import data

    found = data.load_dataset(path, tokenizer)
    text_notes(path, tokenizer)
    unknown_warning(found.num_unknown, len(found.ids), found.name)
    return found


def path_of(given: str | None, history: "History | None") -> str | list[str]:
    """The text that is given, else the last one of a model, else the first that is looked for. Raises DataError."""
    from femto.training.last_dataset import last_dataset

    return given or (last_dataset(history) if history else None) or FIRST_TEXT


def read(given: str | None, checkpoint: "Checkpoint", *, other: bool = True) -> "Dataset":
    """`load` the text of a model, and say which it is, if it was not given.

    other: say if a text that was not given is not that of the last training.
    """
    from femto.training.notes import other_text

    path = path_of(given, checkpoint.history)
    if given is None and path != FIRST_TEXT:
        _announce("the data set is {}, the last one of the model", path)
    found = load(path, checkpoint.tokenizer)
    if given is None and other and (note := other_text(checkpoint.history, found)):
        click.echo(f"note: {note}", err=True)
    return found


def read_validation(given: str | None, checkpoint: "Checkpoint", *, last: bool) -> "Dataset | None":
    """The text to validate on, if any; last: that of the last session, if none is given."""
    from femto.errors import DataError
    from femto.training.last_dataset import last_validation_dataset

    path = given or (last_validation_dataset(checkpoint.history) if last else None)
    if path is None:
        return None
    if given and given != "-" and not os.path.exists(given):
        raise DataError(f"{given}: cannot read the validation data set: it does not exist")
    if given is None:
        _announce("validating on {}, as in the last session", path)
    return load(path, checkpoint.tokenizer)


def _announce(note: str, path: str | list[str]) -> None:
    from femto.system.text import printable

    name = path if isinstance(path, str) else ", ".join(path)
    click.echo(f"note: {note.format(printable(name))}", err=True)
