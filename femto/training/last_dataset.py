"""The text that a model was last trained on, by its history: what it goes on with where no other is given."""

import os
from typing import Any

from femto.checkpoint.history import History
from femto.errors import DataError
from femto.system.text import printable


def last_dataset(history: History) -> str | list[str] | None:
    """The path, or the paths, of the data set of the last session; None if there was no session, or no file that is known.

    A path is as it was given, so a relative one is looked for in the working directory. Raises DataError if it is not there.
    """
    sessions = history.sessions()
    return _path(sessions[-1]["dataset"], "last data set", "--dataset says where it is, or names another") if sessions else None


def last_validation_dataset(history: History) -> str | list[str] | None:
    """The same of the text that the last session validated on; None also if that was a part of the data set, or nothing."""
    sessions = history.sessions()
    found = sessions[-1].get("validation_dataset") if sessions else None
    advice = "--validation-dataset says where it is, or names another; --validation-split 0 goes without"
    return None if found is None else _path(found, "last validation data set", advice)


def _path(dataset: dict[str, Any], what: str, advice: str) -> str | list[str] | None:
    if "path" not in dataset:  # of an earlier femto: the name is the path, or that of a text in memory
        return dataset["name"] if os.path.exists(dataset["name"]) else None
    path: str | list[str] | None = dataset["path"]
    for each in path if isinstance(path, list) else [path]:
        if each is not None and not os.path.exists(each):
            raise DataError(f"{printable(each)}: the model's {what} is not there; {advice}")
    return path
