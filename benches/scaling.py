"""How the cost of a training step grows with d, L, T, B, head size and threads, one at a time from a middle configuration.

    python benches/scaling.py [--steps 10] [--axes threads …]

Prints a markdown table for each: milliseconds a step, thousand tokens a second, share of the measured FMA peak. Every line is
measured in this process, so compare lines of one run only.
"""

import argparse
import dataclasses
import json
from pathlib import Path

from configurations import MODEL, TRAINING

from femto import kernels
from femto.config import ModelConfig, TrainConfig
from femto.profiling.benchmark import time_steps
from femto.system.text import counted

MIDDLE = ModelConfig(vocab_size=257, num_tokens=80, embedding_degree=128, num_layers=4, num_heads=4, **MODEL)
MIDDLE_TRAINING = TrainConfig(dropout=0.0, **TRAINING)
AXES = {
    "embedding_degree": (32, 64, 128, 256, 512),
    "num_layers": (1, 2, 4, 8),
    "threads": None,  # from one to those that femto uses
    "num_tokens": (40, 80, 160, 320),
    "batch_size": (4, 8, 16, 32, 64),
    "head_size": (8, 16, 32, 64),
}


def measure(steps, axis, value):
    config, training = MIDDLE, MIDDLE_TRAINING
    if axis == "threads":
        kernels.set_num_threads(value)
    elif axis == "batch_size":
        training = dataclasses.replace(training, batch_size=value)
    elif axis == "head_size":
        config = dataclasses.replace(config, num_heads=config.embedding_degree // value)
    else:
        config = dataclasses.replace(config, **{axis: value})
    return {axis: value, **time_steps(config, training, steps)}


def line(axis, result):
    speed = result["tokens_per_second"] / 1000
    return f"| {result[axis]} | {result['median_ms']:.1f} | {speed:.0f} | {result['fraction_of_peak']:.0%} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10, help="timed for every line [10]")
    parser.add_argument("--axes", nargs="+", choices=AXES, default=list(AXES), metavar="AXIS", help=f"of {', '.join(AXES)} [all]")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was measured there as well")
    options = parser.parse_args()
    threads = kernels.num_threads()
    config = MIDDLE
    print(
        f"V={config.vocab_size}, d={config.embedding_degree}, L={config.num_layers}, H={config.num_heads}, "
        f"T={config.num_tokens}, B={MIDDLE_TRAINING.batch_size} unless said otherwise; "
        f"{counted(threads, 'thread')}, {kernels.isa()}"
    )
    results = {}
    for axis in options.axes:
        print(f"\n| {axis} | ms a step | thousand tokens/s | of peak |\n|---|---|---|---|")
        results[axis] = []
        for value in AXES[axis] or range(1, threads + 1):
            results[axis].append(measure(options.steps, axis, value))
            print(line(axis, results[axis][-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
