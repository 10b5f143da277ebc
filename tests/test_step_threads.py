"""How many threads a step uses beside other programs: chosen by time, never by what would change a bit."""

import pytest

from femto import kernels
from femto.kernels import threads
from femto.training.step_threads import MOST, FreeThreads, StepThreads
from tests.fixed_runs import new, trained


def run(steps, machine):
    """Seconds of a session, and the threads of each step, on a machine that says what a step takes: machine(step, threads)."""
    chooser, total, used = StepThreads(2), 0.0, []
    for step in range(steps):
        used.append(chooser.now)
        seconds = machine(step, chooser.now)
        total += seconds
        chooser.add(seconds)
    return total, used


def test_where_several_threads_are_faster_they_are_used_from_the_third_step_on():
    total, used = run(1000, lambda step, threads: 0.1 / threads)
    assert used == [1, 1] + [2] * 998 and total < 1.003 * 50
    _, used = run(10, lambda step, threads: 1.0 / threads)
    assert used == [1] + [2] * 9, "one long step is enough"


def test_a_single_slow_step_changes_nothing_and_a_very_slow_one_only_for_a_while():
    _, used = run(200, lambda step, threads: 2.0 if step == 50 else 1.0 / threads)
    assert set(used[2:]) == {2}
    _, used = run(200, lambda step, threads: 5.0 if step == 50 else 1.0 / threads)
    assert used[50:52] == [2, 1] and used[80:] == [2] * 120


@pytest.mark.parametrize("times", [1.2, 2.0, 10.0, 50.0])
def test_where_several_threads_are_slower_they_are_only_tried_now_and_then(times):
    total, used = run(2000, lambda step, threads: 1.0 if threads == 1 else times)
    assert total < 1.15 * 2000 + 2 * times and 1 <= used.count(2) < 200


def test_a_session_follows_other_programs_that_come_and_go():
    def machine(step, threads):
        busy = 300 <= step < 600
        return (1.3 if busy else 1.0) if threads == 1 else (20.0 if busy else 0.5)

    _, used = run(1500, machine)
    assert used[2:300] == [2] * 298 and used[305:600].count(2) < 10 and used[-500:] == [2] * 500


def test_the_threads_that_somebody_chose_are_kept_and_no_bit_depends_on_others(monkeypatch):
    before = kernels.num_threads()
    try:
        monkeypatch.setattr(threads, "_chosen", False)
        monkeypatch.setattr(threads, "_found", 3)
        free = trained(new(training={"dropout": 0.1}))
        assert kernels.num_threads() in (1, 3) and threads.free_threads() == 3
        trained(new(), 1)
        assert kernels.num_threads() == 3, "a step says nothing of several threads"
        FreeThreads()
        assert kernels.num_threads() == 1
        with threads.fixed_threads(2):
            assert threads.free_threads() == 1
            fixed = trained(new(training={"dropout": 0.1}))
            assert kernels.num_threads() == 2
        assert kernels.num_threads() == 1 and threads.free_threads() == 3
        monkeypatch.setattr(threads, "_found", MOST + 1)
        assert FreeThreads().steps is None
        kernels.set_num_threads(3)
        chosen = trained(new(training={"dropout": 0.1}))
        assert kernels.num_threads() == 3
        assert len({made.model.parameters_sha256 for made in (free, fixed, chosen)}) == 1
    finally:
        threads.use_threads(before)
