"""What validations tell beside the training loss: whether a model has begun to learn its text by heart."""

from dataclasses import dataclass

from femto.checkpoint.history import History

RISE = 0.05  # over the best validation, relative: less may be chance
AFTER = 3  # validations in a row, the last ones, that have risen so far
STEPS = 50  # training losses that are averaged


@dataclass(frozen=True)
class Overfitting:
    """The validation loss has risen since its best while the training loss fell; nats a token."""

    best_step: int
    best: float
    last_step: int
    last: float

    def __str__(self) -> str:
        rise = f"from {self.best:.3f} at step {self.best_step:,} to {self.last:.3f} at step {self.last_step:,}"
        return f"the validation loss has risen {rise}, while the training loss fell: the model learns its text by heart"


def best(history: History) -> tuple[int, float] | None:
    """Step and loss of the best validation so far, the first of equals; None if there was none."""
    return min(history.validations(), key=lambda validation: validation[1], default=None)


def without_improvement(history: History) -> int:
    """How many validations there were since the best one."""
    found = best(history)
    return 0 if found is None else sum(step > found[0] for step, _ in history.validations())


def overfitting(history: History) -> Overfitting | None:
    """What there is of it: the last AFTER validations are worse than the best by RISE, and training went on to learn."""
    found, last = best(history), history.validations()[-AFTER:]
    if found is None or len(last) < AFTER or any(step <= found[0] or loss < (1 + RISE) * found[1] for step, loss in last):
        return None
    then, now = history.losses_of(found[0] - STEPS, STEPS), history.losses[-STEPS:]
    if not len(then) or not now.mean() < then.mean():
        return None
    return Overfitting(found[0], found[1], *last[-1])
