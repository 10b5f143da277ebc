"""Events of a training run as JSON lines, one object an event, for whoever plots or watches them."""

import json
import math
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import IO, Any

from femto import config
from femto.checkpoint import Checkpoint
from femto.errors import DataError
from femto.system import files
from femto.system.text import finite
from femto.training.session import Event, OutOfPatience, Saved, Validation
from femto.training.spikes import Spike
from femto.training.trainer import Step


class Metrics:
    """Appends one JSON object an event to an unbuffered file: `event` is session, step, spike, validation and so on."""

    def __init__(self, file: IO[bytes], name: str, model: str, dropped: int = 0) -> None:
        """name: of the file, for errors. model: what every line calls the model. dropped: lines that `appending` has dropped."""
        self.file, self.name, self.model, self.dropped = file, name, model, dropped

    def write(self, event: Event | dict[str, Any]) -> None:
        """Raises DataError when the file cannot be written."""
        fields = dict(event) if isinstance(event, dict) else to_json(event)
        line = {"event": fields.pop("event"), "model": self.model, **fields}
        try:
            self.file.write(json.dumps(finite(line)).encode() + b"\n")
        except OSError as error:
            raise DataError(f"{self.name}: cannot write metrics: {error.strerror}") from error


BEGINNING = b'{"event":'  # of every line
SESSION = b'{"event": "session"'  # of a line after which all lines are of the model that it names


@contextmanager
def appending(
    path: str,
    model: str,
    checkpoint: Checkpoint,
    dataset: str,
    training: config.TrainConfig | None = None,
    validation_dataset: str | None = None,
) -> Iterator[Metrics]:
    """Metrics of a session of a checkpoint, appended to the file at `path`, which other processes are kept out of.

    model, dataset, validation_dataset: what the lines call them; the path of the model. So that the file has each step of the
    model once, steps that the model has not are dropped: a killed process told of them and did not save them. Lines of other
    models stay. training: the settings of the session, as of `Session.ahead`; those of the checkpoint, if not given.

    Raises DataError if the file holds other things, cannot be written, or is in use.
    """
    history = checkpoint.history
    model_id, steps = history.entries[0]["id"] if history.entries else None, history.num_steps
    with ExitStack() as stack:
        try:
            dropped = 0
            if os.path.isfile(path):
                with open(path, "rb") as before:
                    if not BEGINNING.startswith(before.read(len(BEGINNING))):
                        raise DataError(f"{path} is there and is no file of metrics; choose another --metrics")
            if os.path.isfile(path) or not os.path.exists(path):
                stack.enter_context(files.locked(path))
            if os.path.isfile(path):
                dropped = drop_unsaved(path, steps, (os.path.normpath(model), model_id))
            file = stack.enter_context(open(path, "ab", buffering=0))
        except BlockingIOError as error:
            raise DataError(f"{path} is {error.strerror}; choose another --metrics, as two runs cannot share one") from error
        except OSError as error:
            raise DataError(f"{path}: cannot write metrics: {error.strerror}") from error
        metrics = Metrics(file, path, model, dropped)
        about = {"model_id": model_id, "steps": steps, "dataset": dataset}
        if validation_dataset is not None:
            about["validation_dataset"] = validation_dataset
        metrics.write({"event": "session", **about, **config.to_json(training or checkpoint.training)})
        yield metrics


def drop_unsaved(path: str | os.PathLike[str], steps: int, of: tuple[str, object] | None = None) -> int:
    """Drop from a file of metrics what a killed process wrote of steps that it did not save, and lines that it did not end.

    steps: that the model has. of: the path and the id of the model, if there may be others in the file. Returns how many lines
    were dropped. Raises OSError.
    """

    def kept() -> Iterator[bytes]:
        mine = of is None
        with open(path, "rb") as file:
            for line in file:
                if not line.endswith(b"\n") and not _fields(line):
                    continue
                if of is not None and line.startswith(SESSION):
                    mine = _model_of(line) == of
                    yield line
                elif not mine or _step(line) <= steps:
                    yield line if line.endswith(b"\n") else line + b"\n"

    with open(path, "rb") as file:
        lines = sum(1 for _ in file)
        torn = lines > 0 and os.pread(file.fileno(), 1, os.fstat(file.fileno()).st_size - 1) != b"\n"
    dropped = lines - sum(1 for _ in kept())
    if dropped or torn:
        files.write_atomically(path, kept())
    return dropped


def _fields(line: bytes) -> dict[str, Any]:
    """Those of a line; none if lost power or a kill left something else."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _model_of(line: bytes) -> tuple[str, object]:
    """Path and id of the model that a session's line names."""
    fields = _fields(line)
    return os.path.normpath(str(fields.get("model"))), fields.get("model_id", fields)  # an earlier version gave no id


def _step(line: bytes) -> float:
    """The step that a line tells of; infinite if it is no whole line."""
    try:
        return float(_fields(line)["step"])
    except (ValueError, TypeError, KeyError, OverflowError):
        return math.inf


def to_json(event: Event) -> dict[str, Any]:
    """The fields of an event; losses in nats a token."""
    if isinstance(event, Step):
        return {
            "event": "step",
            "step": event.step,
            "loss": event.loss,
            "learning_rate": event.learning_rate,
            "gradient_norm": event.gradient_norm,
            "seconds": event.seconds,
            "tokens_per_second": event.tokens / event.seconds,
        } | ({"skipped": True} if event.skipped else {})
    if isinstance(event, Spike):
        return {"event": "spike", "step": event.step, "loss": event.loss, "usual_loss": event.usual}
    if isinstance(event, Validation):
        return {
            "event": "validation",
            "step": event.step,
            "loss": event.loss.nats,
            "bits_per_byte": event.loss.bits_per_byte,
            "tokens": event.loss.num_predictions,
            "best": event.is_best,
        }
    if isinstance(event, OutOfPatience):
        return {"event": "out_of_patience", "step": event.step, "best_step": event.best_step, "best_loss": event.best}
    assert isinstance(event, Saved)
    return {"event": "saved", "step": event.step, "seconds": event.seconds}
