"""The timing hook is told of every kernel, in every thread, and changes nothing."""

import threading
import time
from collections.abc import Callable
from itertools import groupby, pairwise

import numpy as np
import pytest

import femto
from femto import kernels
from femto._kernels import core
from femto.kernels import Dropout, KernelCall
from femto.profiling import benchmark, kernel_times

from . import test_bits
from .test_arguments import CASES, HS, SHAPES, B, C, H, R, T, V, arrays_of

NO_KERNELS = {"isa", "supported_isas", "set_isa", "has_openmp", "num_threads", "set_num_threads", "set_timing_hook", "run_parts"}
ATTENTION = {"batch": B, "heads": H, "tokens": T, "head_size": HS}

# What each call of test_arguments.CASES reports: operation, sizes, extras, floating-point operations.
REPORTS = {
    "matmul": ("matmul", {"m": R, "n": V, "k": C}, ("residual", "bias", "factor", "gelu_slope"), 2 * R * V * C),
    "weights": ("matmul", {"m": C, "n": C, "k": R}, ("transpose_a", "column_sums"), 2 * C * C * R),
    "layer_norm_forward": ("layer_norm_forward", {"rows": R, "columns": C}, (), 0),
    "layer_norm_backward": ("layer_norm_backward", {"rows": R, "columns": C}, ("residual",), 0),
    "gelu_forward": ("gelu_forward", {"count": R * C}, (), 0),
    "gelu_backward": ("gelu_backward", {"count": R * C}, (), 0),
    "exponential": ("exponential", {"count": R * C}, (), 0),
    "rotary": ("rotary", {"rows": R, "tokens": T, "heads": H, "head_size": HS}, (), 0),
    "attention_forward": ("attention_forward", ATTENTION, (), 2 * B * C * T * T),
    "attention_backward": ("attention_backward", ATTENTION, (), 4 * B * C * T * T),
    "cache_store": ("cache_store", {"rows": 5, "heads": H, "head_size": HS, "capacity": 16}, (), 0),
    "attention_decode": ("attention_decode", {"heads": H, "head_size": HS, "length": 9, "capacity": 16}, (), 4 * C * 9),
    "cross_entropy": ("cross_entropy", {"rows": R, "vocabulary": V}, ("dlogits",), 0),
    "embedding_forward": ("embedding_forward", {"rows": R, "vocabulary": V, "columns": C}, ("positions",), 0),
    "embedding_backward": ("embedding_backward", {"rows": R, "vocabulary": V, "columns": C}, ("positions",), 0),
    "dropout": ("dropout", {"rows": R, "columns": C}, ("residual",), 0),
    "sum_of_squares": ("sum_of_squares", {"count": R * C}, (), 0),
    "adamw": ("adamw", {"count": R}, (), 0),
    "set_zero": ("set_zero", {"count": R * C}, (), 0),
    "tree_sum": ("tree_sum", {"rows": 4, "columns": C}, (), 0),
}


@pytest.fixture
def calls() -> list[KernelCall]:
    """What the hook is told, from here to the end of the test."""
    told: list[KernelCall] = []
    assert kernels.set_timing_hook(told.append) is None, "a hook is set before anyone asked for one"
    return told


@pytest.mark.parametrize("case", REPORTS)
def test_every_kernel_reports_its_name_its_sizes_and_its_time(calls, case):
    arrays = arrays_of(case)
    before = time.perf_counter()
    CASES[case].function(**arrays)
    after = time.perf_counter()
    (call,) = calls
    assert call[:4] == REPORTS[case]
    assert call.bytes == sum(4 * int(np.prod(SHAPES[name])) for name in arrays)
    assert call.seconds > 0.0 and before <= call.started and call.started + call.seconds <= after


def test_no_kernel_is_left_out(calls):
    compiled = {name for name, value in vars(core).items() if type(value).__name__ == "cython_function_or_method"}
    computing = {name for name in compiled - NO_KERNELS if not name.startswith("_")}
    assert kernels.fma_burn(100) > 0 and calls[0].flops == kernels.fma_burn(100)
    assert {report[0] for report in REPORTS.values()} | {"fma_burn"} == computing
    assert set(REPORTS) == set(CASES)


