"""femto's own training step, as compare_worker.py runs it, and the problem that the other frameworks start from."""

import gc

import numpy as np
from compare_problem import CHECK_CLIP_NORM, CHECK_STEPS, save
from configurations import configuration

from femto import __version__, data, kernels
from femto.config import to_json, updated
from femto.optimizers.clipping import norm
from femto.profiling import benchmark
from femto.training import Trainer


class FemtoTraining:
    """femto's trainer on synthetic tokens. It draws its own batches; those of the check are the first that it draws.

    A trainer's settings are settled when it is made. So the check and the timed steps each have their own trainer, which goes on
    with the same parameters, optimiser and history.
    """

    def __init__(self, row, path):
        self.config, self.training = configuration(row)
        self.checkpoint, self.ids = benchmark.synthetic(self.config, self.training)
        self.trainer, self.checks = None, None
        self.save_problem(path)

    def save_problem(self, path):
        batches = [
            data.batch(self.ids, step, self.training.batch_size, self.config.num_tokens, self.training.seed)
            for step in range(CHECK_STEPS)
        ]
        windows = np.stack([np.concatenate([inputs, targets[:, -1:]], 1) for inputs, targets in batches])
        model = self.checkpoint.model
        settings = to_json(self.config) | to_json(self.training)
        save(path, settings, model.layout.stored(model.parameters), self.ids, windows)

    def facts(self):
        return {
            "version": __version__,
            "threads": kernels.num_threads(),
            "isa": kernels.isa(),
            "params": self.config.num_parameters,
            "flops_per_step": self.config.flops_per_token * self.training.batch_size * self.config.num_tokens,
        }

    def use(self, check):
        """Make the trainer of the check, or that of the timed steps."""
        self.trainer = None
        gc.collect()  # its buffers go before the next ones come, so that the peak of memory is that of one trainer
        changes = {"dropout": 0.0, "clip_norm": CHECK_CLIP_NORM} if check else {}
        self.trainer, self.checks = Trainer(self.checkpoint, self.ids, settings=updated(self.training, changes)), check

    def step(self, check=False):
        """One step; its loss and the norm of its gradient before clipping."""
        if self.checks is not check:
            self.use(check)
        step = self.trainer.step()
        return step.loss, step.gradient_norm

    def parameter_norm(self):
        return norm(self.checkpoint.model.parameters)

    def peak_gflops(self):
        return benchmark.peak_gflops()
