"""exp, GELU, dropout, AdamW and the sum of squares against float64 and an independent generator of random numbers."""

import numpy as np
import pytest

from femto import kernels
from femto.kernels import Dropout

from . import reference
from .reference import EPSILON, Framed, assert_close

COUNTS = [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65, 16383, 16384, 16385, 50000]


def test_exponential_over_its_whole_range(isa, threads):
    x = np.concatenate([np.linspace(-87.29999, 88.29999, 400001), np.linspace(-1, 1, 200001), [1e-40, -1e-45, 0.0, -0.0]])
    x = x.astype(np.float32)
    expected = np.exp(x.astype(np.float64))
    assert (np.abs(kernels.exponential(x) / expected - 1.0)).max() < 2e-7


def test_exponential_beyond_its_range(isa):
    top = float(kernels.exponential(np.float32([88.3]))[0])
    x = np.float32([np.nan, np.inf, -np.inf, 88.4, 3e38, -87.31, -100, -3e38, 1e-45, -1e-45])
    for n in range(1, len(x) + 1):  # every place in a vector
        expected = np.float32([np.nan, top, 0, top, top, 0, 0, 0, 1, 1])[:n]
        np.testing.assert_array_equal(kernels.exponential(x[:n]), expected)


def test_gelu_and_its_derivative_within_the_stated_error(isa, threads):
    extremes = [1e-40, -1e-30, 0.0, 1e4, -1e4, 1e20, -1e20, -1e30, 3e38, -3e38]
    x = np.concatenate([np.linspace(-12, 12, 300001), extremes]).astype(np.float32)
    out = kernels.gelu_forward(x)
    error = np.abs(out - reference.gelu(x))
    assert (error <= 5e-7 + np.maximum(x, 0) * EPSILON).all()
    derivative = kernels.gelu_backward(np.ones_like(x), x)
    with np.errstate(over="ignore"):
        expected = np.where(np.abs(x) > 20, x > 0, reference.gelu_derivative(np.clip(x, -20, 20)))
    assert np.abs(derivative - expected).max() < 2e-6


def test_gelu_passes_not_a_number_on(isa):
    x = np.float32([1, np.nan, -1])
    for out in (kernels.gelu_forward(x), kernels.gelu_backward(np.ones_like(x), x)):
        assert np.isnan(out).tolist() == [False, True, False]


@pytest.mark.parametrize("count", COUNTS)
def test_elementwise_kernels_write_their_output_and_nothing_else(isa, threads, rng, count):
    x, dout, out = (Framed(rng.standard_normal(count)) for _ in range(3))
    kernels.gelu_forward(x.view, out.view)
    assert_close(out.view, reference.gelu(x.view), 1.0 + np.abs(x.view), 8)
    kernels.exponential(x.view, out.view)
    assert_close(out.view, np.exp(x.view.astype(np.float64)), np.exp(np.abs(x.view)), 8)
    kernels.gelu_backward(dout.view, x.view, out.view)
    expected = dout.view * reference.gelu_derivative(x.view)
    assert_close(out.view, expected, np.abs(dout.view) * 2, 16)
    kernels.gelu_backward(dout.view, x.view, dout.view)  # in place
    np.testing.assert_array_equal(dout.view, out.view)
    assert all(frame.intact() for frame in (x, dout, out))


@pytest.mark.parametrize("columns", [1, 3, 16, 63, 64, 65, 200])
def test_dropout_draws_the_documented_random_numbers(isa, threads, rng, columns):
    settings = Dropout(0.3, seed=0x0123456789ABCDEF, step=77, site=0xFFFFFFFE)
    x, residual, out = (Framed(rng.standard_normal((150, columns))) for _ in range(3))
    mask = reference.dropout_mask(np.arange(150) + 1000, columns, *settings).astype(np.float32)
    kernels.dropout(x.view, settings, out.view, first_row=1000)
    np.testing.assert_array_equal(out.view, x.view * mask)
    kernels.dropout(x.view, settings, residual.view, residual.view, first_row=1000)
    assert residual.intact()
    assert out.intact()


def test_dropout_adds_the_residual(isa, rng):
    x, residual = rng.standard_normal((2, 20, 33)).astype(np.float32)
    settings = Dropout(0.5, 3, 4, 5)
    expected = residual + kernels.dropout(x, settings)
    np.testing.assert_array_equal(kernels.dropout(x, settings, residual=residual), expected)
    np.testing.assert_array_equal(kernels.dropout(x, settings, residual, residual), expected)


