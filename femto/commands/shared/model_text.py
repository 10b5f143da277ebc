"""The text that a command works on: the one that is given, else the last one of the model."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from femto.commands.shared.notes import note, text_notes, unknown_note
from femto.commands.shared.options import FIRST_TEXT, Texts
from femto.commands.shared.reading import ReadingProgress

if TYPE_CHECKING:
    from femto.checkpoint import Checkpoint
    from femto.checkpoint.history import History
    from femto.data import Dataset
    from femto.tokenizers import Tokenizer

Path = str | Sequence[str]  # of a text, or several


def load(path: Path, tokenizer: "Tokenizer", *, quiet: bool = False) -> "Dataset":
    """Read and encode a text; say on standard error what it looks like, if that is not plain, and how much of it is <unk>.

    quiet: show no progress.
    """
    from femto import data

    with ReadingProgress(quiet) as progress:
        found = data.load_dataset(path, tokenizer, show_event=progress.show)
    text_notes(path, tokenizer)
    unknown_note(found.num_unknown, len(found.ids), found.name)
    return found


def path_of(given: Texts | None, history: "History | None") -> Path:
    """The text that is given, else the last one of a model, else the first that is looked for.

    Raises DataError if the last one is not there, or cannot be read again and nothing else is found.
    """
    from femto.training.last_dataset import last_dataset

    found = given or (last_dataset(history) if history else None)
    if found is None and history and history.sessions() and not os.path.exists(FIRST_TEXT):
        raise _cannot_be_read_again(history)
    return found or FIRST_TEXT


def _cannot_be_read_again(history: "History") -> Exception:
    from femto.data import spoken
    from femto.errors import DataError
    from femto.system.text import printable

    name = printable(spoken(history.sessions()[-1]["dataset"]["name"]))
    return DataError(f"the model's last data set, {name}, cannot be read again; --dataset names a text")


def read(given: Texts | None, checkpoint: "Checkpoint", *, other: bool = True, quiet: bool = False) -> "Dataset":
    """`load` the text of a model, and say which it is, if it was not given.

    other: say if a text that was not given is not that of the last training. Raises DataError if that is not to be, for
    training, and the last text cannot be read again: nobody asked for another one.
    """
    from femto.training.last_dataset import last_dataset
    from femto.training.notes import other_text

    path = path_of(given, checkpoint.history)
    if given is None and path != FIRST_TEXT:
        _announce("the data set is {}, the last one of the model", path)
    found = load(path, checkpoint.tokenizer, quiet=quiet)
    if given is None and (told := other_text(checkpoint.history, found)):
        if other:
            note(told)
        elif last_dataset(checkpoint.history) is None:
            raise _cannot_be_read_again(checkpoint.history)
    return found


def read_validation(given: Texts | None, checkpoint: "Checkpoint", *, last: bool, quiet: bool = False) -> "Dataset | None":
    """The text to validate on, if any; last: that of the last session, if none is given."""
    from femto.training.last_dataset import last_validation_dataset

    path = given or (last_validation_dataset(checkpoint.history) if last else None)
    if path is None:
        return None
    for each in given or ():
        require_there(each, "validation data set", "--validation-dataset")
    if given is None:
        _announce("validating on {}, as in the last session", path)
    return load(path, checkpoint.tokenizer, quiet=quiet)


def require_there(path: str, what: str, option: str) -> None:
    """Raise DataError if nothing is there: of a text that is not the data set of the command."""
    from femto.errors import DataError

    if path != "-" and not os.path.exists(path):
        raise DataError(f"{path}: cannot read the {what}: it does not exist; {option} names it")


def _announce(told: str, path: Path) -> None:
    from femto import data
    from femto.system.text import printable

    note(told.format(printable(data.name_of(path))))
