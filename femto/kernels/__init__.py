"""The kernels: documented, checked functions over float32 NumPy arrays, forward beside backward.

Legend: B batch, T tokens of context, d embedding degree, H heads, hs = d/H head size, V vocabulary, R rows (usually B*T).
Gradients are `d` + the name of what they are of.

All arrays are float32 (ids int32). Matrices need contiguous rows, but rows may lie apart (a column slice of a wider matrix);
vectors and flat buffers must be C-contiguous, and only their size counts. Inputs are finite: a NaN or infinity may spread to
neighbours that exact arithmetic would spare. Outputs are `out=` and friends: allocated when left out, returned either way.
Wrong types raise TypeError; wrong shapes, strides, ids out of range and outputs that share memory with another argument raise
ValueError, before anything is written; the message says what to pass instead. The GIL is released while a kernel runs.

Results do not depend on the number of threads, to the bit, nor on whether AVX2, AVX-512 or NEON computed them. The baseline
instruction set has no fused multiply-add and rounds differently. See CONTRIBUTING.md.

>>> import numpy as np
>>> from femto import kernels
>>> kernels.matmul(np.eye(2, dtype=np.float32), np.array([[1, 2], [3, 4]], dtype=np.float32))
array([[1., 2.],
       [3., 4.]], dtype=float32)
"""

import numpy as np

from femto._kernels import core
from femto.kernels.arguments import Dropout, Floats, Integers, empty_like, shape_of
from femto.kernels.attention import (
    attention_backward,
    attention_decode,
    attention_forward,
    cache_store,
    rotary,
    rotary_tables,
)
from femto.kernels.tape import Live, Tape, run_parts
from femto.kernels.threads import apply_environment, has_openmp, isa, num_threads, set_isa, set_num_threads, supported_isas
from femto.kernels.timing import KernelCall, TimingHook, set_timing_hook

__all__ = [
    "Dropout",
    "KernelCall",
    "Live",
    "Tape",
    "TimingHook",
    "adamw",
    "attention_backward",
    "attention_decode",
    "attention_forward",
    "cache_store",
    "cross_entropy",
    "dropout",
    "embedding_backward",
    "embedding_forward",
    "exponential",
    "fma_burn",
    "gelu_backward",
    "gelu_forward",
    "has_openmp",
    "isa",
    "layer_norm_backward",
    "layer_norm_forward",
    "matmul",
    "num_threads",
    "rotary",
    "rotary_tables",
    "run_parts",
    "set_isa",
    "set_num_threads",
    "set_timing_hook",
    "set_zero",
    "sum_of_squares",
    "supported_isas",
    "tree_sum",
]

LAYER_NORM_EPSILON = 1e-5

apply_environment()


def matmul(
    a: Floats,
    b: Floats,
    out: Floats | None = None,
    *,
    transpose_a: bool = False,
    transpose_b: bool = False,
    accumulate: bool = False,
    residual: Floats | None = None,
    bias: Floats | None = None,
    gelu_slope: Floats | None = None,
    factor: Floats | None = None,
    column_sums: Floats | None = None,
) -> Floats:
    """out (m, n) = op(a) (m, k) @ op(b) (k, n), plus what the keywords add, in one pass.

    accumulate: add to what `out` holds (the gradient of weights).
    residual (m, n): added; may be `out` itself, which is what `accumulate` does.
    bias (n,): added to every row.
    factor (m, n): the sum so far is multiplied by it, element by element.
    gelu_slope (m, n): `out` becomes the tanh-approximated GELU of the sum, and this receives GELU's derivative there, which is
    the `factor` of the backward pass.
    column_sums (n,): the sum over the rows of b is added to it, which is the gradient of a bias; with transpose_a only.

    The four forms of the transpositions: forward x W, gradient of weights x^T dout, gradient of inputs dout W^T, and the rest.
    """
    if out is None:
        if accumulate:
            raise ValueError("accumulate: there is no `out` to add to; pass one, such as np.zeros")
        rows = shape_of(a, "a", 2)[1 if transpose_a else 0]
        columns = shape_of(b, "b", 2)[0 if transpose_b else 1]
        out = np.empty((rows, columns), np.float32)
    if accumulate:
        if residual is not None:
            raise ValueError("accumulate and residual exclude each other")
        residual = out
    core.matmul(out, a, b, transpose_a, transpose_b, residual, bias, gelu_slope, factor, column_sums)
    return out


def layer_norm_forward(
    x: Floats,
    gain: Floats,
    bias: Floats,
    out: Floats | None = None,
    mean: Floats | None = None,
    rstd: Floats | None = None,
    epsilon: float = LAYER_NORM_EPSILON,
) -> tuple[Floats, Floats, Floats]:
    """out (…, d) = (x - mean) * rstd * gain + bias over the last axis (Ba, Kiros and Hinton 2016).

    Returns out, and mean and rstd = 1/sqrt(variance + epsilon), one a row, which the backward pass needs. `out` may be x.
    """
    rows = np.shape(x)[:-1]
    out = empty_like(x) if out is None else out
    mean = np.empty(rows, np.float32) if mean is None else mean
    rstd = np.empty(rows, np.float32) if rstd is None else rstd
    core.layer_norm_forward(out, mean, rstd, x, gain, bias, epsilon)
    return out, mean, rstd