def test_dropout_of_probability_zero_changes_nothing(isa, rng):
    x = rng.standard_normal((50, 70)).astype(np.float32)
    np.testing.assert_array_equal(kernels.dropout(x, Dropout()), x)


@pytest.mark.parametrize("probability", [0.01, 0.1, 0.5, 0.9, 0.999])
def test_dropout_keeps_its_share_and_the_expected_value(isa, probability):
    rows, columns = 500, 1000
    out = kernels.dropout(np.ones((rows, columns), np.float32), Dropout(probability, 1, 2, 3))
    kept = (out != 0).mean()
    deviation = np.sqrt(probability * (1 - probability) / (rows * columns))
    assert abs(kept - (1 - probability)) < 5 * deviation
    assert set(np.unique(out)) <= {np.float32(0), np.float32(1 / (1 - probability))}


def test_dropout_masks_of_other_seeds_steps_sites_and_rows_differ(isa):
    x = np.ones((4, 100), np.float32)
    masks = [kernels.dropout(x, Dropout(0.5, *numbers)).tobytes()
             for numbers in [(1, 0, 0), (2, 0, 0), (1 << 32, 0, 0), (1, 1, 0), (1, 0, 1)]]  # fmt: skip
    masks += [row.tobytes() for row in kernels.dropout(x, Dropout(0.5, 1))]
    assert len(set(masks)) == len(masks)


@pytest.mark.parametrize("first_row", [-1, -3, 2**63 - 4])
def test_dropout_refuses_a_first_row_out_of_range(first_row):
    with pytest.raises(ValueError, match="first_row"):
        kernels.dropout(np.ones((4, 5), np.float32), Dropout(0.5), first_row=first_row)


def test_dropout_of_micro_batches_draws_the_mask_of_the_whole(isa, rng):
    x = rng.standard_normal((50, 30)).astype(np.float32)
    settings = Dropout(0.4, 9, 8, 7)
    parts = [kernels.dropout(x[start : start + 20], settings, first_row=start) for start in (0, 20, 40)]
    np.testing.assert_array_equal(np.concatenate(parts), kernels.dropout(x, settings))


@pytest.mark.parametrize("number", [np.int32, np.int64, np.uint64])
def test_dropout_takes_numpy_integers(number):
    x = np.ones((3, 40), np.float32)
    np.testing.assert_array_equal(kernels.dropout(x, Dropout(0.5, number(5), number(6), number(7))),
                                  kernels.dropout(x, Dropout(0.5, 5, 6, 7)))  # fmt: skip


@pytest.mark.parametrize("count", COUNTS)
def test_adamw_follows_the_reference_over_steps(isa, threads, rng, count):
    p, m, v, g = (Framed(rng.standard_normal(count)) for _ in range(4))
    m.view[...] = v.view[...] = 0
    exact = [frame.view.astype(np.float64) for frame in (p, m, v)]
    for step in range(6):
        g.view[...] = rng.standard_normal(count)
        lr = 0.01 / (step + 1)
        exact = list(reference.adamw(*exact, g.view.astype(np.float64) * 0.5, lr, step, 0.9, 0.99, 1e-8, 0.1))
        kernels.adamw(
            p.view, m.view, v.view, g.view, learning_rate=lr, step=step, beta2=0.99, weight_decay=0.1, gradient_scale=0.5
        )
    assert_close(p.view, exact[0], np.abs(exact[0]) + 0.1, 20)
    assert_close(m.view, exact[1], 2.0, 20)
    assert_close(v.view, exact[2], 2.0, 20)
    assert all(frame.intact() for frame in (p, m, v, g))


def test_adamw_without_gradient_only_decays(isa):
    p, m, v, g = np.ones(5, np.float32), *np.zeros((3, 5), np.float32)
    kernels.adamw(p, m, v, g, learning_rate=0.5, step=1000000, weight_decay=0.5)
    np.testing.assert_array_equal(p, np.full(5, 0.75, np.float32))


@pytest.mark.parametrize("count", [*COUNTS, 4095, 4096, 4097, 32768, 100003])
def test_sum_of_squares(isa, threads, rng, count):
    x = Framed(rng.standard_normal(count))
    expected = float((x.view.astype(np.float64) ** 2).sum())
    assert abs(kernels.sum_of_squares(x.view) - expected) <= 40 * EPSILON * expected
