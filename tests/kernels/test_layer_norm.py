"""LayerNorm forward and backward against float64, at every row length around the vector widths."""

import numpy as np
import pytest

from femto import kernels

from . import reference
from .reference import EPSILON, Framed, assert_close

COLUMNS = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64, 65, 97, 384]
ROWS = [0, 1, 2, 63, 64, 65, 200]


def frames(rng, rows, columns):
    x = rng.standard_normal((rows, columns)) * 2 + 3
    return Framed(x), Framed(rng.standard_normal(columns)), Framed(rng.standard_normal(columns))


@pytest.mark.parametrize("columns", COLUMNS)
def test_forward(isa, threads, rng, columns):
    for rows in ROWS:
        x, gain, bias = frames(rng, rows, columns)
        out, mean, rstd = Framed(np.ones((rows, columns))), Framed(np.ones(rows)), Framed(np.ones(rows))
        kernels.layer_norm_forward(x.view, gain.view, bias.view, out.view, mean.view, rstd.view)
        expected, expected_mean, expected_rstd = reference.layer_norm(x.view, gain.view, bias.view)
        assert_close(mean.view, expected_mean, np.abs(expected_mean) + 3, 8)
        # Rounding of the mean, 3 of 5 units, is all there is to the deviations of a single column.
        assert_close(rstd.view, expected_rstd, expected_rstd, 30)
        scale = (np.abs(x.view) + 3) * expected_rstd[:, None] * np.abs(gain.view) + np.abs(bias.view)
        assert_close(out.view, expected, scale, 30)
        assert all(frame.intact() for frame in (x, gain, bias, out, mean, rstd))
        kernels.layer_norm_forward(x.view, gain.view, bias.view, x.view)  # in place
        np.testing.assert_array_equal(x.view, out.view)


@pytest.mark.parametrize("columns", COLUMNS)
@pytest.mark.parametrize("in_place", ["", "dout", "residual"])
def test_backward_adds_to_the_gradients_of_gain_and_bias(isa, three_threads, rng, columns, in_place):
    for rows in ROWS:
        x, gain, _ = frames(rng, rows, columns)
        dout, residual, dx = (Framed(rng.standard_normal((rows, columns))) for _ in range(3))
        dgain, dbias = (Framed(rng.standard_normal(columns)) for _ in range(2))
        _, mean, rstd = (Framed(np.float32(part)) for part in reference.layer_norm(x.view, gain.view, 0.0))
        exact = [frame.view.astype(np.float64) for frame in (dout, x, gain)]
        expected, expected_dgain, expected_dbias = reference.layer_norm_gradients(*exact)
        expected_dgain, expected_dbias = expected_dgain + dgain.view, expected_dbias + dbias.view
        if in_place != "dout":
            expected = expected + residual.view
        target = {"": dx, "dout": dout, "residual": residual}[in_place]
        dout_scale = np.abs(dout.view).max() if rows else 0.0  # before it is overwritten
        returned = kernels.layer_norm_backward(
            dout.view, x.view, mean.view, rstd.view, gain.view, dgain.view, dbias.view, target.view,
            None if in_place == "dout" else residual.view,
        )  # fmt: skip
        assert returned is target.view
        scale = 4 + 4 * dout_scale * rstd.view[:, None] ** 2 * (np.abs(gain.view).max() + 1) * 12
        assert_close(target.view, expected, scale, 1, f"rows {rows}")
        column = (rows + 4) * (dout_scale + 1) * (1 + (8 * rstd.view.max() if rows else 0))
        assert_close(dgain.view, expected_dgain, column, 1)
        assert_close(dbias.view, expected_dbias, (rows + 4) * (dout_scale + 1), 1)
        assert all(frame.intact() for frame in (x, gain, dout, residual, dx, dgain, dbias, mean, rstd))


def test_rows_far_from_zero_keep_their_variance(isa):
    """The variance is taken around the mean: no cancellation of large squares."""
    x = np.float32(np.arange(64) % 2 + 10000.0)[None]
    out, mean, rstd = kernels.layer_norm_forward(x, np.ones(64, np.float32), np.zeros(64, np.float32))
    assert mean[0] == 10000.5
    assert abs(rstd[0] - 1 / np.sqrt(0.25 + 1e-5)) < 4 * EPSILON
    np.testing.assert_allclose(out[0], reference.layer_norm(x, 1.0, 0.0)[0][0], rtol=1e-6)


def test_epsilon_bounds_a_constant_row(isa):
    out, _, rstd = kernels.layer_norm_forward(*np.full((2, 5), 7, np.float32), np.ones(5, np.float32), epsilon=0.25)
    assert rstd == 2.0
    assert (out == 1.0).all()


def test_any_number_of_leading_axes(isa, rng):
    x = rng.standard_normal((2, 3, 4, 5)).astype(np.float32)
    gain, bias = rng.standard_normal((2, 5)).astype(np.float32)
    out, mean, rstd = kernels.layer_norm_forward(x, gain, bias)
    assert (out.shape, mean.shape, rstd.shape) == (x.shape, x.shape[:-1], x.shape[:-1])
    np.testing.assert_array_equal(out[1, 2, 3], kernels.layer_norm_forward(x[1, 2, 3:], gain, bias)[0][0])
