"""The training loop: an object that yields steps. It knows nothing of terminals or files."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from femto import data, kernels
from femto._version import __version__
from femto.checkpoint import Checkpoint
from femto.config import TrainConfig, to_json
from femto.data import Dataset
from femto.errors import ConfigError, TrainingError
from femto.model import Model
from femto.model.parts import Parts
from femto.optimizers.clipping import norm
from femto.optimizers.schedule import learning_rate
from femto.system.text import brief, described
from femto.token_files import TokenIds
from femto.training.partitioning import partition, require_memory

KEPT = "nothing of this step was kept, and the file is as it was last saved"
MOST_SKIPPED = 10  # steps one after another that may be skipped


@dataclass(frozen=True)
class Step:
    """What a step did."""

    step: int  # number of the step in the model's life, from 1
    loss: float  # mean cross entropy of the batch before the update, nats a token
    learning_rate: float
    gradient_norm: float  # before clipping
    seconds: float
    tokens: int  # trained on in this step
    skipped: bool = False  # the loss or the gradient was not finite, and nothing was changed


def advice(training: TrainConfig) -> str:
    """What may help where a number is not finite: what is not set already."""
    clipped = 0.0 < training.clip_norm <= 1.0
    return f"try a --learning-rate below {training.learning_rate:g}" + ("" if clipped else ", or --clip-norm 1")


class Trainer:
    """Trains a checkpoint's model on token ids, in place, and records every step in its history.

    Every step is a function of the parameters, the optimiser state, the settings and the number of the step, so any division
    of a run into sessions gives the same bytes.
    """

    def __init__(
        self, checkpoint: Checkpoint, ids: TokenIds, *, settings: TrainConfig | None = None, on_non_finite: str = "stop"
    ) -> None:
        """settings: how to train, settled (see `schedule.settled`), the same for every step; default: the checkpoint's.

        on_non_finite: "stop", or "skip", which goes on without a step whose loss or gradient is not finite. Raises ConfigError,
        DataError for fewer than two ids, and ResourceError, before any memory is taken, if there is too little of it.
        """
        if on_non_finite not in ("stop", "skip"):
            raise ConfigError(f"on_non_finite must be stop or skip, got {brief(on_non_finite)}", "on_non_finite")
        data.require_two(ids, "the text to train on")
        self._settings = checkpoint.training if settings is None else settings
        require_memory(checkpoint.model.config, self._settings, with_state=checkpoint.optimizer is None)
        self.skips, self.skipped_in_a_row = on_non_finite == "skip", 0
        self.checkpoint, self.ids = checkpoint, ids
        self.optimizer = checkpoint.ready_optimizer(self._settings)
        self.session_started = False
        cut = partition(checkpoint.model.config, self._settings)
        self.parts = Parts(
            checkpoint.model,
            self._settings.batch_size,
            cut.parts,
            cut.micro_batch_size,
            cut.workers(),
            self._settings.dropout,
            self._settings.seed,
        )

    def __repr__(self) -> str:
        steps, batch_size = self.checkpoint.history.num_steps, self._settings.batch_size
        return described(self, self.checkpoint.model, steps=steps, training_tokens=len(self.ids), batch_size=batch_size)

    @property
    def settings(self) -> TrainConfig:
        """How every step is trained; a trainer with other settings is another trainer."""
        return self._settings

    def start_session(self, dataset: Dataset, held_out: Dataset | None = None) -> None:
        """Record in the history what the following steps train on. Without it, the first step says that it is not known.

        held_out: another text that is validated on.
        """
        self.session_started = True
        self.checkpoint.history.start_session(
            dropout=self.settings.dropout,
            dataset=dataset.to_json(),
            **({"validation_dataset": held_out.to_json()} if held_out else {}),
            training=to_json(self.settings),
            femto=__version__,
            isa=kernels.isa(),
            numerics=self.checkpoint.model.config.numerics,
        )

    def steps(self, count: int) -> Iterator[Step]:
        """Train `count` steps, yielding after each. Raises TrainingError, with the parameters as before that step, when a loss
        or gradient is not finite and such steps are not skipped, when MOST_SKIPPED were skipped in a row, and when a parameter
        is not finite."""
        for _ in range(count):
            yield self.step()

    def step(self) -> Step:
        """Train one step. Raises TrainingError as `steps` does."""
        started = time.perf_counter()
        if not self.session_started:
            self.start_session(Dataset("not named", "", 0, self.ids, 0))
        checkpoint, training = self.checkpoint, self.settings
        history, config = checkpoint.history, checkpoint.model.config
        index = history.num_steps
        inputs, targets = data.batch(self.ids, index, training.batch_size, config.num_tokens, training.seed)
        losses = self.parts.compute(inputs, targets, index)
        loss = math.fsum(losses.reshape(-1).tolist()) / inputs.size
        gradient_norm = norm(self.parts.gradients)
        rate = learning_rate(self.optimizer.step, training)
        skipped = not (math.isfinite(loss) and math.isfinite(gradient_norm))
        self.skipped_in_a_row = self.skipped_in_a_row + 1 if skipped else 0
        if skipped:
            self._require_skippable(index + 1, loss)
            self.optimizer.step += 1  # the schedule goes on, so that a run divided anywhere is the same run
        else:
            self.optimizer.update(checkpoint.model.parameters, self.parts.gradients, rate, training, gradient_norm)
        seconds = time.perf_counter() - started
        history.add_step(loss, 1000.0 * seconds, skipped)
        return Step(index + 1, loss, rate, gradient_norm, seconds, inputs.size, skipped)

    def _require_skippable(self, step: int, loss: float) -> None:
        """Raise TrainingError, which names what is not finite, unless training may go on without this step."""
        require_finite(self.checkpoint.model, step, self.settings)
        told = f"{KEPT}; {advice(self.settings)}"
        if not self.skips:
            raise TrainingError(f"{self._not_finite(step, loss)}; {told}, or --on-non-finite skip")
        if self.skipped_in_a_row > MOST_SKIPPED:
            raise TrainingError(f"{self._not_finite(step, loss)}, as in the {MOST_SKIPPED} steps before it; {told}")

    def _not_finite(self, step: int, loss: float) -> str:
        if not math.isfinite(loss):
            return f"step {step}: the loss is {loss}"
        gradients = self.checkpoint.model.layout.views(self.parts.gradients)
        for name, gradient in gradients.items():
            if not np.isfinite(gradient).all():
                return f"step {step}: the gradient of {name} is not finite"
        return f"step {step}: the norm of the gradient is not finite"


def require_finite(model: Model, step: int, training: TrainConfig) -> None:
    """Raise TrainingError, which names the tensor and the step, if a parameter is not finite."""
    if math.isfinite(norm(model.parameters)):  # much faster, but its squares may overflow
        return
    for name, tensor in model.tensors.items():
        if not np.isfinite(tensor).all():
            raise TrainingError(f"step {step}: tensor {name} holds a number that is not finite; {KEPT}; {advice(training)}")
