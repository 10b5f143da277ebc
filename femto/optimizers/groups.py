"""Parameter groups: tensors by their role, each with its own factor of the learning rate and its own weight decay."""

from collections.abc import Iterator
from dataclasses import dataclass

from femto.config import TrainConfig
from femto.model.layout import ParameterLayout
from femto.model.tensors import Tensor


@dataclass(frozen=True)
class ParameterGroup:
    """A stretch of the flat buffers whose tensors are updated alike."""

    start: int  # in floats, of the first tensor
    end: int  # of the next group, so that the groups cover the whole buffer
    tensors: tuple[Tensor, ...]
    learning_rate_factor: float
    weight_decay: float

    @property
    def stretch(self) -> slice:
        return slice(self.start, self.end)


def parameter_groups(layout: ParameterLayout, settings: TrainConfig) -> list[ParameterGroup]:
    """The groups that the settings make of a model, in the order of the layout: one, where they say nothing of roles.

    settings.learning_rate_factors and weight_decays are by role (femto.model.tensors.ROLES); neighbours that are alike are one
    group, so that an update is as few calls as can be.
    """
    found: list[ParameterGroup] = []
    for tensor, start, end in _stretches(layout):
        factor = settings.learning_rate_factors.get(tensor.role, 1.0)
        decay = settings.weight_decays.get(tensor.role, settings.weight_decay)
        if found and (found[-1].learning_rate_factor, found[-1].weight_decay) == (factor, decay):
            last = found.pop()
            found.append(ParameterGroup(last.start, end, (*last.tensors, tensor), factor, decay))
        else:
            found.append(ParameterGroup(start, end, (tensor,), factor, decay))
    return found


def _stretches(layout: ParameterLayout) -> Iterator[tuple[Tensor, int, int]]:
    """Every tensor with where it begins and where the next one does."""
    starts = list(layout.offsets.values())
    yield from zip(layout.tensors.values(), starts, [*starts[1:], layout.size], strict=True)
