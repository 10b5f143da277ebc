"""Every kernel once more in float64 NumPy, written from the definitions, and arrays framed by canaries.

The formulas follow the docstrings of femto.kernels; gradients are checked against finite differences in test_gradients.py.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

Doubles = NDArray[np.float64]

EPSILON = 2.0**-24  # half a unit in the last place of 1.0 in float32
CANARY = np.uint32(0x7FC0BEEF)  # a NaN, so that a kernel that reads outside its input shows it
GUARD = 96  # floats before and after; wider than any tile


class Framed:
    """A float32 or int32 copy of `values` inside a larger buffer of canaries: before, after and, for matrices, beside."""

    def __init__(self, values: ArrayLike, beside: int = 0, dtype: type = np.float32) -> None:
        values = np.asarray(values, dtype)
        rows, columns = values.shape if values.ndim == 2 else (1, values.size)
        ld = columns + 2 * beside
        self.buffer = np.full(2 * GUARD + rows * ld, CANARY, np.uint32)
        inner = self.buffer[GUARD : GUARD + rows * ld].reshape(rows, ld)[:, beside : beside + columns]
        self.view: NDArray = inner.view(dtype) if beside else inner.view(dtype).reshape(values.shape)
        self.view[...] = values
        self._outside = np.ones(self.buffer.size, bool)
        self._outside[GUARD : GUARD + rows * ld].reshape(rows, ld)[:, beside : beside + columns] = False

    def intact(self) -> bool:
        return bool((self.buffer[self._outside] == CANARY).all())


def assert_close(actual: NDArray, expected: Doubles, scale: ArrayLike, ulps: float, what: str = "") -> None:
    """|actual - expected| <= ulps * 2^-24 * scale, element by element; NaN never passes."""
    error = np.abs(actual.astype(np.float64) - expected)
    bound = ulps * EPSILON * np.broadcast_to(scale, error.shape)
    bad = ~(error <= bound)
    if bad.any():
        at = tuple(int(i[0]) for i in np.nonzero(bad))
        raise AssertionError(
            f"{what}: {bad.sum()} of {bad.size} elements differ; at {at} got {actual[at]!r}, expected {expected[at]!r}, "
            f"allowed {bound[at]:.3g}"
        )


def numeric_gradient(function: Callable[[Doubles], float], x: Doubles, step: float = 1e-5) -> Doubles:
    """Central differences of a scalar function, element by element."""
    gradient = np.empty_like(x)
    for at in np.ndindex(x.shape):
        above, below = x.copy(), x.copy()
        above[at] += step
        below[at] -= step
        gradient[at] = (function(above) - function(below)) / (2 * step)
    return gradient


# ---- element by element ----


def gelu(x: ArrayLike) -> Doubles:
    x = np.asarray(x, np.float64)
    return 0.5 * x * (1.0 + np.tanh(np.sqrt(2.0 / np.pi) * (x + 0.044715 * x**3)))


def gelu_derivative(x: ArrayLike) -> Doubles:
    x = np.asarray(x, np.float64)
    t = np.tanh(np.sqrt(2.0 / np.pi) * (x + 0.044715 * x**3))
    return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * np.sqrt(2.0 / np.pi) * (1.0 + 3 * 0.044715 * x * x)


def adamw(
    p: Doubles, m: Doubles, v: Doubles, g: Doubles, lr: float, step: int, b1: float, b2: float, eps: float, decay: float
) -> tuple[Doubles, Doubles, Doubles]:
    p = p * (1.0 - lr * decay)
    m = b1 * m + (1.0 - b1) * g
    v = b2 * v + (1.0 - b2) * g * g
    m_hat, v_hat = m / (1.0 - b1 ** (step + 1)), v / (1.0 - b2 ** (step + 1))
    return p - lr * m_hat / (np.sqrt(v_hat) + eps), m, v


# ---- random numbers ----


def philox4x32(counter: NDArray[np.uint64], key: tuple[int, int], rounds: int = 7) -> NDArray[np.uint64]:
    """Philox4x32 (Salmon et al. 2011) of counters (4, …): four 32-bit words each, held in 64."""
    c0, c1, c2, c3 = (np.asarray(c, np.uint64) for c in counter)
    low32, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    for number in range(rounds):
        k0 = np.uint64((key[0] + number * 0x9E3779B9) & 0xFFFFFFFF)
        k1 = np.uint64((key[1] + number * 0xBB67AE85) & 0xFFFFFFFF)
        first, second = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
        c0, c1, c2, c3 = second >> shift ^ c1 ^ k0, second & low32, first >> shift ^ c3 ^ k1, first & low32
    return np.stack([c0, c1, c2, c3])


def dropout_mask(rows: ArrayLike, columns: int, probability: float, seed: int, step: int, site: int) -> Doubles:
    """The scaled mask (R, columns) of the rows of those numbers, as c/philox.h documents the counters."""
    rows = np.asarray(rows, np.uint64)[:, None]
    column = np.arange(columns, dtype=np.uint64)[None, :]
    word, high = rows % 4, rows % 8 >= 4
    counter = np.broadcast_arrays(column, rows // 8, np.uint64(step), np.uint64(site))
    words = philox4x32(np.stack(counter), (seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF))
    numbers = np.take_along_axis(words, np.broadcast_to(word, (1, *words.shape[1:])).astype(np.int64), 0)[0]
    numbers = np.where(high, numbers >> np.uint64(16), numbers & np.uint64(0xFFFF))
    scale = float(np.float32(1.0 / (1.0 - probability)))
    return np.where(numbers < int((1.0 - probability) * 2.0**16 + 0.5), scale, 0.0)


# ---- rows ----


def layer_norm(x: ArrayLike, gain: ArrayLike, bias: ArrayLike, epsilon: float = 1e-5) -> tuple[Doubles, Doubles, Doubles]:
    x = np.asarray(x, np.float64)
    mean = x.mean(-1)
    rstd = 1.0 / np.sqrt(x.var(-1) + epsilon)
    return (x - mean[..., None]) * rstd[..., None] * gain + bias, mean, rstd


def layer_norm_gradients(dout: Doubles, x: Doubles, gain: Doubles, epsilon: float = 1e-5) -> tuple[Doubles, Doubles, Doubles]:
    """dx, dgain, dbias of rows x (R, d)."""
    normalised, _, rstd = layer_norm(x, 1.0, 0.0, epsilon)
    scaled = dout * gain
    centred = scaled - scaled.mean(-1, keepdims=True) - normalised * (scaled * normalised).mean(-1, keepdims=True)
    return centred * rstd[:, None], (dout * normalised).sum(0), dout.sum(0)


def softmax(x: Doubles) -> Doubles:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def cross_entropy(logits: ArrayLike, targets: ArrayLike, scale: float = 1.0) -> tuple[Doubles, Doubles]:
    logits, targets = np.asarray(logits, np.float64), np.asarray(targets)
    shifted = logits - logits.max(-1, keepdims=True)
    rows = np.arange(len(targets))
    losses = np.log(np.exp(shifted).sum(-1)) - shifted[rows, targets]
    gradient = softmax(logits)
    gradient[rows, targets] -= 1.0
    counted = (targets >= 0).astype(np.float64)
    return losses * counted, gradient * counted[:, None] * scale


# ---- attention ----


def rotate(x: Doubles, cosine: ArrayLike, sine: ArrayLike, inverse: bool = False) -> Doubles:
    """x (…, T, hs) with tables (T, hs // 2): columns c and c + hs // 2 turn together."""
    half = x.shape[-1] // 2
    cosine, sine = np.asarray(cosine, np.float64), np.asarray(sine, np.float64) * (-1.0 if inverse else 1.0)
    first, second = x[..., :half], x[..., half : 2 * half]
    turned = [first * cosine - second * sine, second * cosine + first * sine, x[..., 2 * half :]]
    return np.concatenate(turned, -1)


def _heads(x: Doubles, batch: int, parts: int, heads: int) -> Doubles:
    """(B*T, parts*H*hs) -> (parts, B, H, T, hs)."""
    tokens = x.shape[0] // batch
    return x.reshape(batch, tokens, parts, heads, -1).transpose(2, 0, 3, 1, 4)


def _rows(x: Doubles) -> Doubles:
    """(parts, B, H, T, hs) -> (B*T, parts*H*hs)."""
    parts, batch, heads, tokens, size = x.shape
    return x.transpose(1, 3, 0, 2, 4).reshape(batch * tokens, parts * heads * size)


def attention(
    qkv: ArrayLike, batch: int, heads: int, tables: tuple[NDArray, NDArray] | None = None, mask: ArrayLike = 1.0
) -> tuple[Doubles, Doubles]:
    """out (B*T, d) and the probabilities before the mask (B, H, T, T)."""
    q, k, v = _heads(np.asarray(qkv, np.float64), batch, 3, heads)
    if tables is not None:
        q, k = rotate(q, *tables), rotate(k, *tables)
    tokens, size = q.shape[-2:]
    scores = q @ k.swapaxes(-1, -2) / np.sqrt(size)
    probabilities = softmax(np.where(np.tri(tokens, dtype=bool), scores, -np.inf))
    return _rows(((probabilities * mask) @ v)[None]), probabilities


def attention_gradient(
    dout: ArrayLike,
    qkv: ArrayLike,
    batch: int,
    heads: int,
    tables: tuple[NDArray, NDArray] | None = None,
    mask: ArrayLike = 1.0,
) -> Doubles:
    q, k, v = _heads(np.asarray(qkv, np.float64), batch, 3, heads)
    if tables is not None:
        q, k = rotate(q, *tables), rotate(k, *tables)
    dheads = _heads(np.asarray(dout, np.float64), batch, 1, heads)[0]
    _, p = attention(qkv, batch, heads, tables, mask)
    dv = (p * mask).swapaxes(-1, -2) @ dheads
    dp = dheads @ v.swapaxes(-1, -2) * mask
    ds = p * (dp - (p * dp).sum(-1, keepdims=True)) / np.sqrt(q.shape[-1])
    dq, dk = ds @ k, ds.swapaxes(-1, -2) @ q
    if tables is not None:
        dq, dk = rotate(dq, *tables, inverse=True), rotate(dk, *tables, inverse=True)
    return _rows(np.stack([dq, dk, dv]))
