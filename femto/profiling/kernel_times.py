"""Where a training step's time goes: every kernel call of real steps, timed and held against the machine's peak."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from femto import kernels
from femto._kernels import core
from femto.training import Trainer


@dataclass
class KernelTime:
    """All calls of one kernel with the same shapes, over the profiled steps."""

    name: str
    shape: str
    calls: int = 0  # a step
    milliseconds: float = 0.0  # a step
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

    What the clocks themselves take is taken off the step again.
    """
    times: dict[tuple[str, str], KernelTime] = {}
    clock_seconds = 0.0

    class Timed:
        """The compiled module with a clock around every function."""

        def __getattr__(self, name: str) -> Callable[..., Any]:
            function = getattr(core, name)

            def timed(*arguments: Any) -> Any:
                nonlocal clock_seconds
                started = time.perf_counter()
                result = function(*arguments)
                ended = time.perf_counter()
                seconds = ended - started
                arrays = [x for x in arguments if isinstance(x, np.ndarray)]
                shape, flops = _work(name, arguments)
                entry = times.setdefault((name, shape), KernelTime(name, shape))
                entry.calls += 1
                entry.milliseconds += 1000.0 * seconds
                entry.flops += flops
                entry.bytes += sum(x.nbytes for x in arrays)
                clock_seconds += time.perf_counter() - ended
                return result

            return timed

    started = time.perf_counter()
    try:
        vars(kernels)["core"] = Timed()
        for _ in range(steps):
            trainer.step()
    finally:
        vars(kernels)["core"] = core
    whole = 1000.0 * (time.perf_counter() - started - clock_seconds) / steps
    for entry in times.values():
        entry.calls //= steps
        entry.milliseconds /= steps
        entry.flops /= steps
        entry.bytes /= steps
    return sorted(times.values(), key=lambda entry: -entry.milliseconds), whole


def _work(name: str, arguments: tuple[Any, ...]) -> tuple[str, float]:
    """What to call the shapes of a call, and its floating-point operations: what the mathematics needs."""
    if name == "matmul":
        out, a, _, transpose_a, transpose_b, residual, _, gelu_slope, factor, column_sums = arguments
        m, n = out.shape
        k = a.shape[0] if transpose_a else a.shape[1]
        form = f"{'a^T' if transpose_a else 'a'} {'b^T' if transpose_b else 'b'}"
        parts = ((" +", residual), (" *", factor), (" gelu", gelu_slope), (" sums", column_sums))
        extra = "".join(mark for mark, part in parts if part is not None)
        return f"{m} x {n} x {k} {form}{extra}", 2.0 * m * n * k
    if name in ("attention_forward", "attention_backward"):
        batch, tokens, heads, head_size = arguments[4:8] if name == "attention_forward" else arguments[6:10]
        products = 2 if name == "attention_forward" else 4  # the scores that are computed again do not count
        causal_flops = products * 2.0 * batch * heads * head_size * tokens * tokens / 2
        return f"B{batch} H{heads} T{tokens} hs{head_size}", causal_flops
    first = next((x for x in arguments if isinstance(x, np.ndarray)), None)
    return " x ".join(map(str, first.shape)) if first is not None else "", 0.0
