"""The same bits for every number of threads, on every machine with fused multiply-add, and whatever scratch memory holds."""

import hashlib
import os

import numpy as np
import pytest

from femto import kernels
from femto.kernels import Dropout

DROPOUT = Dropout(0.2, seed=2**40 + 3, step=5, site=6)
FUSED = [isa for isa in kernels.supported_isas() if isa != "base"]

# SHA-256 (its first 16 digits) of every result, for any instruction set with fused multiply-add. A change here means that
# models of an earlier version cannot be trained again to the bit: intended ones go into the changelog.
DIGESTS = {
    "matmul 00": "515aac18f79cfbfd",
    "matmul 01": "bd84b1a49c329e67",
    "matmul 10": "180383dded115258",
    "matmul 11": "4113e4b7a66c3b9e",
    "matmul sums": "0d4f46793412c583",
    "matmul tall": "473d01f98a06d467",
    "layer_norm": "7a7520396c420a43",
    "exponential": "dd7aca317198359b",
    "gelu": "5ffba3e134840b5a",
    "dropout": "efccf8943b5facee",
    "sum_of_squares": "7aea342235edf0fb",
    "adamw": "c7b78fa8754f1e4a",
    "attention 140 27": "6f6d770beb85aa0f",
    "rotary 140 27": "fed6974534650c44",
    "attention 61 20": "ce3e7503befe5e77",
    "rotary 61 20": "b7f216a03b1b68d8",
    "attention 100 16": "fd651bc7f0b23bb6",
    "rotary 100 16": "609c1682c92871ce",
    "attention_decode": "638485eaac368fce",
    "cross_entropy": "781cb7e055d06dfb",
    "embedding": "325ddb96a50c9ad2",
}


