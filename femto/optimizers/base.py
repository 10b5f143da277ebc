"""What every optimiser is: named state over the layout of the parameters, and an update in place."""

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from femto.config import TrainConfig
from femto.model.buffers import aligned
from femto.model.layout import ParameterLayout
from femto.optimizers.groups import ParameterGroup, parameter_groups
from femto.system.text import described

Floats = NDArray[np.float32]


class Optimizer(ABC):
    """State and update. A new one is a subclass in a file of its own; `femto.optimizers` says where its name stands.

    state: every buffer of STATE one after another (len(STATE) * N,), as it stands in a checkpoint, so that a save copies nothing;
    N is the size of the layout. step: updates done since the state was new; the learning rate and bias corrections follow it.
    """

    NAME: ClassVar[str]  # in settings and files
    TITLE: ClassVar[str]  # for people
    # The buffers of its state, each laid out as the parameters, and the power of the gradient that each is proportional to:
    # growth, which scales parameters and so their gradients, scales them along.
    STATE: ClassVar[dict[str, int]]

    def __init__(self, layout: ParameterLayout) -> None:
        self.layout = layout
        self.state = aligned(len(self.STATE) * layout.size)
        self.step = 0
        self._grouped: tuple[TrainConfig, list[ParameterGroup]] | None = None

    def __repr__(self) -> str:
        return described(self, step=self.step, floats=len(self.state))

    @classmethod
    def state_bytes(cls, size: int) -> int:
        """Bytes of state for a layout of `size` floats."""
        return 4 * len(cls.STATE) * size

    def buffers(self) -> dict[str, Floats]:
        """Each buffer (N,) of the state by its name: views, laid out as the parameters."""
        size = self.layout.size
        return {name: self.state[index * size : (index + 1) * size] for index, name in enumerate(self.STATE)}

    def groups(self, settings: TrainConfig) -> list[ParameterGroup]:
        """The parameter groups that the settings make, made once for the steps of a run."""
        if self._grouped is None or self._grouped[0] is not settings:
            self._grouped = settings, parameter_groups(self.layout, settings)
        return self._grouped[1]

    @abstractmethod
    def update(
        self, parameters: Floats, gradients: Floats, learning_rate: float, settings: TrainConfig, gradient_norm: float
    ) -> None:
        """One step of parameters (N,) in place, and of `state` and `step`.

        gradients (N,) are those of the whole batch, of Euclidean norm `gradient_norm`: what is longer than settings.clip_norm is
        scaled down to it (`clipping.scale`). learning_rate and weight decay hold for all tensors that no group says otherwise of.
        """

    def copy(self) -> "Optimizer":
        """One of its own with the same state, for looking ahead."""
        other = type(self)(self.layout)
        other.state[...], other.step = self.state, self.step
        return other

    def __deepcopy__(self, memo: dict[int, object]) -> "Optimizer":
        return self.copy()

    @classmethod
    def least_gradient(cls, settings: TrainConfig) -> float | None:
        """The size of a gradient below which updates shrink with it, for `diagnose`; None if there is none."""
        return None