def layer_norm_backward(
    dout: Floats,
    x: Floats,
    mean: Floats,
    rstd: Floats,
    gain: Floats,
    dgain: Floats,
    dbias: Floats,
    dx: Floats | None = None,
    residual: Floats | None = None,
) -> Floats:
    """dx (…, d) = gradient of the input, plus `residual` (…, d) when given; dgain and dbias (d,) are added to.

    dx may be `dout` or `residual`.
    """
    dx = empty_like(x) if dx is None else dx
    core.layer_norm_backward(dx, dgain, dbias, dout, x, mean, rstd, gain, residual)
    return dx


def gelu_forward(x: Floats, out: Floats | None = None) -> Floats:
    """out = 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), any shape; `out` may be x. (Hendrycks and Gimpel 2016)"""
    out = empty_like(x) if out is None else out
    core.gelu_forward(out, x)
    return out


def gelu_backward(dout: Floats, x: Floats, dx: Floats | None = None) -> Floats:
    """dx = dout * gelu'(x), any shape; dx may be `dout` or x."""
    dx = empty_like(x) if dx is None else dx
    core.gelu_backward(dx, dout, x)
    return dx


def exponential(x: Floats, out: Floats | None = None) -> Floats:
    """out = exp(x), any shape, as the kernels compute it: relative error below 2e-7, 0 below -87.3, the value of 88.3 above."""
    out = empty_like(x) if out is None else out
    core.exponential(out, x)
    return out


def cross_entropy(
    logits: Floats,
    targets: Integers,
    losses: Floats | None = None,
    dlogits: Floats | None = None,
    gradient_scale: float = 1.0,
) -> Floats:
    """losses (R,) = -log softmax(logits)[target] in nats, and in the same pass, when `dlogits` (R, V) is given, its gradient.

    dlogits = gradient_scale * (softmax(logits) - onehot(target)); may be `logits` itself. Stable for any finite logits. A
    target of -1 is left out: loss 0, gradient 0.
    """
    losses = np.empty(shape_of(logits, "logits", 2)[0], np.float32) if losses is None else losses
    core.cross_entropy(losses, dlogits, logits, targets, gradient_scale)
    return losses


def embedding_forward(
    table: Floats, tokens: Integers, out: Floats | None = None, positions: Floats | None = None, first: int | Live = 0
) -> Floats:
    """out (R, d) = table[token] (V, d), plus positions (T, d) at (first + row) mod T when given."""
    columns = shape_of(table, "table", 2)[1]
    out = np.empty((np.size(tokens), columns), np.float32) if out is None else out
    context = 1 if positions is None else shape_of(positions, "positions", 2)[0]
    core.embedding_forward(out, table, positions, tokens, context, first)
    return out


def embedding_backward(dout: Floats, tokens: Integers, dtable: Floats, dpositions: Floats | None = None) -> None:
    """dtable[token] += dout (R, d), and dpositions[row mod T] += dout when given."""
    num_tokens = 1 if dpositions is None else shape_of(dpositions, "dpositions", 2)[0]
    core.embedding_backward(dtable, dpositions, dout, tokens, num_tokens)


def dropout(
    x: Floats, settings: Dropout, out: Floats | None = None, residual: Floats | None = None, first_row: int | Live = 0
) -> Floats:
    """out (R, d) = x * mask / (1-p), plus `residual` (R, d) when given; `out` may be x or residual.

    The backward pass is the same call on the gradient. `first_row` places row 0 in the whole batch.
    """
    if np.ndim(x) == 0:
        raise ValueError("x: expected rows, got a single number")
    if not isinstance(settings, Dropout):
        raise TypeError(f"settings: expected a Dropout, got {type(settings).__name__}")
    out = empty_like(x) if out is None else out
    core.dropout(out, x, residual, np.shape(x)[-1], *settings, first_row)
    return out


def sum_of_squares(x: Floats) -> float:
    """The sum of x^2 over all elements, for gradient clipping: float32 within blocks of 4,096, float64 between them."""
    total: float = core.sum_of_squares(x)
    return total


def adamw(
    parameters: Floats,
    m: Floats,
    v: Floats,
    gradients: Floats,
    *,
    learning_rate: float,
    step: int,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: float = 0.01,
    gradient_scale: float = 1.0,
) -> None:
    """One AdamW update of flat buffers (n,), in place (Loshchilov and Hutter 2019).

    Decay first, p *= 1 - learning_rate * weight_decay; then Adam with bias corrections 1 - beta^(step+1), step from 0.
    gradient_scale multiplies the gradients on the way in (clipping).
    """
    core.adamw(parameters, m, v, gradients, gradient_scale, learning_rate, beta1, beta2, epsilon, weight_decay, step)


def set_zero(x: Floats) -> None:
    """x = 0, any shape: where a gradient begins."""
    core.set_zero(x)


def tree_sum(x: Floats) -> Floats:
    """Row 0 of x (P, n) becomes the sum of its rows, and is returned; P is 1, 2, 4 … 64.

    The order is a binary tree: rows 0 and 1, 2 and 3 …, then these sums in pairs. The other rows are kept.
    """
    core.tree_sum(x)
    row: Floats = x[0]
    return row


def fma_burn(iterations: int) -> float:
    """Run independent multiply-adds in registers on every thread, for a machine's peak; returns the floating-point operations.

    iterations, 1 to 2^40: each is 24 vector FMAs a thread, or 12 where the instruction set has 16 registers. An FMA is two
    operations a float.
    """
    flops: float = core.fma_burn(iterations)
    return flops
