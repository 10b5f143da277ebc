"""Signals that ask a process to stop: it finishes what it is at, saves, and then ends by the signal that it got.

A shell sees that: Ctrl-C in `for i in 1 2 3; do femto train …; done` ends the loop too.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

# Ctrl-C, `kill`, a terminal that closes; and what job schedulers send before they kill (SIGXCPU at a limit of CPU time).
STOPPING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU") if hasattr(signal, name)
)
ECHO_SECONDS = 0.2  # in which a second Ctrl-C is the first one again, which a wrapper has passed on
HINT = b"\nfinishing this step and saving; Ctrl-C again ends at once, and loses what is not saved\n"


class InterruptedAtOnce(KeyboardInterrupt):
    """Ctrl-C while a stop was under way: the work ends here, unsaved."""


class EndedBySignal(SystemExit):
    """The process is to end as if the signal had killed it. Status 128 + number, as shells have it, where nobody does that."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number


class StopRequest:
    """Asks a `Session`, a `Trainer` or a `Run` to stop, once a signal has come: give it as their `stop`.

    >>> import signal
    >>> with StopRequest().listening() as stop:
    ...     signal.raise_signal(signal.SIGTERM)
    >>> stop(), stop.name
    (True, 'SIGTERM')

    Afterwards `end` ends the process by that signal. A Ctrl-C after a first signal raises InterruptedAtOnce.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._since = 0.0

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name})"

    def __call__(self) -> bool:
        return self.number is not None

    @property
    def name(self) -> str | None:
        """The signal that has come: SIGINT and the like, or None."""
        return None if self.number is None else signal.Signals(self.number).name

    def end(self) -> None:
        """Raise EndedBySignal if a signal has come."""
        if self.number is not None:
            raise EndedBySignal(self.number)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.number is None:
            self.number, self._since = number, time.monotonic()
            if number == signal.SIGINT and os.isatty(2):
                with suppress(OSError):
                    os.write(2, HINT)  # a print could meet another one that it has interrupted
        elif number == signal.SIGINT and time.monotonic() - self._since > ECHO_SECONDS:
            raise InterruptedAtOnce

    @contextmanager
    def listening(self) -> Iterator["StopRequest"]:
        """Take the signals of STOPPING, but for those that are ignored (`nohup`, `&`, `trap ''`) or handled elsewhere.

        In the main thread only; Python has no signals in others.
        """
        free = (signal.SIG_DFL, signal.default_int_handler, self._handle)
        before: dict[int, Any] = {}
        try:
            for number in STOPPING:
                if (handler := signal.getsignal(number)) in free:
                    before[number] = handler
                    signal.signal(number, self._handle)
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def end_by(number: int) -> NoReturn:
    """End the process as the signal does, without a dump of its memory. Output has to be flushed before."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)  # the first process of a container, which no signal of its own ends
