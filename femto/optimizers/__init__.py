"""What turns gradients into updates: optimisers over groups of parameters, clipping, and the learning rate.

OPTIMIZERS has every optimiser by the name that settings and files give it. A new one: a subclass of `Optimizer` in a file of its
own, its class in the tuple below, and its name in `femto.config.OPTIMIZERS`.
"""

from femto.config import TrainConfig
from femto.model.layout import ParameterLayout
from femto.optimizers.adamw import AdamW
from femto.optimizers.base import Optimizer
from femto.optimizers.groups import ParameterGroup, parameter_groups
from femto.optimizers.schedule import learning_rate

OPTIMIZERS: dict[str, type[Optimizer]] = {kind.NAME: kind for kind in (AdamW,)}


def make(layout: ParameterLayout, settings: TrainConfig) -> Optimizer:
    """A new optimiser for a layout, as the settings name it."""
    return OPTIMIZERS[settings.optimizer](layout)


__all__ = [
    "OPTIMIZERS",
    "AdamW",
    "Optimizer",
    "ParameterGroup",
    "learning_rate",
    "make",
    "parameter_groups",
]
