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
import signal
import sys
import time

from compare_problem import CHECK_STEPS, Problem


def start(kind, path, threads, row):
    """The training of a framework; imported here, so that each needs only itself."""
    if kind == "femto":
        from femto_model import FemtoTraining

        return FemtoTraining(row, path)
    if kind == "graph":
        from graph_model import GraphTraining

        return GraphTraining(Problem(path))
    if kind == "jax":
        from jax_model import JaxTraining

        return JaxTraining(Problem(path))
    from torch_model import TorchTraining

    return TorchTraining(Problem(path), threads, compiled=kind == "compile")


def check(training):
    steps = [training.step(check=True) for _ in range(CHECK_STEPS)]
    losses, gradient_norms = zip(*steps, strict=True)
    return {"losses": losses, "gradient_norms": gradient_norms, "parameter_norm": [training.parameter_norm()]}


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
            answer = {"peak_gflops": training.peak_gflops()}
        print(json.dumps(answer), file=answers, flush=True)
        left, cpu_left = time.perf_counter(), time.process_time()


def main():
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the caller's to handle, which then closes stdin
    # Answers have stdout to themselves: what a framework prints goes to stderr.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    kind, path, threads, row = sys.argv[1:]
    training = start(kind, path, int(threads), row)
    print(json.dumps(training.facts()), file=answers, flush=True)
    serve(training, answers)


if __name__ == "__main__":
    main()
