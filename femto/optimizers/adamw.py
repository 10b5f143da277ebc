"""AdamW over one flat buffer, with clipping by the norm of the whole gradient."""

import math

import numpy as np
from numpy.typing import NDArray

from femto import kernels
from femto.config import TrainConfig
from femto.model.buffers import aligned


class AdamW:
    """First and second moments of the flat parameter buffer, and the number of updates done (for the bias corrections)."""

    def __init__(self, size: int) -> None:
        self.moments = aligned(2 * size)  # one buffer, as it stands in a checkpoint: a save copies nothing
        self.m, self.v = self.moments[:size], self.moments[size:]
        self.step = 0

    def update(
        self,
        parameters: NDArray[np.float32],
        gradients: NDArray[np.float32],
        learning_rate: float,
        config: TrainConfig,
        gradient_norm: float,
    ) -> None:
        """One step in place. The gradient, of norm `gradient_norm`, is scaled down to config.clip_norm when it is longer."""
        clip = config.clip_norm
        scale = clip / gradient_norm if clip and gradient_norm > clip else 1.0
        kernels.adamw(
            parameters,
            self.m,
            self.v,
            gradients,
            learning_rate=learning_rate,
            step=self.step,
            beta1=config.beta1,
            beta2=config.beta2,
            epsilon=config.epsilon,
            weight_decay=config.weight_decay,
            gradient_scale=scale,
        )
        self.step += 1


def norm(gradients: NDArray[np.float32]) -> float:
    """The Euclidean norm of the gradient; not finite when any entry is not, or when squares overflow float32."""
    return math.sqrt(kernels.sum_of_squares(gradients))
