"""Every kernel at the shapes of experiment 22 (d=144, H=6, T=80, B=32)."""

import numpy as np
import pytest

from femto import kernels
from femto.kernels import Dropout

from .rates import note_rate

B, T, D, H, V = 32, 80, 144, 6, 257
R = B * T
rng = np.random.default_rng(0)


def array(*shape):
    return rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(("n", "k"), [(3 * D, D), (D, D), (4 * D, D), (D, 4 * D), (V, D)])
@pytest.mark.parametrize("form", ["forward", "weights", "inputs"])
def test_matmul(benchmark, form, n, k):
    x, w, y = array(R, k), array(k, n), array(R, n)
    out = {"forward": y, "weights": w, "inputs": x}[form]
    arguments, forms = {
        "forward": ((x, w), {}),
        "weights": ((x, y), {"transpose_a": True}),
        "inputs": ((y, w), {"transpose_b": True}),
    }[form]
    benchmark(kernels.matmul, *arguments, out, **forms)
    note_rate(benchmark, "gflops", 2e-9 * R * n * k)


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_attention(benchmark, direction, dropout):
    qkv, dout = array(R, 3 * D), array(R, D)
    settings = {"dropout": Dropout(dropout, 1)}
    out, row_max, row_scale = kernels.attention_forward(qkv, H, T, **settings)
    if direction == "forward":
        benchmark(kernels.attention_forward, qkv, H, T, out, row_max, row_scale, **settings)
    else:
        dqkv = np.empty_like(qkv)
        benchmark(kernels.attention_backward, dout, qkv, out, row_max, row_scale, H, T, dqkv, **settings)


def test_layer_norm_forward(benchmark):
    x, gain = array(R, D), array(D)
    out, mean, rstd = kernels.layer_norm_forward(x, gain, gain)
    benchmark(kernels.layer_norm_forward, x, gain, gain, out, mean, rstd)


def test_layer_norm_backward(benchmark):
    x, gain, dout = array(R, D), array(D), array(R, D)
    _, mean, rstd = kernels.layer_norm_forward(x, gain, gain)
    dgain, dbias, dx = array(D), array(D), array(R, D)
    benchmark(kernels.layer_norm_backward, dout, x, mean, rstd, gain, dgain, dbias, dx)


def test_gelu_forward(benchmark):
    x = array(R, 4 * D)
    benchmark(kernels.gelu_forward, x, np.empty_like(x))


def test_cross_entropy(benchmark):
    logits, targets = array(R, V), rng.integers(0, V, R).astype(np.int32)
    benchmark(kernels.cross_entropy, logits, targets, np.empty(R, np.float32), np.empty_like(logits))


def test_dropout(benchmark):
    x = array(R, D)
    benchmark(kernels.dropout, x, Dropout(0.1, 1), np.empty_like(x))


def test_adamw(benchmark):
    parameters, m, v, gradients = (np.zeros(1_600_000, np.float32) for _ in range(4))
    benchmark(kernels.adamw, parameters, m, v, gradients, learning_rate=0.001, step=1)
