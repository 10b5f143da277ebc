"""Attention over whole sequences, forward beside backward, and one token at a time over a cache; rotary positions."""

import numpy as np

from femto._kernels import core
from femto.kernels.arguments import NO_DROPOUT, Dropout, Floats, shape_of
from femto.kernels.tape import Live


def rotary_tables(tokens: int, head_size: int, base: float = 10000.0) -> tuple[Floats, Floats]:
    """Cosines and sines (T, hs // 2) of rotary positions: angle t / base^(2c/hs) (Su et al. 2021). An odd head size leaves
    its last column unrotated."""
    if tokens < 0 or head_size < 0 or not base > 0:
        raise ValueError(f"rotary_tables: expected sizes from 0 and a base above 0, got {tokens}, {head_size} and {base}")
    pairs = head_size // 2
    angles = np.outer(np.arange(tokens), float(base) ** (-2.0 * np.arange(pairs) / max(head_size, 1)))
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def rotary(x: Floats, cosine: Floats, sine: Floats, num_heads: int, inverse: bool = False, first: int | Live = 0) -> Floats:
    """Rotate x (R, d) in place: in each head, columns c and c + hs // 2 turn by the angle of the row's token.

    Row r belongs to token (first + r) mod T of the tables (T, hs // 2). `inverse` turns back, which is the gradient.
    """
    tokens, columns = shape_of(cosine, "cosine", 2)[0], shape_of(x, "x", 2)[1]
    if not 1 <= num_heads <= columns or columns % num_heads:
        raise ValueError(f"x: {columns} columns do not divide into {num_heads} heads")
    core.rotary(x, cosine, sine, tokens, num_heads, columns // num_heads, inverse, first)
    return x


def attention_forward(
    qkv: Floats,
    num_heads: int,
    tokens: int,
    out: Floats | None = None,
    row_max: Floats | None = None,
    row_scale: Floats | None = None,
    *,
    dropout: Dropout = NO_DROPOUT,
    first_sequence: int | Live = 0,
) -> tuple[Floats, Floats, Floats]:
    """Causal multi-head attention: softmax(Q K^T / sqrt(hs)) V for every head, keys no later than the query.

    qkv (B*T, 3d): queries, keys, values, each H blocks of hs columns. out (B*T, d). row_max and row_scale (B, H, T) are the
    largest product q.k of each query and 1/sum of its row, kept for the backward pass; the T x T scores are never stored as a
    whole. Queries and keys come rotated where positions are rotary. dropout acts on the probabilities; `first_sequence` places
    sequence 0 in the whole batch, so that micro-batches draw the masks of the whole.
    """
    batch, head_size = _attention_shape(qkv, num_heads, tokens)
    out = np.empty((batch * tokens, num_heads * head_size), np.float32) if out is None else out
    row_max = np.empty((batch, num_heads, tokens), np.float32) if row_max is None else row_max
    row_scale = np.empty((batch, num_heads, tokens), np.float32) if row_scale is None else row_scale
    core.attention_forward(out, row_max, row_scale, qkv, batch, tokens, num_heads, head_size, *dropout, first_sequence)
    return out, row_max, row_scale


def attention_backward(
    dout: Floats,
    qkv: Floats,
    out: Floats,
    row_max: Floats,
    row_scale: Floats,
    num_heads: int,
    tokens: int,
    dqkv: Floats | None = None,
    *,
    dropout: Dropout = NO_DROPOUT,
    first_sequence: int | Live = 0,
) -> Floats:
    """dqkv (B*T, 3d) of `attention_forward`, from dout (B*T, d) and what the forward pass returned."""
    batch, head_size = _attention_shape(qkv, num_heads, tokens)
    dqkv = np.empty(np.shape(qkv), np.float32) if dqkv is None else dqkv
    core.attention_backward(
        dqkv,
        dout,
        out,
        row_max,
        row_scale,
        qkv,
        batch,
        tokens,
        num_heads,
        head_size,
        *dropout,
        first_sequence,
    )
    return dqkv


def _attention_shape(qkv: Floats, num_heads: int, tokens: int) -> tuple[int, int]:
    shape = np.shape(qkv)
    heads_fit = len(shape) == 2 and 1 <= num_heads <= shape[1] and not shape[1] % (3 * num_heads)
    if not heads_fit or tokens < 1 or shape[0] % tokens:
        raise ValueError(f"qkv: shape {shape} is not (B*T, 3*H*hs) with T = {tokens} and H = {num_heads}")
    return shape[0] // tokens, shape[1] // (3 * num_heads)


def cache_store(qkv: Floats, keys: Floats, values: Floats, first: int | Live = 0) -> None:
    """Put the keys and values of rows qkv (R, 3d) into a cache, as those of tokens first … first+R-1.

    keys (H, hs, capacity) and values (H, capacity, hs rounded up to 16), as `attention_decode` reads them. Keys are already
    rotated where positions are rotary.
    """
    heads, head_size, capacity = shape_of(keys, "keys", 3)
    core.cache_store(qkv, keys, values, heads, head_size, capacity, first)


def attention_decode(query: Floats, keys: Floats, values: Floats, length: int | Live, out: Floats | None = None) -> Floats:
    """Attention of one new query (d,) over a cache of its first `length` tokens; out (d,).

    keys (H, hs, capacity) and values (H, capacity, hs rounded up to 16), capacity a multiple of 16; queries and keys are
    already rotated where positions are rotary.
    """
    heads, head_size, capacity = shape_of(keys, "keys", 3)
    out = np.empty(heads * head_size, np.float32) if out is None else out
    core.attention_decode(out, query, keys, values, heads, head_size, length, capacity)
    return out
