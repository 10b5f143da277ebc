"""The learning rate of the steps ahead: which run they belong to, and its rates in words."""

from dataclasses import dataclass
from typing import NamedTuple

from femto.checkpoint import Checkpoint
from femto.config import TrainConfig, from_json
from femto.errors import ConfigError
from femto.optimizers.schedule import decay_end, in_run, learning_rate, peak_step, settled

MOST_STEPS = 2**32  # of a run, as its warm-up and its decay have
JUMP = 0.25  # of the peak, in one step: so much more than in the step before is told


class Point(NamedTuple):
    """The learning rate of a step."""

    step: int  # in the model's life, from 1
    rate: float


class Part(NamedTuple):
    """Steps through which the learning rate goes one way."""

    kind: str  # "warm-up", "linear", "cosine" or "constant"
    end: Point  # the last step ahead that belongs to it
    whole: Point  # where it ends if one trains on; the same as `end`, but for the last part


@dataclass(frozen=True)
class Ahead:
    """The learning rate of the steps ahead. As text, one line that says it."""

    training: TrainConfig  # what the checkpoint's settings become, with the run that these steps belong to
    settings: TrainConfig  # the same, settled: what each of these steps is trained with
    first: Point
    parts: tuple[Part, ...]  # none if there is one step
    updates: int  # of the optimiser so far
    before: float | None  # the learning rate of the last of them; None if there is none

    def __str__(self) -> str:
        text = f"learning rate: {self.first.rate:.3g} at step {self.first.step:,}"
        for part in self.parts:
            if part.kind == "constant":
                text += f", constant until step {part.end.step:,}"
                continue
            text += f", {part.kind} to {part.end.rate:.3g} at step {part.end.step:,}"
            if part.whole != part.end:
                text += f" (to {part.whole.rate:.3g} at step {part.whole.step:,})"
        return text

    @property
    def note(self) -> str | None:
        """What may not be meant: nothing is learnt, the rate jumps, or its decay is over."""
        highest = max(self.first.rate, *(part.end.rate for part in self.parts), 0.0)
        if self.before is not None and self.first.rate - self.before > JUMP * self.settings.learning_rate:
            jump = f"from {self.before:.3g} to {self.first.rate:.3g} in one step"
            advice = "--warmup-steps auto" if self.training.run_start == self.updates else "--rewarm"
            return f"the learning rate jumps {jump}; {advice} raises it gradually"
        over = self.settings.decay_steps and decay_end(self.settings) <= self.updates
        if over and highest < self.settings.learning_rate:
            return f"the learning rate stays at {highest:.3g}, as its decay is over; --rewarm raises it again"
        return "nothing is learnt at a learning rate of 0" if highest == 0.0 else None


def ahead(checkpoint: Checkpoint, steps: int, rewarm: bool = False) -> Ahead:
    """What `Session.run(steps)` would train with. steps: at least 1. Raises ConfigError for more than 2^32."""
    if steps > MOST_STEPS:
        raise ConfigError(f"steps must be at most {MOST_STEPS:,}, got {steps:,}", "steps")
    done = checkpoint.optimizer.step if checkpoint.optimizer else 0
    last = last_settings(checkpoint)
    training = in_run(checkpoint.training, last, done, steps, rewarm)
    settings = settled(training, done, steps)
    life, final = checkpoint.history.num_steps - done + 1, done + steps - 1

    def point(step: int) -> Point:
        return Point(step + life, learning_rate(step, settings))

    parts, at = [], done
    turns = [("warm-up", peak_step(settings))]
    if settings.decay_steps:
        turns.append((settings.decay, decay_end(settings)))
    for kind, end in turns:
        begin, at = at, max(at, min(end, final))
        if begin < at:
            flat = learning_rate(begin, settings) == learning_rate(end, settings)
            parts.append(Part("constant" if flat else kind, point(at), point(end)))
    if at < final:
        parts.append(Part("constant", point(final), point(final)))
    before = learning_rate(done - 1, last) if done else None
    return Ahead(training, settings, point(done), tuple(parts), done, before)


def last_settings(checkpoint: Checkpoint) -> TrainConfig:
    """What the last step was trained with, as the history has it; else the settings that the checkpoint has now."""
    for session in reversed(checkpoint.history.sessions()):
        if session.get("steps"):
            try:
                return from_json(TrainConfig, session.get("training"))
            except (ConfigError, TypeError):  # a stranger wrote it, or the original program
                break
    return checkpoint.training
