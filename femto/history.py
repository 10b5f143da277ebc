"""What happened to a model: its creation, its training sessions with every step, and what was done to it between them."""

import secrets
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray


class History:
    """A list of entries, each a JSON object with a unique `id`, a `kind` and a `time`, and the loss and time of every step.

    kinds: `init` (preset, seed, config), `session` (dataset, training settings, first_step, steps) and others, all in
    docs/checkpoint-format.md. A step is named by its session's id and its number, so a model that went on from another's file
    shares that file's ids: that is its ancestor.
    """

    def __init__(self, entries: list[dict[str, Any]] | None = None) -> None:
        self.entries = entries or []
        self._losses = np.empty(0, np.float32)
        self._milliseconds = np.empty(0, np.float32)
        self.num_steps = 0

    @property
    def losses(self) -> NDArray[np.float32]:
        """Training loss of every step in nats a token, (num_steps,)."""
        return self._losses[: self.num_steps]

    @property
    def milliseconds(self) -> NDArray[np.float32]:
        """Wall-clock time of every step, (num_steps,)."""
        return self._milliseconds[: self.num_steps]

    @classmethod
    def restored(cls, entries: list[dict[str, Any]], losses: NDArray[np.float32], milliseconds: NDArray[np.float32]) -> "History":
        history = cls(entries)
        history._losses, history._milliseconds, history.num_steps = losses, milliseconds, len(losses)
        return history

    def add(self, kind: str, **details: Any) -> dict[str, Any]:
        """Append an entry and return it."""
        entry = {
            "id": secrets.token_hex(16),
            "kind": kind,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            **details,
        }
        self.entries.append(entry)
        return entry

    def start_session(self, **details: Any) -> None:
        self.add("session", **details, first_step=self.num_steps, steps=0)

    def add_step(self, loss: float, milliseconds: float) -> None:
        """Record a step of the session that was started last."""
        if self.num_steps == len(self._losses):
            capacity = max(1024, 2 * self.num_steps)
            self._losses = np.resize(self._losses, capacity)
            self._milliseconds = np.resize(self._milliseconds, capacity)
        self._losses[self.num_steps] = loss
        self._milliseconds[self.num_steps] = milliseconds
        self.num_steps += 1
        self.entries[-1]["steps"] += 1

    def sessions(self) -> list[dict[str, Any]]:
        return [entry for entry in self.entries if entry["kind"] == "session"]