class Numbers:
    """Deterministic inputs from integer arithmetic: no library function that rounds differently elsewhere."""

    def __init__(self) -> None:
        self.state = 1

    def __call__(self, *shape: int, low: float = -2.0, high: float = 2.0) -> np.ndarray:
        steps = self.integers(*shape, limit=1 << 16).astype(np.float32) / np.float32(1 << 16)
        return np.float32(low) + np.float32(high - low) * steps

    def integers(self, *shape: int, limit: int) -> np.ndarray:
        self.state += 1
        x = np.arange(int(np.prod(shape)), dtype=np.uint64) + np.uint64(self.state << 32)
        for _ in range(3):  # SplitMix64
            x = (x ^ x >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
            x = (x ^ x >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
        return (x >> np.uint64(33)).reshape(shape).astype(np.int64) % limit


def every_result() -> dict[str, tuple[np.ndarray, ...]]:
    """Outputs of all kernels, each on enough work to run on threads."""
    number, results = Numbers(), {}
    for transpose_a in (False, True):
        for transpose_b in (False, True):
            a, b = number(*(450, 77) if transpose_a else (77, 450)), number(*(131, 450) if transpose_b else (450, 131))
            out, pre = number(77, 131), number(77, 131)
            sums = number(131)
            product = kernels.matmul(
                a, b, transpose_a=transpose_a, transpose_b=transpose_b, bias=number(131), residual=pre,
                column_sums=sums if transpose_a else None,
            )  # fmt: skip
            kernels.matmul(a / 32, b, out, transpose_a=transpose_a, transpose_b=transpose_b, gelu_slope=pre)
            back = kernels.matmul(a, b, transpose_a=transpose_a, transpose_b=transpose_b, factor=pre)
            results[f"matmul {transpose_a:d}{transpose_b:d}"] = product, pre, out, back, sums
    sums = number(44)  # a width that is ragged on AVX-512 alone, and rows that are no multiple of four
    results["matmul sums"] = (kernels.matmul(number(451, 20), number(451, 44), transpose_a=True, column_sums=sums), sums)
    results["matmul tall"] = (kernels.matmul(number(600, 33), number(33, 50)),)

    x, gain, dgain, dbias = number(300, 99), number(99), number(99), number(99)
    normalised = kernels.layer_norm_forward(x, gain, number(99))
    dx = kernels.layer_norm_backward(number(300, 99), x, *normalised[1:], gain, dgain, dbias, residual=number(300, 99))
    results["layer_norm"] = *normalised, dx, dgain, dbias

    flat = number(50021, low=-90.0, high=90.0)
    results["exponential"] = (kernels.exponential(flat),)
    results["gelu"] = kernels.gelu_forward(flat / 8), kernels.gelu_backward(number(50021), flat / 8)
    results["dropout"] = (kernels.dropout(number(211, 99), DROPOUT, residual=number(211, 99), first_row=9),)
    results["sum_of_squares"] = (np.float64(kernels.sum_of_squares(flat)),)
    p, m, v = number(50021), number(50021), number(50021, low=0.0)
    kernels.adamw(p, m, v, flat, learning_rate=1e-3, step=7, gradient_scale=0.3)
    results["adamw"] = p, m, v

    for tokens, size in ((140, 27), (61, 20), (100, 16)):
        qkv, dout = number(3 * tokens, 6 * size), number(3 * tokens, 2 * size)
        tables = number(tokens, size // 2), number(tokens, size // 2)
        forward = kernels.attention_forward(qkv, 2, tokens, dropout=DROPOUT, first_sequence=2)
        backward = kernels.attention_backward(dout, qkv, *forward, 2, tokens, dropout=DROPOUT, first_sequence=2)
        results[f"attention {tokens} {size}"] = *forward, backward
        results[f"rotary {tokens} {size}"] = (kernels.rotary(qkv, *tables, 6),)
    decoded = kernels.attention_decode(number(60), number(3, 20, 64), number(3, 64, 32), 50)
    results["attention_decode"] = (decoded,)

    logits, targets = number(200, 101, low=-20.0, high=20.0), number.integers(200, limit=101).astype(np.int32)
    dlogits = np.empty_like(logits)
    results["cross_entropy"] = kernels.cross_entropy(logits, targets, dlogits=dlogits, gradient_scale=0.01), dlogits
    table, positions, dout = number(101, 90), number(40, 90), number(400, 90)
    tokens_ = number.integers(400, limit=101).astype(np.int32)
    results["embedding"] = (kernels.embedding_forward(table, tokens_, positions=positions), table, positions)
    kernels.embedding_backward(dout, tokens_, table, positions)
    return results


def digests() -> dict[str, str]:
    def digest(arrays):
        return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()[:16]

    return {name: digest(arrays) for name, arrays in every_result().items()}


def test_the_number_of_threads_changes_no_bit(isa):
    kernels.set_num_threads(1)
    expected = digests()
    for threads in (2, 3, 7):
        kernels.set_num_threads(threads)
        assert digests() == expected, f"{threads} threads"


@pytest.mark.parametrize("isa", FUSED)
def test_every_machine_with_fused_multiply_add_computes_these_bits(isa):
    kernels.set_isa(isa)
    assert digests() == DIGESTS


def test_a_forked_child_computes_on_its_own_thread():
    kernels.set_num_threads(3)
    a = np.ones((300, 300), np.float32)
    kernels.matmul(a, a)  # libgomp's threads exist now, and will not in the child
    child = os.fork()
    if child == 0:
        os._exit(0 if (kernels.matmul(a, a) == 300).all() and kernels.num_threads() == 1 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_leftovers_in_scratch_memory_change_no_bit(isa, threads):
    expected = digests()
    poison = np.full((700, 1200), np.nan, np.float32)
    kernels.matmul(poison, poison.T.copy())
    for transpose_b in (False, True):
        kernels.matmul(poison[:, :700], poison[:, :700], transpose_b=transpose_b)
    forward = kernels.attention_forward(poison, 4, 350)
    kernels.attention_backward(poison[:, :400].copy(), poison, *forward, 4, 350)
    gain = poison[0].copy()
    kernels.layer_norm_backward(poison, poison, gain[:700], gain[:700], gain, gain.copy(), gain.copy())
    kernels.dropout(poison, Dropout(0.5))
    assert digests() == expected
