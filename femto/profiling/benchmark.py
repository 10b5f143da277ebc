"""Timing of whole training steps against the machine's measured peak (docs/performance.md)."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from femto import kernels
from femto.checkpoint import Checkpoint
from femto.checkpoint.history import History
from femto.config import ModelConfig, TrainConfig
from femto.data import Ids
from femto.errors import ConfigError
from femto.kernels.loop_threads import LoopThreads, crowded
from femto.kernels.threads import fixed_threads, free_threads
from femto.model import Decoder, Model
from femto.profiling.kernel_times import profile
from femto.system import memory, random_numbers
from femto.tokenizers import Tokenizer
from femto.training.partitioning import partition
from femto.training.trainer import Trainer

WARMUP_STEPS = 3
BURN_SECONDS = 0.1


def peak_gflops() -> float:
    """Billions of float32 operations a second that the set number of threads reaches on independent FMAs in registers."""
    return _burn()[0]


def _burn() -> tuple[float, float]:
    """`peak_gflops`, and the share of their cores that the threads got meanwhile: about 1 where no other program used them."""
    iterations, best = 1 << 16, 0.0
    first, cpu = time.perf_counter(), time.process_time()
    for _ in range(5):
        started = time.perf_counter()
        flops = kernels.fma_burn(iterations)
        seconds = time.perf_counter() - started
        best = max(best, flops / seconds)
        iterations = max(1 << 12, int(iterations * BURN_SECONDS / seconds))
    return best / 1e9, (time.process_time() - cpu) / (time.perf_counter() - first) / kernels.num_threads()


@dataclass
class Conditions:
    """What a measurement was made under."""

    threads: int
    peak_gflops: float = 0.0  # the larger of two measurements, before and after
    cpu_share: float = 1.0  # of their cores that the threads got, the smaller of the two
    cores_busy: bool = False  # other programs used the cores: fewer threads were taken than there are, or they had to share

    def burn(self) -> None:
        """Measure, before or after."""
        peak, share = _burn()
        self.peak_gflops, self.cpu_share = max(self.peak_gflops, peak), min(self.cpu_share, share)
        self.cores_busy = self.cores_busy or crowded(self.threads, 1.0, share * self.threads)

    def to_json(self) -> dict[str, Any]:
        return {
            "cpu_share": self.cpu_share,
            "cores_busy": self.cores_busy,
            "peak_rss_mib": memory.peak_bytes() / 2**20,
            "threads": self.threads,
            "isa": kernels.isa(),
            "openmp": kernels.has_openmp(),
        }


@contextmanager
def measuring(work: Callable[[], object]) -> Iterator[Conditions]:
    """Measure what is like `work` inside: with all threads, or, unless somebody chose their number, as many as are fastest beside
    other programs. The work is done as a warm-up until that is clear; then the number stays.
    """
    loop = LoopThreads()
    for _ in range(WARMUP_STEPS):
        loop.piece(work)
    while not loop.decided:
        loop.piece(work)
    conditions = Conditions(kernels.num_threads(), cores_busy=kernels.num_threads() < free_threads())
    with fixed_threads(conditions.threads):
        conditions.burn()
        yield conditions
        conditions.burn()


def synthetic(config: ModelConfig, training: TrainConfig) -> tuple[Checkpoint, Ids]:
    """A fresh model, and a million random tokens of its vocabulary to train it on."""
    tokens = [b"<unk>", *(b"%d" % index for index in range(1, config.vocab_size))]
    checkpoint = Checkpoint(Model(config).initialize(training.seed), Tokenizer(tokens, unk_id=0), training, History())
    words = random_numbers.words(training.seed, random_numbers.BATCHES, 2**32, 1_000_000)
    return checkpoint, (words % np.uint64(config.vocab_size)).astype(np.int32)


def synthetic_trainer(config: ModelConfig, training: TrainConfig) -> Trainer:
    """A trainer of `synthetic`'s model on its tokens."""
    return Trainer(*synthetic(config, training))


