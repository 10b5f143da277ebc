"""Where a training step's time goes: every kernel call of real steps, timed and held against the machine's peak."""

from dataclasses import dataclass

from femto import kernels
from femto.kernels import KernelCall
from femto.training import Trainer


@dataclass
class KernelTime:
    """All calls of one kernel with the same shapes, over the profiled steps."""

    name: str
    shape: str
    calls: int = 0  # a step
    milliseconds: float = 0.0  # a step; of each thread, where parts are computed side by side
    flops: float = 0.0  # a step; 0 for kernels that are bound by memory
    bytes: float = 0.0  # a step: every argument once

    @property
    def gflops(self) -> float:
        return self.flops / self.milliseconds / 1e6 if self.milliseconds else 0.0

    @property
    def gigabytes_per_second(self) -> float:
        return self.bytes / self.milliseconds / 1e6 if self.milliseconds else 0.0


def profile(trainer: Trainer, steps: int) -> tuple[list[KernelTime], float]:
    """Times of every kernel in `steps` steps, the slowest first, and the milliseconds of a whole step.

    The step is that of as many others, in which no kernel is timed. Kernels that other threads run meanwhile would be counted as
    the trainer's.
    """
    times: dict[tuple[str, str], KernelTime] = {}
    side_by_side = min(trainer.parts.workers, kernels.num_threads())

    def add(call: KernelCall) -> None:
        shape = shape_text(call)
        entry = times.setdefault((call.operation, shape), KernelTime(call.operation, shape))
        entry.calls += 1
        entry.milliseconds += 1000.0 * call.seconds
        entry.flops += call.flops
        entry.bytes += call.bytes

    before = kernels.set_timing_hook(None)
    try:
        whole = 1000.0 * sum(step.seconds for step in trainer.steps(steps)) / steps
        kernels.set_timing_hook(add)
        for _ in range(steps):
            trainer.step()
    finally:
        kernels.set_timing_hook(before)
    together = OF_ALL_PARTS if trainer.parts.rounds == 1 else (*OF_ALL_PARTS, "set_zero")
    for entry in times.values():
        entry.calls //= steps
        entry.milliseconds /= steps * (1 if entry.name in together else side_by_side)
        entry.flops /= steps
        entry.bytes /= steps
    return sorted(times.values(), key=lambda entry: -entry.milliseconds), whole


OF_ALL_PARTS = ("tree_sum", "sum_of_squares", "adamw")  # what all threads do together, after the parts
LETTERS = {"batch": "B", "heads": "H", "tokens": "T", "head_size": "hs", "rows": "R", "length": "L", "capacity": "C"}
MATMUL_MARKS = {"residual": " +", "factor": " *", "gelu_slope": " gelu", "column_sums": " sums"}


def shape_text(call: KernelCall) -> str:
    """The sizes of a call in one line: "2560 x 64 x 256 a b^T +" for a product, "B32 H4 T80 hs16" where there are heads."""
    if "head_size" in call.sizes:
        return " ".join(f"{LETTERS[name]}{size}" for name, size in call.sizes.items())
    text = " x ".join(map(str, call.sizes.values()))
    if call.operation != "matmul":
        return text
    form = f" a{'^T' * ('transpose_a' in call.extras)} b{'^T' * ('transpose_b' in call.extras)}"
    return text + form + "".join(mark for name, mark in MATMUL_MARKS.items() if name in call.extras)
