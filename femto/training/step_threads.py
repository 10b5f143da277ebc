"""How many threads the next step uses, where other programs use the cores as well.

Two threads that wait for each other are slower than one, even tens of times, when another program takes the core of one of them.
So a session times its steps, and goes on with one thread while that is faster. No bit of any result depends on it.
"""

from femto.kernels.threads import free_threads, use_threads

MOST = 4  # threads: with more, a step on one thread costs more than it may tell
LONG = 0.25  # seconds: the first touch of memory does not matter in such a step, so one is enough
FIRST = 2  # steps with one thread at the start of a session: the first is slow for other reasons, the second is the measure
SLOW = 1.1  # times a step with one thread: so slow several are not worth it,
VERY_SLOW = 3.0  # and so slow it is clear after one step, not two in a row
RETRY = (4.0, 32.0)  # after a trial of several threads that lost time: the next when so many times as much has passed; at most


class StepThreads:
    """Chooses between one thread and `most`, step by step, by how long steps took."""

    def __init__(self, most: int) -> None:
        self.most, self.now = most, 1
        self.one = float("inf")  # seconds of a step with one thread, of late
        self._first, self._slow_in_a_row = FIRST, 0
        self._wait, self._retry = 0.0, RETRY[0]  # seconds until several threads are tried again

    @property
    def waits(self) -> bool:
        """Whether several threads were slower the last time, and are not to be tried yet."""
        return self.now == 1 and self._wait > 0.0

    def add(self, seconds: float) -> int:
        """A step with `now` threads took so long; returns the threads of the next one, which is `now` from here on."""
        if self.now == 1:
            self._first = 0 if seconds >= LONG else self._first - 1
            # A first step is slow because memory is touched first; of later ones, a slow one may be chance.
            self.one = seconds if self._first >= 0 else min(seconds, 0.9 * self.one + 0.1 * seconds)
            self._wait -= seconds
            if self._first <= 0 and self._wait <= 0.0:
                self.now, self._slow_in_a_row = self.most, 0
        else:
            slow = seconds > SLOW * self.one
            self._slow_in_a_row = self._slow_in_a_row + 1 if slow else 0
            if seconds > VERY_SLOW * self.one or self._slow_in_a_row >= 2:
                self.now = 1
                self._wait = self._retry * seconds
                self._retry = min(2.0 * self._retry, RETRY[1])
            elif not slow:
                self._retry = max(RETRY[0], 0.9 * self._retry)
        return self.now


class FreeThreads:
    """StepThreads for a session, where nobody chose how many threads and there are 2 to MOST; else nothing changes.

    What a session has found is used after it, too, for evaluation and generation, until the next one tries again.
    """

    def __init__(self) -> None:
        most = free_threads()
        self.steps = StepThreads(most) if 1 < most <= MOST else None
        if self.steps is not None:
            use_threads(self.steps.now)

    def add(self, seconds: float) -> None:
        """After a step of so many seconds."""
        if self.steps is not None and self.steps.now != self.steps.add(seconds):
            use_threads(self.steps.now)

    def end(self) -> None:
        """After the last step: all threads again, unless they were found to be slower."""
        if self.steps is not None and not self.steps.waits:
            use_threads(self.steps.most)
