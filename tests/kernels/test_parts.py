"""The sum of the parts' gradients: a binary tree, whatever the threads and the instruction set."""

import numpy as np
import pytest

from femto import kernels

COLUMNS = (1, 3, 15, 16, 17, 31, 33, 4095, 4097, 40001)


def tree(rows: np.ndarray) -> np.ndarray:
    while len(rows) > 1:
        rows = rows[::2] + rows[1::2]
    return rows[0]


@pytest.mark.parametrize("parts", [1, 2, 4, 8, 16, 32, 64])
def test_parts_are_added_as_a_binary_tree_to_the_bit(isa, rng, parts):
    for columns in COLUMNS if parts <= 8 else COLUMNS[:6]:
        wide = np.float32(rng.standard_normal((parts, columns + 3)) * 10.0 ** rng.integers(-4, 5, (parts, 1)))
        x = wide[:, 1:-2]  # rows that lie apart
        expected, before = tree(x.copy()), wide.copy()
        before[0, 1:-2] = expected
        for threads in (1, 2):
            again = wide.copy()
            kernels.set_num_threads(threads)
            np.testing.assert_array_equal(kernels.tree_sum(again[:, 1:-2]), expected)
            np.testing.assert_array_equal(again, before)  # the other rows, and what lies between them, are kept


@pytest.mark.parametrize("shape", [(0, 4), (3, 4), (6, 4), (65, 4), (128, 1), (4,), (2, 2, 2)])
def test_other_numbers_of_parts_are_refused(shape):
    with pytest.raises(ValueError, match="x: expected a matrix of 1, 2, 4 … 64 rows"):
        kernels.tree_sum(np.zeros(shape, np.float32))


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 5), (16385,), (2, 20000)])
def test_a_gradient_begins_at_zero(isa, shape):
    x = np.full(shape, np.nan, np.float32)
    kernels.set_zero(x)
    assert x.tobytes() == bytes(x.nbytes)
