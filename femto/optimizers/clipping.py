"""Clipping by the norm of the whole gradient (Pascanu, Mikolov and Bengio 2013)."""

import math

import numpy as np
from numpy.typing import NDArray

from femto import kernels


def norm(gradients: NDArray[np.float32]) -> float:
    """The Euclidean norm of the gradient; not finite when any entry is not, or when squares overflow float32."""
    return math.sqrt(kernels.sum_of_squares(gradients))


def scale(gradient_norm: float, clip_norm: float) -> float:
    """What to multiply a gradient with so that it is not longer than clip_norm; 1 if it is not, or if clip_norm is 0."""
    return clip_norm / gradient_norm if clip_norm and gradient_norm > clip_norm else 1.0