def test_dropout_directions_and_accumulation_are_told_apart(calls):
    qkv, x = np.ones((R, 3 * C), np.float32), np.ones((4, 4), np.float32)
    kernels.attention_forward(qkv, H, T, dropout=Dropout(0.5))
    kernels.rotary(x, *kernels.rotary_tables(4, 2), 2, inverse=True)
    kernels.matmul(x, x, np.ones((4, 4), np.float32), transpose_b=True, accumulate=True)
    assert [call.extras for call in calls] == [("dropout",), ("inverse",), ("transpose_b", "residual")]


def test_hooks_and_iterations_are_checked(calls):
    with pytest.raises(TypeError, match=r"hook.*list"):
        kernels.set_timing_hook([])
    for wrong in (0, -1, 2**40 + 1):
        with pytest.raises(ValueError, match="iterations"):
            kernels.fma_burn(wrong)
    kernels.exponential(np.ones(1, np.float32))
    assert [call.operation for call in calls] == ["exponential"], "what was refused changed the hook, or was reported"


def test_refused_calls_are_not_reported(calls):
    with pytest.raises(ValueError, match="inner sizes"):
        kernels.matmul(np.ones((2, 3), np.float32), np.ones((2, 3), np.float32))
    assert calls == []


def test_a_hook_changes_no_bit_and_nothing_is_reported_without_one(calls):
    with_hook = test_bits.digests()
    told = len(calls)
    assert told > len(with_hook)
    assert kernels.set_timing_hook(None) == calls.append
    assert test_bits.digests() == with_hook and len(calls) == told


def test_the_kernels_of_a_step_add_up_to_the_step(calls):
    config = femto.ModelConfig(31, num_tokens=20, embedding_degree=24, num_heads=2, num_layers=3)
    trainer = benchmark.synthetic_trainer(config, femto.TrainConfig(batch_size=4, dropout=0.1))
    trainer.step()
    calls.clear()
    started = time.perf_counter()
    trainer.step()
    ended = time.perf_counter()
    assert sum(call.flops for call in calls) == 4 * 20 * config.flops_per_token
    for part in (list(group) for zeroed, group in groupby(calls, lambda call: call.operation == "set_zero") if not zeroed):
        for call, following in pairwise(part):
            assert call.started + call.seconds <= following.started
    assert started <= calls[0].started and calls[-1].started + calls[-1].seconds <= ended

    times, milliseconds = kernel_times.profile(trainer, 3)
    assert sum(entry.calls for entry in times) == len(calls)
    assert milliseconds > 0.0 and all(entry.milliseconds > 0.0 for entry in times)
    assert {entry.shape for entry in times if entry.name == "attention_forward"} == {"B2 H2 T20 hs12"}
    assert kernels.set_timing_hook(calls.append) == calls.append, "profile puts back the hook that it found"


def test_what_a_hook_raises_leaves_results_buffers_and_later_calls_as_they_should_be():
    def interrupts(call: KernelCall) -> None:
        raise KeyboardInterrupt

    x, out = np.ones((3, 4), np.float32), np.zeros(12, np.float32)
    kernels.set_timing_hook(interrupts)
    with pytest.raises(KeyboardInterrupt):
        kernels.gelu_forward(x, out)
    assert kernels.set_timing_hook(None) is interrupts
    assert (out == kernels.gelu_forward(x).ravel()).all()
    out.resize(13)  # NumPy refuses while anything holds the buffer


def test_a_hook_may_call_kernels_and_take_itself_away():
    seen = []

    def once(call: KernelCall) -> None:
        kernels.set_timing_hook(None)
        seen.append((call.operation, float(kernels.exponential(np.zeros(1, np.float32))[0])))

    kernels.set_timing_hook(once)
    kernels.gelu_forward(np.ones(3, np.float32))
    kernels.gelu_forward(np.ones(3, np.float32))
    assert seen == [("gelu_forward", 1.0)]


def test_one_hook_hears_every_thread_of_python():
    told: list[tuple[int, str]] = []
    together = threading.Barrier(4)

    def work(function: Callable[[np.ndarray], object]) -> None:
        x = np.ones((40, 40), np.float32)
        together.wait()
        for _ in range(200):
            function(x)

    functions = [kernels.gelu_forward, kernels.exponential, kernels.sum_of_squares, lambda x: kernels.matmul(x, x)]
    threads = [threading.Thread(target=work, args=(function,)) for function in functions]
    kernels.set_timing_hook(lambda call: told.append((threading.get_ident(), call.operation)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = ["gelu_forward", "exponential", "sum_of_squares", "matmul"]
    assert sorted(told) == sorted((thread.ident, name) for thread, name in zip(threads, names, strict=True) for _ in range(200))
