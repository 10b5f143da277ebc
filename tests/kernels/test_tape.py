"""Tapes: recorded calls compute what the calls would have, on the numbers that are there when the tape runs."""

import threading

import numpy as np
import pytest

from femto import kernels
from femto.kernels import Dropout, Live, Tape
from tests.kernels.test_arguments import CASES, INTEGERS, arrays_of

RECORDABLE = [name for name in CASES if name != "sum_of_squares"]


@pytest.mark.parametrize("case", RECORDABLE)
def test_a_recorded_call_writes_nothing_until_the_tape_runs_and_then_what_the_call_would(isa, case):
    recorded, called = arrays_of(case), arrays_of(case)
    before = {name: array.copy() for name, array in recorded.items()}
    with Tape() as tape:
        CASES[case].function(**recorded)
    assert len(tape) == 1
    for name, array in recorded.items():
        np.testing.assert_array_equal(array, before[name])
    for _ in range(2):
        tape.run()
        CASES[case].function(**called)
        for name, array in recorded.items():
            np.testing.assert_array_equal(array, called[name])


def test_a_tape_reads_arrays_and_live_numbers_anew():
    x, out, step = np.ones((40, 8), np.float32), np.zeros((40, 8), np.float32), Live(3)
    with Tape() as tape:
        kernels.dropout(x, Dropout(0.5, 1, step, 2), out)
        kernels.gelu_forward(out, out)
    for value, scale in ((3, 1.0), (4, 2.0), (-1, 0.5), (2**40 + 7, 1.0)):
        step.value, x[...] = value, scale
        tape.run()
        np.testing.assert_array_equal(out, kernels.gelu_forward(kernels.dropout(x, Dropout(0.5, 1, value, 2))))


def test_the_place_in_the_batch_may_be_live(rng):
    place, rows, qkv = Live(), np.ones((6, 4), np.float32), np.float32(rng.standard_normal((6, 12)))
    out, (heads_out, row_max, row_scale) = np.zeros_like(rows), kernels.attention_forward(qkv, 2, 3)
    settings = Dropout(0.5, 1, 2, 3)
    with Tape() as tape:
        kernels.dropout(rows, settings, out, first_row=(place + 1) * 3)
        kernels.attention_forward(qkv, 2, 3, heads_out, row_max, row_scale, dropout=settings, first_sequence=place + 1)
    for place.value in (0, 5, 2):
        tape.run()
        np.testing.assert_array_equal(out, kernels.dropout(rows, settings, first_row=3 * place.value + 3))
        expected = kernels.attention_forward(qkv, 2, 3, dropout=settings, first_sequence=place.value + 1)
        np.testing.assert_array_equal(heads_out, expected[0])
    for wrong in (-2, 2**40, 2**63 - 1):
        place.value = wrong
        with pytest.raises(ValueError, match="first_row: expected from 0"):
            tape.run()


def test_ids_are_checked_when_they_are_recorded_and_whenever_the_tape_runs():
    arrays = arrays_of("embedding_forward")
    tokens, out = arrays["tokens"], arrays["norm"]
    tokens[1] = 10**6
    with Tape() as tape, pytest.raises(ValueError, match="tokens: id 1000000 at position 1"):
        CASES["embedding_forward"].function(**arrays)
    assert len(tape) == 0
    tokens[1] = 0
    with tape:
        kernels.set_zero(out)
        CASES["embedding_forward"].function(**arrays)
    out[...], tokens[2] = 5.0, -1
    with pytest.raises(ValueError, match="tokens: id -1 at position 2"):
        tape.run()
    assert (out == 5.0).all(), "nothing is computed"


def test_arrays_live_as_long_as_the_tape():
    tape, out = Tape(), np.zeros((3, 3), np.float32)
    with tape:
        kernels.matmul(np.full((3, 3), 2.0, np.float32), np.eye(3, dtype=np.float32), out)
    filler = [np.full((3, 3), 7.0, np.float32) for _ in range(1000)]
    tape.run()
    assert (out == 2.0).all() and len(filler) == 1000


def test_only_the_thread_that_records_is_recorded():
    x, out = np.ones(9, np.float32), np.zeros(9, np.float32)
    with Tape() as tape:
        other = threading.Thread(target=lambda: kernels.exponential(x, out))
        other.start()
        other.join()
        with pytest.raises(RuntimeError, match="records to another tape already"), Tape():
            pass
    assert len(tape) == 0 and (out > 2.7).all()


def test_a_kernel_that_returns_a_number_cannot_be_recorded():
    with Tape(), pytest.raises(ValueError, match="sum_of_squares: returns a number"):
        kernels.sum_of_squares(np.ones(3, np.float32))


def test_a_refused_call_is_not_recorded():
    for case in RECORDABLE:
        name = CASES[case].names()[0]
        with Tape() as tape, pytest.raises((TypeError, ValueError)):
            CASES[case].function(**arrays_of(case) | {name: np.zeros(3, "f8" if name not in INTEGERS else "i8")})
        assert len(tape) == 0


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_every_part_runs_once_whatever_the_workers_and_threads(rng, workers, threads):
    parts, rows = 13, 300
    a = np.float32(rng.standard_normal((parts, rows, 40)))
    b = np.float32(rng.standard_normal((40, 33)))
    scratch, out = np.zeros((workers, rows, 33), np.float32), np.zeros((parts, rows, 33), np.float32)

    def tape(worker: int, part: int) -> Tape:
        with Tape() as tape:
            kernels.matmul(a[part], b, scratch[worker])
            kernels.matmul(scratch[worker], np.eye(33, dtype=np.float32), out[part], accumulate=True)
        return tape

    tapes = [[tape(worker, part) for part in range(parts)] for worker in range(workers)]
    kernels.set_num_threads(threads)
    for turn in (1, 2):
        kernels.run_parts(tapes)
        np.testing.assert_allclose(out, turn * (a @ b), rtol=2e-4, atol=2e-4)


