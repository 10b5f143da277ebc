"""A batch in parts: each has a gradient of its own, and threads compute whole parts side by side.

A part is some windows of the batch. Its forward and backward pass need no other part, so a thread computes it without waiting, in
activations that stay in its own cache. The parts' gradients are then added as a binary tree. How a batch is cut follows from
shapes and settings, never from threads or machines: so the bytes are the same for any number of threads.

Within a part, `micro` windows are computed at a time, one group after another, and add to the same gradient. One group is
recorded, whatever the size of the batch.
"""

import numpy as np

from femto import kernels
from femto.kernels import Live, Tape
from femto.kernels.arguments import Integers
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
        config, windows = model.config, batch_size // parts
        self.rounds = windows // micro  # in each of them, every part computes `micro` windows
        self.losses = aligned(batch_size, config.num_tokens)  # nats
        self.part_gradients = aligned(parts, model.layout.size)
        self.step = Live()
        self.loop = LoopThreads()
        self.workers = workers
        self._shape = (parts, self.rounds, micro, config.num_tokens)  # of a batch
        self._tokens = np.zeros((parts, micro, config.num_tokens), np.int32)  # of this round, as what follows
        self._targets = np.zeros_like(self._tokens)
        self._losses = aligned(*self._tokens.shape)
        self._first = Live()  # window of each part
        self._tapes = [self._record(model, dropout, seed) for _ in range(workers)]  # of each worker, for each part

    def _record(self, model: Model, dropout: float, seed: int) -> list[Tape]:
        """What a worker does in a round for each part."""
        parts, rounds, micro, num_tokens = self._shape
        workspace = Workspace(micro * num_tokens, training=True)
        tapes = []
        for part in range(parts):
            workspace.rewind()
            graph = Graph(model, micro, num_tokens, True, self.part_gradients[part], workspace)
            run = Pass(num_tokens, dropout, seed, self.step, self._first + part * rounds * micro)
            with Tape() as tape:
                if rounds == 1:
                    kernels.set_zero(self.part_gradients[part])
                losses = self._losses[part].reshape(-1)
                graph.differentiate(self._tokens[part], self._targets[part], run, 1.0 / self.losses.size, losses)
            tapes.append(tape)
        return tapes

    @property
    def gradients(self) -> Floats:
        """(n,): that of the mean loss of the last batch, laid out as the parameters."""
        gradients: Floats = self.part_gradients[0]
        return gradients

    def compute(self, tokens: Integers, targets: Integers, step: int) -> Floats:
        """The losses (B, T) in nats of tokens and targets (B, T) int32; `gradients` becomes the gradient of their mean.

        step: number of the step, which dropout's masks are drawn by.
        """
        self.step.value = step
        return self.loop.piece(self._compute, tokens.reshape(self._shape), targets.reshape(self._shape))

    def _compute(self, tokens: Integers, targets: Integers) -> Floats:
        losses = self.losses.reshape(self._shape)
        if self.rounds > 1:
            kernels.set_zero(self.part_gradients)
        for turn in range(self.rounds):
            self._tokens[...], self._targets[...] = tokens[:, turn], targets[:, turn]
            self._first.value = turn * self._tokens.shape[1]
            kernels.run_parts(self._tapes)
            losses[:, turn] = self._losses
        if len(self.part_gradients) > 1:
            kernels.tree_sum(self.part_gradients)
        return self.losses
