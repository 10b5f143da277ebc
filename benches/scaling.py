"""How the cost of a training step grows with d, L, T, B and threads, one at a time from a middle configuration.

    python benches/scaling.py [--steps 10]

Prints a markdown table for each: milliseconds a step, thousand tokens a second, share of the measured FMA peak. Every line is
measured in this process, so compare lines of one run only.
"""

import argparse
import dataclasses

from femto import kernels
from femto.config import ModelConfig, TrainConfig
from femto.profiling.benchmark import time_steps

MIDDLE = ModelConfig(257, num_tokens=80, embedding_degree=128, num_layers=4, num_heads=4)
AXES = {
    "embedding_degree": (32, 64, 128, 256, 512),
    "num_layers": (1, 2, 4, 8),
    "num_tokens": (40, 80, 160, 320),
    "batch_size": (4, 8, 16, 32, 64),
    "head_size": (8, 16, 32, 64),
}


def measure(steps, axis, value):
    config, training = MIDDLE, TrainConfig()
    if axis == "batch_size":
        training = dataclasses.replace(training, batch_size=value)
    elif axis == "head_size":
        config = dataclasses.replace(config, num_heads=config.embedding_degree // value)
    else:
        config = dataclasses.replace(config, **{axis: value})
    result = time_steps(config, training, steps)
    speed = result["tokens_per_second"] / 1000
    return f"{result['median_ms']:.1f} | {speed:.0f} | {result['fraction_of_peak']:.0%}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10, help="timed for every line [10]")
    options = parser.parse_args()
    threads = kernels.num_threads()
    print(f"V=257, d=128, L=4, H=4, T=80, B=32 unless said otherwise; {threads} threads, {kernels.isa()}")
    for axis, values in AXES.items():
        print(f"\n| {axis} | ms a step | thousand tokens/s | of peak |\n|---|---|---|---|")
        for value in values:
            print(f"| {value} | {measure(options.steps, axis, value)} |", flush=True)
    print("\n| threads | ms a step | thousand tokens/s | of peak |\n|---|---|---|---|")
    for count in range(1, threads + 1):
        kernels.set_num_threads(count)
        print(f"| {count} | {measure(options.steps, 'batch_size', 32)} |", flush=True)


if __name__ == "__main__":
    main()
