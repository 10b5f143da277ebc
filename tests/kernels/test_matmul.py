"""Matrix products against float64: every transposition, epilogue, tile shape and stride."""

from itertools import product

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from femto import kernels

from . import reference
from .reference import Framed, assert_close

# Around the widths of vectors and panels (4 to 80 columns) and the heights of tiles (1 to 12 rows).
ROWS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 25, 37]
COLUMNS = [1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 23, 24, 25, 31, 32, 33, 47, 48, 49, 63, 64, 65, 79, 80, 81, 131]
DEPTHS = [1, 2, 3, 5, 17, 63, 64, 65]
TRANSPOSITIONS = list(product([False, True], repeat=2))
EXTRAS = ["nothing", "bias", "residual", "in place", "accumulate", "gelu", "bias residual gelu", "residual gelu in place",
          "factor", "bias factor", "accumulate factor", "sums", "accumulate sums"]  # fmt: skip


def check(rng, m, n, k, transpose_a, transpose_b, extras, beside):
    """One product in canaries; `beside` canary columns on both sides of every matrix."""

    def matrix(rows, columns):
        return Framed(rng.standard_normal((rows, columns)), beside)

    a = matrix(k, m) if transpose_a else matrix(m, k)
    b = matrix(n, k) if transpose_b else matrix(k, n)
    out = matrix(m, n)
    frames, keywords = [a, b, out], {}
    op_a = (a.view.T if transpose_a else a.view).astype(np.float64)
    op_b = (b.view.T if transpose_b else b.view).astype(np.float64)
    expected, scale = op_a @ op_b, np.abs(op_a) @ np.abs(op_b) + 1e-30
    if "bias" in extras:
        bias = Framed(rng.standard_normal(n))
        expected, scale = expected + bias.view, scale + np.abs(bias.view)
        frames.append(bias)
        keywords["bias"] = bias.view
    if "in place" in extras or "accumulate" in extras:
        expected, scale = expected + out.view, scale + np.abs(out.view)
        keywords |= {"accumulate": True} if "accumulate" in extras else {"residual": out.view}
    elif "residual" in extras:
        residual = matrix(m, n)
        expected, scale = expected + residual.view, scale + np.abs(residual.view)
        frames.append(residual)
        keywords["residual"] = residual.view
    if "gelu" in extras or "factor" in extras:
        beside_out = matrix(m, n)
        frames.append(beside_out)
        keywords["factor" if "factor" in extras else "gelu_slope"] = beside_out.view
    sums = None
    if "sums" in extras and transpose_a:
        sums = Framed(rng.standard_normal(n))
        expected_sums = sums.view + op_b.sum(0)
        sums_scale = np.abs(sums.view) + np.abs(op_b).sum(0)
        keywords["column_sums"] = sums.view
    inputs = [(frame, frame.buffer.copy()) for frame in frames]
    returned = kernels.matmul(a.view, b.view, out.view, transpose_a=transpose_a, transpose_b=transpose_b, **keywords)
    what = f"m {m} n {n} k {k} {transpose_a} {transpose_b} {extras}"
    assert returned is out.view
    if "factor" in extras:
        expected, scale = expected * beside_out.view, scale * np.abs(beside_out.view)
    elif "gelu" in extras:  # neither GELU nor its derivative is steeper than 1.2
        assert_close(beside_out.view, reference.gelu_derivative(expected), 1.2 * scale + 1.0, k + 12, what + ", slope")
        expected, scale = reference.gelu(expected), scale + 1.0
    assert_close(out.view, expected, 1.2 * scale, k + 12, what)
    if sums is not None:
        assert_close(sums.view, expected_sums, sums_scale, k / 4 + 4, what + ", sums")
        assert sums.intact(), what
    for frame, before in inputs:
        assert frame.intact(), what
        written = frame is out or (frame is frames[-1] and "gelu_slope" in keywords)
        assert written or (frame.buffer == before).all(), what


def test_every_shape_transposition_and_extra(isa, three_threads, rng):
    for m, n, (transpose_a, transpose_b) in product(ROWS, COLUMNS, TRANSPOSITIONS):
        k, extras, beside = rng.choice(DEPTHS), rng.choice(EXTRAS), rng.choice([0, 0, 1, 3, 16])
        check(rng, m, n, k, transpose_a, transpose_b, extras, beside)


@pytest.mark.parametrize("k", [255, 256, 257, 383, 384, 385, 800])
def test_depths_around_the_block_of_k(isa, three_threads, rng, k):
    for extras, (transpose_a, transpose_b) in product(EXTRAS, TRANSPOSITIONS):
        check(rng, 13, 81, k, transpose_a, transpose_b, extras, 2)


@pytest.mark.parametrize(("m", "n"), [(32, 129), (523, 131), (131, 523), (1, 700), (700, 1)])
def test_large_products_on_threads(isa, threads, rng, m, n):
    for extras in EXTRAS:
        transpose_a, transpose_b = rng.choice(TRANSPOSITIONS)
        check(rng, m, n, 97, transpose_a, transpose_b, extras, 0)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    m=st.integers(0, 40), n=st.integers(0, 170), k=st.integers(0, 130), transpose_a=st.booleans(),
    transpose_b=st.booleans(), extras=st.sampled_from(EXTRAS), beside=st.integers(0, 20), seed=st.integers(0, 99),
)  # fmt: skip
def test_random_shapes_and_strides(isa, m, n, k, transpose_a, transpose_b, extras, beside, seed):
    check(np.random.default_rng(seed), m, n, k, transpose_a, transpose_b, extras, beside)


def test_an_inner_size_of_zero_leaves_bias_and_residual(isa):
    residual = np.ones((2, 3), np.float32)
    empty = np.empty((2, 0), np.float32), np.empty((0, 3), np.float32)
    np.testing.assert_array_equal(kernels.matmul(*empty, bias=np.arange(3, dtype=np.float32), residual=residual),
                                  [[1, 2, 3], [1, 2, 3]])  # fmt: skip


def test_column_sums_belong_to_the_gradient_of_weights(rng):
    with pytest.raises(ValueError, match="column_sums"):
        kernels.matmul(np.ones((2, 3), np.float32), np.ones((3, 4), np.float32), column_sums=np.zeros(4, np.float32))


def test_not_a_number_reaches_only_its_own_row(isa):
    a = np.ones((20, 40), np.float32)
    a[7, 3] = np.nan
    out = kernels.matmul(a, np.ones((40, 50), np.float32))
    assert np.isnan(out[7]).all()
    assert (np.delete(out, 7, 0) == 40).all()
