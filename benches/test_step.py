"""Whole training steps: forward, backward, clipping and AdamW."""

import pytest

from femto import kernels
from femto.profiling.benchmark import peak_gflops, synthetic_trainer

from .configurations import ROWS, configuration
from .rates import note_rate

ROUNDS = {"34": 3, "14": 2}


@pytest.fixture(scope="module")
def peak():
    return peak_gflops()


@pytest.mark.parametrize("row", ROWS)
def test_step(benchmark, row, peak):
    config, training = configuration(row)
    trainer = synthetic_trainer(config, training)
    benchmark.pedantic(trainer.step, rounds=ROUNDS.get(row, 10), warmup_rounds=1)
    benchmark.extra_info |= {"isa": kernels.isa(), "threads": kernels.num_threads()}
    gflops = note_rate(benchmark, "gflops", 1e-9 * config.flops_per_token * training.batch_size * config.num_tokens)
    if gflops:
        benchmark.extra_info["fraction_of_peak"] = gflops / peak
