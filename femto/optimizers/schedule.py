"""The learning rate as a function of the step: nothing else decides it."""

import math
from dataclasses import replace

from femto.config import TrainConfig


def learning_rate(step: int, config: TrainConfig) -> float:
    """Linear from 0 at step 0 to the peak at warmup_steps, then down to the minimum over decay_steps, then the minimum.

    The decay is linear, as in the journal, or a half cosine. With decay_steps 0, or None, which no session has settled yet, the
    peak holds for ever; a minimum above the peak counts as the peak.

    >>> [learning_rate(step, TrainConfig(learning_rate=1.0, min_learning_rate=0.0, warmup_steps=2, decay_steps=4))
    ...  for step in range(8)]
    [0.0, 0.5, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    """
    if step < config.warmup_steps:
        return config.learning_rate * step / config.warmup_steps
    if not config.decay_steps:
        return config.learning_rate
    progress = min(1.0, (step - config.warmup_steps) / config.decay_steps)
    remaining = 1.0 - progress if config.decay == "linear" else 0.5 * (1.0 + math.cos(math.pi * progress))
    minimum = min(config.min_learning_rate, config.learning_rate)
    return minimum + (config.learning_rate - minimum) * remaining


def settled(config: TrainConfig, step: int, steps: int) -> TrainConfig:
    """The settings of a run of so many steps after `step` updates: a decay without a length of its own ends with the run."""
    if config.decay_steps is not None:
        return config
    return replace(config, decay_steps=max(1, step + steps - config.warmup_steps))
