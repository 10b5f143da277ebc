"""AdamW (Loshchilov and Hutter 2019)."""

from typing import ClassVar

from femto import kernels
from femto.config import TrainConfig
from femto.optimizers import clipping
from femto.optimizers.base import Floats, Optimizer


class AdamW(Optimizer):
    """Averages m of the gradient and v of its square; bias corrections 1 - beta^(step+1); decoupled weight decay first."""

    NAME: ClassVar[str] = "adamw"
    TITLE: ClassVar[str] = "AdamW"
    STATE: ClassVar[dict[str, int]] = {"m": 1, "v": 2}

    @property
    def m(self) -> Floats:
        """First moments (N,)."""
        return self.buffers()["m"]

    @property
    def v(self) -> Floats:
        """Second moments (N,)."""
        return self.buffers()["v"]

    def update(
        self, parameters: Floats, gradients: Floats, learning_rate: float, settings: TrainConfig, gradient_norm: float
    ) -> None:
        """One call of `kernels.adamw` for each group; as `Optimizer.update`."""
        scale = clipping.scale(gradient_norm, settings.clip_norm)
        m, v = self.buffers().values()
        for group in self.groups(settings):
            part = group.stretch
            kernels.adamw(
                parameters[part],
                m[part],
                v[part],
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
        """AdamW's epsilon."""
        return settings.epsilon
