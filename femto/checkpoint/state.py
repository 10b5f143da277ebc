"""Everything that a model is, in memory."""

from dataclasses import dataclass, replace

from femto import config as records
from femto import optimizers
from femto.checkpoint.history import History
from femto.config import LATEST_NUMERICS, ModelConfig, TrainConfig
from femto.errors import ConfigError
from femto.model import Model, sha256
from femto.optimizers import Optimizer
from femto.system.text import described
from femto.tokenizers import Tokenizer


@dataclass
class Checkpoint:
    """Everything that a model is, in memory; `save` and `load` move it to and from a file."""

    model: Model
    tokenizer: Tokenizer
    training: TrainConfig
    history: History
    optimizer: Optimizer | None = None  # None until the first step, after a reset, or when it was not loaded

    def __repr__(self) -> str:
        steps, optimizer = self.history.num_steps, self.optimizer
        return described(self, self.model, self.tokenizer, steps=steps, optimizer=optimizer)

    @property
    def optimizer_sha256(self) -> str | None:
        """SHA-256 of the optimiser's state as it stands in a file; None if there is none."""
        return sha256(self.optimizer.state) if self.optimizer else None

    def ready_optimizer(self, settings: TrainConfig | None = None) -> Optimizer:
        """The optimiser, made anew if there is none. settings: default those of the checkpoint.

        Raises ConfigError if they name another one than that whose state is there.
        """
        self.require_optimizer(settings or self.training)
        if self.optimizer is None:
            self.optimizer = optimizers.make(self.model.layout, self.training)
        return self.optimizer

    def require_optimizer(self, settings: TrainConfig) -> None:
        """Raise ConfigError unless the settings name the optimiser of the checkpoint, and that whose state is there."""
        if self.optimizer is not None and settings.optimizer != self.optimizer.NAME:
            message = f"optimizer must stay {self.optimizer.NAME}, whose state the model has, got {settings.optimizer}"
            raise ConfigError(f"{message}; --reset-optimizer drops that state", "optimizer")
        if settings.optimizer != self.training.optimizer:
            message = f"optimizer must be that of the checkpoint's settings, {self.training.optimizer}, got {settings.optimizer}"
            raise ConfigError(message, "optimizer")

    def move_to_numerics(self, version: int = LATEST_NUMERICS) -> None:
        """Let a model follow another version of the arithmetic from here on; its history says so. Raises ConfigError."""
        before = self.model.config.numerics
        if version != before:
            self.model.config = replace(self.model.config, numerics=version)
            self.history.add("numerics", before=before, after=version)


def create(
    config: ModelConfig, tokenizer: Tokenizer, training: TrainConfig, preset: str = "modern", seed: int | None = None
) -> Checkpoint:
    """A new model, initialised from `seed` (default: the seed of the training settings).

    Raises ConfigError if the tokenizer has another number of tokens than the shape, ResourceError if there is no memory for it.
    """
    if tokenizer.vocab_size != config.vocab_size:
        raise ConfigError(
            f"vocab_size must be that of the tokenizer, {tokenizer.vocab_size}, got {config.vocab_size}", "vocab_size"
        )
    seed = training.seed if seed is None else seed
    history = History()
    history.add("init", preset=preset, seed=seed, config=records.to_json(config))
    return Checkpoint(Model(config).initialize(seed), tokenizer, training, history)
