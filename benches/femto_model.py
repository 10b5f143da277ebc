"""femto's own training step, as compare_worker.py runs it, and the problem that the other frameworks start from."""

import numpy as np
from compare_problem import CHECK_CLIP_NORM, CHECK_STEPS, save
from configurations import configuration

from femto import __version__, data, kernels
from femto.config import to_json, updated
from femto.optimizers.adamw import norm
from femto.profiling import benchmark


class FemtoTraining:
    """femto's trainer on synthetic tokens. It draws its own batches; those of the check are the first that it draws."""

    def __init__(self, row, path):
        self.config, training = configuration(row)
        # The others have a constant learning rate; and the first step of a warm-up would move nothing.
        self.training = updated(training, {"warmup_steps": 0, "decay_steps": 0})
        self.check_training = updated(self.training, {"dropout": 0.0, "clip_norm": CHECK_CLIP_NORM})
        self.trainer = benchmark.synthetic_trainer(self.config, self.training)
        self.save_problem(path)

    def save_problem(self, path):
        batches = [
            data.batch(self.trainer.ids, step, self.training.batch_size, self.config.num_tokens, self.training.seed)
            for step in range(CHECK_STEPS)
        ]
        windows = np.stack([np.concatenate([inputs, targets[:, -1:]], 1) for inputs, targets in batches])
        model = self.trainer.checkpoint.model
        settings = to_json(self.config) | to_json(self.training)
        save(path, settings, model.layout.stored(model.parameters), self.trainer.ids, windows)

    def facts(self):
        return {
            "version": __version__,
            "threads": kernels.num_threads(),
            "isa": kernels.isa(),
            "params": self.config.num_parameters,
            "flops_per_step": self.config.flops_per_token * self.training.batch_size * self.config.num_tokens,
        }

    def step(self, check=False):
        """One step; its loss and the norm of its gradient before clipping."""
        self.trainer.checkpoint.training = self.check_training if check else self.training
        step = self.trainer.step()
        return step.loss, step.gradient_norm

    def parameter_norm(self):
        return norm(self.trainer.checkpoint.model.parameters)

    def peak_gflops(self):
        return benchmark.peak_gflops()
