"""Events of a training run as JSON lines, one object an event, for whoever plots or watches them."""

import json
import os
from typing import IO, Any

from femto.errors import DataError
from femto.system.text import finite
from femto.training.session import Event, OutOfPatience, Saved, Validation
from femto.training.spikes import Spike
from femto.training.trainer import Step


class Metrics:
    """Appends one JSON object an event to an unbuffered file: `event` is session, step, spike, validation or saved."""

    def __init__(self, file: IO[bytes] | None, name: str | None = None) -> None:
        self.file, self.name = file, name

    def write(self, event: Event | dict[str, Any]) -> None:
        """Raises DataError when the file cannot be written."""
        if self.file is None:
            return
        try:
            self.file.write(json.dumps(finite(event if isinstance(event, dict) else to_json(event))).encode() + b"\n")
        except OSError as error:
            raise DataError(f"{self.name}: cannot write metrics: {error.strerror}") from error


BEGINNING = b'{"event":'  # of every line


def opened(path: str) -> IO[bytes]:
    """The file at `path`, unbuffered, to append to; a line that a killed process did not end is ended first.

    Raises OSError, and DataError if the file is there and holds other things.
    """
    torn = False
    if os.path.isfile(path) and os.path.getsize(path):
        with open(path, "rb") as before:
            if not BEGINNING.startswith(before.read(len(BEGINNING))):
                raise DataError(f"{path} is there and is no file of metrics; choose another --metrics")
            before.seek(-1, os.SEEK_END)
            torn = before.read() != b"\n"
    file = open(path, "ab", buffering=0)  # noqa: SIM115 (the caller closes it)
    if torn:
        file.write(b"\n")
    return file


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
