"""What happened to a model: its creation, its training sessions with every step, and what was done to it between them."""

import math
import secrets
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from femto.system.text import described

KEPT_VALIDATIONS = 512  # of a session; of more, every second is dropped, but never the best
KEPT_STEPS = 1 << 22  # whose losses and times are kept, 32 MiB; of a longer life the last


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
        self._filled = 0  # of both
        self.num_steps = 0

    def __repr__(self) -> str:
        loss = round(self.recent_loss(10), 4)
        return described(self, entries=len(self.entries), sessions=len(self.sessions()), steps=self.num_steps, recent_loss=loss)

    @property
    def losses(self) -> NDArray[np.float32]:
        """Training loss of every step in nats a token, (num_steps,), or of the last KEPT_STEPS. Not finite where a step was
        skipped because of its loss."""
        return self._losses[max(0, self._filled - KEPT_STEPS) : self._filled]

    @property
    def milliseconds(self) -> NDArray[np.float32]:
        """Wall-clock time of every step, as many as there are losses."""
        return self._milliseconds[max(0, self._filled - KEPT_STEPS) : self._filled]

    def losses_of(self, first: int, steps: int) -> NDArray[np.float32]:
        """Losses of steps of the model's life, counted from 0, without those that are not kept any more."""
        forgotten = self.num_steps - len(self.losses)
        return self.losses[max(0, first - forgotten) : max(0, first + steps - forgotten)]

    def recent_loss(self, last: int) -> float:
        """Mean loss of the last steps, but for those that are not finite; NaN if none is left."""
        recent = self.losses[-last:]
        recent = recent[np.isfinite(recent)]
        return float(recent.mean()) if len(recent) else math.nan

    @classmethod
    def restored(
        cls, entries: list[dict[str, Any]], losses: NDArray[np.float32], milliseconds: NDArray[np.float32], num_steps: int
    ) -> "History":
        """A history as it was stored: its entries, and losses and times of the last of num_steps steps, of one shape."""
        history = cls(entries)
        history._losses, history._milliseconds, history._filled = losses, milliseconds, len(losses)
        history.num_steps = num_steps
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
        """Append the entry of a session that begins after the last step; `add_step` counts its steps."""
        self.add("session", **details, first_step=self.num_steps, steps=0)

    def add_step(self, loss: float, milliseconds: float, skipped: bool = False) -> None:
        """Record a step of the session that was started last. skipped: it changed no parameter."""
        if self._filled == len(self._losses):
            kept = len(self.losses)
            capacity = max(1024, 2 * kept)
            self._losses, self._milliseconds = np.resize(self.losses, capacity), np.resize(self.milliseconds, capacity)
            self._filled = kept
        self._losses[self._filled] = loss
        self._milliseconds[self._filled] = milliseconds
        self._filled += 1
        self.num_steps += 1
        self.entries[-1]["steps"] += 1
        if skipped:
            self.entries[-1]["skipped"] = self.entries[-1].get("skipped", 0) + 1

    def add_validation(self, loss: float) -> None:
        """Record the loss on the held-out part, in nats a token, after the last step; not if it is no number."""
        if not math.isfinite(loss):
            return
        kept = self.entries[-1].setdefault("validations", [])
        kept.append([self.num_steps, loss])
        if len(kept) > KEPT_VALIDATIONS:
            best = min(kept, key=lambda validation: validation[1])
            kept[:] = [validation for place, validation in enumerate(kept) if place % 2 == 0 or validation is best]

    def validations(self) -> list[tuple[int, float]]:
        """Step and loss of every validation, oldest first, since the text that is validated on last changed."""
        found: list[tuple[int, float]] = []
        held_out = None
        for session in reversed(self.sessions()):
            settings = session.get("training")
            split = settings.get("validation_split") if isinstance(settings, dict) else None
            apart = session.get("validation_dataset")  # of this the text that is trained on may change
            here = (apart.get("sha256"), "all") if apart else (session["dataset"].get("sha256"), split)
            if held_out not in (None, here):
                break
            held_out = here
            found[:0] = [(step, loss) for step, loss in session.get("validations", [])]
        return found

    def sessions(self) -> list[dict[str, Any]]:
        """The entries of training sessions, oldest first."""
        return [entry for entry in self.entries if entry["kind"] == "session"]
