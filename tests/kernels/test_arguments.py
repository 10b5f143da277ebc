"""Wrong arguments raise and leave every output as it was: types, shapes, strides, ids, shared memory."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from femto import kernels
from femto.kernels import Dropout

B, H, T, HS, R, C, V = 2, 3, 4, 5, 8, 15, 11  # R = B*T rows of C = H*HS columns


@dataclass
class Case:
    """A correct call; `inputs` and `outputs` are its arrays by the names in error messages."""

    function: Callable
    inputs: str
    outputs: str
    in_place: str = ""  # inputs that may be an output itself

    def names(self) -> list[str]:
        return [*self.inputs.split(), *self.outputs.split()]


SHAPES = {
    "a": (R, C), "b": (C, V), "residual": (R, V), "bias": (V,), "gelu_slope": (R, V), "factor": (R, V), "product": (R, V),
    "x": (R, C), "gain": (C,), "shift": (C,), "mean": (R,), "rstd": (R,), "dgain": (C,), "dbias": (C,), "dout": (R, C),
    "dx": (R, C), "skip": (R, C), "qkv": (R, 3 * C), "dqkv": (R, 3 * C), "row_max": (B, H, T),
    "row_scale": (B, H, T), "cosine": (T, HS // 2), "sine": (T, HS // 2), "query": (C,), "keys": (H, HS, 16),
    "values": (H, 16, 16), "logits": (R, V), "dlogits": (R, V), "losses": (R,), "targets": (R,), "tokens": (R,),
    "table": (V, C), "dtable": (V, C), "positions": (T, C), "dpositions": (T, C), "parameters": (R,), "m": (R,), "v": (R,),
    "gradients": (R,), "total": (C,), "left": (R, C), "right": (R, C),
    "square": (C, C), "decoded": (C,), "norm": (R, C), "parts": (4, C), "head_qkv": (5, 3 * C),
}  # fmt: skip
MESSAGE_NAME = {
    "left": "a", "right": "b", "product": "out", "shift": "bias", "skip": "residual", "total": "column_sums", "square": "out",
    "decoded": "out", "norm": "out", "parts": "x", "head_qkv": "qkv",
}  # fmt: skip
INTEGERS = ("targets", "tokens")

CASES = {
    "matmul": Case(
        lambda a, b, residual, bias, factor, product, gelu_slope: kernels.matmul(
            a, b, product, residual=residual, bias=bias, factor=factor, gelu_slope=gelu_slope),
        "a b residual bias factor", "product gelu_slope", "residual"),
    "weights": Case(
        lambda left, right, square, total: kernels.matmul(left, right, square, transpose_a=True, column_sums=total),
        "left right", "square total"),
    "layer_norm_forward": Case(
        lambda x, gain, shift, norm, mean, rstd: kernels.layer_norm_forward(x, gain, shift, norm, mean, rstd),
        "x gain shift", "norm mean rstd", "x"),
    "layer_norm_backward": Case(
        lambda dout, x, mean, rstd, gain, skip, dgain, dbias, dx: kernels.layer_norm_backward(
            dout, x, mean, rstd, gain, dgain, dbias, dx, skip),
        "dout x mean rstd gain skip", "dgain dbias dx", "dout skip"),
    "gelu_forward": Case(lambda x, norm: kernels.gelu_forward(x, norm), "x", "norm", "x"),
    "gelu_backward": Case(lambda dout, x, dx: kernels.gelu_backward(dout, x, dx), "dout x", "dx", "dout x"),
    "exponential": Case(lambda x, norm: kernels.exponential(x, norm), "x", "norm", "x"),
    "rotary": Case(lambda cosine, sine, x: kernels.rotary(x, cosine, sine, H), "cosine sine", "x"),
    "attention_forward": Case(
        lambda qkv, norm, row_max, row_scale: kernels.attention_forward(qkv, H, T, norm, row_max, row_scale),
        "qkv", "norm row_max row_scale"),
    "attention_backward": Case(
        lambda dout, qkv, norm, row_max, row_scale, dqkv: kernels.attention_backward(
            dout, qkv, norm, row_max, row_scale, H, T, dqkv),
        "dout qkv norm row_max row_scale", "dqkv"),
    "cache_store": Case(lambda head_qkv, keys, values: kernels.cache_store(head_qkv, keys, values, 3), "head_qkv", "keys values"),
    "attention_decode": Case(
        lambda query, keys, values, decoded: kernels.attention_decode(query, keys, values, 9, decoded),
        "query keys values", "decoded"),
    "cross_entropy": Case(
        lambda logits, targets, losses, dlogits: kernels.cross_entropy(logits, targets, losses, dlogits),
        "logits targets", "losses dlogits", "logits"),
    "embedding_forward": Case(
        lambda table, tokens, positions, norm: kernels.embedding_forward(table, tokens, norm, positions),
        "table tokens positions", "norm"),
    "embedding_backward": Case(
        lambda dout, tokens, dtable, dpositions: kernels.embedding_backward(dout, tokens, dtable, dpositions),
        "dout tokens", "dtable dpositions"),
    "dropout": Case(lambda x, skip, norm: kernels.dropout(x, Dropout(0.5), norm, skip), "x skip", "norm", "x skip"),
    "sum_of_squares": Case(lambda x: kernels.sum_of_squares(x), "x", ""),
    "adamw": Case(
        lambda gradients, parameters, m, v: kernels.adamw(parameters, m, v, gradients, learning_rate=0.1, step=0),
        "gradients", "parameters m v"),
    "set_zero": Case(lambda x: kernels.set_zero(x), "", "x"),
    "tree_sum": Case(lambda parts: kernels.tree_sum(parts), "", "parts"),
}  # fmt: skip
ANY_SHAPE = ("sum_of_squares", "set_zero", "tree_sum")  # but for the number of parts, in test_parts.py
ARGUMENTS = [(kernel, name) for kernel, case in CASES.items() for name in case.names()]
ANY_ROWS = [("rotary", "x"), ("embedding_forward", "table"), ("embedding_forward", "positions"),
            ("embedding_backward", "dtable"), ("embedding_backward", "dpositions"), ("cache_store", "head_qkv")]  # fmt: skip
OUTPUTS = [(kernel, name) for kernel, case in CASES.items() for name in case.outputs.split()]
INPUTS = [(kernel, name) for kernel, case in CASES.items() for name in case.inputs.split()]


def arrays_of(kernel: str) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)

    def array(name):
        return rng.integers(0, V, SHAPES[name]).astype(np.int32) if name in INTEGERS else np.float32(rng.random(SHAPES[name]))

    return {name: array(name) for name in CASES[kernel].names()}


def refuse(error, kernel, name, replacement, arrays=None, exact=True):
    """The call raises `error`, says which argument is meant (or at least another of the call), and writes nothing."""
    arrays = arrays or arrays_of(kernel)
    arrays[name] = replacement
    before = {key: array.tobytes() for key, array in arrays.items() if isinstance(array, np.ndarray)}
    with pytest.raises(error) as caught:
        CASES[kernel].function(**arrays)
    assert {key: arrays[key].tobytes() for key in before} == before
    meant = [name] if exact else list(arrays)
    assert re.search("|".join(rf"\b{MESSAGE_NAME.get(n, n)}\b" for n in meant), str(caught.value)), str(caught.value)


@pytest.mark.parametrize("kernel", CASES)
def test_the_correct_call_is_accepted(kernel):
    CASES[kernel].function(**arrays_of(kernel))


@pytest.mark.parametrize(("kernel", "name"), ARGUMENTS)
def test_other_types_and_byte_orders_are_type_errors(kernel, name):
    for dtype in ("f8", "f2", "f4" if name in INTEGERS else "i4", "i8", "u4", "c8", "?", "S4", "O", ">f4", ">i4"):
        refuse(TypeError, kernel, name, np.zeros(SHAPES[name], dtype))
    refuse(TypeError, kernel, name, np.zeros(SHAPES[name]).tolist())


@pytest.mark.parametrize("change", [(0, 1), (0, -1), (1, 0)], ids=["longer rows", "shorter rows", "more rows"])
@pytest.mark.parametrize(("kernel", "name"), [argument for argument in ARGUMENTS if argument[0] not in ANY_SHAPE])
def test_other_shapes_are_value_errors(kernel, name, change):
    more_rows, more_columns = change
    shape = list(SHAPES[name])
    shape[-1] += more_columns
    shape[0] += more_rows
    dtype = np.int32 if name in INTEGERS else np.float32
    if more_rows and (kernel, name) in ANY_ROWS:
        CASES[kernel].function(**arrays_of(kernel) | {name: np.zeros(shape, dtype)})
    else:
        refuse(ValueError, kernel, name, np.zeros(shape, dtype), exact=False)


@pytest.mark.parametrize(("kernel", "name"), ARGUMENTS)
def test_other_strides_are_value_errors(kernel, name):
    dtype = np.int32 if name in INTEGERS else np.float32
    shape = SHAPES[name]
    every_second = np.zeros((*shape[:-1], 2 * shape[-1]), dtype)[..., ::2]
    backwards = np.zeros(shape, dtype)[::-1]
    repeated = np.broadcast_to(np.zeros(shape[-1], dtype), shape) if len(shape) > 1 else backwards
    for view in (every_second, backwards, repeated):
        refuse(ValueError, kernel, name, view)


@pytest.mark.parametrize(("kernel", "name"), ARGUMENTS)
def test_misaligned_memory_is_a_value_error(kernel, name):
    refuse(ValueError, kernel, name, misaligned(arrays_of(kernel)[name]))


def misaligned(array: np.ndarray) -> np.ndarray:
    memory = np.zeros(array.nbytes + 4, np.uint8)
    start = (-memory.ctypes.data) % 4 + 1
    view = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


@pytest.mark.parametrize(("kernel", "name"), INPUTS)
def test_an_error_names_what_to_pass_instead_and_that_is_right(kernel, name):
    right = arrays_of(kernel)[name]
    other_type = np.int64 if name in INTEGERS else np.float64
    for wrong in (right.astype(other_type), right.tolist(), np.repeat(right, 2, axis=-1)[..., ::2], misaligned(right)):
        arrays = arrays_of(kernel)
        with pytest.raises((TypeError, ValueError)) as caught:
            CASES[kernel].function(**arrays | {name: wrong})
        advice = re.search(r"; pass (.*)$", str(caught.value))
        assert advice, str(caught.value)
        arrays[name] = eval(advice[1], {"np": np, MESSAGE_NAME.get(name, name): wrong})
        CASES[kernel].function(**arrays)
        np.testing.assert_array_equal(arrays[name], right)


def test_matmul_names_the_keyword_that_transposes():
    a, b = np.float32(np.arange(12).reshape(3, 4)), np.float32(np.arange(20).reshape(5, 4))
    expected = a @ b.T
    for view, call, keyword in [
        ("b", lambda **k: kernels.matmul(a, b.T, **k), "transpose_b=True"),
        ("a", lambda **k: kernels.matmul(a.T.copy().T, b.T.copy(), **k), "transpose_a=True"),
        ("b", lambda **k: kernels.matmul(a, b.T.copy().T, transpose_b=True, **k), "transpose_b=False"),
    ]:
        with pytest.raises(ValueError, match=rf"{view}: a transposed view.*{keyword}, or np.ascontiguousarray\({view}\)"):
            call()
    np.testing.assert_array_equal(kernels.matmul(a, b, transpose_b=True), expected)
    np.testing.assert_array_equal(kernels.matmul(a.T.copy(), b.T.copy(), transpose_a=True), expected)
    for wrong, keyword in [
        ((a, b, False, False), "transpose_b=True"),
        ((a.T.copy(), b.T.copy(), False, False), "transpose_a=True"),
        ((a, b.T.copy(), False, True), "transpose_b=False"),
    ]:
        with pytest.raises(ValueError, match=f"inner sizes differ.*; {keyword} fits"):
            kernels.matmul(wrong[0], wrong[1], transpose_a=wrong[2], transpose_b=wrong[3])


@pytest.mark.parametrize(("kernel", "name"), OUTPUTS)
def test_outputs_that_cannot_be_written_are_value_errors(kernel, name):
    view = arrays_of(kernel)[name]
    view.flags.writeable = False
    refuse(ValueError, kernel, name, view)


@pytest.mark.parametrize(("kernel", "name"), OUTPUTS)
def test_outputs_that_share_memory_are_value_errors(kernel, name):
    """Partly, and wholly where the kernel does not work in place."""
    case = CASES[kernel]
    for other in case.names():
        if other == name:
            continue
        sizes = [int(np.prod(SHAPES[key])) for key in (name, other)]
        dtypes = [np.int32 if key in INTEGERS else np.float32 for key in (name, other)]
        for offset in (0, 1):
            if offset == 0 and other in case.in_place.split():
                continue
            memory = np.zeros(max(sizes) + 1, np.float32)
            arrays = arrays_of(kernel)
            arrays[other] = memory.view(dtypes[1])[offset : offset + sizes[1]].reshape(SHAPES[other])
            view = memory.view(dtypes[0])[: sizes[0]].reshape(SHAPES[name])
            refuse(ValueError, kernel, name, view, arrays)


def test_an_input_that_may_be_one_output_may_not_be_another():
    """One row, or one column, so that both have as many elements."""
    row, column = np.ones((1, 7), np.float32), np.ones((40, 1), np.float32)
    wide = np.ones((40, 2), np.float32)
    for output, call in {
        "column_sums": lambda: kernels.matmul(row[:, :1], row.copy(), transpose_a=True, residual=row, column_sums=row[0]),
        "gelu_slope": lambda: kernels.matmul(row[:, :1], row.copy(), residual=row, gelu_slope=row),
        "mean": lambda: kernels.layer_norm_forward(column, row[0, :1].copy(), row[0, :1].copy(), mean=column[:, 0]),
        "dgain": lambda: kernels.layer_norm_backward(
            row, row.copy(), row[0, :1].copy(), row[0, :1].copy(), row[0].copy(), row[0], row[0].copy()),
        "losses": lambda: kernels.cross_entropy(wide[:, :1], np.zeros(40, np.int32), losses=wide.reshape(-1)[:40]),
    }.items():  # fmt: skip
        with pytest.raises(ValueError, match=rf"{output} shares memory|shares memory with {output}"):
            call()
        assert (row == 1).all() and (column == 1).all() and (wide == 1).all()


@pytest.mark.parametrize(("kernel", "name"), [("cross_entropy", "targets"), ("embedding_forward", "tokens"),
                                              ("embedding_backward", "tokens")])  # fmt: skip
def test_ids_out_of_range_are_value_errors(kernel, name):
    lowest = -1 if name == "targets" else 0
    for wrong in (lowest - 1, V, 2**31 - 1, -(2**31)):
        for at in (0, R - 1):
            ids = np.zeros(R, np.int32)
            ids[at] = wrong
            refuse(ValueError, kernel, name, ids)


NO_ROWS = {
    "matmul": lambda x, row: kernels.matmul(x, np.ones((4, 3), np.float32)),
    "matmul transposed": lambda x, row: kernels.matmul(x, x, np.ones((4, 4), np.float32), transpose_a=True, accumulate=True),
    "matmul no columns": lambda x, row: kernels.matmul(np.ones((3, 4), np.float32), x, transpose_b=True),
    "layer_norm_forward": lambda x, row: kernels.layer_norm_forward(x, row, row)[0],
    "layer_norm_backward": lambda x, row: kernels.layer_norm_backward(x, x, x[:, 0], x[:, 0], row, row.copy(), row.copy()),
    "gelu_forward": lambda x, row: kernels.gelu_forward(x),
    "gelu_backward": lambda x, row: kernels.gelu_backward(x, x),
    "exponential": lambda x, row: kernels.exponential(x),
    "rotary": lambda x, row: kernels.rotary(x, *kernels.rotary_tables(2, 2), 2),
    "attention": lambda x, row: kernels.attention_forward(np.empty((0, 12), np.float32), 2, 5)[0],
    "cross_entropy": lambda x, row: kernels.cross_entropy(x, np.empty(0, np.int32)),
    "embedding": lambda x, row: kernels.embedding_forward(row[None], np.empty(0, np.int32)),
    "dropout": lambda x, row: kernels.dropout(x, Dropout(0.5)),
    "sum_of_squares": lambda x, row: np.float32(kernels.sum_of_squares(x)),
}


@pytest.mark.parametrize("kernel", NO_ROWS)
def test_zero_rows_work(isa, kernel):
    out = NO_ROWS[kernel](np.empty((0, 4), np.float32), np.ones(4, np.float32))
    assert out.size == 0 or (out == (0 if kernel == "sum_of_squares" else 1)).all()


def test_matmul_names_what_excludes_each_other():
    a = np.eye(3, dtype=np.float32)
    for wrong, words in [
        ({"accumulate": True}, "out"),
        ({"accumulate": True, "out": a.copy(), "residual": a}, "residual"),
    ]:
        with pytest.raises(ValueError, match=words):
            kernels.matmul(a, a, **wrong)
    with pytest.raises(ValueError, match=r"inner sizes differ, 3 and 4 .*transposed"):
        kernels.matmul(a, np.ones((5, 4), np.float32), transpose_b=True)


@pytest.mark.parametrize("shape", [(), (4,), (2, 2, 4)])
def test_matrices_of_other_dimensions_are_value_errors(shape):
    x, table = np.ones(shape, np.float32), np.ones((2, 2), np.float32)
    ids = np.zeros(4, np.int32)
    for name, call in {
        "a": lambda: kernels.matmul(x, table),
        "b": lambda: kernels.matmul(table, x),
        "x": lambda: kernels.rotary(x, table, table, 1),
        "cosine": lambda: kernels.rotary(table, x, table, 1),
        "logits": lambda: kernels.cross_entropy(x, ids),
        "table": lambda: kernels.embedding_forward(x, ids),
        "qkv": lambda: kernels.attention_forward(x, 1, 1),
        "keys": lambda: kernels.attention_decode(table, x if x.ndim != 3 else table, table, 1),
    }.items():
        with pytest.raises(ValueError, match=name):
            call()


@pytest.mark.parametrize("probability", [-0.1, 1.0, 1.5, float("nan")])
def test_dropout_probabilities_from_zero_to_below_one(probability):
    with pytest.raises(ValueError, match="probability"):
        kernels.dropout(np.ones((2, 2), np.float32), Dropout(probability))


def test_settings_of_adamw_and_decoding_are_checked():
    p, m, v, g = np.ones((4, 3), np.float32)
    for wrong in ({"step": -1}, {"step": 0, "beta1": 1.0}, {"step": 0, "beta2": -0.1}):
        with pytest.raises(ValueError, match="adamw"):
            kernels.adamw(p, m, v, g, learning_rate=0.1, **wrong)
    for length, capacity in ((0, 16), (17, 16), (3, 17)):
        keys, values = np.ones((1, 3, capacity), np.float32), np.ones((1, capacity, 16), np.float32)
        with pytest.raises(ValueError, match=r"capacity|length"):
            kernels.attention_decode(np.ones(3, np.float32), keys, values, length)
    for heads, tokens in ((0, 1), (2, 1), (1, 3), (1, 0)):
        with pytest.raises(ValueError, match="qkv"):
            kernels.attention_forward(np.ones((4, 9), np.float32), heads, tokens)


def test_numbers_of_threads_and_instruction_sets_are_checked():
    for wrong in (0, -1, 4097):
        with pytest.raises(ValueError, match="threads"):
            kernels.set_num_threads(wrong)
    before = kernels.isa()
    with pytest.raises(ValueError, match=r"'sse9'.*" + before):
        kernels.set_isa("sse9")
    assert kernels.isa() == before
