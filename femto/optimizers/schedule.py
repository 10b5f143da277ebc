"""The learning rate as a function of the step: nothing else decides it.

With the schedule "run", every run has one of its own, from the rate at which the one before it ended, up to the peak, and down to
the minimum at its last step. With "life", as models of earlier files have it, all steps of a model share one, whose first step is
at 0, and which is stretched when the model is trained further.
"""

import math
from dataclasses import replace

from femto.config import TrainConfig

WARMUP_STEPS = 100  # at most, where the settings do not say how many,
WARMUP_SHARE = 10  # and at most one step in so many;
REWARM_STEPS = 10  # but at least so many once the model has been trained: nothing raises its rate at once


def learning_rate(step: int, config: TrainConfig) -> float:
    """The learning rate of the step after `step` updates.

    Linear from run_rate to the peak over warmup_steps, then down to the minimum over decay_steps, then the minimum. The decay is
    linear, as in the journal, or a half cosine. With decay_steps 0, or None, which no session has settled yet, the peak holds for
    ever; a minimum above the peak counts as the peak.

    >>> settings = TrainConfig(learning_rate=1.0, min_learning_rate=0.0, warmup_steps=2, decay_steps=4)
    >>> [learning_rate(step, settings) for step in range(7)]
    [0.5, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    >>> [learning_rate(step, replace(settings, schedule="life")) for step in range(8)]
    [0.0, 0.5, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    """
    peak, warmup = config.learning_rate, _warmup_steps(config)
    place = max(0, step - config.run_start + _first(config))
    if place < warmup:
        start = min(config.run_rate, peak)
        return start + (peak - start) * place / warmup
    if not config.decay_steps:
        return peak
    progress = min(1.0, (place - warmup) / config.decay_steps)
    remaining = 1.0 - progress if config.decay == "linear" else 0.5 * (1.0 + math.cos(math.pi * progress))
    minimum = min(config.min_learning_rate, peak)
    return minimum + (peak - minimum) * remaining


def _first(config: TrainConfig) -> int:
    """The number that the schedule gives to the first step of a run."""
    return int(config.schedule == "run")


def _warmup_steps(config: TrainConfig) -> int:
    """Steps up to the peak, with that at the peak where the first step counts, which is then one at least."""
    return max(_first(config), WARMUP_STEPS if config.warmup_steps is None else config.warmup_steps)


def peak_step(config: TrainConfig) -> int:
    """The updates before the first step that is at the peak."""
    return config.run_start + _warmup_steps(config) - _first(config)


def decay_end(config: TrainConfig) -> int:
    """The updates before the first step at the end of the decay."""
    return peak_step(config) + (config.decay_steps or 0)


def settled(config: TrainConfig, step: int, steps: int) -> TrainConfig:
    """The settings of a run of so many steps after `step` updates, with the lengths that it decides.

    A decay without a length of its own ends with the run. A warm-up without one takes a tenth of the decay that the settings
    name, else of the run; 100 steps at most, and 10 at least where the run is not the model's first.
    A run that begins at the peak has none.
    """
    length, warmup, decay = step + steps - config.run_start, config.warmup_steps, config.decay_steps
    if warmup is None:
        least = REWARM_STEPS if config.run_start else 1
        at_peak = config.run_start > 0 and config.run_rate >= config.learning_rate
        warmup = 1 if at_peak else min(WARMUP_STEPS, max(least, math.ceil((decay or length) / WARMUP_SHARE)))
    config = replace(config, warmup_steps=warmup)
    return replace(config, decay_steps=max(1, length - _warmup_steps(config))) if decay is None else config


def in_run(config: TrainConfig, last: TrainConfig, step: int, steps: int, rewarm: bool = False) -> TrainConfig:
    """The settings with the run that a session of so many steps after `step` updates belongs to.

    It goes on with a run that was to end at the same step, and else begins one, from the learning rate of the last step. A decay
    goes on whatever the session's end if the settings name its length, and so does the schedule "life". last: what the last step
    was trained with, settled. rewarm: begin a run in any case, unless this session goes on with one that was begun so.
    """
    end = step + steps
    if step == 0:  # nothing can be gone on with
        begins = rewarm or config.schedule == "run"
        return replace(config, run_start=0, run_rate=0.0, run_end=end if begins else None, rewarmed=rewarm)
    same = config.run_end == end
    if rewarm:
        begins = not (same and config.rewarmed)
    elif config.decay_steps:
        begins = config.schedule == "run" and (config.run_end is None or config.decay_steps != last.decay_steps)
    else:
        begins = config.schedule == "run" and not same
    if begins:
        return replace(config, run_start=step, run_rate=learning_rate(step - 1, last), run_end=end, rewarmed=rewarm)
    return config if same or config.run_end is None else replace(config, run_end=end, rewarmed=False)


def anew(config: TrainConfig) -> TrainConfig:
    """The settings with which the next session begins a run; those of the schedule "life" are as they were."""
    return replace(config, run_end=None) if config.schedule == "run" else config
