"""The parameters of a model in one flat buffer, and their initialisation."""

import hashlib
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from femto.config import ModelConfig
from femto.model.buffers import aligned
from femto.model.layout import ParameterLayout, layout_size
from femto.system import memory
from femto.system.random_numbers import normal
from femto.system.text import described


class Model:
    """Shape and parameters of a GPT.

    parameters: the flat float32 buffer, laid out by `layout`. tensors: views of it by the names that users see
    (`token_embedding`, `head_0_1_q`, …).
    """

    def __init__(self, config: ModelConfig) -> None:
        """Raises ResourceError if there is no memory for it."""
        memory.require({"parameters": 4 * layout_size(config)}, "a model of this shape", "choose a smaller one")
        self.config = config
        self.layout = ParameterLayout(config)
        self.parameters = aligned(self.layout.size)
        self.tensors = self.layout.views(self.parameters)

    def initialize(self, seed: int) -> "Model":
        """Random parameters from a seed. The whole table:

        | initializer | gains of norms | biases | everything else |
        |---|---|---|---|
        | scaled | 1 | 0 | N(0, 0.64 / sqrt(d)) |
        | reference | N(0, 0.02) | 0 | N(0, 0.02) |

        The reference is the original program's; 0.64 is measured (docs/measurements.md).
        """
        reference = self.config.initializer == "reference"
        std = 0.02 if reference else 0.64 / math.sqrt(self.config.embedding_degree)
        stored = self.layout.stored(self.parameters)
        for index, (name, tensor) in enumerate(self.layout.tensors.items()):
            if tensor.start == "zero":
                stored[name][...] = 0.0
            elif tensor.start == "one" and not reference:
                stored[name][...] = 1.0
            else:
                stored[name][...] = normal(seed, index, tensor.shape, std)
        return self

    def __repr__(self) -> str:
        return described(self, parameters=self.config.num_parameters, **self.config.letters)

    def __reduce__(self) -> tuple[Callable[..., "Model"], tuple[ModelConfig, NDArray[np.float32]]]:
        """Copies and pickles are models whose `tensors` are views of their own parameters."""
        return _with_parameters, (self.config, self.parameters)

    @property
    def parameters_sha256(self) -> str:
        """SHA-256 of the parameters as they stand in a file."""
        return sha256(self.parameters)


def _with_parameters(config: ModelConfig, parameters: NDArray[np.float32]) -> Model:
    model = Model(config)
    model.parameters[...] = parameters
    return model


def sha256(*buffers: NDArray[np.float32]) -> str:
    """SHA-256 of the buffers' little-endian bytes, one after another: the bytes of the checkpoint's section."""
    digest = hashlib.sha256()
    for buffer in buffers:
        digest.update(np.ascontiguousarray(buffer, "<f4").data)
    return digest.hexdigest()
