"""Everything that a model is, in memory."""

from dataclasses import dataclass

from femto import config as records
from femto.checkpoint.history import History
from femto.config import ModelConfig, TrainConfig
from femto.model import Model, sha256
from femto.optimizers.adamw import AdamW
from femto.tokenizers import Tokenizer


@dataclass
class Checkpoint:
    """Everything that a model is, in memory; `save` and `load` move it to and from a file."""

    model: Model
    tokenizer: Tokenizer
    training: TrainConfig
    history: History
    optimizer: AdamW | None = None  # None until the first step, after a reset, or when it was not loaded

    @property
    def optimizer_sha256(self) -> str | None:
        return sha256(self.optimizer.m, self.optimizer.v) if self.optimizer else None

    def ready_optimizer(self) -> AdamW:
        """The optimiser, made anew if there is none."""
        if self.optimizer is None:
            self.optimizer = AdamW(self.model.layout.size)
        return self.optimizer


def create(
    config: ModelConfig, tokenizer: Tokenizer, training: TrainConfig, preset: str = "modern", seed: int | None = None
) -> Checkpoint:
    """A new model, initialised from `seed` (default: the seed of the training settings)."""
    seed = training.seed if seed is None else seed
    history = History()
    history.add("init", preset=preset, seed=seed, config=records.to_json(config))
    return Checkpoint(Model(config).initialize(seed), tokenizer, training, history)
