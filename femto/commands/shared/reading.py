"""What is shown while a large text is read, which takes a while the first time."""

import sys
import time
from typing import TYPE_CHECKING

import click

from femto.commands.shared.bar import Bar
from femto.commands.shared.notes import note
from femto.system.text import amount, duration

if TYPE_CHECKING:
    from femto.token_cache import Note, Reading

PLAIN_SECONDS = 10.0  # between lines where there is no terminal


class ReadingProgress:
    """Shows on standard error how far a text is read, with a bar on a terminal and plain lines elsewhere, and notes."""

    def __init__(self, quiet: bool = False) -> None:
        """quiet: show notes alone."""
        self.quiet, self.on_terminal = quiet, sys.stderr.isatty()
        self.bar: Bar | None = None
        self.purpose = ""
        self.started = self.last_line = time.monotonic()

    def __enter__(self) -> "ReadingProgress":
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.__exit__()
            self.bar = None

    def show(self, event: "Reading | Note") -> None:
        from femto.token_cache import Note

        if isinstance(event, Note):
            self.__exit__()
            note(event.text)
            return
        if self.quiet:
            return
        now = time.monotonic()
        if event.purpose != self.purpose:
            self.__exit__()
            self.purpose, self.started, self.last_line = event.purpose, now, now
        left = f"{duration((now - self.started) * (event.total - event.done) / max(1, event.done))} left"
        if self.on_terminal:
            self.bar = self.bar or Bar(event.total)
            self.bar.update(event.done, f"{event.purpose} the text", left)
        elif now - self.last_line > PLAIN_SECONDS:
            self.last_line = now
            click.echo(f"{event.purpose} the text: {amount(event.done)} of {amount(event.total)}, {left}", err=True)
