"""One framework of compare_pytorch.py in a process of its own: commands on stdin, answers on stdout, one JSON object a line.

    python compare_worker.py KIND PROBLEM.npz THREADS ROW

    {"check": null}   CHECK_STEPS steps without dropout on the shared batches: losses, norms of gradients, norm of parameters
    {"steps": 5}      five whole steps: milliseconds of each, CPUs in use, peak memory, CPU share of the wait before
    {"peak": null}    femto only: billions of float32 operations a second that its threads reach

Between commands the process waits in a read, and leaves the cores to the others.
"""

import json
import os
import resource
import sys
import time

from compare_problem import CHECK_CLIP_NORM, CHECK_STEPS, Problem, save
from configurations import configuration


class FemtoTraining:
    """femto's own trainer, which draws its own batches; writes the problem that the others start from."""

    def __init__(self, row, path):
        import numpy as np

        from femto import data, kernels
        from femto.benchmark import synthetic_trainer
        from femto.config import to_json, updated

        config, training = configuration(row)
        # A constant learning rate, as the others have: the warm-up's first step would move nothing.
        training = updated(training, {"warmup_steps": 0, "decay_steps": 0})
        self.training, self.check_training = training, updated(training, {"dropout": 0.0, "clip_norm": CHECK_CLIP_NORM})
        self.trainer = synthetic_trainer(config, training)
        self.kernels, self.config = kernels, config
        batches = [
            data.batch(self.trainer.ids, step, training.batch_size, config.num_tokens, training.seed)
            for step in range(CHECK_STEPS)
        ]
        windows = np.stack([np.concatenate([inputs, targets[:, -1:]], 1) for inputs, targets in batches])
        model = self.trainer.checkpoint.model
        settings = to_json(config) | to_json(training)
        save(path, settings, model.layout.stored(model.parameters), self.trainer.ids, windows)

    def facts(self):
        from femto import __version__

        flops = self.config.flops_per_token * self.training.batch_size * self.config.num_tokens
        return {
            "version": __version__,
            "threads": self.kernels.num_threads(),
            "isa": self.kernels.isa(),
            "params": self.config.num_parameters,
            "flops_per_step": flops,
        }

    def step(self, check=False):
        self.trainer.checkpoint.training = self.check_training if check else self.training
        step = self.trainer.step()
        return step.loss, step.gradient_norm

    def parameter_norm(self):
        from femto.optimizer import norm

        return norm(self.trainer.checkpoint.model.parameters)


def start(kind, path, threads, row):
    """The training of a framework; imported here, so that each needs only itself."""
    if kind == "femto":
        return FemtoTraining(row, path)
    if kind == "jax":
        from jax_model import JaxTraining

        return JaxTraining(Problem(path))
    from torch_model import TorchTraining

    return TorchTraining(Problem(path), threads, compiled=kind == "compile")


def check(training):
    steps = [training.step(check=True) for _ in range(CHECK_STEPS)]
    losses, gradient_norms = zip(*steps, strict=True)
    return {"losses": losses, "gradient_norms": gradient_norms, "parameter_norm": training.parameter_norm()}


def time_steps(training, count):
    milliseconds, losses = [], []
    began, cpu_began = time.perf_counter(), time.process_time()
    for _ in range(count):
        started = time.perf_counter()
        loss, _ = training.step()
        milliseconds.append(1000.0 * (time.perf_counter() - started))
        losses.append(loss)
    cpus = (time.process_time() - cpu_began) / (time.perf_counter() - began)
    return {"milliseconds": milliseconds, "losses": losses, "cpus": cpus, "peak_rss_mib": peak_rss_mib()}


def peak_rss_mib():
    unit = 1 if sys.platform == "darwin" else 1024  # macOS reports bytes, Linux KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def serve(training, answers):
    """Obey commands until stdin ends."""
    left, cpu_left = time.perf_counter(), time.process_time()
    for line in sys.stdin:
        idle_cpus = (time.process_time() - cpu_left) / (time.perf_counter() - left)
        ((command, argument),) = json.loads(line).items()
        if command == "check":
            answer = check(training)
        elif command == "steps":
            answer = time_steps(training, argument) | {"idle_cpus": idle_cpus}
        else:
            from femto.benchmark import peak_gflops

            answer = {"peak_gflops": peak_gflops()}
        print(json.dumps(answer), file=answers, flush=True)
        left, cpu_left = time.perf_counter(), time.process_time()


def main():
    # Answers have stdout to themselves: what a framework prints goes to stderr.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    kind, path, threads, row = sys.argv[1:]
    training = start(kind, path, int(threads), row)
    print(json.dumps(training.facts()), file=answers, flush=True)
    serve(training, answers)


if __name__ == "__main__":
    main()