def time_steps(config: ModelConfig, training: TrainConfig, steps: int) -> dict[str, Any]:
    """Time `steps` whole steps (batch, forward, backward, clip, AdamW) after a warm-up; milliseconds and GF/s.

    The peak is measured before and after with the same threads, and the larger figure counts. Beside other programs, the threads
    are those that training would use; `cores_busy` says so.
    """
    trainer = synthetic_trainer(config, training)
    with measuring(trainer.step) as conditions:
        milliseconds = [1000.0 * step.seconds for step in trainer.steps(steps)]
    peak = conditions.peak_gflops
    flops = config.flops_per_token * training.batch_size * config.num_tokens
    median, cut = statistics.median(milliseconds), partition(config, training)
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
        "parts": cut.parts,
        "micro_batch_size": cut.micro_batch_size,
        **conditions.to_json(),
    }


def time_kernels(config: ModelConfig, training: TrainConfig, steps: int) -> dict[str, Any]:
    """Every kernel call of `steps` whole steps by kernel and shape: milliseconds, share of the step, GF/s, GB/s."""
    trainer = synthetic_trainer(config, training)
    with measuring(trainer.step) as conditions:
        times, milliseconds = profile(trainer, steps)
    rows = [
        {
            "kernel": entry.name,
            "shape": entry.shape,
            "calls_per_step": entry.calls,
            "milliseconds": entry.milliseconds,
            "share": entry.milliseconds / milliseconds,
            "gflops": entry.gflops,
            "gigabytes_per_second": entry.gigabytes_per_second,
        }
        for entry in times
    ]
    return {
        "params": config.num_parameters,
        "step_ms": milliseconds,
        "outside_kernels_ms": max(0.0, milliseconds - sum(entry.milliseconds for entry in times)),
        "peak_gflops": conditions.peak_gflops,
        "kernels": rows,
        **conditions.to_json(),
    }


def kernel_table(result: dict[str, Any]) -> str:
    """The result of `time_kernels` as text; speeds in GF/s where arithmetic binds, in GB/s where memory does."""
    lines = [f"{'kernel':<20}{'shape':<36}{'calls':>6}{'ms':>9}{'share':>8}{'speed':>13}{'of peak':>9}"]
    for row in result["kernels"]:
        if row["gflops"]:
            speed, share_of_peak = f"{row['gflops']:.0f} GF/s", f"{row['gflops'] / result['peak_gflops']:.0%}"
        else:
            speed, share_of_peak = f"{row['gigabytes_per_second']:.0f} GB/s", ""
        lines.append(
            f"{row['kernel']:<20}{row['shape']:<36}{row['calls_per_step']:>6}{row['milliseconds']:>9.3f}{row['share']:>8.1%}"
            f"{speed:>13}{share_of_peak:>9}"
        )
    outside = result["outside_kernels_ms"]
    lines.append(f"{'outside kernels':<62}{outside:>9.3f}{outside / result['step_ms']:>8.1%}")
    lines.append(f"{'step':<62}{result['step_ms']:>9.3f}")
    return "\n".join(lines)


def time_inference(config: ModelConfig, rounds: int) -> dict[str, Any]:
    """Greedy generation of one sequence with the key/value cache, from one token to the end of the context, `rounds` times."""
    if config.num_tokens < 2:
        raise ConfigError("num_tokens must be at least 2 to time generation: the first token fills a context of 1", "num_tokens")
    seconds = _decoding(Model(config).initialize(0))
    with measuring(lambda: next(seconds)) as conditions:
        median = 1e6 * statistics.median(next(seconds) for _ in range(rounds * (config.num_tokens - 1)))
    return {
        "params": config.num_parameters,
        "tokens_per_second": 1e6 / median,
        "microseconds_per_token": median,
        **conditions.to_json(),
    }


def _decoding(model: Model) -> Iterator[float]:
    """Seconds of each token of greedy generation, from one token to the end of the context, again and again."""
    while True:
        decoder = Decoder(model)
        logits = decoder.prefill(np.zeros(1, np.int32))
        for _ in range(model.config.num_tokens - 1):
            started = time.perf_counter()
            logits = decoder.decode(int(logits.argmax()))
            yield time.perf_counter() - started