def test_calls_of_a_tape_are_timed():
    x, out = np.ones(90000, np.float32), np.zeros(90000, np.float32)
    with Tape() as tape:
        kernels.exponential(x, out)
        kernels.gelu_forward(out, out)
    calls = []
    kernels.set_timing_hook(calls.append)
    try:
        tape.run()
    finally:
        kernels.set_timing_hook(None)
    first, second = calls
    assert (first.operation, second.operation) == ("exponential", "gelu_forward") and first.bytes == 720000
    assert 0.0 < first.seconds <= second.started - first.started


def test_a_tape_follows_the_instruction_set_that_is_chosen_when_it_runs(rng):
    a, b = np.float32(rng.standard_normal((2, 33, 33)))
    out, before = np.zeros((33, 33), np.float32), kernels.isa()
    with Tape() as tape:
        kernels.matmul(a, b, out)
    try:
        for name in kernels.supported_isas():
            kernels.set_isa(name)
            tape.run()
            np.testing.assert_array_equal(out, kernels.matmul(a, b))
    finally:
        kernels.set_isa(before)


def test_a_call_whose_arrays_share_memory_leaves_nothing_on_the_tape():
    table = np.zeros((5, 4), np.float32)
    with Tape() as tape, pytest.raises(ValueError, match="out shares memory with table"):
        kernels.embedding_forward(table, np.zeros(10**6, np.int32)[:5], table)
    tape.run()  # the ids are gone, and are not looked at


def test_what_is_no_tape_for_each_part_of_each_worker_is_refused():
    out = np.zeros(9, np.float32)

    def tape() -> Tape:
        with Tape() as tape:
            kernels.set_zero(out)
        return tape

    both = tape()
    for wrong, error, told in (
        ([], ValueError, "tapes: expected those of at least one worker"),
        ([[tape(), tape()], [tape()]], ValueError, "tapes: worker 1 has 1 parts, and worker 0 has 2"),
        ([[tape(), None]], TypeError, "tapes: expected a Tape for each part of each worker, got NoneType"),
        ([[both], [both]], RuntimeError, "this tape is in use"),
    ):
        with pytest.raises(error, match=told):
            kernels.run_parts(wrong)
    both.run()
    kernels.run_parts([[], []])


def test_ids_of_every_worker_are_checked():
    table, ids = np.ones((2, 3), np.float32), np.zeros((2, 2), np.int32)
    tapes = []
    for worker in range(2):
        with Tape() as tape:
            kernels.embedding_forward(table, ids[worker])
        tapes.append([tape])
    kernels.run_parts(tapes)
    ids[1, 1] = 10**9
    with pytest.raises(ValueError, match="tokens: id 1000000000 at position 1"):
        kernels.run_parts(tapes)


def test_one_thing_at_a_time_is_done_with_a_tape():
    out = np.zeros(9, np.float32)
    tape, other, refused = Tape(), Tape(), []

    def refuse() -> None:
        for use in (tape.run, tape.__enter__):
            with pytest.raises(RuntimeError, match="this tape is in use"):
                use()
            refused.append(use)

    with tape:
        kernels.set_zero(out)
        with pytest.raises(ValueError, match="the run of a tape cannot be recorded"):
            tape.run()
        with pytest.raises(RuntimeError, match="this thread does not record to this tape"):
            other.__exit__(None, None, None)
        thread = threading.Thread(target=refuse)
        thread.start()
        thread.join()
    assert len(refused) == 2

    def hook(call: kernels.KernelCall) -> None:
        refuse()
        raise KeyboardInterrupt

    kernels.set_timing_hook(hook)
    try:
        with pytest.raises(KeyboardInterrupt):
            tape.run()
    finally:
        kernels.set_timing_hook(None)
    assert len(refused) == 4 and len(tape) == 1
    tape.run()


def test_a_tape_that_is_recorded_to_lives_until_that_ends():
    gone = Tape()
    leave = gone.__enter__().__exit__
    del gone
    kernels.set_zero(np.zeros(9, np.float32))
    leave(None, None, None)
    kernels.set_zero(np.zeros(9, np.float32))


def test_numbers_that_follow_others_are_read_anew_and_kept_in_range():
    base = Live(2)
    more, twice = base + 1 + 2, (base + 1) * 2
    base.value = 10
    assert twice.value == 22
    assert (more.value, more.__index__(), repr(more)) == (13, 13, "Live(13)")
    with pytest.raises(AttributeError, match="follows another"):
        more.value = 3
    base.value = 2**63 - 1
    assert more.value == 2**63 + 2
    keys, values, out = np.zeros((1, 4, 16), np.float32), np.zeros((1, 16, 16), np.float32), np.zeros(4, np.float32)
    base.value = 0
    with Tape() as tape:
        kernels.attention_decode(np.ones(4, np.float32), keys, values, base + 1, out)
    calls = []
    kernels.set_timing_hook(calls.append)
    try:
        for length in (1, 16):
            base.value = length - 1
            tape.run()
            assert calls[-1].sizes["length"] == length and calls[-1].flops == 16.0 * length
    finally:
        kernels.set_timing_hook(None)
    for wrong in (-1, 16, 2**63 - 1):
        base.value = wrong
        with pytest.raises(ValueError, match="length: expected from 1 to 16"):
            tape.run()
