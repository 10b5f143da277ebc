"""How many threads a loop uses beside other programs: chosen by time, never by what would change a bit."""

import threading

import pytest

import femto
from femto import kernels
from femto.generation import Sampling, generate
from femto.kernels import threads
from femto.kernels.loop_threads import LoopThreads, ThreadChoice
from femto.profiling import benchmark
from femto.training import evaluate
from tests.fixed_runs import new, trained


class Machine:
    """Cores, and other programs that use some of them; its clocks go on while it works."""

    def __init__(self, cores, busy=0, piece=0.02):
        self.cores, self.busy, self.piece = cores, busy, piece
        self.wall_seconds = self.cpu_seconds = 0.0

    def work(self, count):
        """A piece of equal work with so many threads: those that do not get a core of their own stop all others."""
        crowd = count > max(1, self.cores - self.busy)
        seconds = self.piece / count * (20.0 if crowd else 1.0)
        self.wall_seconds += seconds
        self.cpu_seconds += seconds * (0.6 if crowd else 1.0) * count

    def wall(self):
        return self.wall_seconds

    def cpu(self):
        return self.cpu_seconds


def run(choice, machine, pieces):
    """The threads of each piece."""
    used = []
    for _ in range(pieces):
        used.append(choice.now)
        wall, cpu = machine.wall_seconds, machine.cpu_seconds
        machine.work(choice.now)
        choice.add(machine.wall_seconds - wall, machine.cpu_seconds - cpu)
    return used


@pytest.mark.parametrize("cores", [2, 3, 4, 64])
def test_where_the_threads_get_their_cores_all_are_used_and_fewer_never_tried(cores):
    assert set(run(ThreadChoice(cores), Machine(cores), 3000)) == {cores}


@pytest.mark.parametrize(
    ("cores", "busy", "best"), [(2, 1, 1), (2, 2, 1), (4, 1, 2), (4, 4, 1), (64, 1, 32), (64, 40, 16), (6, 5, 1)]
)
def test_beside_other_programs_as_many_are_used_as_are_fastest(cores, busy, best):
    machine, choice = Machine(cores, busy), ThreadChoice(cores)
    used = run(choice, machine, 4000)
    assert choice.settled == best == max(set(used), key=used.count)
    assert machine.wall_seconds < 1.25 * 4000 * machine.piece / best


def test_programs_that_come_and_go_are_followed():
    machine, choice = Machine(2), ThreadChoice(2)
    assert set(run(choice, machine, 300)) == {2}
    machine.busy = 2
    assert run(choice, machine, 300)[20:].count(2) < 10 and choice.settled == 1
    machine.busy = 0
    run(choice, machine, 2000)
    assert set(run(choice, machine, 500)) == {2}


def test_threads_that_sleep_while_they_wait_cost_a_trial_now_and_then_and_no_more():
    machine, choice = Machine(2), ThreadChoice(2)
    machine.cpu = lambda: 0.0  # as if they had computed nothing
    used = []
    for _ in range(5000):
        used.append(choice.now)
        choice.add(0.02 / choice.now, 0.0)
    assert choice.settled == 2 and used.count(1) < 0.05 * 5000


def test_one_slow_piece_changes_nothing_for_long():
    machine, choice = Machine(2), ThreadChoice(2)
    run(choice, machine, 50)
    choice.add(0.2, 0.22)  # another program had a core meanwhile
    used = run(choice, machine, 200)
    assert used.count(1) < 110 and used[-70:] == [2] * 70


def test_most_short_pieces_are_not_timed(free):
    machine = Machine(2, piece=0.0001)
    asked = []
    loop = LoopThreads(lambda: asked.append(0) or machine.wall(), machine.cpu)
    assert [loop.piece(lambda: machine.work(2) or 5) for _ in range(80)] == [5] * 80
    assert len(asked) == 2 * 10


