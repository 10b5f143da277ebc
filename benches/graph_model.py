"""femto's graph, clipping and optimiser without its trainer, from the problem's file as the other frameworks read it.

It stands in for them where none is installed: what femto's trainer does beside the arithmetic (which settings it takes, which
batches it draws, which parameters it wrote down) is still held to what the file says.
"""

from dataclasses import fields

import numpy as np
from compare_problem import CHECK_CLIP_NORM

from femto import __version__, kernels, optimizers
from femto.config import ModelConfig, TrainConfig, updated
from femto.model import Graph, Model
from femto.model.linear import Pass
from femto.optimizers.clipping import norm


class GraphTraining:
    def __init__(self, problem):
        config, self.training = (
            kind(**{field.name: problem.settings[field.name] for field in fields(kind)}) for kind in (ModelConfig, TrainConfig)
        )
        self.problem, self.model = problem, Model(config)
        tensors = self.model.layout.stored(self.model.parameters)
        for name in problem.parameter_names():
            tensors[name][...] = problem.parameter(name)
        self.graph = Graph(self.model, self.training.batch_size, config.num_tokens, training=True)
        self.optimizer = optimizers.make(self.model.layout, self.training)

    def facts(self):
        return {"version": __version__, "threads": kernels.num_threads()}

    def step(self, check=False):
        """One step; its loss and the norm of its gradient before clipping."""
        training = updated(self.training, {"dropout": 0.0, "clip_norm": CHECK_CLIP_NORM} if check else {})
        windows = self.problem.draw().astype(np.int32)
        inputs, targets = np.ascontiguousarray(windows[:, :-1]), np.ascontiguousarray(windows[:, 1:])
        self.graph.gradients.fill(0.0)
        run = Pass(self.problem.num_tokens, training.dropout, training.seed, self.optimizer.step, 0)
        total = self.graph.accumulate_gradients(inputs, targets, run, 1.0 / inputs.size)
        length = norm(self.graph.gradients)
        self.optimizer.update(self.model.parameters, self.graph.gradients, training.learning_rate, training, length)
        return total / inputs.size, length

    def parameter_norm(self):
        return norm(self.model.parameters)
