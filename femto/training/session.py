"""A training session: steps with validation and saves between them, as a stream of events for whoever shows them."""

import os
import re
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass

from femto import checkpoint as checkpoints
from femto import data
from femto.checkpoint import Checkpoint
from femto.data import Dataset
from femto.errors import CheckpointError, ConfigError
from femto.system.text import described
from femto.training import notes
from femto.training.ahead import Ahead, ahead
from femto.training.evaluation import Loss, evaluate
from femto.training.overfitting import Overfitting, best, overfitting, without_improvement
from femto.training.partitioning import require_memory
from femto.training.spikes import MEMORY, Spike, SpikeDetector
from femto.training.trainer import Step, Trainer, require_finite

VALIDATION_TOKENS = 65_536  # at most, so that a validation costs about as much as ten steps
SAVE_SECONDS = 15.0  # between saves when --save-every is not given,
SAVE_SHARE = 50.0  # and at least this many times what the last save took: under 2 % of the time


@dataclass(frozen=True)
class Validation:
    """The loss on the held-out part, of which at most VALIDATION_TOKENS are used, after a step.

    The best so far, and overfitting, are in the history.
    """

    step: int
    loss: Loss
    is_best: bool = False  # so far
    overfitting: Overfitting | None = None  # told once a session


@dataclass(frozen=True)
class OutOfPatience:
    """The session ends here, as the last validations were no better than an earlier one."""

    step: int
    best_step: int
    best: float  # nats a token


@dataclass(frozen=True)
class Saved:
    """The checkpoint was written, after a step."""

    step: int
    seconds: float


Event = Step | Spike | Validation | OutOfPatience | Saved


