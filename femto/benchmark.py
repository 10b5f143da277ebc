"""Timing of whole training steps against the machine's measured peak (SPEC section 8)."""

import resource
import statistics
import sys
import time
from typing import Any

import numpy as np

from femto import kernels, random_numbers
from femto._kernels import core
from femto.checkpoint import Checkpoint
from femto.config import ModelConfig, TrainConfig
from femto.data import Dataset
from femto.history import History
from femto.model import Model
from femto.tokenizers import Tokenizer
from femto.training import Trainer, micro_batch_size

WARMUP_STEPS = 3
BURN_SECONDS = 0.1


def peak_gflops() -> float:
    """Billions of float32 operations a second that the set number of threads reaches on independent FMAs in registers."""
    iterations, best = 1 << 16, 0.0
    for _ in range(5):
        started = time.perf_counter()
        flops = core.fma_burn(iterations)
        seconds = time.perf_counter() - started
        best = max(best, flops / seconds)
        iterations = max(1 << 12, int(iterations * BURN_SECONDS / seconds))
    return best / 1e9


def peak_rss_mib() -> float:
    """The largest resident memory that this process has had."""
    unit = 1 if sys.platform == "darwin" else 1024  # macOS reports bytes, Linux KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def synthetic_trainer(config: ModelConfig, training: TrainConfig) -> Trainer:
    """A trainer on a million random tokens of the model's vocabulary."""
    tokens = [b"<unk>", *(b"%d" % index for index in range(1, config.vocab_size))]
    checkpoint = Checkpoint(Model(config).initialize(training.seed), Tokenizer(tokens, unk_id=0), training, History())
    words = random_numbers.words(training.seed, random_numbers.BATCHES, 2**32, 1_000_000)
    ids = (words % np.uint64(config.vocab_size)).astype(np.int32)
    trainer = Trainer(checkpoint, ids)
    trainer.start_session(Dataset("random tokens", "", len(ids), ids, 0))
    return trainer


def time_steps(config: ModelConfig, training: TrainConfig, steps: int) -> dict[str, Any]:
    """Time `steps` whole steps (batch, forward, backward, clip, AdamW) after a warm-up; milliseconds and GF/s.

    The peak is measured before and after with the same threads, and the larger figure counts.
    """
    trainer = synthetic_trainer(config, training)
    peak = peak_gflops()
    for _ in range(WARMUP_STEPS):
        trainer.step()
    milliseconds = [1000.0 * step.seconds for step in trainer.steps(steps)]
    peak = max(peak, peak_gflops())
    flops = config.flops_per_token * training.batch_size * config.num_tokens
    median = statistics.median(milliseconds)
    gflops = flops / median / 1e6
    return {
        "median_ms": median,
        "min_ms": min(milliseconds),
        "steps": steps,
        "params": config.num_parameters,
        "flops_per_step": flops,
        "gflops": gflops,
        "peak_gflops": peak,
        "fraction_of_peak": gflops / peak,
        "tokens_per_second": 1000.0 * training.batch_size * config.num_tokens / median,
        "peak_rss_mib": peak_rss_mib(),
        "micro_batch_size": micro_batch_size(config, training),
        "threads": kernels.num_threads(),
        "isa": kernels.isa(),
        "openmp": kernels.has_openmp(),
    }
