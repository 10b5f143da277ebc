"""The two ends of the graph, embedding and cross entropy, against float64."""

import numpy as np
import pytest

from femto import kernels

from . import reference
from .reference import Framed, assert_close

VOCABULARIES = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65, 101, 1000]


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_cross_entropy_and_its_gradient(isa, threads, rng, vocabulary):
    for rows, beside, spread in ((0, 0, 1), (1, 0, 1), (15, 3, 5), (16, 0, 1), (17, 1, 20), (90, 0, 2)):
        logits, dlogits = (Framed(rng.normal(0, spread, (rows, vocabulary)), beside) for _ in range(2))
        targets = Framed(rng.integers(-1, vocabulary, rows), dtype=np.int32)
        losses = Framed(np.ones(rows))
        expected, gradient = reference.cross_entropy(logits.view, targets.view, 0.3)
        returned = kernels.cross_entropy(logits.view, targets.view, losses.view)
        assert returned is losses.view
        scale = np.abs(logits.view).max(-1) + 1
        assert_close(losses.view, expected, scale, 10)
        alone = losses.view.copy()
        kernels.cross_entropy(logits.view, targets.view, losses.view, dlogits.view, gradient_scale=0.3)
        np.testing.assert_array_equal(losses.view, alone)
        assert_close(dlogits.view, gradient, 0.3 * scale[:, None], 10)
        assert (dlogits.view[targets.view == -1] == 0).all()
        kernels.cross_entropy(logits.view, targets.view, losses.view, logits.view, gradient_scale=0.3)  # in place
        np.testing.assert_array_equal(logits.view, dlogits.view)
        np.testing.assert_array_equal(losses.view, alone)
        assert all(frame.intact() for frame in (logits, dlogits, targets, losses))


def test_cross_entropy_of_huge_logits_stays_exact(isa, rng):
    logits = (1e4 * rng.uniform(-1, 1, (50, 33))).astype(np.float32)
    logits[0], logits[1], logits[2, :5] = 1e4, -1e4, [1e4, -1e4, 1e4, -1e4, 1e4]
    targets = rng.integers(0, 33, 50).astype(np.int32)
    dlogits = np.empty_like(logits)
    losses = kernels.cross_entropy(logits, targets, dlogits=dlogits)
    expected, gradient = reference.cross_entropy(logits, targets)
    assert_close(losses, expected, np.abs(expected) + 1, 8)
    assert_close(dlogits, gradient, 1.0, 8)


@pytest.mark.parametrize("poison", [np.nan, np.inf])
@pytest.mark.parametrize("at", range(20))
def test_a_logit_that_is_no_number_shows_in_the_loss(isa, poison, at):
    logits = np.zeros((3, 20), np.float32)
    logits[1, at] = poison
    losses = kernels.cross_entropy(logits, np.int32([0, 5, 19]))
    assert np.isfinite(losses).tolist() == [True, False, True]


def test_an_impossible_target_has_an_infinite_loss(isa):
    logits = np.zeros((2, 20), np.float32)
    logits[:, 7] = -np.inf
    losses = kernels.cross_entropy(logits, np.int32([7, 8]))
    assert losses[0] == np.inf
    np.testing.assert_allclose(losses[1], np.log(19), rtol=1e-6)
    assert np.isnan(kernels.cross_entropy(np.full((1, 20), -np.inf, np.float32), np.int32([0])))


@pytest.mark.parametrize("columns", [1, 3, 15, 16, 17, 33, 64, 200])
@pytest.mark.parametrize("positioned", [False, True])
def test_embedding_looks_up_and_adds_back(isa, threads, rng, columns, positioned):
    vocabulary, context = 11, 7
    table, positions = Framed(rng.standard_normal((vocabulary, columns))), Framed(rng.standard_normal((context, columns)))
    for rows in (0, 1, 6, 63, 64, 65, 400):
        tokens = Framed(rng.integers(0, vocabulary, rows), dtype=np.int32)
        where = np.arange(rows) % context
        out = Framed(np.ones((rows, columns)))
        expected = table.view[tokens.view] + positions.view[where] if positioned else table.view[tokens.view]
        kernels.embedding_forward(table.view, tokens.view, out.view, positions.view if positioned else None)
        np.testing.assert_array_equal(out.view, expected)

        dtable, dpositions = Framed(np.ones((vocabulary, columns))), Framed(np.ones((context, columns)))
        exact, exact_positions = np.ones((vocabulary, columns)), np.ones((context, columns))
        np.add.at(exact, tokens.view, out.view)
        if positioned:
            np.add.at(exact_positions, where, out.view)
        kernels.embedding_backward(out.view, tokens.view, dtable.view, dpositions.view if positioned else None)
        assert_close(dtable.view, exact, rows + 1, 8)
        assert_close(dpositions.view, exact_positions, rows + 1, 8)
        assert all(frame.intact() for frame in (table, positions, tokens, out, dtable, dpositions))
