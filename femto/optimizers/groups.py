"""Parameter groups: tensors by their role, each with its own factor of the learning rate and its own weight decay."""

from dataclasses import dataclass
from itertools import groupby

from femto.config import TrainConfig
from femto.model.layout import ParameterLayout
from femto.model.tensors import Tensor
from femto.system.text import described


@dataclass(frozen=True)
class ParameterGroup:
    """A stretch of the flat buffers whose tensors are updated alike."""

    start: int  # in floats, of the first tensor
    end: int  # of the next group, so that the groups cover the whole buffer
    tensors: tuple[Tensor, ...]
    learning_rate_factor: float
    weight_decay: float

    def __repr__(self) -> str:
        settings = {"learning_rate_factor": self.learning_rate_factor, "weight_decay": self.weight_decay}
        return described(self, first=self.tensors[0].name, tensors=len(self.tensors), **settings)

    @property
    def stretch(self) -> slice:
        """Its place in the flat buffers."""
        return slice(self.start, self.end)


def parameter_groups(layout: ParameterLayout, settings: TrainConfig) -> list[ParameterGroup]:
    """The groups that the settings make of a model, in the order of the layout: one, where they say nothing of roles.

    settings.learning_rate_factors and weight_decays are by role (femto.config.ROLES); neighbours that are alike are one group, so
    that an update is as few calls as can be.
    """

    def factor_and_decay(tensor: Tensor) -> tuple[float, float]:
        factor = settings.learning_rate_factors.get(tensor.role, 1.0)
        return factor, settings.weight_decays.get(tensor.role, settings.weight_decay)

    alike = [(key, tuple(tensors)) for key, tensors in groupby(layout.tensors.values(), factor_and_decay)]
    starts = [layout.offsets[tensors[0].name] for _, tensors in alike]
    ends = [*starts[1:], layout.size]
    return [
        ParameterGroup(start, end, tensors, factor, decay)
        for ((factor, decay), tensors), start, end in zip(alike, starts, ends, strict=True)
    ]