@pytest.fixture
def free(monkeypatch):
    """Two threads that nobody chose."""
    before = kernels.num_threads()
    monkeypatch.setattr(threads, "_chosen", False)
    monkeypatch.setattr(threads, "_found", 2)
    threads.use_threads(2)
    yield
    threads.use_threads(before)


def test_what_a_loop_settles_on_holds_for_what_follows_and_a_choice_of_somebody_is_kept(free):
    machine = Machine(2, busy=1)
    loop = LoopThreads(machine.wall, machine.cpu)
    used = []

    def work():
        used.append(kernels.num_threads())
        machine.work(kernels.num_threads())

    while not loop.decided:
        loop.piece(work)
    assert used[0] == 2 and used[-1] == 1 and kernels.num_threads() == 1
    LoopThreads().piece(work)
    assert used[-1] == 1
    with threads.fixed_threads(2):
        for _ in range(50):
            loop.piece(work)
        assert loop.decided and set(used[-50:]) == {2}
    assert kernels.num_threads() == 1


def test_an_error_and_a_piece_inside_another_leave_the_threads_as_they_were(free):
    machine = Machine(2, busy=1)
    loop, inner = LoopThreads(machine.wall, machine.cpu), LoopThreads(machine.wall, machine.cpu)

    def fail():
        raise KeyError

    for _ in range(8):
        with pytest.raises(KeyError):
            loop.piece(fail)
        assert kernels.num_threads() == 2 and not loop.decided
    while not loop.decided:
        loop.piece(inner.piece, lambda: machine.work(kernels.num_threads()))
    assert not inner.decided
    other = threading.Thread(target=loop.piece, args=(lambda: loop.piece(lambda: None),))
    other.start()
    other.join(10)
    assert not other.is_alive()


def test_no_bit_depends_on_the_threads_that_are_tried(free, monkeypatch):
    """Whatever the clocks say: here, that every piece lasted half a second and nothing was computed in it."""
    used = set()

    def add(choice, seconds, cpu_seconds, real=ThreadChoice.add):
        used.add(choice.now)
        real(choice, 0.5, 0.0)

    def results():
        made = trained(new(training={"dropout": 0.1}))
        dataset = femto.from_text("text", "to be or not to be; " * 30, made.tokenizer)
        loss = evaluate(made.model, dataset.ids, made.tokenizer).nats
        tokens = [each.token for each in generate(made, "to be", 40, Sampling(1.0, seed=1))]
        return made.model.parameters_sha256, loss, tokens

    with monkeypatch.context() as patched:
        patched.setattr(ThreadChoice, "add", add)
        adaptive = results()
    assert used == {1, 2}
    with threads.fixed_threads(2):
        assert results() == adaptive


def test_a_benchmark_says_that_the_cores_are_busy(free, monkeypatch):
    config, training = femto.ModelConfig(31, 16, 16, 1, 2), femto.TrainConfig(batch_size=2)
    monkeypatch.setattr(benchmark, "_burn", lambda: (100.0, 1.0))
    with threads.fixed_threads(2):
        idle = benchmark.time_steps(config, training, 2)
    assert (idle["cores_busy"], idle["cpu_share"], idle["threads"], idle["peak_gflops"]) == (False, 1.0, 2, 100.0)
    threads.use_threads(1)  # as a loop has settled
    monkeypatch.setattr(LoopThreads, "decided", True)
    fewer = benchmark.time_steps(config, training, 2)
    assert (fewer["cores_busy"], fewer["threads"]) == (True, 1)
    shares = iter([1.0, 0.6] * 3)
    monkeypatch.setattr(benchmark, "_burn", lambda: (100.0, next(shares)))
    for measured in (
        benchmark.time_steps,
        benchmark.time_kernels,
        lambda config, training, rounds: benchmark.time_inference(config, rounds),
    ):
        with threads.fixed_threads(2):
            result = measured(config, training, 1)
        assert (result["cores_busy"], result["cpu_share"], result["threads"]) == (True, 0.6, 2)
