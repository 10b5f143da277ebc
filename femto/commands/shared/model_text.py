"""The text that a command works on with a model: the one that is given, else the model's last one."""

import os
from typing import TYPE_CHECKING

import click

from femto.commands.shared.options import FIRST_TEXT, unknown_warning

if TYPE_CHECKING:
    from femto.checkpoint import Checkpoint
    from femto.data import Dataset


def read(given: str | None, checkpoint: "Checkpoint", *, other: bool = True) -> "Dataset":
    """Read and encode the text; say on standard error which it is, if that is not plain, and how much of it is <unk>.

    other: say if a text that was not given is not that of the last training.
    """
    from femto import data
    from femto.training.last_dataset import last_dataset
    from femto.training.notes import other_text

    path = given or last_dataset(checkpoint.history) or FIRST_TEXT
    found = data.load_dataset(path, checkpoint.tokenizer)
    if given is None and path != FIRST_TEXT:
        click.echo(f"note: the data set is {found.name}, the last one of the model", err=True)
    if given is None and other and (note := other_text(checkpoint.history, found)):
        click.echo(f"note: {note}", err=True)
    unknown_warning(found.num_unknown, len(found.ids), found.name)
    return found


def read_validation(given: str | None, checkpoint: "Checkpoint", *, last: bool) -> "Dataset | None":
    """The text to validate on, if any; last: that of the last session, if none is given."""
    from femto import data
    from femto.errors import DataError
    from femto.training.last_dataset import last_validation_dataset

    path = given or (last_validation_dataset(checkpoint.history) if last else None)
    if path is None:
        return None
    if given and given != "-" and not os.path.exists(given):
        raise DataError(f"{given}: cannot read the validation data set: it does not exist")
    found = data.load_dataset(path, checkpoint.tokenizer)
    if given is None:
        click.echo(f"note: validating on {found.name}, as in the last session", err=True)
    unknown_warning(found.num_unknown, len(found.ids), found.name)
    return found
