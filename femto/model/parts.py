"""A batch in parts: each has a gradient of its own, and threads compute whole parts side by side.

A part is some windows of the batch. Its forward and backward pass need no other part, so a thread computes it without waiting, in
activations that stay in its own cache. The parts' gradients are then added as a binary tree. How a batch is cut follows from
shapes and settings, never from threads or machines: so the bytes are the same for any number of threads.

Within a part, `micro` windows are computed at a time, one group after another, and add to the same gradient.
"""

import numpy as np

from femto import kernels
from femto.kernels import Integers, Live, Tape
from femto.kernels.loop_threads import LoopThreads
from femto.model.buffers import Floats, aligned
from femto.model.graph import Graph
from femto.model.linear import Pass
from femto.model.parameters import Model
from femto.model.workspace import Workspace


class Parts:
    """The gradient of a model over batches of one shape, with its memory and its recorded kernel calls.

    Legend: B windows of T tokens, P parts, n floats of parameters.
    """

    def __init__(
        self, model: Model, batch_size: int, parts: int, micro: int, workers: int, dropout: float = 0.0, seed: int = 0
    ) -> None:
        """parts divides batch_size, micro divides batch_size / parts. workers: how many parts may be computed at the same time;
        each takes the activations of `micro` windows. With one, threads work inside the kernels."""
        config = model.config
        self.tokens = np.zeros((batch_size, config.num_tokens), np.int32)
        self.targets = np.zeros_like(self.tokens)
        self.losses = aligned(batch_size, config.num_tokens)  # nats
        self.part_gradients = aligned(parts, model.layout.size)
        self.step = Live()
        self.loop = LoopThreads()
        windows = batch_size // parts
        scale = 1.0 / self.tokens.size
        self.workers = workers
        self._tapes: list[list[Tape]] = []  # of each worker, for each part
        for _ in range(workers):
            workspace = Workspace(micro * config.num_tokens, training=True)
            tapes = []
            for part in range(parts):
                workspace.rewind()
                graph = Graph(model, micro, config.num_tokens, True, self.part_gradients[part], workspace)
                with Tape() as tape:
                    kernels.set_zero(self.part_gradients[part])
                    for first in range(part * windows, (part + 1) * windows, micro):
                        rows = slice(first, first + micro)
                        run = Pass(config.num_tokens, dropout, seed, self.step, first)
                        losses = self.losses[rows].reshape(-1)
                        graph.differentiate(self.tokens[rows], self.targets[rows], run, scale, losses)
                tapes.append(tape)
            self._tapes.append(tapes)

    @property
    def gradients(self) -> Floats:
        """(n,): that of the mean loss of the last batch, laid out as the parameters."""
        gradients: Floats = self.part_gradients[0]
        return gradients

    def compute(self, tokens: Integers, targets: Integers, step: int) -> Floats:
        """The losses (B, T) in nats of tokens and targets (B, T) int32; `gradients` becomes the gradient of their mean.

        step: number of the step, which dropout's masks are drawn by.
        """
        self.tokens[...], self.targets[...], self.step.value = tokens, targets, step
        return self.loop.piece(self._compute)

    def _compute(self) -> Floats:
        kernels.run_parts(self._tapes)
        kernels.tree_sum(self.part_gradients)
        return self.losses
