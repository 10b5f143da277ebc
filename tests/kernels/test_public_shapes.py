"""Whatever shape, stride, type and memory arrays have, a call gives the reference's result, or refuses and writes nothing.

test_arguments.py has one wrong argument at a time, and which error it must be; here arguments of every size are made strange one
or two at a time. Each array lies in memory of its own among canaries, all of which is compared byte by byte after the call.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from femto import kernels
from femto.kernels import Dropout

from . import reference

Arrays = dict[str, Any]
GUARD = 64  # bytes before and after every array, more than a vector
SIZES = st.sampled_from([0, 1, 1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 33, 40])
SOME = SIZES.filter(bool)
DROPOUT = st.sampled_from([Dropout(), Dropout(0.25, seed=2**63 + 5, step=3, site=1), Dropout(0.9, 7, 2**32 - 1, 0)])


@dataclass
class Call:
    """A correct call of a kernel. `run` returns the outputs that the kernel returned, by name; `expect` gives from what the
    arrays held every output that the kernel must have written."""

    values: Arrays
    outputs: str
    run: Callable[[Arrays], Arrays]
    expect: Callable[[Arrays], Arrays]
    optional: str = ""  # arguments that may be None
    in_place: dict[str, str] = field(default_factory=dict)  # inputs that may be that output


def numbers(draw: Callable, *shape: int, low: float = -2.0) -> np.ndarray:
    seed = draw(st.integers(0, 2**16))
    return np.random.default_rng(seed).uniform(low, 2.0, shape).astype(np.float32)


def ids(draw: Callable, count: int, low: int, limit: int) -> np.ndarray:
    return np.random.default_rng(draw(st.integers(0, 2**16))).integers(low, limit, count).astype(np.int32)


def flat(x: np.ndarray) -> np.ndarray:
    return np.asarray(x, np.float64).reshape(-1)


def rows(x: np.ndarray, columns: int) -> np.ndarray:
    return np.asarray(x, np.float64).reshape(-1, columns)


# ---- one correct call of any size, for each kernel ----


def matmul(draw: Callable) -> Call:
    m, n, k = draw(SIZES), draw(SIZES), draw(SIZES)
    ta, tb, gelu = draw(st.booleans()), draw(st.booleans()), draw(st.booleans())
    values = {
        "a": numbers(draw, *((k, m) if ta else (m, k))),
        "b": numbers(draw, *((n, k) if tb else (k, n))),
        "out": numbers(draw, m, n),
        "residual": numbers(draw, m, n) if draw(st.booleans()) else None,
        "bias": numbers(draw, n) if draw(st.booleans()) else None,
        "factor": numbers(draw, m, n) if draw(st.booleans()) else None,
        "gelu_slope": numbers(draw, m, n) if gelu else None,
        "column_sums": numbers(draw, n) if ta and draw(st.booleans()) else None,
    }

    def expect(v: Arrays) -> Arrays:
        a, b = (v["a"].T if ta else v["a"]).astype(np.float64), (v["b"].T if tb else v["b"]).astype(np.float64)
        total = a @ b
        for name in ("residual", "bias"):
            total = total if v[name] is None else total + (flat(v[name]) if name == "bias" else v[name])
        total = total if v["factor"] is None else total * v["factor"]
        found = {"out": total}
        if v["gelu_slope"] is not None:
            found = {"out": reference.gelu(total), "gelu_slope": reference.gelu_derivative(total)}
        if v["column_sums"] is not None:
            found["column_sums"] = flat(v["column_sums"]) + b.sum(0)
        return found

    def run(v: Arrays) -> Arrays:
        return {"out": kernels.matmul(**v, transpose_a=ta, transpose_b=tb)}

    optional = "out residual bias factor gelu_slope column_sums"
    return Call(values, "out gelu_slope column_sums", run, expect, optional, {"residual": "out"})


def layer_norm_forward(draw: Callable) -> Call:
    count, columns = draw(SIZES), draw(SOME)
    values = {
        "x": numbers(draw, count, columns), "gain": numbers(draw, columns), "bias": numbers(draw, columns),
        "out": numbers(draw, count, columns), "mean": numbers(draw, count), "rstd": numbers(draw, count),
    }  # fmt: skip

    def expect(v: Arrays) -> Arrays:
        found = reference.layer_norm(rows(v["x"], v["gain"].size), flat(v["gain"]), flat(v["bias"]), 0.01)
        return dict(zip(("out", "mean", "rstd"), found, strict=True))

    def run(v: Arrays) -> Arrays:
        return dict(zip(("out", "mean", "rstd"), kernels.layer_norm_forward(**v, epsilon=0.01), strict=True))

    return Call(values, "out mean rstd", run, expect, "out mean rstd", {"x": "out"})


def layer_norm_backward(draw: Callable) -> Call:
    count, columns = draw(SIZES), draw(SOME)
    values = {name: numbers(draw, count, columns) for name in ("dout", "x", "residual", "dx")}
    values |= {name: numbers(draw, columns) for name in ("gain", "dgain", "dbias")}
    values |= {name: numbers(draw, count, low=0.0) for name in ("mean", "rstd")}

    def expect(v: Arrays) -> Arrays:
        columns = v["gain"].size
        dout, x = rows(v["dout"], columns), rows(v["x"], columns)
        n, scaled = (x - rows(v["mean"], 1)) * rows(v["rstd"], 1), dout * flat(v["gain"])
        dx = scaled - scaled.mean(-1, keepdims=True) - n * (scaled * n).mean(-1, keepdims=True)
        dx = dx * rows(v["rstd"], 1) + (0.0 if v["residual"] is None else rows(v["residual"], columns))
        return {"dx": dx, "dgain": flat(v["dgain"]) + (dout * n).sum(0), "dbias": flat(v["dbias"]) + dout.sum(0)}

    def run(v: Arrays) -> Arrays:
        return {"dx": kernels.layer_norm_backward(**v)}

    return Call(values, "dx dgain dbias", run, expect, "dx residual", {"dout": "dx", "residual": "dx"})


def elementwise(kernel: Callable, function: Callable[[Arrays], np.ndarray], inputs: str, output: str) -> Callable:
    def build(draw: Callable) -> Call:
        shape = draw(st.lists(SIZES, max_size=3).filter(lambda sizes: np.prod(sizes) < 5000))
        values = {name: numbers(draw, *shape) for name in [*inputs.split(), output]}
        return Call(
            values, output, lambda v: {output: kernel(**v)}, lambda v: {output: function(v)}, output,
            dict.fromkeys(inputs.split(), output),
        )  # fmt: skip

    return build


def rotary(draw: Callable) -> Call:
    heads, size, tokens = draw(st.integers(1, 4)), draw(SOME), draw(SOME)
    inverse = draw(st.booleans())
    values = {"x": numbers(draw, draw(SIZES), heads * size), "cosine": numbers(draw, tokens, size // 2)}
    values["sine"] = numbers(draw, tokens, size // 2)

    def expect(v: Arrays) -> Arrays:
        tokens, half = len(v["cosine"]), v["x"].shape[1] // heads // 2
        at = np.arange(len(v["x"])) % tokens
        tables = [v[name].reshape(tokens, half)[at][:, None, None] for name in ("cosine", "sine")]
        x = v["x"].astype(np.float64).reshape(len(v["x"]), heads, 1, v["x"].shape[1] // heads)
        return {"x": reference.rotate(x, *tables, inverse=inverse)}

    return Call(values, "x", lambda v: {"x": kernels.rotary(**v, num_heads=heads, inverse=inverse)}, expect)


def attention(draw: Callable, backward: bool) -> Call:
    batch, heads, tokens, size = draw(st.integers(0, 3)), draw(st.integers(1, 3)), draw(SOME), draw(SOME)
    settings_, first = draw(DROPOUT), draw(st.sampled_from([0, 3]))
    qkv, d = numbers(draw, batch * tokens, 3 * heads * size), heads * size
    options = {"dropout": settings_, "first_sequence": first}
    values = {"qkv": qkv, "out": numbers(draw, batch * tokens, d)}
    values |= {name: numbers(draw, batch, heads, tokens) for name in ("row_max", "row_scale")}

    def mask(batch: int) -> np.ndarray:
        groups = -(-tokens // 8)  # of keys, in lanes of queries
        first_row = (first * heads + np.arange(batch * heads))[:, None] * groups * 8 + np.arange(tokens)
        drawn = reference.dropout_mask(first_row.reshape(-1), tokens, *settings_)
        return drawn.reshape(batch, heads, tokens, tokens).swapaxes(-1, -2)

    def forward(v: Arrays) -> Arrays:
        batch, size = len(v["qkv"]) // tokens, v["qkv"].shape[1] // (3 * heads)  # what the call says, where it says another
        out, _ = reference.attention(v["qkv"], batch, heads, mask=mask(batch)) if batch else (np.empty(0), None)
        q, k, _ = v["qkv"].astype(np.float64).reshape(batch, tokens, 3, heads, size).transpose(2, 0, 3, 1, 4)
        scores = np.where(np.tri(tokens, dtype=bool), q @ k.swapaxes(-1, -2), -np.inf)
        row_max = scores.max(-1)
        row_sum = np.exp((scores - row_max[..., None]) / np.sqrt(size)).sum(-1)
        return {"out": out, "row_max": row_max, "row_scale": 1.0 / row_sum}

    if not backward:
        names = ("out", "row_max", "row_scale")

        def run(v: Arrays) -> Arrays:
            return dict(zip(names, kernels.attention_forward(**v, num_heads=heads, tokens=tokens, **options), strict=True))

        return Call(values, "out row_max row_scale", run, forward, "out row_max row_scale")

    values |= {name: np.float32(array).reshape(values[name].shape) for name, array in forward(values).items()}
    values |= {"dout": numbers(draw, batch * tokens, d), "dqkv": numbers(draw, batch * tokens, 3 * d)}

    def expect(v: Arrays) -> Arrays:
        if any(not np.allclose(flat(v[name]), flat(array), 1e-4, 1e-4) for name, array in forward(v).items()):
            return {}  # of no forward pass: memory is shared among the inputs
        batch = len(v["qkv"]) // tokens
        gradient = reference.attention_gradient(v["dout"], v["qkv"], batch, heads, mask=mask(batch)) if batch else np.empty(0)
        return {"dqkv": gradient}

    def run(v: Arrays) -> Arrays:
        return {"dqkv": kernels.attention_backward(**v, num_heads=heads, tokens=tokens, **options)}

    return Call(values, "dqkv", run, expect, "dqkv")


def cache_store(draw: Callable) -> Call:
    heads, size, capacity = draw(st.integers(1, 4)), draw(SOME), draw(st.sampled_from([16, 48]))
    count = draw(st.integers(0, capacity))
    first = draw(st.integers(0, capacity - count))
    values = {"qkv": numbers(draw, count, 3 * heads * size), "keys": numbers(draw, heads, size, capacity),
              "values": numbers(draw, heads, capacity, -(-size // 16) * 16)}  # fmt: skip

    def expect(v: Arrays) -> Arrays:
        k, x = (v["qkv"].reshape(count, 3, heads, size)[:, kind] for kind in (1, 2))
        keys = v["keys"].copy().reshape(heads, size, capacity)
        kept = v["values"].copy().reshape(heads, capacity, -1)
        keys[:, :, first : first + count] = k.transpose(1, 2, 0)
        kept[:, first : first + count, :size] = x.transpose(1, 0, 2)
        return {"keys": flat(keys), "values": flat(kept)}

    def run(v: Arrays) -> Arrays:
        kernels.cache_store(v["qkv"], v["keys"], v["values"], first)
        return {}

    return Call(values, "keys values", run, expect)


def attention_decode(draw: Callable) -> Call:
    heads, size, capacity = draw(st.integers(1, 3)), draw(SOME), draw(st.sampled_from([16, 32, 64]))
    length, padded = draw(st.integers(1, capacity)), -(-size // 16) * 16
    values = {
        "query": numbers(draw, heads * size), "keys": numbers(draw, heads, size, capacity),
        "values": numbers(draw, heads, capacity, padded), "out": numbers(draw, heads * size),
    }  # fmt: skip
    values["keys"][:, :, length:] = values["values"][:, length:] = np.nan  # what no query may see

    def expect(v: Arrays) -> Arrays:
        q, k = rows(v["query"], size)[:, None], v["keys"][:, :, :length].astype(np.float64)
        p = reference.softmax(q @ k / np.sqrt(size))
        return {"out": p @ v["values"].reshape(heads, capacity, padded)[:, :length, :size]}

    return Call(values, "out", lambda v: {"out": kernels.attention_decode(**v, length=length)}, expect, "out")


def cross_entropy(draw: Callable) -> Call:
    count, vocabulary = draw(SIZES), draw(SOME)
    values = {
        "logits": 4 * numbers(draw, count, vocabulary), "targets": ids(draw, count, -1, vocabulary),
        "losses": numbers(draw, count), "dlogits": numbers(draw, count, vocabulary),
    }  # fmt: skip

    def expect(v: Arrays) -> Arrays:
        losses, dlogits = reference.cross_entropy(v["logits"], v["targets"].reshape(-1), 0.5)
        return {"losses": losses} | ({} if v["dlogits"] is None else {"dlogits": dlogits})

    def run(v: Arrays) -> Arrays:
        return {"losses": kernels.cross_entropy(**v, gradient_scale=0.5)}

    return Call(values, "losses dlogits", run, expect, "losses dlogits", {"logits": "dlogits"})


def embedding_forward(draw: Callable) -> Call:
    count, vocabulary, columns = draw(SIZES), draw(SOME), draw(SIZES)
    values = {
        "table": numbers(draw, vocabulary, columns), "tokens": ids(draw, count, 0, vocabulary),
        "positions": numbers(draw, draw(SOME), columns), "out": numbers(draw, count, columns),
    }  # fmt: skip

    def expect(v: Arrays) -> Arrays:
        out = v["table"][v["tokens"].reshape(-1)].astype(np.float64)
        if v["positions"] is not None:
            out += v["positions"].reshape(len(v["positions"]), out.shape[1])[np.arange(len(out)) % len(v["positions"])]
        return {"out": out}

    return Call(values, "out", lambda v: {"out": kernels.embedding_forward(**v)}, expect, "out positions")


def embedding_backward(draw: Callable) -> Call:
    count, vocabulary, columns = draw(SIZES), draw(SOME), draw(SIZES)
    values = {
        "dout": numbers(draw, count, columns), "tokens": ids(draw, count, 0, vocabulary),
        "dtable": numbers(draw, vocabulary, columns), "dpositions": numbers(draw, draw(SOME), columns),
    }  # fmt: skip

    def expect(v: Arrays) -> Arrays:
        dtable, dpositions = v["dtable"].astype(np.float64), v["dpositions"]
        dout = np.asarray(v["dout"], np.float64).reshape(v["tokens"].size, dtable.shape[1])
        np.add.at(dtable, v["tokens"].reshape(-1), dout)
        if dpositions is None:
            return {"dtable": dtable}
        dpositions = dpositions.astype(np.float64).reshape(len(dpositions), dtable.shape[1])
        np.add.at(dpositions, np.arange(len(dout)) % len(dpositions), dout)
        return {"dtable": dtable, "dpositions": dpositions}

    def run(v: Arrays) -> Arrays:
        kernels.embedding_backward(**v)
        return {}

    return Call(values, "dtable dpositions", run, expect, "dpositions")


def dropout(draw: Callable) -> Call:
    count, columns = draw(SIZES), draw(SOME)
    settings_, first_row = draw(DROPOUT), draw(st.sampled_from([0, 5]))
    values = {name: numbers(draw, count, columns) for name in ("x", "out", "residual")}

    def expect(v: Arrays) -> Arrays:
        x = rows(v["x"], v["x"].shape[-1])
        mask = reference.dropout_mask(first_row + np.arange(len(x)), x.shape[1], *settings_)
        return {"out": flat(x * mask) + (0.0 if v["residual"] is None else flat(v["residual"]))}

    def run(v: Arrays) -> Arrays:
        return {"out": kernels.dropout(**v, settings=settings_, first_row=first_row)}

    return Call(values, "out", run, expect, "out residual", {"x": "out", "residual": "out"})


def sum_of_squares(draw: Callable) -> Call:
    values = {"x": numbers(draw, draw(st.sampled_from([0, 1, 17, 4096, 4097, 9000])))}
    return Call(
        values, "", lambda v: {"total": np.float64(kernels.sum_of_squares(**v))}, lambda v: {"total": (flat(v["x"]) ** 2).sum()}
    )


def adamw(draw: Callable) -> Call:
    count, step = draw(SIZES), draw(st.sampled_from([0, 1, 1000]))
    values = {name: numbers(draw, count, low=0.0 if name == "v" else -2.0) for name in ("parameters", "m", "v", "gradients")}

    def expect(v: Arrays) -> Arrays:
        found = reference.adamw(*(flat(v[name]) for name in values), 0.01, step, 0.9, 0.99, 1e-3, 0.1)
        return dict(zip(("parameters", "m", "v"), found, strict=True))

    def run(v: Arrays) -> Arrays:
        kernels.adamw(**v, learning_rate=0.01, step=step, beta1=0.9, beta2=0.99, epsilon=1e-3, weight_decay=0.1)
        return {}

    return Call(values, "parameters m v", run, expect)


def set_zero(draw: Callable) -> Call:
    def run(v: Arrays) -> Arrays:
        kernels.set_zero(v["x"])
        return {}

    return Call({"x": numbers(draw, draw(SIZES))}, "x", run, lambda v: {"x": np.zeros(v["x"].size)})


def tree_sum(draw: Callable) -> Call:
    def run(v: Arrays) -> Arrays:
        kernels.tree_sum(v["x"])
        return {}

    def expect(v: Arrays) -> Arrays:
        return {"x": flat(np.concatenate([v["x"].sum(axis=0, keepdims=True), v["x"][1:]]))}

    return Call({"x": numbers(draw, draw(st.sampled_from([1, 2, 4, 8])), draw(SIZES))}, "x", run, expect)


CALLS = {
    "matmul": matmul,
    "layer_norm_forward": layer_norm_forward,
    "layer_norm_backward": layer_norm_backward,
    "gelu_forward": elementwise(kernels.gelu_forward, lambda v: reference.gelu(flat(v["x"])), "x", "out"),
    "gelu_backward": elementwise(
        kernels.gelu_backward, lambda v: flat(v["dout"]) * reference.gelu_derivative(flat(v["x"])), "dout x", "dx"
    ),
    "exponential": elementwise(kernels.exponential, lambda v: np.exp(flat(v["x"])), "x", "out"),
    "rotary": rotary,
    "attention_forward": lambda draw: attention(draw, False),
    "attention_backward": lambda draw: attention(draw, True),
    "cache_store": cache_store,
    "attention_decode": attention_decode,
    "cross_entropy": cross_entropy,
    "embedding_forward": embedding_forward,
    "embedding_backward": embedding_backward,
    "dropout": dropout,
    "sum_of_squares": sum_of_squares,
    "adamw": adamw,
    "set_zero": set_zero,
    "tree_sum": tree_sum,
}


# ---- arrays in memory among canaries, as they should be and otherwise ----


@dataclass
class Placed:
    view: Any
    memory: np.ndarray


def place(values: Any, layout: str = "plain", offset: int = 0) -> Placed:
    """A copy of `values` in memory of its own, with that layout; the memory begins on a multiple of 64 bytes."""
    if values is None:
        return Placed(None, np.empty(0, np.uint8))
    values = np.asarray(values)
    shape, spread = values.shape, [slice(None)] * values.ndim
    if values.ndim and layout == "columns of a wider matrix":
        shape, spread[-1] = (*shape[:-1], shape[-1] + 5), slice(2, 2 + shape[-1])
    elif values.ndim and layout == "every second":
        shape, spread[-1] = (*shape[:-1], 2 * shape[-1]), slice(0, None, 2)
    elif values.ndim and layout == "every second row":
        shape, spread[0] = (2 * shape[0], *shape[1:]), slice(0, None, 2)
    elif values.ndim and layout == "rows backwards":
        spread[0] = slice(None, None, -1)
    elif values.ndim and layout == "columns backwards":
        spread[-1] = slice(None, None, -1)
    size = int(np.prod(shape)) * values.itemsize
    memory = np.empty(size + 2 * GUARD + 128, np.uint8)
    memory = memory[-memory.ctypes.data % 64 :][: size + 2 * GUARD + 64]
    memory[...] = np.resize(np.frombuffer(np.uint32(reference.CANARY).tobytes(), np.uint8), memory.size)
    inner = memory[GUARD + offset : GUARD + offset + size].view(values.dtype)
    view = inner.reshape(shape[::-1]).T if layout == "transposed" else inner.reshape(shape)
    view = view[tuple(spread)] if values.ndim else view
    view[...] = values
    return Placed(view, memory)


STRANGE = [
    "columns of a wider matrix", "every second", "every second row", "rows backwards", "columns backwards", "transposed",
    "offset", "repeated", "type", "byte order", "dimensions", "size", "nothing", "no array", "read-only", "shared", "shared",
    "not finite", "ids",
]  # fmt: skip


def make_strange(draw: Callable, call: Call, placed: dict[str, Placed], name: str) -> str:
    kind, values = draw(st.sampled_from(STRANGE)), call.values[name]
    if values is None:
        values = np.zeros((3, 4), np.float32)
    if kind == "offset":
        placed[name] = place(values, offset=draw(st.integers(1, 9)))
    elif kind == "repeated" and values.ndim:
        placed[name] = place(values[:1])
        placed[name].view = np.lib.stride_tricks.as_strided(placed[name].view, values.shape, (0, *values.strides[1:]))
        if values.shape[0] == 0:
            placed[name].view = placed[name].view[:0]
    elif kind == "type":
        dtype = draw(st.sampled_from(["f8", "f2", "i4", "f4", "i8", "u4", "c8", "?", "S4", "V4", "O", "M8[s]"]))
        placed[name] = place(values.view("V4") if dtype == "V4" else values.astype(dtype)) if dtype != "O" else Placed(
            values.astype("O"), np.empty(0, np.uint8))  # fmt: skip
    elif kind == "byte order":
        placed[name] = place(values.astype(values.dtype.newbyteorder()))
    elif kind == "dimensions":
        shapes = [(-1,), (1, *values.shape), (*values.shape, 1)] + ([values.shape[::-1]] if values.ndim else [])
        placed[name] = place(values.reshape(draw(st.sampled_from(shapes))))
    elif kind == "size" and values.ndim:
        shape = list(values.shape)
        axis = draw(st.integers(0, values.ndim - 1))
        shape[axis] = draw(st.sampled_from([0, 1, shape[axis] + 1, max(shape[axis] - 1, 0), 2 * shape[axis]]))
        placed[name] = place(np.resize(values, shape) if values.size else np.zeros(shape, values.dtype))
    elif kind == "nothing":
        placed[name] = place(None)
    elif kind == "no array":
        other = [values.tolist(), 1.5, "floats", values.tobytes(), {}, memoryview(values.tobytes()), np.float32(1), object()]
        placed[name] = Placed(draw(st.sampled_from(other)), np.empty(0, np.uint8))
    elif kind == "read-only":
        placed[name].view = None if placed[name].view is None else placed[name].view.view()
        if placed[name].view is not None:
            placed[name].view.flags.writeable = False
    elif kind == "shared":
        share(draw, call, placed, name, draw(st.sampled_from(sorted(set(call.values) - {name}) or [name])))
    elif kind == "not finite" and values.dtype == np.float32:
        values = values.copy()
        values[draw(st.sampled_from([..., *range(min(len(values), 3))])) if values.ndim else ...] = draw(
            st.sampled_from([np.nan, np.inf, -np.inf, np.float32(3e38), np.float32(1e-45)]))  # fmt: skip
        placed[name] = place(values)
    elif kind == "ids" and values.dtype == np.int32 and values.size:
        values = values.copy()
        values[draw(st.sampled_from([0, -1]))] = draw(st.sampled_from([-1, -2, 40, 41, 2**31 - 1, -(2**31)]))
        placed[name] = place(values)
    else:
        placed[name] = place(values, kind)
    return kind


def share(draw: Callable, call: Call, placed: dict[str, Placed], name: str, other: str) -> None:
    """Both begin in the same memory, `offset` numbers apart; what they hold overlaps."""
    pair = [call.values[key] for key in (name, other)]
    if any(values is None for values in pair):
        return
    offset = draw(st.sampled_from([0, 0, 1, 3, pair[0].size]))
    whole = place(np.zeros(max(pair[0].size, offset + pair[1].size), np.uint32))
    for key, values, start in ((name, pair[0], 0), (other, pair[1], offset)):
        view = whole.view[start : start + values.size].view(values.dtype).reshape(values.shape)
        view[...] = values if values.dtype == np.float32 or np.issubdtype(values.dtype, np.integer) else 0
        placed[key] = Placed(view, whole.memory)


def copied(x: Any) -> Any:
    return x.copy() if isinstance(x, np.ndarray) else x


def check(call: Call, placed: dict[str, Placed], strange: list[str]) -> bool:
    """Whether the call was accepted."""
    arrays = {name: each.view for name, each in placed.items()}
    before = {name: copied(array) for name, array in arrays.items()}
    memory = {name: each.memory.copy() for name, each in placed.items()}
    with np.errstate(all="ignore"):
        refused = None
        try:
            returned = call.run(arrays)
        except (ValueError, TypeError) as error:
            refused = str(error)
        if refused is not None:
            assert refused
            for name, each in placed.items():
                assert (each.memory == memory[name]).all(), f"{name}: written to by a call that was refused: {refused}"
            return False
        results = {name: copied(arrays[name]) for name in call.outputs.split() if isinstance(arrays.get(name), np.ndarray)}
        for name in results:
            assert arrays[name].flags.writeable, f"{name}: read-only, and accepted"
            arrays[name][...] = before[name]
        for name, each in placed.items():
            assert (each.memory == memory[name]).all(), f"{name}: written to beside the outputs"
        floats = [each for each in before.values() if isinstance(each, np.ndarray) and each.dtype == np.float32]
        if "not finite" in strange or ("shared" in strange and not all(np.isfinite(each).all() for each in floats)):
            return True  # -1 among integers is a NaN to floats that share its memory
        for name, expected in call.expect(before).items():
            actual = results.get(name, returned.get(name))
            np.testing.assert_allclose(flat(actual), flat(expected), rtol=3e-5, atol=3e-4, err_msg=f"{name}, {strange}")
    return True


FUZZ = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@FUZZ
@pytest.mark.parametrize("kernel", CALLS)
@given(data=st.data())
def test_any_size_gives_the_reference_result(kernel, data):
    kernels.set_isa(data.draw(st.sampled_from(kernels.supported_isas())))
    kernels.set_num_threads(data.draw(st.sampled_from([1, 3])))
    call = CALLS[kernel](data.draw)
    placed = {name: place(values) for name, values in call.values.items()}
    for name in call.values:
        if name in call.in_place and call.values[name] is not None and data.draw(st.integers(0, 3)) == 0:
            placed[call.in_place[name]] = placed[name]  # at most one: a later one takes its place
        elif name in call.optional.split() and data.draw(st.integers(0, 3)) == 0:
            placed[name] = place(None)
    assert check(call, placed, [])


@FUZZ
@pytest.mark.parametrize("kernel", CALLS)
@given(data=st.data())
def test_strange_arrays_are_computed_or_refused_and_nothing_else_is_written(kernel, data):
    kernels.set_isa(data.draw(st.sampled_from(kernels.supported_isas())))
    call = CALLS[kernel](data.draw)
    placed = {name: place(values) for name, values in call.values.items()}
    names = data.draw(st.lists(st.sampled_from(sorted(call.values)), min_size=1, max_size=2, unique=True))
    with np.errstate(invalid="ignore"):  # NaN as an integer
        strange = [make_strange(data.draw, call, placed, name) for name in names]
    check(call, placed, strange)


INTEGERS = [-1, 0, 1, 2, 3, 2**31, 2**40, 2**40 + 1, 2**62, 2**63, 2**64, -(2**63), -(2**64), 10**30]
ODD = [*INTEGERS, 1.5, float("nan"), float("inf"), None, "3", b"3", [], True, np.int32(2), np.float32(2)]
F = np.ones((4, 12), np.float32)
SCALARS: dict[str, Callable[[Any], Any]] = {
    "layer_norm_forward epsilon": lambda x: kernels.layer_norm_forward(F, F[0], F[1], epsilon=x),
    "rotary_tables tokens": lambda x: kernels.rotary_tables(x, 4) if not isinstance(x, int) or abs(x) < 2**20 else None,
    "rotary_tables head_size": lambda x: kernels.rotary_tables(2, x) if not isinstance(x, int) or abs(x) < 2**20 else None,
    "rotary_tables base": lambda x: kernels.rotary_tables(2, 4, x),
    "rotary num_heads": lambda x: kernels.rotary(F.copy(), F[:, :6].copy(), F[:, :6].copy(), x),
    "attention_forward num_heads": lambda x: kernels.attention_forward(F, x, 2),
    "attention_forward tokens": lambda x: kernels.attention_forward(F, 2, x),
    "attention_forward tokens of none": lambda x: kernels.attention_forward(F[:0], 2, x),
    "attention_forward first_sequence": lambda x: kernels.attention_forward(F, 2, 2, first_sequence=x),
    "attention_forward dropout": lambda x: kernels.attention_forward(F, 2, 2, dropout=x),
    "attention_backward first_sequence": lambda x: kernels.attention_backward(
        F[:, :4], F, F[:, :4], np.ones(8, np.float32), np.ones(8, np.float32), 2, 2, first_sequence=x),
    "attention_decode length": lambda x: kernels.attention_decode(
        F[0, :3].copy(), np.ones((1, 3, 16), np.float32), np.ones((1, 16, 16), np.float32), x),
    "cross_entropy gradient_scale": lambda x: kernels.cross_entropy(F, np.zeros(4, np.int32), gradient_scale=x),
    "dropout first_row": lambda x: kernels.dropout(F, Dropout(0.5), first_row=x),
    "dropout probability": lambda x: kernels.dropout(F, Dropout(x)),
    "dropout seed": lambda x: kernels.dropout(F, Dropout(0.5, x)),
    "dropout step": lambda x: kernels.dropout(F, Dropout(0.5, 1, x)),
    "dropout site": lambda x: kernels.dropout(F, Dropout(0.5, 1, 1, x)),
    "adamw step": lambda x: kernels.adamw(*F.copy(), learning_rate=0.1, step=x),
    "adamw beta1": lambda x: kernels.adamw(*F.copy(), learning_rate=0.1, step=1, beta1=x),
    "adamw learning_rate": lambda x: kernels.adamw(*F.copy(), learning_rate=x, step=1),
    "set_num_threads threads": kernels.set_num_threads,
    "set_isa name": kernels.set_isa,
}  # fmt: skip


@pytest.mark.parametrize("odd", ODD, ids=repr)
@pytest.mark.parametrize("name", SCALARS)
def test_odd_numbers_are_computed_or_refused(name, odd):
    with suppress(ValueError, TypeError):
        SCALARS[name](odd)


def test_every_public_function_is_here():
    without_arguments = {"Dropout", "has_openmp", "isa", "num_threads", "supported_isas"}
    of_timing = {"KernelCall", "TimingHook", "fma_burn", "set_timing_hook"}  # test_timing.py
    of_tapes = {"Live", "Tape", "run_parts"}  # test_tape.py
    assert {*CALLS, *(name.split()[0] for name in SCALARS), *without_arguments, *of_timing, *of_tapes} == set(kernels.__all__)
