"""AdamW (Loshchilov and Hutter 2019)."""

from typing import ClassVar

from femto import kernels
from femto.config import TrainConfig
from femto.model.layout import ParameterLayout
from femto.optimizers import clipping
from femto.optimizers.base import Floats, Optimizer
from femto.optimizers.groups import parameter_groups


class AdamW(Optimizer):
    """Averages m of the gradient and v of its square; bias corrections 1 - beta^(step+1); decoupled weight decay first."""

    NAME: ClassVar[str] = "adamw"
    TITLE: ClassVar[str] = "AdamW"
    STATE: ClassVar[dict[str, int]] = {"m": 1, "v": 2}

    def __init__(self, layout: ParameterLayout) -> None:
        super().__init__(layout)
        self.m, self.v = self.buffers().values()

    def update(
        self, parameters: Floats, gradients: Floats, learning_rate: float, settings: TrainConfig, gradient_norm: float
    ) -> None:
        scale = clipping.scale(gradient_norm, settings.clip_norm)
        for group in parameter_groups(self.layout, settings):
            part = group.stretch
            kernels.adamw(
                parameters[part],
                self.m[part],
                self.v[part],
                gradients[part],
                learning_rate=group.learning_rate_factor * learning_rate,
                step=self.step,
                beta1=settings.beta1,
                beta2=settings.beta2,
                epsilon=settings.epsilon,
                weight_decay=group.weight_decay,
                gradient_scale=scale,
            )
        self.step += 1

    @classmethod
    def least_gradient(cls, settings: TrainConfig) -> float | None:
        return settings.epsilon