class Session:
    """Trains a checkpoint on a data set for a number of steps and saves it to `path`.

    save_every and validate_every count steps of the model's life, not of the session, so that a run divided into sessions
    validates at the same steps; save_every None saves by time. held_out: another text to validate on, all of the data set being
    trained on; without it, the last `validation_split` of the data set is held out. Validations use at most VALIDATION_TOKENS of
    it, in windows spread evenly. on_non_finite: as `Trainer` has it.

    best_path: a file that always has the model of the best validation so far, also across sessions. patience: end after so many
    validations in a row, also of earlier sessions, that are no better than the best; 0: never. snapshot_every: steps between
    copies of the model that stay, as NAME-STEP.dat beside `path`. rewarm: the learning rate rises again, from what it is to its
    highest, over the warm-up, and the decay begins anew; the optimiser keeps its state. A session that goes on with one that was
    begun so, to the same last step, does not begin again.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        dataset: Dataset,
        path: str | None,
        save_every: int | None = None,
        validate_every: int = 250,
        held_out: Dataset | None = None,
        on_non_finite: str = "stop",
        *,
        best_path: str | None = None,
        patience: int = 0,
        snapshot_every: int | None = None,
        rewarm: bool = False,
    ) -> None:
        for name, value, least in (
            ("save_every", save_every, 1),
            ("validate_every", validate_every, 1),
            ("patience", patience, 0),
            ("snapshot_every", snapshot_every, 1),
        ):
            if value is not None and value < least:
                raise ConfigError(f"{name} must be {least} or more, got {value}", name)
        if held_out is None:
            training_ids, self.validation_ids = data.split(dataset.ids, checkpoint.training.validation_split, dataset.name)
        else:
            training_ids, self.validation_ids = dataset.ids, held_out.ids
            for part in (dataset, held_out):
                data.require_two(part.ids, part.name)
        checkpoint.require_optimizer(checkpoint.training)
        require_memory(checkpoint.model.config, checkpoint.training, with_state=checkpoint.optimizer is None)
        self.checkpoint, self.dataset, self.path = checkpoint, dataset, path
        self.held_out, self.training_ids, self.on_non_finite = held_out, training_ids, on_non_finite
        self.save_every, self.validate_every = save_every, validate_every
        self.best_path, self.patience, self.snapshot_every = best_path, patience, snapshot_every
        self.rewarm = rewarm
        self._told_overfitting = False
        sessions = checkpoint.history.sessions()
        same_text = bool(sessions) and sessions[-1]["dataset"].get("sha256") == dataset.sha256
        self.spikes = SpikeDetector(checkpoint.history.losses[-4 * MEMORY :].tolist() if same_text else ())

    def __repr__(self) -> str:
        tokens = {"training_tokens": len(self.training_ids), "held_out_tokens": len(self.validation_ids)}
        return described(self, self.checkpoint.model, steps=self.checkpoint.history.num_steps, **tokens, path=self.path)

    def notes(self) -> list[str]:
        """What should be known before the losses are believed: another text than before, one too short, validation on text that
        the model is trained on, or a best model that was not kept. The texts are compared, which takes about a second for 16
        million tokens."""
        history, dataset, held_out = self.checkpoint.history, self.dataset, self.held_out
        split = self.checkpoint.training.validation_split
        found = [
            notes.other_text(history, dataset),
            notes.other_validation(history, dataset, split, held_out),
            notes.short_text(self.training_ids, self.checkpoint.model.config.num_tokens, dataset.name),
        ]
        if held_out is not None:
            found.append(notes.trained_on_validation(history, dataset, held_out))
        if self.best_path is not None and not os.path.exists(self.best_path):
            found.append(notes.best_not_kept(history, dataset, split, held_out, self.best_path))
        return [note for note in found if note]

    def ahead(self, steps: int) -> Ahead:
        """The learning rate of the next `steps` steps, if they are run; as text, one line. steps: at least 1."""
        return ahead(self.checkpoint, steps, self.rewarm)

    def run(self, steps: int, stop: Callable[[], bool] = lambda: False) -> Generator[Event, None, None]:
        """Train up to `steps` steps; `stop` is asked after each, and ends the session with a save and no further validation.

        If the settings do not say over how many steps the learning rate rises and decays, these steps decide it (`ahead`): a run
        that is stopped and goes on to the same last step is the same as one that is not.

        The end saves, also when the consumer closes the iterator or an error of its own closes it (`contextlib.closing`). Not
        after TrainingError: then the file stays as it was last saved. Raises TrainingError and CheckpointError.
        """
        if steps < 0:
            raise ConfigError(f"steps must be 0 or more, got {steps}", "steps")
        if steps == 0:
            return
        for path in (self.path, self.best_path):
            if path is not None:
                checkpoints.check_target(path)
        self._check_copies(steps)
        checkpoint = self.checkpoint
        plan = self.ahead(steps)
        checkpoint.training = plan.training
        trainer = Trainer(checkpoint, self.training_ids, settings=plan.settings, on_non_finite=self.on_non_finite)
        require_finite(checkpoint.model, checkpoint.history.num_steps + 1, checkpoint.training)
        trainer.start_session(self.dataset, self.held_out)
        last_save, interval, unsaved = time.monotonic(), SAVE_SECONDS, False
        try:
            for number in range(1, steps + 1):
                step = trainer.step()
                unsaved = True
                yield step
                spike = self.spikes.add(step.step, step.loss)
                if spike is not None:
                    yield spike
                if self.snapshot_every and self.path is not None and step.step % self.snapshot_every == 0:
                    checkpoints.save(checkpoint, snapshot_path(self.path, step.step))
                if stop():
                    break
                if len(self.validation_ids) and (number == steps or step.step % self.validate_every == 0):
                    yield self._validation(step.step)
                    if self.patience and without_improvement(checkpoint.history) >= self.patience:
                        yield OutOfPatience(step.step, *best(checkpoint.history) or (0, 0.0))
                        break
                now = time.monotonic()
                if step.step % self.save_every == 0 if self.save_every else now - last_save > interval:
                    saved = self.save()
                    unsaved = False
                    interval = max(SAVE_SECONDS, SAVE_SHARE * saved.seconds)
                    last_save = time.monotonic()
                    yield saved
        except GeneratorExit:
            if unsaved:
                self.save()
            raise
        if unsaved:
            yield self.save()

    def _check_copies(self, steps: int) -> None:
        """Raise CheckpointError if a copy of the model would replace a file that is none."""
        copies = [] if self.best_path is None else [self.best_path]
        if self.snapshot_every and self.path is not None:
            done = self.checkpoint.history.num_steps
            ahead = (
                step for step in numbers_of_files(self.path) if done < step <= done + steps and step % self.snapshot_every == 0
            )
            copies += [snapshot_path(self.path, step) for step in ahead]
        for path in copies:
            if os.path.isfile(path) and not checkpoints.is_model(path):
                raise CheckpointError(
                    f"{path} is there and is no femto model, and a copy of the model would replace it; move it away"
                )

    def _validation(self, step: int) -> Validation:
        """Validate, record it, and keep the model where it is the best."""
        history, before, loss = self.checkpoint.history, best(self.checkpoint.history), self.validate()
        history.add_validation(loss.nats)
        is_best = before is None or loss.nats < before[1]
        if is_best and self.best_path is not None:
            checkpoints.save(self.checkpoint, self.best_path)
        told = None if self._told_overfitting else overfitting(history)
        self._told_overfitting = self._told_overfitting or told is not None
        return Validation(step, loss, is_best, told)

    def validate(self) -> Loss:
        """The loss on the held-out part, of which at most VALIDATION_TOKENS are used."""
        return evaluate(self.checkpoint.model, self.validation_ids, self.checkpoint.tokenizer, VALIDATION_TOKENS)

    def save(self) -> Saved:
        """Write the checkpoint to `path`, if there is one. Raises TrainingError, before, if a parameter is not finite."""
        started = time.monotonic()
        require_finite(self.checkpoint.model, self.checkpoint.history.num_steps, self.checkpoint.training)
        if self.path is not None:
            checkpoints.save(self.checkpoint, self.path)
        return Saved(self.checkpoint.history.num_steps, time.monotonic() - started)


def best_path(path: str) -> str:
    """Where the best model of a run is kept: model.best.dat for model.dat."""
    stem, ending = os.path.splitext(path)
    return f"{stem}.best{ending}"


def snapshot_path(path: str, step: int) -> str:
    """Where the copy of a step is kept: model-500.dat for model.dat."""
    stem, ending = os.path.splitext(path)
    return f"{stem}-{step}{ending}"


def numbers_of_files(path: str) -> set[int]:
    """The numbers that end names, as `snapshot_path` has them, in the folder of a file. Raises CheckpointError."""
    folder = os.path.dirname(path) or "."
    try:
        names = os.listdir(folder)
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot look for copies of the model: {error.strerror}") from error
    ends = (re.fullmatch(r".*-([1-9][0-9]{0,18})(\.[^.]*)?", name, re.DOTALL) for name in names)
    return {int(end[1]) for end in ends if end}
