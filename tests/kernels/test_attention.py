"""Attention forward, backward and one step at a time, against float64: head sizes, lengths, dropout; and rotary positions."""

import ctypes
import mmap

import numpy as np
import pytest

from femto import kernels
from femto.kernels import Dropout

from . import reference
from .reference import Framed, assert_close

# (B, H, T, hs): lengths around blocks of 16 and 128 queries and groups of 8 keys.
SHAPES = [
    (1, 1, 1, 1), (2, 3, 2, 2), (1, 2, 5, 3), (1, 2, 12, 8), (3, 1, 13, 16), (1, 1, 31, 20), (2, 2, 33, 24),
    (1, 3, 60, 27), (1, 1, 61, 36), (1, 2, 64, 64), (2, 2, 127, 16), (1, 1, 128, 3), (1, 2, 129, 20), (1, 1, 133, 1),
    (1, 1, 180, 27), (1, 1, 193, 8), (1, 2, 300, 24),
]  # fmt: skip
DROPOUT = Dropout(0.25, seed=987654321987, step=11, site=4)


def masks(batch, heads, tokens, first_sequence=0, dropout=DROPOUT):
    """Masks (B, H, T, T) of queries by keys; drawn as rows of keys, each head's rows in whole groups of eight."""
    padded = -(-tokens // 8) * 8
    rows = np.arange(batch * heads * padded) + first_sequence * heads * padded
    drawn = reference.dropout_mask(rows, tokens, *dropout).reshape(batch, heads, padded, tokens)
    return drawn[:, :, :tokens].swapaxes(-1, -2)


@pytest.mark.parametrize("dropout", [Dropout(), DROPOUT], ids=["plain", "dropout"])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
def test_forward_and_backward(isa, three_threads, rng, shape, dropout):
    batch, heads, tokens, size = shape
    d, rows, beside = heads * size, batch * tokens, tokens % 3
    qkv, dqkv = Framed(rng.standard_normal((rows, 3 * d)), beside), Framed(np.ones((rows, 3 * d)), beside)
    dout, out = Framed(rng.standard_normal((rows, d)), beside), Framed(np.ones((rows, d)), beside)
    row_max, row_scale = (Framed(np.ones((batch, heads, tokens)).ravel()) for _ in range(2))
    mask = masks(batch, heads, tokens, 5) if dropout.probability else 1.0
    options = {"dropout": dropout, "first_sequence": 5}

    kernels.attention_forward(qkv.view, heads, tokens, out.view, row_max.view, row_scale.view, **options)
    expected, probabilities = reference.attention(qkv.view, batch, heads, mask=mask)
    assert_close(out.view, expected, 4.0, 16 + size)
    assert_close(row_scale.view, probabilities.max(-1).ravel(), 1.0, 16 + size)  # 1/sum is the greatest probability

    kernels.attention_backward(dout.view, qkv.view, out.view, row_max.view, row_scale.view, heads, tokens, dqkv.view, **options)
    gradient = reference.attention_gradient(dout.view, qkv.view, batch, heads, mask=mask)
    assert_close(dqkv.view, gradient, 1.0 + np.abs(gradient).max(), 24 + 2 * size)
    assert all(frame.intact() for frame in (qkv, dqkv, dout, out, row_max, row_scale))


def test_later_tokens_never_change_earlier_outputs(isa, rng):
    tokens, heads, size = 140, 2, 20
    qkv = rng.standard_normal((tokens, 3 * heads * size)).astype(np.float32)
    out, *_ = kernels.attention_forward(qkv, heads, tokens)
    for changed in (1, 11, 12, 59, 60, 61, 139):
        other = qkv.copy()
        other[changed:] = 100 * rng.standard_normal((tokens - changed, qkv.shape[1]))
        again, *_ = kernels.attention_forward(other, heads, tokens)
        assert again[:changed].tobytes() == out[:changed].tobytes()


def test_scores_far_apart_neither_overflow_nor_vanish(isa):
    qkv = np.ones((40, 48), np.float32)
    qkv[:, :16] *= 1e4
    qkv[:, 16:32] *= np.linspace(-1e4, 1e4, 40, dtype=np.float32)[:, None]
    qkv[:, 32:] *= np.arange(40, dtype=np.float32)[:, None]
    out, row_max, row_scale = kernels.attention_forward(qkv, 1, 40)
    np.testing.assert_array_equal(out[:, 0], np.arange(40))  # each sees the latest key alone
    dqkv = kernels.attention_backward(np.ones_like(out), qkv, out, row_max, row_scale, 1, 40)
    assert np.isfinite(dqkv).all()


def test_micro_batches_draw_the_masks_of_the_whole(isa, rng):
    batch, heads, tokens, size = 5, 2, 20, 8
    qkv = rng.standard_normal((batch * tokens, 3 * heads * size)).astype(np.float32)
    whole, *_ = kernels.attention_forward(qkv, heads, tokens, dropout=DROPOUT)
    for first, last in ((0, 2), (2, 5)):
        rows = slice(first * tokens, last * tokens)
        part, *_ = kernels.attention_forward(qkv[rows], heads, tokens, dropout=DROPOUT, first_sequence=first)
        np.testing.assert_array_equal(part, whole[rows])


@pytest.mark.parametrize(("heads", "size"), [(1, 1), (1, 3), (2, 1), (7, 1), (1, 5), (1, 27)])
def test_the_backward_pass_reads_nothing_beyond_its_arrays(isa, rng, heads, size):
    """qkv ends where memory ends: the next page cannot be read."""
    tokens, page = 20, mmap.PAGESIZE
    count = tokens * 3 * heads * size
    memory = mmap.mmap(-1, 16 * page)
    base = np.frombuffer(memory, np.uint8)
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mprotect(ctypes.c_void_p(base.ctypes.data + 15 * page), ctypes.c_size_t(page), 0) == 0
    qkv = base[15 * page - 4 * count : 15 * page].view(np.float32).reshape(tokens, -1)
    qkv[...] = rng.standard_normal(qkv.shape)
    forward = kernels.attention_forward(qkv, heads, tokens)
    dout = np.ones((tokens, heads * size), np.float32)
    expected = kernels.attention_backward(dout, qkv.copy(), *forward, heads, tokens)
    np.testing.assert_array_equal(kernels.attention_backward(dout, qkv, *forward, heads, tokens), expected)


@pytest.mark.parametrize("size", [1, 2, 3, 8, 16, 20, 24, 27, 36, 64])
def test_decoding_is_the_last_row_of_the_forward_pass(isa, rng, size):
    for length in (1, 3, 15, 16, 17, 47, 128, 200):
        check_decoding(rng, size, length)


def check_decoding(rng, size, length):
    heads, capacity, padded = 3, (length + 31) // 16 * 16, (size + 15) // 16 * 16
    qkv = rng.standard_normal((length, 3, heads, size)).astype(np.float32)
    expected, *_ = kernels.attention_forward(qkv.reshape(length, -1), heads, length)
    keys = Framed(np.full(heads * size * capacity, np.nan))  # what lies beyond the length is never looked at
    values, out = Framed(np.full(heads * capacity * padded, np.nan)), Framed(np.ones(heads * size))
    keys_view, values_view = keys.view.reshape(heads, size, capacity), values.view.reshape(heads, capacity, padded)
    keys_view[:, :, :length] = qkv[:, 1].transpose(1, 2, 0)
    values_view[:, :length, :size] = qkv[:, 2].transpose(1, 0, 2)
    query = Framed(qkv[-1, 0].ravel())
    kernels.attention_decode(query.view, keys_view, values_view, length, out.view)
    assert out.view.tobytes() == expected[-1].tobytes()
    assert all(frame.intact() for frame in (query, keys, values, out))


@pytest.mark.parametrize("size", [1, 2, 3, 8, 20, 27, 36])
def test_rotary_rotates_and_turns_back(isa, threads, rng, size):
    tokens, heads = 37, 3
    tables = [Framed(table.ravel()) for table in kernels.rotary_tables(tokens, size)]
    cosine, sine = (table.view.reshape(tokens, size // 2) for table in tables)
    start = rng.standard_normal((5 * tokens + 4, heads * size)).astype(np.float32)
    x = Framed(start, beside=3)
    kernels.rotary(x.view, cosine, sine, heads)
    t = np.arange(len(start)) % tokens
    by_head = start.astype(np.float64).reshape(-1, heads, size).transpose(1, 0, 2)
    expected = reference.rotate(by_head, cosine[t], sine[t]).transpose(1, 0, 2).reshape(start.shape)
    assert_close(x.view, expected, 4.0, 4)
    kernels.rotary(x.view, cosine, sine, heads, inverse=True)
    assert_close(x.view, start.astype(np.float64), 4.0, 12)
    assert all(frame.intact() for frame in (x, *tables))


def test_rotary_tables_are_the_angles_of_the_paper():
    cosine, sine = kernels.rotary_tables(50, 7, base=100.0)
    for t, c in np.ndindex(50, 3):
        angle = t / 100.0 ** (2 * c / 7)
        assert (cosine[t, c], sine[t, c]) == (np.float32(np.cos(angle)), np.float32(np.sin(angle)))
