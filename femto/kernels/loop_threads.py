"""How many threads a loop of equal work uses where other programs use the cores as well.

Threads that wait for each other are slower than one, even tens of times, when another program takes the core of one of them. So
the pieces of a loop are timed. Where the threads get less of the cores than they could use, fewer are tried, and used while that
is faster. No bit of any result depends on it.
"""

import threading
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from femto.kernels.threads import free_threads, num_threads, use_threads

WINDOW = 0.1  # seconds of pieces that are judged together: the system counts the time of a running thread in milliseconds
LONG = 0.25  # seconds of a first piece that is judged, too: that it touches memory first does not matter in one so long
SHORT, UNTIMED = 0.001, 7  # after a piece of fewer seconds, so many are not timed: timing takes a microsecond or two
SLOW = 1.1  # times the fastest: more threads are taken until they are so slow
VERY_SLOW = 3.0  # times the fastest: so slow it is clear after one piece
RETRY = (4.0, 32.0)  # times what a trial took: until the next one, at first; at most

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def crowded(threads: int, seconds: float, cpu_seconds: float) -> bool:
    """Whether so many threads had to do without a quarter of a core or more, by the time that all of them together computed."""
    return cpu_seconds < 0.97 * (threads - 0.25) * seconds


class ThreadChoice:
    """Chooses the threads of each piece of a loop by what earlier ones took: `most`, or a half, a quarter, … of them, or one."""

    def __init__(self, most: int) -> None:
        self.most = self.settled = most
        self.judged = False  # whether enough pieces were timed to say something
        self._first = True
        self._wait, self._retry = 0.0, RETRY[0]  # seconds of pieces until the next trial may begin; what it is a multiple of
        self._trial: list[int] = []  # threads to time yet, the first of them now
        self._found: dict[int, float] = {}  # seconds of a piece by threads, in this trial
        self._spent = 0.0  # seconds of this trial, and of the window that led to it
        self._seconds = self._cpu_seconds = 0.0  # of the window
        self._pieces = 0

    @property
    def now(self) -> int:
        """The threads that the next piece is to use."""
        return self._trial[0] if self._trial else self.settled

    @property
    def decided(self) -> bool:
        """Whether there was a judgement, and no trial is under way."""
        return self.judged and not self._trial

    def settle(self, threads: int) -> None:
        """Take over what another loop has settled on."""
        if threads != self.settled:
            self.settled, self._wait = threads, max(self._wait, RETRY[0] * WINDOW)
            self._end_trial()

    def add(self, seconds: float, cpu_seconds: float) -> None:
        """A piece with `now` threads took so long, and so much time of all processors."""
        was_first, self._first = self._first, False
        if was_first and seconds < LONG:
            return
        self._wait -= seconds
        self._seconds += seconds
        self._cpu_seconds += cpu_seconds
        self._pieces += 1
        hopeless = bool(self._trial) and seconds > VERY_SLOW * min(self._found.values())
        if self._seconds < WINDOW and not hopeless:
            return
        is_crowded = crowded(self.now, self._seconds, self._cpu_seconds)
        each, total = self._seconds / self._pieces, self._seconds
        self._clear_window()
        self.judged = True
        if self._trial:
            self._found[self._trial.pop(0)] = each
            self._spent += total
            if not is_crowded:
                self._trial.clear()  # fewer threads would only be slower
            if not self._trial:
                self._choose()
        elif self._wait <= 0.0 and (is_crowded or self.settled < self.most):
            self._found, self._spent = {self.settled: each}, total
            halves = [max(1, self.most >> shift) for shift in range(self.most.bit_length())]
            self._trial = [n for n in halves if n > self.settled or (is_crowded and n < self.settled)]

    def _choose(self) -> None:
        fastest = min(self._found.values())
        chosen = max(threads for threads, seconds in self._found.items() if seconds <= SLOW * fastest)
        self._retry = RETRY[0] if chosen != self.settled else min(2.0 * self._retry, RETRY[1])
        self.settled, self._wait = chosen, self._retry * self._spent

    def _end_trial(self) -> None:
        self._trial.clear()
        self._clear_window()

    def _clear_window(self) -> None:
        self._seconds = self._cpu_seconds = 0.0
        self._pieces = 0


_timing = threading.Lock()  # held while a piece is timed: one at a time in the process, and none inside another


class LoopThreads:
    """Runs the pieces of a loop of equal work: with ThreadChoice where femto may choose the threads, else as they are.

    What is settled holds for the whole process: for what follows, and for other loops.

    >>> loop = LoopThreads()
    >>> [loop.piece(pow, number, 2) for number in range(3)]
    [0, 1, 4]
    """

    def __init__(self, wall: Callable[[], float] = time.perf_counter, cpu: Callable[[], float] = time.process_time) -> None:
        """wall: a clock, in seconds. cpu: the time that all threads of the process computed, in seconds."""
        self._wall, self._cpu = wall, cpu
        self._choice: ThreadChoice | None = None
        self._untimed = 0  # pieces that are not to be timed

    @property
    def decided(self) -> bool:
        """Whether it is clear for now how many threads the loop is to have."""
        return free_threads() == 1 or (self._choice is not None and self._choice.decided)

    def piece(self, work: Callable[Arguments, Result], *arguments: Arguments.args, **keywords: Arguments.kwargs) -> Result:
        """Do a piece of the work, and return what it returns. Inside another piece of any loop it is just done."""
        most = free_threads()
        self._untimed -= 1
        if self._untimed >= 0 or most == 1 or not _timing.acquire(blocking=False):
            return work(*arguments, **keywords)
        try:
            if self._choice is None or self._choice.most != most:
                self._choice = ThreadChoice(most)
            choice = self._choice
            choice.settle(num_threads())
            use_threads(choice.now)
            try:
                wall, cpu = self._wall(), self._cpu()
                result = work(*arguments, **keywords)
                wall, cpu = self._wall() - wall, self._cpu() - cpu
                choice.add(wall, cpu)
                self._untimed = UNTIMED if wall < SHORT and choice.now == choice.settled else 0
            finally:
                use_threads(choice.settled)
            return result
        finally:
            _timing.release()
