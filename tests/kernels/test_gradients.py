"""The reference gradients, which the kernels are held against, are the derivatives of the reference functions."""

import numpy as np
import pytest

from . import reference
from .reference import numeric_gradient


def test_gelu_derivative(rng):
    x = rng.normal(0, 2, 50)
    np.testing.assert_allclose(reference.gelu_derivative(x), numeric_gradient(lambda v: reference.gelu(v).sum(), x), atol=1e-8)


def test_layer_norm_gradients(rng):
    x, gain, bias, dout = rng.normal(0, 1, (3, 7)), rng.normal(1, 1, 7), rng.normal(0, 1, 7), rng.normal(0, 1, (3, 7))

    def loss(x=x, gain=gain, bias=bias):
        return (reference.layer_norm(x, gain, bias)[0] * dout).sum()

    dx, dgain, dbias = reference.layer_norm_gradients(dout, x, gain)
    np.testing.assert_allclose(dx, numeric_gradient(loss, x), atol=1e-8)
    np.testing.assert_allclose(dgain, numeric_gradient(lambda v: loss(gain=v), gain), atol=1e-8)
    np.testing.assert_allclose(dbias, numeric_gradient(lambda v: loss(bias=v), bias), atol=1e-8)


def test_cross_entropy_gradient_with_a_row_left_out(rng):
    logits, targets = rng.normal(0, 2, (4, 5)), np.array([0, 4, -1, 2])
    numeric = numeric_gradient(lambda v: 0.7 * reference.cross_entropy(v, targets)[0].sum(), logits)
    np.testing.assert_allclose(reference.cross_entropy(logits, targets, 0.7)[1], numeric, atol=1e-8)


@pytest.mark.parametrize("rotary", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_gradient(rng, rotary, masked):
    batch, heads, tokens, size = 2, 2, 4, 5
    qkv, dout = rng.normal(0, 1, (batch * tokens, 3 * heads * size)), rng.normal(0, 1, (batch * tokens, heads * size))
    angles = rng.normal(0, 2, (tokens, size // 2))
    tables = (np.cos(angles), np.sin(angles)) if rotary else None
    mask = rng.integers(0, 2, (batch, heads, tokens, tokens)) * 1.5 if masked else 1.0
    numeric = numeric_gradient(lambda v: (reference.attention(v, batch, heads, tables, mask)[0] * dout).sum(), qkv)
    np.testing.assert_allclose(reference.attention_gradient(dout, qkv, batch, heads, tables, mask), numeric, atol=1e-8)


def test_rotation_turns_back_to_where_it_came_from(rng):
    x, angles = rng.normal(0, 1, (3, 4, 7)), rng.normal(0, 2, (4, 3))
    tables = np.cos(angles), np.sin(angles)
    turned = reference.rotate(x, *tables)
    np.testing.assert_allclose(reference.rotate(turned, *tables, inverse=True), x, atol=1e-12)
    np.testing.assert_allclose((turned**2).sum(-1), (x**2).sum(-1))  # orthogonal, so turning back is the gradient


def test_philox_known_answers():
    """The test vectors of Random123 (kat_vectors), 7 and 10 rounds."""

    def words(counter, key, rounds):
        return [int(w) for w in reference.philox4x32(np.full(4, counter, np.uint64), (key, key), rounds)]

    ones = 0xFFFFFFFF
    assert words(0, 0, 7) == [0x5F6FB709, 0x0D893F64, 0x4F121F81, 0x4F730A48]
    assert words(ones, ones, 7) == [0x5207DDC2, 0x45165E59, 0x4D8EE751, 0x8C52F662]
    assert words(0, 0, 10) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    assert words(ones, ones, 10) == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]
